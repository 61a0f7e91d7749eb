"""Rewards: bounded, and None where nothing can be told."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.answers import AnswerChecker
from data_prep.sandbox.judging import open_judge
from rl.rewards import Format, Outcome, language

GOOD = "<think>\n1 + 1 = 2\n</think>\n\nThe answer is \\boxed{2}."


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker() as checker:
        yield checker


def test_an_outcome_is_1_or_0_or_unknown(checker: AnswerChecker) -> None:
    outcome = Outcome(checker)
    completions = [GOOD, "\\boxed{3}", GOOD, "nothing", "<think> \\boxed{2}"]
    assert outcome(completions, ["2", "2", "", "2", "2"]) == [1.0, 0.0, None, 0.0, 0.0]
    assert outcome([[{"role": "assistant", "content": GOOD}]], ["2"]) == [1.0]
    assert outcome(["\\boxed{B}", "\\boxed{A}"], ["B", "3"], choices=[["1", "2"], None]) == [1.0, 0.0]
    assert outcome(["x </think> \\boxed{2}"], ["2"]) == [1.0]
    assert Outcome(checker, thought_open=True)(["still thinking \\boxed{2}"], ["2"]) == [0.0]


def test_a_program_may_earn_the_share_of_the_tests_that_it_passes(checker: AnswerChecker) -> None:
    tests = {"inputs": ["3\n", "4\n", "0\n", "x\n"], "outputs": ["6\n", "8\n", "1\n", "y\n"]}
    program = "```python\nprint(2 * int(input()))\n```"
    with open_judge("auto", 6.0, 1) as code:
        outcome = Outcome(checker, code, fraction=True)
        found = outcome([program, "no program", program], [None] * 3, tests=[tests, tests, {"x": 1}])
    assert found == [0.5, 0.0, None]


def test_programs_are_judged_by_their_tests_in_the_sandbox(checker: AnswerChecker) -> None:
    tests = {"inputs": ["3\n"], "outputs": ["6\n"]}
    program = "```python\nprint(2 * int(input()))\n```"
    with open_judge("auto", 6.0, 1) as code:
        outcome = Outcome(checker, code)
        found = outcome([program, "```python\nprint(7)\n```", GOOD, program], [None, None, "2", None],
                        tests=[tests, tests, None, {"x": 1}])  # fmt: skip
    assert found == [1.0, 0.0, 1.0, None]
    with pytest.raises(ValueError, match="no sandbox"):
        Outcome(checker)([program], [None], tests=[tests])


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (GOOD, True),
        ("1 + 1 = 2\n</think>\n\n\\boxed{2}", False),
        ("<think>a</think> <think>b</think> \\boxed{2}", False),
        ("<think> \\boxed{2}", False),
        ("<think>\\boxed{2}</think> so", False),
        ("<think> </think> \\boxed{2}", False),
        ("First: <think>a</think> \\boxed{2}", False),
    ],
)
def test_a_format_is_one_thought_and_then_a_box(text: str, holds: bool) -> None:
    assert Format()([text]) == [float(holds)]
    assert Format(thought_open=True)([text.removeprefix("<think>")]) == [float(holds or text.startswith("1 + 1"))]


def test_another_script_than_the_problem_s_costs_its_share() -> None:
    found = language(
        ["so four", "so 四", "四四", "$\\alpha$ and α", "42", "да"], ["How many?"] * 5 + ["Сколько?"]
    )  # fmt: skip
    assert found == pytest.approx([0.0, -1 / 3, -1.0, -1 / 4, 0.0, 0.0])


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_has_rewards_within_their_bounds(text: str, problem: str) -> None:
    assert -1.0 <= language([text], [problem])[0] <= 0.0
    assert Format()([text])[0] in (0.0, 1.0)
