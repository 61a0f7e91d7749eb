"""Problems read back from their text."""

from dataclasses import replace
from itertools import islice

import pytest

from data_prep.small_world.problems import Problem, problems
from data_prep.small_world.reading import definitions, read_problem, read_sentence, wordings

SOME: list[Problem] = [p for split in ("train", "dev", "test") for p in islice(problems(split, seed=31), 400)]


def test_the_text_alone_gives_back_the_whole_truth():
    for problem in SOME:
        found = read_problem(problem.text)
        assert found is not None, problem.text
        knobs = replace(problem.knobs, operand_size=0, rarity=0.0)
        things = problem.things if problem.family == "relations" else ""
        assert found == replace(problem, knobs=knobs, things=things, band="", split="")


def test_no_sentence_has_two_meanings():
    for problem in SOME:
        for step in problem.steps:
            ways = [op for wording, op in wordings(problem.family) if wording.fullmatch(step.sentence)]
            assert ways == [step.operation], step.sentence


def test_amounts_that_do_not_matter_are_known_too():
    n_more = 0
    for problem in SOME:
        found = definitions(problem)
        assert {step.name: step for step in problem.steps}.items() <= found.items()
        more = [step for name, step in found.items() if name not in {s.name for s in problem.steps}]
        assert all(step.sentence in problem.sentences for step in more)
        assert len(more) <= problem.knobs.distractors
        n_more += len(more)
    assert n_more > 200


def test_what_is_asked_for_is_known_by_its_sentence_alone():
    text = "Bob trails Ann by 4 eggs.\nAnn has 9 eggs.\nBob has 7 cups.\nKim has half as many eggs as Bob.\n"
    problem = read_problem(text + "Count the eggs of Bob.")
    assert problem is not None
    assert [(s.name, s.value) for s in problem.steps] == [("Ann", 9), ("Bob", 5)]
    assert {name: step.value for name, step in definitions(problem).items()} == {"Ann": 9, "Bob": 5, "Kim": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is 2 + 2?",
        "Ann has 9 eggs.\nCount the eggs of Bob.",
        "Ann has 4 more eggs than Bob.\nBob has 4 fewer eggs than Ann.\nCount the eggs of Bob.",
        "Start with 14.\n2) Add 5.\nWhat is the result?",
        "Add 5.\nWhat is the result?",
        "What is the result?",
        "Start with 14.\n1) Divide by 0.\nWhat is the result?",
    ],
)
def test_other_texts_are_no_problem_of_the_small_world(text: str):
    assert read_problem(text) is None


def test_a_sentence_with_more_in_it_means_nothing():
    assert read_sentence("Kim has 3Paul has 3 from the pens of Hugo leave Ann the rest.", "relations") is None
    assert read_sentence("Do not add 240.", "chain") is None
