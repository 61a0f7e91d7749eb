"""recipes/rl_geometry.py as a user runs it: figures and held-out controls, resumed, a frozen tower; what is refused."""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
from safetensors.torch import load_file

from data_prep.small_world import CHECKPOINTS
from data_prep.small_world.samples import problem_rows
from tests.recipes.conftest import Run, one_error_line


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a figure."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in islice(problem_rows("train", 8), 8)))
    return path


def arguments(figure_base: Path, problems: Path, out: Path, *more: object) -> list[object]:
    return [
        "recipes/rl_geometry.py", "--model_name_or_path", figure_base, "--problems",
        "{path: small-geometry, n_rows: 16}", f"{{path: {problems}}}", "--eval_problems",
        "{path: small-geometry, split: dev, n_rows: 4}", "--output_dir", out, "--num_generations", 4,
        "--per_device_train_batch_size", 8, "--gradient_accumulation_steps", 1, "--max_completion_length", 12,
        "--learning_rate", 1e-3, "--max_steps", 4, "--save_steps", 2, "--eval_strategy", "steps", "--eval_steps", 2,
        "--logging_steps", 1, "--bf16", "false", "--use_cpu", "true", "--gradient_checkpointing", "false",
        "--repetition_weight", 1, "--repetition_ngram", 1, "--rollouts_every", 1, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(run: Run, figure_base: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rl") / "out"
    done = run(*arguments(figure_base, problems, out))
    assert "16 of 24 rows; 8 left out: no figure; 4 held out" in done.stdout
    assert "; held-out pass@1 0.0%, with white figures 0.0%, exchanged 0.0%" in done.stdout
    return out


def changed(before: Path, after: Path) -> set[str]:
    first, second = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {name.split(".")[1] for name in first if not first[name].equal(second[name])}


def test_a_run_measures_with_white_and_exchanged_figures_and_leaves_a_whole_model(
    finished: Path, figure_base: Path
) -> None:
    history = json.loads((finished / "trainer_state.json").read_text())["log_history"]
    measured = [line for line in history if "eval_figures/problems" in line]
    assert [(line["step"], line["eval_figures/problems"]) for line in measured] == [(2, 4.0), (4, 4.0)]
    assert all({"eval_figures/blank", "eval_figures/swapped", "eval_rewards/outcome/mean"} <= set(m) for m in measured)
    assert (finished / "processor_config.json").exists()
    assert json.loads((finished / "manifest.json").read_text())["stage"] == "rl_geometry"
    assert (finished / "rollouts.html").exists()
    assert changed(figure_base, finished) == {"connector", "text_model"}  # the tower is frozen by default


def test_resumed_is_uninterrupted(run: Run, finished: Path, figure_base: Path, problems: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "checkpoint-4")
    refused = run(*arguments(figure_base, problems, out, "--vision_tower", "trained"), check=False)
    assert "vision_tower" in one_error_line(refused)
    done = run(*arguments(figure_base, problems, out))
    assert f"resuming   {out / 'checkpoint-2'}" in done.stdout
    whole, again = (load_file(folder / "model.safetensors") for folder in (finished, out))
    assert all(whole[name].equal(again[name]) for name in whole)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--scorer", "ppm"], "--scorer ppm has no effect in this recipe"),
        (["--max_replacements", 2], "--max_replacements 2 has no effect in this recipe"),
        (["--model_name_or_path", CHECKPOINTS / "small"], "reads no images"),
        (["--problems", "{path: nowhere.jsonl}"], "nowhere.jsonl: no such file"),
        (["--max_completion_length", 1000], "more than the 1,024 positions"),
    ],
    ids=["scorer", "replacements", "no-images", "no-file", "too-long"],
)
def test_what_is_refused(
    run: Run, figure_base: Path, problems: Path, tmp_path: Path, more: list[object], said: str
) -> None:
    assert said in one_error_line(run(*arguments(figure_base, problems, tmp_path / "out", *more), check=False))


def test_texts_alone_are_refused(run: Run, figure_base: Path, problems: Path, tmp_path: Path) -> None:
    done = run(
        *arguments(figure_base, problems, tmp_path / "out", "--problems", f"{{path: {problems}}}"), check=False
    )  # fmt: skip
    assert "no problem is left of 8 rows {'no figure': 8}" in one_error_line(done)
