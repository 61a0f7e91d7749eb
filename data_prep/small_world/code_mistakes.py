"""The first wrong step of a code-augmented solution of a small-world problem: the truth that step scorers are held to.

The programs are read, never run: assignments of whole-number arithmetic, `print`, comments that quote the problem.
What else a policy may write is reported as unclear.
"""

import ast
import operator as op
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from data_prep.answers import last_boxed
from data_prep.equivalence.comparing import same
from data_prep.mcts.steps import (
    ANSWER,
    CODE,
    END_OF_ANSWER,
    END_OF_CODE,
    END_OF_OUTPUT,
    END_OF_STEP,
    MARKERS,
    OUTPUT,
)
from data_prep.small_world.problems import Problem, Step
from data_prep.small_world.reading import Meaning, definitions, read_sentence
from data_prep.small_world.traces import SYMBOL

MARKER = re.compile("(" + "|".join(map(re.escape, MARKERS)) + ")")
AFTER = {CODE: "code", END_OF_STEP: "code", END_OF_CODE: "talk", OUTPUT: "output", END_OF_OUTPUT: "talk",
         ANSWER: "answer", END_OF_ANSWER: "talk"}  # fmt: skip
PRINTING = "# Now print the final answer"
SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "/", ast.Mod: "%"
}  # fmt: skip
CALCULATE: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: op.add, ast.Sub: op.sub, ast.Mult: op.mul, ast.Div: op.truediv, ast.Mod: op.mod,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
}  # fmt: skip

Kind = Literal["misread", "comment", "no value", "print", "output", "answer", "unclear"]


@dataclass(frozen=True)
class CodeMistake:
    """The first step of a solution that is wrong, or `unclear`: that cannot be told, nor of any step after it.

    `kind`: `misread` (an amount, a number or an operation that the problem does not have), `comment` (a sentence that
    the problem does not have, over code that is right), `no value` (a name is used before it has one), `print`
    (something else than what is asked for), `output` (not what was printed), `answer` (not what was put out). `step`:
    its index. `text`: the line.
    """

    step: int
    kind: Kind
    text: str


class Wrong(Exception):
    """A line is wrong, or unclear. Arguments: kind, text."""


def first_mistake(problem: Problem, steps: Sequence[str]) -> CodeMistake | None:
    """The first wrong step; None if all are right, as far as they go.

    `steps`: the solution, cut anywhere between lines; joined they are the whole text, outputs included. A step is wrong
    by what it says itself. Before the first mistake all values are true, so a line is judged by the problem alone: an
    amount must be put as the problem puts it (names or their values, summands and factors in any order). A true amount
    that does not matter, or that is given again, is no mistake. So a solution without a mistake that gives an answer
    gives the right one; one with a mistake may still end right.
    """
    reader = Reader(problem, "talk" if steps and CODE in steps[0] else "code")
    for i, step in enumerate(steps):
        try:
            reader.read(step)
        except Wrong as found:
            kind, text = found.args
            return CodeMistake(i, kind, text)
    return None


class Reader:
    """Reads a solution step by step. Raises Wrong at the first mistake."""

    def __init__(self, problem: Problem, part: str):
        self.problem = problem
        self.given = {name.lower(): step for name, step in definitions(problem).items()}
        self.asked = problem.steps[-1].name.lower()
        self.known: set[str] = set()  # variables of the program that have a value, a true one
        self.part = part  # of the solution: talk, code, output, answer
        self.printed = False

    def read(self, step: str) -> None:
        for piece in MARKER.split(step):
            if piece in AFTER:
                self.part = AFTER[piece]
                if piece == END_OF_OUTPUT:
                    self.known.clear()  # a program that follows begins anew
            elif self.part == "code":
                self.read_code(piece)
            elif self.part == "output":
                self.read_output(piece)
            elif self.part == "answer" or "\\boxed" in piece:
                self.read_answer(piece)

    def read_code(self, code: str) -> None:
        comment = ""
        for line in filter(None, map(str.strip, code.splitlines())):
            if line.startswith("#"):
                self.read_comment(comment)
                comment = line
                continue
            match statement(line):
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self.read_assignment(name, value, line)
                    if comment and not self.says(comment, self.given[name.lower()]):
                        raise Wrong("comment", comment)
                case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[value], keywords=[])):
                    self.read_print(value, line)
                case _:
                    raise Wrong("unclear", line)
            comment = ""
        self.read_comment(comment)

    def read_comment(self, comment: str) -> None:
        """A comment without code: anything that the problem says."""
        if comment not in ("", PRINTING) and not any(self.says(comment, step) for step in self.given.values()):
            raise Wrong("comment", comment)

    def says(self, comment: str, step: Step) -> bool:
        """Whether the comment says of the amount what the problem says, in whichever words."""
        meaning = read_sentence(comment.lstrip("# "), self.problem.family)
        if self.problem.family == "chain":
            return meaning == Meaning("", step.operation, (), step.k, "")
        return meaning == Meaning(step.name, step.operation, step.sources, step.k, self.problem.things)

    def read_assignment(self, name: str, value: ast.expr, line: str) -> None:
        step = self.given.get(name.lower())
        if step is None:
            raise Wrong("misread", line)
        self.compare(value, step, "misread", line)
        self.known.add(name)

    def read_print(self, value: ast.expr, line: str) -> None:
        self.compare(value, self.given[self.asked], "print", line)
        self.printed = True

    def compare(self, value: ast.expr, step: Step, kind: Kind, line: str) -> None:
        """Raises Wrong unless the expression is what the problem says of the amount, or the amount's own name."""
        try:
            number = self.number(value, line)
        except RecursionError:
            raise Wrong("unclear", line) from None
        if isinstance(value, ast.BinOp):
            left, right = operand(value.left), operand(value.right)
            right_form = step.operation is not None and SYMBOLS[type(value.op)] == SYMBOL[step.operation]
            right_form &= any(self.stands_for(left, a) and self.stands_for(right, b) for a, b in orders(step))
            if not right_form and number == step.value and None in (left, right):
                raise Wrong("unclear", line)  # a longer expression with the right value
        else:
            written = operand(value)
            right_form = written == step.name.lower() or (step.operation is None and written == step.k)
        if not right_form:
            raise Wrong(kind, line)

    def stands_for(self, written: str | int | None, meant: str | int) -> bool:
        """Whether an operand is the one that is meant, or in the place of a name its value, once that is known."""
        if isinstance(meant, int) or not isinstance(written, int):
            return written == meant
        return meant in {name.lower() for name in self.known} and written == self.given[meant].value

    def number(self, value: ast.expr, line: str) -> Fraction | None:
        """What an expression comes to; None where it divides by 0. Raises Wrong for a name that has no value."""
        match value:
            case ast.Name(id=name) if name in self.known:
                return Fraction(self.given[name.lower()].value)
            case ast.Name(id=name):
                raise Wrong("no value" if name.lower() in self.given else "misread", line)
            case ast.Constant(value=int(constant)) if not isinstance(constant, bool):
                return Fraction(constant)
            case ast.BinOp(op=sign) if type(sign) in SYMBOLS:
                left, right = self.number(value.left, line), self.number(value.right, line)
                if left is None or right is None or (right == 0 and isinstance(sign, ast.Div | ast.FloorDiv | ast.Mod)):
                    return None
                return CALCULATE[type(sign)](left, right)
        raise Wrong("unclear", line)

    def read_output(self, output: str) -> None:
        if not self.printed or not same(self.problem.answer, output.strip()):
            raise Wrong("output", output.strip())

    def read_answer(self, text: str) -> None:
        answer = last_boxed(text)
        if answer is None or not self.printed or not same(self.problem.answer, answer):
            raise Wrong("answer", text.strip())


def statement(line: str) -> ast.stmt | None:
    """The line's one statement, None if it is no such thing."""
    try:
        body = ast.parse(line).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # all that ast.parse is known to raise
        return None
    return body[0] if len(body) == 1 else None


def operand(value: ast.expr) -> str | int | None:
    """A name (lower case) or a whole number; None for what is longer."""
    match value:
        case ast.Name(id=name):
            return name.lower()
        case ast.Constant(value=int(number)):
            return number
    return None


def orders(step: Step) -> list[tuple[str | int, str | int]]:
    """The operands of a step (names in lower case), in each order that gives the same."""
    right = step.sources[1].lower() if step.operation == "sum" else step.k
    if not step.sources or right is None:
        return []
    left = step.sources[0].lower()
    return [(left, right), (right, left)] if step.operation in ("plus", "times", "sum") else [(left, right)]
