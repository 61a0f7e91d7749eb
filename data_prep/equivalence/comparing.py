"""Whether two answers say the same, and the conventions for it.

`same(gold, answer)` is True or False only where both texts were understood, and None where they were not: then somebody
else has to decide. The conventions:

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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations_with_replacement, permutations
from typing import Any

from data_prep.equivalence.expressions import (
    FUNCTIONS,
    MAX_CHARACTERS,
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
from data_prep.equivalence.meanings import (
    LABEL,
    NAME,
    NAMES,
    NOTHING,
    Based,
    ContradictionError,
    Equation,
    Meaning,
    Named,
    Parts,
    Scalar,
    Words,
    names_in,
    read_plain,
)
from data_prep.equivalence.text import (
    letters_of,
    plain,
)
from data_prep.equivalence.units import factor_between, find_unit

MAX_SCALES = 16  # ways of multiplying an equation that are tried
MEASURED = Fraction(1, 100)  # how far an answer may lie from a gold in scientific notation, relative


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
    """Whether a number has this rounding to so many significant digits (the last digit may be cut instead).

    Of 16 or 17 digits, which is how computers print double precision, the last ones need not be right.
    """
    if rounded == 0 or exact == 0:
        return False
    places = (15 if digits in (16, 17) else digits) - 1 - int(context.floor(context.log10(abs(rounded))))
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
