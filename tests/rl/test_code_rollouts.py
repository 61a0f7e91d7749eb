"""Code-augmented rollouts: programs run between steps, and only what the policy wrote is its own."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from trl import GRPOTrainer

from data_prep.mcts.steps import CODE, END_OF_CODE, OUTPUT
from data_prep.sandbox.client import Program, Sandbox
from data_prep.small_world.search_study import SHIPPED
from rl.code_rollouts import CodeRollouts, Solution, written
from rl.process import code_steps, step_ends
from rl.rollouts import RolloutTrainer
from tests.rl.test_rollouts import dataset, trainer

TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)
# What is not the policy's: outputs (code that fails is closed first), and the end of the turn. The last one may be cut.
TOLD = re.compile(r"(?:(?:<end_of_code>)?\n?<output>.*?(?:<end_of_output>|$))*(?:<\|im_end\|>)?", re.DOTALL)
STOPS = ["<end_of_step>", "<end_of_code>"]
END, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as sandbox:
        yield sandbox


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def test_programs_run_and_only_the_policy_s_words_are_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    one = trainer(GRPOTrainer, tmp_path, settings={"temperature": 1.0})
    found = CodeRollouts(sandbox, 200)([row["prompt"] for row in dataset(8)], one)
    outputs = 0
    for ids, own in zip(found["completion_ids"], found["env_mask"], strict=True):
        assert len(ids) == len(own) <= 200
        text = TOKENIZER.decode(ids, skip_special_tokens=False)
        told = TOKENIZER.decode([i for i, mine in zip(ids, own, strict=True) if not mine], skip_special_tokens=False)
        assert TOLD.fullmatch(told), told
        assert re.findall(r"<output>.*?<end_of_output>", text, re.DOTALL) == re.findall(
            r"<output>.*?<end_of_output>", told, re.DOTALL
        )
        for program, output in re.findall(rf"{CODE}(.*?){END_OF_CODE}\n{OUTPUT}(.*?)<end_of_output>", text, re.DOTALL):
            run = sandbox.run_all([Program(program.replace("<end_of_step>", ""))])[0]
            assert run.error.startswith(output.partition(" (line")[0]) if run.error else output == run.output.strip()
            outputs += 1
        if "<end_of_answer>" in text:
            assert ids[-1] == END
    assert outputs >= 4
    assert found["prompt_ids"][0] == one._tokenize_prompts([dataset(8)[0]["prompt"]])[0][0]


def test_a_solution_that_is_cut_has_no_end(sandbox: Sandbox, tmp_path: Path) -> None:
    one = trainer(GRPOTrainer, tmp_path, settings={"temperature": 1.0})
    found = CodeRollouts(sandbox, 20)([row["prompt"] for row in dataset(8)], one)
    for ids, own in zip(found["completion_ids"], found["env_mask"], strict=True):
        assert len(ids) == len(own) == 20
        assert ids[-1] != END


def test_an_output_that_the_policy_tells_itself_is_replaced_by_the_true_one(sandbox: Sandbox) -> None:
    class Model:
        device = "cpu"

        def generate(self, input_ids: Any, **kwargs: Any) -> Any:
            import torch

            told = ids_of("\nprint(x + 1)\n<output>99<end_of_output>")
            return torch.cat([input_ids, torch.tensor([told])], dim=1)

    settings = type("Settings", (), {"stop_strings": [*STOPS, "<end_of_output>"], "max_new_tokens": 0})()
    one = Solution([END], text="<code>\nx = 2\n<end_of_step>")
    one.add(ids_of(one.text), True)
    CodeRollouts(sandbox, 200)._step([one], [one], Model(), settings, TOKENIZER, [END])
    assert "<output>3<end_of_output>" in one.text
    assert "99" not in one.text
    assert TOKENIZER.decode(one.ids) == one.text
    mine = TOKENIZER.decode([i for i, own in zip(one.ids, one.own, strict=True) if own])
    assert mine.strip().endswith("print(x + 1)")


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ([*ids_of("a = 1\n<end_of_step>"), PAD, PAD], ids_of("a = 1\n<end_of_step>")),
        ([*ids_of("it is 3"), END, PAD, PAD], [*ids_of("it is 3"), END]),
        (ids_of("it is 3"), ids_of("it is 3")),
        ([END, PAD], [END]),
    ],
)
def test_padding_behind_a_step_is_nobody_s(ids: list[int], kept: list[int]) -> None:
    assert written(ids, {END, PAD}, TOKENIZER, STOPS)[: len(kept)] == kept
    assert len(written(ids, {END, PAD}, TOKENIZER, STOPS)) == len(kept)


def test_an_output_belongs_to_its_step() -> None:
    text = "<code>\nx = 2\n<end_of_step>\nprint(x)\n<end_of_code>\n<output>2<end_of_output>\n<answer>2<end_of_answer>"
    steps = code_steps(text)
    assert "".join(steps) == text
    assert [step.strip().rpartition("<")[2] for step in steps] == ["end_of_step>", "end_of_output>", "end_of_answer>"]
    assert step_ends(TOKENIZER, ids_of(text), steps)[-1] == len(ids_of(text)) - 1


def test_a_run_trains_on_the_policy_s_words_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    one = trainer(
        RolloutTrainer, tmp_path, settings={"max_steps": 1}, padding_free=True, rollout_func=CodeRollouts(sandbox, 120)
    )
    seen: list[Any] = []
    compute_loss = one._compute_loss

    def watched(model: Any, inputs: Any) -> Any:
        seen.append(inputs)
        return compute_loss(model, inputs)

    one._compute_loss = watched
    one.train()
    for batch in seen:
        for ids, there, own in zip(batch["completion_ids"], batch["completion_mask"], batch["tool_mask"], strict=True):
            assert TOLD.fullmatch(TOKENIZER.decode(ids[there.bool() & ~own.bool()]))
    assert any((batch["completion_mask"].bool() & ~batch["tool_mask"].bool()).any() for batch in seen)
