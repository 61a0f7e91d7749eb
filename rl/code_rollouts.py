"""Rollouts of code-augmented solutions: the policy writes up to a step's end, its program runs, and it goes on.

As `rollout_func` of TRL's `GRPOTrainer` (https://huggingface.co/docs/trl/main/en/grpo_trainer). What a program prints,
and the end of the turn behind an answer, are no words of the policy: those tokens are masked out of every loss.
Model-written code runs in the sandbox alone. In process only: TRL's vLLM generation knows no stop strings of a step.
"""

import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import pad

from data_prep.mcts.search import told
from data_prep.mcts.steps import Step, output_block, read_step, shown, stop_strings
from data_prep.sandbox.client import Program, Sandbox
from rl.process import characters_read

# TRL 1.16 calls its `rollout_func` experimental; which version is used is fixed in constraints.txt.
warnings.filterwarnings("ignore", message=".*rollout_func.*", category=UserWarning)

STEPS = 64  # of a solution at most; the paper's trees have 16


@dataclass
class Solution:
    """One that is being written: its tokens and whether the policy wrote each, its text, and whether it is over."""

    prompt: list[int]
    ids: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False

    def add(self, ids: Sequence[int], own: bool) -> None:
        """Puts tokens behind it, which the policy wrote (`own`) or the environment."""
        self.ids += ids
        self.own += [int(own)] * len(ids)


class CodeRollouts:
    """`longest`: tokens of a solution, outputs included."""

    def __init__(self, sandbox: Sandbox, longest: int):
        self.sandbox, self.longest = sandbox, longest

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """The rollouts of this process; every process generates as often as the others."""
        tokenizer = trainer._tokenizer
        prompt_ids, _, _ = trainer._tokenize_prompts(list(prompts))
        solutions = [Solution(list(ids)) for ids in prompt_ids]
        settings = copy(trainer.generation_config)
        settings.stop_strings = list(stop_strings("code"))
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped, trainer.accelerator,
                gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
                generation_kwargs=trainer.generation_kwargs,
            ) as model,
            torch.no_grad(),
        ):  # fmt: skip
            for _ in range(STEPS):
                alive = [one for one in solutions if not one.ended]
                if not trainer.accelerator.gather(torch.tensor([len(alive)], device=trainer.accelerator.device)).any():
                    break
                self._step(alive, solutions[:1], model, settings, tokenizer, trainer.eos_token_ids)
        return {
            "prompt_ids": [one.prompt for one in solutions],
            "completion_ids": [one.ids for one in solutions],
            "env_mask": [one.own for one in solutions],
            "logprobs": None,
        }

    def _step(
        self, alive: list[Solution], others: list[Solution], model: Any, settings: Any, tokenizer: Any, ends: list[int]
    ) -> None:
        """Each solution one step further; with none left (other processes have some) a token is made for nothing."""
        some = alive or others
        ids = pad([torch.tensor(one.prompt + one.ids) for one in some], tokenizer.pad_token_id, padding_side="left")
        mask = pad([torch.ones(len(one.prompt + one.ids), dtype=torch.long) for one in some], 0, padding_side="left")
        settings.max_new_tokens = max((self.longest - len(one.ids) for one in alive), default=1)
        found = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings,
            tokenizer=tokenizer,
        )[:, ids.shape[1] :].tolist()  # fmt: skip
        steps: list[tuple[Solution, Step]] = []
        for one, new in zip(alive, found, strict=False):
            new = written(new, {*ends, tokenizer.pad_token_id}, tokenizer, settings.stop_strings)
            new = new[: self.longest - len(one.ids)]
            text = tokenizer.decode(new, skip_special_tokens=True)
            step = read_step("code", one.text, text)
            if text.startswith(step.text.rstrip()):
                one.add(new, True)
            else:  # the policy has begun to tell its program's output: what it wrote before that stands
                same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, step.text, strict=False)))
                n = sum(end <= same for end in characters_read(tokenizer, new))
                one.add(new[:n], True)
                rest = step.text[len(tokenizer.decode(new[:n], skip_special_tokens=True)) :]
                one.add(tokenizer(rest, add_special_tokens=False)["input_ids"], False)
            one.text += step.text
            cut = len(one.ids) >= self.longest  # a cut solution has no end, whatever its text looks like
            if step.ends and not cut and (not one.ids or one.ids[-1] not in ends):
                one.add([tokenizer.eos_token_id], False)
            one.ended = step.ends or cut
            steps.append((one, step))
        programs = [(one, step) for one, step in steps if step.program is not None and not one.ended]
        runs = self.sandbox.run_all(Program(str(step.program)) for _, step in programs)
        for (one, step), run in zip(programs, runs, strict=True):
            if run.status != "ok" or step.shows_output:
                output = output_block(shown(told(run)), step.text)
                tokens = tokenizer(output, add_special_tokens=False)["input_ids"]
                one.add(tokens[: self.longest - len(one.ids)], False)
                one.text += output
                one.ended = len(one.ids) >= self.longest


def written(ids: list[int], ends: set[int], tokenizer: Any, stops: Sequence[str]) -> list[int]:
    """The tokens of a row that the policy wrote: up to a stop string, or the end of the turn, and no padding behind."""
    n = len(ids)
    while n and ids[n - 1] in ends:
        n -= 1
    ended = n < len(ids) and not tokenizer.decode(ids[:n], skip_special_tokens=False).rstrip().endswith(tuple(stops))
    return ids[: n + ended]
