"""Random text through extraction and comparison: nothing raises, nothing is slow, another digit is another number."""

import random
import time
from contextlib import suppress

import pytest

from data_prep.answers import choice_of, decide, find_answer
from tests.data_prep.adversarial import OPTIONS, RIGHT, RIGHT_IN_THE_BOX

SECONDS = 2.0
ATOMS = [
    *r"""
    0 1 2 3 7 12 0.5 1,234 .5 3.1416 1e5 x y n a C_1 f(x) \pi e i \theta + - * / ^ _ ! ' = < > | : ; , . ( ) [ ] { }
    {} \{ \} $ $$ % & ~ # @ ? \ \\ \( \) \[ \] \, \! \; \frac \frac{1}{2} \dfrac12 \sqrt \sqrt[3]{2} \sqrt{
    \binom{4}{2} \pm \mp \times \cdot \div \leq \geq \neq \in \notin \cup \infty \approx \sim \equiv \pmod{5}
    \left( \right) \lfloor \rfloor \lceil \rceil \sin \cos \ln \log_2 \log \arctan \exp \int_0^1 \sum_{i=1}^{3}
    \text{ \text{or} \text{and} \text{cm} \mathrm{km} \mathbf{ \boxed{ \boxed{5} \fbox{ \begin{pmatrix}
    \end{pmatrix} \begin{cases} \vec{a} \bar{x} \overline{3} \dot{x} \mathbb{R} \circ ^\circ ^{ _{ ^2 _2 \quad
    \ldots \cdots \% \$ <think> </think> <|im_end|> **Answer:** #### and or A B (C) D. E north five percent degrees
    hours 5th not is are − × ½ √ π ° ² ₃ ∞ ⟨ ⟩ ¶ ５ ٣ 𝟓 é 好
    """.split(),
    *(" ", "  ", "\n", "\n\n", "\t", "\0", "\u200b", "\u00a0", "\u202e", "\ud800", "\udfff", "\\boxed{", "}", "{", "("),
    *("the answer is ", "final answer: "),
]
PAIRS = [(gold, answer) for gold, answers in RIGHT_IN_THE_BOX for answer in [gold, *answers]]
# Every digit of these counts: no golds that are measured, no digits that are rounded away.
NUMBERS = [
    ("1234567", "1,234,567"), ("1234567", "1234567"), ("-42", "-42"), ("\\frac{355}{113}", "\\frac{355}{113}"),
    ("17", "x = 17"), ("\\frac{355}{113}", "355/113"), ("2.71828", "2.71828"), ("\\pi", "3.14159265"),
    ("\\sqrt{2}", "1.41421"), ("63%", "63%"), ("\\frac{1}{7}", "0.142857"), ("3\\sqrt{17}", "3\\sqrt{17}"),
    ("(12, -35)", "(12, -35)"), ("\\{4, 9, 25\\}", "\\{4, 9, 25\\}"), ("13, 57", "57, 13"), ("[2, 47)", "[2, 47)"),
    ("3x^2 + 5x + 7", "3x^2 + 5x + 7"), ("2^{61} - 1", "2305843009213693951"),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}"),
    ("5 + 12i", "5 + 12i"), ("2\\frac{3}{8}", "2\\frac{3}{8}"), ("2\\frac{3}{8}", "2.375"),
    ("19 \\text{ cm}", "19 \\text{ cm}"), ("4:9", "4:9"), ("y = 3x - 8", "y = 3x - 8"), ("1234.5678", "1234.5678"),
    ("10^{23}", "10^{23}"), ("123456789012345678901234567890", "123456789012345678901234567890"), ("x > 37", "x > 37"),
    ("2 < x \\leq 61", "2 < x \\leq 61"), ("\\ln 3", "\\ln 3"), ("\\frac{\\pi}{12}", "\\frac{\\pi}{12}"),
    ("45^\\circ", "45^\\circ"),
]  # fmt: skip


def random_text(source: random.Random) -> str:
    if source.random() < 0.25:
        characters = []
        for _ in range(source.randrange(1, 30)):
            limit = source.choice([0x80, 0x800, 0x3000, 0x11_0000])
            characters.append(chr(source.randrange(limit)))
        return "".join(characters)
    text = "".join(source.choices(ATOMS, k=source.randrange(1, 16)))
    return text * source.choice([1, 1, 1, 1, 1, 1, 1, 1, 2, 30])


def mutated(text: str, source: random.Random) -> str:
    """With a piece deleted, doubled, swapped with its neighbour, or another one put in."""
    for _ in range(source.randrange(1, 4)):
        a, b, c = sorted(source.randrange(len(text) + 1) for _ in range(3))
        match source.randrange(4):
            case 0:
                text = text[:a] + text[min(b, a + 4) :]
            case 1:
                text = text[:b] + text[a:]
            case 2:
                text = text[:a] + text[b:c] + text[a:b] + text[c:]
            case _:
                text = text[:a] + source.choice(ATOMS) + text[a:]
    return text


def with_another_digit(text: str, source: random.Random) -> str:
    places = [i for i, c in enumerate(text) if c in "0123456789"]
    place = source.choice(places)
    return text[:place] + source.choice([digit for digit in "0123456789" if digit != text[place]]) + text[place + 1 :]


def fuzz(n: int, seed: int) -> None:
    """`n` texts: a half random, a quarter mutated right answers, a quarter with another digit."""
    source = random.Random(seed)
    responses = [response for _, _, response, _ in RIGHT if len(response) < 2000]
    slow: list[tuple[float, str]] = []
    raised: list[tuple[str, str, str]] = []
    taken_for_right: list[tuple[str, str]] = []

    def timed(gold: str, text: str) -> None:
        started = time.perf_counter()
        try:
            for lenient in (False, True):
                extracted, _ = find_answer(text, lenient=lenient)
                if extracted is not None:
                    decide(gold, extracted)
            decide(gold, text)
            choice_of(text, OPTIONS)
        except Exception as error:
            raised.append((type(error).__name__, gold, text))
        seconds = time.perf_counter() - started
        if seconds > SECONDS:
            slow.append((seconds, text))

    for i in range(n):
        gold, answer = source.choice(PAIRS)
        if i % 4 < 2:
            timed(random_text(source) if i % 8 == 0 else gold, random_text(source))
        elif i % 8 == 2:
            timed(gold, mutated(source.choice(responses), source))
        elif i % 4 == 2:
            timed(gold, mutated(answer, source))
        else:
            gold, answer = source.choice(NUMBERS)
            other = with_another_digit(answer, source)
            timed(gold, other)
            with suppress(Exception):  # it is in `raised`
                if decide(gold, other)[0] == "right":
                    taken_for_right.append((gold, other))
    assert {"raised": raised, "slow": slow, "right": taken_for_right} == {"raised": [], "slow": [], "right": []}


def test_numbers_are_right_as_they_stand():
    """So that another digit is what makes them wrong."""
    assert [pair for pair in NUMBERS if decide(*pair)[0] != "right"] == []


@pytest.mark.parametrize("seed", range(4))
def test_random_text(seed: int):
    fuzz(5_000, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_much_random_text(seed: int):
    fuzz(100_000, seed)
