"""Reading what a policy wrote: well-formed, broken, hostile."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.mcts.prompts import EXAMPLES, INSTRUCTION, search_prompt
from data_prep.mcts.steps import (
    MARKERS,
    output_block,
    program_of,
    read_step,
    segments,
    shown,
    split_long,
    thought_steps,
)
from data_prep.mcts.tree import Tree
from data_prep.responses import whole_characters
from data_prep.sandbox.client import Program, Sandbox

FIRST = "<code>\n# Ann\nann = 14\n<end_of_step>"


def test_a_step_is_run_with_all_code_before_it_and_shows_nothing() -> None:
    step = read_step("code", FIRST, "\n# Bob\nbob = ann + 5\n<end_of_step>")
    assert not step.ends
    assert not step.shows_output
    assert step.program
    assert [line for line in step.program.split("\n") if line] == ["# Ann", "ann = 14", "# Bob", "bob = ann + 5"]


def test_the_end_of_code_shows_what_the_program_prints() -> None:
    step = read_step("code", FIRST, "\n# Now print the final answer\nprint(ann)\n<end_of_code>")
    assert step.shows_output
    assert not step.ends
    assert output_block("14", step.text) == "\n<output>14<end_of_output>"
    assert output_block("NameError: x", "x\n<end_of_step>") == "<end_of_code>\n<output>NameError: x<end_of_output>"


def test_after_an_output_the_program_begins_anew() -> None:
    before = f"{FIRST}<end_of_code>\n<output>NameError<end_of_output>"
    assert read_step("code", before, "\nann = 3\n<end_of_step>").program == "ann = 3"


def test_an_answer_ends_the_solution() -> None:
    before = f"{FIRST}\nprint(ann)\n<end_of_code>\n<output>14<end_of_output>"
    step = read_step("code", before, "\n<answer>It is \\boxed{14}.<end_of_answer>")
    assert (step.ends, step.extracted, step.program) == (True, "14", None)
    # Without its markers, where the turn ends.
    assert read_step("code", before, "The answer is \\boxed{14}").extracted == "14"
    assert read_step("code", before, "\n<answer>It is 14.<end_of_answer>").extracted is None


def test_a_box_in_the_program_is_no_answer() -> None:
    step = read_step("code", "", "<code>\n# so \\boxed{7}\nx = 7\n<end_of_step>")
    assert not step.ends
    assert step.extracted is None


@pytest.mark.parametrize("line", ["# so \\boxed{7}", "print('\\boxed{7}')", "print(f'\\boxed{{{ann}}}')"])
def test_a_box_in_the_last_step_of_the_program_is_no_answer_either(line: str) -> None:
    step = read_step("code", FIRST, f"\n{line}\nprint(ann)\n<end_of_code>")
    assert not step.ends
    assert step.program is not None
    assert step.program.endswith(f"{line}\nprint(ann)")


def test_talk_before_the_code_is_not_run() -> None:
    assert read_step("code", "", "Let me see:\n<code>\nx = 1\n<end_of_step>").program == "x = 1"


def test_markers_that_a_program_prints_are_taken_out() -> None:
    assert shown("1<end_of_output><answer>\\boxed{1}<end_of_answer>") == "1\\boxed{1}"


@pytest.mark.parametrize("fence", ["```python\nx = 1\n```", "```\nx = 1\n```", "`x = 1`", "```py\nx = 1\n````"])
def test_fences_around_code_are_taken_off(fence: str) -> None:
    assert (read_step("code", "", f"<code>\n{fence}\n<end_of_step>").program or "").strip("`\n") == "x = 1"


def test_code_that_goes_on_to_its_own_output_ends_there() -> None:
    step = read_step("code", FIRST, "\nprint(ann)\n<output>99<end_of_output>")
    assert step.text == "\nprint(ann)\n<end_of_code>"
    assert step.shows_output


def test_what_has_no_marker_ends_without_an_answer() -> None:
    for before, text in ((FIRST, ""), (FIRST, "   "), (FIRST, "x = 1"), ("", "<output>3<end_of_output>")):
        step = read_step("code", before, text)
        assert step.ends, text
        assert step.extracted is None


def test_ends_of_turns_are_no_part_of_a_step() -> None:
    step = read_step("code", FIRST, "\nx = 1\n<end_of_step><|im_end|>\n")
    assert step.text == "\nx = 1\n<end_of_step>"


TEXT = st.lists(
    st.sampled_from([*MARKERS, "```", "```python", "\\boxed{", "}", "\n", "<think>", "</think>", "print(1)", "\ud800"])
    | st.text(max_size=5),
    max_size=12,
).map("".join)  # fmt: skip


@given(before=TEXT, text=TEXT, steps=st.sampled_from(["code", "text"]))
def test_no_text_raises(before: str, text: str, steps: str) -> None:
    step = read_step(steps, whole_characters(before), text)  # type: ignore[arg-type]
    step.text.encode()
    assert step.ends or step.program is not None or steps == "text"
    if step.program is not None:
        step.program.encode()


def test_very_long_steps_are_read() -> None:
    step = read_step("code", FIRST, "x = 1\n" * 20_000 + "<end_of_step>")
    assert step.program is not None
    assert step.program.count("x = 1") == 20_000


@given(TEXT)
def test_segments_are_the_text_again(text: str) -> None:
    assert "".join(segments(text)) == text
    assert all(segments(text))


@pytest.mark.parametrize(
    ("output", "seen"),
    [("8.94427190999916\n", "8.9443"), ("0.5\n", "0.5"), ("2.0", "2"), ("1e-07", "1e-07"), ("12", "12"), ("x", "x"),
     ("0.33333333", "0.3333"), ("nan", "nan"), ("", ""), ("0.00001234", "0.00001234")],
)  # fmt: skip
def test_numbers_are_shown_with_four_decimals(output: str, seen: str) -> None:
    assert shown(output) == seen


def test_long_outputs_keep_both_ends() -> None:
    text = shown("a" * 2000 + "b" * 2000)
    assert text == "a" * 512 + "..." + "b" * 512


def test_text_steps_are_paragraphs_until_an_answer_or_the_end_of_the_turn() -> None:
    assert not read_step("text", "", "First, 2+2=4.\n\n").ends
    assert not read_step("text", "", "\n\n").ends
    assert read_step("text", "First.\n\n", "So it is \\boxed{4}.\n\n").extracted == "4"
    inside = read_step("text", "<think>\n", "maybe \\boxed{3}?\n\n")
    assert not inside.ends  # a thought is no answer
    closed = read_step("text", "<think>\nmaybe \\boxed{3}\n\n", "</think>\n\n")
    assert not closed.ends
    assert read_step("text", "<think>\na\n</think>\n\n", "It is \\boxed{4}.").extracted == "4"
    assert read_step("text", "<think>\nmaybe \\boxed{3}\n\n", "and then").extracted is None


def words(text: str) -> int:
    return len(text.split())


PARAGRAPHS = ["one two three " * 4, "Wait, that is not right.", "four " * 50, "five"]
THOUGHT = "<think>\n" + "\n\n".join(PARAGRAPHS) + "\n</think>\n\n\\boxed{1}"


def test_a_thought_is_cut_at_paragraphs_of_enough_words_and_before_self_checks() -> None:
    steps = thought_steps(THOUGHT, words, least=10, most=30)
    assert "".join(steps) == THOUGHT
    assert steps[1].startswith("Wait")
    assert steps[-1] == "</think>\n\n\\boxed{1}"
    assert all(words(step) <= 30 for step in steps)


@given(st.text(alphabet=st.sampled_from("ab \n.?wait"), max_size=400), st.integers(1, 8), st.integers(8, 20))
def test_steps_of_a_thought_are_the_response_again_and_not_too_long(text: str, least: int, most: int) -> None:
    response = f"<think>{text}</think>answer"
    steps = thought_steps(response, words, least, most)
    assert "".join(steps) == response
    assert all(words(step) <= most for step in steps[:-1])
    assert all(step.strip() for step in steps)


def test_a_word_longer_than_a_step_is_split() -> None:
    pieces = split_long("x" * 1000, len, 100)
    assert "".join(pieces) == "x" * 1000
    assert max(map(len, pieces)) <= 100


def test_a_bootstrap_prompt_shows_two_examples_and_ends_with_the_problem() -> None:
    problem = {"problem_id": "p", "problem": "What is 1 + 1?"}
    prompts = {search_prompt("bootstrap", None, problem, "", Tree(problem, i, 0, "").rng()) for i in range(20)}
    assert len(prompts) > 2
    for prompt in prompts:
        assert prompt.startswith(INSTRUCTION)
        assert prompt.endswith("Question: What is 1 + 1?\n")
        assert prompt.count("<end_of_answer>\n") == 2


def test_the_examples_do_what_they_show() -> None:
    with Sandbox(workers=1) as sandbox:
        for _, solution in EXAMPLES:
            parts = segments(solution)
            step = read_step("code", "", "".join(parts[:-2]))
            execution = sandbox.submit(Program(program_of("".join(parts[:-2])))).result()
            assert step.shows_output
            assert output_block(shown(execution.output), step.text) == parts[-2]
            answer = read_step("code", "".join(parts[:-1]), parts[-1])
            assert answer.ends
            assert answer.extracted
            assert re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\1/\2", answer.extracted) == shown(execution.output)
