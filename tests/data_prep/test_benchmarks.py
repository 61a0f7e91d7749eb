"""`data_prep.benchmarks`: problems in, scores out, and no score on what a model was trained on."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.artefacts import write_artefact, write_trained_on
from data_prep.benchmarks import (
    BENCHMARKS,
    BOXED,
    SUITES,
    Benchmark,
    find_benchmarks,
    majority,
    read_benchmark,
    read_problems,
    refuse_trained_on,
    score,
    summarise,
    table,
    unique_problems,
    with_choices,
)
from data_prep.rows import RowError, problem_id
from data_prep.sources import DatasetConfig
from tests.data_prep.test_sources import write


def read(path: Path, n: int | None = None, **more: Any) -> list[dict[str, Any]]:
    return read_benchmark(Benchmark(path.stem, str(path), **more), n)[0]


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "jsonl.zst"])
def test_reading(ending: str, tmp_path: Path):
    path = write(tmp_path / f"b.{ending}", [{"question": f"q{i}", "gold": i, "difficulty": "easy"} for i in range(5)])
    rows = read(path, 3)
    assert [(r["problem"], r["answer"], r["level"], r["problem_id"]) for r in rows] == [
        (f"q{i}", str(i), "easy", problem_id(f"q{i}")) for i in range(3)
    ]


def test_rows_without_problem_or_answer(tmp_path: Path):
    for row in ({"problem": "x"}, {"answer": "1"}, {"problem": 7, "answer": "1"}, {"problem": "x", "answer": None}):
        path = write(tmp_path / "b.jsonl", [{"problem": "x", "answer": 0}, row])
        with pytest.raises(
            RowError,
            match=r"b.jsonl, line 2: needs the columns 'problem' \(or 'question'\) and 'answer', both with text",
        ):
            read(path, None)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match=r"empty.jsonl: no problems"):
        read(tmp_path / "empty.jsonl", None)


def test_artefacts_of_problems(tmp_path: Path):
    row = {"problem_id": problem_id("x"), "source": "s", "problem": "x", "answer": "1", "images": []}
    write_artefact(tmp_path / "b", "problem", [row], stage="t", config={}, seed=0, inputs={})
    assert [r["problem"] for r in read(tmp_path / "b", None)] == ["x"]


def test_problems_without_answers_and_twice(tmp_path: Path):
    rows: list[dict[str, Any]] = [
        {"problem": "a", "answer": None}, {"problem": "A", "answer": "1/2", "source": "s"}, {"question": "b"},
        {"problem": "a", "answer": "0.5"}, {"problem": " a", "answer": 3}, {"problem": "c", "answer": "  "},
        {"problem": "d", "answer": 1, "images": ["x"]}, {"problem": "b", "answer": None},
    ]  # fmt: skip
    problems, dropped = unique_problems(read_problems(DatasetConfig(str(write(tmp_path / "p.jsonl", rows)))))
    assert [(p["problem"], p["answer"]) for p in problems] == [("a", "1/2"), ("b", None), ("c", None)]
    assert {p["source"] for p in problems} == {str(tmp_path / "p.jsonl")}
    assert dropped == {"problem stood before": 3, "problem stood before, with another answer": 1, "has an image": 1}
    with pytest.raises(RowError, match=r"q.jsonl, line 1: needs the columns .* and 'answer' \(or null\); it has"):
        list(read_problems(DatasetConfig(str(write(tmp_path / "q.jsonl", [{"answer": 1}])))))


def test_the_small_world():
    rows = read_benchmark(Benchmark("small-world", "small-world", "test"), 9)[0]
    assert [row["band"] for row in rows] == ["easy", "medium", "hard"] * 3
    assert not {r["problem_id"] for r in rows} & {
        r["problem_id"] for r in read_benchmark(Benchmark("small-world", "small-world", "train"), 9)[0]
    }


def test_what_a_model_was_trained_on_is_refused(tmp_path: Path):
    problems = read_benchmark(Benchmark("small-world", "small-world", "test"), 3)[0]
    refuse_trained_on(str(tmp_path), "small-world", problems)  # no record
    write_trained_on(tmp_path, ["p1-other"])
    refuse_trained_on(str(tmp_path), "small-world", problems)
    refuse_trained_on("someone/a-hub-model", "small-world", problems)
    write_trained_on(tmp_path, ["p1-other", problems[1]["problem_id"]])
    with pytest.raises(ValueError, match=r"was trained on 1 of the 3 problems of small-world, e.g. '"):
        refuse_trained_on(str(tmp_path), "small-world", problems)


def response(problem: str, right: bool, group: str = "easy", decoding: str = "greedy", **more: Any) -> dict[str, Any]:
    return {
        "problem_id": problem, "benchmark": "b", "group": group, "decoding": decoding,
        "verdict": "right" if right else "wrong", "n_tokens": 10, "finish_reason": "stop", "extracted": "1",
        "sample": 0, **more,
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
    assert [row["problem"] for row in read(path, None)] == ["What is 1 + 1?", "x"]
    assert "b.jsonl, line 3: a problem that stood before, left out" in capsys.readouterr().err
    path = write(tmp_path / "c.jsonl", [*rows, {**twice, "answer": 3}])
    with pytest.raises(RowError, match=r"c.jsonl, line 3: answer '3', but '2' where the problem stood before"):
        read(path, None)


def test_half_a_character(tmp_path: Path):
    (tmp_path / "b.jsonl").write_text(r'{"problem": "\ud800", "answer": "1"}')
    with pytest.raises(RowError, match=r"b.jsonl, line 1: .* holds half a character"):
        read(tmp_path / "b.jsonl", None)


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


def test_other_forms_of_answers(tmp_path: Path):
    rows: list[dict[str, Any]] = [
        {"question": "a", "answer": "We add.\n#### 1,250", "subject": "sums"},
        {"problem": "b", "solution": "so $\\boxed{\\frac{1}{2}}$."},
        {"problem": "c", "final_answer": ["1", "2"]},
        {"problem": "d", "answer": 3.5, "options": ["3", "3.5"]},
    ]
    found = read(write(tmp_path / "b.jsonl", rows))
    assert [row["answer"] for row in found] == ["1,250", "\\frac{1}{2}", "1, 2", "3.5"]
    assert found[0]["subject"] == "sums"  # for --group_by
    assert [row["choices"] for row in found] == [None, None, None, ["3", "3.5"]]
    with pytest.raises(RowError, match=r"c.jsonl, line 1: needs the columns"):
        read(write(tmp_path / "c.jsonl", [{"problem": "b", "solution": "no box"}]))


def test_a_level_of_a_benchmark(tmp_path: Path):
    levels: list[Any] = ["Level 5", 5, 5.0, "5", "Level 4"]
    rows: list[dict[str, Any]] = [{"problem": f"q{i}", "answer": i, "level": v} for i, v in enumerate(levels)]
    path = write(tmp_path / "b.jsonl", rows)
    assert [row["answer"] for row in read(path, level="5")] == ["0", "1", "2", "3"]
    assert len(read(path, 2, level="5")) == 2
    with pytest.raises(ValueError, match=r"no problems of level 7"):
        read(path, level="7")
    with pytest.raises(RowError, match=r"c.jsonl, line 1: no 'level'"):
        read(write(tmp_path / "c.jsonl", [{"problem": "a", "answer": 1}]), level="5")


def test_suites_and_single_benchmarks(tmp_path: Path):
    assert all(name in BENCHMARKS for names in SUITES.values() for name in names)
    assert [b.name for b in find_benchmarks(["redstar"])] == ["math-hard", "math500", "aime24", "olympiadbench"]
    assert find_benchmarks(["aime24", "redstar"])[0].name == "aime24"
    path = write(tmp_path / "some.jsonl", [{"problem": "a", "answer": 1}])
    (moved,) = find_benchmarks([f"aime24={path}"])
    assert (moved.name, moved.path, moved.instruction) == ("aime24", str(path), BOXED)
    suite = find_benchmarks([f"aime24={path}", "redstar"])
    assert [b.path for b in suite if b.name == "aime24"] == [str(path)]
    assert len(suite) == 4
    assert find_benchmarks([f"mine={path}"])[0].name == "mine"
    assert find_benchmarks([str(path)])[0].path == str(path)
    assert find_benchmarks(["someone/problems"], "validation")[0].split == "validation"
    (world,) = find_benchmarks(["small-world"], "train")
    assert (world.split, world.instruction) == ("train", "")
    with pytest.raises(ValueError, match=r"'maht500' is unknown \(did you mean math500\?\); known: rstar-math"):
        find_benchmarks(["maht500"])


def votes(*answers: str | None, gold: str = "1") -> list[dict[str, Any]]:
    return [{"extracted": a, "verdict": "right" if a == gold else "wrong"} for a in answers]


def test_majority():
    assert majority(votes("1", "1", "2"), [3]) == {3: 1.0}
    assert majority(votes("2", "2", "1"), [3]) == {3: 0.0}
    assert majority(votes("1", "2", None), [3]) == {3: 0.5}  # a tie; no answer is no vote
    assert majority(votes(None, None, None), [3]) == {3: 0.0}
    assert majority(votes("0.5", "1/2", "1", "1"), [4]) == {4: 0.5}  # 0.5 and 1/2 are one answer
    assert majority(votes("3", "4", "1", "1"), [4]) == {4: 1.0}
    # Of four, two right and two different wrong ones, three are drawn: both right ones (half of the draws) win, one
    # right and both wrong ones are a tie of three.
    chance = majority(votes("1", "1", "2", "3"), [3])[3]
    assert chance == pytest.approx(0.5 + 0.5 / 3, abs=4 * 0.33 / 400**0.5)
    assert majority(votes("1", "1", "2", "3"), [3])[3] == chance


def test_majority_and_several_benchmarks_in_the_table():
    rows = [response(f"p{i}", j < 2, decoding="sampled", benchmark=b, extracted="1" if j < 2 else f"x{j}", sample=j)
            for b in ("b", "c") for i in range(3) for j in range(4)]  # fmt: skip
    result = summarise(rows)
    assert score(result, "maj@4", decoding="sampled", benchmark="c") == 1.0
    assert score(result, "pass@1", decoding="sampled", benchmark="c") == 0.5
    assert {s["benchmark"] for s in result["scores"]} == {"b", "c"}
    average = {a["metric"]: a["mean"] for a in result["average"]}
    assert average["maj@4"] == 1.0
    assert average["pass@1"] == 0.5
    assert "average" in table(result).splitlines()[-1]
    assert summarise(rows[:12])["average"] == []


def test_what_could_not_be_judged_is_said():
    rows = [
        response("a", True),
        response("b", False, verdict="timed out"),
        response("c", False, verdict="unverifiable"),
    ]
    text = table(summarise(rows))
    assert "1 responses timed out, counted as not right" in text
    assert "1 responses with a gold or tests that cannot be verified, counted as not right" in text


def test_multiple_choice(tmp_path: Path):
    rows: list[dict[str, Any]] = [
        {"problem": "Which?", "answer": 1, "choices": ["7", "8"]},
        {"problem": "Which?", "answer": "B", "options": {"B": "no", "A": "yes"}},
        {"problem": "Is it 7 or 8?", "answer": 7, "choices": ["7", "8"]},
        {"problem": "Alone", "answer": "x", "choices": ["one"]},
    ]
    found = read(write(tmp_path / "b.jsonl", rows))
    assert [row["answer"] for row in found] == ["B", "B", "7", "x"]  # an index; a letter; a text
    assert [with_choices(row) for row in found] == [
        "Which?\n(A) 7\n(B) 8", "Which?\n(A) yes\n(B) no", "Is it 7 or 8?", "Alone",
    ]  # fmt: skip
    assert len({row["problem_id"] for row in found}) == 4


def test_golds_that_are_none(tmp_path: Path):
    for answer in ("", " ", None, True, {"a": 1}):
        with pytest.raises(RowError, match=r"b.jsonl, line 1: "):
            read(write(tmp_path / "b.jsonl", [{"problem": "x", "answer": answer}]))


def test_equal_golds_of_a_problem_that_comes_twice(tmp_path: Path):
    path = write(tmp_path / "b.jsonl", [{"problem": "x", "answer": "1/2"}, {"problem": "x", "answer": "0.5"}])
    rows, n_twice = read_benchmark(Benchmark("b", str(path)))
    assert ([row["answer"] for row in rows], n_twice) == (["1/2"], 1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x=a.jsonl", "x=b.jsonl"], "x is given twice"), (["redstar=a.jsonl"], "redstar is a suite: give the path"),
        (["=a.jsonl"], "give name=path"), (["x="], "give name=path"),
        (["a/x.jsonl", "b/x.jsonl"], "two benchmarks are called"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_meant(names: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        find_benchmarks(names)
