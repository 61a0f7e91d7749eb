"""Figures of plane geometry, drawn with Pillow: named points, lines, circles, marks, and labels that do not collide.

Coordinates are complex numbers in any unit, y upwards; a drawing fits them into the picture. Angles are in degrees.
"""

import cmath
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont


class Crowded(ValueError):
    """A label finds no free place."""


@dataclass(frozen=True)
class AngleLabel:
    """`text` inside the angle at `vertex` between the rays to `a` and `b` (names of points)."""

    a: str
    vertex: str
    b: str
    text: str


@dataclass(frozen=True)
class LengthLabel:
    """`text` beside the segment from `a` to `b`."""

    a: str
    b: str
    text: str


@dataclass(frozen=True)
class Figure:
    """`lines`: pairs of names. `circles`: names of the centre and of a point on it. `equal` and `parallel`: groups of
    lines that get the same marks (strokes, arrows). `right`: right angles, as (a, vertex, b). Names are written beside
    all points but those in `unnamed`.
    """

    points: Mapping[str, complex]
    lines: Sequence[tuple[str, str]]
    labels: Sequence[AngleLabel | LengthLabel] = ()
    circles: Sequence[tuple[str, str]] = ()
    equal: Sequence[Sequence[tuple[str, str]]] = ()
    parallel: Sequence[Sequence[tuple[str, str]]] = ()
    right: Sequence[tuple[str, str, str]] = ()
    unnamed: frozenset[str] = frozenset()

    def angle(self, a: str, vertex: str, b: str) -> float:
        """From 0 to 180."""
        arms = [self.points[end] - self.points[vertex] for end in (a, b)]
        return abs(math.degrees(cmath.phase(arms[0] / arms[1])))

    def length(self, a: str, b: str) -> float:
        return abs(self.points[a] - self.points[b])


@dataclass(frozen=True)
class Style:
    """How a figure is drawn. `size`: pixels of a side. `cell`: characters stand in cells of so many pixels, on a grid,
    so that a small vision model finds each in one patch; None: anywhere, by the width of the font. `font_size` in
    pixels, `width` of lines, `degrees`: with the degree sign.
    """

    size: int
    font_size: int
    width: int
    cell: int | None = None
    degrees: bool = True

    @property
    def margin(self) -> int:
        return round(1.6 * self.font_size)


LARGE = Style(448, 20, 2)
TINY = Style(112, 10, 1, cell=8, degrees=False)


@cache
def font(style: Style) -> ImageFont.FreeTypeFont:
    """DejaVu, which matplotlib brings along: monospaced where characters have cells."""
    name = "DejaVuSansMono.ttf" if style.cell else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf" / name, style.font_size)


def draw(figure: Figure, style: Style) -> Image.Image:
    """An RGB image, black on white. Raises Crowded."""
    at = fitted(figure, style)
    image = strokes(figure, at, style)
    canvas = ImageDraw.Draw(image)
    ink = np.asarray(image) < 192
    taken: list[tuple[int, int, int, int]] = []
    names = [name for name in figure.points if name not in figure.unnamed]
    for label in sorted(figure.labels, key=lambda one: isinstance(one, LengthLabel)):  # angles have the least room
        if isinstance(label, AngleLabel):
            text = f"{label.text}°" if style.degrees and label.text.isdigit() else label.text
            corners = (at[label.vertex], at[label.a], at[label.b])
            write(canvas, text, in_angle(label, at, style), ink, taken, style, corners)
        else:
            write(canvas, label.text, beside(label, at, style), ink, taken, style)
    for name in names:
        write(canvas, name, around(name, at, figure, style), ink, taken, style)
    return image.convert("RGB")


def fitted(figure: Figure, style: Style) -> dict[str, complex]:
    """Where the points are in pixels, y downwards."""
    box = [point for name, point in figure.points.items()]
    for centre, rim in figure.circles:
        radius = figure.length(centre, rim)
        box += [figure.points[centre] + radius * turn for turn in (1, -1, 1j, -1j)]
    low = complex(min(p.real for p in box), min(p.imag for p in box))
    high = complex(max(p.real for p in box), max(p.imag for p in box))
    scale = (style.size - 2 * style.margin) / max((high - low).real, (high - low).imag)
    middle, centre_of_image = (low + high) / 2, complex(style.size, style.size) / 2
    return {name: centre_of_image + scale * (p - middle).conjugate() for name, p in figure.points.items()}


FINER = 4  # lines are drawn so many times larger and then made smaller, which smooths them


def strokes(figure: Figure, at: Mapping[str, complex], style: Style) -> Image.Image:
    """The lines and marks, grey from 0 to 255."""
    image = Image.new("L", (FINER * style.size, FINER * style.size), 255)
    canvas = ImageDraw.Draw(image)

    def line(a: complex, b: complex) -> None:
        ends = [FINER * value for value in (a.real, a.imag, b.real, b.imag)]
        canvas.line(ends, fill=0, width=FINER * style.width)

    def disc(middle: complex, radius: float, **drawn: int) -> None:
        low, high = middle - radius * (1 + 1j), middle + radius * (1 + 1j)
        canvas.ellipse([FINER * value for value in (low.real, low.imag, high.real, high.imag)], **drawn)

    for a, b in figure.lines:
        line(at[a], at[b])
    for centre, rim in figure.circles:
        disc(at[centre], abs(at[rim] - at[centre]) + style.width / 2, outline=0, width=FINER * style.width)
        disc(at[centre], 1.2 * style.width, fill=0)
    unit = 0.35 * style.font_size
    for n, group in enumerate(figure.equal, 1):  # strokes across
        for a, b in group:
            along = (at[b] - at[a]) / abs(at[b] - at[a])
            for k in range(n):
                middle = (at[a] + at[b]) / 2 + along * unit * 0.9 * (k - (n - 1) / 2)
                line(middle - along * 1j * unit, middle + along * 1j * unit)
    for n, group in enumerate(figure.parallel, 1):  # arrows
        for a, b in group:
            along = (at[b] - at[a]) / abs(at[b] - at[a])
            for k in range(n):
                tip = at[a] + 0.4 * (at[b] - at[a]) + along * unit * k
                for side in (1j, -1j):
                    line(tip, tip + unit * 1.2 * along * (-1 + side) / math.sqrt(2))
    for a, vertex, b in figure.right:  # squares
        arms = [(at[end] - at[vertex]) / abs(at[end] - at[vertex]) * 1.8 * unit for end in (a, b)]
        line(at[vertex] + arms[0], at[vertex] + arms[0] + arms[1])
        line(at[vertex] + arms[1], at[vertex] + arms[0] + arms[1])
    return image.reduce(FINER)


# -------------------------------------------------------------------------------------------------- places of labels


def in_angle(label: AngleLabel, at: Mapping[str, complex], style: Style) -> Iterator[complex]:
    """Along the bisector and near it, from the vertex outwards."""
    arms = [at[end] - at[label.vertex] for end in (label.a, label.b)]
    first, opening = arms[0] / abs(arms[0]), cmath.phase(arms[1] / arms[0])
    reach = max(abs(arm) for arm in arms)
    step = style.font_size / 4
    for k in range(2, int(reach / step) + 1):
        for share in (0.5, 0.42, 0.58):
            yield at[label.vertex] + k * step * first * cmath.exp(1j * share * opening)


def beside(label: LengthLabel, at: Mapping[str, complex], style: Style) -> Iterator[complex]:
    """On both sides of the middle, away from the other points first."""
    a, b = at[label.a], at[label.b]
    across = 1j * (b - a) / abs(b - a)
    middle = sum(at.values()) / len(at)
    if ((middle - (a + b) / 2) * across.conjugate()).real > 0:
        across = -across
    for far in (0.8, 1.0, 1.2, 1.5):
        for share in (0.5, 0.4, 0.6):
            for side in (1, -1):
                yield a + share * (b - a) + side * far * style.font_size * across


def around(name: str, at: Mapping[str, complex], figure: Figure, style: Style) -> Iterator[complex]:
    """Round the point, in the widest gap between its lines first."""
    ends = [b if a == name else a for a, b in figure.lines if name in (a, b)]
    through = [end for a, b in figure.lines for end in (a, b) if name not in (a, b) and between(at[name], at[a], at[b])]
    middle = sum(at.values()) / len(at)
    directions = sorted(cmath.phase(at[end] - at[name]) for end in [*ends, *through])
    gaps = [
        (later - sooner, (later + sooner) / 2)
        for sooner, later in zip(directions, [*directions[1:], directions[0] + 2 * math.pi], strict=True)
    ] if directions else [(2 * math.pi, cmath.phase(at[name] - middle))]  # fmt: skip
    for far in (0.75, 0.95, 1.2):
        for _, direction in sorted(gaps, reverse=True):
            yield at[name] + far * style.font_size * cmath.exp(1j * direction)
        for k in range(16):
            yield at[name] + far * style.font_size * cmath.exp(2j * math.pi * k / 16)


def between(point: complex, a: complex, b: complex) -> bool:
    """Whether the point is on the segment, within a thousandth of its length."""
    return abs(abs(point - a) + abs(point - b) - abs(a - b)) < 1e-3 * abs(a - b)


def inside(point: complex, corners: Sequence[complex]) -> bool:
    """Whether the point is in the triangle, and not at its edge."""
    a, b, c = corners
    signs = [((q - p).conjugate() * (point - p)).imag for p, q in ((a, b), (b, c), (c, a))]
    return all(s > 0 for s in signs) or all(s < 0 for s in signs)


def write(
    canvas: ImageDraw.ImageDraw, text: str, places: Iterator[complex], ink: np.ndarray,
    taken: list[tuple[int, int, int, int]], style: Style, corners: Sequence[complex] = (),
) -> None:  # fmt: skip
    """Writes the text at the first place where nothing is, its middle inside the triangle of `corners` if they are
    given. Raises Crowded.
    """
    if style.cell:
        width, height = style.cell * len(text), style.cell
    else:
        left, _, right, _ = font(style).getbbox(text, anchor="ls")
        width, height = math.ceil(right - left) + 2, round(0.85 * style.font_size)
    for place in places:
        x, y = place.real - width / 2, place.imag - height / 2
        if style.cell:
            x, y = (style.cell * round(edge / style.cell) for edge in (x, y))
        box = (round(x), round(y), round(x) + width, round(y) + height)
        in_picture = box[0] >= 0 and box[1] >= 0 and box[2] <= style.size and box[3] <= style.size
        if not in_picture or ink[box[1] : box[3], box[0] : box[2]].any():
            continue
        if corners and not inside(complex(box[0] + box[2], box[1] + box[3]) / 2, corners):
            continue
        gap = style.font_size / 2  # between texts of a line, that two numbers do not look like one
        if any(box[0] < b[2] + gap and b[0] - gap < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue
        taken.append(box)
        if style.cell:
            for i, character in enumerate(text):
                middle = (box[0] + (i + 0.5) * style.cell, box[3] - 0.5)
                canvas.text(middle, character, fill=0, font=font(style), anchor="ms")
        else:
            canvas.text(((box[0] + box[2]) / 2, box[3] - 1), text, fill=0, font=font(style), anchor="ms")
        return
    raise Crowded(text)
