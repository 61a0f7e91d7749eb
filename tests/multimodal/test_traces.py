"""Responses to geometry problems: right, and wrong only where they say so."""

from itertools import islice
from random import Random

from sympy import sympify

from data_prep.answers import extract_answer
from data_prep.mcts.steps import corrects_itself
from multimodal.problems import problems
from multimodal.traces import EQUATION, long_cot, short_answer


def test_a_trace_reads_the_figure_computes_and_answers() -> None:
    for i, (problem, _) in enumerate(islice(problems("train", 5), 200)):
        text = long_cot(problem, Random(i), slip_rate=0.0)
        assert text.startswith(f"<think>\n{problem.description}\n\n")
        assert extract_answer(text) == extract_answer(short_answer(problem)) == problem.answer
        assert not corrects_itself(text)
        for left_a, sign, left_b, result in EQUATION.findall(text):
            assert sympify(f"{left_a}{sign}{left_b}") == int(result), text
        for _, value in problem.given:
            assert f"= {value}." in text


def test_a_slip_is_noticed_and_put_right() -> None:
    n_slips = 0
    for i, (problem, _) in enumerate(islice(problems("train", 6), 100)):
        text = long_cot(problem, Random(i), slip_rate=0.5)
        wrong = [m for m in EQUATION.findall(text) if sympify("".join(m[:3])) != int(m[3])]
        n_slips += len(wrong)
        assert corrects_itself(text) == bool(wrong)
        assert text.count("Again:") == len(wrong)
        assert extract_answer(text) == problem.answer
    assert n_slips > 50


def test_checks_are_as_frequent_as_asked() -> None:
    some = list(islice(problems("train", 7), 100))
    count = [
        sum(long_cot(p, Random(i), check_rate=rate, slip_rate=0.0).count("Check:") for i, (p, _) in enumerate(some))
        for rate in (0.0, 0.5, 1.0)
    ]
    assert count[0] == 0 < 0.4 * count[2] < count[1] < 0.6 * count[2]
