"""The small world's problems: true, hard in the stated ways, and not to be had by guessing or copying."""

import re
import subprocess
import sys
from collections import Counter
from itertools import islice, product
from random import Random

import pytest

from data_prep.rows import validate
from data_prep.small_world.problems import (
    BANDS,
    CHAIN,
    CHAIN_NOISE,
    FRACTIONS,
    QUESTION,
    RELATION,
    START,
    Knobs,
    Problem,
    apply,
    draw_problem,
    problems,
)  # fmt: skip
from data_prep.small_world.samples import problem_rows, sample_rows

N = 1500
SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module", params=SPLITS)
def some(request) -> list[Problem]:
    return list(islice(problems(request.param, seed=11), N))


def pattern(frame: str) -> re.Pattern[str]:
    """A sentence frame as a pattern; `{k}` takes digits, names take words."""
    text = re.escape(frame)
    for slot, shape in (
        ("X", r"\w+"),
        ("Y", r"\w+"),
        ("Z", r"\w+"),
        ("k", r"\d+"),
        ("F", r"half|a \w+"),
        ("T", r"\w+"),
    ):
        text = text.replace(re.escape("{" + slot + "}"), f"(?P<{slot}>{shape})", 1)
    return re.compile(text)


def unnumbered(sentence: str) -> str:
    """A sentence of a chain without its number."""
    return re.sub(r"^\d+\) ", "", sentence)


WORDS = {words: k for k, words in FRACTIONS.items()}


def solve_chain(sentences: tuple[str, ...], wording: str) -> int:
    """From the text alone: what each sentence does to the number. Sentences that say nothing of it are skipped."""
    frames = [
        (operation, pattern(frame))
        for operation, forms in CHAIN.items() for form in forms.values() for frame in form[wording]
    ]  # fmt: skip
    value = None
    for sentence in map(unnumbered, sentences):
        for frame in START["chain"][wording]:
            if match := pattern(frame).fullmatch(sentence):
                value = int(match["k"])
        for operation, frame_pattern in frames:
            if match := frame_pattern.fullmatch(sentence):
                k = int(match["k"])
                assert value is not None
                assert operation != "divide" or value % k == 0
                value = {"plus": value + k, "minus": value - k, "times": value * k, "divide": value // k,
                         "remainder": value % k}[operation]  # fmt: skip
                assert value > 0
    assert value is not None
    return value


# What each frame says, as a relation between the amounts: written down here by reading the English, not taken over.
MEANING = {
    "{X} has {k} more {T} than {Y}.": lambda x, y, z, k: x == y + k,
    "{X} has the {T} that {Y} has plus {k}.": lambda x, y, z, k: x == y + k,
    "{X} counts {k} {T} beyond those of {Y}.": lambda x, y, z, k: x == y + k,
    "{X} beats {Y} by {k} {T}.": lambda x, y, z, k: x - y == k,
    "{X} owns as many {T} as {Y} and {k} on top.": lambda x, y, z, k: x == y + k,
    "{X} is {k} {T} ahead of {Y}.": lambda x, y, z, k: x - y == k,
    "If {X} lost {k} {T}, {Y} would have as many.": lambda x, y, z, k: x - k == y,
    "Once {k} {T} of {X} are gone, {Y} has as many.": lambda x, y, z, k: x - k == y,
    "Without {k} of the {T}, {X} would match {Y}.": lambda x, y, z, k: x - k == y,
    "{X} has {k} fewer {T} than {Y}.": lambda x, y, z, k: x == y - k,
    "{X} has the {T} that {Y} has minus {k}.": lambda x, y, z, k: x == y - k,
    "{X} counts {k} {T} less than those of {Y}.": lambda x, y, z, k: x == y - k,
    "{X} trails {Y} by {k} {T}.": lambda x, y, z, k: y - x == k,
    "{X} owns as many {T} as {Y} but {k} are missing.": lambda x, y, z, k: x == y - k,
    "{X} is {k} {T} behind {Y}.": lambda x, y, z, k: y - x == k,
    "If {X} found {k} {T}, {Y} would have as many.": lambda x, y, z, k: x + k == y,
    "Once {X} gets {k} {T}, {Y} has as many.": lambda x, y, z, k: x + k == y,
    "Given {k} {T} more, {X} would match {Y}.": lambda x, y, z, k: x + k == y,
    "{X} has {k} times as many {T} as {Y}.": lambda x, y, z, k: x == k * y,
    "{X} has the {T} that {Y} has times {k}.": lambda x, y, z, k: x == k * y,
    "{X} counts {k} {T} for each one of {Y}.": lambda x, y, z, k: x == k * y,
    "{X} holds {k} lots of the {T} of {Y}.": lambda x, y, z, k: x == k * y,
    "{X} owns the {T} of {Y} {k} times over.": lambda x, y, z, k: x == k * y,
    "{X} equals {k} people with the {T} of {Y} each.": lambda x, y, z, k: x == k * y,
    "The {T} of {X} make {k} piles, each as large as what {Y} has.": lambda x, y, z, k: x == k * y,
    "The {T} of {Y} go {k} times into those of {X}.": lambda x, y, z, k: k * y == x,
    "Shared among {k}, the {T} of {X} give each what {Y} has.": lambda x, y, z, k: x == k * y,
    "{X} has {F} as many {T} as {Y}.": lambda x, y, z, k: x * k == y,
    "{X} has the {T} that {Y} has divided by {k}.": lambda x, y, z, k: x * k == y,
    "{X} counts one for every {k} {T} of {Y}.": lambda x, y, z, k: x * k == y,
    "{X} holds one of {k} equal shares of the {T} of {Y}.": lambda x, y, z, k: x * k == y,
    "{X} owns {F} of the number of {T} of {Y}.": lambda x, y, z, k: x * k == y,
    "{X} gets the {T} of {Y} split {k} ways.": lambda x, y, z, k: x * k == y,
    "It takes {k} times the {T} of {X} to match {Y}.": lambda x, y, z, k: k * x == y,
    "Only {k} like {X} have the {T} of {Y}.": lambda x, y, z, k: k * x == y,
    "For each of the {T} of {X}, {Y} has {k}.": lambda x, y, z, k: y == k * x,
    "{X} has as many {T} as {Y} and {Z} together.": lambda x, y, z, k: x == y + z,
    "{X} counts the {T} of {Y} and those of {Z}.": lambda x, y, z, k: x == y + z,
    "{X} owns just what {Y} and {Z} own in {T}, put together.": lambda x, y, z, k: x == y + z,
    "In bags of {k}, the {T} of {Y} leave over what {X} has.": lambda x, y, z, k: x == y % k,
    "Rows of {k} from the {T} of {Y} leave {X} the rest.": lambda x, y, z, k: x == y % k,
    "After boxes of {k} are filled from the {T} of {Y}, the rest is what {X} has.": lambda x, y, z, k: x == y % k,
}
PATTERNS = [(pattern(frame), holds) for frame, holds in MEANING.items()]


def test_every_relation_frame_has_a_meaning():
    frames = {f for forms in RELATION.values() for form in forms.values() for w in ("train", "test") for f in form[w]}
    assert frames == set(MEANING)


def test_truth_of_chains(some):
    chains = [p for p in some if p.family == "chain"]
    assert len(chains) > N / 4
    for problem in chains:
        assert str(solve_chain(problem.sentences, "test" if problem.split == "test" else "train")) == problem.answer


def test_truth_of_relations(some):
    """Every sentence about two known amounts holds for the claimed values."""
    relations = [p for p in some if p.family == "relations"]
    assert len(relations) > N / 3
    for problem in relations:
        values = {step.name: step.value for step in problem.steps}
        checked = 0
        for sentence in problem.sentences:
            matches = [(m.groupdict(), holds) for p, holds in PATTERNS if (m := p.fullmatch(sentence))]
            for slots, holds in matches:
                names = [slots.get(s) for s in "XYZ"]
                if any(name is not None and name not in values for name in names):
                    continue  # about somebody whom nobody asks for
                k = int(slots["k"]) if slots.get("k") else WORDS.get(slots.get("F", ""), 0)
                x, y, z = (values.get(name or "", 0) for name in names)
                assert holds(x, y, z, k), (sentence, values)
                checked += 1
        assert checked >= problem.knobs.depth
        asked = [step.name for step in problem.steps if re.search(rf"\b{step.name}\b", problem.question)]
        assert asked == [problem.steps[-1].name]
        assert problem.steps[0].sentence in problem.sentences


def test_steps_follow_from_each_other(some):
    for problem in some:
        values: dict[str, int] = {}
        for i, step in enumerate(problem.steps):
            if i == 0:
                assert (step.operation, step.value) == (None, step.k)
            else:
                assert step.sources[0] == problem.steps[i - 1].name  # each step needs the one before: depth is depth
                right = values[step.sources[1]] if step.operation == "sum" else step.k
                assert step.operation
                assert right is not None
                assert step.value == apply(step.operation, values[step.sources[0]], right) > 0
                assert step.operation != "divide" or values[step.sources[0]] % right == 0
            values[step.name] = step.value
        assert len(problem.steps) == problem.knobs.depth + 1
        assert len(problem.sentences) == problem.knobs.depth + 1 + problem.knobs.distractors
        assert problem.answer == str(problem.steps[-1].value)


def test_no_relation_is_about_a_person_twice(some):
    """Distractors contradict nothing: one defining sentence per person and thing."""
    for problem in some:
        assert len(set(problem.sentences)) == len(problem.sentences) or problem.family == "chain"


def test_guessing_and_copying_score_under_10_percent(some):
    assert all(problem.answer not in re.findall(r"\d+", problem.text) for problem in some)
    answers = Counter(problem.answer for problem in some)
    assert answers.most_common(1)[0][1] / len(some) < 0.1
    # The best guess learned on one half, by band, and scored on the other.
    score = 0
    for band in BANDS:
        of_band = [p for p in some if p.band == band]
        half = len(of_band) // 2
        guess = Counter(p.answer for p in of_band[:half]).most_common(1)[0][0]
        score += sum(p.answer == guess for p in of_band[half:])
    assert score / (len(some) / 2) < 0.1


def frames_of(wording: str) -> set[str]:
    found = {
        f for table in (RELATION, CHAIN) for forms in table.values() for form in forms.values() for f in form[wording]
    }
    for table in (START, QUESTION):
        found |= {f for family in table.values() for f in family[wording]}
    return found | set(CHAIN_NOISE[wording])


def test_who_is_defined_can_be_told_from_the_frame():
    """A sentence that begins with a name defines that amount, and no two frames read alike with the roles exchanged."""
    frames = [f for forms in RELATION.values() for form in forms.values() for w in ("train", "test") for f in form[w]]
    shapes = [re.sub(r"\{[XYZ]\}", "_", frame) for frame in frames]
    assert len(set(shapes)) == len(frames)
    assert not any(frame.startswith(("{Y}", "{Z}")) for frame in frames)


def test_train_and_test_share_no_sentence_frame():
    def shape(frame: str) -> str:
        return re.sub(r"\{\w\}", "_", frame).casefold()

    train, test = ({shape(f) for f in frames_of(w)} for w in ("train", "test"))
    assert train
    assert test
    assert not train & test


def test_sentences_come_from_their_own_set():
    patterns = {w: [pattern(f) for f in frames_of(w)] for w in ("train", "test")}
    for split, own, other in (("train", "train", "test"), ("dev", "train", "test"), ("test", "test", "train")):
        for problem in islice(problems(split, seed=5), 200):  # type: ignore[arg-type]
            for sentence in map(unnumbered, (*problem.sentences, problem.question)):
                assert any(p.fullmatch(sentence) for p in patterns[own]), sentence
                assert not any(p.fullmatch(sentence) for p in patterns[other]), sentence


def test_no_text_is_in_two_splits():
    texts = {split: {p.text for p in islice(problems(split, seed=0), 3000)} for split in SPLITS}  # type: ignore[arg-type]
    assert not texts["test"] & (texts["train"] | texts["dev"])
    assert len(texts["train"] & texts["dev"]) <= 3  # same wordings: a rare coincidence in the easy band
    assert all(len(found) > 2990 for found in texts.values())


def test_a_problem_depends_on_its_number_alone():
    first = list(islice(problems("train", seed=3), 30))
    assert list(islice(problems("train", seed=3), 10)) == first[:10]
    assert first != list(islice(problems("train", seed=4), 30))
    assert [p.text for p in first] != [p.text for p in islice(problems("dev", seed=3), 30)]
    assert [p.band for p in first[:4]] == ["easy", "medium", "hard", "easy"]


def test_problems_are_the_same_in_another_process():
    code = (
        "from itertools import islice; from data_prep.small_world.samples import sample_rows; import hashlib, json\n"
        "print(hashlib.sha256(json.dumps(list(sample_rows('test', 50, 2))).encode()).hexdigest())"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                       env={"PYTHONHASHSEED": seed, "PATH": ""}, cwd=".").stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(outputs) == 1


def knob_means(**fixed) -> dict[str, float]:
    chosen = [draw_problem(Knobs(**{"depth": 4, "distractors": 1, "operand_size": 2, "rarity": 0.2, **fixed}), "train",
                           Random(f"{fixed}/{i}")) for i in range(400)]  # fmt: skip
    steps = [step for p in chosen for step in p.steps[1:]]
    rare = {f for table in (RELATION, CHAIN) for forms in table.values() for f in forms["rare"]["train"]}
    patterns = [pattern(frame) for frame in rare]

    noise = sum(any(p.fullmatch(step.sentence) for p in patterns) for step in steps)
    return {
        "steps": sum(len(p.steps) - 1 for p in chosen) / 400,
        "sentences": sum(len(p.sentences) for p in chosen) / 400,
        "size": sum(len(str(p.steps[0].k)) for p in chosen) / 400,
        "rare": noise / len(steps),
    }


def test_knobs_move_independently():
    base = knob_means()
    assert (base["steps"], base["sentences"]) == (4, 6)
    for knob, value, moved in (("depth", 7, "steps"), ("operand_size", 3, "size"), ("rarity", 0.9, "rare")):
        now = knob_means(**{knob: value})
        for measure in ("steps", "size", "rare"):
            if measure == moved:
                assert now[measure] > base[measure] * 1.2
            else:
                assert now[measure] == pytest.approx(base[measure], rel=0.25)
    assert knob_means(distractors=3)["sentences"] == 8
    assert knob_means(rarity=0.0)["rare"] == 0


@pytest.mark.parametrize("knobs", list(product((1, 2, 7), (0, 3), (1, 2, 3), (0.0, 1.0))))
def test_every_corner_of_the_knobs_can_be_drawn(knobs):
    for wording in ("train", "test"):
        for i in range(5):
            problem = draw_problem(Knobs(*knobs), wording, Random(i))
            assert problem.knobs == Knobs(*knobs)


def test_knobs_can_be_pinned():
    for problem in islice(problems("train", depth=6, rarity=1.0), 30):
        assert (problem.knobs.depth, problem.knobs.rarity) == (6, 1.0)


def test_rows_are_valid():
    for i, row in enumerate(sample_rows("dev", 20)):
        validate(row, "sample", f"row {i}")
    for row, again in zip(problem_rows("dev", 5), sample_rows("dev", 5)):
        assert row["problem_id"] == again["problem_id"]
        assert {"band", "depth", "distractors", "operand_size", "rarity", "truth"} <= set(row)
    assert {row["level"] for row in problem_rows("dev", 6)} == {1.0, 2.0, 3.0}
