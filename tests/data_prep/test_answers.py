"""`data_prep.answers`: extraction, comparison, choices, and workers that are killed when they do not answer."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.answers import AnswerChecker, choice_of, decide, extract_answer, find_answer, last_boxed


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(timeout=30) as checker:
        yield checker


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so \\boxed{7}.", "7"),
        ("\\boxed{1} and \\boxed{ 2 }", "1, 2"),
        ("\\boxed{1}, \\boxed{2}, \\text{ and } \\boxed{3}", "1, 2, 3"),
        ("\\boxed{(8, 2)} \\quad \\text{and} \\quad \\boxed{(9, 3)}", "(8, 2), (9, 3)"),
        ("$y_1 = \\boxed{a+b}$ and $y_2 = \\boxed{a-b}$", "a+b, a-b"),
        ("\\boxed{1} no, it is \\boxed{2}", "2"),
        ("\\boxed{1}\n\nWait: \\boxed{2}", "2"),
        ("\\boxed {5}", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{x \\right.} }", "\\left\\{x \\right."),
        ("\\boxed{a \\\\{b}}", "a \\\\{b}"),
        ("\\boxed{1} then \\boxed{2", "1"),
        ("\\boxed{1 \\boxed{2}", "2"),
        ("\\boxed{x \\boxed{1} \\boxed{2}}", "x \\boxed{1} \\boxed{2}"),
        ("\\boxed{not \\boxed{5}}", "not \\boxed{5}"),
        ("\\boxed{5}, \\boxed{5}", "5"),
        ("\\boxed{\\boxed{3}}", "\\boxed{3}"),
        ("} { \\boxed{4} {", "4"),
        ("\\boxed{}", None),
        ("\\boxed{3} Put the answer in \\boxed{ }.", "3"),
        ("\\boxed", None),
        ("\\fbox{1}", None),
        ("", None),
    ],
)
def test_the_last_box(text: str, expected: str | None):
    assert last_boxed(text) == expected


def slow_last_box(text: str) -> str | None:
    """The last box alone, or the widest one around it, by the rule as written; for text without other backslashes."""
    spans = []
    for start in range(len(text)):
        if text.startswith("\\boxed{", start):
            depth = 0
            for i in range(start + 6, len(text)):
                depth += (text[i] == "{") - (text[i] == "}")
                if depth == 0:
                    spans += [(start, i)] if re.sub(r"\\boxed|[{} ]", "", text[start + 7 : i]) else []
                    break
    if not spans:
        return None
    last = spans[-1]
    start, end = min(span for span in spans if span[0] <= last[0] and span[1] >= last[1])
    return text[start + 7 : end].strip()


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "a", "w ", "7"]), max_size=25).map("".join))
@settings(max_examples=400, deadline=None)
def test_the_last_box_by_brute_force(text: str):
    found, expected = last_boxed(text), slow_last_box(text)
    assert found == expected or (found is not None and expected is not None and found.endswith(f", {expected}"))


@given(
    st.lists(
        st.sampled_from(["\\boxed{", "{", "}", "\\", "\\{", "a", "<think>", "</think>"]) | st.text(max_size=4)
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_extraction_never_raises(text: str):
    found = extract_answer(text)
    assert found is None or "\\boxed{" in text
    find_answer(text, lenient=True)


def test_a_model_that_repeats_itself_costs_no_time():
    started = time.perf_counter()
    assert last_boxed("\\boxed{" * 50_000) is None
    assert last_boxed("\\boxed{" * 50_000 + "7}") == "7"
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


@pytest.mark.parametrize(
    ("response", "expected", "rule"),
    [
        ("So the answer is 12.", "12", "stated"),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", "\\frac{1}{2}", "stated"),
        ("**Answer:** 3/4", "3/4", "stated"),
        ("#### 1,250", "1,250", "stated"),
        ("The correct answer is (C) because of that", "C", "stated"),
        ("Answer: B", "B", "stated"),
        ("Final Answer: The largest $n$ is 34.", "34", "stated"),
        ("\\boxed{4} is a step. The final answer is $5$.", "5", "stated"),
        ("The answer is 4. But no: \\boxed{5}", "5", "box"),
        ("We get $x = 3$ and then $y = 7$ apples", "y = 7", "last"),
        ("She has 3 and then 1,250 apples", "1,250", "last"),
        ("\\frac{10}{9}", "\\frac{10}{9}", "last"),
        ("I do not know", None, None),
        ("<think>The answer is 4", None, None),
    ],
)
def test_lenient_extraction(response: str, expected: str | None, rule: str | None):
    assert find_answer(response, lenient=True) == (expected, rule)
    assert find_answer(response)[1] in (None, "box")


def test_what_is_understood_needs_no_worker():
    with AnswerChecker() as checker:
        for gold, answer, verdict in [
            ("7", " 7 ", "right"), ("7", "8", "wrong"), ("-7", "-07", "right"), ("7", "-7", "wrong"),
            ("\\frac12", "\\frac12", "right"), ("north", "north", "right"), ("", "", "unverifiable"),
            ("", "5", "unverifiable"), (" ", "5", "unverifiable"), ("9" * 99, "9" * 98 + "8", "wrong"),
            ("5", "", "wrong"), ("5", "?", "wrong"), ("5", "1" * 5000, "wrong"), ("7", "7 " * 3000, "wrong"),
            ("4", "\\text{There is no such number } n \\text{ after lemma } 2", "wrong"),
            ("\\text{Find } x \\text{ such that } 5", "5", "unverifiable"),
        ]:  # fmt: skip
            assert (gold, answer, checker.compare(gold, answer)) == (gold, answer, verdict)
        assert checker.all_workers[0].process is None
        assert checker.counts["unverifiable"] == 4
        assert checker.counts["undecided"] == 3


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("\\frac{1}{2}", "0.5", "right"), ("0.5", "\\frac12", "right"), ("0.5", "0.51", "wrong"),
        ("\\sqrt{8}", "2\\sqrt{2}", "right"), ("\\{1,2\\}", "\\{2,1\\}", "right"), ("(1,2)", "(2,1)", "wrong"),
        ("[0,1)", "[0,1]", "wrong"), ("x+1", "1+x", "right"), ("1,000", "1000", "right"), ("3", "x=3", "right"),
        ("50\\%", "0.5", "right"), ("2\\pi", "6.28", "wrong"), ("\\sum_{i=1}^3 i", "6", "right"),
        ("12", "12.0", "right"), ("1", "", "wrong"),
        ("2", "\\text{two", "right"), ("2", "\\text{too}", "wrong"), ("1", "\ud800", "wrong"),
        ("1", "\0\n\"'", "wrong"), ("\n", "x", "unverifiable"),
    ],
)  # fmt: skip
def test_equal_by_meaning(gold: str, answer: str, verdict: str, checker):
    assert checker.compare(gold, answer) == verdict


def test_the_gold_goes_first(checker):
    """Math-Verify takes a set for a gold relation, and not the other way round."""
    assert checker.ask("1<x<2", "(1,2)") == "right"
    assert checker.ask("(1,2)", "1<x<2") == "wrong"
    assert decide("3", "\\sum_{k=0}^{2} k") == (None, "")


def test_results_are_remembered(checker):
    assert checker.compare("3", "\\sum_{k=0}^{2} k") == "right"
    counts = checker.counts.copy()
    assert checker.compare("3", "\\sum_{k=0}^{2} k") == "right"
    assert checker.counts - counts == {"cache": 1}


CHOICES = ["12", "\\frac{1}{2}", "north", "0.25"]


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("A", 0), ("(B)", 1), ("\\text{C}", 2), ("\\textbf{(D)}", 3), ("12", 0), ("0.5", 1), ("North", 2), ("1/4", 3),
        ("(B) 0.5", 1), ("C. north", 2), ("\\textbf{(D)}\\ 0.25", 3), ("(A) 0.5", None), ("E", None), ("13", None),
        ("A, B", None), ("", None), ("b", 1), ("(c)", 2),
    ],
)  # fmt: skip
def test_choices_by_letter_text_and_value(answer: str, index: int | None):
    assert choice_of(answer, CHOICES) == index
    with AnswerChecker() as checker:
        for i, golds in enumerate([("A", "12"), ("B", "1/2"), ("C", "north"), ("(D)", "\\frac14")]):
            for gold in golds:
                verdict = checker.compare(gold, answer, CHOICES)
                assert (verdict == "right") == (i == index), (gold, answer)
                assert checker.judge(gold, f"\\boxed{{{answer}}}", choices=CHOICES).verdict == verdict


def test_a_letter_is_also_a_value():
    """Where the choices are letters themselves, in another order, the text wins: nothing says which is meant."""
    assert choice_of("A", ["B", "C", "A"]) == 2


def test_many_at_once(checker):
    judged = checker.judge_all(["1", "\\frac12", "3"], ["\\boxed{1}", "\\boxed{0.5}", "none"])
    assert [j.verdict for j in judged] == ["right", "right", "wrong"]
    with pytest.raises(ValueError):
        checker.judge_all(["1"], [])
    golds = ["6", "", "6", "7"] * 3
    assert checker.compare_all([(gold, "\\sum_{i=1}^3 i") for gold in golds]) == [
        {"6": "right", "": "unverifiable", "7": "wrong"}[gold] for gold in golds
    ]


def test_settings_out_of_range():
    for settings_ in ({"workers": 0}, {"timeout": 0}):
        with pytest.raises(ValueError):
            AnswerChecker(**settings_)


def process_of(checker: AnswerChecker) -> "subprocess.Popen[str]":
    process = checker.all_workers[0].process
    assert process is not None
    return process


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_hostile_answers_time_out_and_the_worker_is_replaced():
    with AnswerChecker(timeout=1.0) as checker:
        started = time.perf_counter()
        assert checker.ask("1/2", "0.5") == "right"
        first, starting = process_of(checker).pid, time.perf_counter() - started
        started = time.perf_counter()
        assert checker.compare("1", "\\sum_{i=1}^{10^{12}} \\frac{1}{i}") == "timed out"
        assert time.perf_counter() - started < 1 + 5
        assert gone(first)
        assert checker.ask("1/4", "0.25") == "right"
        second = process_of(checker).pid
        process_of(checker).kill()  # as the kernel does when memory runs out
        process_of(checker).wait()
        assert checker.ask("1/8", "0.125") == "right"  # asked once more, in another one
        assert checker.ask("1/5", "0.2") == "right"
        third = process_of(checker).pid
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
            found[j] = checker.ask(*pairs[j])
        verdicts.append(found)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {i: "wrong" if (i + 1) % 2 else "right" for i in range(len(pairs))}
    assert verdicts == [expected] * 4


def test_a_closed_checker_says_so():
    with AnswerChecker() as checker:
        pass
    with pytest.raises(RuntimeError, match="use it inside its `with` block"):
        checker.compare("3", "\\sum_{k=0}^{2} k")
    with pytest.raises(RuntimeError, match="use it inside its `with` block"):
        checker.compare_all([("3", "\\sum_{k=0}^{2} k")])
    assert checker.all_workers[0].process is None


def test_an_empty_gold_is_unverifiable_with_and_without_an_answer(checker):
    judged = [checker.judge("", response).verdict for response in ("\\boxed{1}", "nothing")]
    assert judged == ["unverifiable"] * 2
    assert [j.verdict for j in checker.judge_all(["", " "], ["\\boxed{1}", "nothing"])] == ["unverifiable"] * 2
