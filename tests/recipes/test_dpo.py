"""recipes/dpo.py as a user runs it: on responses, resumed, on step pairs, on two processes; what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from data_prep.artefacts import write_artefact
from tests.recipes.conftest import Run, one_error_line
from tests.recipes.test_sft_distributed import CONFIGS, TWO, compare
from tests.rl.test_preferences import pair, response


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("responses") / "rows"
    rows = [response(p, i, v) for p in range(24) for i, v in enumerate(("right", "wrong", "wrong"))]
    write_artefact(folder, "response", rows, stage="test", config={}, seed=0, inputs={})
    return folder


def arguments(model: Path, data: Path, out: Path, *more: object) -> list[object]:
    return [
        "recipes/dpo.py", "--model_name_or_path", model, "--data", data, "--output_dir", out, "--max_length", 512,
        "--learning_rate", 1e-3, "--bf16", "false", "--use_cpu", "true", "--gradient_checkpointing", "false",
        "--per_device_train_batch_size", 2, "--max_steps", 4, "--save_steps", 2, "--logging_steps", 1, "--eval_share",
        0.2, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(run: Run, tiny_model: Path, responses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dpo") / "out"
    done = run(*arguments(tiny_model, responses, out, "--gradient_accumulation_steps", 2))
    assert "pairs of responses of" in done.stdout
    assert "4 pairs a step; beta 0.1, loss sigmoid" in done.stdout
    assert "held-out pairs in the right order" in done.stdout
    return out


def losses(folder: Path) -> list[float]:
    history: list[dict[str, Any]] = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [line["loss"] for line in history if "loss" in line]


def test_a_run_learns_and_says_what_it_has_seen(finished: Path, tiny_model: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["stage"] == "dpo"
    assert manifest["rows_in"] == 72
    assert manifest["n_problems_trained_on"] < 24  # the others are held out
    assert losses(finished)[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses(finished)[-1] < 0.69
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model, finished))
    assert any(not before[name].equal(after[name]) for name in before)


def test_a_run_that_was_stopped_goes_on_as_the_same(
    run: Run, finished: Path, tiny_model: Path, responses: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "checkpoint-4")
    (out / "manifest.json").unlink()
    done = run(*arguments(tiny_model, responses, out, "--gradient_accumulation_steps", 2))
    assert "resuming" in done.stdout
    compare(out, finished, 0.0)
    (out / "manifest.json").unlink()
    more = ["--gradient_accumulation_steps", 2, "--beta", 0.2]
    assert "another run (beta" in one_error_line(run(*arguments(tiny_model, responses, out, *more), check=False))


def test_two_processes_equal_one(
    run: Run, finished: Path, tiny_model: Path, responses: Path, tmp_path: Path
) -> None:  # fmt: skip
    launcher = ("--config_file", str(CONFIGS / "ddp.yaml"), *TWO)
    command = arguments(tiny_model, responses, tmp_path / "out", "--gradient_accumulation_steps", 1)
    assert "4 pairs a step" in run(*command, launcher=launcher).stdout
    compare(tmp_path / "out", finished, 5e-5)


def test_step_pairs_train(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    rows = [pair(pair_group=str(i), problem_id=f"p1-{i}", chosen=[f"\nx = {i}\n<end_of_step>"]) for i in range(8)]
    write_artefact(tmp_path / "pairs", "step_pair", rows, stage="test", config={}, seed=0, inputs={})
    done = run(*arguments(tiny_model, tmp_path / "pairs", tmp_path / "out", "--max_steps", 1))
    assert "pairs of steps of" in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--padding_free", "true"], "--padding_free True has no effect"),
        (["--max_length", 8], "no pair to learn from in 72 rows"),
        (["--eval_share", 1.0], "--eval_share: below 1"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, tiny_model: Path, responses: Path, tmp_path: Path, more: list[object], said: str
) -> None:
    done = run(*arguments(tiny_model, responses, tmp_path / "out", *more), check=False)
    assert said in one_error_line(done)
