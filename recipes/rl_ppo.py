"""PPO after SFT: as rl_grpo.py, but a critic says what each token is worth, instead of a group of rollouts.

Reads problems with answers, a policy, and if given a process reward model (--scorer); writes a model folder with
manifest.json, and the critic in critic/. The critic starts from the process reward model of --critic (or of --scorer,
where that is a folder of train_ppm.py for this policy), else from the policy with values near 0; then let it learn
alone first (--value_warmup_steps). A step is paid where it ends, the outcome at the end; advantages are those of GAE.
The KL to the first policy (--beta) is in the reward or in the loss, never in both. Started again with the same
settings, it goes on from the last checkpoint.

    python recipes/rl_ppo.py                                                                   # the small world
    accelerate launch recipes/rl_ppo.py --model_name_or_path outputs/sft --problems '{path: problems.jsonl}' \\
        --scorer outputs/ppm --output_dir outputs/ppo                                          # one GPU
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/rl_ppo.py --model_name_or_path outputs/sft \\
        --problems '{path: problems.jsonl}' --scorer outputs/ppm                               # eight GPUs
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from rl.arguments import RolloutArguments
from rl.options import PPO_COMMON


@dataclass
class PpoArguments(RolloutArguments):
    critic: str | None = field(
        default=None, metadata={"help": "process reward model that the critic starts from; policy: from the policy"}
    )
    critic_learning_rate: float = field(default=1e-5, metadata={"help": "peak learning rate of the critic"})
    value_warmup_steps: int = field(default=0, metadata={"help": "first steps, in which the critic alone learns"})
    gamma: float = field(default=1.0, metadata={"help": "discount for each token"})
    actor_lambda: float = field(
        default=1.0,
        metadata={"help": "lambda of the advantages (GAE); below 1 they rely on the critic, see docs/rl.md"},
    )
    critic_lambda: float = field(default=1.0, metadata={"help": "lambda of the critic's targets; 1: what came out"})
    whiten_advantages: bool = field(default=True, metadata={"help": "mean 0, deviation 1 over a generation"})
    value_clip: float = field(default=0.2, metadata={"help": "how far a value may move from one generation's"})
    value_weight: float = field(default=0.5, metadata={"help": "of the value loss beside the policy's"})
    kl: Literal["reward", "loss"] = field(default="reward", metadata={"help": "where beta weighs the KL"})


def trainer_classes() -> list[type]:
    from trl import ModelConfig

    from rl.online import RlConfig

    return [RlConfig, ModelConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: PpoArguments, training: Any, model_args: Any, folder: Path) -> None:
    from rl.monitor import Monitor
    from rl.online import check_settings, finish, load_policy, prepare, rewards_of, seen
    from rl.ppo import PpoSettings, PpoTrainer, add_critic, reads_alike
    from rl.runs import disk_errors_explained, n_parameters, n_steps, say

    # Problems as prompts, policy and critic, and whether the run has begun already.
    check_settings(args, training)
    if model_args.use_peft:
        raise ValueError("--use_peft: PPO trains all weights of policy and critic: leave it out, or use rl_grpo.py")
    ppo = PpoSettings(
        args.gamma, args.actor_lambda, args.critic_lambda, args.whiten_advantages, args.value_clip, args.value_weight,
        args.value_warmup_steps, args.critic_learning_rate,
    )  # fmt: skip
    model, tokenizer, attention = load_policy(model_args, training)
    run = prepare("rl_ppo", args, training, model_args, tokenizer, folder)
    begins = args.critic or (args.scorer if args.scorer and reads_alike(args.scorer, tokenizer) else "policy")
    add_critic(model, tokenizer, None if begins == "policy" else begins, model_args.model_revision)

    # What it is going to do.
    with ExitStack() as stack:
        rewards, training.reward_weights, rollouts = rewards_of(
            args, training.max_completion_length, run.thought_open, any(run.data["tests"]), stack
        )
        trainer = PpoTrainer(
            model, rewards, training, train_dataset=run.data, eval_dataset=run.held_out, processing_class=tokenizer,
            ppo=ppo, kl_in_reward=args.kl == "reward", process=run.process, max_replacements=args.max_replacements,
            rollouts_every=args.rollouts_every, callbacks=[Monitor()], rollout_func=rollouts,
        )  # fmt: skip
        say(
            f"model      {run.model}, {n_parameters(model) / 1e6:,.1f} M parameters with the critic, "
            f"which starts from {begins}; {'bf16' if training.bf16 else 'float32'}, {attention}",
            f"problems   {run.described}",
            f"rewards    {run.rewards_described(rewards, training.reward_weights)}; GAE with lambda "
            f"{args.actor_lambda:g}, critic {args.critic_lambda:g}",
            f"batch      {run.batch_described}",
            f"steps      {n_steps(trainer):,}, of these {args.value_warmup_steps:,} of the critic alone; learning rate "
            f"{training.learning_rate:g}, critic {args.critic_learning_rate:g}",
            f"resuming   {run.checkpoint}" if run.checkpoint else f"output     {folder}",
        )

        # Train, and leave a folder that the next stage can use.
        with disk_errors_explained(folder):
            result = trainer.train(resume_from_checkpoint=str(run.checkpoint) if run.checkpoint else None)
            metrics = finish(trainer, result, run)
    held = metrics.get("eval_rewards/outcome/mean")
    say(
        f"result     {trainer.state.global_step:,} steps" + ("" if held is None else f"; held-out pass@1 {held:.1%}"),
        f"model      {folder}; the critic in {folder / 'critic'}",
        *seen(folder, trainer.state.log_history),
        f"next       python recipes/evaluate.py --model_name_or_path {folder} (and benchmarks, --config)",
    )


def main() -> None:
    args, training, model_args = parse_config("rl_ppo", __doc__, [PpoArguments], trainer_classes, PPO_COMMON, hardware)
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, model_args, folder)


if __name__ == "__main__":
    main()
