"""Problems of the small world: short arithmetic stories whose every step is known.

Two families. *relations*: people own things, each amount is given by another one ("Bob has 5 more apples than Ann"),
sentences are shuffled. *chain*: one number is changed again and again ("Start with 14. Add 5."). Four knobs of
difficulty move independently: `depth` (dependent steps), `distractors` (sentences that do not matter),
`operand_size` (digits) and `rarity` (how often a step uses a rare operation or an inverted phrasing).

Wordings come in two disjoint sets, `train` and `test`: a held-out problem uses no sentence frame that a training
problem uses. The base checkpoints have met all wordings, one sentence at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

Split = Literal["train", "dev", "test"]
Family = Literal["relations", "chain"]
Operation = Literal["plus", "minus", "times", "divide", "sum", "remainder"]

# fmt: off
NAMES = [
    "Ann", "Bob", "Cara", "Dan", "Eva", "Finn", "Gina", "Hugo",
    "Ida", "Jack", "Kim", "Leo", "Mia", "Ned", "Olga", "Paul",
]
THINGS = ["apples", "coins", "pens", "books", "shells", "cards", "stamps", "beads", "nuts", "eggs", "keys", "cups"]
# fmt: on
FRACTIONS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}
COMMON: tuple[Operation, ...] = ("plus", "minus", "times", "divide")

# family -> operation -> (common wordings, rare wordings); each a dict by template set. {X} is the amount that the
# sentence defines, {Y} (and {Z}) what it is defined by, {k} a number, {F} a fraction in words, {T} the things.
Wordings = dict[str, dict[str, list[str]]]
RELATION: dict[Operation, Wordings] = {
    "plus": {
        "common": {
            "train": [
                "{X} has {k} more {T} than {Y}.",
                "{X} has the {T} that {Y} has plus {k}.",
                "{X} counts {k} {T} beyond those of {Y}.",
                "{X} beats {Y} by {k} {T}.",
            ],
            "test": ["{X} owns as many {T} as {Y} and {k} on top.", "{X} is {k} {T} ahead of {Y}."],
        },
        "rare": {
            "train": ["If {X} lost {k} {T}, {Y} would have as many.", "Once {k} {T} of {X} are gone, {Y} has as many."],
            "test": ["Without {k} of the {T}, {X} would match {Y}."],
        },
    },
    "minus": {
        "common": {
            "train": [
                "{X} has {k} fewer {T} than {Y}.",
                "{X} has the {T} that {Y} has minus {k}.",
                "{X} counts {k} {T} less than those of {Y}.",
                "{X} trails {Y} by {k} {T}.",
            ],
            "test": ["{X} owns as many {T} as {Y} but {k} are missing.", "{X} is {k} {T} behind {Y}."],
        },
        "rare": {
            "train": ["If {X} found {k} {T}, {Y} would have as many.", "Once {X} gets {k} {T}, {Y} has as many."],
            "test": ["Given {k} {T} more, {X} would match {Y}."],
        },
    },
    "times": {
        "common": {
            "train": [
                "{X} has {k} times as many {T} as {Y}.",
                "{X} has the {T} that {Y} has times {k}.",
                "{X} counts {k} {T} for each one of {Y}.",
                "{X} holds {k} lots of the {T} of {Y}.",
            ],
            "test": ["{X} owns the {T} of {Y} {k} times over.", "{X} equals {k} people with the {T} of {Y} each."],
        },
        "rare": {
            "train": [
                "The {T} of {X} make {k} piles, each as large as what {Y} has.",
                "The {T} of {Y} go {k} times into those of {X}.",
            ],
            "test": ["Shared among {k}, the {T} of {X} give each what {Y} has."],
        },
    },
    "divide": {
        "common": {
            "train": [
                "{X} has {F} as many {T} as {Y}.",
                "{X} has the {T} that {Y} has divided by {k}.",
                "{X} counts one for every {k} {T} of {Y}.",
                "{X} holds one of {k} equal shares of the {T} of {Y}.",
            ],
            "test": ["{X} owns {F} of the number of {T} of {Y}.", "{X} gets the {T} of {Y} split {k} ways."],
        },
        "rare": {
            "train": ["It takes {k} times the {T} of {X} to match {Y}.", "Only {k} like {X} have the {T} of {Y}."],
            "test": ["For each of the {T} of {X}, {Y} has {k}."],
        },
    },
    "sum": {
        "rare": {
            "train": ["{X} has as many {T} as {Y} and {Z} together.", "{X} counts the {T} of {Y} and those of {Z}."],
            "test": ["{X} owns just what {Y} and {Z} own in {T}, put together."],
        },
    },
    "remainder": {
        "rare": {
            "train": [
                "In bags of {k}, the {T} of {Y} leave over what {X} has.",
                "Rows of {k} from the {T} of {Y} leave {X} the rest.",
            ],
            "test": ["After boxes of {k} are filled from the {T} of {Y}, the rest is what {X} has."],
        },
    },
}
CHAIN: dict[Operation, Wordings] = {
    "plus": {
        "common": {
            "train": ["Add {k}.", "Increase it by {k}.", "Let it grow by {k}."],
            "test": ["Put {k} more on it."],
        },
        "rare": {"train": ["Undo a loss of {k}."], "test": ["Reverse a drop of {k}."]},
    },
    "minus": {
        "common": {
            "train": ["Subtract {k}.", "Take away {k}.", "Let it shrink by {k}."],
            "test": ["Reduce it by {k}."],
        },
        "rare": {"train": ["Undo a gain of {k}."], "test": ["Reverse a rise of {k}."]},
    },
    "times": {
        "common": {
            "train": ["Multiply by {k}.", "Make it {k} times as large.", "Take it {k} times."],
            "test": ["Scale it up by {k}."],
        },
        "rare": {"train": ["Undo a cut to one part in {k}."], "test": ["Reverse a split by {k}."]},
    },
    "divide": {
        "common": {
            "train": ["Divide by {k}.", "Make it {k} times as small.", "Share it among {k}."],
            "test": ["Scale it down by {k}."],
        },
        "rare": {"train": ["Cut it to one part in {k}."], "test": ["Split it by {k}."]},
    },
    "remainder": {
        "rare": {
            "train": ["Keep the remainder after dividing by {k}."],
            "test": ["Throw out full groups of {k} and keep the rest."],
        },
    },
}
START = {
    "relations": {
        "train": ["{X} has {k} {T}.", "{X} owns {k} {T}.", "{X} counts {k} {T}.", "{X} holds {k} {T}."],
        "test": ["{X} keeps {k} {T}.", "{X} stores {k} {T}."],
    },
    "chain": {
        "train": ["Start with {k}.", "Take the number {k}.", "The first number is {k}."],
        "test": ["Begin at {k}."],
    },
}
QUESTION = {
    "relations": {
        "train": ["How many {T} does {X} have?", "Find the number of {T} that {X} owns.", "Count the {T} of {X}."],
        "test": ["What number of {T} belongs to {X}?"],
    },
    "chain": {
        "train": ["What is the result?", "Which number comes out?", "Find the last number."],
        "test": ["What do you end up with?"],
    },
}
CHAIN_NOISE = {
    "train": ["The room has {k} chairs.", "Do not add {k}.", "It is day {k} of the trip.", "Somebody shouts {k}."],
    "test": ["A poster shows the number {k}.", "Nobody takes away {k}."],
}


@dataclass(frozen=True)
class Knobs:
    """Difficulty of one problem.

    `depth`: dependent steps, >= 1. `distractors`: sentences that do not matter. `operand_size`: 1, 2 or 3 digits.
    `rarity`: chance in [0, 1] that a step uses a rare operation or a rare (inverted) wording.
    """

    depth: int
    distractors: int
    operand_size: int
    rarity: float


# A band is a range for each knob; ranges overlap in depth, so that a depth in the test set occurs in every band's
# neighbour and bands differ in more than length.
BANDS: dict[str, dict[str, Sequence[int] | Sequence[float]]] = {
    "easy": {"depth": (2, 3), "distractors": (0, 1), "operand_size": (1, 2), "rarity": (0.0,)},
    "medium": {"depth": (3, 4, 5), "distractors": (1, 2), "operand_size": (2,), "rarity": (0.2,)},
    "hard": {"depth": (5, 6, 7), "distractors": (2, 3), "operand_size": (3,), "rarity": (0.35,)},
}


@dataclass(frozen=True)
class Step:
    """One amount: `name` = `operation` of `sources` (names of earlier amounts) and the number `k`; `value` its truth.

    The first step of a problem has operation None and the given number as `k`. In the chain family the names are
    x0, x1, ... and do not appear in the text.
    """

    name: str
    operation: Operation | None
    sources: tuple[str, ...]
    k: int | None
    value: int
    sentence: str


@dataclass(frozen=True)
class Problem:
    """A problem with its truth. `steps` in the order of dependence, the last one is asked for; `sentences` as shown."""

    family: Family
    sentences: tuple[str, ...]
    question: str
    steps: tuple[Step, ...]
    knobs: Knobs
    band: str
    split: str
    things: str

    @property
    def text(self) -> str:
        return "\n".join((*self.sentences, self.question))

    @property
    def answer(self) -> str:
        return str(self.steps[-1].value)


def apply(operation: Operation, a: int, b: int) -> int:
    """Result of an operation on two numbers; `divide` is exact here, `remainder` is a mod b."""
    match operation:
        case "plus" | "sum":
            return a + b
        case "minus":
            return a - b
        case "times":
            return a * b
        case "divide":
            return a // b
        case "remainder":
            return a % b


def draw_operand(operation: Operation, value: int, operand_size: int, rng: Random) -> int | None:
    """A number `k` so that `operation(value, k)` is a natural number within the operand size's range, or None."""
    limit = (20, 99, 999)[operand_size - 1]
    largest = (9, 60, 500)[operand_size - 1]
    match operation:
        case "plus":
            high = min(largest, limit - value)
        case "minus":
            high = min(largest, value - 1)
        case "times":
            choices = [k for k in (2, 3, 4, 5) if value * k <= limit and value > 1]
            return rng.choice(choices) if choices else None
        case "divide":
            choices = [k for k in (2, 3, 4, 5) if value % k == 0 and value // k > 1]
            return rng.choice(choices) if choices else None
        case "remainder":
            choices = [k for k in range(3, 10) if value > k and value % k]
            return rng.choice(choices) if choices else None
        case _:
            return None
    low = max(2, high // 8)  # "add 2" is no three-digit operation
    return rng.randint(low, high) if high >= low else None


def draw_step(
    family: str,
    names: list[str],
    values: dict[str, int],
    knobs: Knobs,
    wording: str,
    last: bool,
    things: str,
    rng: Random,
) -> Step:
    """Draws the step that defines `names[len(values)]` from the amounts known so far."""
    table = RELATION if family == "relations" else CHAIN
    known = list(values)
    source, name = known[-1], names[len(known)]
    while True:
        rare = rng.random() < knobs.rarity
        if rare:
            operation = rng.choice([op for op in table if not (last and op == "remainder")])
        else:
            operation = rng.choice(COMMON)
        sources: tuple[str, ...] = (source,)
        k = None
        if operation == "sum":
            limit = (20, 99, 999)[knobs.operand_size - 1]
            partners = [other for other in known[:-1] if values[other] + values[source] <= limit]
            if not partners:
                continue
            sources = (source, rng.choice(partners))
            value = values[source] + values[sources[1]]
        else:
            k = draw_operand(operation, values[source], knobs.operand_size, rng)
            if k is None:
                continue
            value = apply(operation, values[source], k)
        template = rng.choice(table[operation]["rare" if rare else "common"][wording])
        sentence = template.format(X=name, Y=sources[0], Z=sources[-1], k=k, F=FRACTIONS.get(k or 0), T=things)
        return Step(name, operation, sources, k, value, sentence)


def draw_distractors(
    family: str, problem_names: list[str], spare_names: list[str], knobs: Knobs, wording: str, things: str, rng: Random
) -> list[str]:
    """Sentences that do not matter: other things of the same people, amounts of people nobody asks for, noise."""
    sentences = []
    owners = rng.sample(problem_names, len(problem_names))  # each owns other things at most once: no contradictions
    for _ in range(knobs.distractors):
        k = rng.randint(2, (20, 99, 999)[knobs.operand_size - 1])
        if family == "chain":
            sentences.append(rng.choice(CHAIN_NOISE[wording]).format(k=k))
        elif owners and rng.random() < 0.5:
            other = rng.choice([t for t in THINGS if t != things])
            sentences.append(rng.choice(START["relations"][wording]).format(X=owners.pop(), k=k, T=other))
        else:
            operation = rng.choice(COMMON)
            k = rng.randint(2, 5) if operation in ("times", "divide") else k
            sentences.append(
                rng.choice(RELATION[operation]["common"][wording]).format(
                    X=spare_names.pop(), Y=rng.choice(problem_names), k=k, F=FRACTIONS.get(k), T=things
                )
            )
    return sentences


def draw_problem(
    knobs: Knobs, wording: str, rng: Random, band: str = "", split: str = "", family: Family | None = None
) -> Problem:
    """Draws one problem, of the given family or of either.

    The answer never stands in the text as a number, so copying scores nothing.
    """
    family = family or ("relations" if rng.random() < 0.6 else "chain")
    while True:
        things = rng.choice(THINGS)
        names = rng.sample(NAMES, knobs.depth + 1 + knobs.distractors)
        spare = names[knobs.depth + 1 :]
        names = names[: knobs.depth + 1] if family == "relations" else [f"x{i}" for i in range(knobs.depth + 1)]
        low, high = ((3, 15), (12, 80), (101, 600))[knobs.operand_size - 1]
        k = rng.randint(low, high)
        steps = [Step(names[0], None, (), k, k, rng.choice(START[family][wording]).format(X=names[0], k=k, T=things))]
        values = {names[0]: k}
        for i in range(knobs.depth):
            step = draw_step(family, names, values, knobs, wording, i == knobs.depth - 1, things, rng)
            steps.append(step)
            values[step.name] = step.value
        sentences = [step.sentence for step in steps]
        if family == "relations":
            sentences += draw_distractors(family, names, spare, knobs, wording, things, rng)
            rng.shuffle(sentences)
        else:
            sentences = [sentences[0], *(f"{i}) {text}" for i, text in enumerate(sentences[1:], 1))]
            for noise in draw_distractors(family, names, spare, knobs, wording, things, rng):
                sentences.insert(rng.randint(1, len(sentences)), noise)
        question = rng.choice(QUESTION[family][wording]).format(X=names[-1], T=things)
        problem = Problem(family, tuple(sentences), question, tuple(steps), knobs, band, split, things)
        shown = "".join(c if c.isdigit() else " " for c in problem.text).split()
        if problem.answer not in shown:
            return problem


def draw_knobs(band: str, rng: Random) -> Knobs:
    """Knobs of a problem of the band, each drawn by itself."""
    ranges = BANDS[band]
    return Knobs(
        depth=int(rng.choice(ranges["depth"])),
        distractors=int(rng.choice(ranges["distractors"])),
        operand_size=int(rng.choice(ranges["operand_size"])),
        rarity=float(rng.choice(ranges["rarity"])),
    )


def problems(split: Split, seed: int = 0, bands: Sequence[str] = tuple(BANDS), **fixed: Any) -> Iterator[Problem]:
    """Endless stream of problems, bands in turn; problem i depends on (seed, split, i) alone.

    `split`: `train` and `dev` share wordings, `test` has its own. `fixed` pins knobs, e.g. `depth=4`.
    """
    wording = "test" if split == "test" else "train"
    i = 0
    while True:
        rng = Random(f"small-world/{seed}/{split}/{i}")
        band = bands[i % len(bands)]
        knobs = replace(draw_knobs(band, rng), **fixed)
        yield draw_problem(knobs, wording, rng, band, split)
        i += 1
