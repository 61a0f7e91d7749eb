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
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.sources import DatasetConfig
from rl.options import DECISIVE, GRPO_COMMON, ROLLOUTS


@dataclass
class RlArguments:
    model_name_or_path: str = field(metadata={"help": "the policy to begin from: model folder or Hub name"})
    problems: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "problems with answers (YAML: a list of path, split, n_rows)"}
    )
    eval_problems: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "held-out problems, measured every eval_steps: pass@1"}
    )
    model_revision: str = field(default="main", metadata={"help": "revision of a Hub model"})
    instruction: str = field(default="", metadata={"help": "text after each problem"})
    max_prompt_length: int = field(default=2048, metadata={"help": "tokens; problems with longer prompts are left out"})
    pass_rate: list[float] = field(
        default_factory=list, metadata={"help": "least and most pass_rate of the problems, e.g. 0.1 0.9"}
    )
    curriculum: bool = field(default=False, metadata={"help": "problems in the order of their pass_rate, easy first"})
    advantage: Literal["grpo", "rloo", "reinforce++"] = field(
        default="grpo", metadata={"help": "reinforce++: beta is the KL in the reward; else it is the KL in the loss"}
    )
    scorer: str | None = field(
        default=None, metadata={"help": "process reward model: folder, Hub name, or URL of a scoring server"}
    )
    process_credit: Literal["min", "recovery", "delta", "sum"] = field(
        default="recovery", metadata={"help": "how scores pay steps (see docs); sum is for comparison: it is exploited"}
    )
    process_weight: float = field(default=0.5, metadata={"help": "of process advantages beside the outcome's"})
    process_gate: bool = field(
        default=True, metadata={"help": "process advantages praise nothing in solutions that are not right"}
    )
    process_temperature: float = field(default=0.1, metadata={"help": "of the soft minimum (credit min)"})
    format_weight: float = field(default=0.0, metadata={"help": "of the format: one thought, then a box"})
    language_weight: float = field(default=0.0, metadata={"help": "of the penalty for letters of other scripts"})
    repetition_weight: float = field(default=0.0, metadata={"help": "of the penalty for repeated n-grams"})
    repetition_ngram: int = field(default=20, metadata={"help": "tokens of such an n-gram"})
    overlong_tokens: int = field(
        default=0, metadata={"help": "the last tokens before max_completion_length cost up to 1 (DAPO; 0: nothing)"}
    )
    max_replacements: int = field(
        default=0, metadata={"help": "generations at most to replace groups without a signal (DAPO's dynamic sampling)"}
    )


def trainer_classes() -> list[type]:
    from rl.grpo import RlConfig

    return [RlConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: RlArguments, training: Any, folder: Path) -> None:
    from data_prep.answers import AnswerChecker
    from data_prep.artefacts import now
    from data_prep.benchmarks import content_hash
    from data_prep.formats import opens_thought
    from data_prep.mcts.inputs import read_verifiable
    from rl.grpo import check_settings, finish, load_policy, prompts_of, rewards_of
    from rl.rollouts import ProcessCredit, RolloutTrainer
    from rl.runs import disk_errors_explained, n_steps, resume_point, say

    started = now()
    # Problems as prompts, and the policy.
    check_settings(training)
    if args.pass_rate and not (len(args.pass_rate) == 2 and 0 <= args.pass_rate[0] <= args.pass_rate[1] <= 1):
        raise ValueError(f"--pass_rate {args.pass_rate}: the least and the most, from 0 to 1")
    model, tokenizer, attention = load_policy(args, training)
    dropped: Counter[str] = Counter()
    inputs = read_verifiable(args.problems)
    dropped.update(inputs.dropped)
    band = (args.pass_rate[0], args.pass_rate[1]) if args.pass_rate else None
    data = prompts_of(
        inputs, tokenizer, args.instruction, args.max_prompt_length, band, args.curriculum, dropped
    )  # fmt: skip
    training.shuffle_dataset = not args.curriculum
    held_out = None
    if args.eval_problems:
        measured = read_verifiable(args.eval_problems)
        held_out = prompts_of(measured, tokenizer, args.instruction, args.max_prompt_length, None, False, Counter())
        if both := set(held_out["problem_id"]) & set(data["problem_id"]):
            raise ValueError(f"--eval_problems: {len(both):,} of them are in --problems too: give others")
    first = tokenizer.apply_chat_template(data[0]["prompt"], tokenize=False, add_generation_prompt=True)
    thought_open = opens_thought(first, [])

    # The run: whether it has begun already, and what it is going to do.
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size
    decisive = {
        "model": args.model_name_or_path, "revision": args.model_revision, "data": content_hash(data.to_list()),
        "rollouts_per_step": per_step, "seed": training.seed,
        **{k: v for k, v in asdict(args).items() if k not in ("problems", "eval_problems", "model_name_or_path")},
        **{name: getattr(training, name) for name in (*DECISIVE, *ROLLOUTS) if hasattr(training, name)},
    }  # fmt: skip
    checkpoint = resume_point(folder, decisive)
    process = None
    if args.scorer:
        from rl.ppm.scoring import open_scorer

        process = ProcessCredit(
            open_scorer(args.scorer), args.process_credit, args.process_weight, args.process_gate,
            args.process_temperature,
        )  # fmt: skip
    with AnswerChecker() as checker:
        rewards, weights = rewards_of(args, checker, training.max_completion_length, thought_open)
        training.reward_weights = weights
        trainer = RolloutTrainer(
            model, rewards, training, train_dataset=data, eval_dataset=held_out, processing_class=tokenizer,
            advantage=args.advantage, process=process, max_replacements=args.max_replacements,
            padding_free=True,
        )  # fmt: skip
        say(
            f"model      {args.model_name_or_path}, {model.num_parameters() / 1e6:,.1f} M parameters, "
            f"{'bf16' if training.bf16 else 'float32'}, {attention}",
            f"problems   {len(data):,} of {inputs.n_read:,} rows"
            + "".join(f"; {n:,} left out: {reason}" for reason, n in dropped.items())
            + (f"; {len(held_out):,} held out" if held_out else ""),
            f"rewards    {', '.join(f'{r.__name__} x {w:g}' for r, w in zip(rewards, weights, strict=True))}; "
            f"advantage {args.advantage}"
            + (f"; steps paid by {args.scorer}: {args.process_credit} x {args.process_weight:g}" if process else ""),
            f"batch      {per_step // training.num_generations:,} problems x {training.num_generations} rollouts of up "
            f"to {training.max_completion_length:,} tokens a step",
            f"steps      {n_steps(trainer):,}, learning rate {training.learning_rate:g}",
            f"resuming   {checkpoint}" if checkpoint else f"output     {folder}",
        )

        # Train, and leave a folder that the next stage can use.
        with disk_errors_explained(folder):
            result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            first_step = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
            metrics = finish(trainer, result, data["problem_id"], decisive["data"], dropped,
                             {**asdict(args), **decisive}, started, first_step)  # fmt: skip
    held = metrics.get("eval_rewards/outcome/mean")
    say(
        f"result     {trainer.state.global_step:,} steps" + ("" if held is None else f"; held-out pass@1 {held:.1%}"),
        f"model      {folder}",
        f"next       python recipes/evaluate.py --model_name_or_path {folder} (and benchmarks, --config)",
    )


def main() -> None:
    args, training = parse_config("rl_grpo", __doc__, [RlArguments], trainer_classes, GRPO_COMMON, hardware)
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, folder)


if __name__ == "__main__":
    main()
