"""Each benchmark's short form runs and ends with one line of JSON with the promised keys; no figure is judged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.common import ROOT, length_quantiles, real_lengths
from tests.bench.sft_gpu import MODELS, model_flops, peak_flops, weights


def bench(name: str, *arguments: str, **variables: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("REDSTAR_DATA", None)
    environment |= variables
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{name}", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_sft_shows_equal_losses_and_all_figures() -> None:
    result = bench("sft", "--smoke")
    speeds = ("ours_tokens_per_s", "trl_padded_tokens_per_s", "trl_packed_tokens_per_s", "ratio_padded", "ratio_packed")
    for key in (*speeds, "peak_memory_ratio", "padding_bound", "seconds", "threads"):
        assert result[key] > 0, key
    assert 0.9 < result["packing_efficiency"] <= 1
    assert result["loss_ours"] == pytest.approx(result["loss_trl"], abs=1e-3)
    assert result["loss_ours"] == pytest.approx(result["loss_trl_padded"], abs=1e-3)
    assert {"samples", "dtype", "device", "torch", "trl"} <= set(result)


@pytest.mark.slow
def test_sft_prepare_resumes_to_the_same_batches(tmp_path: Path) -> None:
    result = bench("sft_prepare", "--rows", "1000", "--data", str(tmp_path))
    assert result["same_batches_after_kill"]
    assert result["same_batches_other_processes"]
    for key in ("seconds_to_first_step", "seconds_to_first_step_again", "peak_rss_gib", "window_rows", "raw_gb"):
        assert result[key] > 0, key
    assert 0.9 < result["packing_efficiency"] <= 1


@pytest.mark.slow
def test_sft_gpu_reports_each_side() -> None:
    result = bench("sft_gpu", "--step_seconds", "0.5")
    sides = result["sides"]
    assert {name.split("/")[1] for name in sides} == {"trl_default", "trl_packed", "ours_varlen", "ours_flash"}
    assert all(side.get("tokens_per_s", 0) > 0 for name, side in sides.items() if "flash" not in name)
    assert {"max_length", "checkpointing", "meaningful", "device", "seconds"} <= set(result)


@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs pass_rates/ and benchmarks/ in $REDSTAR_DATA")
def test_transfer_finds_that_measures_agree_and_differ() -> None:
    result = bench("transfer", REDSTAR_DATA=os.environ["REDSTAR_DATA"])
    for pair in ("level / pass rate of all models", "learned score / pass rate of all models"):
        assert 0.3 < result[pair] < 0.8


def test_contrasts_covers_every_kind_of_sum() -> None:
    result = bench("contrasts", "--n_studies", "20")
    assert len(result["cells"]) == 32
    assert result["lowest_coverage"] > 60


@pytest.mark.slow
def test_statistics_covers_every_method() -> None:
    result = bench("statistics", "--n_studies", "200")
    assert "paired_difference; single" in result["methods"]


@pytest.mark.slow
def test_engines_agree_greedily() -> None:
    result = bench("engines", "--n_problems", "12", "--max_new_tokens", "20", "--batch_size", "5", "--repeats", "1")
    assert result["greedy_equal"] == 1
    for key in ("ours_tokens_per_s", "generate_tokens_per_s", "ratio"):
        assert result[key] > 0, key


@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs long_cot/ and answer_equivalence/ in $REDSTAR_DATA")
def test_verify_is_no_worse_than_math_verify_on_its_own_cases() -> None:
    data = os.environ["REDSTAR_DATA"]
    result = bench("verify", "--rows", "300", "--sample", "20", "--repeats", "1", REDSTAR_DATA=data)
    assert result["case_accuracy"] >= result["math_verify_case_accuracy"] > 0.9
    assert result["timeouts"] == 0
    assert result["agreement"] > 0.8


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs long_cot/ and benchmarks/ in $REDSTAR_DATA")
def test_curate_runs_beside_both_baselines(tmp_path: Path) -> None:
    result = bench("curate", "--smoke", "--data", str(tmp_path), REDSTAR_DATA=os.environ["REDSTAR_DATA"])
    for key in ("seconds", "mb_per_s", "peak_rss_gib", "ratio_usual", "ratio_strong", "recall_exact"):
        assert result[key] > 0, key
    assert result["rows_in"] == result["rows"] == 2000


def test_search_runs_every_candidate_and_keeps_the_engine_busier_than_lock_step() -> None:
    result = bench("search", "--rounds", "1", "--trees", "24", "--places", "8", "--latency", "0.01")
    assert result["executions"] >= 0.8 * result["nodes"] > 0
    assert result["ms_per_node"] > result["ms_per_node_without_code"] > 0
    assert 0 < result["utilisation"] <= 1
    assert 0 < result["utilisation_lock_step"] < 1
    assert {"isolation", "rounds", "device", "seconds"} <= set(result)


def test_sandbox_is_faster_than_a_python_for_each_program_and_lets_nothing_out() -> None:
    result = bench("sandbox", "--smoke")
    assert result["executions_per_s"] > result["sympy_executions_per_s"] > result["subprocess_sympy_per_s"] > 0
    assert result["attacks"] > 5
    assert result["escapes"] == 0
    assert {"workers", "isolation", "device", "sympy", "seconds"} <= set(result)


def test_ppm_reads_trees_to_the_same_scores_and_gradients_as_path_by_path() -> None:
    result = bench("ppm", "--n_problems", "9", "--rollouts", "4", "--candidates", "4", "--rounds", "1")
    assert result["max_score_difference"] < 1e-5
    assert 0 < result["max_gradient_difference"] < 1e-4
    assert result["tokens_paths"] > result["tokens_tree"] > 0
    assert result["token_ratio"] > 1
    for key in ("train_wall_ratio", "score_wall_ratio", "score_pass_ratio", "n_trees", "n_solutions", "pairs"):
        assert result[key] > 0, key


def test_rl_updates_without_padding_to_the_same_gradient() -> None:
    result = bench("rl", "--shorter", "64", "--rollouts", "16", "--rounds", "1", "--steps", "2")
    assert result["loss_difference"] < 1e-5
    assert result["gradient_difference"] < 1e-4
    assert result["update_tokens_ratio"] > 1
    assert 0 < result["checker_share_of_step"] < result["ppm_share_of_step"] < 1
    for key in ("overhead_ratio", "overhead_ratio_padded", "tokens_of_a_rollout", "mean_length"):
        assert result[key] > 0, key


def test_real_lengths_have_the_known_mean_and_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDSTAR_DATA", raising=False)
    length_quantiles.cache_clear()
    lengths = real_lengths(3152)
    assert lengths.mean() == pytest.approx(3260, rel=0.02)
    assert np.median(lengths) == pytest.approx(1240, rel=0.02)
    assert np.quantile(lengths, 0.95) == lengths.max() == 16_384
    assert real_lengths(1000, 8192, "drop").max() <= 8192
    assert (real_lengths(1000, 8192, "cut") == 8192).mean() > 0.1


def test_flops_of_the_known_shapes() -> None:
    assert weights(MODELS["7B"]) == pytest.approx(7.07e9, rel=0.01)
    assert weights(MODELS["1.5B"]) == pytest.approx(1.54e9, rel=0.01)
    # One sample of n tokens: 6 N n for the products, and 6 L (H D) n^2 for causal attention.
    assert model_flops(MODELS["7B"], 1000, 1000**2) == 6.0 * weights(MODELS["7B"]) * 1000 + 6.0 * 28 * 3584 * 1000**2
    assert peak_flops("NVIDIA H100 80GB HBM3") == peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
