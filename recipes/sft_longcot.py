"""Long-CoT supervised fine-tuning: from samples with a thought to a policy.

Reads samples (artefact folders, Hub names, .jsonl/.parquet files in chat, ShareGPT, Alpaca or query/response form) and
writes a model folder with tokenizer, model card, all_results.json and manifest.json. Samples are rendered with the
model's chat template, the loss covers the assistant's tokens only (the thought included), samples are packed without
seeing each other. Started again with the same settings, it goes on from the last checkpoint with the same batches.

    python recipes/sft_longcot.py                          # the small world on a laptop, three minutes
    accelerate launch recipes/sft_longcot.py --model_name_or_path Qwen/Qwen2.5-1.5B-Instruct \\
        --dataset_name my_samples.jsonl --output_dir outputs/sft                             # one GPU
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/sft_longcot.py \\
        --config recipes/configs/qwen2.5-7b-instruct/sft_longcot_8x80gb.yaml                 # eight GPUs
"""

import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.sources import DatasetConfig
from data_prep.tokenization import Rules
from rl.options import COMMON, DECISIVE


@dataclass
class DataArguments:
    """What is trained on, and what is done with samples that cannot be used as they are."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "one data set: artefact folder, .jsonl/.parquet file or folder, Hub name, small-world"},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "configuration of a Hub data set"})
    dataset_train_split: str = field(default="train", metadata={"help": "split of a Hub data set"})
    datasets: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "several data sets (YAML: a list of path, split, weight, n_rows)"}
    )
    eval_datasets: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "held-out data sets for the evaluation loss"}
    )
    eval_share: float = field(
        default=0.0, metadata={"help": "share of the problems held out for the evaluation loss, by their hash"}
    )
    streaming: bool = field(
        default=False, metadata={"help": "tokenise and pack while training, in bounded memory, instead of before it"}
    )
    overlong: Literal["drop", "cut", "error"] = field(
        default="drop", metadata={"help": "what to do with samples longer than max_length"}
    )
    unclosed_thought: Literal["drop", "keep", "error"] = field(
        default="drop", metadata={"help": "what to do with samples whose thought never ends"}
    )
    fully_masked: Literal["drop", "error"] = field(
        default="error", metadata={"help": "what to do with samples without a trained token within max_length"}
    )
    bad_row: Literal["drop", "error"] = field(
        default="error", metadata={"help": "what to do with rows without an assistant turn or that cannot be rendered"}
    )
    random_init: bool = field(
        default=False, metadata={"help": "fresh weights of the model's shape: the control for what pretraining brings"}
    )
    added_tokens: list[str] = field(
        default_factory=list, metadata={"help": "markers to become single tokens, e.g. '<end_of_step>'"}
    )
    rope_theta: float | None = field(
        default=None, metadata={"help": "base of the rotary positions, for max_length beyond the model's, e.g. 300000"}
    )
    rope_scaling: dict | None = field(
        default=None, metadata={"help": "other rotary positions, e.g. {rope_type: yarn, factor: 4.0}"}
    )


def trainer_classes() -> list[type]:
    from trl import ModelConfig

    from rl.sft import LongCotConfig

    return [LongCotConfig, ModelConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(data: DataArguments, training: Any, model_args: Any, folder: Path) -> None:
    from data_prep.artefacts import now, read_trained_on, write_trained_on
    from data_prep.packing import CachedRows, PackedStream, cached_rows
    from rl.runs import disk_errors_explained, is_main_process, n_parameters, n_sharing, n_steps, resume_point, say
    from rl.sft import (
        SavePosition,
        check_settings,
        finish,
        load_config,
        load_model,
        load_tokenizer,
        make_trainer,
        read_position,
    )

    started = now()
    # Data, tokenised, masked and packed by us: what the trainer gets is final.
    datasets = data.datasets or [
        DatasetConfig(path, data.dataset_train_split, data.dataset_config) for path in [data.dataset_name] if path
    ]
    if not datasets or not model_args.model_name_or_path:
        raise ValueError("nothing to train: give --model_name_or_path and --dataset_name, or --config FILE.yaml")
    check_settings(training, model_args)
    if data.datasets and data.dataset_name:
        raise ValueError(
            "give --dataset_name or --datasets, not both: --datasets '{path: NAME}' replaces what a YAML file has"
        )
    if data.eval_datasets and data.eval_share:
        raise ValueError("give --eval_datasets or --eval_share, not both")
    if not 0 <= data.eval_share < 1:
        raise ValueError(f"--eval_share {data.eval_share}: a share, from 0 to below 1")
    if data.streaming and data.eval_share:
        raise ValueError("--eval_share needs all rows before training: with --streaming give eval_datasets instead")
    if data.streaming and training.dataloader_num_workers:
        raise ValueError("--streaming reads ahead in a thread of its own: leave out --dataloader_num_workers")
    tokenizer = load_tokenizer(model_args, training.chat_template_path, data.added_tokens)
    config = load_config(model_args, training.max_length, data.rope_theta, data.rope_scaling)
    part: Literal["train", "all"] = "train" if data.eval_share else "all"
    rules = Rules(
        training.max_length,
        data.overlong,
        data.unclosed_thought,
        data.fully_masked,
        data.bad_row,
        part,
        data.eval_share,
    )
    rows: CachedRows | PackedStream
    eval_rows = None
    with training.main_process_first(local=False), training.main_process_first(local=True):
        if data.streaming:
            rows = PackedStream(datasets, tokenizer, rules, training.packing, training.seed)
        else:
            rows = cached_rows(datasets, tokenizer, rules, training.packing)
        if data.eval_datasets:
            eval_rows = cached_rows(data.eval_datasets, tokenizer, replace(rules, part="all"), training.packing)
        elif data.eval_share:
            eval_rows = cached_rows(datasets, tokenizer, replace(rules, part="eval"), training.packing)

    # The run: whether it has begun already, and what it is going to do.
    n_replicas = training.world_size // n_sharing()
    rows_per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * n_replicas
    decisive = {
        "model": model_args.model_name_or_path,
        "shape": {k: v for k, v in config.to_diff_dict().items() if k != "transformers_version"},
        "data": rows.content,
        "rules": asdict(rules),
        "packing": training.packing,
        "rows_per_step": rows_per_step,
        "seed": training.seed,
        "weights": {k: v for k, v in asdict(model_args).items() if k != "attn_implementation"},
        "random_init": data.random_init,
        **{name: getattr(training, name) for name in DECISIVE},
    }
    checkpoint = resume_point(folder, decisive)
    if isinstance(rows, CachedRows) and is_main_process():
        write_trained_on(folder, rows.trained_on | read_trained_on(model_args.model_name_or_path))
    callbacks = []
    if isinstance(rows, PackedStream):
        position = read_position(checkpoint)
        rows.start_at(position["window"], position["offset"], position.get("tally"))
        # What the weights have seen already: in the part before the checkpoint, and before this run.
        rows.trained_on |= read_trained_on(folder) | read_trained_on(model_args.model_name_or_path)
        if training.max_steps < 0:
            training.max_steps = position["max_steps"] or rows.n_steps(training.num_train_epochs, rows_per_step)
        training.ignore_data_skip = True  # the stream itself starts at the right row
        callbacks.append(SavePosition(rows, position["step"], rows_per_step))
    model, attention = load_model(
        model_args, config, training, len(tokenizer), training.packing or training.padding_free, data.random_init
    )
    trainer = make_trainer(model, model_args, training, tokenizer, rows, eval_rows, callbacks)
    precision = "bf16" if training.bf16 else "fp16" if training.fp16 else "float32"
    say(
        f"model      {model_args.model_name_or_path}{' (random weights)' if data.random_init else ''}, "
        f"{n_parameters(model) / 1e6:,.1f} M parameters, {precision}, {attention}",
        f"data       {rows.summary()}",
        f"batch      {training.per_device_train_batch_size} rows x {training.gradient_accumulation_steps} accumulated "
        f"x {n_replicas} processes = {rows_per_step} rows a step; rows of up to {rules.max_length:,} tokens",
        f"steps      {n_steps(trainer):,}, learning rate {training.learning_rate:g} "
        f"({training.lr_scheduler_type.value})",
        f"resuming   {checkpoint}" if checkpoint else f"output     {folder}",
    )

    # Train, and leave a folder that the next stage can use.
    with disk_errors_explained(folder):
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        first_step = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
        metrics = finish(trainer, result, rows, {**asdict(data), **decisive}, started, first_step)
    small = any(dataset.path == "small-world" for dataset in datasets)
    benchmark = "--config recipes/configs/tiny/evaluate.yaml" if small else "--benchmarks math500"
    say(
        f"result     loss {metrics['train_loss']:.4f}"
        + (f" since step {first_step}" if first_step else "")
        + (f", held-out {metrics['eval_loss']:.4f}" if "eval_loss" in metrics else "")
        + f", {metrics['train_tokens_per_second']:,.0f} tokens/s",
        f"model      {folder}",
        f"next       python recipes/evaluate.py --model_name_or_path {folder} {benchmark}",
    )


def main() -> None:
    data, training, model_args = parse_config(
        "sft_longcot", __doc__, [DataArguments], trainer_classes, COMMON, hardware
    )
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(data, training, model_args, folder)


if __name__ == "__main__":
    main()
