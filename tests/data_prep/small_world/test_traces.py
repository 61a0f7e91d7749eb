"""The small world's traces: right, judged as what they are, and executable."""

import re
import subprocess
import sys
from itertools import islice
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.answers import AnswerChecker, extract_answer
from data_prep.formats import convert_markers, is_unclosed
from data_prep.small_world import base_corpus
from data_prep.small_world.problems import Problem, problems
from data_prep.small_world.traces import code_steps, compute, long_cot, mistakes, short_answer

SOME: list[Problem] = [p for split in ("train", "test") for p in islice(problems(split, seed=21), 300)]


KINDS: list[dict[str, Any]] = [{}, {"check_rate": 1.0}, {"slip_rate": 1.0}, {"slip_rate": 0.5, "n_paragraphs": 14}]


def test_traces_are_right_and_free_of_mistakes():
    with AnswerChecker() as checker:
        for i, problem in enumerate(SOME):
            for options in KINDS:
                trace = long_cot(problem, Random(i), **options)
                assert mistakes(problem, trace) == [], trace
                assert checker.judge(problem.answer, trace).verdict == "right"
                assert convert_markers(trace) == trace
                assert not is_unclosed(trace)
            assert checker.judge(problem.answer, short_answer(problem)).verdict == "right"


def test_every_computation_in_a_trace_is_true_but_for_the_slips_it_corrects():
    for i, problem in enumerate(SOME[:300]):
        trace = long_cot(problem, Random(i), check_rate=1.0, slip_rate=0.0, n_paragraphs=12)
        equations = re.findall(r"(?<![\w+*/%-])(\d+[-+*/%]\d+)=(\d+)", trace)
        assert len(equations) >= problem.knobs.depth
        assert all(compute(left) == int(right) for left, right in equations)
        trace = long_cot(problem, Random(i), slip_rate=1.0)
        for wrong, _ in re.findall(r"=(\d+)\. Check: [^.]+\. Wait, not \d+\. Again: [^=]+=(\d+)\.", trace):
            assert f"={wrong}. Check" in trace
        assert ("Wait" in trace) == ("Again" in trace)


def test_slips_are_noticed_only_where_the_check_shows_them():
    noticed = 0
    for i, problem in enumerate(SOME[:300]):
        trace = long_cot(problem, Random(i), slip_rate=1.0)
        for result, left, back in re.findall(r"(\d+)\. Check: [^=]+=(\d+)\. Wait, not (\d+)\.", trace):
            assert left != back
            assert result
            noticed += 1
        for left, back in re.findall(r"(\d+)[-+*/%]\d+=\d+\. Check: [^=]+=(\d+)\. Right\.", trace):
            assert left == back
    assert noticed > 300


def test_the_rates_mean_what_they_say():
    steps = sum(p.knobs.depth for p in SOME)
    traces = [long_cot(p, Random(i), slip_rate=0.04) for i, p in enumerate(SOME)]
    assert sum(t.count("Wait") for t in traces) / steps == pytest.approx(0.04, abs=0.015)
    assert sum(t.count("Wait") for t in [long_cot(p, Random(i), slip_rate=0.0) for i, p in enumerate(SOME)]) == 0
    assert (
        sum(t.count("Check") for t in [long_cot(p, Random(i), check_rate=0.0, slip_rate=0) for i, p in enumerate(SOME)])
        == 0
    )


def test_unnoticed_slips_are_found_where_they_are():
    """One slip and all that follows from it: one mistake, in its step."""
    n_found = 0
    for i, problem in enumerate(SOME):
        trace = long_cot(problem, Random(i), slip_rate=0.4, correct_slips=False)
        found = mistakes(problem, trace)
        assert found is not None
        assert {m.kind for m in found} <= {"slip"}
        thought = trace.split("</think>")[0]
        equations = re.findall(r"^(?:\w+:|\d+\)) .*? (\d+[-+*/%]\d+)=(\d+)\.", thought, re.MULTILINE)
        wrong = [j + 1 for j, (left, right) in enumerate(equations) if compute(left) != int(right)]
        assert [m.step for m in found] == wrong
        if not found:
            assert extract_answer(trace) == problem.answer
        n_found += len(found)
    assert n_found > 200


def test_an_impossible_computation_after_a_mistake_follows_from_it():
    """Take 11 from 10 and divide an odd number by 2: what is written then says nothing of the policy's arithmetic."""
    seen = 0
    for i, problem in enumerate(p for p in SOME if p.family == "chain" and p.steps[-1].operation == "minus"):
        trace = long_cot(problem, Random(i), check_rate=0, slip_rate=0)
        *_, before, last = steps_of(trace)
        low = replaced(replaced(trace, last, left="1", result="7"), before, result="1")
        low = low.replace(f"{{{problem.answer}}}", "{7}").replace(f"result is {problem.answer}.", "result is 7.")
        found = mistakes(problem, low) or []
        if before["result"] != "1":
            assert [(m.step, m.kind) for m in found] == [(problem.knobs.depth - 1, "slip")], low
            seen += 1
    assert seen > 30


def test_no_check_confirms_an_unnoticed_slip():
    for i, problem in enumerate(SOME[:300]):
        trace = long_cot(problem, Random(i), slip_rate=0.5, correct_slips=False, n_paragraphs=14)
        for left, right, check, back in re.findall(r"(\d+[-+*/%]\d+)=(\d+)\. Check: ([^=]+)=(\d+)\. Right", trace):
            assert compute(left) == int(right), trace
            assert compute(check) == int(back)


def test_the_number_of_paragraphs():
    for i, problem in enumerate(SOME[:300]):
        shortest = long_cot(problem, Random(i)).count("\n\n")
        for n in (shortest, shortest + 1, shortest + 7):
            trace = long_cot(problem, Random(i), n_paragraphs=n)
            thought = re.fullmatch(r"<think>\n(.*)\n</think>.*", trace, re.DOTALL)
            assert thought
            found = len(thought[1].split("\n\n"))
            checkable = any(step.operation not in (None, "remainder") for step in problem.steps)
            assert found == n or not checkable
        assert len(long_cot(problem, Random(i), n_paragraphs=1).split("\n\n")) - 1 == shortest


def steps_of(trace: str) -> list[re.Match[str]]:
    step = (
        r"^(?:\w+:|\d+\)) (?P<quote>.*?)(?P<read>\w*[-+*/%]\w+)\. "
        r"(?P<left>\d+)(?P<op>[-+*/%])(?P<right>\d+)=(?P<result>\d+)\."
        r"(?:\n\w+=(?P<noted>\d+), then (?P<follower>\w+)\.|\n(?P<told>\d+)/\d+\.)?"
    )
    return list(re.finditer(step, trace, re.MULTILINE))


def replaced(trace: str, match: re.Match[str], **groups: str) -> str:
    """The trace with groups of a step replaced; a replaced result is noted down as well, where the step notes it."""
    if "result" in groups and match["noted"]:
        groups["noted"] = groups["result"]
    for group in sorted(groups, key=match.start, reverse=True):
        start, end = match.span(group)
        trace = trace[:start] + groups[group] + trace[end:]
    return trace


@pytest.mark.parametrize("family", ["relations", "chain"])
def test_corrupted_steps_are_classified(family: str):
    n = 0
    for i, problem in enumerate(p for p in SOME if p.family == family):
        trace = long_cot(problem, Random(i), check_rate=0.0, slip_rate=0.0)
        matches = steps_of(trace)
        assert len(matches) == problem.knobs.depth
        which = i % len(matches)
        step = matches[which]

        # A slip: the result is wrong. The step that takes it up has then carried another value.
        text = replaced(trace, step, result=str(int(step["result"]) + 1))
        kinds = [(m.step, m.kind) for m in mistakes(problem, text) or []]
        if which == len(matches) - 1:
            assert mistakes(problem, text) is None  # the answer is no longer the last value
            text = text.replace(f"boxed{{{problem.answer}}}", f"boxed{{{int(problem.answer) + 1}}}")
            assert [(m.step, m.kind) for m in mistakes(problem, text) or []] == [(which + 1, "slip")]
        else:
            assert kinds[0] == (which + 1, "slip")
            assert kinds[1] == (which + 2, "carried")

        # A wrong value carried: the computation is true, its left number is not what was found before.
        wrong = int(step["left"]) + 12  # divides by 2, 3 and 4 as before
        result = compute(f"{wrong}{step['op']}{step['right']}")
        if result is not None and result >= 0:
            found = mistakes(problem, replaced(trace, step, result=str(result), left=str(wrong)))
            if which < len(matches) - 1:
                assert found
                assert (found[0].step, found[0].kind) == (which + 1, "carried")
        # Another value noted down than was computed.
        if step["noted"] and which < len(matches) - 1:
            found = mistakes(problem, replaced(trace, step, noted=str(int(step["noted"]) + 1)))
            assert found
            assert (found[0].step, found[0].kind) == (which + 1, "carried")

        # Another person's turn than by the plan.
        if step["follower"]:
            found = mistakes(problem, replaced(trace, step, follower=problem.steps[0].name))
            assert found
            assert (found[0].step, found[0].kind) == (which + 1, "carried")

        if step["told"]:
            found = mistakes(problem, replaced(trace, step, told=str(int(step["told"]) + 1)))
            assert found
            assert (found[0].step, found[0].kind) == (which + 1, "carried")

        # Another sentence than the problem's, another number than it says, and another operation.
        if step["quote"]:
            found = mistakes(problem, replaced(trace, step, quote=step["quote"].replace(problem.things, "chairs")))
            assert [(m.step, m.kind) for m in found or []] == [(which + 1, "misread")]
        changed = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "-"}[step["op"]]
        others = [step["read"].replace(step["op"], changed)]
        if problem.steps[which + 1].operation != "sum":
            others.append(step["read"].replace(step["right"], str(int(step["right"]) + 1)))
        for read in others:
            found = mistakes(problem, replaced(trace, step, read=read))
            assert found
            assert (found[0].step, found[0].kind) == (which + 1, "misread")
            n += 1
    assert n > 50


def test_a_wrong_start_is_misread():
    for i, problem in enumerate(SOME[:60]):
        trace = long_cot(problem, Random(i), slip_rate=0)
        first = problem.steps[0]
        before, after = ("Start: ", ".") if problem.family == "chain" else (f"{first.name}=", ",")
        text = trace.replace(f"{before}{first.k}{after}", f"{before}{first.value + 1}{after}", 1)
        found = mistakes(problem, text)
        assert found
        assert (found[0].step, found[0].kind) == (0, "misread")


def test_a_wrong_plan_is_misread():
    for i, problem in enumerate(p for p in SOME if p.family == "relations" and p.knobs.depth > 1):
        trace = long_cot(problem, Random(i), slip_rate=0)
        last, before = problem.steps[-1], problem.steps[-2]
        text = trace.replace(f"\n{before.name} needs ", f"\n{last.name} needs ", 1)
        found = mistakes(problem, text)
        assert found
        assert (found[0].step, found[0].kind) == (0, "misread")


def test_a_plan_that_stops_at_a_distractor_is_one_mistake_if_it_is_followed():
    seen = 0
    for i, problem in enumerate(p for p in SOME if p.family == "relations" and p.knobs.depth > 1):
        second, rest = problem.steps[1], problem.steps[2:]
        other = [s for s in problem.sentences if re.fullmatch(rf"{second.name} \w+ \d+ \w+\.", s)]
        if not other or rest[0].operation == "sum" or str(second.value) in other[0]:
            continue
        trace = long_cot(problem, Random(i), slip_rate=0)
        number = int(re.findall(r"\d+", other[0])[0])
        head, tail = trace.split(f"{second.name} needs")[0], trace[trace.index(f"{rest[0].name}: ") :]
        noted = f"{second.name}={number}, then {rest[0].name}."
        text = f"{head}{second.name} is given.\n\n{second.name}: {other[0]}\n{noted}\n\n{tail}"
        found = mistakes(problem, text)
        assert found
        assert (found[0].step, found[0].kind) == (0, "misread")
        assert found[1].kind == "carried"  # the tail goes on with the true amount
        assert found[1].text.startswith(rest[0].name)
        seen += 1
    assert seen > 10


def test_missing_steps_and_other_answers():
    for i, problem in enumerate(SOME[:100]):
        trace = long_cot(problem, Random(i), check_rate=0, slip_rate=0)
        matches = steps_of(trace)
        if len(matches) < 2:
            continue
        last, before = matches[-1], matches[-2]
        text = trace[: last.start()] + trace[last.end() + 2 :]
        text = re.sub(r"boxed\{\d+\}", f"boxed{{{before['result']}}}", text)
        found = mistakes(problem, text)
        assert found
        assert found[-1].kind == "misread"


def test_a_right_looking_trace_with_another_answer_is_no_faultless_one():
    """All steps true, but somebody else's amount comes last and is given as the answer."""
    seen = 0
    for i, problem in enumerate(p for p in SOME if p.family == "relations" and p.knobs.depth > 1):
        trace = long_cot(problem, Random(i), check_rate=0, slip_rate=0)
        step = steps_of(trace)[0]
        if step["result"] == problem.answer:
            continue
        head, tail = trace.rsplit("\n\n", 2)[0], trace.rsplit("\n\n", 2)[1:]
        text = "\n\n".join([head, step.group(), *tail]).replace(
            f"boxed{{{problem.answer}}}", f"boxed{{{step['result']}}}"
        )
        assert mistakes(problem, text), text
        seen += 1
    assert seen > 50


def test_a_correction_must_be_of_the_same_step():
    """The right result from other numbers: the correction has lost what it corrects."""
    seen = 0
    for i, problem in enumerate(SOME[:200]):
        trace = long_cot(problem, Random(i), slip_rate=1.0)
        match = re.search(r"Again: (\d+)\+(\d+)=(\d+)\.", trace)
        if match is None:
            continue
        text = trace.replace(match[0], f"Again: {int(match[1]) + 1}+{int(match[2]) - 1}={match[3]}.", 1)
        assert [m.kind for m in mistakes(problem, text) or []] == ["carried"], text
        seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    "break_it",
    [
        lambda t: t.replace("</think>", ""),
        lambda t: t.removeprefix("<think>\n"),
        lambda t: t.replace("\n\nThe answer is", "\nThe answer is"),
        lambda t: t[:-1],
        lambda t: t[: len(t) // 2],
        lambda t: t.replace("</think>", "Hmm, let me see.\n\nNo.\n</think>"),
        lambda t: re.sub(r"boxed\{\d+\}", "boxed{x}", t),
        lambda t: "",
    ],
)
def test_broken_text_is_no_trace(break_it):
    for i, problem in enumerate(SOME[:50]):
        assert mistakes(problem, break_it(long_cot(problem, Random(i)))) is None


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_faultless_means_right_whatever_the_text(data):
    """Paragraphs dropped, repeated, exchanged or changed: never raises, and no mistakes means the right answer."""
    problem = SOME[data.draw(st.integers(0, len(SOME) - 1))]
    trace = long_cot(
        problem, Random(0), slip_rate=data.draw(st.sampled_from([0.0, 0.5])), correct_slips=data.draw(st.booleans())
    )
    thought, answer = trace.split("\n</think>")
    paragraphs = thought.split("\n\n")
    order = data.draw(
        st.lists(st.integers(0, len(paragraphs) - 1), max_size=10) | st.permutations(range(len(paragraphs)))
    )
    text = "\n\n".join(paragraphs[j] for j in order)
    text = text if text.startswith("<think>") else "<think>\n" + text.replace("<think>\n", "")
    values = re.findall(r"=(\d+)[.,]", text)
    final = data.draw(st.sampled_from([problem.answer, *values]))
    text += "\n</think>" + re.sub(r"\d+", final, answer)
    position = data.draw(st.integers(0, len(text)))
    text = text[:position] + data.draw(st.sampled_from(["", "", "", "1", "\n\n", "Start: 5.", " "])) + text[position:]
    found = mistakes(problem, text)
    if found == []:
        assert extract_answer(text) == problem.answer, text


def test_programs_print_the_answer():
    """All in one process: each problem's code between the markers, run as it stands."""
    chosen = SOME[::3]
    programs = []
    for problem in chosen:
        whole = "".join(code_steps(problem))
        assert whole.startswith("<code>")
        assert whole.count("<end_of_step>") == len(problem.steps)
        code = whole.split("<end_of_code>")[0].replace("<code>", "").replace("<end_of_step>", "")
        programs.append(code)
        assert re.fullmatch(
            rf"\n<output>{problem.answer}<end_of_output>\n<answer>.*\\boxed\{{{problem.answer}\}}\.<end_of_answer>",
            whole.split("<end_of_code>")[1],
        )
    script = "".join(f"exec({program!r}, {{}})\n" for program in programs)
    run = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [problem.answer for problem in chosen]


def test_traces_depend_on_their_generator_alone():
    problem = SOME[5]
    assert long_cot(problem, Random(1)) == long_cot(problem, Random(1))
    assert len({long_cot(problem, Random(i)) for i in range(20)}) > 1


def test_the_base_has_seen_no_thought_and_only_true_facts():
    n_facts = 0
    for _, pieces in islice(base_corpus.documents(3), 2000):
        document = "".join(text for text, _ in pieces)
        assert not re.search(r"think>|Check|Wait|Again|Once more", document)
        assert document.endswith("<|endoftext|>")
        for left, right in re.findall(r"^(\d+[-+*/%]\d+)=(\d+)\.", document, re.MULTILINE):
            assert compute(left) == int(right)
            n_facts += 1
    assert n_facts > 2000
    assert list(islice(base_corpus.documents(3), 20)) == list(islice(base_corpus.documents(3), 20))
    assert list(islice(base_corpus.documents(3), 20)) != list(islice(base_corpus.documents(4), 20))
