"""Benchmark problems among training problems: planted ones are found, others are not."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from data_prep.curation.contamination import BenchmarkIndex, ngrams
from data_prep.curation.near import signatures
from data_prep.curation.text import masked, tokens
from tests.data_prep.curation.conftest import Curated, write_jsonl
from tests.data_prep.curation.planted import make, renumbered, respaced, reworded


def matches(index: BenchmarkIndex, texts: list[str]) -> list[list]:
    found = [tokens(text) for text in texts]
    return index.match(found, signatures([masked(some) for some in found]))


def test_planted_copies() -> None:
    rng = Random(0)
    everything = make(1500)
    items, others = everything[:400], everything[400:]
    index = BenchmarkIndex([("bench", i, text) for i, text in enumerate(items)])
    inside = [f"{others[i]} {text} Explain your answer." for i, text in enumerate(items)]
    for kind, texts, least in (
        ("exact", [respaced(text, rng) for text in items], 0.99),
        ("near", [reworded(text, rng) for text in items], 0.95),
        ("contained", inside, 0.99),
        ("renumbered", [renumbered(text, rng) for text in items], 0.95),
    ):
        found = [[match for match in some if match.item == i] for i, some in enumerate(matches(index, texts))]
        share = sum(bool(some) for some in found) / len(items)
        assert share >= least, (kind, share)
        if kind in ("exact", "renumbered"):
            assert sum(some[0].kind == kind for some in found if some) / len(items) >= least, kind
    false = sum(any(match.kind != "renumbered" for match in some) for some in matches(index, others))
    assert false / len(others) <= 0.01


def test_short_problems() -> None:
    """They are compared as a whole: a few common words in a longer text are no contamination."""
    index = BenchmarkIndex([("bench", 0, r"Compute $\sin 60^\circ$."), ("bench", 1, "What is the value of x?")])
    same, inside, other, words = matches(
        index,
        [
            r"compute $\sin 60 ^ \circ$",
            r"In a triangle with sides 3, 4 and 5 whose largest angle is at C, first compute $\sin 60^\circ$ and then "
            "find the ratio of that number and the area of the triangle in the units of the first side.",
            r"Compute $\cos 60^\circ$.",
            "If 3x + 4 = 19 and x is a whole number of dollars, what is the value of x?",
        ],
    )
    assert same[0].kind == "exact"
    assert not inside
    assert not words
    assert all(match.kind != "exact" for match in other)


def test_common_words_count_less() -> None:
    phrase = "find the number of ordered pairs of positive integers such that"
    items = [
        f"{phrase} {a} x plus {b} y is equal to {a * b} and {b} divides x" for a, b in zip(range(2, 40), range(3, 41))
    ]
    index = BenchmarkIndex([("bench", i, text) for i, text in enumerate(items)])
    assert not [m for m in matches(index, [f"{phrase} their product is a cube"])[0] if m.kind == "contained"]


def test_ngrams_do_not_cross_texts() -> None:
    (two, owners), (three, _) = ngrams([["a", "b", "c"], ["a"], ["b", "c"]], [2, 3])
    assert owners.tolist() == [0, 0, 2]
    assert two[1] == two[2] != two[0]
    assert len(three) == 1
    assert all(len(hashes) == 0 for hashes, _ in ngrams([], [2]))


def test_report_says_which_row_matched_what(curated: Callable[..., Curated], tmp_path: Path) -> None:
    problems = make(30)
    bench = write_jsonl(tmp_path / "bench.jsonl", [{"problem": text, "answer": "1"} for text in problems[:3]])
    rows = [{"problem": text, "answer": "1"} for text in [problems[1].upper(), *problems[5:]]]
    options = ("--rows", "problems", "--difficulty", "none", "--benchmarks", f"mine={bench}")
    result = curated(rows, *options)
    assert result.dropped == {"contamination: in a benchmark (exact)": 1}
    (out,) = [row for row in result.decisions if not row["kept"]]
    assert (out["line"], out["detail"]) == (1, "mine 1, strength 1")
    import pyarrow.parquet as pq

    (match,) = pq.read_table(result.folder / "report" / "contamination.parquet").to_pylist()
    assert (match["benchmark"], match["item"], match["kind"], match["strength"]) == ("mine", 1, "exact", 1.0)
    assert match["benchmark_problem"] == problems[1]


def test_no_benchmarks() -> None:
    assert matches(BenchmarkIndex([]), ["abc"]) == [[]]
