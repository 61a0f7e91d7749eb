"""Step-label benchmarks: reading them, and finding the first wrong step."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.artefacts import write_artefact
from data_prep.rows import RowError
from data_prep.sources import DatasetConfig
from data_prep.statistics import harmonic_mean, wilson
from data_prep.step_labels import (
    KNOWN,
    as_step_labels,
    choose_threshold,
    find_step_labels,
    first_error,
    localisation,
    localisation_table,
    measure,
    read_step_labels,
    scored,
)

# ------------------------------------------------------------------------------------------------------------- reading


def processbench(number: int = 0, label: int | None = -1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"gsm8k-{number}", "generator": "Qwen2-7B-Instruct", "problem": f"What is {number} + 1?",
        "steps": ["First.", "Then.", "So."], "final_answer_correct": label == -1, "label": label, **more,
    }  # fmt: skip


def completion(text: str, rating: int | None, flagged: bool | None = None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": flagged}


def step(*completions: dict[str, Any], chosen: int | None = 0, human: Any = None) -> dict[str, Any]:
    return {"completions": list(completions), "human_completion": human, "chosen_completion": chosen}


def prm800k(*steps: dict[str, Any], finish: str = "solution", whole: list[str] | None = None) -> dict[str, Any]:
    """A row as github.com/openai/prm800k documents them."""
    question = {"problem": "What is 2 + 2?", "ground_truth_answer": "4", "pre_generated_steps": whole}
    return {"labeler": "a", "question": question, "label": {"steps": list(steps), "finish_reason": finish}}


def of(row: dict[str, Any]) -> tuple[list[str], int | None] | str:
    found = as_step_labels(row, "here")
    return found if isinstance(found, str) else (found["steps"], found["first_error"])


def test_processbench_rows():
    assert of(processbench(label=-1)) == (["First.", "Then.", "So."], None)
    assert of(processbench(label=2)) == (["First.", "Then.", "So."], 2)
    assert of(processbench(label=None)) == "no label"
    assert of(processbench(steps=[])) == "no steps"
    assert of(processbench(steps=["a", " \n"])) == "an empty step"


GOOD, NEUTRAL, BAD = completion("good", 1), completion("so so", 0), completion("bad", -1)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (prm800k(step(GOOD), step(NEUTRAL)), (["good", "so so"], None)),
        # phase 2: labelling ends at the error, whose alternatives follow; what was written behind it is kept
        (
            prm800k(step(GOOD), step(BAD, GOOD, chosen=None), finish="found_error", whole=["good", "bad", "worse"]),
            (["good", "bad", "worse"], 1),
        ),
        (
            prm800k(step(GOOD), step(BAD, chosen=None), finish="found_error", whole=["else", "bad", "worse"]),
            (["good", "bad"], 1),
        ),
        # phase 1: the chosen one goes on, or what the labeller wrote
        (prm800k(step(BAD, GOOD, chosen=1), step(NEUTRAL)), (["good", "so so"], None)),
        (
            prm800k(step(GOOD), step(BAD, chosen=None, human={"text": "mine", "rating": None}), step(NEUTRAL)),
            (["good", "mine", "so so"], None),
        ),
        (prm800k(step(BAD), step(GOOD)), (["bad"], 0)),
        (prm800k(step(GOOD), finish="give_up"), "the labeller gave up"),
        (prm800k(step(GOOD), finish="bad_problem"), "a bad problem"),
        (prm800k(step(GOOD), finish=""), "not finished"),
        (prm800k(step(completion("good", None))), "no rating"),
        (prm800k(step(completion("good", 1, flagged=True))), "flagged by the labeller"),
        (prm800k(step(GOOD), finish="found_error"), "an error was found, but no step is rated as wrong"),
        (prm800k(), "no steps"),
        (prm800k(step()), "no steps"),
        (prm800k(step(completion("", 1))), "an empty step"),
    ],
)
def test_prm800k_rows(row: dict[str, Any], wanted: object):
    assert of(row) == wanted


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "a", "steps": ["b"]}, "needs 'problem', 'steps' and 'label'"),
        (processbench(label=3), "number 3 (from 0) of 3"),
        (processbench(label=-2), "number -2"),
        (processbench(label="1"), "'1': a whole number"),  # type: ignore[arg-type]
        (processbench(label=True), "True: a whole number"),
        (processbench(steps="First. Then."), "'steps' a list of texts"),
        (processbench(steps=["a", None]), "'steps' a list of texts"),
        (processbench(steps=["a\ud800"]), "half a character"),
        (processbench(problem=None), "'problem' must be a text"),
    ],
)
def test_rows_of_no_known_form(row: dict[str, Any], message: str):
    with pytest.raises(RowError, match=r"^FILE, line 7: ") as error:
        as_step_labels(row, "FILE, line 7")
    assert message in str(error.value)


def test_the_same_rows_from_every_kind_of_file(tmp_path: Path):
    rows = [processbench(i, label) for i, label in enumerate((-1, 0, 2, -1))]
    rows += [processbench(1, 0), processbench(2, 1), processbench(9, None)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.json", "c.parquet"):
        found, dropped = read_step_labels(DatasetConfig(str(tmp_path / name)))
        assert [row["first_error"] for row in found] == [None, 0, 2, None]
        assert {row["source"] for row in found} == {str(tmp_path / name)}
        assert dropped == {"stood before": 1, "stood before, with another label": 1, "no label": 1}
        assert len(read_step_labels(DatasetConfig(str(tmp_path / name)), 2)[0]) == 2
    # and our own rows, as evaluate.py writes them
    write_artefact(tmp_path / "d", "step_label", found, stage="test", config={}, seed=0, inputs={})
    again, dropped = read_step_labels(DatasetConfig(str(tmp_path / "d")))
    assert not dropped
    assert [row | {"source": ""} for row in again] == [row | {"source": ""} for row in found]
    (tmp_path / "e.jsonl").write_text(json.dumps(processbench(label=None)))
    with pytest.raises(ValueError, match=r"no solution with labelled steps \(1 no label\)"):
        read_step_labels(DatasetConfig(str(tmp_path / "e.jsonl")))


def test_names():
    assert find_step_labels(["processbench"]) == KNOWN
    assert find_step_labels(["processbench-math", "x.jsonl"]) == {
        "processbench-math": DatasetConfig("Qwen/ProcessBench", split="math"),
        "x.jsonl": DatasetConfig("x.jsonl", split="test"),
    }
    assert find_step_labels(["a/b"], "train")["a/b"].split == "train"


# ------------------------------------------------------------------------------------------------------------- metrics


def row(error: int | None, *scores: float) -> dict[str, Any]:
    problem = f"{error} {scores}"
    return {
        "problem_id": problem, "source": "s", "problem": problem, "steps": [f"{s}" for s in scores],
        "first_error": error, "scores": list(scores),
    }  # fmt: skip


def test_the_first_step_below_the_threshold():
    assert first_error([0.5, 0.1, -0.3], 0.2) == 1
    assert first_error([0.5, 0.1, -0.3], 0.1) == 2
    assert first_error([0.5, 0.1], 0.1) is None
    assert first_error([], 0.1) is None


def test_metrics_by_hand():
    rows = [
        row(1, 0.9, -0.5, -0.9),  # found, but the lowest is one later
        row(2, 0.9, 0.8, -0.1),  # found
        row(0, 0.3, 0.2, 0.1, -0.7),  # missed by three
        row(1, -0.1, 0.5),  # one too early
        row(None, 0.9, 0.4),
        row(None, 0.9, -0.4),
    ]
    found = localisation(rows, 0.0)
    assert (found["n_solutions"], found["n_erroneous"], found["threshold"]) == (6, 4, 0.0)
    means = {name: value["mean"] for name, value in found.items() if isinstance(value, dict)}
    assert means == {
        "f1": 0.5, "error_accuracy": 0.5, "error_within_one": 0.75, "correct_accuracy": 0.5, "lowest_at_error": 0.25,
        "lowest_within_one": 0.75,
    }  # fmt: skip
    assert found["lowest_by_chance"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 2) / 4)
    assert (found["error_accuracy"]["low"], found["error_accuracy"]["n"]) == (wilson(2, 4).low, 4)
    assert "50.0" in localisation_table({"a": found})


def test_what_there_is_no_data_for_is_left_out():
    found = localisation([row(None, 0.5)], 0.0)
    assert set(found) == {"n_solutions", "n_erroneous", "threshold", "correct_accuracy"}
    assert set(localisation([row(0, 0.5)], 0.0)) >= {"error_accuracy", "lowest_at_error"}
    json.dumps(found, allow_nan=False)
    assert " -  " in localisation_table({"a": found})


SCORES = st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.2, 0.7, 1.0])


@given(st.lists(st.tuples(st.none() | st.integers(0, 3), st.lists(SCORES, min_size=4, max_size=6)), max_size=12))
def test_no_threshold_is_better_than_the_chosen_one(drawn: list[tuple[int | None, list[float]]]):
    rows = [row(error, *scores) for error, scores in drawn] + [row(None, 0.2), row(0, 0.2, 0.1)]

    def f1(threshold: float) -> float:
        shares = [
            np.mean([first_error(r["scores"], threshold) == r["first_error"] for r in rows if kind(r)])
            for kind in (lambda r: r["first_error"] is None, lambda r: r["first_error"] is not None)
        ]
        return float(2 * shares[0] * shares[1] / sum(shares)) if sum(shares) else 0.0

    chosen = choose_threshold(rows)
    assert f1(chosen) >= max(f1(t) for t in np.linspace(-1.1, 1.1, 45)) - 1e-12
    assert localisation(rows, chosen)["f1"]["mean"] == pytest.approx(f1(chosen))


def test_a_threshold_needs_both_kinds():
    for rows in ([row(0, 0.1)], [row(None, 0.1)]):
        with pytest.raises(ValueError, match="with and without a wrong step"):
            choose_threshold(rows)


def test_the_harmonic_mean_and_its_interval():
    found = harmonic_mean(30, 40, 10, 40)
    assert found.mean == pytest.approx(2 / (4 / 3 + 4))
    assert found.low < found.mean < found.high
    assert harmonic_mean(30, 40, 10, 40) == found  # the same draws
    assert harmonic_mean(0, 10, 10, 10).mean == harmonic_mean(0, 10, 0, 10).mean == 0
    perfect = harmonic_mean(20, 20, 20, 20)
    assert (perfect.mean, perfect.high) == (1.0, 1.0)
    assert 0.85 < perfect.low < 0.97
    assert math.isnan(harmonic_mean(0, 0, 1, 2).mean)


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.9), (0.98, 0.6), (0.3, 0.8), (0.5, 0.05)])
def test_coverage_of_the_harmonic_mean(a: float, b: float):
    """Over all outcomes of 40 and 60 trials: each interval is computed once and weighted by its chance."""
    from scipy import stats

    chances = np.outer(stats.binom.pmf(np.arange(41), 40, a), stats.binom.pmf(np.arange(61), 60, b))
    truth, covered, seen = 2 * a * b / (a + b), 0.0, 0.0
    for right_a, right_b in zip(*np.where(chances > 2e-4), strict=True):
        found = harmonic_mean(int(right_a), 40, int(right_b), 60)
        covered += chances[right_a, right_b] * (found.low <= truth <= found.high)
        seen += chances[right_a, right_b]
    assert seen > 0.95
    assert 0.925 < covered / seen < 0.985


# ------------------------------------------------------------------------------------------------------------- scoring


class Told:
    """Knows the scores; a step's text is its score."""

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        assert len(problems) == len(paths)
        return [[float(step) for step in path] for path in paths]


class Short(Told):
    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        return [scores[:-1] for scores in super().score(problems, paths)]


def test_a_score_for_every_step():
    rows = [row(None, *([0.1] * (i % 3 + 1))) for i in range(150)]
    assert [r["scores"] for r in scored(Told(), rows)] == [r["scores"] for r in rows]
    with pytest.raises(ValueError, match="0 scores for a solution of 1 steps"):
        list(scored(Short(), rows))


def test_a_run_writes_all_scores_and_says_how_the_threshold_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [row(1, 0.9, 0.2, 0.1), row(0, 0.3, 0.8), row(None, 0.9, 0.7), row(None, 0.4, 0.9)]
    sets = {"a": (rows, {"no label": 3}), "b": (rows[:3], {})}
    result = measure(
        Told(), "told", sets, tmp_path / "out", threshold=None, calibration=("c", rows[2:] + [row(0, 0.3, 0.8)]),
        config={"x": 1}, seed=0,
    )  # fmt: skip
    assert result["threshold"] == pytest.approx(0.35)
    assert [result["step_labels"][name]["f1"]["mean"] for name in "ab"] == [1.0, 1.0]
    assert result["average_f1"] == 1.0
    assert result["n_calibrated_on"] == 5
    assert result["rows_dropped"] == {"no label": 3}
    written = pq.read_table(tmp_path / "out" / "data-00000.parquet").to_pylist()
    assert [r["scores"] for r in written] == [r["scores"] for r in rows + rows[:3]]
    assert [r["found"] for r in written] == [1, 0, None, None, 1, 0, None]
    shown = capsys.readouterr().out
    assert "0.35: the highest F1 on c (3 solutions)" in shown
    assert "5 of the tested solutions are among them" in shown
    assert "3 no label" in shown
    default = measure(
        Told(), "told", {"a": (rows, {})}, tmp_path / "zero", threshold=None, calibration=None, config={}, seed=0
    )
    assert (default["threshold"], default["average_f1"]) == (0.0, None)
    assert default["step_labels"]["a"]["error_accuracy"]["mean"] == 0
    assert "--calibrate_on FILE finds a better one" in capsys.readouterr().out
