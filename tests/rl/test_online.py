"""Problems as prompts: what is left out is counted, what cannot be done is said."""

import json
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest
from transformers import AutoTokenizer

from data_prep.mcts.inputs import Inputs
from data_prep.small_world.samples import problem_rows
from data_prep.small_world.search_study import SHIPPED
from rl.arguments import RolloutArguments
from rl.online import prompts_of, rewards_of

TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)


def prompts(rates: list[float | None], **options: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    rows = [{**row, "pass_rate": rate} for row, rate in zip(problem_rows("train", len(rates), 1), rates, strict=True)]
    settings = {"instruction": "", "longest": 500, "pass_rate": None, "curriculum": False, **options}
    dropped: Counter[str] = Counter()
    found = prompts_of(Inputs(rows, {}, Counter(), len(rows)), TOKENIZER, dropped=dropped, **settings)
    return found.to_list(), dropped


def test_a_band_of_pass_rates_keeps_what_lies_in_it() -> None:
    rows, dropped = prompts([0.0, 0.1, 0.5, None, 1.0], pass_rate=(0.1, 0.9))
    assert [row["pass_rate"] for row in rows] == [0.1, 0.5]
    assert dropped == {"pass rate out of the band": 2, "no pass rate": 1}


def test_a_curriculum_begins_with_what_is_solved_most_often() -> None:
    rows, _ = prompts([0.1, 0.9, 0.5], curriculum=True)
    assert [row["pass_rate"] for row in rows] == [0.9, 0.5, 0.1]
    with pytest.raises(ValueError, match="which some of them do not have"):
        prompts([0.1, None], curriculum=True)


def test_long_prompts_are_left_out_and_an_instruction_stands_behind_the_problem() -> None:
    rows, _ = prompts([None], instruction="Think.")
    assert rows[0]["prompt"][0]["content"] == f"{rows[0]['problem']}\nThink."
    with pytest.raises(ValueError, match=r"no problem is left of 2: \{'prompt longer than 3 tokens': 2\}"):
        prompts([None, None], longest=3)


def test_tests_that_cannot_be_read_are_left_out() -> None:
    rows = [{**row, "tests": json.dumps(tests)} for row, tests in zip(
        problem_rows("train", 2, 1), (["assert f(1) == 2"], {"inputs": ["1"], "outputs": ["2"]}), strict=True
    )]  # fmt: skip
    dropped: Counter[str] = Counter()
    found = prompts_of(Inputs(rows, {}, Counter(), 2), TOKENIZER, "", 500, None, False, dropped)
    assert len(found) == 1
    ((reason, n),) = dropped.items()
    assert n == 1
    assert reason.startswith("tests that cannot be read: ")


def test_rewards_are_those_that_have_a_weight() -> None:
    args = RolloutArguments(format_weight=0.1, overlong_tokens=20, repetition_weight=0.5)
    with ExitStack() as stack:
        rewards, weights, rollouts = rewards_of(args, 100, False, False, stack)
    assert rollouts is None
    names = [reward.__name__ for reward in rewards]
    assert names == ["outcome", "format", "repetition_penalty_reward", "soft_overlong_punishment_reward"]
    assert weights == [1.0, 0.1, 0.5, 1.0]
    assert rewards[3](completion_ids=[[1] * 70, [1] * 90]) == [0, -0.5]
