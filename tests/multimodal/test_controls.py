"""White and exchanged figures, and what is said of them."""

from typing import Any

from data_prep.images import open_image
from multimodal.controls import described, figure_use, other_figures
from multimodal.samples import rows

FIGURES = [row["images"] for row in rows("dev", 3, thought=None)]


def test_exchanged_figures_are_those_of_the_next_row_that_has_others() -> None:
    a, b, c = FIGURES
    assert other_figures([a, [], b, a + b, c], "swapped") == [b, [], [*a, *b][:1], [c[0], c[0]], a]
    assert other_figures([a, a, b], "swapped") == [b, b, a]
    assert other_figures([a, a], "swapped") == [a, a]  # there are no others


def test_white_figures_have_the_size_of_their_own() -> None:
    found = other_figures([*FIGURES, []], "blank")
    assert found[-1] == []
    for (white,), (own,) in zip(found[:3], FIGURES, strict=True):
        image = open_image(white, "a figure")
        assert image.size == open_image(own, "a figure").size
        assert image.getcolors() == [(image.width * image.height, (255, 255, 255))]


def of(decoding: str, right: list[bool]) -> list[dict[str, Any]]:
    return [
        {"benchmark": "b", "decoding": decoding, "problem_id": str(i), "verdict": "right" if r else "wrong"}
        for i, r in enumerate(right)
    ]


def test_the_use_of_figures_is_the_difference_paired_by_problem() -> None:
    rows = of("greedy", [True] * 60 + [False] * 40) + of("sampled", [False] * 100)
    rows += of("blank", [False] * 100) + of("swapped", [True] * 60 + [False] * 40)
    blank, swapped = figure_use(rows, "greedy")
    assert (blank["control"], round(blank["mean"], 6), swapped["mean"]) == ("blank", 0.6, 0.0)
    assert blank["low"] > 0.4
    said = described([blank, swapped])
    assert "not seen" not in said[0]
    assert "+60.0 points" in said[0]
    assert "it is not seen that they are used" in said[1]
