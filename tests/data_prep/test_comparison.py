"""`data_prep.comparison`: two evaluations side by side, and a page that nothing a model writes can break."""

from html.parser import HTMLParser
from typing import Any

import pytest

from data_prep.artefacts import write_artefact
from data_prep.comparison import MAX_SHOWN, compare, kind_of, page, read_responses
from data_prep.statistics import paired_difference


def row(name: str, right: bool, sample: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "problem_id": name, "sample": sample, "model": "m", "prompt_format": "f", "response": "text",
        "finish_reason": "stop", "n_tokens": 4, "extracted": "1", "verdict": "right" if right else "wrong", "seed": 0,
        "benchmark": "b", "decoding": "greedy", "problem": f"What is {name}?", "answer": "1", "group": "easy",
        **more,
    }  # fmt: skip


A = [row("p", False), row("q", True), row("r", True), row("s", False), row("only a", True)]
B = [row("p", True), row("q", False), row("r", True), row("s", False), row("only b", True)]


def test_what_changed():
    problems, differences, n_alone = compare(A, B, "greedy")
    assert {p["problem"]: kind_of(p) for p in problems} == {
        "What is p?": "gained", "What is q?": "lost", "What is r?": "right", "What is s?": "wrong",
    }  # fmt: skip
    assert n_alone == 2
    assert differences == {"b": paired_difference([1, 0, 1, 0], [0, 1, 1, 0])}
    assert differences["b"].mean == 0
    with pytest.raises(ValueError, match="share no problem with sampled responses"):
        compare(A, B, "sampled")


def test_shares_of_several_samples():
    a = [row("p", i < 1, i, decoding="sampled") for i in range(4)]
    b = [row("p", i < 3, i, decoding="sampled") for i in range(4)]
    ((problem,), differences, _) = compare(a, b, "sampled")
    assert (problem["share_a"], problem["share_b"], kind_of(problem)) == (0.25, 0.75, "gained")
    assert differences["b"].mean == 0.5
    text = page([problem], differences, ("a", "b"), [])
    assert "1/4 → 3/4" in text
    assert "sample 0 of 4" in text


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)


def test_nothing_that_a_model_writes_becomes_markup():
    evil = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>"
    more: dict[str, Any] = {
        "response": evil,
        "extracted": evil,
        "problem": evil,
        "answer": evil,
        "group": evil,
        "benchmark": evil,
    }
    rows = [row("p", right, **more) for right in (True, False)]
    problems, differences, _ = compare(rows[:1], rows[1:], "greedy")
    tags = Tags()
    tags.feed(page(problems, differences, (evil, evil), [evil]))
    assert tags.found.count("script") == 1
    assert "img" not in tags.found
    assert tags.found.count("details") == 1


def test_long_responses_say_what_is_left_out():
    text = "a" * MAX_SHOWN + "b" * 1000
    problems, differences, _ = compare([row("p", True, response=text)], [row("p", True)], "greedy")
    assert "[... 1,000 characters are left out here ...]" in page(problems, differences, ("a", "b"), [])


def test_reading_folders(tmp_path):
    write_artefact(tmp_path / "a", "response", A, stage="evaluate", config={}, seed=0, inputs={})
    write_artefact(tmp_path / "b", "response", A, stage="distill", config={}, seed=0, inputs={})
    assert [r["problem_id"] for r in read_responses(tmp_path / "a")] == [r["problem_id"] for r in A]
    with pytest.raises(ValueError, match=r"not the output of recipes/evaluate\.py"):
        read_responses(tmp_path / "b")
    old = [{key: value for key, value in r.items() if key != "benchmark"} for r in A]
    write_artefact(tmp_path / "d", "response", old, stage="evaluate", config={}, seed=0, inputs={})
    with pytest.raises(ValueError, match="no column 'benchmark': made by an older version"):
        read_responses(tmp_path / "d")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_responses(tmp_path / "c")
