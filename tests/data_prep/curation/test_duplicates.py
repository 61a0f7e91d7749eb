"""Planted copies are found and others are not: of the recipe as a whole, on problems with and without responses."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from data_prep.curation.text import masked, numbers, tokens
from data_prep.sources import DatasetConfig, open_blocks, read_block
from tests.data_prep.curation.conftest import Curated, solved
from tests.data_prep.curation.planted import make, renumbered, respaced, reworded

EDITS = {"exact": lambda text, rng: text, "respaced": respaced, "reworded": reworded, "renumbered": renumbered}


def made_up() -> list[str]:
    return make(1200)


def real() -> list[str]:
    """Problems of MATH, without those that are alike already and those too short to be edited."""
    path = Path(os.environ["REDSTAR_DATA"]) / "benchmarks" / "math_train_7474.jsonl.gz"
    problems: dict[str, str] = {}
    for block in open_blocks(DatasetConfig(str(path))):
        for _, row in read_block(block):
            text = row["problem"]
            if "[asy]" not in text and len(text.split()) >= 15 and any(sign.isdigit() for sign in text):
                problems.setdefault(masked(tokens(text)), text)
    return list(problems.values())[:3000]


def plant(problems: list[str]) -> list[tuple[str, str, int]]:
    """Problems as they are, then copies of each fifth one: text, kind, and the place of what it is a copy of."""
    rng = Random(0)
    planted = [(problem, "single", i) for i, problem in enumerate(problems)]
    for n, i in enumerate(range(0, len(problems), 5)):
        kind = list(EDITS)[n % len(EDITS)]
        text = EDITS[kind](problems[i], rng)
        # An edit may hit a word that is a number.
        if kind != "reworded" or numbers(tokens(text)) == numbers(tokens(problems[i])):
            planted.append((text, kind, i))
    return planted


def shares(result: Curated, kinds: list[str]) -> dict[str, float]:
    """Of each kind the share that was taken for a duplicate."""
    found: Counter[str] = Counter()
    for decision, kind in zip(result.decisions, kinds, strict=True):
        found[kind] += (decision["reason"] or "").startswith("duplicates")
    return {kind: found[kind] / kinds.count(kind) for kind in set(kinds)}


@pytest.mark.parametrize(
    "problems", [made_up, pytest.param(real, marks=pytest.mark.real_data)], ids=["made up", "real"]
)
@pytest.mark.parametrize("with_responses", [False, True])
def test_recall(curated: Callable[..., Curated], problems: Callable[[], list[str]], with_responses: bool) -> None:
    if problems is real and "REDSTAR_DATA" not in os.environ:
        pytest.skip("needs benchmarks/ below $REDSTAR_DATA")
    planted = plant(problems())
    # A copy has the response of its original, too: another response to a problem is a sample of its own.
    rows = [
        solved(text, "7", thought=f"Number {of}.") if with_responses else {"problem": text, "answer": "7"}
        for text, _, of in planted
    ]
    options = [] if with_responses else ["--rows", "problems"]
    result = curated(rows, "--difficulty", "none", *options)
    assert sum(result.dropped.values()) + len(result.rows) == len(planted)
    found = shares(result, [kind for _, kind, _ in planted])
    print(found)
    assert found["exact"] >= 0.99
    assert found["respaced"] >= 0.99
    assert found["reworded"] >= 0.95
    assert found["single"] <= 0.01
    assert found["renumbered"] <= 0.01


def test_renumbered_is_reported_and_counts_if_wanted(curated: Callable[..., Curated]) -> None:
    rng = Random(1)
    problems = make(50)
    rows = [{"problem": text, "answer": "1"} for text in problems]
    rows += [{"problem": renumbered(text, rng), "answer": "2"} for text in problems[:20]]
    kept = curated(rows, "--rows", "problems", "--difficulty", "none")
    assert kept.manifest["counts"]["problems_renumbered"] == 20
    assert kept.manifest["rows_out"] == 70
    dropped = curated(rows, "--rows", "problems", "--difficulty", "none", "--renumbered", "drop")
    assert dropped.dropped == {"duplicates: renumbered": 20}


def test_other_answers_keep_nearly_equal_problems_apart(curated: Callable[..., Curated]) -> None:
    a = "A ship sails 12 miles north and 5 miles east of the old lighthouse. What is its greatest speed in knots?"
    rows = [{"problem": a, "answer": "12"}, {"problem": a.replace("greatest", "smallest"), "answer": "3"}]
    result = curated(rows, "--rows", "problems", "--difficulty", "none")
    assert result.manifest["rows_out"] == 2
    assert result.manifest["counts"]["near_with_other_answers"] == 1


def test_best_row_stays(curated: Callable[..., Curated]) -> None:
    """A right one before an unverified one, then the earlier one; another response to the problem is no duplicate."""
    problem = make(1)[0]
    rows = [
        {**solved(problem, "5"), "answer": None},
        solved(problem, "5"),
        solved(problem.upper(), "5"),
        solved(problem, "5", thought="Another way."),
    ]
    result = curated(rows, "--unverifiable", "keep", "--difficulty", "none")
    assert [decision["kept"] for decision in result.decisions] == [False, True, False, True]
    assert result.decisions[0]["duplicate_of"] == result.decisions[2]["duplicate_of"] == result.decisions[1]["row"]
    capped = curated(rows, "--unverifiable", "keep", "--difficulty", "none", "--per_problem", "1")
    assert capped.manifest["rows_out"] == 1
