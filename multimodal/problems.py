"""Geometry problems with figures: what is given stands in the figure alone, and every step to the answer is known.

A family is a construction (a triangle with a line through it, a circle with a diameter, a rectangle and its diagonal):
it draws numbers, places points that have exactly these angles and lengths, and knows the steps. Then the figure is
turned, flipped and named. Problems come in bands by their number of steps: easy 1, medium 2, hard 3 or more.
"""

import cmath
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from PIL import Image

from multimodal.figures import TINY, AngleLabel, Crowded, Figure, LengthLabel, Style, draw

Split = Literal["train", "dev", "test"]
Line = tuple[str, str]

BANDS = {"easy": (1,), "medium": (2,), "hard": (3, 4)}  # number of steps
ATTEMPTS = 60  # to draw a problem of a family; families are drawn evenly as far as they have any
# Names of points in the order of their roles; O is the centre of a circle in all of them.
NAMES = ("ABCDEF", "PQRSTU", "KLMNGH")
QUESTIONS = {
    "x": {
        "train": ("Find x.", "What is x?", "How large is x?", "Look at the figure and find x."),
        "test": ("Work out the value of x.", "Which number does x stand for?"),
    },
    "area": {
        "train": ("Find the area.", "What is the area of the shape?", "How large is the area?"),
        "test": ("Work out the area of the shape shown.",),
    },
    "perimeter": {
        "train": ("Find the perimeter.", "What is the perimeter of the shape?", "How long is the perimeter?"),
        "test": ("Work out the perimeter of the shape shown.",),
    },
}


@dataclass(frozen=True)
class Step:
    """`name` (an angle as three points, a length as two, area or perimeter) has `value`, by `reason` (a shape or a
    mark of the figure) and these `equations`, e.g. `50+60=110`; none where it is the same as one that is known.
    """

    reason: str
    name: str
    equations: tuple[str, ...]
    value: int


@dataclass(frozen=True)
class Construction:
    """A figure before it is named: points by role letters, what is `given` (measures as in `Step.name`), what is
    `asked` (a measure, which is labelled x, or `area` or `perimeter`), the steps, and sentences that say what the
    marks and lines of the figure say.
    """

    points: Mapping[str, complex]
    lines: Sequence[Line]
    given: Mapping[str, int]
    asked: str
    steps: Sequence[Step]
    said: Sequence[str]
    circles: Sequence[Line] = ()
    equal: Sequence[Sequence[Line]] = ()
    parallel: Sequence[Sequence[Line]] = ()
    right: Sequence[tuple[str, str, str]] = ()
    unnamed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GeometryProblem:
    """`description`: all that the figure shows, in words. `steps` lead to the answer, the last one is it."""

    family: str
    band: str
    split: str
    question: str
    figure: Figure
    description: str
    steps: tuple[Step, ...]
    given: tuple[tuple[str, int], ...]
    asked: str
    said: tuple[str, ...] = field(repr=False)

    @property
    def answer(self) -> str:
        return str(self.steps[-1].value)

    @property
    def depth(self) -> int:
        return len(self.steps)


# ----------------------------------------------------------------------------------------------------- small helpers


def triangle(alpha: float, beta: float) -> dict[str, complex]:
    """A, B, C with these angles at A and B, and BC = 1 from left to right."""
    gamma = 180 - alpha - beta
    side = math.sin(math.radians(gamma)) / math.sin(math.radians(alpha))
    return {"A": cmath.rect(side, math.radians(beta)), "B": 0j, "C": 1 + 0j}


def loop(names: str) -> list[Line]:
    """The sides of a polygon."""
    return [(a, b) for a, b in zip(names, names[1:] + names[0], strict=True)]


def rest(reason: str, name: str, *others: int, of: int = 180) -> Step:
    """What is left of 180 degrees (or 90)."""
    if len(others) == 1:
        return Step(reason, name, (f"{of}-{others[0]}={of - others[0]}",), of - others[0])
    a, b = others
    return Step(reason, name, (f"{a}+{b}={a + b}", f"{of}-{a + b}={of - a - b}"), of - a - b)


def same(reason: str, name: str, value: int) -> Step:
    return Step(reason, name, (), value)


def twice(reason: str, name: str, value: int) -> Step:
    return Step(reason, name, (f"{value}+{value}={2 * value}",), 2 * value)


def half(reason: str, name: str, value: int) -> Step:
    return Step(reason, name, (f"{value}/2={value // 2}",), value // 2)


def product(reason: str, name: str, a: int, b: int) -> Step:
    return Step(reason, name, (f"{a}*{b}={a * b}",), a * b)


def total(reason: str, name: str, *parts: int) -> Step:
    equations, found = [], parts[0]
    for part in parts[1:]:
        equations.append(f"{found}+{part}={found + part}")
        found += part
    return Step(reason, name, tuple(equations), found)


def difference(reason: str, name: str, a: int, b: int) -> Step:
    return Step(reason, name, (f"{a}-{b}={a - b}",), a - b)


def bases(apex: int) -> tuple[str, str]:
    return f"180-{apex}={180 - apex}", f"{180 - apex}/2={(180 - apex) // 2}"


def even(rng: Random, low: int, high: int) -> int:
    return 2 * rng.randint((low + 1) // 2, high // 2)


# ------------------------------------------------------------------------------------------------------------- angles


def third_angle(rng: Random) -> Construction:
    a, b = rng.randint(30, 100), rng.randint(30, 100)
    return Construction(
        triangle(a, b), loop("ABC"), {"BAC": a, "ABC": b}, "ACB", [rest("Triangle ABC", "ACB", a, b)],
        ["Triangle ABC."],
    )  # fmt: skip


def right_triangle(rng: Random) -> Construction:
    b = rng.randint(30, 60)
    return Construction(
        triangle(90 - b, b), loop("ABC"), {"ABC": b}, "BAC", [rest("Right angle ACB", "BAC", b, of=90)],
        ["Triangle ABC.", "Right angle ACB."], right=[("A", "C", "B")],
    )  # fmt: skip


def isosceles_base(rng: Random) -> Construction:
    a = even(rng, 30, 110)
    return Construction(
        triangle(a, (180 - a) / 2), loop("ABC"), {"BAC": a}, "ABC",
        [Step("AB = AC", "ABC", bases(a), (180 - a) // 2)], ["Triangle ABC.", "AB = AC."],
        equal=[[("A", "B"), ("A", "C")]],
    )  # fmt: skip


def isosceles_apex(rng: Random) -> Construction:
    b = rng.randint(35, 70)
    return Construction(
        triangle(180 - 2 * b, b), loop("ABC"), {"ABC": b}, "BAC", [rest("AB = AC", "BAC", b, b)],
        ["Triangle ABC.", "AB = AC."], equal=[[("A", "B"), ("A", "C")]],
    )  # fmt: skip


def transversal(rng: Random) -> Construction:
    """AB and CD are parallel; the line EF cuts them in them."""
    a = rng.choice([*range(45, 80), *range(100, 136)])
    slope = cmath.rect(1, math.radians(a))
    low, high = 0j, slope / slope.imag
    points = {
        "A": high - 1, "B": high + 1, "C": low - 1, "D": low + 1, "E": high, "F": low,
        "above": high + 0.6 * slope, "below": low - 0.6 * slope,
    }  # fmt: skip
    return Construction(
        points, [("A", "B"), ("C", "D"), ("above", "below")], {"DFE": a}, "BEF", [rest("AB || CD", "BEF", a)],
        ["Lines AB and CD cut by a line in E and F.", "AB || CD."], parallel=[[("A", "B"), ("C", "D")]],
        unnamed=frozenset({"above", "below"}),
    )  # fmt: skip


def inscribed(rng: Random) -> Construction:
    """A chord AB seen from the centre and from C on the circle."""
    centre = even(rng, 60, 150)
    points = on_circle({"A": 270 - centre / 2, "B": 270 + centre / 2, "C": 90 + rng.randint(-25, 25)})
    lines = [("O", "A"), ("O", "B"), ("C", "A"), ("C", "B")]
    said = ["Circle around O through A, B and C."]
    if rng.random() < 0.5:
        step = half("Chord AB", "ACB", centre)
        return Construction(points, lines, {"AOB": centre}, "ACB", [step], said, circles=[("O", "A")])
    step = twice("Chord AB", "AOB", centre // 2)
    return Construction(points, lines, {"ACB": centre // 2}, "AOB", [step], said, circles=[("O", "A")])


def on_circle(directions: Mapping[str, float]) -> dict[str, complex]:
    """Points of the circle around O with radius 1, in these directions."""
    return {"O": 0j, **{name: cmath.rect(1, math.radians(at)) for name, at in directions.items()}}


def exterior(rng: Random) -> Construction:
    """BC goes on to D."""
    a, b = rng.randint(30, 90), rng.randint(30, 90)
    points = triangle(a, b)
    points["D"] = points["C"] + 0.7
    return Construction(
        points, [*loop("ABC"), ("C", "D")], {"BAC": a, "ACD": a + b}, "ABC",
        [rest("Line BCD", "ACB", a + b), rest("Triangle ABC", "ABC", a, 180 - a - b)],
        ["Triangle ABC.", "C on line BD."],
    )  # fmt: skip


def exterior_isosceles(rng: Random) -> Construction:
    b = rng.randint(35, 70)
    points = triangle(180 - 2 * b, b)
    points["D"] = points["C"] + 0.7
    return Construction(
        points, [*loop("ABC"), ("C", "D")], {"ACD": 180 - b}, "BAC",
        [rest("Line BCD", "ACB", 180 - b), same("AB = AC", "ABC", b), rest("Triangle ABC", "BAC", b, b)],
        ["Triangle ABC.", "C on line BD.", "AB = AC."], equal=[[("A", "B"), ("A", "C")]],
    )  # fmt: skip


def cevian(rng: Random) -> Construction:
    """D on BC; two or three steps."""
    b, first = rng.randint(30, 70), rng.randint(30, 55)
    second = rng.randint(25, min(60, 155 - b - first))
    c = 180 - b - first - second
    points = with_cevian(b, first, second)
    lines = [*loop("ABC"), ("A", "D")]
    adb = rest("Triangle ABD", "ADB", b, first)
    adc = rest("Line BDC", "ADC", adb.value)
    said = ["Triangle ABC.", "D on line BC."]
    if rng.random() < 0.4:
        return Construction(points, lines, {"ABD": b, "BAD": first}, "ADC", [adb, adc], said)
    steps = [adb, adc, rest("Triangle ADC", "CAD", adc.value, c)]
    return Construction(points, lines, {"ABD": b, "BAD": first, "ACD": c}, "CAD", steps, said)


def with_cevian(b: float, first: float, second: float) -> dict[str, complex]:
    """Triangle ABC with this angle at B, and D on BC so that AD parts the angle at A."""
    points = triangle(first + second, b)
    ratio = math.sin(math.radians(first)) / math.sin(math.radians(b))  # BD : AD
    d = 180 - b - first
    length = abs(points["A"]) * math.sin(math.radians(b)) / math.sin(math.radians(d))  # AD
    points["D"] = complex(length * ratio, 0)
    return points


def cevian_isosceles(rng: Random) -> Construction:
    """D on BC with AD = DC."""
    b, first = rng.randint(30, 80), rng.randint(30, 70)
    if (b + first) % 2:
        first += 1
    adb = rest("Triangle ABD", "ADB", b, first)
    adc = rest("Line BDC", "ADC", adb.value)
    second = (180 - adc.value) // 2
    return Construction(
        with_cevian(b, first, second), [*loop("ABC"), ("A", "D")], {"ABD": b, "BAD": first}, "CAD",
        [adb, adc, Step("AD = CD", "CAD", bases(adc.value), second)],
        ["Triangle ABC.", "D on line BC.", "AD = CD."], equal=[[("A", "D"), ("C", "D")]],
    )  # fmt: skip


def crossing(rng: Random) -> Construction:
    """AC and BD cross in E; triangles ABE and CDE."""
    a, b, c = rng.randint(35, 80), rng.randint(35, 80), rng.randint(35, 80)
    at = 180 - a - b
    points = crossed(a, b, c)
    steps = [
        rest("Triangle ABE", "AEB", a, b), same("Lines AC and BD", "CED", at), rest("Triangle CDE", "CDE", c, at),
    ]  # fmt: skip
    return Construction(
        points, [("A", "C"), ("B", "D"), ("A", "B"), ("C", "D")], {"BAE": a, "ABE": b, "DCE": c}, "CDE", steps,
        ["Lines AC and BD cross in E.", "Triangles ABE and CDE."],
    )  # fmt: skip


def crossed(a: float, b: float, c: float) -> dict[str, complex]:
    """The angles of ABE at A and B, and that of CDE at C."""
    first = triangle(a, b)  # its C is where the lines cross
    e, d = first["C"], a + b - c  # the angle at D
    size = abs(first["A"] - first["B"]) * 0.9
    ec = size * math.sin(math.radians(d)) / math.sin(math.radians(180 - a - b))
    ed = size * math.sin(math.radians(c)) / math.sin(math.radians(180 - a - b))
    points = {"A": first["A"], "B": first["B"], "E": e}
    points["C"] = e + ec * (e - first["A"]) / abs(e - first["A"])
    points["D"] = e + ed * (e - first["B"]) / abs(e - first["B"])
    return points


def crossing_parallel(rng: Random) -> Construction:
    a, at = rng.randint(35, 75), rng.randint(50, 100)
    points = crossed(a, 180 - a - at, a)
    steps = [same("AB || CD", "DCE", a), rest("Triangle CDE", "CDE", a, at)]
    return Construction(
        points, [("A", "C"), ("B", "D"), ("A", "B"), ("C", "D")], {"BAE": a, "CED": at}, "CDE", steps,
        ["Lines AC and BD cross in E.", "Triangles ABE and CDE.", "AB || CD."],
        parallel=[[("A", "B"), ("D", "C")]],
    )  # fmt: skip


def parallel_cut(rng: Random) -> Construction:
    """D on AB, E on AC, DE parallel to BC."""
    a, b = rng.randint(35, 90), rng.randint(35, 85)
    points = triangle(a, b)
    share = 0.68
    points["D"] = points["A"] + share * (points["B"] - points["A"])
    points["E"] = points["A"] + share * (points["C"] - points["A"])
    return Construction(
        points, [*loop("ABC"), ("D", "E")], {"BAC": a, "ADE": b}, "ACB",
        [same("DE || BC", "ABC", b), rest("Triangle ABC", "ACB", a, b)],
        ["Triangle ABC.", "D on line AB.", "E on line AC.", "DE || BC."], parallel=[[("D", "E"), ("B", "C")]],
    )  # fmt: skip


def diameter(rng: Random) -> Construction:
    """A triangle in a half circle."""
    b = rng.randint(30, 60)
    points = on_circle({"A": 180, "B": 0, "C": 180 - 2 * b})
    return Construction(
        points, loop("ABC"), {"ABC": b}, "BAC",
        [same("Diameter AB", "ACB", 90), rest("Right angle ACB", "BAC", b, of=90)],
        ["Circle around O through A, B and C.", "O on line AB."], circles=[("O", "A")],
    )  # fmt: skip


def radii(rng: Random) -> Construction:
    """OA = OB as radii; from the centre, or also from C on the circle."""
    a = rng.randint(20, 55)
    centre = 180 - 2 * a
    steps = [same("Radii OA and OB", "OBA", a), rest("Triangle OAB", "AOB", a, a)]
    if rng.random() < 0.4:
        points = on_circle({"A": 270 - centre / 2, "B": 270 + centre / 2})
        return Construction(
            points, loop("OAB"), {"OAB": a}, "AOB", steps, ["Circle around O through A and B."], circles=[("O", "A")]
        )
    points = on_circle({"A": 270 - centre / 2, "B": 270 + centre / 2, "C": 90 + rng.randint(-25, 25)})
    return Construction(
        points, [*loop("OAB"), ("C", "A"), ("C", "B")], {"OAB": a}, "ACB", [*steps, half("Chord AB", "ACB", centre)],
        ["Circle around O through A, B and C."], circles=[("O", "A")],
    )  # fmt: skip


def tangent(rng: Random) -> Construction:
    """BA touches the circle in A."""
    b = rng.randint(30, 60)
    points = on_circle({"A": 90})
    points["B"] = points["A"] + 1 / math.tan(math.radians(b))
    return Construction(
        points, loop("OAB"), {"ABO": b}, "AOB",
        [same("Tangent AB", "OAB", 90), rest("Right angle OAB", "AOB", b, of=90)],
        ["Circle around O through A.", "AB touches the circle in A."], circles=[("O", "A")],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ lengths

TRIPLES = (
    (3, 4, 5),
    (6, 8, 10),
    (5, 12, 13),
    (9, 12, 15),
    (8, 15, 17),
    (12, 16, 20),
    (4, 3, 5),
    (8, 6, 10),
    (12, 5, 13),
)


def box(width: float, height: float) -> dict[str, complex]:
    return {"A": 0j, "B": complex(width, 0), "C": complex(width, height), "D": complex(0, height)}


def rectangle(rng: Random, asked: str) -> Construction:
    a, b = rng.sample(range(3, 13), 2)
    steps = (
        [product("Rectangle ABCD", "area", a, b)]
        if asked == "area"
        else [Step("Rectangle ABCD", "perimeter", (f"{a}+{b}={a + b}", f"{a + b}+{a + b}={2 * (a + b)}"), 2 * (a + b))]
    )
    return Construction(
        box(a, b), loop("ABCD"), {"AB": a, "BC": b}, asked, steps, ["Rectangle ABCD."],
        right=[("D", "A", "B"), ("B", "C", "D")],
    )  # fmt: skip


def rectangle_area(rng: Random) -> Construction:
    return rectangle(rng, "area")


def rectangle_perimeter(rng: Random) -> Construction:
    return rectangle(rng, "perimeter")


def right_triangle_area(rng: Random) -> Construction:
    a, b = even(rng, 4, 12), rng.randint(3, 12)
    return Construction(
        {"A": complex(0, b), "B": complex(a, 0), "C": 0j}, loop("ABC"), {"BC": a, "AC": b}, "area",
        [Step("Right angle ACB", "area", (f"{a}*{b}={a * b}", f"{a * b}/2={a * b // 2}"), a * b // 2)],
        ["Triangle ABC.", "Right angle ACB."], right=[("A", "C", "B")],
    )  # fmt: skip


def isosceles_perimeter(rng: Random) -> Construction:
    side = rng.randint(5, 30)
    base = rng.randint(max(3, side // 2), side * 3 // 2)
    points = {"A": complex(base / 2, math.sqrt(side**2 - base**2 / 4)), "B": 0j, "C": complex(base, 0)}
    return Construction(
        points, loop("ABC"), {"AB": side, "BC": base}, "perimeter",
        [same("AB = AC", "AC", side), total("Triangle ABC", "perimeter", side, side, base)],
        ["Triangle ABC.", "AB = AC."], equal=[[("A", "B"), ("A", "C")]],
    )  # fmt: skip


def root(reason: str, name: str, a: int, b: int, sign: str) -> Step:
    """The third side of a right triangle: of legs (+), of the longest side and a leg (-)."""
    squared = a * a + b * b if sign == "+" else a * a - b * b
    c = math.isqrt(squared)
    equations = (f"{a}*{a}={a * a}", f"{b}*{b}={b * b}", f"{a * a}{sign}{b * b}={squared}", f"{c}*{c}={squared}")
    return Step(reason, name, equations, c)


def hypotenuse(rng: Random) -> Construction:
    a, b, c = rng.choice(TRIPLES)
    points = {"A": complex(0, b), "B": complex(a, 0), "C": 0j}
    right = [("A", "C", "B")]
    said = ["Triangle ABC.", "Right angle ACB."]
    longest = root("Right angle ACB", "AB", a, b, "+")
    if rng.random() < 0.5:
        return Construction(points, loop("ABC"), {"BC": a, "AC": b}, "AB", [longest], said, right=right)
    steps = [longest, total("Triangle ABC", "perimeter", a, b, c)]
    return Construction(points, loop("ABC"), {"BC": a, "AC": b}, "perimeter", steps, said, right=right)


def rectangle_diagonal(rng: Random) -> Construction:
    a, b, c = rng.choice(TRIPLES)
    side = root("Triangle ABC", "BC", c, a, "-")
    if rng.random() < 0.5:
        steps = [side, total("Rectangle ABCD", "AB + BC", a, b), twice("Rectangle ABCD", "perimeter", a + b)]
        asked = "perimeter"
    else:
        steps, asked = [side, product("Rectangle ABCD", "area", a, b)], "area"
    return Construction(
        box(a, b), [*loop("ABCD"), ("A", "C")], {"AB": a, "AC": c}, asked, steps, ["Rectangle ABCD."],
        right=[("A", "B", "C"), ("C", "D", "A")],
    )  # fmt: skip


def corner(rng: Random) -> Construction:
    """A rectangle with one corner cut out: A to F around it."""
    width, height = rng.randint(6, 12), rng.randint(6, 12)
    left, low = rng.randint(2, width - 3), rng.randint(2, height - 3)
    points = {
        "A": 0j, "B": complex(width, 0), "C": complex(width, low), "D": complex(left, low), "E": complex(left, height),
        "F": complex(0, height),
    }  # fmt: skip
    given = {"AB": width, "AF": height, "BC": low, "EF": left}
    cut = difference("AB - EF", "CD", width, left)
    if rng.random() < 0.5:
        steps = [
            cut, product("Tall part", "AF * EF", height, left), product("Low part", "CD * BC", cut.value, low),
            total("Both parts", "area", height * left, cut.value * low),
        ]  # fmt: skip
        return corner_shape(points, given, "area", steps)
    up = difference("AF - BC", "DE", height, low)
    steps = [cut, up, total("All sides", "perimeter", width, low, cut.value, up.value, left, height)]
    return corner_shape(points, given, "perimeter", steps)


def corner_shape(
    points: Mapping[str, complex], given: Mapping[str, int], asked: str, steps: list[Step]
) -> Construction:
    return Construction(
        points, loop("ABCDEF"), given, asked, steps, ["Shape ABCDEF with right angles."],
        right=[("F", "A", "B")],
    )  # fmt: skip


def trapezoid(rng: Random) -> Construction:
    """AB and CD are parallel, with right angles at A and D."""
    long, short = sorted(rng.sample(range(3, 13), 2), reverse=True)
    height = even(rng, 4, 10)
    points = {"A": 0j, "B": complex(long, 0), "C": complex(short, height), "D": complex(0, height)}
    both = total("AB || CD", "AB + CD", long, short)
    step = Step(
        "Trapezoid ABCD", "area",
        (f"{both.value}*{height}={both.value * height}", f"{both.value * height}/2={both.value * height // 2}"),
        both.value * height // 2,
    )  # fmt: skip
    return Construction(
        points, loop("ABCD"), {"AB": long, "CD": short, "AD": height}, "area", [both, step],
        ["Trapezoid ABCD.", "AB || CD.", "Right angle BAD."], parallel=[[("A", "B"), ("D", "C")]],
        right=[("B", "A", "D")],
    )  # fmt: skip


def circle_in_square(rng: Random) -> Construction:
    radius = rng.randint(2, 9)
    points = {"O": 0j, "A": -1 - 1j, "B": 1 - 1j, "C": 1 + 1j, "D": -1 + 1j, "E": 1 + 0j}
    points = {name: radius * at for name, at in points.items()}
    side = twice("Circle in ABCD", "AB", radius)
    last = (
        product("Square ABCD", "area", side.value, side.value)
        if rng.random() < 0.5
        else Step("Square ABCD", "perimeter", (f"4*{side.value}={4 * side.value}",), 4 * side.value)
    )
    return Construction(
        points, [*loop("ABCD"), ("O", "E")], {"OE": radius}, last.name, [side, last],
        ["Square ABCD.", "Circle around O touches the sides, BC in E."], circles=[("O", "E")],
    )  # fmt: skip


FAMILIES: dict[str, Callable[[Random], Construction]] = {
    made.__name__: made
    for made in (
        third_angle, right_triangle, isosceles_base, isosceles_apex, transversal, inscribed, exterior,
        exterior_isosceles, cevian, cevian_isosceles, crossing, crossing_parallel, parallel_cut, diameter, radii,
        tangent, rectangle_area, rectangle_perimeter, right_triangle_area, isosceles_perimeter, hypotenuse,
        rectangle_diagonal, corner, trapezoid, circle_in_square,
    )
}  # fmt: skip

# ------------------------------------------------------------------------------------------------- figures of problems


def named(text: str, names: Mapping[str, str]) -> str:
    """The text with names in the place of role letters: words that consist of these alone."""
    return re.sub(r"\b[A-FO]+\b", lambda found: "".join(names[role] for role in found[0]), text)


def measure(name: str, value: object) -> str:
    """`Angle ABC = 50.`, `AB = 7.`"""
    return f"{'Angle ' if len(name) == 3 else ''}{name} = {value}."


def posed(family: str, made: Construction, band: str, split: str, rng: Random) -> GeometryProblem:
    """The construction named, turned and asked about."""
    alphabet = rng.choice(NAMES)
    names = {role: alphabet["ABCDEF".index(role)] if role in "ABCDEF" else role for role in made.points}
    turn = cmath.rect(1, math.radians(90 * rng.randrange(4) if rng.random() < 0.6 else 15 * rng.randrange(24)))
    flip = rng.random() < 0.5
    points = {names[role]: turn * (at.conjugate() if flip else at) for role, at in made.points.items()}

    def lines(group: Sequence[Line]) -> list[Line]:
        return [(names[a], names[b]) for a, b in group]

    given = [(named(name, names), value) for name, value in made.given.items()]
    asked = named(made.asked, names)
    shown: list[tuple[str, object]] = [*given, *([(asked, "x")] if asked not in QUESTIONS else [])]
    figure = Figure(
        points, lines(made.lines), [label(name, str(text)) for name, text in shown], lines(made.circles),
        [lines(group) for group in made.equal], [lines(group) for group in made.parallel],
        [(names[a], names[v], names[b]) for a, v, b in made.right], made.unnamed,
    )  # fmt: skip
    said = tuple(named(sentence, names) for sentence in made.said)
    steps = tuple(replace(step, reason=named(step.reason, names), name=named(step.name, names)) for step in made.steps)
    question = rng.choice(QUESTIONS[asked if asked in QUESTIONS else "x"]["test" if split == "test" else "train"])
    description = " ".join([*said, *(measure(name, text) for name, text in shown)])
    return GeometryProblem(family, band, split, question, figure, description, steps, tuple(given), asked, said)


def label(name: str, text: str) -> AngleLabel | LengthLabel:
    if len(name) == 3:
        return AngleLabel(name[0], name[1], name[2], text)
    return LengthLabel(name[0], name[1], text)


def split_of(family: str, made: Construction) -> Split:
    """By the numbers of the problem: no figure with the same numbers stands in two splits."""
    numbers = f"{family} {sorted(made.given.values())} {made.asked}"
    part = int.from_bytes(hashlib.sha256(numbers.encode()).digest()[:4]) % 10
    return "test" if part == 9 else "dev" if part == 8 else "train"


def problems(
    split: Split, seed: int = 0, style: Style = TINY, bands: Sequence[str] = tuple(BANDS)
) -> Iterator[tuple[GeometryProblem, Image.Image]]:
    """Endless stream of problems with their figures, bands in turn; one depends on (seed, split, its place) and the
    style alone. The answer never stands in the figure.
    """
    i = 0
    while True:
        rng = Random(f"geometry/{seed}/{split}/{i}")
        band = bands[i % len(bands)]
        yield draw_problem(split, band, style, rng)
        i += 1


def draw_problem(split: Split, band: str, style: Style, rng: Random) -> tuple[GeometryProblem, Image.Image]:
    while True:
        family = rng.choice(list(FAMILIES))
        for _ in range(ATTEMPTS):
            made = FAMILIES[family](rng)
            if len(made.steps) not in BANDS[band] or split_of(family, made) != split or not clear(made):
                continue
            problem = posed(family, made, band, split, rng)
            with suppress(Crowded):
                return problem, draw(problem.figure, style)


def clear(made: Construction) -> bool:
    """The answer is none of the numbers shown, and no angle is so small or large that it could be misread."""
    measured = [*made.given.items(), *((step.name, step.value) for step in made.steps)]
    return made.steps[-1].value not in made.given.values() and all(
        20 <= value <= 150 for name, value in measured if len(name) == 3
    )
