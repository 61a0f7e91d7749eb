"""`data_prep.answers`: extraction, comparison, and a worker that is killed when it does not answer."""

import os
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.answers import AnswerChecker, extract_answer, is_integer, last_boxed


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(timeout=30) as checker:
        yield checker


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so \\boxed{7}.", "7"),
        ("\\boxed{1} and \\boxed{ 2 }", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{x \\right.} }", "\\left\\{x \\right."),
        ("\\boxed{a \\\\{b}}", "a \\\\{b}"),
        ("\\boxed{1} then \\boxed{2", "1"),
        ("\\boxed{1 \\boxed{2}", "2"),
        ("\\boxed{\\boxed{3}}", "3"),
        ("} { \\boxed{4} {", "4"),
        ("\\boxed{}", ""),
        ("\\boxed", None),
        ("\\fbox{1}", None),
        ("", None),
    ],
)
def test_the_last_box(text: str, expected: str | None):
    assert last_boxed(text) == expected


def slow_last_boxed(text: str) -> str | None:
    """The rule as written, for text without backslashes but those of boxes."""
    for start in range(len(text), -1, -1):
        if text.startswith("\\boxed{", start):
            depth = 0
            for i in range(start + 6, len(text)):
                depth += (text[i] == "{") - (text[i] == "}")
                if depth == 0:
                    return text[start + 7 : i].strip()
    return None


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "a", " ", "7"]), max_size=25).map("".join))
@settings(max_examples=400, deadline=None)
def test_the_last_box_by_brute_force(text: str):
    assert last_boxed(text) == slow_last_boxed(text)


@given(
    st.lists(
        st.sampled_from(["\\boxed{", "{", "}", "\\", "\\{", "a", "<think>", "</think>"]) | st.text(max_size=4)
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_extraction_never_raises(text: str):
    found = extract_answer(text)
    assert found is None or (found in text and "\\boxed{" in text)


def test_a_model_that_repeats_itself_costs_no_time():
    started = time.perf_counter()
    assert last_boxed("\\boxed{" * 50_000) is None
    assert last_boxed("\\boxed{" * 50_000 + "}") == ""
    assert last_boxed("{" * 100_000 + "\\boxed{1}" + "}" * 99_999) == "1"
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>\n\\boxed{1}\n</think>\n\n\\boxed{2}", "2"),
        ("<think>\n\\boxed{1}\n</think>\n\nnothing", None),
        ("<think>\n\\boxed{1}", None),
        ("\\boxed{1}", "1"),
        ("thought \\boxed{1}</think> \\boxed{2}", "2"),
        ("<think>a</think> \\boxed{1} <think> or \\boxed{2}", None),
        ("<think>a</think> \\boxed{1} <think>b</think> \\boxed{2}", "2"),
    ],
)
def test_boxes_in_thoughts_do_not_count(response: str, expected: str | None, checker):
    assert extract_answer(response) == expected
    judged = checker.judge("2", response)
    assert (judged.extracted, judged.verdict) == (expected, "right" if expected == "2" else "wrong")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("so \\boxed{1}, no, wait", None),
        ("so \\boxed{1}</think> \\boxed{2}", "2"),
        ("<think> so \\boxed{1}", None),  # opened once more
        ("a</think> \\boxed{1} <think> or \\boxed{2}", None),
        ("", None),
    ],
)
def test_a_thought_that_the_prompt_has_opened(response: str, expected: str | None, checker):
    assert extract_answer(response, thought_open=True) == expected
    judged = checker.judge("2", response, thought_open=True)
    assert (judged.extracted, judged.verdict) == (expected, "right" if expected == "2" else "wrong")


def test_exact_comparisons_need_no_worker():
    with AnswerChecker() as checker:
        for gold, answer, verdict in [
            ("7", " 7 ", "right"), ("7", "8", "wrong"), ("-7", "-07", "right"), ("7", "-7", "wrong"),
            ("\\frac12", "\\frac12", "right"), ("north", "north", "right"), ("", "", "unverifiable"),
            ("", "5", "unverifiable"),
            (" ", "5", "unverifiable"), ("9" * 99, "9" * 98 + "8", "wrong"),
        ]:  # fmt: skip
            assert (gold, answer, checker.compare(gold, answer)) == (gold, answer, verdict)
        assert checker._worker is None


def test_integers():
    assert [is_integer(t) for t in ("0", "-12", "007")] == [True] * 3
    assert [is_integer(t) for t in ("", "-", "--1", "1.0", "1 0", "٣", "²", "1" * 100, "+1", "1_0")] == [False] * 10


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("\\frac{1}{2}", "0.5", "right"), ("0.5", "\\frac12", "right"), ("0.5", "0.51", "wrong"),
        ("\\sqrt{8}", "2\\sqrt{2}", "right"), ("\\{1,2\\}", "\\{2,1\\}", "right"), ("(1,2)", "(2,1)", "wrong"),
        ("[0,1)", "[0,1]", "wrong"), ("x+1", "1+x", "right"), ("1,000", "1000", "right"), ("3", "x=3", "right"),
        ("50\\%", "0.5", "right"), ("2\\pi", "6.28", "wrong"), ("12", "12.0", "right"), ("1", "", "wrong"),
        ("2", "\\text{two", "wrong"), ("1", "\ud800", "wrong"), ("1", "\0\n\"'", "wrong"), ("\n", "x", "unverifiable"),
    ],
)  # fmt: skip
def test_equal_by_meaning(gold: str, answer: str, verdict: str, checker):
    assert checker.compare(gold, answer) == verdict


def test_the_gold_goes_first(checker):
    """Math-Verify takes an interval for a gold inequality, and not the other way round."""
    assert checker.compare("1<x<2", "(1,2)") == "right"
    assert checker.compare("(1,2)", "1<x<2") == "wrong"


def test_results_are_remembered(checker):
    checker.compare("\\frac{3}{4}", "0.75")
    worker, checker._worker = checker._worker, None  # without a worker an answer can come from memory only
    try:
        assert checker.compare("\\frac{3}{4}", "0.75") == "right"
        assert checker._worker is None
    finally:
        checker._worker = worker


def test_many_at_once(checker):
    judged = checker.judge_all(["1", "\\frac12", "3"], ["\\boxed{1}", "\\boxed{0.5}", "none"])
    assert [j.verdict for j in judged] == ["right", "right", "wrong"]
    with pytest.raises(ValueError):
        checker.judge_all(["1"], [])


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_hostile_answers_time_out_and_the_worker_is_replaced():
    with AnswerChecker(timeout=1.0) as checker:
        started = time.perf_counter()
        assert checker.compare("1/2", "0.5") == "right"
        assert checker._worker is not None
        first, starting = checker._worker.pid, time.perf_counter() - started
        started = time.perf_counter()
        assert checker.compare("1", "\\sum_{i=1}^{10^{12}} \\frac{1}{i}") == "timed out"
        assert time.perf_counter() - started < 1 + 5
        assert gone(first)
        started = time.perf_counter()
        assert checker.compare("1", "\\sum_{i=1}^{10^{12}} \\frac{1}{i}") == "timed out"  # remembered
        assert time.perf_counter() - started < 0.5
        assert checker.compare("1/4", "0.25") == "right"
        assert checker._worker is not None
        second = checker._worker.pid
        checker._worker.kill()  # as the kernel does when memory runs out
        checker._worker.wait()
        assert checker.compare("1/8", "0.125") == "timed out"
        assert checker.compare("1/5", "0.2") == "right"
        assert checker._worker is not None
        third = checker._worker.pid
        assert len({first, second, third}) == 3
        assert starting < 120
    assert gone(third)


def test_threads_do_not_get_each_others_verdicts(checker):
    """Golds and answers in pairs, half of them right; each thread asks in another order."""
    pairs = [(f"\\frac{{{i}}}{{8}}", str((i + i % 2) / 8)) for i in range(1, 41)]
    verdicts: list[dict[int, str]] = []

    def ask(start: int) -> None:
        found = {}
        for i in range(len(pairs)):
            j = (i * 7 + start * 11) % len(pairs)
            found[j] = checker.compare(*pairs[j])
        verdicts.append(found)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {i: "wrong" if (i + 1) % 2 else "right" for i in range(len(pairs))}
    assert verdicts == [expected] * 4
