"""What an answer says, and whether two answers say the same: numbers, lists, intervals, relations, words.

`same(gold, answer)` is True or False only where both texts were understood, and None where they were not: then somebody
else has to decide. Where conventions are needed, they are these:

- An answer may leave out or add a unit, a percent sign, a degree sign, a currency, the name before "=" and bold print;
  28 % is 28 and 0.28. Two different known units of one kind are converted; of different kinds, they are wrong.
- "1,234" is a number. A list without brackets has no order, a tuple has one, a set has neither order nor multiplicity;
  (0, 1) and [0, 1] differ, and -1 < x < 2 is an interval. 2\\frac{1}{3} is a mixed number.
- A gold in scientific notation (7.4e-12) is a measured value: 1 % off is right, as in Minerva
  (https://arxiv.org/abs/2206.14858). Any other gold is exact: a decimal answer needs four significant digits and has to
  be the gold, rounded; an exact answer to a decimal gold of three digits or more has to round to it.
- Of x = 3 + 4 = 7 the last side counts, and what stands before an approximation. f(x) = 2x is f(n) = 2n. Constants of
  integration (C, c_1, ...) may have other names, but have to stand in the same places.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement, pairwise, permutations
from typing import Any

from data_prep.expressions import (
    FUNCTIONS,
    MAX_CHARACTERS,
    POINTS,
    Expression,
    NotUnderstoodError,
    add,
    combined,
    constant,
    context,
    divide,
    exact_or_real,
    multiply,
    parse,
    same_expression,
    same_value,
    variable,
)
from data_prep.units import Unit, factor_between, find_unit


class ContradictionError(NotUnderstoodError):
    """The text says of one thing that it equals two different numbers: no gold says that."""


MAX_PARTS = 100
MAX_SCALES = 16
MEASURED = Fraction(1, 100)  # how far an answer may lie from a gold in scientific notation, relative


NOTHING = Expression((None,) * len(POINTS))


@dataclass(frozen=True)
class Scalar:
    """One value. `digits`: significant ones of a plain decimal, else None. `unit`: normalised words after it."""

    expression: Expression
    digits: int | None = None
    measured: bool = False
    percent: bool = False
    degrees: bool = False
    unit: Unit | None = None
    text: str = ""  # of an expression with names, without what stands around it


@dataclass(frozen=True)
class Words:
    """Letters and digits of a text, in lower case."""

    letters: str


@dataclass(frozen=True)
class Based:
    """A number written in another base, as its digits."""

    digits: str
    base: str


@dataclass(frozen=True)
class Parts:
    """`kind`: list (no brackets), tuple, set, interval, union, ratio, matrix. `brackets`: of an interval, as "[)"."""

    kind: str
    items: tuple["Meaning", ...]
    brackets: str = ""


@dataclass(frozen=True)
class Named:
    """`name` = value, and `arguments` where the name is a function."""

    name: str
    value: "Meaning"
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equation:
    """The difference of both sides, which is 0, or NOTHING where it was not understood; and the right side."""

    difference: Expression
    right: "Scalar"
    text: str = ""


Meaning = Scalar | Words | Based | Parts | Named | Equation

# ---------------------------------------------------------------------------------------------------------- plain text

SIGNS = {
    "−": "-", "–": "-", "—": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ", "÷": "/", "∗": "*",
    "≤": "\\leq ", "≥": "\\geq ", "⩽": "\\leq ", "⩾": "\\geq ", "≠": "\\neq ", "≈": "\\approx ", "∞": "\\infty ",
    "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ", "∓": "\\mp ", "√": "\\sqrt ", "π": "\\pi ", "°": "^\\circ ",
    "ℝ": "\\mathbb{R}",     "½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}",
    "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}", "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "λ": "\\lambda ",
    "μ": "\\mu ", "ω": "\\omega ", "φ": "\\phi ", "′": "'", "’": "'", "\u00a0": " ", "\u2009": " ", "，": ",",
    "（": "(", "）": ")", "：": ":", "；": ";", "－": "-", "＋": "+", "＝": "=",
}  # fmt: skip
SIGN = re.compile("|".join(map(re.escape, SIGNS)))
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "₀₁₂₃₄₅₆₇₈₉"
SCRIPTS = str.maketrans(RAISED + LOWERED, "0123456789-+n0123456789")
REPLACED = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), "\\frac"), **dict.fromkeys(("dbinom", "tbinom"), "\\binom"),
    **dict.fromkeys(("le", "leqslant", "leqq", "lesssim"), "\\leq "),
    **dict.fromkeys(("ge", "geqslant", "geqq", "geslant"), "\\geq "),
    **dict.fromkeys(("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr",
                     "displaystyle", "textstyle", "limits", "nolimits", "mathrm", "rm", "bf", "it"), ""),
    **dict.fromkeys(("quad", "qquad", "enspace", "thinspace", "space"), " "),
    **dict.fromkeys(("lvert", "rvert", "vert", "mid"), "|"),
    "ne": "\\neq ", "lt": "<", "gt": ">", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]",
    "langle": "(", "rangle": ")", "varnothing": "\\emptyset", "ast": "*", "colon": ":", "degree": "^\\circ ",
    "deg": "^\\circ ",     "percent": "%", "euro": "", "pounds": "", "arg": "\\arg", "Re": "\\Re", "Im": "\\Im",
}  # fmt: skip
TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|textsf|texttt|mbox|hbox|operatorname|mathrm|mathsf|bold|boldsymbol|emph"
    r"|underline|boxed|fbox|bm)\s*\*?\s*\{"
)
# dx/dt and d^2x/dt^2, of x or x(t)
DERIVATIVE = re.compile(
    r"\\frac\s*\{\s*d\s*(\^\s*\{?2\}?)?\s*((?:\\[a-z]+|[a-zA-Z])(?:_\{?\w\}?)?)\s*(?:\(t\))?\s*\}\s*\{\s*dt\s*(?:\^\s*\{?2\}?)?\s*\}"
)
COMMAND = re.compile(r"\\([a-zA-Z]+)\*?")
SPACING = re.compile(r"\\[,;:! >]|~|\\hspace\s*\{[^{}]*\}|\\[hv]?phantom\s*\{[^{}]*\}")
OPEN_TEXT, CLOSE_TEXT, NEW_ROW, DOLLAR = "⟨", "⟩", "¶", "§"
OWN_SIGNS = str.maketrans({OPEN_TEXT: "\\langle ", CLOSE_TEXT: "\\rangle ", NEW_ROW: " ", DOLLAR: " "})
EDGES = " \t\r\n$,;:*"


def trimmed(text: str) -> str:
    """Without punctuation around it; a point before it belongs to a number, and "..." means that something follows."""
    text = text.lstrip(EDGES).rstrip(EDGES)
    return text if text.endswith("..") else text.rstrip(EDGES + ".")


def closing_brace(text: str, start: int) -> int:
    """Index of the brace that closes the one before `start`, or -1."""
    depth = 1
    for i in range(start, len(text)):
        if text[i] in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if text[i] == "{" else -1
            if not depth:
                return i
    return -1


def mark_text(text: str) -> str:
    """`\\text{...}` becomes ⟨...⟩; boxes and bold mathematics lose their command."""
    position = 0
    for _ in range(200):
        match = TEXT.search(text, position)
        if not match:
            return text
        end = closing_brace(text, match.end())
        if end < 0:
            return text[: match.start()] + " " + text[match.end() :]
        inner = text[match.end() : end]
        if any(name in match[0] for name in ("box", "bm", "bold", "underline")) and "mbox" not in match[0]:
            text = f"{text[: match.start()]}{{{inner}}}{text[end + 1 :]}"
            position = match.start()
        else:
            inner = inner.replace(OPEN_TEXT, "").replace(CLOSE_TEXT, "")
            text = f"{text[: match.start()]}{OPEN_TEXT}{inner}{CLOSE_TEXT}{text[end + 1 :]}"
            position = match.start() + 1
    return text


@lru_cache(maxsize=20_000)
def plain(text: str) -> str:
    """The text with one way of writing for each thing; for comparing and for reading."""
    text = text.translate(OWN_SIGNS)
    text = re.sub(r"\\mathbf\s*\{\s*(-?[\d.,]+)\s*\}", r"\1", text)
    text = re.sub(r"(?:√|(?<![\\a-z])sqrt)\s*(\d+(?:\.\d+)?)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\\$\s*(?=[\d.])", DOLLAR, text)
    text = SIGN.sub(lambda match: SIGNS[match[0]], text)
    text = re.sub(f"[{RAISED}]+", lambda match: f"^{{{match[0].translate(SCRIPTS)}}}", text)
    text = re.sub(f"[{LOWERED}]+", lambda match: f"_{{{match[0].translate(SCRIPTS)}}}", text)
    if "\\begin" in text:
        text = text.replace("\\\\", NEW_ROW)
    else:  # doubled backslashes of a JSON string, or a new line
        text = re.sub(r"\\\\(?=[a-zA-Z{}%$!,;:])", r"\\", text).replace("\\\\", ", ")
    text = re.sub(r"(?<=\d)\{?,\}?\\[!,]\s*(?=\d{3}(?!\d))|(?<=\d)\{,\}(?=\d{3}(?!\d))", "", text)
    text = mark_text(text)
    text = SPACING.sub(" ", text)
    text = text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")
    text = text.replace("\\$", "").replace("\\%", "%").replace("$", " ").replace("£", "").replace("€", "")
    text = COMMAND.sub(lambda match: REPLACED.get(match[1], match[0]), text)
    text = re.sub(r"\^\s*\{\s*\\circ\s*\}", r"^\\circ ", text)
    if "dt" in text:
        text = DERIVATIVE.sub(lambda match: f"\\{'d' if match[1] else ''}dot{{{match[2]}}}", text)
    text = trimmed(re.sub(r"\s+", " ", text))
    while (inner := unwrapped(text)) is not None:
        text = trimmed(inner)
    return text


def unwrapped(text: str) -> str | None:
    """The inside of braces around everything."""
    return text[1:-1] if text.startswith("{") and closing_brace(text, 1) == len(text) - 1 else None


def letters_of(text: str) -> str:
    """Letters and digits in lower case: what is left of words when punctuation does not count."""
    return "".join(c for c in text.casefold() if c.isalnum())


# ------------------------------------------------------------------------------------------------------------- reading

OPENING, CLOSING = "([{⟨", ")]}⟩"
SEPARATOR = re.compile(r"[,;]|⟨\s*(?:and|or|,\s*and|,\s*or)\s*⟩|\b(?:and|or)\b")
RELATION = re.compile(r"=|\\leq|\\geq|\\neq|<=|>=|!=|<|>|\\in(?![a-z])|\\approx|\\equiv|\\sim(?![a-z])")
UNION = re.compile(r"\\cup(?![a-z])|\bU\b")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
DECIMAL = re.compile(r"([-+]?)\s*(\d+(?: \d{3})*\.?\d*|\.\d+)")
SCIENTIFIC = re.compile(
    r"([-+]?(?:\d+\.?\d*|\.\d+))\s*(?:[eE]\s*([-+]?\d+)|(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{\s*([-+]?\s*\d+)\s*\}|([-+]?\d+)))"
)
BASED = re.compile(r"([0-9]+[0-9A-Fa-f]*)\s*_\s*(?:\{?\s*(\d{1,2})\s*\}?|\{\s*⟨\s*(\w+)\s*⟩\s*\})")
MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}")
LABEL = re.compile(r"(?:⟨\s*\(?([A-J])\s*[).:]?\s*⟩|\(\s*([A-J])\s*\)|([A-J])\s*[).:])\s*([^\s+*/^(=<>!,;_|].*)")
THOUSANDS_WITH_UNIT = re.compile(THOUSANDS.pattern + r"\s*(?:⟨.*⟩.*|%|\^\\circ|[A-Za-zÅ°][^,;]*)")
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
ORDINAL = re.compile(
    r"(\d+)\s*\^?\s*\{?\s*⟨?\s*(?:st|nd|rd|th)\s*⟩?\s*\}?(?:\s*⟨?\s*(?:grade|place|term|day|row|year|position)\s*⟩?)?"
)
NAME = re.compile(r"([A-Za-z]|\\[a-zA-Z]+)((?:_(?:\{[^{}]*\}|\w))?'*)(?:\s*\(([^()]*)\))?")
# A number, then ⟨...⟩ and whatever a unit is made of; a number, then letters.
UNIT_IN_TEXT = re.compile(r"([^⟨]*[\d}).!%])\s*(⟨[^⟩]*⟩(?:[\s/^{}\d-]|\\cdot|⟨[^⟩]*⟩)*)")
UNIT = re.compile(
    r"([-+]?[\d.,]+|[-+]?\d[\d.]*\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*-?\d+\s*\}?|.*\\frac\{\d+\}\{\d+\}"
    r"|.*\\sqrt\{\d+\}|.*\\pi)(\s*)((?:\^\\circ )?[a-zA-ZÅΩμ](?:[a-zA-ZÅΩμ./^{}\s\d-]|\\cdot|\*)*)"
)


def pieces(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The text between separators that stand outside all brackets, and the separators."""
    found, signs = [], []
    depth = start = position = 0
    while position < len(text):
        c = text[position]
        match = separator.match(text, position) if depth == 0 else None
        if match and not (c.isalpha() and position and text[position - 1].isalpha()):
            found.append(text[start:position])
            signs.append(match[0])
            start = position = match.end()
            continue
        if c in OPENING:
            depth += 1
        elif c in CLOSING:
            depth -= 1
            if depth < 0:
                raise NotUnderstoodError("a bracket that nothing opens")
        position += 2 if c == "\\" and text[position + 1 : position + 2] not in ("{", "}") else 1
    found.append(text[start:])
    return found, signs


def readings(text: str) -> tuple[Meaning, ...]:
    """What a text says; more than one meaning where it is open, none where it is not understood."""
    with suppress(ContradictionError):
        return read_plain(plain(text)) if len(text) <= MAX_CHARACTERS else ()
    return ()


@lru_cache(maxsize=20_000)
def read_plain(text: str) -> tuple[Meaning, ...]:
    """`readings` of a text that is plain already."""
    found: list[Meaning] = []
    attempts: list[Callable[[], Meaning]] = []
    if THOUSANDS.fullmatch(text):
        attempts.append(lambda: scalar(text.replace(",", "")))
    attempts.append(lambda: read(text))
    if one_letter := re.fullmatch(r"([-+]?[\d.]+)\s+([msghNJWVKAL])", text):  # "5 m" is a length, or a product
        attempts.append(lambda: replace(scalar(one_letter[1]), unit=find_unit(one_letter[2])))
    if label := LABEL.fullmatch(text):
        attempts.insert(0, lambda: read(label[4]))
        attempts.append(lambda: read(next(filter(None, label.groups()[:3]))))
    for attempt in attempts:
        try:
            found.append(attempt())
        except ContradictionError:
            raise
        except (NotUnderstoodError, RecursionError):
            continue
    return tuple(found)


def read(text: str, depth: int = 0) -> Meaning:
    """One meaning of a plain text. Raises NotUnderstoodError."""
    text = trimmed(text)
    while (inner := unwrapped(text)) is not None:
        text = trimmed(inner)
    if not text or depth > 8:
        raise NotUnderstoodError("nothing, or nested too deeply")
    if match := MATRIX.fullmatch(text):
        if match[1] in ("vmatrix", "Vmatrix"):
            raise NotUnderstoodError("a determinant")
        return read_matrix(match[2], depth)
    if text.startswith(OPEN_TEXT) and text.find(CLOSE_TEXT) == len(text) - 1:
        return read_words(text[1:-1], depth)
    words = re.fullmatch(r"[A-Za-z][A-Za-z' -]*", text) and text.casefold() not in NUMBERS
    if words and len(letters_of(text)) > 3 and not SEPARATOR.search(text):
        if infinite := infinity(text.casefold()):
            return infinite
        try:  # "pi", "sqrt x" are not words
            if re.match(r"(sqrt|pi|sin|cos|tan|log|ln|exp|arc)", text):
                return scalar(text)
        except NotUnderstoodError:
            pass
        return Words(letters_of(text))

    if THOUSANDS_WITH_UNIT.fullmatch(text):
        with suppress(NotUnderstoodError):
            return scalar(text)
    if text.casefold() in NUMBERS:
        return scalar(str(NUMBERS.index(text.casefold())))
    if ordinal := ORDINAL.fullmatch(text):
        return scalar(ordinal[1])
    if based := BASED.fullmatch(text):
        base = (based[2] or based[3]).casefold()
        return Based(based[1].lstrip("0") or "0", str(NUMBERS.index(base)) if base in NUMBERS else base)
    if infinite := infinity(text):
        return infinite
    if text in ("\\emptyset", "\\{\\}", "\\{ \\}"):
        return Words("empty set")

    items, _ = pieces(text, SEPARATOR)
    items = [item for item in items if trimmed(item)]
    if len(items) > MAX_PARTS:
        raise NotUnderstoodError("too many parts")
    if not items:
        raise NotUnderstoodError("nothing")
    if len(items) > 1:
        return parts("list", [read_item(item, depth) for item in items])
    text = trimmed(items[0])
    sides, signs = pieces(text, RELATION)
    if signs:
        return read_relation([side.strip() for side in sides], [sign.strip() for sign in signs], depth)
    sets, unions = pieces(text, UNION)
    if unions:
        return parts("union", [[read(item, depth + 1)] for item in sets])
    if text == "\\mathbb{R}":
        return read("(-\\infty,\\infty)", depth)
    if bracketed := read_brackets(text, depth):
        return bracketed
    sides, signs = pieces(text, re.compile(":"))
    if signs:
        return parts("ratio", [[read(side, depth + 1)] for side in sides])
    expanded = plus_minus(text)
    if len(expanded) > 1:
        return parts("list", [[scalar(item)] for item in expanded])
    return scalar(text)


def plus_minus(text: str) -> list[str]:
    """The two values of a text with a plus-minus sign. Raises NotUnderstoodError for two such signs."""
    if "\\pm" not in text and "\\mp" not in text:
        return [text]
    if text.count("\\pm") + text.count("\\mp") > 1:
        raise NotUnderstoodError("more than one plus-minus sign")
    return [text.replace("\\pm", first).replace("\\mp", second) for first, second in (("+", "-"), ("-", "+"))]


def parts(kind: str, items: Sequence[Sequence[Meaning]], brackets: str = "") -> Parts:
    return Parts(kind, tuple(meaning for item in items for meaning in item), brackets)


def read_item(text: str, depth: int) -> list[Meaning]:
    """One item of a list; two if it has a plus-minus sign outside of brackets of its own."""
    return [read(item, depth + 1) for item in plus_minus(text)]


def read_words(text: str, depth: int) -> Meaning:
    """What stands in \\text{...}: a number or a letter now and then, else words."""
    inner = trimmed(text)
    if re.search(r"\d|^\(?[A-Za-z]\)?$", inner):
        try:
            return read(inner, depth + 1)
        except NotUnderstoodError:
            pass
    if inner.casefold() in NUMBERS:
        return scalar(str(NUMBERS.index(inner.casefold())))
    if infinite := infinity(inner.casefold()):
        return infinite
    if not letters_of(inner):
        raise NotUnderstoodError("no words")
    # Where digits stand among the words, signs and points between them count.
    return Words(re.sub(r"\s+", " ", inner.casefold()) if re.search(r"\d", inner) else letters_of(inner))


def read_brackets(text: str, depth: int) -> Meaning | None:
    """Tuples, sets and intervals; None if no brackets enclose the whole."""
    is_set = text.startswith("\\{") and text.endswith("\\}")
    left, right = (2, 2) if is_set else (1, 1)
    if not is_set and not (text[0] in "([" and text[-1] in ")]" and len(text) > 2):
        return None
    inner = text[left:-right]
    if MATRIX.fullmatch(inner.strip()):
        return read(inner, depth + 1)
    level = 0
    for c in inner:  # (1)(2) is not one pair of brackets
        level += (c in OPENING) - (c in CLOSING)
        if level < 0:
            return None
    items, _ = pieces(inner, re.compile("[,;]"))
    if len(items) > MAX_PARTS:
        raise NotUnderstoodError("too many parts")
    if is_set:
        if re.search(r"\||:", inner):
            raise NotUnderstoodError("a set with a condition")
        found = [read_item(item, depth) for item in items if trimmed(item)]
        return parts("set", found)
    if len(items) == 1:
        # A number in brackets is that number, but f(x) in brackets is for the parser of expressions.
        return read(inner, depth + 1) if text[0] == "(" and text[-1] == ")" else None
    meanings = [[infinity(item) or read(item, depth + 1)] for item in items]
    brackets = text[0] + text[-1]
    if len(items) == 2 and (brackets != "()" or any(meaning in INFINITE for [meaning] in meanings)):
        return parts("interval", meanings, brackets)
    if brackets in ("()", "[]"):
        return parts("tuple", meanings)
    raise NotUnderstoodError("brackets that do not fit")


PLUS_INFINITY, MINUS_INFINITY = Words("+infinity"), Words("-infinity")
INFINITE = (PLUS_INFINITY, MINUS_INFINITY)


def infinity(text: str) -> Words | None:
    match re.sub(r"\s|\{|\}", "", text):
        case "\\infty" | "+\\infty" | "inf" | "infinity" | "oo":
            return PLUS_INFINITY
        case "-\\infty" | "-inf" | "-infinity" | "-oo":
            return MINUS_INFINITY
    return None


def read_matrix(body: str, depth: int) -> Parts:
    rows = [row for row in body.split(NEW_ROW) if row.strip()]
    cells = [[read(cell, depth + 1) for cell in row.split("&")] for row in rows]
    if sum(map(len, cells)) > MAX_PARTS or len({len(row) for row in cells}) != 1:
        raise NotUnderstoodError("rows of different lengths")
    return Parts("matrix", tuple(Parts("tuple", tuple(row)) for row in cells))


def read_relation(sides: list[str], signs: list[str], depth: int) -> Meaning:
    signs = [{"<=": "\\leq", ">=": "\\geq", "!=": "\\neq"}.get(sign, sign) for sign in signs]
    if not all(sides) and signs != ["="]:
        raise NotUnderstoodError("a relation without one of its sides")
    if all(sign in ("=", "\\approx") for sign in signs):
        if "\\approx" in signs:  # what stands before it is exact
            first = signs.index("\\approx")
            last = first + 1 if first or not NAME.fullmatch(sides[0]) else first + 2
            if not NAME.fullmatch(sides[0]):
                contradicted([*sides[first:]], nearly=True)
            sides = sides[:last]
            if len(sides) == 1:
                return read(sides[0], depth + 1)
        return read_equality([side for side in sides if side], depth)
    if signs == ["\\in"]:
        if not NAME.fullmatch(sides[0]) and not NAMES.fullmatch(re.sub(r"\s", "", sides[0])):
            raise NotUnderstoodError("not a name that is in a set")
        return read(sides[1], depth + 1)
    if signs == ["\\neq"] and NAME.fullmatch(sides[0]):
        left_out = scalar(sides[1])
        below, above = (MINUS_INFINITY, left_out), (left_out, PLUS_INFINITY)
        return Named(sides[0], Parts("union", (Parts("interval", below, "()"), Parts("interval", above, "()"))))
    if len(signs) == 1 and signs[0] in ("<", ">", "\\leq", "\\geq"):
        left, right = (scalar(side).expression for side in sides)
        if right.names and not left.names:
            left, right, signs = right, left, [{"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}[signs[0]]]
        if len(left.names) != 1 or right.names:
            raise NotUnderstoodError("an inequality in several variables")
        (name,) = left.names
        # Linear in its variable, a x + b < c: by the values at two points.
        slope, offset = linear(left)
        bound = combined(lambda c: divide(add(c, -offset), slope), right)
        strict, less = signs[0] in "<>", (signs[0] in ("<", "\\leq")) == (slope > 0)
        end = Scalar(bound)
        if less:
            return Named(name, Parts("interval", (MINUS_INFINITY, end), "()" if strict else "(]"))
        return Named(name, Parts("interval", (end, PLUS_INFINITY), "()" if strict else "[)"))
    if len(signs) == 2 and all(sign in ("<", "\\leq") for sign in signs):
        low, name, high = sides
    elif len(signs) == 2 and all(sign in (">", "\\geq") for sign in signs):
        high, name, low = sides
        signs = [sign.replace(">", "<").replace("geq", "leq") for sign in reversed(signs)]
    else:
        raise NotUnderstoodError("a relation of another kind")
    if not re.fullmatch(r"(?:\|[a-zA-Z]\||[a-zA-Z]|\\[a-z]+)(?:_\{?\w\}?)?|[a-zA-Z]\([a-z]\)", name):
        raise NotUnderstoodError("bounds of an expression")
    ends = (infinity(low) or read(low, depth + 1), infinity(high) or read(high, depth + 1))
    brackets = ("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]")
    if name.startswith("|"):
        opposite = tuple(negative(end) for end in reversed(ends))
        mirrored = brackets[::-1].translate(str.maketrans("()[]", ")(]["))
        return Named(
            name[1], Parts("union", (Parts("interval", opposite, mirrored), Parts("interval", ends, brackets)))
        )
    return Named(name, Parts("interval", ends, brackets))


def negative(end: Meaning) -> Meaning:
    """The opposite of a bound of an absolute value. Raises NotUnderstoodError for negative and infinite ones."""
    if not isinstance(end, Scalar) or end.expression.names or not exact_or_real(end.expression.value) > 0:
        raise NotUnderstoodError("bounds that are not two positive numbers")
    return Scalar(combined(lambda a: -a, end.expression))


def linear(expression: Expression) -> tuple[Any, Any]:
    """Slope and offset of an expression that is linear in its one name. Raises NotUnderstoodError."""
    (name,) = expression.names
    x = variable(name).values
    y = expression.values
    if None in y or not all(isinstance(value, Fraction) for value in y):
        raise NotUnderstoodError("not linear")
    slope = (y[1] - y[0]) / (x[1] - x[0])
    if slope == 0 or any(y[i] != y[0] + slope * (x[i] - x[0]) for i in range(len(x))):
        raise NotUnderstoodError("not linear")
    return slope, y[0] - slope * x[0]


def read_equality(sides: list[str], depth: int) -> Meaning:
    if not sides:
        raise NotUnderstoodError("nothing")
    if len(sides) == 1:  # "=2"
        return read(sides[0], depth + 1)
    left, right = sides[0], sides[-1]
    if NAME.fullmatch(right) and re.fullmatch(r"-?\d+(\.\d+)?|\\frac\{\d+\}\{\d+\}", left):
        left, right = right, left
    if not NAME.fullmatch(left):  # "x = 3 + 3 = 7" ends with what it says about x, after a slip
        contradicted(sides)
    value = read(right, depth + 1)
    head = re.sub(r"\s|⟨|⟩", "", left)
    names = names_in(value)
    if len(sides) > 2 and isinstance(value, Scalar) and (names or not NAME.fullmatch(left)):
        return Equation(NOTHING, value)
    match = NAME.fullmatch(left)
    if match and match[1][1:] not in FUNCTIONS:
        arguments = tuple(a.strip() for a in (match[3] or "").split(",") if a.strip())
        name = re.sub(r"[\s{}]", "", match[1] + match[2])
        simple = all(re.fullmatch(r"[a-zA-Z]|\\[a-z]+|-?\d+", a) for a in arguments)
        if name not in names and simple and (match[3] is None or arguments):
            return Named(name, value, arguments)
    if match := re.fullmatch(r"\(([a-z])\)", head):
        return Named("", value, (match[1],))
    if NAMES.fullmatch(head) or (QUANTITY.fullmatch(head) and not names & names_of_text(left)):
        return Named(head, value)
    if not isinstance(value, Scalar):
        raise NotUnderstoodError("an equation of lists")
    try:
        first = scalar(left).expression
    except NotUnderstoodError:
        return Equation(NOTHING, value)
    if not first.names and not names:
        return value  # "1 + 1 = 2"; that it holds was asked before
    difference = combined(lambda a, b: add(a, -b), first, value.expression)
    return Equation(difference, value, f"{left} {right}")


def contradicted(sides: Sequence[str], nearly: bool = False) -> None:
    """Raises ContradictionError if two of the sides are constants that differ; `nearly`: by more than a tenth."""
    constants = []
    for side in sides:
        with suppress(NotUnderstoodError):
            expression = scalar(side).expression
            if not expression.names:
                constants.append(expression.value)
    for a, b in pairwise(constants):
        a, b = exact_or_real(a), exact_or_real(b)
        if not same_value(a, b) and not (nearly and abs(a - b) <= max(abs(a), abs(b)) / 10):
            raise ContradictionError("one thing equals two different numbers")


NAMES = re.compile(r"\(([a-zA-Z](_\{?\w\}?)?,)+[a-zA-Z](_\{?\w\}?)?\)")  # (x, y)
SEGMENT = r"(?:[A-Z]{2}|[A-Z]_\{?\w\}?\([a-z]\)|S_\{[A-Z]+\})"
QUANTITY = re.compile(  # AB, AB^2, MRS_{x,y}, |AB|, \frac{NO}{BO}, \frac{V_o(s)}{V_i(s)}, S_{MBCN}:S, \angle ABC
    r"[A-Z]{2,}(_\{?[\w,]+\}?)?(\^\{?\d\}?)?|\|[A-Z]{2}\||\\frac\{"
    + SEGMENT + r"\}\{" + SEGMENT + r"\}|[A-Z](_\{?\w+\}?)?:[A-Z](_\{?\w+\}?)?|\\(angle|triangle)[A-Z]+"
)  # fmt: skip


def names_of_text(text: str) -> frozenset[str]:
    try:
        return parse(text).names
    except NotUnderstoodError:
        return frozenset()


def names_in(meaning: Meaning) -> frozenset[str]:
    match meaning:
        case Scalar():
            return meaning.expression.names
        case Parts():
            return frozenset[str]().union(*map(names_in, meaning.items))
        case Equation():
            return meaning.difference.names
        case Named():
            return names_in(meaning.value)
    return frozenset()


def scalar(text: str) -> Scalar:
    """A single value with what stands around it. Raises NotUnderstoodError."""
    text = trimmed(text)
    while (inner := unwrapped(text)) is not None:
        text = trimmed(inner)
    percent = degrees = False
    unit: Unit | None = None
    words = ""
    if text.startswith(DOLLAR):
        text, unit = text[1:].strip(), find_unit("dollar")
    if match := UNIT_IN_TEXT.fullmatch(text):
        text, words = trimmed(match[1]), re.sub(r"[⟨⟩~]", " ", match[2])
    elif (match := UNIT.fullmatch(text)) and may_be_unit(match[3], spaced=bool(match[2])):
        text, words = match[1].strip(), match[3]
    words = words.strip(" .,;()")
    if re.fullmatch(r"percent|pct|percentage|per cent|percentage points", words):
        percent = True
    elif re.fullmatch(r"degrees?", words):
        degrees = True
    elif words:
        unit = find_unit(words)
        if unit is None:
            raise NotUnderstoodError(f"{words!r} after a number")
    if text.endswith("%"):
        percent, text = True, text[:-1].strip()
    if "^\\circ" in text and not re.search(r"\\?(sin|cos|tan|cot|sec|csc|pi)", text):
        degrees, text = True, text.replace("^\\circ", "").strip()
    if OPEN_TEXT in text or not text:
        raise NotUnderstoodError("words within an expression")
    while (inner := unwrapped(text)) is not None:
        text = trimmed(inner)
    if THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if match := SCIENTIFIC.fullmatch(text):
        exponent = int(next(filter(None, match.groups()[1:])).replace(" ", ""))
        if abs(exponent) > 400:
            raise NotUnderstoodError("an exponent beyond the limits")
        value = Fraction(match[1]) * Fraction(10) ** exponent
        return Scalar(constant(value), significant(match[1]), True, percent, degrees, unit)
    if match := DECIMAL.fullmatch(text):
        number = match[2].replace(" ", "")
        value = Fraction(match[1] + number)
        digits = significant(number) if "." in number.rstrip(".") else None
        return Scalar(constant(value), digits, False, percent, degrees, unit)
    return Scalar(parse(text), None, False, percent, degrees, unit, text)


def may_be_unit(text: str, spaced: bool) -> bool:
    """Whether letters after a number are a unit and not variables: words, or more than one letter of a known unit."""
    if re.match(r"(sqrt|pi|sin|cos|tan|log|ln|exp|arc|e-?\d)", text):
        return False
    if text == "pct":
        return True
    first = re.match(r"[a-zA-ZÅΩμ]+", text)
    if first is None:
        return True  # °C
    single = len(first[0]) == 1
    if text in ("Å", "Ω"):
        return True
    return (len(first[0]) >= 4 and spaced) or (find_unit(text) is not None and (not single or text != first[0]))


def significant(number: str) -> int:
    return len(number.lstrip("+-").replace(".", "").lstrip("0"))


# ----------------------------------------------------------------------------------------------------------- comparing


def same(gold: str, answer: str) -> bool | None:
    """Whether the answer says what the gold says; None if one of them was not understood, or it cannot be told."""
    return same_plain(plain(gold), plain(answer)) if max(len(gold), len(answer)) <= MAX_CHARACTERS else None


def same_plain(gold: str, answer: str) -> bool | None:
    """`same` for texts that are plain already."""
    if gold == answer:
        return True if gold else None
    # "I(t) = I(0) e^{-t}" for "I(0) e^{-t}", also where that is not understood.
    left, equals, right = answer.partition("=")
    name = NAME.fullmatch(left.strip())
    stated = equals and tight(right) == tight(gold) and re.search("[a-zA-Z]", gold)
    if name and stated and name[1][1:] not in FUNCTIONS and (name[3] is not None or name[1] not in gold):
        return True
    if letters_only(gold) and letters_only(answer):
        return letters_of(gold) == letters_of(answer)
    label = LABEL.fullmatch(answer)
    if label and (choice := re.fullmatch(r"⟨?\(?([A-J])\)?⟩?", gold)):
        return choice[1] in label.groups()[:3]  # "(D) C" is D
    try:
        ours, theirs = read_gold(gold), read_plain(answer)
        if not ours or not theirs:
            return None
        verdicts = [same_meaning(a, b) for a in ours for b in theirs]
    except ContradictionError:
        return False
    except NotUnderstoodError:
        return None
    if True in verdicts or decimal_comma(gold, answer):
        return True
    return None if None in verdicts else False


def tight(text: str) -> str:
    """The text without spaces, but for those between digits."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text.strip())


def read_gold(gold: str) -> tuple[Meaning, ...]:
    """A gold that contradicts itself was cut out of a text; its last side was meant."""
    try:
        return read_plain(gold)
    except ContradictionError:
        return read_plain(gold.rpartition("=")[2].strip())


def letters_only(plain_text: str) -> bool:
    """One or more words, of which the first has at least three letters; "x-y" and "AB" are not."""
    return bool(re.fullmatch(r"⟨?\s*[A-Za-z]{3,}(?:[ '-][A-Za-z]+)*\s*⟩?", plain_text))


def decimal_comma(gold: str, answer: str) -> bool:
    """Whether two plain texts are one number but for a decimal comma: 1000,99 and 1000.99, but not 1,234 and 1.234."""
    return any(
        re.fullmatch(r"-?(?:\d+,(?:\d\d|\d{4,})|0,\d+)", comma) is not None and comma.replace(",", ".") == point
        for comma, point in ((gold, answer), (answer, gold))
    )


def same_meaning(gold: Meaning, answer: Meaning) -> bool | None:
    match gold, answer:
        case Named(), Named():
            return same_named(gold, answer)
        case (Named(), Equation()) | (Equation(), Named()):
            first, second = (as_equation(side) if isinstance(side, Named) else side for side in (gold, answer))
            return None if first is None or second is None else same_meaning(first, second)
        case Named(), Parts(kind="list") if NAMES.fullmatch(gold.name):
            return same_named_tuple(gold, answer)
        case Named(), _:
            return same_meaning(gold.value, answer)
        case _, Named():
            return same_meaning(gold, answer.value)
        case Scalar(), Scalar():
            return same_scalar(gold, answer)
        case Words(), Words():
            return gold.letters == answer.letters
        case Based(), Based():
            return gold == answer
        case (Based() as based, Scalar() as number) | (Scalar() as number, Based() as based):
            # The problem has said in which base; the digits have to be these.
            digits = Fraction(based.digits) if based.digits.isdigit() else None
            return number.text == "" and digits is not None and same_value(digits, number.expression.value)
        case Equation(), Equation():
            return same_equation(gold, answer)
        case Parts(), Parts():
            return same_parts(gold, answer)
        case Parts(kind="set" | "list", items=[single]), Scalar():
            return same_meaning(single, answer)
        case Scalar(), Parts(kind="set" | "list", items=[single]):
            return same_meaning(gold, single)
        case (Parts(kind="ratio", items=[above, Scalar() as below]), Scalar()) if isinstance(above, Scalar):
            return same_scalar(ratio(above, below), answer)
        case (Scalar(), Parts(kind="ratio", items=[above, Scalar() as below])) if isinstance(above, Scalar):
            return same_scalar(gold, ratio(above, below))
        case Equation(), Scalar():
            return None if gold.difference is NOTHING and same_scalar(gold.right, answer) else False
        case _, Equation():  # 2x = 6 does not say what 6 stands for
            return False
        case Equation(), _:
            return None
        case (Words(), Scalar()) | (Scalar(), Words()):
            return False
    return False  # one value and several, a word and several, digits of another base


def ratio(above: Scalar, below: Scalar) -> Scalar:
    return Scalar(combined(divide, above.expression, below.expression))


def same_named_tuple(gold: Named, answer: Parts) -> bool | None:
    """(x, y) = (2, 3) and a list, which may say y = 3, x = 2."""
    by_name = {item.name: item.value for item in answer.items if isinstance(item, Named)}
    names = gold.name.strip("()").split(",")
    if len(by_name) == len(answer.items) and set(by_name) & set(names):
        if set(by_name) != set(names):
            return False
        answer = Parts("tuple", tuple(by_name[name] for name in names))
    return same_meaning(gold.value, answer)


def as_equation(named: Named) -> Equation | None:
    """y = 2x + 1 as an equation."""
    if not isinstance(named.value, Scalar) or not re.fullmatch(r"[a-zA-Z](_\w)?", named.name):
        return None
    difference = combined(lambda a, b: add(a, -b), variable(named.name), named.value.expression)
    return Equation(difference, named.value, named.value.text)


def same_named(gold: Named, answer: Named) -> bool | None:
    """Values under a name. The names may differ; the arguments of a function are read as the gold's."""
    ours, theirs = gold.value, answer.value
    if gold.name != answer.name:
        if NAMES.fullmatch(gold.name) and NAMES.fullmatch(answer.name):
            return False  # (x, y) = ... and (y, x) = ...
        if gold.name.count("'") != answer.name.count("'") or (isinstance(ours, Parts) and ours.kind == "interval"):
            return False  # f(x) and f'(x); x < 1 and y < 1
    numbers = [a for a in (*gold.arguments, *answer.arguments) if a.lstrip("-").isdigit()]
    if numbers:
        return same_meaning(ours, theirs) if gold.arguments == answer.arguments else False  # f(2) and f(3)
    if gold.arguments != answer.arguments and len(gold.arguments) == len(answer.arguments):
        if not (isinstance(ours, Scalar) and isinstance(theirs, Scalar)):
            return None
        if theirs.text:
            if names_in(theirs) & set(gold.arguments) - set(answer.arguments):
                return False  # f(x) = 2x and f(y) = 2x
            renamed = tuple(zip(answer.arguments, gold.arguments, strict=True))
            theirs = replace(theirs, expression=parse(theirs.text, renamed))
    return same_meaning(ours, theirs)


def other_readings(gold: Scalar, answer: Scalar) -> Iterator[tuple[Expression, Expression]]:
    """Where log or 1/2x can be read in two ways: the other ways."""
    ours, theirs = ([scalar.expression] for scalar in (gold, answer))
    for scalar, found in ((gold, ours), (answer, theirs)):
        if scalar.expression.doubtful and scalar.text:
            found.append(parse(scalar.text, otherwise=True))
    yield from [(a, b) for a in ours for b in theirs][1:]


CONSTANT = re.compile(r"[Cc](_\w+)?")


def same_up_to_constants(gold: Scalar, answer: Scalar) -> bool:
    """Two expressions that differ as they stand: whether other names for constants of integration make them one."""
    ours, theirs = (
        sorted(name for name in scalar.expression.names if CONSTANT.fullmatch(name)) for scalar in (gold, answer)
    )
    return 0 < len(ours) == len(theirs) <= 4 and any(
        same_expression(gold.expression, parse(answer.text, tuple(zip(theirs, order, strict=True))))
        for order in permutations(ours)
    )


def same_scalar(gold: Scalar, answer: Scalar) -> bool | None:
    a, b = gold.expression, answer.expression
    scale = factor_between(gold.unit, answer.unit)
    if scale is None:
        return False
    if scale != 1:
        b = combined(lambda x: multiply(x, scale), b)
        answer = replace(answer, expression=b)
    radians = find_unit("rad")
    if gold.degrees != answer.degrees and radians in (gold.unit, answer.unit):
        inside, outside = (a, b) if gold.degrees else (b, a)
        turned = multiply(inside.value, context.pi / 180)
        return not a.names and not b.names and same_value(turned, outside.value)
    verdict = same_expression(a, b)
    for other in other_readings(gold, answer) if not verdict else ():
        verdict = verdict or same_expression(*other)
    if verdict:
        return True
    if gold.percent != answer.percent and not a.names and not b.names:
        hundred = constant(Fraction(100))
        scaled = combined(multiply, b if gold.percent else a, hundred)
        if same_value(scaled.value, (a if gold.percent else b).value):
            return True
    if gold.degrees != answer.degrees and not a.names and not b.names:
        inside, outside = (a, b) if gold.degrees else (b, a)
        if same_value(exact_or_real(inside.value) * context.pi / 180, outside.value):
            return True
    if not a.names and not b.names:
        return verdict if verdict is None else close_enough(gold, answer)
    if verdict is None:
        return None
    if a.names != b.names and {name.casefold() for name in a.names} == {name.casefold() for name in b.names}:
        renamed = tuple(
            (theirs, ours) for theirs in b.names for ours in a.names if theirs.casefold() == ours.casefold()
        )
        return len(a.names) == len(b.names) == len(renamed) and same_expression(a, parse(answer.text, renamed))
    return same_up_to_constants(gold, answer)


def close_enough(gold: Scalar, answer: Scalar) -> bool:
    """Two different constants: whether one is the other, measured or rounded as the conventions allow."""
    a, b = exact_or_real(gold.expression.value), exact_or_real(answer.expression.value)
    if context.im(a) or context.im(b):
        return False
    if gold.measured:
        return bool(abs(a - b) <= exact_or_real(MEASURED) * abs(a))
    if answer.measured and gold.digits is None and not is_whole(gold):
        return False
    if answer.digits is not None and gold.digits is None and not is_whole(gold):
        return answer.digits >= 4 and rounds_to(a, b, answer.digits)
    if gold.digits is not None and answer.digits is None and not is_whole(answer):
        return gold.digits >= 3 and rounds_to(b, a, gold.digits)
    if gold.digits is not None and answer.digits is not None and min(gold.digits, answer.digits) >= 4:
        return rounds_to(a, b, answer.digits) if answer.digits < gold.digits else rounds_to(b, a, gold.digits)
    return False


def is_whole(value: Scalar) -> bool:
    number = value.expression.value
    return isinstance(number, Fraction) and number.denominator == 1


def rounds_to(exact: Any, rounded: Any, digits: int) -> bool:
    """Whether a number has this rounding to so many significant digits (the last digit may be cut instead)."""
    if rounded == 0 or exact == 0:
        return False
    places = digits - 1 - int(context.floor(context.log10(abs(rounded))))
    return bool(abs(exact - rounded) < context.mpf(10) ** -places / 2 * (1 + context.mpf(10) ** -12))


def same_equation(gold: Equation, answer: Equation) -> bool | None:
    """Equations are the same if their differences are proportional, or become so when multiplied by one or two names.

    (y = 1/x and xy = 1; dv/dt = f/m and m dv/dt = f.)
    """
    a, b = gold.difference, answer.difference
    if a is NOTHING or b is NOTHING:
        return None
    if a.names != b.names:
        return False
    points = [i for i, (x, y) in enumerate(zip(a.values, b.values, strict=True)) if x is not None and y]
    quotients = [divide(a.values[i], b.values[i]) for i in points]
    if len(quotients) < 4:
        return None
    scales = [[Fraction(1)] * len(points)]
    for name in a.names:
        # Multiplying by a name is only allowed where it takes away a denominator: else it adds a solution.
        values = [variable(name).values[i] for i in points]
        below = re.compile(rf"/\s*\(?\s*{re.escape(name)}|\\frac\{{[^{{}}]*\}}\{{[^{{}}]*{re.escape(name)}")
        if below.search(answer.text):
            scales.append([1 / value for value in values])
        if below.search(gold.text):
            scales.append(values)
    return any(
        all(same_value(multiply(quotients[0], scale[0]), multiply(q, s)) for q, s in zip(quotients, scale, strict=True))
        for first, second in combinations_with_replacement(scales[:MAX_SCALES], 2)
        for scale in ([x * y for x, y in zip(first, second, strict=True)],)
    )


def same_parts(gold: Parts, answer: Parts) -> bool | None:
    kinds = (gold.kind, answer.kind)
    if "union" in kinds or kinds == ("interval", "interval"):
        if gold.kind != answer.kind:
            return None
        if gold.kind == "union":
            verdict = unordered(gold.items, answer.items)
            return verdict if verdict or len(gold.items) == len(answer.items) else None
        ends = ordered(gold.items, answer.items)
        return ends and gold.brackets == answer.brackets
    if "interval" in kinds:
        if {"matrix", "ratio", "list", "set"} & set(kinds):
            return False
        brackets = gold.brackets or answer.brackets  # a pair in round brackets: an interval, or a point
        ends = ordered(gold.items, answer.items)
        return ends and brackets == "()"
    if "matrix" in kinds:
        if kinds == ("matrix", "matrix"):
            return ordered(gold.items, answer.items)
        matrix, other = (gold, answer) if gold.kind == "matrix" else (answer, gold)
        if other.kind != "tuple":
            return None
        cells = flattened(matrix)  # a vector is written both ways
        single = len(matrix.items) == 1 or all(isinstance(r, Parts) and len(r.items) == 1 for r in matrix.items)
        return ordered(cells, other.items) if single else None
    if "ratio" in kinds:
        if kinds != ("ratio", "ratio"):
            return None if len(gold.items) == len(answer.items) else False
        return same_ratio(gold, answer)
    if tuples := as_tuples(gold, answer):
        return unordered(tuples, answer.items)
    named = [isinstance(item, Named) for item in (*gold.items, *answer.items)]
    if all(named) and len(gold.items) == len(answer.items) and gold.kind == answer.kind == "list":
        return same_named_list(gold, answer)
    if gold.kind == "tuple":
        return False if answer.kind == "set" else ordered(gold.items, answer.items)
    if answer.kind == "tuple":
        if gold.kind == "set":
            return unordered(gold.items, answer.items)
        verdict = ordered(gold.items, answer.items)
        return verdict if verdict or not unordered(gold.items, answer.items) else None
    if "set" in kinds:
        return unordered(distinct(gold.items), distinct(answer.items))
    verdict = unordered(gold.items, answer.items)
    if verdict is False and all(isinstance(item, Parts) for item in gold.items):
        # A solution of several parts may be named twice; a number twice would be a double root.
        return unordered(distinct(gold.items), distinct(answer.items))
    return verdict


def as_tuples(gold: Parts, answer: Parts) -> list[Meaning]:
    """p=5, q=2; p=7, q=2 as (5,2), (7,2), if the answer is a list of tuples; else nothing."""
    names = [item.name for item in gold.items if isinstance(item, Named)]
    size = len(set(names))
    cycle = len(names) == len(gold.items) > size > 1 and names == names[:size] * (len(names) // size)
    if not cycle or not all(isinstance(item, Parts) for item in answer.items):
        return []
    values = [item.value for item in gold.items if isinstance(item, Named)]
    return [Parts("tuple", tuple(values[i : i + size])) for i in range(0, len(values), size)]


def same_named_list(gold: Parts, answer: Parts) -> bool | None:
    ours = [item.name for item in gold.items if isinstance(item, Named)]
    theirs = [item.name for item in answer.items if isinstance(item, Named)]
    if len(set(ours)) == len(ours) or len(set(theirs)) == len(theirs):
        if set(ours) != set(theirs):
            return False
        by_name = {item.name: item for item in answer.items if isinstance(item, Named)}
        return every(same_meaning(a, by_name[a.name]) for a in gold.items if isinstance(a, Named))
    return unordered(gold.items, answer.items)


def same_ratio(gold: Parts, answer: Parts) -> bool | None:
    if len(gold.items) != len(answer.items):
        return False
    quotients = []
    for a, b in zip(gold.items, answer.items, strict=True):
        if not (isinstance(a, Scalar) and isinstance(b, Scalar)):
            return ordered(gold.items, answer.items)
        try:
            quotients.append(combined(divide, a.expression, b.expression))
        except NotUnderstoodError:
            return ordered(gold.items, answer.items)
    return every(same_expression(quotients[0], quotient) for quotient in quotients[1:])


def flattened(matrix: Parts) -> tuple[Meaning, ...]:
    return tuple(cell for row in matrix.items if isinstance(row, Parts) for cell in row.items)


def every(verdicts: Iterator[bool | None]) -> bool | None:
    """False if one is, else None if one is, else True."""
    found = list(verdicts)
    return False if False in found else None if None in found else True


def ordered(gold: Sequence[Meaning], answer: Sequence[Meaning]) -> bool | None:
    if len(gold) != len(answer):
        return False
    return every(same_meaning(a, b) for a, b in zip(gold, answer, strict=True))


def unordered(gold: Sequence[Meaning], answer: Sequence[Meaning]) -> bool | None:
    """Whether each item has a partner of its own. Equality is transitive enough for taking the first one."""
    if len(gold) != len(answer):
        return False
    left = list(answer)
    unknown = False
    for a in gold:
        verdicts = [same_meaning(a, b) for b in left]
        if True in verdicts:
            left.pop(verdicts.index(True))
        elif None in verdicts:
            unknown = True
        else:
            return False
    return None if unknown else True


def distinct(items: Sequence[Meaning]) -> list[Meaning]:
    kept: list[Meaning] = []
    for item in items:
        if not any(same_meaning(other, item) for other in kept):
            kept.append(item)
    return kept
