"""Problems of the small world read back from their text, with all their truth.

Search trees and benchmark files carry the text of a problem, not how it was made. Every sentence is an instance of one
wording, so the text alone says what each amount is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from data_prep.small_world.problems import (
    CHAIN,
    FRACTIONS,
    NAMES,
    QUESTION,
    RELATION,
    START,
    THINGS,
    Family,
    Knobs,
    Operation,
    Problem,
    Step,
    apply,
)

NUMBERED = re.compile(r"(\d+)\) (.*)")


@dataclass(frozen=True)
class Meaning:
    """What a sentence says: `name` is `operation` of `sources` and `k`, as in `problems.Step`.

    `name` is "" and `sources` empty in a chain. `things`: what is counted, "" where the sentence does not say.
    """

    name: str
    operation: Operation | None
    sources: tuple[str, ...]
    k: int | None
    things: str


@cache
def pattern(template: str) -> re.Pattern[str]:
    """What a wording matches, with a group for each of its placeholders."""
    groups = {
        "X": "|".join(NAMES), "Y": "|".join(NAMES), "Z": "|".join(NAMES), "T": "|".join(THINGS), "k": r"\d+",
        "F": "|".join(FRACTIONS.values()),
    }  # fmt: skip
    parts = re.split(r"\{(\w)\}", template)
    return re.compile(
        "".join(re.escape(part) if i % 2 == 0 else f"(?P<{part}>{groups[part]})" for i, part in enumerate(parts))
    )


@cache
def wordings(family: Family) -> list[tuple[re.Pattern[str], Operation | None]]:
    """All wordings of a family's sentences, of every template set, with the operation that each stands for."""
    table = RELATION if family == "relations" else CHAIN
    starts = [(pattern(text), None) for texts in START[family].values() for text in texts]
    return starts + [
        (pattern(text), operation)
        for operation, kinds in table.items()
        for sets in kinds.values()
        for texts in sets.values()
        for text in texts
    ]


def read_sentence(sentence: str, family: Family) -> Meaning | None:
    """What the sentence says of an amount; None if it says nothing that is known."""
    for wording, operation in wordings(family):
        if found := wording.fullmatch(sentence):
            said = found.groupdict()
            numbers = {words: k for k, words in FRACTIONS.items()}
            k = int(said["k"]) if said.get("k") else numbers.get(said.get("F") or "")
            if k == 0 and operation in ("divide", "remainder"):
                return None
            sources = tuple(said[key] for key in ("Y", "Z") if said.get(key))
            return Meaning(said.get("X") or "", operation, sources, k, said.get("T") or "")
    return None


def definitions(problem: Problem) -> dict[str, Step]:
    """Every amount of the asked things that the problem's sentences give, by its name, also those that do not matter.

    In a chain these are the steps x0, x1, ... of the problem.
    """
    found = {step.name: step for step in problem.steps}
    if problem.family == "relations":
        said = [(sentence, read_sentence(sentence, "relations")) for sentence in problem.sentences]
        more = {m.name: (text, m) for text, m in said if m and m.things == problem.things and m.name not in found}
        values = {step.name: step.value for step in problem.steps}
        for name in ordered({name: meaning.sources for name, (_, meaning) in more.items()}, set(values)):
            text, meaning = more[name]
            values[name] = value_of(meaning, values)
            found[name] = Step(name, meaning.operation, meaning.sources, meaning.k, values[name], text)
    return found


def ordered(sources: dict[str, tuple[str, ...]], known: set[str]) -> Iterator[str]:
    """The names, each after all that it depends on; those that depend on something unknown are left out."""
    waiting, known = dict(sources), set(known)
    while ready := [name for name, needed in waiting.items() if known.issuperset(needed)]:
        for name in ready:
            known.add(name)
            del waiting[name]
            yield name


def value_of(meaning: Meaning, values: dict[str, int], before: int = 0) -> int:
    """The amount, from those it depends on; `before`: the number that a chain has reached."""
    left = values[meaning.sources[0]] if meaning.sources else before
    right = values[meaning.sources[1]] if len(meaning.sources) > 1 else meaning.k
    assert right is not None
    return apply(meaning.operation, left, right) if meaning.operation else right


def read_problem(text: str) -> Problem | None:
    """The problem with its truth, or None if the text is no problem of the small world.

    Of the knobs `depth` and `distractors` are known; the others are 0, and `band` and `split` are empty.
    """
    *sentences, question = text.split("\n")
    if (asked := read_question(question, "relations")) is not None:
        family: Family = "relations"
        things = asked["T"]
        steps = relation_steps(sentences, asked["X"], things)
    elif read_question(question, "chain") is not None:
        family, things = "chain", ""
        steps = chain_steps(sentences)
    else:
        return None
    if steps is None:
        return None
    knobs = Knobs(len(steps) - 1, len(sentences) - len(steps), 0, 0.0)
    return Problem(family, tuple(sentences), question, tuple(steps), knobs, "", "", things)


def read_question(question: str, family: Family) -> re.Match[str] | None:
    texts = [text for texts in QUESTION[family].values() for text in texts]
    return next((found for text in texts if (found := pattern(text).fullmatch(question))), None)


def relation_steps(sentences: list[str], asked: str, things: str) -> list[Step] | None:
    """The amounts that `asked` depends on, each after those it depends on; None if one of them is not given."""
    said = {m.name: (text, m) for text in sentences if (m := read_sentence(text, "relations")) and m.things == things}
    needed = [asked]
    for name in needed:  # grows
        if name not in said:
            return None
        needed += [source for source in said[name][1].sources if source not in needed]
    values: dict[str, int] = {}
    steps = []
    for name in ordered({name: said[name][1].sources for name in needed}, set()):
        text, meaning = said[name]
        values[name] = value_of(meaning, values)
        steps.append(Step(name, meaning.operation, meaning.sources, meaning.k, values[name], text))
    return steps if len(steps) == len(needed) else None


def chain_steps(sentences: list[str]) -> list[Step] | None:
    """x0, x1, ...: the first sentence and the numbered ones, without their numbers."""
    numbered = [found for text in sentences[1:] if (found := NUMBERED.fullmatch(text))]
    steps: list[Step] = []
    for i, sentence in enumerate([*sentences[:1], *(found[2] for found in numbered)]):
        meaning = read_sentence(sentence, "chain")
        if meaning is None or (meaning.operation is None) != (i == 0) or (i and numbered[i - 1][1] != str(i)):
            return None
        value = value_of(meaning, {}, steps[-1].value if steps else 0)
        sources = (f"x{i - 1}",) if i else ()
        steps.append(Step(f"x{i}", meaning.operation, sources, meaning.k, value, sentence))
    return steps or None
