"""Real problems of Geometry3K and MATH-Vision through reader, processor, collator, a step of SFT and an evaluation."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from data_prep.artefacts import write_artefact
from data_prep.benchmarks import Benchmark, read_benchmark
from tests.recipes.conftest import Run

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs $REDSTAR_DATA"),
]
FILES = {
    "geometry3k": ("geometry3k/geometry3k_sample.jsonl", 47),
    "intergps": ("geometry3k/geometry3k_intergps_examples.jsonl", 10),
    "mathvision": ("mathvision/geometry.jsonl", 374),
}


def rows(name: str) -> list[dict[str, Any]]:
    file, n = FILES[name]
    found, n_twice = read_benchmark(Benchmark(name, str(Path(os.environ["REDSTAR_DATA"]) / file)))
    assert len(found) + n_twice == n
    return found


def test_one_step_and_a_loss_of_every_problem(run: Run, figure_base: Path, tmp_path: Path) -> None:
    samples = []
    for name in FILES:
        for row in rows(name):
            turns = [
                ("user", row["problem"]),
                ("assistant", f"<think>\nI look.\n</think>\n\n\\boxed{{{row['answer']}}}"),
            ]
            messages = [{"role": role, "content": text} for role, text in turns]
            kept = {key: row[key] for key in ("problem_id", "problem", "answer", "images")}
            samples.append({**kept, "source": name, "messages": messages})
    write_artefact(tmp_path / "samples", "sample", samples, stage="test", config={}, seed=0, inputs={})
    done = run(
        "recipes/sft_geometry.py", "--model_name_or_path", figure_base, "--dataset_name", tmp_path / "samples",
        "--eval_datasets", f"{{path: {tmp_path / 'samples'}}}", "--output_dir", tmp_path / "sft", "--max_length", 1024,
        "--per_device_train_batch_size", 8, "--per_device_eval_batch_size", 8, "--gradient_accumulation_steps", 1,
        "--max_steps", 1, "--bf16", "false", "--use_cpu", "true", "--gradient_checkpointing", "false",
    )  # fmt: skip
    assert f"{len(samples)} rows read, {len(samples)} kept" in done.stdout
    assert f"; {len(samples)} figures" in done.stdout
    metrics = json.loads((tmp_path / "sft" / "all_results.json").read_text())
    assert {"eval_loss", "eval_blank_loss", "eval_swapped_loss"} <= set(metrics)


def test_one_evaluation_of_every_problem(run: Run, figure_base: Path, tmp_path: Path) -> None:
    root = Path(os.environ["REDSTAR_DATA"])
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", figure_base, "--benchmarks",
        *(f"{name}={root / file}" for name, (file, _) in FILES.items()), "--max_new_tokens", 4, "--output_dir",
        tmp_path / "out", "--figure_controls", "false",
    )  # fmt: skip
    assert "mathvision" in done.stdout
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert sum(s["n_problems"] for s in result["scores"] if s["group"] == "all") >= 57 + 374 - 5
