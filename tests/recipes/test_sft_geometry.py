"""recipes/sft_geometry.py as a user runs it: figures and texts, resumed, a frozen tower; what is refused."""

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from data_prep.small_world import CHECKPOINTS
from data_prep.small_world.samples import sample_rows
from tests.recipes.conftest import Run, one_error_line


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in islice(sample_rows("train", 8, bands=("easy",)), 8)))
    return path


def arguments(figure_base: Path, texts: Path, out: Path, *more: object) -> list[object]:
    return [
        "recipes/sft_geometry.py", "--model_name_or_path", figure_base, "--datasets",
        "{path: small-geometry, n_rows: 16}", f"{{path: {texts}}}", "--eval_datasets",
        "{path: small-geometry, split: dev, n_rows: 4}", "--output_dir", out, "--max_length", 1000,
        "--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 1, "--learning_rate", 1e-3, "--bf16",
        "false", "--use_cpu", "true", "--logging_steps", 1, "--gradient_checkpointing", "false", "--max_steps", 4,
        "--save_steps", 2, "--per_device_eval_batch_size", 4, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(run: Run, figure_base: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sft") / "out"
    done = run(*arguments(figure_base, texts, out))
    assert "24 rows read, 24 kept" in done.stdout
    assert "; 16 figures" in done.stdout
    assert "with white figures" in done.stdout
    return out


def test_a_run_leaves_a_model_that_a_processor_belongs_to(finished: Path, figure_base: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (figure_base, finished))
    changed = {name.split(".")[1] for name in before if not before[name].equal(after[name])}
    assert changed == {"vision_model", "connector", "text_model"}
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["stage"] == "sft_geometry"
    assert manifest["n_problems_trained_on"] == 24
    metrics = json.loads((finished / "all_results.json").read_text())
    assert {"eval_loss", "eval_blank_loss", "eval_swapped_loss"} <= set(metrics)
    assert (finished / "processor_config.json").exists()


def test_a_run_that_was_stopped_goes_on_as_the_same(
    run: Run, finished: Path, figure_base: Path, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("checkpoint-4", "manifest.json"))
    (out / "model.safetensors").unlink()
    done = run(*arguments(figure_base, texts, out))
    assert "resuming" in done.stdout
    one, other = (load_file(folder / "model.safetensors") for folder in (finished, out))
    assert all(one[name].equal(other[name]) for name in one)
    refused = run(*arguments(figure_base, texts, tmp_path / "out", "--vision_tower", "frozen"), check=False)
    assert "holds checkpoints of another run" in one_error_line(refused) or "finished" in one_error_line(refused)


def test_a_frozen_tower_stays_as_it_is(run: Run, figure_base: Path, texts: Path, tmp_path: Path) -> None:
    run(*arguments(figure_base, texts, tmp_path / "out", "--vision_tower", "frozen", "--warmup_steps", 0))
    before, after = (load_file(folder / "model.safetensors") for folder in (figure_base, tmp_path / "out"))
    changed = {name.split(".")[1] for name in before if not before[name].equal(after[name])}
    assert changed == {"connector", "text_model"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--packing", "true"], "--packing True has no effect in this recipe"),
        (["--model_name_or_path", CHECKPOINTS / "small"], "reads no images"),
        (["--max_length", 9000], "beyond the 1,024 positions"),
        (["--datasets", "{path: nowhere.jsonl}"], "nowhere.jsonl: no such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, figure_base: Path, texts: Path, tmp_path: Path, more: list[Any], said: str
) -> None:
    assert said in one_error_line(run(*arguments(figure_base, texts, tmp_path / "out", *more), check=False))
