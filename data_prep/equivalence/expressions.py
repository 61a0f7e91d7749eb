"""Mathematical expressions in LaTeX or plain text: parsed, then compared by their values at fixed points.

Two expressions with the same values at several points, chosen before anybody saw them, are the same expression: far
cheaper than simplifying symbols, and the work is bounded. Rational arithmetic is exact, everything else has 120 digits.
Text comes from models, so depth, digits and exponents are limited; what is beyond them, or unknown, is not understood,
which is an answer that nobody should take for "different".
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zlib import crc32

import mpmath

MAX_CHARACTERS = 2000  # of an expression
MAX_DEPTH = 40  # of brackets, and of everything else that nests
MAX_BITS = 40_000  # of an exact number: 12,000 digits
MAX_EXPONENT = 10**6  # of a power that is not exact
MAX_FACTORIAL = 1000
# How the values of names are chosen, see `value_of_name`.
POINTS = ("positive", "another", "large", "negative", "far negative", "whole", "another whole")
POSITIVE, NEGATIVE, WHOLE = slice(0, 3), slice(3, 5), slice(5, 7)

Value = Any  # Fraction, or mpmath's mpf or mpc, or None: not defined at this point
Values = tuple[Value, ...]  # one per point

context = mpmath.MPContext()  # its precision is its own: mpmath.mp stays as it is
context.dps = 120
TOLERANCE = context.mpf(10) ** -100  # relative
RESIDUE = context.mpf(10) ** -130, context.mpf(10) ** -105  # what is left of terms that cancel; smaller is meant


class NotUnderstoodError(ValueError):
    """This text is no expression that we know how to read, or one beyond the limits."""


@dataclass(frozen=True)
class Expression:
    """`values`: at the points. `names`: its free variables. `doubtful`: it can be read in another way.

    `whole`: it means something for whole numbers that it does not mean between them, such as (-1)^n or n!.
    """

    values: Values
    names: frozenset[str] = frozenset()
    doubtful: bool = False
    whole: bool = False

    @property
    def value(self) -> Value:
        """Of a constant."""
        return self.values[0]


GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega hbar ell"
).split()
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(context, name) for name in ("sin", "cos", "tan", "sec", "csc", "cot", "sinh", "cosh", "tanh")},
    "arcsin": context.asin, "arccos": context.acos, "arctan": context.atan, "arccot": context.acot,
    "asin": context.asin, "acos": context.acos, "atan": context.atan,
    "arcsinh": context.asinh, "arccosh": context.acosh, "arctanh": context.atanh, "coth": context.coth,
    "ln": context.ln, "log": context.ln, "lg": context.log10, "exp": context.exp,
}  # fmt: skip
INVERSE = {name: FUNCTIONS["arc" + name] for name in ("sin", "cos", "tan", "cot", "sinh", "cosh", "tanh")}
WORDS = sorted([*FUNCTIONS, "sqrt", "pi"], key=len, reverse=True)  # functions that are read without a backslash
STRUCTURE = (
    "frac sqrt binom lfloor rfloor lceil rceil cdot times div pi infty dot ddot bar vec overline hat mathbf mathbb "
    "mathcal prime odot pm mp circ"
).split()
COMMANDS = sorted([*GREEK, *FUNCTIONS, *STRUCTURE], key=len, reverse=True)
ACCENTS = {"dot", "ddot", "bar", "vec", "overline", "hat", "mathbf", "mathbb", "mathcal"}
TOKEN = re.compile(
    r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|\\([a-zA-Z]+)|((?:np\.|math\.)?(?:" + "|".join(WORDS) + r"))(?![a-z])"
    r"|([A-Za-z])|(\*\*|[-+*/^_!()\[\]{}|']))"
)
# A name before a bracket that is a function; other names are factors.
CALLED = {*"fghpFGHPEV", "\\Gamma", "\\phi", "\\Phi", "\\psi", "\\Psi", "\\zeta", "\\sigma", "\\tau", "\\mu"}
CLOSING = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "|": "|"}


def tokens(text: str) -> list[str]:
    """Numbers, letters, signs, and commands with their backslash. Raises NotUnderstoodError."""
    if re.search(r"\b0[xXbBoO][0-9A-Fa-f]", text):
        raise NotUnderstoodError("digits of a program")
    found = []
    position = letters = 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise NotUnderstoodError(text[position : position + 10])
        number, command, word, letter, sign = match.groups()
        letters = letters + 1 if letter and (match.start(4) == position) else bool(letter)
        if letters > 3:
            raise NotUnderstoodError("a word, not a product of letters")
        position = match.end()
        if command:
            # "\pit" is what is left of "\pi t" where a data set has removed its spaces.
            known = next((name for name in COMMANDS if command.startswith(name)), None)
            if known is None:
                raise NotUnderstoodError(f"\\{command}")
            position -= len(command) - len(known)
            found.append(f"\\{known}")
        elif word:
            found.append("\\" + word.rpartition(".")[2])
        else:
            found.append("^" if sign == "**" else number or letter or sign)
    return found


@lru_cache(maxsize=4096)
def value_of_name(name: str, point: int) -> Fraction:
    """A value that depends on nothing but the name and the point."""
    number = crc32(f"{name} {point}".encode())
    match POINTS[point]:
        case "whole" | "another whole":
            return Fraction(2 + number % 11)
        case "negative":
            return -Fraction(61 + number % 97, 79)
        case "far negative":
            return -Fraction(30_000 + number % 9_973, 83)
        case "large":
            return Fraction(70_000 + number % 9_967, 73)
        case _:
            return Fraction(53 + number % 89, 71 + number % 7)


def exact_or_real(value: Value) -> Value:
    return context.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def bounded(value: Value) -> Value:
    """The value, if it is a number within the limits; raises NotUnderstoodError otherwise."""
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
            raise NotUnderstoodError("a number beyond the limits")
        return value
    if value is None or not context.isfinite(value):
        raise NotUnderstoodError("no finite value")
    return value


def power(base: Value, exponent: Value) -> Value:
    """Base to the exponent; exact where that stays small. Raises NotUnderstoodError beyond the limits."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if base == 0 and exponent <= 0:
            raise NotUnderstoodError("0 to the power 0")
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(exponent.numerator) * bits <= MAX_BITS:
                return base**exponent.numerator
            if base.denominator == exponent.denominator == 1 and abs(exponent) > MAX_FACTORIAL:
                raise NotUnderstoodError("a power beyond the limits")
        elif base > 0 and exponent.denominator < 10 and abs(exponent.numerator) < 100:
            roots = [exact_root(part, exponent.denominator) for part in (base.numerator, base.denominator)]
            if None not in roots:
                return power(Fraction(roots[0], roots[1]), Fraction(exponent.numerator))  # type: ignore[arg-type]
    base, exponent = exact_or_real(base), exact_or_real(exponent)
    if abs(exponent) > MAX_EXPONENT or (base != 0 and abs(context.log(abs(base))) * abs(exponent) > MAX_EXPONENT):
        raise NotUnderstoodError("a power beyond the limits")
    return context.power(base, exponent)


def exact_root(number: int, degree: int) -> int | None:
    """The whole root of a whole number, or None."""
    if number.bit_length() > 900:
        return None
    root = round(number ** (1 / degree))
    return next((r for r in (root - 1, root, root + 1) if r >= 0 and r**degree == number), None)


def combined(operation: Callable[..., Value], *parts: Expression, **flags: bool) -> Expression:
    """The operation at every point; None where it is not defined there."""
    values: list[Value] = []
    names = frozenset().union(*(part.names for part in parts))
    for point in range(len(POINTS)):
        if point and not names:
            values.append(values[0])
            continue
        arguments = [part.values[point] for part in parts]
        try:
            values.append(None if None in arguments else bounded(operation(*arguments)))
        except (ZeroDivisionError, NotUnderstoodError, OverflowError, ValueError, TypeError, context.NoConvergence):
            if not names:
                raise NotUnderstoodError("not defined, or beyond the limits") from None
            values.append(None)
    return Expression(
        tuple(values),
        names,
        any(part.doubtful for part in parts) or flags.get("doubtful", False),
        any(part.whole for part in parts) or flags.get("whole", False),
    )


def constant(value: Value) -> Expression:
    return Expression((value,) * len(POINTS))


def variable(name: str) -> Expression:
    return Expression(tuple(value_of_name(name, point) for point in range(len(POINTS))), frozenset([name]))


def add(a: Value, b: Value) -> Value:
    return a + b if isinstance(a, Fraction) is isinstance(b, Fraction) else exact_or_real(a) + exact_or_real(b)


def multiply(a: Value, b: Value) -> Value:
    return a * b if isinstance(a, Fraction) is isinstance(b, Fraction) else exact_or_real(a) * exact_or_real(b)


def divide(a: Value, b: Value) -> Value:
    return a / b if isinstance(a, Fraction) is isinstance(b, Fraction) else exact_or_real(a) / exact_or_real(b)


def factorial(a: Value) -> Value:
    """Of a whole number; between them, the gamma function, so that n! = n (n - 1)! holds everywhere."""
    if not isinstance(a, Fraction) or abs(a) > MAX_FACTORIAL:
        raise NotUnderstoodError("a factorial beyond the limits")
    if a.denominator == 1:
        if a < 0:
            raise NotUnderstoodError("the factorial of a negative number")
        return Fraction(math.factorial(int(a)))
    return context.gamma(exact_or_real(a) + 1)


def binomial(a: Value, b: Value) -> Value:
    if not all(isinstance(x, Fraction) and abs(x) <= MAX_FACTORIAL for x in (a, b)):
        raise NotUnderstoodError("a binomial beyond the limits")
    if a.denominator == b.denominator == 1 and a >= 0 and b >= 0:
        return Fraction(math.comb(int(a), int(b)))
    return context.binomial(exact_or_real(a), exact_or_real(b))


def rounded(a: Value, up: bool) -> Value:
    if isinstance(a, Fraction):
        return Fraction(math.ceil(a) if up else math.floor(a))
    if context.im(a) != 0:
        raise NotUnderstoodError("the floor of a complex number")
    nearest = context.nint(a)
    if abs(a - nearest) < TOLERANCE:  # which side of a whole number it lies on cannot be told
        raise NotUnderstoodError("the floor of a number too near to a whole one")
    return Fraction(int(context.ceil(a) if up else context.floor(a)))


@dataclass
class Parser:
    """Reads one expression by recursive descent. Values are computed on the way: no tree is kept."""

    found: list[str]
    position: int = 0
    depth: int = 0
    otherwise: bool = False  # read what is doubtful in its other way: log to the base 10, 1/2x as 1/(2x)
    after_number: bool = False  # the last factor ended with digits
    vectors: set[str] = field(default_factory=set)  # names printed bold or with an arrow
    bars: bool = False  # inside of an absolute value, where a bar closes
    renamed: tuple[tuple[str, str], ...] = ()  # names that are to be read as others

    def peek(self, ahead: int = 0) -> str:
        return self.found[self.position + ahead] if self.position + ahead < len(self.found) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise NotUnderstoodError(f"{token!r} where {wanted or 'something'!r} is due")
        self.position += 1
        return token

    def nested(self, read: Callable[[], Expression]) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotUnderstoodError("nested too deeply")
        result = read()
        self.depth -= 1
        return result

    def sum(self) -> Expression:
        result = self.product()
        while self.peek() in ("+", "-"):
            minus = self.take() == "-"
            term = self.product()
            result = combined((lambda a, b: add(a, -b)) if minus else add, result, term)
        return result

    def product(self, argument: bool = False) -> Expression:
        """A product. `argument`: of a function without brackets, which ends before another function."""
        if self.peek() in ("-", "+"):
            minus = self.take() == "-"
            inner = self.nested(lambda: self.product(argument))
            return combined(lambda a: -a, inner) if minus else inner
        result = self.power()
        divided = False
        while True:
            token = self.peek()
            if self.after_number and (token[:1].isdigit() or token[:1] in (".", "{")):
                raise NotUnderstoodError("two numbers side by side")
            if token in ("*", "\\cdot", "\\times"):
                self.take()
                factor = self.signed_power()
                dot = token == "\\cdot" and all(name.startswith("\\vec") for name in self.vectors)
                result = combined(multiply, result, factor) if dot else self.multiplied(result, factor)
            elif token in ("/", "\\div"):
                self.take()
                divided = True
                below = self.signed_power()
                if self.otherwise:
                    while self.starts_factor(self.peek()):
                        below = combined(multiply, below, self.power(), doubtful=True)
                result = combined(divide, result, below)
            elif self.starts_factor(token) and not (argument and token[1:] in FUNCTIONS):
                # In "1/2x" the x may be meant above or below.
                result = self.multiplied(result, self.power(), doubtful=divided)
            else:
                return result

    def multiplied(self, a: Expression, b: Expression, **flags: bool) -> Expression:
        """The product of numbers. Vectors and matrices, printed bold or with an arrow, have others."""
        if self.vectors & a.names and self.vectors & b.names:
            raise NotUnderstoodError("a product of vectors or matrices")
        return combined(multiply, a, b, **flags)

    def signed_power(self) -> Expression:
        if self.peek() in ("-", "+"):
            minus = self.take() == "-"
            inner = self.nested(self.signed_power)
            return combined(lambda a: -a, inner) if minus else inner
        return self.power()

    def starts_factor(self, token: str) -> bool:
        if token == "|":
            return not self.bars
        return bool(token) and (token[0].isalnum() or token[0] in ".([{" or token.startswith("\\")) and token not in (
            "\\rfloor", "\\rceil", "\\cdot", "\\times", "\\div", "\\infty", "\\prime", "\\pm", "\\mp", "\\circ",
        )  # fmt: skip

    def power(self) -> Expression:
        start = self.position
        base = self.atom()
        self.after_number = self.position > start and self.found[self.position - 1][-1:].isdigit()
        if self.peek() == "!":
            self.take()
            base = combined(factorial, base, whole=True)
            if self.peek() == "!":
                raise NotUnderstoodError("a double factorial")
        if self.peek() == "^" and self.peek(1) == "\\circ":
            self.position += 2
            return combined(multiply, base, constant(context.pi / 180))
        if self.peek() == "^":
            self.take()
            exponent = self.nested(self.exponent)
            whole = bool(exponent.names) and not base.names and self.is_negative(base)
            base = combined(power, base, exponent, whole=whole)
            self.after_number = False
        return base

    def exponent(self) -> Expression:
        if self.peek() in ("-", "+"):
            minus = self.take() == "-"
            inner = self.power()
            return combined(lambda a: -a, inner) if minus else inner
        if self.peek() == "{":
            return self.group()
        if self.peek().isdigit():
            # LaTeX takes one digit; people who write "2^10" mean ten.
            result = constant(Fraction(self.take()))
        else:
            result = self.atom()
        if self.peek() == "^":  # a tower
            self.take()
            return combined(power, result, self.nested(self.exponent))
        return result

    @staticmethod
    def is_negative(base: Expression) -> bool:
        value = base.value
        return (isinstance(value, Fraction) and value < 0) or context.im(exact_or_real(value)) != 0

    def group(self) -> Expression:
        opening = self.take()
        if opening not in CLOSING:
            raise NotUnderstoodError(f"{opening!r} where a bracket is due")
        bars, self.bars = self.bars, opening == "|"
        inner = self.nested(self.sum)
        self.bars = bars
        self.take(CLOSING[opening])
        return inner

    def atom(self) -> Expression:
        token = self.peek()
        if token[:1].isdigit() or token[:1] == ".":
            return self.number()
        if token in ("(", "[", "{"):
            return self.group()
        if token == "|":
            return combined(lambda a: abs(a), self.group())
        if token in ("\\lfloor", "\\lceil"):
            inner = self.group()
            return combined(lambda a: rounded(a, token == "\\lceil"), inner, whole=True)
        if token == "\\frac":
            self.take()
            return combined(divide, *self.two_arguments())
        if token == "\\binom":
            self.take()
            return combined(binomial, *self.two_arguments(), whole=True)
        if token == "\\sqrt":
            return self.root()
        if token == "\\pi":
            self.take()
            return constant(+context.pi)
        if token[1:] in FUNCTIONS and token.startswith("\\"):
            return self.function()
        if token[:1].isalpha() or token[1:] in GREEK or token[1:] in ACCENTS:
            return self.name()
        raise NotUnderstoodError(f"{token!r}")

    def number(self) -> Expression:
        token = self.take()
        value = Fraction(token)
        # A mixed number: 1\frac{1}{2}, 1 1/2
        if token.isdigit():
            after = self.found[self.position : self.position + 7]
            if len(after) == 7 and after[0] == "\\frac" and [after[1], after[3], after[4], after[6]] == list("{}{}"):
                above, below, length = after[2], after[5], 7
            elif len(after) >= 3 and after[1] == "/":
                above, below, length = after[0], after[2], 3
            else:
                return constant(value)
            if above.isdigit() and below.isdigit() and int(above) < int(below):
                self.position += length
                return constant(value + Fraction(int(above), int(below)))
        return constant(value)

    def two_arguments(self) -> tuple[Expression, Expression]:
        return self.argument(), self.argument()

    def argument(self) -> Expression:
        """Of a command: a group in braces, or one digit, as in \\frac12."""
        token = self.peek()
        if token == "{":
            return self.nested(self.group)
        if token.isdigit() and len(token) > 1:
            self.found[self.position] = token[1:]
            return constant(Fraction(token[0]))
        if token.isdigit():
            return constant(Fraction(self.take()))
        return self.nested(self.atom)

    def root(self) -> Expression:
        self.take()
        degree = Fraction(2)
        if self.peek() == "[":
            inner = self.group()
            if inner.names or not isinstance(inner.value, Fraction) or inner.value.denominator != 1 or inner.value < 2:
                raise NotUnderstoodError("a root that is no whole number")
            degree = inner.value
        bracket = self.peek() in ("(", "{")
        radicand = self.nested(self.group) if bracket else self.argument()

        def root(a: Value) -> Value:
            # The real root of a negative number, where there is one.
            if degree.numerator % 2 and (isinstance(a, Fraction) or context.im(a) == 0) and a < 0:
                return -power(-a, 1 / degree)
            return Fraction(0) if a == 0 else power(a, 1 / degree)

        return combined(root, radicand)

    def function(self) -> Expression:
        name = self.take()[1:]
        call, base, exponent = FUNCTIONS[name], None, None
        doubtful = False
        while self.peek() in ("^", "_"):
            if self.take() == "_":
                if name != "log":
                    raise NotUnderstoodError(f"{name} with an index")
                base = self.argument()
            else:
                exponent = self.nested(self.exponent)
                if not exponent.names and exponent.value == -1:
                    if name not in INVERSE:
                        raise NotUnderstoodError(f"{name}^-1")
                    call, exponent = INVERSE[name], None
        if name == "log" and base is None:
            doubtful = True  # to the base 10 or e
            base = constant(Fraction(10)) if self.otherwise else None
        if self.peek() in ("(", "[", "{", "|"):
            inner = self.nested(self.atom)
        else:
            inner = self.nested(lambda: self.product(argument=True))

        def apply(a: Value) -> Value:
            if name not in ("ln", "log", "lg", "arctan", "atan") and abs(a) > MAX_EXPONENT:
                raise NotUnderstoodError("beyond the limits")
            if a == 0 and name in ("sin", "tan", "arctan", "arcsin"):
                return Fraction(0)
            return call(exact_or_real(a))

        result = combined(apply, inner, doubtful=doubtful, whole=name in ("cos", "sin", "tan") and bool(inner.names))
        if base is not None:
            result = combined(lambda a, b: nearly_rational(a / context.ln(exact_or_real(b))), result, base)
        return result if exponent is None else combined(power, result, exponent)

    def name(self) -> Expression:
        """A variable with its accents, index and primes; or the constants e and i."""
        token = base = self.take()
        if base in CALLED and self.found[self.position : self.position + 5] == ["^", "{", "-", "1", "}"]:
            raise NotUnderstoodError("the inverse of a function, or a power")
        if token[1:] in ACCENTS and token.startswith("\\"):
            braced = self.peek() == "{"
            if braced:
                self.take()
            inner = self.take()
            if braced:
                self.take("}")
            # Bold print is no part of a name.
            accent, token = token, inner if token[1:].startswith("math") else f"{token}{inner}"
            if accent in ("\\mathbf", "\\vec", "\\overline", "\\hat"):
                self.vectors.add(token)
            if not (inner.isalpha() or inner[1:] in GREEK):
                raise NotUnderstoodError(inner)
        if self.peek() == "_":
            self.take()
            token += "_" + "".join(self.index())
        while self.peek() in ("'",) or (self.peek() == "^" and self.peek(1) in ("\\prime", "'")):
            if self.take() == "^":
                self.take()
            token += "'"
        if self.peek() == "^" and self.peek(1) == "{" and self.peek(2) == "\\prime":
            self.position += 2
            while self.take() == "\\prime":
                token += "'"
        if token == "e":
            return constant(+context.e)
        if token == "i":
            return constant(context.mpc(0, 1))
        token = token.replace("varepsilon", "epsilon").replace("varphi", "phi").replace("vartheta", "theta")
        token = dict(self.renamed).get(token, token)
        if [self.peek(), self.peek(1), self.peek(2)] == ["(", "t", ")"]:
            self.position += 3  # x(t) is x, a function of time
            return variable(token)
        if self.peek() == "(":
            if base in CALLED or (self.peek(1).isalpha() and self.peek(2) == ")" and token.isalpha()):
                return self.call(token)
            if self.peek(1).isdigit() and self.peek(2) == ")":
                raise NotUnderstoodError(f"{token} of a number: a value of a function, or a product")
        return variable(token)

    def call(self, name: str) -> Expression:
        """f(x), as a value that depends on the function's name and on x alone."""

        def value(a: Value) -> Value:
            return value_of_name(f"{name}({context.nstr(exact_or_real(a), 20)})", 0)

        argument = self.nested(self.group)
        result = combined(value, argument)
        return Expression(result.values, result.names | {name}, result.doubtful, result.whole)

    def index(self) -> Iterator[str]:
        if self.peek() != "{":
            token = self.take()
            if not token.lstrip("\\").isalnum():
                raise NotUnderstoodError(f"the index {token!r}")
            yield token
            return
        open_braces = 0
        while True:
            token = self.take()
            open_braces += (token == "{") - (token == "}")
            if token not in "{}":
                yield token
            if not open_braces:
                return


def nearly_rational(value: Value) -> Value:
    """A logarithm of a power of its base is that whole number."""
    nearest = context.nint(context.re(value))
    return Fraction(int(nearest)) if abs(value - nearest) < TOLERANCE else value


@lru_cache(maxsize=20_000)
def _parse(text: str, renamed: tuple[tuple[str, str], ...], otherwise: bool) -> Expression | None:
    try:
        if len(text) > MAX_CHARACTERS:
            return None
        parser = Parser(tokens(text), renamed=renamed, otherwise=otherwise)
        result = parser.sum()
        return result if parser.position == len(parser.found) else None
    except (NotUnderstoodError, OverflowError, ValueError, ZeroDivisionError, RecursionError):
        return None


def parse(text: str, renamed: tuple[tuple[str, str], ...] = (), otherwise: bool = False) -> Expression:
    """Reads an expression such as `\\frac{3\\sqrt{2}}{5}` or `2x + 1`. Raises NotUnderstoodError.

    `renamed`: pairs of names, the first of which is read as the second. `otherwise`: what is doubtful is read in its
    other way.
    """
    result = _parse(text.strip(), renamed, otherwise)
    if result is None:
        raise NotUnderstoodError(text[:60])
    return result


def same_value(a: Value, b: Value) -> bool:
    """Equal exactly if both are rational, else to 100 digits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = exact_or_real(a), exact_or_real(b)
    if abs(a - b) <= TOLERANCE * max(abs(a), abs(b)):
        return True
    smallest, largest = RESIDUE
    return all(x == 0 or smallest < abs(x) < largest for x in (a, b))


def same_expression(a: Expression, b: Expression) -> bool | None:
    """Whether the two are equal for all values of their variables; None: this cannot be told.

    Equal everywhere is equal. Different at a positive point is different, unless whole numbers say otherwise of
    something that is about whole numbers. What differs for negative values only, as x and |x| do, is not told.
    """
    agree = [None if x is None or y is None else same_value(x, y) for x, y in zip(a.values, b.values, strict=True)]
    positive, negative, whole = agree[POSITIVE], agree[NEGATIVE], agree[WHOLE]
    everywhere = False not in agree and positive.count(True) >= 2
    if everywhere and (True in negative or whole == [True, True]):
        return True
    if a.whole or b.whole:
        return False if False in whole else None
    return False if False in positive else None
