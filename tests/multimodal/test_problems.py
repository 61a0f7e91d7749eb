"""Geometry problems: what a figure shows is what is true of its points, and the steps lead there."""

import re
from collections import Counter
from itertools import combinations, islice
from random import Random

import pytest
import sympy
from sympy.geometry import Point, Polygon

from multimodal.figures import LARGE, TINY, Style
from multimodal.problems import BANDS, FAMILIES, QUESTIONS, GeometryProblem, Split, clear, posed, problems

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def some(family: str, n: int) -> list[GeometryProblem]:
    found: list[GeometryProblem] = []
    for i in range(100 * n):
        rng = Random(f"{family}{i}")
        made = FAMILIES[family](rng)
        if clear(made):
            found.append(posed(family, made, "", "train", rng))
        if len(found) == n:
            break
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_those_of_the_figure(family: str) -> None:
    """Angles and lengths measured by sympy in the points of the figure, areas and perimeters too."""
    seen = some(family, 20)
    assert len(seen) == 20
    for problem in seen:
        at = {name: Point(p.real, p.imag, evaluate=False) for name, p in problem.figure.points.items()}
        known = dict(problem.given) | {step.name: step.value for step in problem.steps}
        for name, value in known.items():
            if re.fullmatch("[A-Z]{3}", name):
                a, vertex, b = (at[letter] for letter in name)
                measured = sympy.deg(
                    sympy.acos((a - vertex).dot(b - vertex) / (a.distance(vertex) * b.distance(vertex)))
                )
            elif re.fullmatch("[A-Z]{2}", name):
                measured = at[name[0]].distance(at[name[1]])
            elif name in QUESTIONS:
                corners = next(word for word in problem.said[0].rstrip(".").split() if word.isupper())
                shape = Polygon(*(at[letter] for letter in corners))
                measured = abs(shape.area) if name == "area" else shape.perimeter
            else:
                continue  # a sum or a part
            assert float(measured) == pytest.approx(value, abs=1e-6), (name, problem)
        for group in problem.figure.equal:
            lengths = [problem.figure.length(*line) for line in group]
            assert lengths == pytest.approx([lengths[0]] * len(lengths))
        for group in problem.figure.parallel:
            ways = [problem.figure.points[b] - problem.figure.points[a] for a, b in group]
            assert all(abs((way / ways[0]).imag) < 1e-9 for way in ways)
        for corner in problem.figure.right:
            assert problem.figure.angle(*corner) == pytest.approx(90)


@pytest.mark.parametrize("family", FAMILIES)
def test_equations_hold_and_use_what_is_known(family: str) -> None:
    for problem in some(family, 50):
        known = {str(value) for _, value in problem.given} | {"180", "90", "2", "4"}
        for step in problem.steps:
            for equation in step.equations:
                left, result = equation.split("=")
                assert sympy.sympify(left) == int(result), equation
                a, b = re.findall(r"\d+", left)
                is_root = a == b and result in known  # which number, squared, is this one?
                assert {a, b} <= known or is_root, (equation, problem)
                known.add(result)
            assert not step.equations or step.equations[-1].endswith(f"={step.value}") or "*" in step.equations[-1]
            known.add(str(step.value))
        assert problem.answer not in {str(value) for _, value in problem.given}
        assert not re.search(r"\d", problem.question)


@pytest.mark.parametrize("style", [TINY, LARGE], ids=["tiny", "large"])
def test_a_stream_of_problems_repeats_itself_and_is_balanced(style: Style) -> None:
    first = list(islice(problems("train", 3, style), 300))
    again = list(islice(problems("train", 3, style), 30))
    assert [p for p, _ in first[:30]] == [p for p, _ in again]
    assert [im.tobytes() for _, im in first[:30]] == [im.tobytes() for _, im in again]
    assert all(image.size == (style.size, style.size) and image.mode == "RGB" for _, image in first)
    assert Counter(p.band for p, _ in first) == dict.fromkeys(BANDS, 100)
    assert all(p.depth in BANDS[p.band] for p, _ in first)
    by_family = Counter(p.family for p, _ in first)
    assert set(by_family) == set(FAMILIES)
    assert max(by_family.values()) < 60


def test_splits_share_no_numbers_and_tests_are_asked_in_other_words() -> None:
    seen = {split: [p for p, _ in islice(problems(split, 0), 400)] for split in SPLITS}
    asked = {split: {p.question for p in own} for split, own in seen.items()}
    assert asked["train"] == asked["dev"]
    assert not asked["train"] & asked["test"]
    numbers = {
        split: {(p.family, p.answer, p.asked in QUESTIONS and p.asked, *sorted(v for _, v in p.given)) for p in own}
        for split, own in seen.items()
    }
    for a, b in combinations(SPLITS, 2):
        assert not numbers[a] & numbers[b]


def test_most_problems_of_a_family_find_room_in_the_tiny_figure() -> None:
    """So that crowded figures are no hidden choice of easy ones."""
    by_family = Counter(p.family for p, _ in islice(problems("train", 1), 900))
    assert min(by_family.values()) >= 8
