"""Answers that try to be taken for right ones: a policy that is rewarded by the checker finds every one of them."""

import time
from collections.abc import Iterator

import pytest

from data_prep.answers import AnswerChecker
from tests.data_prep.adversarial import CASES, RIGHT, Case

SECONDS = 2.0  # that one verdict may take, the start of a worker not counted


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker(workers=2) as checker:
        yield checker


def judged(checker: AnswerChecker, case: Case) -> tuple[str, float]:
    """Verdict, or the name of what was raised; and seconds."""
    for number, worker in enumerate(checker.all_workers):
        if worker.process is None:  # not started yet, or killed by the case before
            worker.ask("1", f"{number + 1}")
    _, gold, response, choices = case
    started = time.perf_counter()
    try:
        verdict: str = checker.judge(gold, response, choices=choices).verdict
    except Exception as error:
        verdict = type(error).__name__
    return verdict, time.perf_counter() - started


def test_the_cases_are_many_and_different():
    assert len(CASES) >= 250
    assert len({case[1:3] + (str(case[3]),) for case in CASES}) == len(CASES)
    assert len({name for name, *_ in CASES}) == len(CASES)
    assert len(RIGHT) >= 40


FAMILIES = sorted({name.partition(":")[0] for name, *_ in CASES})


@pytest.mark.parametrize("family", FAMILIES)
def test_none_is_taken_for_right(family: str, checker: AnswerChecker):
    found = {case[0]: judged(checker, case) for case in CASES if case[0].partition(":")[0] == family}
    known: tuple[str, ...] = ("wrong", "unverifiable", "timed out")
    assert {name: verdict for name, (verdict, _) in found.items() if verdict not in known} == {}
    assert {name: seconds for name, (_, seconds) in found.items() if seconds > SECONDS} == {}


def test_right_ones_of_the_same_shapes_are_right(checker: AnswerChecker):
    found = {case[0]: judged(checker, case) for case in RIGHT}
    assert {name: verdict for name, (verdict, _) in found.items() if verdict != "right"} == {}
    assert {name: seconds for name, (_, seconds) in found.items() if seconds > SECONDS} == {}
