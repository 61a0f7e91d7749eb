"""`data_prep.equivalence.units`: what is a unit, and which ones are converted."""

from fractions import Fraction

import pytest

from data_prep.equivalence.units import factor_between, find_unit


@pytest.mark.parametrize(
    "text",
    ["cm", "square feet", "m/s", "km/h", "miles per hour", "apples", "kcal m^{-2} yr^{-1}", "^\\circ C", "people",
     "units",
     "hours ago", "g/cm^3", "kg \\cdot m / s", "J", "Å", "cubic inches"],
)  # fmt: skip
def test_units(text: str):
    assert find_unit(text) is not None


@pytest.mark.parametrize(
    "text",
    ["", "million", "dozen", "or 6", "is wrong", "maybe", "squared", "minus 2", "feet 6 inches", "and a half", "halves",
     "choose 2", "never", "if odd", "; accept anything", "thousands", "x", "square"],
)  # fmt: skip
def test_what_may_mean_another_number_is_no_unit(text: str):
    assert find_unit(text) is None


@pytest.mark.parametrize(
    ("gold", "answer", "factor"),
    [
        ("cm", "m", 100), ("m", "cm", Fraction(1, 100)), ("feet", "inches", Fraction(1, 12)), ("cm^2", "m^2", 10_000),
        ("km/h", "m/s", Fraction(18, 5)), ("L", "cm^3", Fraction(1, 1000)), ("hours", "minutes", Fraction(1, 60)),
        ("dollars", "yuan", None), ("cm", "apples", None), ("cm", "cm^2", None), ("cm", "kg", None),
        ("apples", "pears", None),
        ("cm", "units", 1),
        ("square units", "cm^2", 1), ("apples", "Apples", 1), ("^\\circ C", "^\\circ F", None),
        ("dollars", "cents", Fraction(1, 100)),
    ],
)  # fmt: skip
def test_conversion(gold: str, answer: str, factor: Fraction | None):
    assert factor_between(find_unit(gold), find_unit(answer)) == factor
    assert factor_between(None, find_unit(answer)) == factor_between(find_unit(gold), None) == 1
