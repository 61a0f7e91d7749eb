"""What the base checkpoints are trained on: every atomic operation and short answers, and no Long-CoT trace.

Kinds of documents: computed facts, names replaced by amounts, who comes after whom, what a problem says and asks read
line by line, sentences read as lines of code, lists copied, and problems answered at once. Both sets of wordings occur,
so that the words of the test problems are known; putting steps together in a thought is what the base has never seen. A
document is a list of (text, is trained on) segments: only what follows from what stands before it is trained on.
"""

from collections.abc import Iterator
from itertools import count, pairwise
from random import Random

from data_prep.small_world.problems import (
    COMMON,
    NAMES,
    Family,
    Knobs,
    Operation,
    Problem,
    apply,
    draw_operand,
    draw_problem,
)
from data_prep.small_world.tokenizer import PAD, TURN_END, TURN_START
from data_prep.small_world.traces import ASKER, SYMBOL, needs, note, reading, short_answer, wanted

Document = list[tuple[str, bool]]

OPPOSITE: dict[Operation, Operation] = {"plus": "minus", "minus": "plus", "times": "divide", "divide": "times"}
# Relative numbers of documents of each kind.
KINDS = {
    "facts": 16, "lookups": 5, "orders": 4, "relations": 18, "chains": 5,
    "code": 2, "copies": 2, "one step": 2, "short": 1,
}  # fmt: skip
# Documents grow over the first so many: attention that finds something among few is learned sooner.
N_GROWING = 30_000


def up_to(low: int, high: int, reach: float, rng: Random) -> int:
    """An integer from `low` to `high`, at `reach` 0 always `low`."""
    return rng.randint(low, low + round(reach * (high - low)))


def draw_fact(rng: Random, reach: float) -> tuple[int, Operation, int, int]:
    """(a, operation, b, result) with the operand sizes of the problems, inverses included."""
    while True:
        size = min(rng.choices((1, 2, 3), (1, 2, 5))[0], up_to(1, 3, reach, rng) if reach < 1 else 3)
        value = rng.randint(2, (20, 99, 999)[size - 1])
        operation = rng.choices((*COMMON, "remainder"), (4, 4, 3, 3, 2))[0]
        if (k := draw_operand(operation, value, size, rng)) is None:
            continue
        result = apply(operation, value, k)
        # Read backwards, a fact is the check of its inverse.
        if rng.random() < 0.4 and operation in OPPOSITE:
            return result, OPPOSITE[operation], k, value
        return value, operation, k, result


def facts(rng: Random, reach: float) -> Document:
    end = rng.choice([". ", ".\n\n", ".\n"])
    document = []
    for _ in range(rng.randint(8, 24)):
        a, operation, b, result = draw_fact(rng, reach)
        document += [(f"{a}{SYMBOL[operation]}{b}=", False), (f"{result}", True), (end, False)]
    return document


def lookups(rng: Random, reach: float) -> Document:
    """Amounts of some people, then expressions in which the names are replaced by the amounts."""
    names = rng.sample(NAMES, up_to(2, 9, reach, rng))
    amounts = {name: rng.randint(2, rng.choice((20, 99, 999))) for name in names}
    end = rng.choice([".\n\n", ".\n"])
    follow = [rng.choice(["", f", then {rng.choice((*NAMES, ASKER))}"]) for _ in names]
    notes = [f"{name}={amount}{more}" for (name, amount), more in zip(amounts.items(), follow, strict=True)]
    document = [(end.join(notes) + end, False)]
    for _ in range(up_to(4, 14, reach, rng)):
        name, partner = rng.choice(names), rng.choice(names)
        if rng.random() < 0.4:
            right, amount = f"+{partner}", f"+{amounts[partner]}"
        else:
            right = amount = f"{rng.choice('+-*/%')}{rng.randint(2, rng.choice((20, 99, 500)))}"
        if rng.random() < 0.5:
            document += [(f"{name}{right}.", False), (f" {amounts[name]}{amount}", True), (end, False)]
            continue
        # Whose amount it is stands before it, and some number is noted down for it.
        owner, found = rng.choice(NAMES), rng.randint(2, rng.choice((20, 99, 999)))
        document += [(f"{owner}: {name}{right}.", False), (f" {amounts[name]}{amount}", True)]
        document += [(f"={found}.\n", False), (f"{owner}={found}", True), (end, False)]
    return document


def orders(rng: Random, reach: float) -> Document:
    """Who needs whom, then, in random order, who comes after whom."""
    names = rng.sample(NAMES, up_to(2, 8, reach, rng))
    lines = [f"{names[0]} is given."]
    for i, (source, name) in enumerate(pairwise([*names, ASKER])):
        partner = f" and {rng.choice(names[:i])}" if i and name != ASKER and rng.random() < 0.15 else ""
        lines.insert(0, f"{name} needs {source}{partner}.")
    document = [("\n".join(lines) + "\n\n", False)]
    for i in rng.sample(range(len(names)), len(names)):
        noted = note(names[i], rng.randint(2, rng.choice((20, 99, 999))), [*names, ASKER][i + 1])
        amount, then, follower = noted.partition(" then")
        document += [(amount + then, False), (follower, True), ("\n", False)]
    return document


def some_problem(rng: Random, reach: float, family: Family | None = None, depth: int | None = None) -> Problem:
    """A problem of any difficulty within reach, small ones more often."""
    knobs = Knobs(
        depth=depth or min(up_to(1, 7, reach, rng), up_to(1, 9, reach, rng)),
        distractors=up_to(0, 3, reach, rng) * (rng.random() < 0.6),
        operand_size=up_to(1, 3, reach, rng),
        rarity=rng.choice((0.0, 0.5, 1.0)) * reach,
    )
    return draw_problem(knobs, rng.choice(("train", "test")), rng, family=family)


def relations(rng: Random, reach: float) -> Document:
    """A problem, then whom each amount depends on, then what is said of it and that as an expression."""
    problem = some_problem(rng, reach, "relations")
    document = [(problem.text + "\n", False)]
    asked = (f"{ASKER} needs", wanted(problem))
    plan = [asked, *((step.name, needs(step)) for step in problem.steps)]
    readings = [(f"{step.name}:", reading(step)) for step in problem.steps]
    readings[0] = (readings[0][0], f"{readings[0][1]}\n{problem.steps[0].name}={problem.steps[0].value}")
    for lines in (plan, readings):
        for start, text in rng.sample(lines, len(lines)):
            document += [(start, False), (text.removeprefix(start), True), ("\n", False)]
        document.append(("\n", False))
    return document


def chains(rng: Random, reach: float) -> Document:
    """A problem, then what it does to the number in each step, with which it starts and how many there are."""
    problem = some_problem(rng, reach, "chain")
    document = [(problem.text + "\n", False)]
    lines = [("Start:", reading(problem.steps[0])), (f"{ASKER} needs", wanted(problem))]
    lines += [(f"{step.name[1:]})", reading(step)) for step in problem.steps[1:]]
    for mark, text in rng.sample(lines, len(lines)):
        document += [(mark, False), (text.removeprefix(mark), True), ("\n", False)]
    return document


def code_lines(rng: Random, reach: float) -> Document:
    problem = some_problem(rng, reach, "relations", depth=4)
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


def copies(rng: Random, reach: float) -> Document:
    words = [rng.choice((rng.choice(NAMES), str(rng.randint(1, 999)))) for _ in range(up_to(4, 25, reach, rng))]
    line = " ".join(words)
    return [(line + "\n", False), (line + "\n", True)]


def chat(problem: Problem) -> Document:
    prompt = f"{TURN_START}user\n{problem.text}{TURN_END}\n{TURN_START}assistant\n"
    return [(prompt, False), (f"{short_answer(problem)}{TURN_END}", True), ("\n", False)]


def documents(seed: int, n_growing: int = N_GROWING) -> Iterator[tuple[str, Document]]:
    """Endless stream of documents with their kinds; depends on the seed alone. The first `n_growing` are smaller."""
    rng = Random(f"small-world-base/{seed}")
    kinds, weights = list(KINDS), list(KINDS.values())
    for i in count():
        reach = min(1.0, i / n_growing) if n_growing else 1.0
        kind = rng.choices(kinds, weights)[0]
        match kind:
            case "facts":
                document = facts(rng, reach)
            case "lookups":
                document = lookups(rng, reach)
            case "orders":
                document = orders(rng, reach)
            case "relations":
                document = relations(rng, reach)
            case "chains":
                document = chains(rng, reach)
            case "code":
                document = code_lines(rng, reach)
            case "copies":
                document = copies(rng, reach)
            case "one step":
                document = chat(some_problem(rng, reach, depth=1))
            case _:
                document = chat(some_problem(rng, reach))
        yield kind, [*document, (PAD, False)]
