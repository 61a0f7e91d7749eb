"""What the vision-language base is trained on: figures read, numbers computed, answers at once, and no Long-CoT trace.

With a figure: all that it shows in words, single angles and lengths in any order, and problems of one step answered at
once. Without: the computations that geometry needs. Numbers are those of the training split alone; both sets of
wordings occur, so that the words of test problems are known. A document is a list of (text, is trained on) segments.
"""

from collections.abc import Iterator
from itertools import count
from random import Random

from PIL import Image

from data_prep.small_world.base_corpus import Document
from data_prep.small_world.tokenizer import PAD, TURN_END, TURN_START
from multimodal.figures import TINY
from multimodal.problems import BANDS, QUESTIONS, GeometryProblem, draw_problem
from multimodal.traces import check, short_answer

# Relative numbers of documents of each kind that has a figure.
KINDS = {"described": 6, "measures": 4, "one step": 2}
DESCRIBE = ("Describe the figure.", "What does the figure show?", "Say what is drawn.")
IMAGE = "<image>"  # stands for the figure in a text
# Figures of more steps have more in them: at first there are those of one step only.
N_GROWING = 15_000


def asked(text: str) -> tuple[str, bool]:
    return f"{TURN_START}user\n{IMAGE}{text}{TURN_END}\n{TURN_START}assistant\n", False


def described(problem: GeometryProblem, rng: Random) -> Document:
    return [asked(rng.choice(DESCRIBE)), (problem.description + TURN_END, True), ("\n", False)]


def measures(problem: GeometryProblem, rng: Random) -> Document:
    """Single measures and what is said of lines and marks, in any order."""
    document = [asked(rng.choice(DESCRIBE))]
    shown = [*problem.given, *([(problem.asked, "x")] if problem.asked not in QUESTIONS else [])]
    for name, value in rng.sample(shown, len(shown)):
        document += [(f"{'Angle ' if len(name) == 3 else ''}{name} =", False), (f" {value}.", True), ("\n", False)]
    return document


def one_step(problem: GeometryProblem, rng: Random) -> Document:
    kind = problem.asked if problem.asked in QUESTIONS else "x"
    question = rng.choice([*QUESTIONS[kind]["train"], *QUESTIONS[kind]["test"]])
    return [asked(question), (short_answer(problem) + TURN_END, True), ("\n", False)]


def figures(seed: int, n_growing: int = N_GROWING) -> Iterator[tuple[str, Image.Image, Document]]:
    """Endless stream of documents with a figure, with their kinds; depends on the seed alone."""
    kinds, weights = list(KINDS), list(KINDS.values())
    for i in count():
        rng = Random(f"geometry-base/{seed}/{i}")
        kind = rng.choices(kinds, weights)[0]
        grown = rng.random() < (i / n_growing if n_growing else 1.0)
        band = rng.choice(list(BANDS)) if grown and kind != "one step" else "easy"
        problem, image = draw_problem("train", band, TINY, rng)
        make = {"described": described, "measures": measures, "one step": one_step}[kind]
        yield kind, image, make(problem, rng)


def computations(seed: int) -> Iterator[Document]:
    """Endless stream of documents of equations: those of the training problems, and their checks."""
    for i in count():
        rng = Random(f"geometry-facts/{seed}/{i}")
        end = rng.choice([". ", ".\n"])
        document: Document = []
        while len(document) < 60:
            problem, _ = draw_problem("train", rng.choice(list(BANDS)), TINY, rng)
            for equation in (one for step in problem.steps for one in step.equations):
                confirmed = check(equation)
                for text in [equation, *([confirmed] if confirmed and rng.random() < 0.4 else [])]:
                    left, result = text.split("=")
                    document += [(f"{left}=", False), (result, True), (end, False)]
        yield [*document, (PAD, False)]
