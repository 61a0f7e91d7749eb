"""Bands, pass rates, probably wrong golds, and the selection."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.curation.deciding import order_of, quotas
from tests.data_prep.curation.conftest import Curated, solved, write_jsonl
from tests.data_prep.curation.planted import make

Counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 60), min_size=1)
Weights = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.25, 1.0, 2.0, 3.5]))


@given(Counts, Weights, st.data())
def test_order_and_quotas_agree(counts: dict[str, int], weights: dict[str, float], data: st.DataObject) -> None:
    """The order is a permutation, and its first `size` rows are just those of the quotas."""
    orders = {name: order_of(np.arange(n), name, counts, weights) for name, n in counts.items()}
    assert sorted(np.concatenate(list(orders.values()))) == list(range(sum(counts.values())))
    size = data.draw(st.integers(1, sum(counts.values())))
    taken = quotas(counts, weights, size)
    assert sum(taken.values()) == size
    for name, order in orders.items():
        assert sorted(order) == order.tolist()
        assert (order < size).sum() == taken[name]


def attempts(problem: str, gold: str, given: list[str]) -> list[dict]:
    return [solved(problem, gold, answer, thought=f"Attempt {i}.") for i, answer in enumerate(given)]


def test_pass_rates_and_bands(curated: Callable[..., Curated]) -> None:
    """Wrong, unfinished and repeated attempts count, and count once."""
    easy, medium, hard, unsolved = make(4)
    rows = attempts(easy, "1", ["1", "1", "1", "1"]) + attempts(medium, "1", ["1", "1", "2", "3"])
    rows += attempts(hard, "1", ["1", "2", "3", "4"]) + attempts(unsolved, "1", ["2", "3", "4"])
    rows.append({"problem": unsolved, "answer": "1", "response": "<think>\nAnd so on"})
    rows.append(rows[0])
    result = curated(rows)
    rates = {row["problem"]: (row["band"], row["pass_rate"], row["n_attempts"]) for row in result.rows}
    assert rates == {easy: ("easy", 1.0, 4), medium: ("medium", 0.5, 4), hard: ("hard", 0.25, 4)}
    assert result.manifest["problem_bands"] == {"easy": 1, "hard": 1, "medium": 1, "unsolved": 1}
    numbered = [{**row, "sample": i} for i, row in enumerate([rows[0], *rows])]  # equal texts, but two attempts
    assert max(row["n_attempts"] for row in curated(numbered).rows) == 6
    only = curated(rows, "--select_bands", "hard", "medium")
    assert {row["problem"] for row in only.rows} == {medium, hard}
    assert only.dropped["select: band easy"] == 4


def test_probably_mislabelled(curated: Callable[..., Curated]) -> None:
    wrong_gold, hard, few, right = make(4)
    rows = attempts(wrong_gold, "7", ["9", r"\frac{18}{2}", "9.0", "7", "4"]) + attempts(hard, "1", list("2345"))
    rows += attempts(few, "1", ["2", "2", "2"]) + attempts(right, "1", ["1", "1", "2", "2", "1"])
    result = curated(rows)
    assert result.manifest["counts"]["problems_probably_mislabelled"] == 1
    (first,) = {(r["gold"], r["majority"], r["majority_share"]) for r in result.decisions if r["majority"]}
    assert first[0] == "7"
    assert first[2] == 0.6
    dropped = curated(rows, "--mislabelled", "drop")
    assert dropped.dropped["mislabelled: attempts agree on another answer"] == 1


def test_a_smaller_size_is_a_part_of_a_larger_one(curated: Callable[..., Curated]) -> None:
    rows = [{**solved(text, "1"), "source": "abc"[i % 7 % 3]} for i, text in enumerate(make(300))]
    options = ("--difficulty", "none", "--weights", "{a: 1, b: 3, c: 1}")
    chosen = {}
    for size in (40, 100, 250):
        result = curated(rows, *options, "--size", str(size))
        chosen[size] = {row["problem"]: row["rank"] for row in result.rows}
        assert sorted(chosen[size].values()) == list(range(size))
        assert result.dropped == {"select: beyond the size": 300 - size}
    assert chosen[40].items() <= chosen[100].items() <= chosen[250].items()
    shares = Counter(row["source"] for row in curated(rows, *options, "--size", "100").rows)
    assert (shares["a"], shares["b"], shares["c"]) == (20, 60, 20)
    other = curated(rows, *options, "--size", "40", "--seed", "1")
    assert {row["problem"] for row in other.rows} != set(chosen[40])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_order_of_work_changes_nothing(curated: Callable[..., Curated], tmp_path: Path, workers: str) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [solved(text, "1") for text in make(200)])
    options = ("--difficulty", "none", "--size", "50", "--partition_rows", "30", "--workers", workers)
    result = curated(rows, *options)
    plain = curated(rows, "--difficulty", "none", "--size", "50")
    assert result.rows == plain.rows
    assert result.decisions == plain.decisions


def test_a_source_that_no_row_has_is_said(curated: Callable[..., Curated]) -> None:
    rows = [{**solved(text, "1"), "source": "numina"} for text in make(3)]
    manifest = curated(rows, "--weights", "{numinna: 2, numina: 1}", "--select_sources", "numina").manifest
    assert manifest["warnings"] == [
        "--weights names 'numinna', but no row is from there (did you mean numina?); sources: numina"
    ]
    assert curated(rows, "--weights", "{numina: 2}").manifest["warnings"] == []
