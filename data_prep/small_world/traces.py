"""Responses of the small world: Long-CoT traces, code-augmented steps and short answers, and what is wrong in one.

A Long-CoT trace plans backwards from what is asked (in a chain it counts the steps), then takes one amount per
paragraph: quotes what the problem says of it, puts it as an expression, computes it, notes it down and looks up who
comes next. It checks some steps by the inverse operation and, where a slip was planted, notices it and corrects it:

    <think>
    Answer needs Dan.
    Dan needs Bob.
    Bob needs Ann.
    Ann is given.

    Ann: Ann has 14 coins.
    Ann=14, then Bob.

    Bob: Bob has 5 more coins than Ann. Ann+5. 14+5=19. Check: 19-5=14. Right.
    Bob=19, then Dan.

    Dan: Dan trails Bob by 9 coins. Bob-9. 19-9=11. Check: 11+9=20. Wait, not 19. Again: 19-9=10. Check: 10+9=19. Right.
    Dan=10, then Answer.

    Dan has 10.
    </think>

    The answer is \\boxed{10}.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal

from data_prep.small_world.problems import Operation, Problem, Step, apply

SYMBOL: dict[Operation, str] = {"plus": "+", "minus": "-", "times": "*", "divide": "/", "sum": "+", "remainder": "%"}
ASKER = "Answer"  # needs what is asked for, as a person needs another one: who is next is one and the same lookup
INVERSE: dict[Operation, str] = {"plus": "-", "minus": "+", "times": "/", "divide": "*", "sum": "-"}


def short_answer(problem: Problem) -> str:
    return f"The answer is \\boxed{{{problem.answer}}}."


def wanted(problem: Problem) -> str:
    """What is asked for: `Answer needs Dan.` In a chain, the number of steps: `Answer needs 3 steps.`"""
    n = len(problem.steps) - 1
    n_steps = "1 step" if n == 1 else f"{n} steps"
    return f"{ASKER} needs {problem.steps[-1].name if problem.family == 'relations' else n_steps}."


def plan(problem: Problem) -> str:
    """What is asked for and, line by line, whom it depends on."""
    dependent = [needs(step) for step in reversed(problem.steps) if problem.family == "relations"]
    return "\n".join([wanted(problem), *dependent])


def needs(step: Step) -> str:
    """What the step depends on, e.g. `Bob needs Ann.` or `Ann is given.`"""
    return f"{step.name} needs {' and '.join(step.sources)}." if step.sources else f"{step.name} is given."


def note(name: str, value: int, next_name: str) -> str:
    """An amount noted down, and who needs it: `Bob=19, then Dan.` or, for what is asked, `Dan=10, then Answer.`"""
    return f"{name}={value}, then {next_name}."


def expression(step: Step) -> str:
    """What the problem says of the amount: `Ann+5` for people, `+5` in a chain."""
    assert step.operation
    if step.name.startswith("x"):
        return f"{SYMBOL[step.operation]}{step.k}"
    right = step.sources[1] if step.operation == "sum" else step.k
    return f"{step.sources[0]}{SYMBOL[step.operation]}{right}"


def progress(problem: Problem, step: Step) -> str:
    """How far a chain has come, e.g. `2/3.`"""
    return f"{step.name[1:]}/{len(problem.steps) - 1}."


def reading(step: Step) -> str:
    """What the problem says of the amount: `Bob: Bob has 5 more coins than Ann. Ann+5.` In a chain, `2) +5.`"""
    if step.name.startswith("x"):
        return f"{step.name[1:]}) {expression(step)}." if step.operation else f"Start: {step.k}."
    return f"{step.name}: {step.sentence}" + (f" {expression(step)}." if step.operation else "")


def operands(step: Step, values: dict[str, int]) -> tuple[int, int]:
    right = values[step.sources[1]] if step.operation == "sum" else step.k
    assert right is not None
    return values[step.sources[0]], right


def check(step: Step, left: int, right: int, result: int) -> str | None:
    """Inverse computation of a step, e.g. `19-5=14`; None where there is none (remainders, uneven quotients)."""
    if step.operation not in INVERSE:
        return None
    inverse = INVERSE[step.operation]
    if inverse == "/" and result % right:
        return None
    back = {"+": result + right, "-": result - right, "*": result * right, "/": result // right}[inverse]
    return f"{result}{inverse}{right}={back}" if back >= 0 else None


def slip(value: int, rng: Random) -> int:
    """A plausible wrong result: off by one or ten, or two digits exchanged."""
    candidates = [value + 1, value - 1, value + 10, value - 10]
    digits = str(value)
    if len(digits) > 1 and digits[-1] != digits[-2]:
        candidates.append(int(digits[:-2] + digits[-1] + digits[-2]))
    return rng.choice([c for c in candidates if c > 0])


def goes_on(problem: Problem, name: str, values: dict[str, int]) -> bool:
    """Whether the steps after `name` can be computed in natural numbers from these values."""
    values = dict(values)
    for step in problem.steps[[step.name for step in problem.steps].index(name) + 1 :]:
        assert step.operation
        left, right = operands(step, values)
        if step.operation == "divide" and left % right:
            return False
        values[step.name] = apply(step.operation, left, right)
        if values[step.name] < 1:
            return False
    return True


def long_cot(
    problem: Problem,
    rng: Random,
    *,
    check_rate: float = 0.4,
    slip_rate: float = 0.04,
    correct_slips: bool = True,
    n_paragraphs: int | None = None,
) -> str:
    """A Long-CoT response to the problem.

    `check_rate`: share of steps that are checked. `slip_rate`: chance that a step's first result is a planted slip,
    which its check uncovers; with `correct_slips=False` it goes unnoticed and the rest follows from it.
    `n_paragraphs`: if given, steps already done are checked once more, in paragraphs of their own, until the thought
    has that many; so the length of traces can be matched across difficulties.
    """
    relations = problem.family == "relations"
    after = {**{step.name: later.name for step, later in pairwise(problem.steps)}, problem.steps[-1].name: ASKER}
    first = problem.steps[0]
    begin = f"{reading(first)}\n{note(first.name, first.value, after[first.name])}" if relations else reading(first)
    paragraphs = [plan(problem), begin]
    checks_for_later: list[str] = []
    values = {problem.steps[0].name: problem.steps[0].value}
    for step in problem.steps[1:]:
        assert step.operation
        left, right = operands(step, values)
        value = apply(step.operation, left, right)
        equation = f"{left}{SYMBOL[step.operation]}{right}="
        text = f"{reading(step)} {equation}"
        planted = slip(value, rng) if rng.random() < slip_rate else None
        if (
            planted is not None
            and not correct_slips
            and not goes_on(problem, step.name, {**values, step.name: planted})
        ):
            planted = None
        found = check(step, left, right, planted) if planted is not None else None
        confirmed = check(step, left, right, value)
        if planted is not None and not correct_slips:
            value = planted
            text += f"{value}."
        elif planted is not None and found is not None:
            text += f"{planted}. Check: {found}. Wait, not {left}. Again: {equation}{value}. Check: {confirmed}. Right."
        else:
            text += f"{value}."
            if confirmed and rng.random() < check_rate:
                text += f" Check: {confirmed}. Right."
        if confirmed and value == apply(step.operation, left, right):
            checks_for_later.append(f"Once more: {equation}{value}. Check: {confirmed}. Right.")
        values[step.name] = value
        paragraphs.append(
            f"{text}\n{note(step.name, value, after[step.name]) if relations else progress(problem, step)}"
        )
    while n_paragraphs is not None and checks_for_later and len(paragraphs) + 1 < n_paragraphs:
        paragraphs.append(rng.choice(checks_for_later))
    final = values[problem.steps[-1].name]
    paragraphs.append(f"{problem.steps[-1].name} has {final}." if relations else f"The result is {final}.")
    thought = "\n\n".join(paragraphs)
    return f"<think>\n{thought}\n</think>\n\nThe answer is \\boxed{{{final}}}."


def code_steps(problem: Problem) -> list[str]:
    """The solution as code-augmented steps in rStar-Math's document shape (paper section 3.2; markers as in its code).

    Joined without a separator the steps are the whole response. Each step but the last ends in `<end_of_step>`.
    """
    steps = []
    for i, step in enumerate(problem.steps):
        if step.operation is None:
            line = f"{step.name.lower()} = {step.k}"
        else:
            right = step.sources[1].lower() if step.operation == "sum" else step.k
            line = f"{step.name.lower()} = {step.sources[0].lower()} {SYMBOL[step.operation]} {right}"
            line = line.replace(" / ", " // ")
        steps.append(f"{'<code>' if i == 0 else ''}\n# {step.sentence}\n{line}\n<end_of_step>")
    steps.append(
        f"\n# Now print the final answer\nprint({problem.steps[-1].name.lower()})\n<end_of_code>"
        f"\n<output>{problem.answer}<end_of_output>\n<answer>{short_answer(problem)}<end_of_answer>"
    )
    return steps


@dataclass(frozen=True)
class Mistake:
    """A step of a response that is wrong by itself, whatever came before it.

    `kind`: `misread` (another amount, number, operation or order of dependence than the problem says), `carried` (not
    the value that the response itself found before, or not whose turn it is by its own plan), `slip` (the computation
    is wrong).
    """

    step: int
    kind: Literal["misread", "carried", "slip"]
    text: str


PLAN = re.compile(r"\w+ needs [\w ]+\.(?:\n\w+ (?:needs \w+(?: and \w+)?|is given)\.)*")
NEEDS = re.compile(r"^(\w+) needs (\w+)", re.MULTILINE)
START = re.compile(r"Start: (\d+)\.")
GIVEN = re.compile(r"((\w+): ([^.]*\.))\n(\w+)=(\d+), then (\w+)\.")
RELATION_STEP = re.compile(
    r"((\w+): (.*?\.) \w+[-+*/%]\w+\.) (\d+[-+*/%]\d+)=(\d+)\.(?: .*)?\n(\w+)=(\d+), then (\w+)\."
)
CHAIN_STEP = re.compile(r"((\d+)\) [-+*/%]\d+\.) (\d+[-+*/%]\d+)=(\d+)\.(?: .*)?\n(\d+)/(\d+)\.")
AGAIN = re.compile(r"Again: (\d+[-+*/%]\d+)=(\d+)\.")
REST = re.compile(r"Once more: .*|The result is \d+\.|\w+ has \d+\.")


def compute(equation: str) -> int | None:
    left, symbol, right = re.split(r"([-+*/%])", equation, maxsplit=1)
    a, b = int(left), int(right)
    if symbol in "/%" and (b == 0 or (symbol == "/" and a % b)):
        return None
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0, "%": a % b if b else 0}[symbol]


def put(step: Step, values: dict[str, int]) -> tuple[int, str, int]:
    """The step with amounts in the place of names: left, symbol, right."""
    assert step.operation
    left, right = operands(step, values)
    return left, SYMBOL[step.operation], right


def mistakes(problem: Problem, response: str) -> list[Mistake] | None:
    """Every wrong step of a Long-CoT response, in order; None if it is no well-formed trace of this problem.

    A slip that the response corrects itself is no mistake, and what only follows from an earlier mistake is none
    either: a step that goes on with a wrong value, or that has no natural result because of it. Well-formed: a closed
    thought whose paragraphs are the plan (step 0), the given amount and one computation per further amount, with an
    answer that is the last value.
    """
    thought = re.fullmatch(r"<think>\n(.*)\n</think>\n\nThe answer is \\boxed\{(\d+)\}\.", response.strip(), re.DOTALL)
    if thought is None:
        return None
    relations = problem.family == "relations"
    truth = {step.name: step for step in problem.steps}
    first, asked = problem.steps[0], problem.steps[-1]
    values: dict[str, int] = {}
    found: list[Mistake] = []
    planned_right = True
    followers: dict[str, str] = {}  # by the response's own plan: who comes after whom
    turn: str | None = None  # whose turn it is, as the response says
    n_planned = ""  # steps of a chain, by the plan
    last: int | None = None
    position = 0

    def wrong(kind: Literal["misread", "carried", "slip"], text: str) -> None:
        found.append(Mistake(position, kind, text))

    def slipped(equation: str, result: str) -> bool:
        value = compute(equation)
        # After a mistake, a difference may be negative and a quotient broken, as in no problem: its consequence.
        return value != int(result) and not (found and (value is None or value < 0))

    for paragraph in thought[1].split("\n\n"):
        if PLAN.fullmatch(paragraph):
            if paragraph != plan(problem):
                planned_right = False
                wrong("misread", paragraph)
            followers = {source: name for name, source in NEEDS.findall(paragraph)}
            n_planned = next(iter(followers), "")  # in a chain: how many steps
        elif not relations and (start := START.fullmatch(paragraph)):
            last = values[first.name] = int(start[1])
            if last != first.value:
                wrong("misread", paragraph)
        elif relations and (given := GIVEN.fullmatch(paragraph)):
            read, name, sentence, noted_name, noted, follower = given.groups()
            numbers = re.findall(r"\d+", sentence)
            as_planned = read == reading(first) if planned_right else sentence in problem.sentences
            if not as_planned or noted_name != name or numbers != [noted]:
                wrong("misread", paragraph)
            elif turn not in (None, name) or followers.get(name) != follower:
                wrong("carried", paragraph)
            last = values[name] = int(noted)
            turn = follower
        elif relations and (match := RELATION_STEP.fullmatch(paragraph)):
            position += 1
            read, name, sentence, equation, result, noted_name, noted, follower = match.groups()
            step = truth.get(name)
            again = AGAIN.search(paragraph)
            final, result = again.groups() if again else (equation, result)
            if step is None or step.operation is None:
                if planned_right or sentence not in problem.sentences:
                    wrong("misread", paragraph)
            elif read != reading(step):
                wrong("misread", paragraph)
            elif (
                any(source not in values for source in step.sources)
                or not final == equation == "{}{}{}".format(*put(step, values))
                or (noted_name, noted) != (name, result)
                or turn not in (None, name)
                or followers.get(name) != follower
            ):
                wrong("carried", paragraph)
            if slipped(final, result):
                wrong("slip", paragraph)
            last = values[name] = int(noted)
            turn = follower
        elif not relations and (match := CHAIN_STEP.fullmatch(paragraph)):
            position += 1
            read, number, equation, result, *told = match.groups()
            step = truth.get(f"x{number}")
            again = AGAIN.search(paragraph)
            final, result = again.groups() if again else (equation, result)
            if step is None or step.operation is None or read != reading(step):
                wrong("misread", paragraph)
            elif (
                step.sources[0] not in values
                or not final == equation == "{}{}{}".format(*put(step, values))
                or told != [number, n_planned]
            ):
                wrong("carried", paragraph)
            if slipped(final, result):
                wrong("slip", paragraph)
            last = values[f"x{number}"] = int(result)
        elif not REST.fullmatch(paragraph):
            return None
    if last is None or int(thought[2]) != last:
        return None
    position += 1
    if asked.name not in values and planned_right:
        wrong("misread", "(what is asked for is missing)")
    if not found and last != asked.value:
        wrong("misread", "(another amount is given as the answer)")
    return found
