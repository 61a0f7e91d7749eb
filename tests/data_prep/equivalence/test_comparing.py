"""`data_prep.equivalence.comparing`: the conventions of its docstring, one table each."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.equivalence.comparing import same
from data_prep.equivalence.meanings import readings
from data_prep.equivalence.text import plain

SAME = {
    "numbers": [
        ("5", "5.0"), ("0.5", ".5"), ("1000", "1,000"), ("1234567", "1,234,567"), ("32349", "32,\\! 349"),
        ("7", "+7"),
        ("\\frac{1}{2}", "1/2"), ("\\frac12", "0.5"), ("\\dfrac{3}{4}", "\\tfrac34"), ("2\\frac{1}{3}", "\\frac73"),
        ("-\\frac{1}{2}", "\\frac{-1}{2}"), ("1000.99", "1000,99"), ("1000", "1 000"), ("3", "three"), ("12", "12th"),
        ("2^{10}", "1024"), ("\\sqrt{8}", "2\\sqrt2"), ("\\frac{\\pi}{2}", "π/2"), ("√5", "\\sqrt{5}"), ("½", "0.5"),
        ("10^{-3}", "0.001"), ("\\binom{5}{2}", "10"), ("\\left(\\frac{1}{2}\\right)", "0.5"), ("\\boxed{7}", "7"),
        ("2.5\\times 10^{3}", "2500"), ("i", "\\sqrt{-1}"), ("1+2i", "2i+1"), ("\\text{13}", "13"),
        ("$7$", "\\(7\\)"),
    ],
    "units": [
        ("5", "5\\text{ cm}"), ("5 cm", "5"), ("12", "12 square units"), ("7.50", "\\$7.50"), ("18", "$18"),
        ("3", "3 apples"),
        ("15\\mbox{ cm}^2", "15"), ("90^\\circ", "90"), ("90", "90 degrees"), ("\\frac{\\pi}{2}", "90^{\\circ}"),
        ("28\\%", "28"), ("28\\%", "0.28"), ("0.28", "28 percent"), ("5 cm", "50 mm"), ("2 hours", "120 minutes"),
        ("1.5", "1.5 kg"), ("15000", "15,000 kcal m⁻² yr⁻¹"), ("8", "8 \\text{ m}/\\text{s}"),
    ],
    "names": [
        ("5", "x = 5"), ("x=5", "5"), ("2x+1", "y=2x+1"), ("f(x)=2x", "f(n)=2n"), ("4", "AB = 4"), ("|AB|=1", "1"),
        ("\\frac{1}{\\sqrt6}", "\\frac{NO}{BO}=\\frac{1}{\\sqrt{6}}"), ("(x,y)=(1,2)", "(1,2)"),
        ("1,2", "x=1 \\text{ or } x=2"),
        ("7", "x = 3 + 4 = 7"), ("\\frac{1}{3}", "x=\\frac13\\approx 0.33"), ("100p^{1/2}", "Y = 100\\sqrt{p}"),
        ("a=1,b=2", "b=2, a=1"), ("I(0)e^{-t}", "I(t) = I(0)e^{-t}"), ("600", "x \\approx 600"),
    ],
    "lists": [
        ("1,2,3", "3, 2, 1"), ("\\{1,2\\}", "\\{2,1\\}"), ("\\{1,2\\}", "1 and 2"), ("1,2", "\\{2, 1\\}"),
        ("(1,2)", "(1, 2)"),
        ("(1,2),(3,4)", "(3,4),(1,2)"), ("1 \\pm \\sqrt{3}", "1+\\sqrt3, 1-\\sqrt3"), ("7:32", "7 : 32"),
        ("1:2", "2:4"),
        ("\\{1\\}", "1"), ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 2 \\end{bmatrix}"),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\\\ 3 & 8/2 \\end{pmatrix}"),
        ("(1,2)", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"), ("(0;1)", "(0,1)"), ("8,221", "221 and 8"),
        ("1,2", "(1,2)"),
    ],
    "intervals": [
        ("[0,1)", "[0, 1)"), ("(-\\infty,2)", "x<2"), ("[2,\\infty)", "x \\geq 2"), ("(1,3)", "1 < x < 3"),
        ("[1,3)", "x \\in [1,3)"),
        ("(-\\infty,1)", "-x > -1"), ("(0,1)\\cup(2,3)", "(2,3) \\cup (0,1)"), ("\\mathbb{R}", "(-\\infty, \\infty)"),
        ("[-2,7]", "-2 \\le x \\le 7"), ("[2,3]", "[2.0, \\frac{6}{2}]"), ("x \\leq 5", "5 \\geq x"),
    ],
    "measured and rounded": [
        ("7.4e-12", "7.4 \\times 10^{-12}"), ("7.4e-12", "7.41e-12"), ("3e8", "2.998 \\times 10^8 \\text{ m/s}"),
        ("\\frac{1}{3}", "0.3333"), ("\\sqrt{2}", "1.414"), ("2.7183", "e"), ("16386.20", "16386.2"),
        ("3.14", "\\pi"),
        ("0.333", "\\frac{1}{3}"), ("2.7183", "2.71828"),
    ],
    "words": [
        ("Evelyn", "\\text{Evelyn}"), ("north-east", "North East"), ("\\text{even}", "even"), ("C", "\\text{(C)}"),
        ("(B)", "B"),
        ("(B)", "\\textbf{(B)}\\ 12"), ("12", "(B) 12"), ("\\infty", "infinity"), ("2516_8", "2516"),
        ("4210_{5}", "4210_5"),
    ],
    "equations": [
        ("2x+4y-3=0", "y=-\\frac{1}{2}x+\\frac{3}{4}"), ("x^2/4+y^2/3=1", "3x^2+4y^2=12"), ("xy=1", "y=1/x"),
        ("m\\frac{dv}{dt}+bv=f", "\\dot{v} = \\frac{f - bv}{m}"), ("Ce^{2t}", "y = c e^{2t}"),
        ("C_1e^t+C_2e^{-t}", "C_2 e^t + C_1 e^{-t}"),
    ],
}  # fmt: skip
DIFFERENT = {
    "numbers": [
        ("5", "-5"), ("4", ".4"), ("0.5", "0.51"), ("\\frac{2}{3}", "2\\frac{1}{3}"), ("1000", "1,0000"),
        ("3", "3i"), ("2\\pi", "6.28"),
        ("1", "0.9999"), ("\\sqrt2", "\\sqrt3"), ("10", "10!"), ("8", "2^4"), ("123", "12.3"), ("1", "10^{-30}+1"),
        ("12", "12,13"),
    ],
    "units": [
        ("5 cm", "5 m"), ("5 cm", "5 kg"), ("2 hours", "2 minutes"), ("28\\%", "0.0028"), ("90^\\circ", "90\\pi")
    ],
    "names": [("5", "x=6"), ("2x+1", "2x"), ("f(x)=2x", "f(n)=3n"), ("a=1,b=2", "a=2,b=1"), ("7=11a+c", "11a+c"),
        ("f(x+y)", "f(x)+f(y)"),
              ("10", "2x = 20"), ("20", "2x = 20"), ("4", "x \\neq 4"),
              ("x", "5")],
    "lists": [
        ("1,2,3", "1,2"), ("1,2", "1,2,3"), ("(1,2)", "(2,1)"), ("(1,2)", "\\{2,1\\}"), ("2", "1,2,3"),
        ("2", "2 or 3"), ("1:2", "2:1"),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"), ("5", "\\pm 5"),
        ("(1,2)", "3"),
        ("1+\\sqrt3", "1 \\pm \\sqrt{3}"), ("-2,-2", "-2"),
    ],
    "intervals": [
        ("[0,1)", "[0,1]"), ("(0,1)", "[0,1]"), ("x>5", "x<5"), ("(-\\infty,2)", "x \\leq 2"), ("(0,1)", "(0,2)"),
        ("1", "(0,2)"),
        ("(0,1)\\cup(2,3)", "(0,1)\\cup(2,4)"),
    ],
    "measured and rounded": [
        ("7.4e-12", "7.5e-12"), ("7.4e-12", "7.4e-11"), ("\\frac13", "0.333"), ("\\frac13", "0.3334"),
        ("\\pi", "\\frac{22}{7}"),
        ("\\pi", "3.14"), ("12.5", "12.53"), ("0.5", "\\frac{53}{100}"), ("5", "5.00001"), ("3.14", "3.15"),
    ],
    "words": [("Evelyn", "Briana"), ("listen", "silent"), ("even", "odd"), ("C", "D"), ("north", "5"),
        ("5", "north"), ("2516_8", "1358"),
              ("2516_8", "2516_9"), ("C", "(D) C")],
    "equations": [("5x-7y+4=0", "5x-7y-4=0"), ("xy=1", "xy=2"), ("Ce^{2t}", "Ce^{3t}")],
}  # fmt: skip


@pytest.mark.parametrize("family", SAME)
def test_the_same(family: str):
    assert [pair for pair in SAME[family] if same(*pair) is not True] == []


@pytest.mark.parametrize("family", DIFFERENT)
def test_different(family: str):
    assert [(pair, same(*pair)) for pair in DIFFERENT[family] if same(*pair) is not False] == []


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("3", "\\square"), ("|x|", "x"), ("(-1)^n", "\\cos n\\pi"), ("2", "\\sum_{i=1}^{2} 1"), ("", "5"), ("5", ""),
     ("10", "1" * 3000)],
)  # fmt: skip
def test_what_is_left_to_others(gold: str, answer: str):
    assert same(gold, answer) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\left( 1, 2 \\right)", "( 1, 2 )"), ("$ 5 $.", "5"), ("\\text{two words}", "⟨two words⟩"),
        ("{{7}}", "7"), ("90^{\\circ}", "90^\\circ"),
        ("\\dfrac{1}{2}", "\\frac{1}{2}"), ("x \\leqslant 2", "x \\leq 2"), ("\\mathrm{cm}", "⟨cm⟩"),
        ("⟨5⟩", "( 5)"), ("10⁻²", "10^{-2}"), (".5", ".5"),
    ],
)  # fmt: skip
def test_plain_text(text: str, expected: str):
    assert plain(text) == expected


texts = st.lists(
    st.sampled_from(
        "\\frac \\sqrt { } ( ) [ ] \\{ \\} 1 2 5.5 .5 , ; - + * / ^ _ = < \\leq \\in \\cup \\pm \\infty "
        "\\pi \\sin \\log x n e i f( | ! % "
        "^\\circ \\begin{pmatrix} \\end{pmatrix} & \\\\ $ and 10^ 1,000 cm \\text{ (A) C. ⟨ ⟩ ¶".split(" ")
    )
    | st.text(max_size=3),
    max_size=14,
).map("".join)


@given(texts, texts)
@settings(max_examples=600, deadline=None)
def test_any_two_texts_are_compared(gold: str, answer: str):
    assert same(gold, answer) in (True, False, None)
    assert same(gold, gold) in ((True,) if plain(gold) else (None,))


@given(st.fractions(max_denominator=50), st.fractions(max_denominator=50))
@settings(max_examples=200, deadline=None)
def test_fractions_however_written(a, b):
    ways = [
        f"\\frac{{{a.numerator}}}{{{a.denominator}}}",
        f"{a.numerator}/{a.denominator}",
        f"x = {a}",
        f"${a}$",
        f"({a})",
    ]
    for way in ways:
        assert same(way, f"\\dfrac{{{b.numerator}}}{{{b.denominator}}}") is (a == b)


@given(st.lists(st.integers(-30, 30), min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_lists_have_no_order_and_tuples_have_one(numbers, random):
    shuffled = list(numbers)
    random.shuffle(shuffled)
    written, other = ", ".join(map(str, numbers)), ",".join(map(str, shuffled))
    assert same(written, other) is True
    assert same(f"\\{{{written}\\}}", f"\\{{{other}\\}}") is True
    assert same(f"({written})", f"({other})") is (numbers == shuffled)
    assert same(written, ", ".join(map(str, numbers[1:]))) is False


def test_hostile_texts_are_quick():
    texts = [
        "{" * 2000, "\\text{" * 300, "1," * 900, "\\boxed{" * 280, "\\pm " * 400, "1 and " * 300, "⟨" * 900, "=" * 1900,
        "a=" * 900, "(1," * 600 + "1" + ")" * 600, "\\cup " * 380, "\\{" * 900, "1:" * 900 + "1", "C_1+" * 450 + "1",
        "(1,2)," * 300 + "(1,2)",
    ]  # fmt: skip
    for text in texts:
        started = time.perf_counter()
        same("5", text)
        same(text, text + "+x")
        readings(text)
        assert time.perf_counter() - started < 2, text[:20]
