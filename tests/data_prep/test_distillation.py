"""`data_prep.distillation` and `data_prep.responses`: how many responses a problem gets, and what travels with them."""

import json
from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.answers import AnswerChecker
from data_prep.artefacts import write_artefact
from data_prep.distillation import N_PROBE, Judged, PlanArguments, requests_for, sample, summarise, table
from data_prep.engines import Completion, Request
from data_prep.responses import judge, response_row, travelling

R, W, U = "right", "wrong", "unverifiable"


def counts(plan: PlanArguments, verdicts: list[str], verifiable: bool = True) -> list[int]:
    """How many responses the problem has after each round."""
    found = [0]
    while (n := plan.wanted(verdicts[: found[-1]], verifiable)) > found[-1]:
        found.append(n)
    return found[1:]


def test_how_many_a_problem_gets():
    assert counts(PlanArguments(n_samples=8), [R] * 8) == [8]
    assert counts(PlanArguments(n_samples=8), [], verifiable=False) == [8]
    assert counts(PlanArguments(n_samples=8, unverifiable_samples=1), [U], verifiable=False) == [1]
    adaptive = PlanArguments(n_samples=16, adaptive=True)
    assert counts(adaptive, [R] * 16) == [4, 6]
    assert counts(adaptive, [W] * 16) == [4, 6, 8, 10, 12, 14, 16]
    assert counts(adaptive, [U] * 16, verifiable=False) == [4]
    assert counts(adaptive, [W, U, U, W] * 4) == [4]  # a gold that cannot be read, as the verdicts show
    assert counts(adaptive, [R, U, R, R] * 4)[-1] > 4  # it can be compared as text
    assert counts(PlanArguments(n_samples=7, min_samples=4, adaptive=True), [W] * 7) == [4, 6, 7]
    enough = PlanArguments(n_samples=9, min_samples=2, round_samples=3, stop_after_right=2)
    assert counts(enough, [R, W, W, R, W, W, W, W, W]) == [2, 5]
    assert counts(enough, [R, R]) == [2]
    assert counts(enough, [W] * 9) == [2, 5, 8, 9]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"n_samples": 0}, "--n_samples 0: at least 1"),
        ({"adaptive": True}, "--min_samples 4: .* fewer than --n_samples 4"),
        ({"stop_after_right": 0, "n_samples": 9}, "--stop_after_right 0: at least 1"),
        ({"unverifiable_samples": 5}, "--unverifiable_samples 5: at least 1, at most --n_samples 4"),
        ({"band_error": 1.0}, "--band_error 1.0: 0 or more, below 1"),
        ({"bands": [0.4, 0.8]}, "--bands 0.4 0.8: give two falling pass rates"),
    ],
)
def test_plans_that_make_no_sense(plan: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PlanArguments(**plan).check()


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker() as checker:
        yield checker


def teacher(order: Random, open_thought: bool = False):
    """A stream whose completions come in any order. Of problem i's i in 10 are right, the same ones."""

    def stream(requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
        under_way: list[Request] = []
        while requests or under_way:
            while requests and len(under_way) < 20:
                under_way.append(requests.popleft())
            request = under_way.pop(order.randrange(len(under_way)))
            right = Random(f"{request.name}/{request.sample}").random() < request.name / 10
            text = r"\boxed{7}" if right else r"\boxed{8}"
            cut = open_thought and request.sample % 3 == 0 and request.sample > 0
            text = text if cut or not open_thought else f"so\n</think>\n\n{text}"
            yield request, Completion(text, 5, "length" if cut else "stop"), False

    return stream


PROBLEMS = [{"problem": f"{i}?", "answer": "7" if i < 11 else None} for i in range(12)]
MESSAGES = [[{"role": "user", "content": problem["problem"]}] for problem in PROBLEMS]


def test_the_outcome_does_not_depend_on_the_order_of_responses(checker: AnswerChecker):
    plan = PlanArguments(n_samples=16, adaptive=True, unverifiable_samples=2)
    outcomes = [sample(teacher(Random(i)), PROBLEMS, MESSAGES, plan, checker) for i in range(5)]
    assert outcomes[1:] == outcomes[:1] * 4
    full = sample(teacher(Random(9)), PROBLEMS, MESSAGES, PlanArguments(n_samples=16), checker)
    assert [own == all_of[: len(own)] for own, all_of in zip(outcomes[0], full, strict=True)] == [True] * 12
    assert [len(own) for own in outcomes[0]][::11] == [16, 2]
    assert len(outcomes[0][10]) < 16
    summary = summarise(plan, outcomes[0])
    assert summary["samples_saved"] == 12 * 16 - summary["responses"] > 14
    assert summary["bands"]["unverifiable"]["problems"] == 1
    assert sum(counts["responses"] for counts in summary["bands"].values()) == summary["responses"]
    assert sum(summary["verdicts"].values()) == summary["responses"] == summary["tokens"] / 5
    assert "saved by stopping early" in table(summary)


def test_a_thought_that_the_servers_template_opens(checker: AnswerChecker):
    """A cut response has its box inside the thought then. What responses show is found out once, from the same ones."""
    problems = [{"problem": str(i), "answer": "7"} for i in range(11)] * 5
    messages = [[{"role": "user", "content": problem["problem"]}] for problem in problems]
    assert len(problems) > N_PROBE
    outcomes = [
        sample(teacher(Random(i), open_thought=True), problems, messages, PlanArguments(n_samples=5), checker)
        for i in range(3)
    ]
    assert outcomes[1:] == outcomes[:1] * 2
    for own in outcomes[0]:
        assert own[3].cut
        assert own[3].judgement.extracted is None
        assert all(one.judgement.extracted in ("7", "8") for one in own[:3])
    # The same responses where the prompt is a text that shows that nothing is open.
    (own,) = sample(teacher(Random(0), open_thought=True), problems[:1], ["text"], PlanArguments(n_samples=4), checker)
    assert own[3].judgement.extracted == "8"


def test_golds_that_are_missing_or_cannot_be_read(checker: AnswerChecker):
    plan = PlanArguments(n_samples=8, min_samples=2, adaptive=True)
    golds = [
        None,
        "proof",
        "not found",
        r"\text{Find } x \text{ such that } 5",
    ]  # the last: by the checker
    problems = [{"problem": "?", "answer": gold} for gold in golds]
    judged = sample(teacher(Random(0)), problems, list("abcd"), plan, checker)
    assert [[one.judgement.verdict for one in own] for own in judged] == [[U] * 2] * 4


def test_half_characters_are_mended(checker: AnswerChecker):
    problem = {"problem_id": "p", "problem": "x", "answer": "7"}
    completion = Completion("\ud83d\ude00 \ud83d \\boxed{7}", 3, "stop")
    judgement = judge(checker, problem, completion.text, False)
    row = response_row(problem, 0, completion, judgement, "m", 1)
    assert (row["response"], row["verdict"]) == ("😀 \ufffd \\boxed{7}", R)


def test_what_travels_along(tmp_path):
    problems: list[dict[str, Any]] = [
        {"problem_id": f"p{i}", "problem": f"{i}?", "source": "s", "answer": None, "level": None, "images": [],
         "messages": [{"role": "user", "content": "?"}], "verdict": "right", "n_tokens": 9, "none": None,
         "mixed": i if i % 2 else f"Level {i}", "nested": {"a": i} if i else {}, "tags": ["x"] * i, "big": 10**30,
         "half": "\ud83d", "number": i, "choices": None}
        for i in range(300)
    ]  # fmt: skip
    problems[299] |= {"answer": "7", "late": "here"}
    columns, values = travelling(problems)
    kinds = {"rule": pa.string(), "source": pa.string(), "problem": pa.string(), "answer": pa.string()}
    kinds |= {"level": pa.float64(), "mixed": pa.string(), "nested": pa.string(), "tags": pa.list_(pa.string())}
    kinds |= {"big": pa.string(), "half": pa.string(), "number": pa.int64(), "late": pa.string()}
    assert dict(zip(columns.names, columns.types, strict=True)) == kinds
    judged = Judged(judge_nothing(), 1, False).judgement
    rows = [
        response_row(problem, 0, Completion("x", 1, "stop"), judged, "m", 0) | further
        for problem, further in zip(problems, values, strict=True)
    ]
    write_artefact(tmp_path / "out", "response", rows, stage="t", config={}, seed=0, inputs={}, columns=columns)
    read = pq.read_table(tmp_path / "out" / "data-00000.parquet").to_pylist()
    assert (read[0]["answer"], read[299]["answer"], read[299]["late"]) == (None, "7", "here")
    assert (read[1]["mixed"], read[2]["mixed"], read[2]["tags"]) == ("1", "Level 2", ["x", "x"])
    assert (json.loads(read[1]["nested"]), read[1]["half"]) == ({"a": 1}, "\ufffd")
    assert (read[1]["verdict"], read[1]["n_tokens"]) == ("unverifiable", 1)  # the response's own


def judge_nothing():
    from data_prep.answers import Judgement

    return Judgement(None, "unverifiable")


def test_requests_in_order():
    assert list(requests_for(["a", "b"], [2, 1])) == [Request(0, "a", 0), Request(0, "a", 1), Request(1, "b", 0)]
