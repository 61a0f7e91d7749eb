import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.curation.text import drawing, masked, numbers, tokens


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"Find $ x^{2} $ if  \left(x\right)=3.", "find $x^2$ if (x) = 3"),
        (r"\dfrac{1}{2} \text{ of } 1,000", r"\frac{1}{2} of 1000"),
        (r"$x \le 3$", "x ≤ 3"),
        (r"How far is $\overline{AB}$?", r"How far is \(\overline{AB}\)"),
        ("two numbers", "2 numbers"),
        ("Find it. [asy] draw((0,0)--(1,1)); [/asy]", "Find it."),
        ("求 x 的值", "求x的值"),
        (r"60^\circ", "60°"),
    ],
)
def test_equal(a: str, b: str) -> None:
    assert tokens(a) == tokens(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("x^2", "x^3"),
        ("x+1", "x-1"),
        ("5!", "5"),
        ("1.5", "15"),
        (r"\sin x", r"\cos x"),
        ("x_1", "x1"),
        ("one of two", "of two"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
    ],
)
def test_different(a: str, b: str) -> None:
    assert tokens(a) != tokens(b)


def test_masks_numbers() -> None:
    assert masked(tokens("3 red and 12.5 blue")) == masked(tokens("40 red and 7 blue")) == "0 red and 0 blue"
    assert numbers(tokens("3 red and 12.5 blue")) == "3 12.5"
    assert drawing("a [asy] draw (x); [/asy] b") == "draw(x);"


@given(st.text())
def test_any_text(text: str) -> None:
    found = tokens(text)
    assert all(token and not token.isspace() for token in found)
    assert tokens(" ".join(found)) == found or "\\" in text  # a second time changes nothing
