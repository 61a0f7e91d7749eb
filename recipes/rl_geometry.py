"""Reinforcement learning with figures: GRPO, RLOO or REINFORCE++ on geometry problems with verified answers.

Reads problems with a column `images` (artefact folders, Hub names, .jsonl/.parquet files; Geometry3K, R1-V's GeoQA,
MATH-Vision as they are) and a vision-language policy; writes a model folder with processor and manifest.json. At each
measurement held-out problems are also asked with white and with exchanged figures, and it is said when the policy does
not use them, or less and less. Started again with the same settings, it goes on from the last checkpoint.

    python recipes/sft_geometry.py                                                     # generated figures, a laptop
    python recipes/rl_geometry.py --config recipes/configs/tiny/rl_geometry.yaml
    accelerate launch recipes/rl_geometry.py --model_name_or_path Qwen/Qwen2.5-VL-3B-Instruct \\
        --problems '{path: hiyouga/geometry3k}' --output_dir outputs/rl_geometry       # one GPU
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/rl_geometry.py \\
        --config recipes/configs/qwen2.5-vl-7b/rl_geometry_8x80gb.yaml                 # eight GPUs
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.images import MAX_PIXELS
from rl.arguments import RolloutArguments
from rl.options import GRPO_COMMON


@dataclass
class GeometryRlArguments(RolloutArguments):
    advantage: Literal["grpo", "rloo", "reinforce++"] = field(
        default="grpo", metadata={"help": "reinforce++: beta is the KL in the reward; else it is the KL in the loss"}
    )
    vision_tower: Literal["frozen", "trained"] = field(
        default="frozen", metadata={"help": "whether the part that sees is trained too"}
    )
    max_image_pixels: int = field(
        default=MAX_PIXELS, metadata={"help": "larger figures are made smaller: they would be thousands of tokens"}
    )


def trainer_classes() -> list[type]:
    from trl import ModelConfig

    from rl.online import RlConfig

    return [RlConfig, ModelConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: GeometryRlArguments, training: Any, model_args: Any, folder: Path) -> None:
    from trl import get_peft_config

    from multimodal.rl import FigureRolloutTrainer, check_settings
    from multimodal.samples import generated
    from multimodal.sft import load_model, load_processor
    from rl.monitor import Monitor
    from rl.online import finish, prepare, rewards_of, seen
    from rl.runs import disk_errors_explained, n_parameters, n_steps, say

    # Problems as prompts with figures, the policy, and whether the run has begun already.
    check_settings(args, training)
    args.problems, args.eval_problems = (list(map(generated, some)) for some in (args.problems, args.eval_problems))
    processor = load_processor(model_args)
    processor.tokenizer.padding_side = "left"
    run = prepare("rl_geometry", args, training, model_args, processor, folder, args.max_image_pixels)
    model = load_model(model_args, training, args.vision_tower)

    # What it is going to do.
    with ExitStack() as stack:
        rewards, training.reward_weights, _ = rewards_of(
            args, training.max_completion_length, run.thought_open, False, stack
        )
        trainer = FigureRolloutTrainer(
            model, rewards, training, train_dataset=run.data, eval_dataset=run.held_out, processing_class=processor,
            advantage=args.advantage, kl_in_reward=args.advantage == "reinforce++", rollouts_every=args.rollouts_every,
            callbacks=[Monitor()], peft_config=get_peft_config(model_args),
        )  # fmt: skip
        say(
            f"model      {run.model}, {n_parameters(model) / 1e6:,.1f} M parameters, vision tower "
            f"{args.vision_tower}, {'bf16' if training.bf16 else 'float32'}",
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
        f"result     {trainer.state.global_step:,} steps"
        + (
            f"; held-out pass@1 {held:.1%}, with white figures {metrics['eval_figures/blank']:.1%}, exchanged "
            f"{metrics['eval_figures/swapped']:.1%}"
            if held is not None
            else ""
        ),
        f"model      {folder}",
        *seen(folder, trainer.state.log_history),
        f"next       python recipes/evaluate.py --model_name_or_path {folder} --benchmarks redstar-geo geoqa=FILE",
    )


def main() -> None:
    args, training, model_args = parse_config(
        "rl_geometry", __doc__, [GeometryRlArguments], trainer_classes, GRPO_COMMON, hardware
    )
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, model_args, folder)


if __name__ == "__main__":
    main()
