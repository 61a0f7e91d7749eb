"""What a step of reinforcement learning costs: the update without padding, a process reward model, the checker.

    python -m tests.bench.rl
    python -m tests.bench.rl --model_name_or_path outputs/sft --scorer outputs/ppm      # the shares on your own policy

Update: one generation of completions with the lengths of real Long-CoT responses (divided by `--shorter`), forward and
backward passes over all of it as a step does them, by `RolloutTrainer` without padding and by TRL's `GRPOTrainer` on
the same rollouts; both in turn, medians. `update_tokens_ratio`: tokens per second of ours over TRL's;
`loss_difference` of the two; `gradient_difference`: norm of the difference over the norm. `overhead_ratio`: a whole
step without process credit (rewards by the answer checker, advantages, update and optimizer; the rollouts are given)
over TRL's; `overhead_ratio_padded`: the same with padding, as TRL does it, which is what our additions cost.

Shares: steps of the recipe's trainer on the small world, with generation, and a process reward model that pays steps.
`ppm_share_of_step`, `checker_share_of_step`: their time over the whole.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

import rl.rollouts
from data_prep.answers import AnswerChecker
from data_prep.small_world.samples import problem_rows
from rl.attention import choose_attention
from rl.ppm.model import new_ppm, step_format_for, tokenizer_for
from rl.ppm.scoring import open_scorer
from rl.rewards import Outcome
from rl.rollouts import ProcessCredit, RolloutTrainer
from rl.sft import small_tiles_on_cpu
from tests.bench.common import LONGEST, ROOT, in_turn, machine, print_result, print_table, real_lengths

SHIPPED = str(ROOT / "data_prep" / "small_world" / "checkpoints" / "code")


class Given:
    """Rollouts that are given instead of generated, for both trainers."""

    given: list[torch.Tensor]

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple[list[list[int]], None]:
        return [ids.tolist() for ids in self.given], None


class GivenTrl(Given, GRPOTrainer):
    pass


class GivenOurs(Given, RolloutTrainer):
    pass


def make(kind: type, args: argparse.Namespace, rewards: Any, longest: int, folder: str, **options: Any) -> Any:
    """A trainer that has begun to train, so that its steps can be taken one by one."""
    attention, _ = choose_attention(None, options.get("padding_free", False), False)
    tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(
        args.model_name_or_path, dtype=torch.float32, attn_implementation=attention
    )
    problems = list(problem_rows("dev", 64, 7, bands=("medium",)))
    data = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": row["problem"]}], **{k: row[k] for k in KEPT}} for row in problems]
    )
    config = GRPOConfig(
        folder, use_cpu=not torch.cuda.is_available(), bf16=False, per_device_train_batch_size=args.batch_size,
        num_generations=8, gradient_accumulation_steps=args.rollouts // args.batch_size, max_completion_length=longest,
        report_to="none", save_strategy="no", gradient_checkpointing=False, disable_tqdm=True, max_steps=10**6,
        learning_rate=0.0, logging_strategy="no",
    )  # fmt: skip
    trainer = kind(model, rewards, config, train_dataset=data, processing_class=tokenizer, **options)
    trainer.create_optimizer_and_scheduler(10**6)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = config.gradient_accumulation_steps
    return trainer


KEPT = ("problem", "problem_id", "answer")


def updates(trainer: Any, batches: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    """Forward and backward passes of a step; the loss and its gradient."""
    total = 0.0
    for batch in batches:
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        total += loss.item()
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    trainer.model.zero_grad()
    return total, gradient


def step(trainer: Any) -> None:
    """A whole step: rollouts are scored, the model is updated."""
    rows = next(iter(trainer.get_train_dataloader()))
    for _ in range(trainer.args.gradient_accumulation_steps):
        trainer.training_step(trainer.model, rows, None)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()


def batches_of(trainer: Any) -> list[dict[str, Any]]:
    """The passes of one generation."""
    trainer._step, trainer._buffered_inputs = 0, None
    rows = next(iter(trainer.get_train_dataloader()))
    trainer._prepare_inputs(rows)
    return list(trainer._buffered_inputs)


def shares(args: argparse.Namespace, checker: AnswerChecker, folder: str) -> dict[str, float]:
    """Seconds of a step of the recipe's trainer, and of those of its parts, medians over steps."""
    scorer = open_scorer(args.scorer) if args.scorer else open_scorer(fresh_ppm(args, folder))
    spent = {"ppm": 0.0, "checker": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*positional: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = function(*positional, **named)
            spent[name] += time.perf_counter() - start
            return found

        return wrapped

    outcome = timed("checker", Outcome(checker))
    outcome.__name__ = "outcome"
    process = ProcessCredit(scorer, steps="code" if args.model_name_or_path == SHIPPED else "text")
    trainer = make(RolloutTrainer, args, outcome, 400, folder, padding_free=True, process=process)
    scoring = rl.rollouts.score_steps
    rl.rollouts.score_steps = timed("ppm", scoring)
    found: list[dict[str, float]] = []
    try:
        for _ in range(args.steps + 1):
            spent.update(ppm=0.0, checker=0.0)
            start = time.perf_counter()
            step(trainer)
            found.append({"step": time.perf_counter() - start, **spent})
    finally:
        rl.rollouts.score_steps = scoring
    tokens = trainer._metrics["train"]["completions/mean_length"]
    return {name: median(one[name] for one in found[1:]) for name in found[0]} | {"tokens": sum(tokens) / len(tokens)}


def fresh_ppm(args: argparse.Namespace, folder: str) -> str:
    """A process reward model of the policy's size."""
    tokenizer = tokenizer_for(args.model_name_or_path, "main", [])
    step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
    ppm = new_ppm(args.model_name_or_path, step_format, len(tokenizer), "float32", "tree")
    ppm.save_pretrained(f"{folder}/ppm")
    tokenizer.save_pretrained(f"{folder}/ppm")
    return f"{folder}/ppm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", default=SHIPPED, help="the policy (%(default)s)")
    parser.add_argument("--scorer", help="process reward model (default: fresh weights, of the policy's size)")
    parser.add_argument("--rollouts", type=int, default=32, help="of a step (%(default)s)")
    parser.add_argument("--batch_size", type=int, default=8, help="rollouts of a forward pass (%(default)s)")
    parser.add_argument("--shorter", type=int, default=8, help="real lengths are divided by this (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="of which the shares are measured (%(default)s)")
    args = parser.parse_args()
    small_tiles_on_cpu()
    longest = LONGEST // args.shorter
    lengths = [max(8, int(n) // args.shorter) for n in real_lengths(args.rollouts)]
    draw = torch.Generator().manual_seed(0)
    with AnswerChecker() as checker, tempfile.TemporaryDirectory() as folder:
        # Hardly a random answer is right; so that there is something to learn, the same chance is added for all.
        chance = torch.rand(args.rollouts, generator=draw).tolist()
        rewards = [Outcome(checker), lambda completions, **columns: chance[: len(completions)]]
        trl = make(GivenTrl, args, rewards, longest, folder)
        ours = make(GivenOurs, args, rewards, longest, folder, padding_free=True)
        padded = make(GivenOurs, args, rewards, longest, folder)
        end = trl._tokenizer.eos_token_id
        box = trl._tokenizer(" The answer is \\boxed{12}.")["input_ids"]
        given = []
        for n in lengths:  # random tokens and an answer; one that is as long as allowed was cut
            ids = torch.randint(5, len(trl._tokenizer) - 5, (n,), generator=draw)
            if n < longest:
                tail = torch.tensor([*box, end])[-n:]
                ids[n - len(tail) :] = tail
            given.append(ids)
        for trainer in (trl, ours, padded):
            trainer.given = given
        torch.manual_seed(0)
        batches = batches_of(trl)
        (loss, gradient), (own_loss, own_gradient) = updates(trl, batches), updates(ours, batches)
        update = in_turn({"trl": lambda: updates(trl, batches), "ours": lambda: updates(ours, batches)}, args.rounds)
        whole = in_turn(
            {"trl": lambda: step(trl), "ours": lambda: step(ours), "padded": lambda: step(padded)}, args.rounds
        )
        own = shares(args, checker, folder)
    n_tokens = sum(lengths)
    print(
        f"{args.rollouts} rollouts of {min(lengths)} to {max(lengths)} tokens, {n_tokens / len(lengths):.0f} on average"
    )
    print_table(
        ["", "update, s", "tokens/s", "whole step, s"],
        [["TRL, padded", update["trl"], n_tokens / update["trl"], whole["trl"]],
         ["ours, without padding", update["ours"], n_tokens / update["ours"], whole["ours"]],
         ["ours, padded", "", "", whole["padded"]]],
    )  # fmt: skip
    print_table(
        ["a step with generation", "seconds", "share"],
        [[name, own[name], own[name] / own["step"]] for name in ("step", "ppm", "checker")],
    )
    print_result(
        {
            "update_tokens_ratio": update["trl"] / update["ours"], "loss_difference": abs(loss - own_loss),
            "gradient_difference": float((gradient - own_gradient).norm() / gradient.norm()), "loss": loss,
            "overhead_ratio": whole["ours"] / whole["trl"],
            "overhead_ratio_padded": whole["padded"] / whole["trl"], "ppm_share_of_step": own["ppm"] / own["step"],
            "checker_share_of_step": own["checker"] / own["step"], "tokens_of_a_rollout": own["tokens"],
            "update_tokens_per_second": n_tokens / update["ours"], "rollouts": args.rollouts,
            "mean_length": n_tokens / len(lengths), "longest": max(lengths),
            "model": Path(args.model_name_or_path).name, "rounds": args.rounds, **machine(),
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
