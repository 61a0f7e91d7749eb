"""Long-CoT supervised fine-tuning with figures: from samples with images to a vision-language policy.

Reads samples with a column `images` (artefact folders, Hub names, .jsonl/.parquet files; texts without one may be among
them) and writes a model folder with processor, model card, all_results.json and manifest.json. The loss covers the
assistant's tokens only, the thought included. At each evaluation it also measures white and exchanged figures, and says
when the model does not use them. Started again with the same settings, it goes on from the last checkpoint.

    python recipes/sft_geometry.py                         # generated figures on a laptop, minutes
    accelerate launch recipes/sft_geometry.py --model_name_or_path Qwen/Qwen2.5-VL-3B-Instruct \\
        --dataset_name my_geometry.jsonl --output_dir outputs/geometry                       # one GPU
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/sft_geometry.py \\
        --config recipes/configs/internvl3-8b/sft_geometry_8x80gb.yaml                       # eight GPUs
"""

import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.images import MAX_PIXELS
from data_prep.sources import DatasetConfig
from data_prep.tokenization import Rules
from rl.options import DECISIVE, GEOMETRY_COMMON


@dataclass
class GeometryArguments:
    dataset_name: str | None = field(
        default=None, metadata={"help": "samples: artefact folder, file, folder of files, Hub name, small-geometry"}
    )
    datasets: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "several data sets (YAML: a list of path, split, n_rows)"}
    )
    eval_datasets: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "held-out samples, measured with their, white and exchanged figures"}
    )
    eval_share: float = field(default=0.0, metadata={"help": "share of the problems that are held out instead"})
    vision_tower: Literal["frozen", "trained"] = field(
        default="trained", metadata={"help": "whether the part that sees is trained too"}
    )
    max_image_pixels: int = field(
        default=MAX_PIXELS, metadata={"help": "larger figures are made smaller: they would be thousands of tokens"}
    )
    overlong: Literal["drop", "error"] = field(
        default="drop", metadata={"help": "what to do with samples longer than max_length, figures included"}
    )
    unclosed_thought: Literal["drop", "keep", "error"] = field(
        default="drop", metadata={"help": "what to do with samples whose thought never ends"}
    )
    bad_row: Literal["drop", "error"] = field(
        default="error", metadata={"help": "what to do with rows without an assistant turn or with a broken image"}
    )


def trainer_classes() -> list[type]:
    from trl import ModelConfig

    from multimodal.sft import GeometryConfig

    return [GeometryConfig, ModelConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: GeometryArguments, training: Any, model_args: Any, folder: Path) -> None:
    from data_prep.artefacts import now
    from multimodal.data import figure_samples
    from multimodal.sft import check_length, check_settings, load_model, load_processor, make_trainer
    from rl.runs import disk_errors_explained, n_parameters, n_steps, resume_point, say
    from rl.sft import finish

    started = now()
    # Samples, rendered, masked and counted by us.
    datasets = args.datasets or [DatasetConfig(path) for path in [args.dataset_name] if path]
    if not datasets or not model_args.model_name_or_path:
        raise ValueError("nothing to train: give --model_name_or_path and --dataset_name, or --config FILE.yaml")
    check_settings(args, training, model_args)
    processor = load_processor(model_args)
    part: Literal["train", "all"] = "train" if args.eval_share else "all"
    rules = Rules(
        training.max_length, args.overlong, args.unclosed_thought, "error", args.bad_row, part, args.eval_share
    )
    rows = figure_samples(datasets, processor, rules, args.max_image_pixels)
    eval_rows = None
    if args.eval_datasets:
        eval_rows = figure_samples(args.eval_datasets, processor, replace(rules, part="all"), args.max_image_pixels)
    elif args.eval_share:
        eval_rows = figure_samples(datasets, processor, replace(rules, part="eval"), args.max_image_pixels)

    # The run: whether it has begun already, and what it is going to do.
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size
    decisive = {
        "model": model_args.model_name_or_path, "data": rows.content, "rules": asdict(rules),
        "samples_per_step": per_step, "seed": training.seed, "vision_tower": args.vision_tower,
        "weights": {k: v for k, v in asdict(model_args).items() if k != "attn_implementation"},
        **{name: getattr(training, name) for name in DECISIVE},
    }  # fmt: skip
    checkpoint = resume_point(folder, decisive)
    check_length(model_args, training.max_length)
    model = load_model(model_args, training, args.vision_tower)
    trainer = make_trainer(model, model_args, training, processor, rows, eval_rows, [])
    say(
        f"model      {model_args.model_name_or_path}, {n_parameters(model) / 1e6:,.1f} M parameters, vision tower "
        f"{args.vision_tower}, {'bf16' if training.bf16 else 'float32'}",
        f"data       {rows.summary()}",
        f"batch      {training.per_device_train_batch_size} samples x {training.gradient_accumulation_steps} "
        f"accumulated x {training.world_size} processes = {per_step} a step",
        f"steps      {n_steps(trainer):,}, learning rate {training.learning_rate:g} "
        f"({training.lr_scheduler_type.value})",
        f"resuming   {checkpoint}" if checkpoint else f"output     {folder}",
    )

    # Train, and leave a folder that the next stage can use.
    with disk_errors_explained(folder):
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        first_step = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
        metrics = finish(trainer, result, rows, {**asdict(args), **decisive}, started, first_step, "sft_geometry")
    say(
        f"result     loss {metrics['train_loss']:.4f}"
        + (f" since step {first_step}" if first_step else "")
        + (f", held-out {metrics['eval_loss']:.4f}" if "eval_loss" in metrics else "")
        + (
            f"; with white figures {metrics['eval_blank_loss']:.4f}, exchanged {metrics['eval_swapped_loss']:.4f}"
            if "eval_blank_loss" in metrics
            else ""
        ),
        f"model      {folder}",
        f"next       python recipes/evaluate.py --model_name_or_path {folder} (and benchmarks, --config)",
    )


def main() -> None:
    args, training, model_args = parse_config(
        "sft_geometry", __doc__, [GeometryArguments], trainer_classes, GEOMETRY_COMMON, hardware
    )
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, model_args, folder)


if __name__ == "__main__":
    main()
