"""Rollouts as Parquet, and the page of some: what a model writes is text there and nothing else."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rl.records import write_page, write_rollouts


def row(sample: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "problem_id": "p1-0", "sample": sample, "model": "grpo at step 3", "prompt_format": "chat template",
        "response": "a\n\nb", "finish_reason": "stop", "n_tokens": 4, "extracted": "3", "verdict": "right", "seed": 1,
        "step": 3, "problem": "What is 1 + 2?", "answer": "3", "rewards": [("outcome", 1.0), ("format", None)],
        "advantage": 0.5, "steps": ["a\n\n", "b"], "step_scores": [0.5, -0.25], **more,
    }  # fmt: skip


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [row(), row(1, verdict=None, steps=[], step_scores=[], rewards=[("outcome", None)])]
    path = write_rollouts(tmp_path, 3, rows)
    assert path == tmp_path / "rollouts" / "step-000003.parquet"
    assert [{k: v for k, v in own.items() if k != "logprob"} for own in pq.read_table(path).to_pylist()] == rows
    write_rollouts(tmp_path, 3, rows[:1])  # a resumed run writes its step again
    assert len(pq.read_table(path)) == 1


def test_the_page_shows_scores_and_no_markup_of_a_model(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>\x1b[31m'\"><img src=x onerror=y>"
    for step in (0, 10, 20, 30, 40, 50):
        write_rollouts(tmp_path, step, [row(i, step=step, steps=[attack, "b"], problem=attack) for i in range(6)])
    page = write_page(tmp_path).read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;") == 4 * (1 + 4)
    assert re.findall(r"<h2>Step (\d+)", page) == ["0", "20", "30", "50"]
    assert "<sub>-0.25</sub>" in page
    assert "outcome 1.00, format -" in page


def test_no_rollouts_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rollouts there"):
        write_page(tmp_path)
