"""The study of figures: what its report says of its cells, and its page of figures."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from data_prep.artefacts import write_artefact
from multimodal.samples import rows
from multimodal.study import HERE, N_SHOWN, page, plot, problems_of, report, write_figures

SIZES = [8, 16, 32]


def plan() -> dict[str, Any]:
    stated = yaml.safe_load((HERE / "study.yaml").read_text())
    stated.pop("settings")
    return stated


def cell(arm: str, seed: int, **rates: float) -> dict[str, Any]:
    """300 problems, of which such shares are right."""
    right = {
        figures: {str(i): float(Random(f"{arm}/{seed}/{i}").random() < rate) for i in range(300)}
        for figures, rate in rates.items()
    }
    return {"arm": arm, "seed": seed, "right": right, "seconds": 60.0}


def cells() -> list[dict[str, Any]]:
    found = []
    for seed in (0, 1, 2):
        found += [
            cell("short", seed, own=0.1), cell("grpo", seed, own=0.7, blank=0.05, swapped=0.05),
            cell("long-8", seed, own=0.05), cell("long-16", seed, own=0.3),
            cell("long-32", seed, own=0.6, blank=0.05, swapped=0.58),
        ]  # fmt: skip
    return found


def test_every_question_is_answered_by_its_cells() -> None:
    found = report(cells(), plan(), "smoke", SIZES)
    assert found["seeds"] == [0, 1, 2]
    assert {name: round(found[name]["mean"], 1) for name in ("short_sft", "long_sft", "grpo", "blank", "swapped")} == {
        "short_sft": 0.1, "long_sft": 0.6, "grpo": 0.7, "blank": 0.0, "swapped": 0.6,
    }  # fmt: skip
    verdicts = {key: one["verdict"] for key, one in found["questions"].items()}
    assert verdicts["long_against_short"] == verdicts["own_against_blank"] == verdicts["long_level"] == "holds"
    assert verdicts["own_against_swapped"] == "contradicted"
    assert list(found["long_sft_by_samples"]) == ["8", "16", "32"]


def test_a_seed_that_is_not_whole_is_named_and_left_out() -> None:
    found = report([one for one in cells() if (one["arm"], one["seed"]) != ("grpo", 1)], plan(), "smoke", SIZES)
    assert (found["seeds"], found["unfinished"]) == ([0, 2], [1])
    assert "Seeds that are not finished: [1]" in page(found)
    none = report([one for one in cells() if one["seed"] == 0], plan(), "smoke", SIZES)
    assert "long_sft" not in none
    assert "| long-32 | 0 |" in page(none)


def test_the_page_and_the_plot(tmp_path: Path) -> None:
    found = report(cells(), plan(), "smoke", SIZES)
    text = page(found)
    assert text.count("Expected before the run") == len(found["questions"])
    plot(found, tmp_path / "right.svg")
    assert "<svg" in (tmp_path / "right.svg").read_text()


@pytest.mark.parametrize("text", ["<think>\nTriangle ABC.\n</think>", "<script>alert(1)</script>"])
def test_ten_figures_beside_thoughts(tmp_path: Path, text: str) -> None:
    held_out = problems_of("test", 12, 5, tmp_path / "held_out")
    answers = [
        {"problem_id": row["problem_id"], "sample": 0, "model": "m", "prompt_format": "p", "response": text,
         "finish_reason": "stop", "n_tokens": 9, "extracted": "1", "verdict": "wrong", "seed": 0,
         "decoding": decoding}
        for decoding in ("greedy", "blank")
        for row in rows("test", 12, 5, thought=None, bands=("medium", "hard"))
    ]  # fmt: skip
    write_artefact(tmp_path / "answers", "response", answers, stage="evaluate", config={}, seed=0, inputs={})
    write_figures(held_out, tmp_path / "answers", tmp_path / "figures.html")
    written = (tmp_path / "figures.html").read_text()
    assert written.count("<img") == N_SHOWN
    assert "<script" not in written
    assert "default-src 'none'" in written
