"""What the base checkpoints are trained on: every atomic operation and short answers, and no Long-CoT trace.

Kinds of documents: computed facts, names replaced by amounts, sentences read as expressions or as lines of code, lists
copied, and problems answered at once. Both sets of wordings occur, so that the words of the test problems are known;
putting steps together in a thought is what the base has never seen. A document is a list of (text, is trained on)
segments: only what follows from what stands before it is trained on.
"""

from collections.abc import Iterator
from random import Random

from data_prep.small_world.problems import COMMON, NAMES, Knobs, Operation, Problem, apply, draw_operand, draw_problem
from data_prep.small_world.tokenizer import PAD, TURN_END, TURN_START
from data_prep.small_world.traces import SYMBOL, expression, short_answer

Document = list[tuple[str, bool]]

OPPOSITE: dict[Operation, Operation] = {"plus": "minus", "minus": "plus", "times": "divide", "divide": "times"}
# Relative numbers of documents of each kind.
KINDS = {"facts": 10, "lookups": 6, "readings": 16, "code": 2, "copies": 2, "one step": 4, "short": 2}


def draw_fact(rng: Random) -> tuple[int, Operation, int, int]:
    """(a, operation, b, result) with the operand sizes of the problems, inverses included."""
    while True:
        size = rng.choices((1, 2, 3), (1, 2, 3))[0]
        value = rng.randint(2, (20, 99, 999)[size - 1])
        operation = rng.choices((*COMMON, "remainder"), (4, 4, 2, 2, 1))[0]
        if (k := draw_operand(operation, value, size, rng)) is None:
            continue
        result = apply(operation, value, k)
        # Read backwards, a fact is the check of its inverse.
        if rng.random() < 0.4 and operation in OPPOSITE:
            return result, OPPOSITE[operation], k, value
        return value, operation, k, result


def facts(rng: Random) -> Document:
    end = rng.choice([". ", ".\n\n", ".\n"])
    document = []
    for _ in range(rng.randint(8, 24)):
        a, operation, b, result = draw_fact(rng)
        document += [(f"{a}{SYMBOL[operation]}{b}=", False), (f"{result}", True), (end, False)]
    return document


def lookups(rng: Random) -> Document:
    """Amounts of some people, then expressions in which the names are replaced by the amounts."""
    names = rng.sample(NAMES, rng.randint(2, 9))
    amounts = {name: rng.randint(2, rng.choice((20, 99, 999))) for name in names}
    end = rng.choice([".\n\n", ".\n"])
    document = [(end.join(f"{name}: {amount}" for name, amount in amounts.items()) + end, False)]
    for _ in range(rng.randint(4, 14)):
        name, symbol, k = rng.choice(names), rng.choice("+-*/%"), rng.choice(("number", "number", *names))
        if k == "number":
            number = rng.randint(2, 500)
            document += [(f"{name}{symbol}{number}=", False), (f"{amounts[name]}{symbol}{number}.", True)]
        else:
            document += [(f"{name}+{k}=", False), (f"{amounts[name]}+{amounts[k]}.", True)]
        document.append((end[1:], False))
    return document


def some_problem(rng: Random, depths: tuple[int, ...], rarity: float = 0.3) -> Problem:
    knobs = Knobs(rng.choice(depths), rng.randint(0, 3), rng.choice((1, 2, 3)), rarity)
    return draw_problem(knobs, rng.choice(("train", "test")), rng)


def readings(rng: Random) -> Document:
    """A problem's sentences, then what each says as an expression: of people in random order, of a chain in its own."""
    problem = some_problem(rng, (1, 2, 3, 4, 5, 6, 7))
    document = [(" ".join(problem.sentences) + "\n", False)]
    if problem.family == "chain":
        for step in rng.sample(problem.steps[1:], len(problem.steps) - 1):
            document.append((f"{step.name[1:]})", False))
            document.append((f" {SYMBOL[step.operation or 'plus']}{step.k}.", True))
            document.append(("\n", False))
        return document
    for step in rng.sample(problem.steps, len(problem.steps)):
        document.append((f"{step.name}:", False))
        document.append((f" {step.k if step.operation is None else expression(step)}.", True))
        document.append(("\n", False))
    return document


def code_lines(rng: Random) -> Document:
    problem = some_problem(rng, (3, 4, 5))
    document = []
    for step in rng.sample(problem.steps, len(problem.steps)):
        document.append((f"# {step.sentence}\n{step.name.lower()} =", False))
        if step.operation is None:
            document.append((f" {step.k}\n", True))
            continue
        right = step.sources[1].lower() if step.operation == "sum" else step.k
        symbol = SYMBOL[step.operation].replace("/", "//")
        document.append((f" {step.sources[0].lower()} {symbol} {right}\n", True))
    return document


def copies(rng: Random) -> Document:
    words = [rng.choice((rng.choice(NAMES), str(rng.randint(1, 999)))) for _ in range(rng.randint(5, 25))]
    line = " ".join(words)
    return [(line + "\n", False), (line + "\n", True)]


def chat(problem: Problem) -> Document:
    prompt = f"{TURN_START}user\n{problem.text}{TURN_END}\n{TURN_START}assistant\n"
    return [(prompt, False), (f"{short_answer(problem)}{TURN_END}", True), ("\n", False)]


def documents(seed: int) -> Iterator[Document]:
    """Endless stream of documents; depends on the seed alone."""
    rng = Random(f"small-world-base/{seed}")
    kinds, weights = list(KINDS), list(KINDS.values())
    while True:
        match rng.choices(kinds, weights)[0]:
            case "facts":
                document = facts(rng)
            case "lookups":
                document = lookups(rng)
            case "readings":
                document = readings(rng)
            case "code":
                document = code_lines(rng)
            case "copies":
                document = copies(rng)
            case "one step":
                document = chat(some_problem(rng, (1,)))
            case _:
                document = chat(some_problem(rng, (2, 3, 4, 5, 6, 7)))
        yield [*document, (PAD, False)]
