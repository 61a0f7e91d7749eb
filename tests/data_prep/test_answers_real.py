"""The answer checker on real responses that were judged by reading them."""

import json
import lzma
import os
from pathlib import Path

import pytest

from data_prep.answers import AnswerChecker

JUDGED = Path(__file__).parent / "judged_rows.json"


@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs long_cot/ below the folder named by $REDSTAR_DATA")
def test_rows_where_math_verify_differs_are_judged_as_by_reading_them():
    """Rows (by their number in responses.jsonl.xz) where we and Math-Verify differed; whether the answer is right."""
    judged = json.loads(JUDGED.read_text())
    folder = Path(os.environ["REDSTAR_DATA"]) / "long_cot"
    with lzma.open(folder / "problems.jsonl.xz", "rt", encoding="utf-8") as lines:
        golds = {(row["dataset"], row["problem_id"]): str(row["gold"]) for row in map(json.loads, lines)}
    with lzma.open(folder / "responses.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    numbers = [*judged["right"], *judged["wrong"]]
    with AnswerChecker(workers=2) as checker:
        found = checker.judge_all(
            [golds[rows[i]["dataset"], rows[i]["problem_id"]] for i in numbers],
            [rows[i]["response"] for i in numbers],
            lenient=True,
        )
    right = {i for i, judgement in zip(numbers, found, strict=True) if judgement.verdict == "right"}
    assert len(numbers) >= 200
    # 10,399 rows in all, about 5,050 of them right by both: 25 wrong verdicts are half a percent.
    assert len(right - set(judged["right"])) <= 5
    assert len(set(judged["right"]) - right) <= 25
