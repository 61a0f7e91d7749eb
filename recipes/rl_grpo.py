"""Reinforcement learning after SFT: GRPO, RLOO or REINFORCE++, with a verified outcome and a process reward model.

Reads problems with answers, a policy, and if given a process reward model (--scorer: a folder of train_ppm.py, a
public one, or the URL of a scoring server); writes a model folder with manifest.json. For each problem the policy
writes a group of solutions; the right ones are worth 1. With a scorer each step is paid too, by default `recovery`: a
fall of the score is charged where it happens, unless the thought regains it later. Started again with the same
settings, it goes on from the last checkpoint.

    python recipes/sft_longcot.py                                                              # the small world
    python recipes/rl_grpo.py --config recipes/configs/tiny/rl_grpo.yaml --model_name_or_path outputs/tiny/sft_longcot
    accelerate launch recipes/rl_grpo.py --model_name_or_path outputs/sft --problems '{path: problems.jsonl}' \\
        --scorer outputs/ppm --output_dir outputs/grpo                                         # one GPU
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/rl_grpo.py --model_name_or_path outputs/sft \\
        --problems '{path: problems.jsonl}' --use_vllm true --vllm_mode colocate               # eight GPUs
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from rl.arguments import RolloutArguments
from rl.options import GRPO_COMMON


@dataclass
class GrpoArguments(RolloutArguments):
    advantage: Literal["grpo", "rloo", "reinforce++"] = field(
        default="grpo", metadata={"help": "reinforce++: beta is the KL in the reward; else it is the KL in the loss"}
    )


def trainer_classes() -> list[type]:
    from trl import ModelConfig

    from rl.online import RlConfig

    return [RlConfig, ModelConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: GrpoArguments, training: Any, model_args: Any, folder: Path) -> None:
    from trl import get_peft_config

    from rl.monitor import Monitor
    from rl.online import check_settings, finish, load_policy, prepare, rewards_of, seen
    from rl.rollouts import RolloutTrainer
    from rl.runs import disk_errors_explained, n_parameters, n_steps, say

    # Problems as prompts, the policy, and whether the run has begun already.
    check_settings(args, training)
    model, tokenizer, attention = load_policy(model_args, training)
    run = prepare("rl_grpo", args, training, model_args, tokenizer, folder)

    # What it is going to do.
    with ExitStack() as stack:
        rewards, training.reward_weights, rollouts = rewards_of(
            args, training.max_completion_length, run.thought_open, any(run.data["tests"]), stack
        )
        trainer = RolloutTrainer(
            model, rewards, training, train_dataset=run.data, eval_dataset=run.held_out, processing_class=tokenizer,
            advantage=args.advantage, kl_in_reward=args.advantage == "reinforce++", process=run.process,
            max_replacements=args.max_replacements, padding_free=True, rollouts_every=args.rollouts_every,
            callbacks=[Monitor()], rollout_func=rollouts, peft_config=get_peft_config(model_args),
        )  # fmt: skip
        say(
            f"model      {run.model}, {n_parameters(model) / 1e6:,.1f} M parameters, "
            f"{'bf16' if training.bf16 else 'float32'}, {attention}",
            f"problems   {run.described}",
            f"rewards    {run.rewards_described(rewards, training.reward_weights)}; advantage {args.advantage}",
            f"batch      {run.batch_described}",
            f"steps      {n_steps(trainer):,}, learning rate {training.learning_rate:g}",
            f"resuming   {run.checkpoint}" if run.checkpoint else f"output     {folder}",
        )

        # Train, and leave a folder that the next stage can use.
        with disk_errors_explained(folder):
            result = trainer.train(resume_from_checkpoint=str(run.checkpoint) if run.checkpoint else None)
            metrics = finish(trainer, result, run)
    held = metrics.get("eval_rewards/outcome/mean")
    say(
        f"result     {trainer.state.global_step:,} steps" + ("" if held is None else f"; held-out pass@1 {held:.1%}"),
        f"model      {folder}",
        *seen(folder, trainer.state.log_history),
        f"next       python recipes/evaluate.py --model_name_or_path {folder} (and benchmarks, --config)",
    )


def main() -> None:
    args, training, model_args = parse_config(
        "rl_grpo", __doc__, [GrpoArguments], trainer_classes, GRPO_COMMON, hardware
    )
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, model_args, folder)


if __name__ == "__main__":
    main()
