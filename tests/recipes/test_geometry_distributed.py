"""Figures on two processes under each backend give what one process gives, also where one of both has texts alone."""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest

from data_prep.small_world.samples import sample_rows
from tests.recipes.conftest import Run
from tests.recipes.test_rl_distributed import losses
from tests.recipes.test_sft_distributed import CONFIGS, FSDP_ON_CPU, TWO, compare

COMMON = ["--bf16", "false", "--use_cpu", "true", "--logging_steps", 1, "--gradient_checkpointing", "false"]


def sft(base: Path, texts: Path, out: Path, n_processes: int) -> list[object]:
    """One sample for each of two processes a step: in most of the twelve steps one of both has no figure."""
    return [
        "recipes/sft_geometry.py", "--model_name_or_path", base, "--datasets", "{path: small-geometry, n_rows: 12}",
        f"{{path: {texts}}}", "--output_dir", out, "--max_length", 1000, "--per_device_train_batch_size", 1,
        "--gradient_accumulation_steps", 2 // n_processes, "--learning_rate", 1e-4, "--max_grad_norm", 0.5,
        "--max_steps", 6, "--save_steps", 6, *COMMON,
    ]  # fmt: skip


def rl(base: Path, out: Path, n_processes: int) -> list[object]:
    """Three groups of four greedy rollouts a step, the second group on both processes."""
    return [
        "recipes/rl_geometry.py", "--model_name_or_path", base, "--problems", "{path: small-geometry, n_rows: 40}",
        "--output_dir", out, "--max_completion_length", 12, "--num_generations", 4, "--per_device_train_batch_size", 3,
        "--gradient_accumulation_steps", 4 // n_processes, "--learning_rate", 1e-3, "--top_k", 1, "--max_steps", 2,
        "--repetition_weight", 1, "--repetition_ngram", 1, "--save_steps", 2, "--scale_rewards", "none",
        "--advantage", "reinforce++", "--vision_tower", "trained", *COMMON,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in islice(sample_rows("train", 12, bands=("easy",)), 12)))
    return path


@pytest.fixture(scope="module")
def one_process(run: Run, figure_base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    run(*sft(figure_base, texts, folder / "sft", 1))
    run(*rl(figure_base, folder / "rl", 1))
    return folder


def launched(run: Run, command: list[object], out: Path, backend: str) -> None:
    launcher = ("--config_file", str(CONFIGS / f"{backend}.yaml"), *TWO)
    run(*([FSDP_ON_CPU] if backend == "fsdp2" else []), *command, launcher=launcher)
    manifest = json.loads((out / "manifest.json").read_text())
    expected = {"ddp": "MULTI_CPU", "fsdp2": "FSDP"}.get(backend, "DEEPSPEED")
    assert (manifest["n_processes"], manifest["backend"]) == (2, expected)


@pytest.mark.parametrize("backend", ["ddp", "zero2", "zero3", "fsdp2"])
def test_supervised(run: Run, one_process: Path, figure_base: Path, texts: Path, tmp_path: Path, backend: str) -> None:
    if backend.startswith("zero") and shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its CPU communication and there is no c++")
    launched(run, sft(figure_base, texts, tmp_path / "out", 2), tmp_path / "out", backend)
    assert losses(tmp_path / "out") == pytest.approx(losses(one_process / "sft"), abs=2e-4)
    # Adam's step divides by the root of a square: rounding in the gradient of tiny entries shows in the weights.
    compare(tmp_path / "out", one_process / "sft", 2e-4)


@pytest.mark.parametrize("backend", ["ddp", "zero3"])
def test_reinforced(run: Run, one_process: Path, figure_base: Path, tmp_path: Path, backend: str) -> None:
    if backend.startswith("zero") and shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its CPU communication and there is no c++")
    launched(run, rl(figure_base, tmp_path / "out", 2), tmp_path / "out", backend)
    assert losses(tmp_path / "out") == pytest.approx(losses(one_process / "rl"), abs=2e-5)
    compare(tmp_path / "out", one_process / "rl", 2e-4)
