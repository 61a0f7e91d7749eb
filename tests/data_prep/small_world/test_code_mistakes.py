"""The first wrong step of a code-augmented solution."""

import re
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.small_world.code_mistakes import CodeMistake, first_mistake
from data_prep.small_world.problems import Problem, problems
from data_prep.small_world.reading import definitions, read_problem
from data_prep.small_world.traces import code_steps

SOME: list[Problem] = [p for split in ("train", "test") for p in islice(problems(split, seed=41), 200)]
TEXT = "Bob trails Ann by 4 eggs.\nAnn has 9 eggs.\nBob has 7 cups.\nKim has 3 times as many eggs as Bob.\n"
BOB = read_problem(TEXT + "Count the eggs of Bob.")
CHAIN = read_problem("Start with 14.\n1) Add 5.\nDo not add 3.\n2) Multiply by 2.\nWhat is the result?")
assert BOB is not None
assert CHAIN is not None
ANN = "<code>\n# Ann has 9 eggs.\nann = 9\n<end_of_step>"
BOB_STEP = "\n# Bob trails Ann by 4 eggs.\nbob = ann - 4\n<end_of_step>"
PRINT = "\n# Now print the final answer\nprint(bob)\n<end_of_code>\n<output>5<end_of_output>"
ANSWER = "\n<answer>The answer is \\boxed{5}.<end_of_answer>"


def found(problem: Problem, *steps: str) -> tuple[int, str] | None:
    mistake = first_mistake(problem, steps)
    return None if mistake is None else (mistake.step, mistake.kind)


def test_true_solutions_have_no_mistake_however_they_are_cut():
    for i, problem in enumerate(SOME):
        steps = code_steps(problem)
        assert first_mistake(problem, steps) is None
        assert first_mistake(read_problem(problem.text) or problem, steps) is None
        lines = "".join(steps).splitlines(keepends=True)
        cuts = sorted(Random(i).sample(range(1, len(lines)), 2))
        pieces = ["".join(lines[a:b]) for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
        assert first_mistake(problem, pieces) is None, pieces


def test_a_changed_line_is_found_where_it_is():
    """A number, an operation or a name is replaced in one line of a true solution."""
    kinds = set()
    for i, problem in enumerate(SOME):
        rng = Random(i)
        steps = code_steps(problem)
        at = rng.randrange(len(steps) - 1)
        *head, line, end = steps[at].split("\n")
        name, value = line.split(" = ")
        numbers = re.findall(r"\b\d+$", value)
        change = rng.choice(["number", "operation", "name"])
        if change == "number" and numbers:
            value = re.sub(r"\d+$", str(int(numbers[0]) + rng.choice([1, 7, 10])), value)
        elif change == "operation" and " " in value:
            wrong = [s for s in ("+", "-", "*", "//", "%") if f" {s} " not in value]
            value = re.sub(r" \S+ ", f" {rng.choice(wrong)} ", value)
        else:
            change = "name"
            name = rng.choice([n.lower() for n in definitions(problem) if n.lower() != name])
        steps[at] = "\n".join([*head, f"{name} = {value}", end])
        mistake = first_mistake(problem, steps)
        assert mistake == CodeMistake(at, "misread", f"{name} = {value}")
        assert first_mistake(problem, steps[:at]) is None
        assert first_mistake(problem, steps[: at + 1]) == mistake
        kinds.add(change)
    assert kinds == {"number", "operation", "name"}


def test_a_missing_step_is_missed_where_its_value_is_used():
    for problem in SOME:
        steps = code_steps(problem)
        for gone in range(len(steps) - 1):
            mistake = first_mistake(problem, steps[:gone] + steps[gone + 1 :])
            assert mistake is not None
            assert (mistake.step, mistake.kind) == (gone, "no value")


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ((ANN, BOB_STEP, PRINT, ANSWER), None),
        ((ANN, BOB_STEP, PRINT), None),
        ((), None),
        # what does not matter, or is there twice, is no mistake
        ((ANN, ANN, BOB_STEP, "\n# Kim has 3 times as many eggs as Bob.\nkim = bob * 3\n", PRINT, ANSWER), None),
        ((ANN, "\n# Kim has 3 times as many eggs as Bob.\n<end_of_step>", BOB_STEP, PRINT, ANSWER), None),
        ((ANN, BOB_STEP, "\n# Kim has 4 times as many eggs as Bob.\nkim = bob * 4\n", PRINT, ANSWER), (2, "misread")),
        ((ANN, "\n# Leo has 4 eggs.\nleo = 4\n<end_of_step>", BOB_STEP, PRINT, ANSWER), (1, "misread")),
        # other words, other forms, no words
        ((ANN, "\n# Bob has 4 fewer eggs than Ann.\nbob = 9 - 4\n<end_of_step>", PRINT, ANSWER), None),
        ((ANN, "\nbob = ann - 4  # less\n<end_of_step>", PRINT, ANSWER), None),
        ((ANN, "\nprint(ann - 4)\n<end_of_code>\n<output>5<end_of_output>", ANSWER), None),
        # the same value in another way
        ((ANN, "\nbob = 9 - 4 + 0\n<end_of_step>", PRINT, ANSWER), (1, "unclear")),
        ((ANN, "\nbob = 9 - 4 + 1\n<end_of_step>", PRINT, ANSWER), (1, "misread")),
        ((ANN, "\nbob = 2 + 3\n<end_of_step>", PRINT, ANSWER), (1, "misread")),
        ((ANN, "\nbob = 5\n<end_of_step>", PRINT, ANSWER), (1, "misread")),
        (("<code>\nbob = 9 - 4\n<end_of_step>", PRINT, ANSWER), (0, "misread")),  # 9 out of nowhere
        # other things of the same person
        ((ANN, "\n# Bob has 7 cups.\nbob = 7\n<end_of_step>", PRINT, ANSWER), (1, "misread")),
        # words that the problem does not have over code that is right
        ((ANN, "\n# Bob trails Ann by 5 eggs.\nbob = ann - 4\n<end_of_step>", PRINT, ANSWER), (1, "comment")),
        ((ANN, "\n# Bob trails Kim.\n<end_of_step>", BOB_STEP, PRINT, ANSWER), (1, "comment")),
        ((ANN, BOB_STEP, PRINT.replace("bob", "ann"), ANSWER), (2, "print")),
        ((ANN, PRINT, ANSWER), (1, "no value")),
        ((ANN, BOB_STEP, PRINT.replace("5", "6"), ANSWER), (2, "output")),
        ((ANN, BOB_STEP, PRINT, ANSWER.replace("5", "6")), (3, "answer")),
        ((ANN, BOB_STEP, PRINT, ANSWER.replace("\\boxed{5}", "5")), (3, "answer")),
        ((ANN, BOB_STEP, ANSWER), (2, "answer")),
        ((ANN, BOB_STEP, PRINT, "\nSo it is \\boxed{5}."), None),
        ((ANN, BOB_STEP, PRINT, "\nSo it is \\boxed{4}."), (3, "answer")),
        ((ANN, "\nbob = 4 / 0\n", PRINT), (1, "misread")),
        ((ANN, "\nimport os\n", BOB_STEP, PRINT, ANSWER), (1, "unclear")),
        ((ANN, "\nbob = ann - \n", PRINT, ANSWER), (1, "unclear")),
        ((ANN, "\nfor i in range(9): bob = i\n", PRINT, ANSWER), (1, "unclear")),
        ((ANN, f"\nbob = {'+'.join(['1'] * 20000)}\n", PRINT, ANSWER), (1, "unclear")),
    ],
)  # fmt: skip
def test_what_is_a_mistake_and_what_is_not(steps: tuple[str, ...], wanted: tuple[int, str] | None):
    assert BOB is not None  # mypy
    assert found(BOB, *steps) == wanted


def test_a_chain_may_skip_nothing_and_has_an_end():
    assert CHAIN is not None
    start = "<code>\n# Start with 14.\nx0 = 14\n<end_of_step>"
    add = "\n# Add 5.\nx1 = x0 + 5\n<end_of_step>"
    double = "\n# Multiply by 2.\nx2 = x1 * 2\n<end_of_step>"
    end = "\nprint(x2)\n<end_of_code>\n<output>38<end_of_output>\n<answer>\\boxed{38}<end_of_answer>"
    assert found(CHAIN, start, add, double, end) is None
    assert found(CHAIN, start, add, double.replace("Multiply by 2", "Make it 2 times as large"), end) is None
    assert found(CHAIN, start, add, double.replace("x1 * 2", "2 * x1"), end) is None
    assert found(CHAIN, start, "\n# Do not add 3.\nx1 = x0 + 3\n<end_of_step>", double, end) == (1, "misread")
    assert found(CHAIN, start, "\n# Multiply by 2.\nx1 = x0 * 2\n<end_of_step>", double, end) == (1, "misread")
    assert found(CHAIN, start, add, double, "\n# Add 5.\nx3 = x2 + 5\n", end) == (3, "misread")
    assert found(CHAIN, start, add, "\nprint(x1)\n<end_of_code>\n<output>19<end_of_output>") == (2, "print")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(alphabet="ab=\n#<>()1+\\ ", max_size=30) | st.sampled_from([ANN, BOB_STEP, PRINT, ANSWER])))
def test_no_text_raises_and_what_has_no_mistake_ends_right(steps: list[str]):
    assert BOB is not None
    mistake = first_mistake(BOB, steps)
    if mistake is None:
        boxes = re.findall(r"\\boxed\{([^}]*)\}", "".join(steps))
        assert set(boxes) <= {"5"}
    else:
        assert first_mistake(BOB, steps[: mistake.step]) is None
