"""Direct preference optimisation after SFT: right responses against wrong ones, or better steps against worse ones.

Reads a policy and either its own responses with verdicts (of evaluate.py or distill.py: a right one and a wrong one of
the same problem are a pair), or step pairs (`pairs` of generate_mcts.py; a step that does not end its text is not
ended). Writes a model folder with manifest.json. Started again with the same settings, it goes on from the last
checkpoint.

    python recipes/evaluate.py --model_name_or_path outputs/sft --benchmarks problems.jsonl --greedy false \\
        --n_samples 8 --temperature 1 --output_dir outputs/responses
    python recipes/dpo.py --model_name_or_path outputs/sft --data outputs/responses --output_dir outputs/dpo
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/dpo.py --model_name_or_path outputs/sft \\
        --data outputs/mcts/pairs --output_dir outputs/step_dpo                                # eight GPUs
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from rl.options import DECISIVE, DPO_COMMON, PREFERENCES


@dataclass
class DpoArguments:
    data: list[str] = field(
        default_factory=list, metadata={"help": "responses with verdicts, or step pairs: artefact folders or files"}
    )
    instruction: str = field(default="", metadata={"help": "text after each problem, as the responses were asked for"})
    pairs_per_problem: int = field(
        default=4, metadata={"help": "pairs at most of a problem's responses, or of a group of steps"}
    )
    eval_share: float = field(default=0.0, metadata={"help": "share of the problems whose pairs are held out"})


def trainer_classes() -> list[type]:
    from trl import ModelConfig

    from rl.preferences import PreferenceConfig

    return [PreferenceConfig, ModelConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: DpoArguments, training: Any, model_args: Any, folder: Path) -> None:
    from trl import get_peft_config

    from data_prep.artefacts import now
    from rl.online import load_policy
    from rl.preferences import WITHOUT_EFFECT, TokenisedDpoTrainer, read_preferences
    from rl.runs import (
        check_training,
        disk_errors_explained,
        end_together,
        n_parameters,
        n_steps,
        resume_point,
        save_finished,
        say,
        write_model_manifest,
    )
    from rl.sft import stop_at_turn_ends

    started = now()
    # Pairs as ids, and whether the run has begun already.
    check_training(training, WITHOUT_EFFECT)
    if not args.data:
        raise ValueError("nothing to learn from: give --data, responses with verdicts or step pairs")
    if training.max_length is None or args.pairs_per_problem < 1 or not 0 <= args.eval_share < 1:
        raise ValueError("--max_length: a number of tokens; --pairs_per_problem: 1 or more; --eval_share: below 1")
    model, tokenizer, attention = load_policy(model_args, training, packed=False)
    pairs = read_preferences(
        args.data, tokenizer, args.instruction, training.max_length, args.pairs_per_problem, args.eval_share,
        training.seed,
    )  # fmt: skip
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size
    decisive = {
        "model": model_args.model_name_or_path, "pairs_per_step": per_step,
        "weights": {k: v for k, v in asdict(model_args).items() if k != "attn_implementation"},
        "data": pairs.content, "seed": training.seed,
        **{name: getattr(training, name) for name in (*DECISIVE, *PREFERENCES) if hasattr(training, name)},
    }  # fmt: skip
    checkpoint = resume_point(folder, decisive)

    # What it is going to do.
    trainer = TokenisedDpoTrainer(
        model,
        args=training,
        train_dataset=pairs.train,
        eval_dataset=pairs.held_out,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
    )
    say(
        f"model      {model_args.model_name_or_path}, {n_parameters(model) / 1e6:,.1f} M parameters, "
        f"{'bf16' if training.bf16 else 'float32'}, {attention}",
        f"data       {pairs.described}",
        f"batch      {per_step:,} pairs a step; beta {training.beta:g}, loss {' + '.join(training.loss_type)}",
        f"steps      {n_steps(trainer):,}, learning rate {training.learning_rate:g}",
        f"resuming   {checkpoint}" if checkpoint else f"output     {folder}",
    )

    # Train, and leave a folder that the next stage can use.
    with disk_errors_explained(folder):
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        metrics = dict(result.metrics)
        if checkpoint:
            metrics["resumed_at_step"] = int(checkpoint.name.removeprefix("checkpoint-"))
        if pairs.held_out:
            metrics |= trainer.evaluate()
        stop_at_turn_ends(trainer)
        save_finished(trainer, metrics)
        if trainer.is_world_process_zero():
            trainer.create_model_card(model_name=folder.name, tags=["dpo", "long-cot"])
            write_model_manifest(
                trainer, model_args.model_name_or_path, pairs.problem_ids, started, stage="dpo",
                config={**asdict(args), **decisive}, content=decisive["data"], rows_in=pairs.n_read,
                rows_out=len(pairs.train), rows_dropped=dict(pairs.dropped), metrics=metrics,
            )  # fmt: skip
        end_together(trainer)
    accuracy = metrics.get("eval_rewards/accuracies")
    say(
        f"result     loss {metrics['train_loss']:.4f}"
        + ("" if accuracy is None else f"; held-out pairs in the right order {accuracy:.1%}"),
        f"model      {folder}",
        f"next       python recipes/evaluate.py --model_name_or_path {folder} (and benchmarks, --config)",
    )


def main() -> None:
    args, training, model_args = parse_config("dpo", __doc__, [DpoArguments], trainer_classes, DPO_COMMON, hardware)
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, model_args, folder)


if __name__ == "__main__":
    main()
