"""What an answer says: a number, a list, an interval, a relation, words.

Read strictly: what is not understood as a whole has no meaning, and nobody should take it for a wrong answer or a right
one. Conventions are in `data_prep.equivalence.comparing`.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from data_prep.equivalence.expressions import (
    FUNCTIONS,
    MAX_CHARACTERS,
    POINTS,
    Expression,
    NotUnderstoodError,
    add,
    combined,
    constant,
    divide,
    exact_or_real,
    parse,
    same_value,
    variable,
)
from data_prep.equivalence.text import (
    CLOSE_TEXT,
    DOLLAR,
    NEW_ROW,
    OPEN_TEXT,
    bare,
    letters_of,
    plain,
    trimmed,
)
from data_prep.equivalence.units import Unit, find_unit


class ContradictionError(NotUnderstoodError):
    """The text says of one thing that it equals two different numbers: no gold says that."""


MAX_PARTS = 100
NOTHING = Expression((None,) * len(POINTS))


@dataclass(frozen=True)
class Scalar:
    """One value. `digits`: significant ones of a plain decimal, else None. `measured`: in scientific notation."""

    expression: Expression
    digits: int | None = None
    measured: bool = False
    percent: bool = False
    degrees: bool = False
    unit: Unit | None = None
    text: str = ""  # of an expression with names, without what stands around it


@dataclass(frozen=True)
class Words:
    """Words, in lower case; see `read_words`."""

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
    text = bare(text)
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
        if re.match(r"(sqrt|pi|sin|cos|tan|log|ln|exp|arc)", text):  # "pi", "sqrt x" are not words
            with suppress(NotUnderstoodError):
                return scalar(text)
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
        with suppress(NotUnderstoodError):
            return read(inner, depth + 1)
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
    text = bare(text)
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
    text = bare(text)
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
