"""`data_prep.benchmarks`: problems in, scores out, and no score on what a model was trained on."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.artefacts import write_artefact, write_trained_on
from data_prep.benchmarks import read_benchmark, refuse_trained_on, score, summarise, table
from data_prep.rows import RowError, problem_id
from tests.data_prep.test_sources import write


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "jsonl.zst"])
def test_reading(ending: str, tmp_path: Path):
    path = write(tmp_path / f"b.{ending}", [{"question": f"q{i}", "gold": i, "difficulty": "easy"} for i in range(5)])
    rows = read_benchmark(str(path), "test", 3)
    assert [(r["problem"], r["answer"], r["level"], r["problem_id"]) for r in rows] == [
        (f"q{i}", str(i), "easy", problem_id(f"q{i}")) for i in range(3)
    ]


def test_rows_without_problem_or_answer(tmp_path: Path):
    for row in ({"problem": "x"}, {"answer": "1"}, {"problem": 7, "answer": "1"}, {"problem": "x", "answer": None}):
        path = write(tmp_path / "b.jsonl", [{"problem": "x", "answer": 0}, row])
        with pytest.raises(
            RowError, match=r"b.jsonl, line 2: needs the columns 'problem' \(or 'question'\) and 'answer'"
        ):
            read_benchmark(str(path), "test", None)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match=r"empty.jsonl: no problems"):
        read_benchmark(str(tmp_path / "empty.jsonl"), "test", None)


def test_artefacts_of_problems(tmp_path: Path):
    row = {"problem_id": problem_id("x"), "source": "s", "problem": "x", "answer": "1", "images": []}
    write_artefact(tmp_path / "b", "problem", [row], stage="t", config={}, seed=0, inputs={})
    assert [r["problem"] for r in read_benchmark(str(tmp_path / "b"), "test", None)] == ["x"]


def test_the_small_world():
    rows = read_benchmark("small-world", "test", 9)
    assert [row["band"] for row in rows] == ["easy", "medium", "hard"] * 3
    assert not {r["problem_id"] for r in rows} & {r["problem_id"] for r in read_benchmark("small-world", "train", 9)}


def test_what_a_model_was_trained_on_is_refused(tmp_path: Path):
    problems = read_benchmark("small-world", "test", 3)
    refuse_trained_on(str(tmp_path), "small-world", problems)  # no record
    write_trained_on(tmp_path, ["p1-other"])
    refuse_trained_on(str(tmp_path), "small-world", problems)
    refuse_trained_on("someone/a-hub-model", "small-world", problems)
    write_trained_on(tmp_path, ["p1-other", problems[1]["problem_id"]])
    with pytest.raises(ValueError, match=r"was trained on 1 of the 3 problems of small-world, e.g. '"):
        refuse_trained_on(str(tmp_path), "small-world", problems)


def response(problem: str, right: bool, group: str = "easy", decoding: str = "greedy", **more: Any) -> dict[str, Any]:
    return {
        "problem_id": problem, "group": group, "decoding": decoding, "verdict": "right" if right else "wrong",
        "n_tokens": 10, "finish_reason": "stop", "extracted": "1", **more,
    }  # fmt: skip


def test_scores_by_group_and_decoding():
    rows = [response(f"a{i}", i < 3) for i in range(4)]
    rows += [response(f"b{i}", i < 1, "hard", finish_reason="length", extracted=None, n_tokens=20) for i in range(4)]
    rows += [response(f"a{i % 4}", i < 4, decoding="sampled") for i in range(16)]
    result = summarise(rows)
    assert score(result) == 0.5
    assert (score(result, group="easy"), score(result, group="hard")) == (0.75, 0.25)
    assert score(result, "pass@1", decoding="sampled") == pytest.approx(0.25)
    assert score(result, "pass@4", decoding="sampled") == 1.0
    hard = next(s for s in result["scores"] if s["group"] == "hard")
    assert (hard["truncated"], hard["without_answer"], hard["mean_tokens"], hard["n_problems"]) == (1.0, 1.0, 20, 4)
    assert hard["method"] == "Wilson, over problems"
    assert all(s["low"] <= s["mean"] <= s["high"] for s in result["scores"])
    with pytest.raises(StopIteration):
        score(result, "pass@8", decoding="sampled")
    lines = table(result).splitlines()
    assert len(lines) == 1 + len(result["scores"])
    assert "50.0" in lines[1]


def test_a_problem_that_a_benchmark_holds_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"problem": "What is 1 + 1?", "answer": 2}, {"problem": "x", "answer": 1}]
    twice = {"problem": "what is 1+1?", "answer": 2}
    path = write(tmp_path / "b.jsonl", [*rows, twice])
    assert [row["problem"] for row in read_benchmark(str(path), "test", None)] == ["What is 1 + 1?", "x"]
    assert "b.jsonl, line 3: a problem that stood before, left out" in capsys.readouterr().err
    path = write(tmp_path / "c.jsonl", [*rows, {**twice, "answer": 3}])
    with pytest.raises(RowError, match=r"c.jsonl, line 3: answer 3, but '2' where the problem stood before"):
        read_benchmark(str(path), "test", None)


def test_half_a_character(tmp_path: Path):
    (tmp_path / "b.jsonl").write_text(r'{"problem": "\ud800", "answer": "1"}')
    with pytest.raises(RowError, match=r"b.jsonl, line 1: the problem holds half a character"):
        read_benchmark(str(tmp_path / "b.jsonl"), "test", None)


def test_one_group_is_not_shown_twice():
    assert {s["group"] for s in summarise([response("a", True), response("b", False)])["scores"]} == {"all"}


def test_a_decoding_that_covers_some_groups_only():
    rows = [response("a", True), response("b", False, "hard"), response("a", True, decoding="sampled")]
    groups = [(s["decoding"], s["group"]) for s in summarise(rows)["scores"]]
    assert groups == [
        ("greedy", "all"),
        ("greedy", "easy"),
        ("greedy", "hard"),
        ("sampled", "all"),
        ("sampled", "easy"),
    ]
