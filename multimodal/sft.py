"""Supervised fine-tuning of vision-language models on TRL's `SFTTrainer`: model, processor, and are figures used?

Any model that transformers loads as `AutoModelForImageTextToText` with a processor of the usual form
(https://huggingface.co/docs/trl/main/en/sft_trainer#training-vision-language-models).
"""

import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, TrainingArguments
from trl import ModelConfig, SFTConfig, get_peft_config, get_quantization_config

from data_prep.images import LARGEST
from multimodal.data import FigureCollator, FigureSamples, with_other_figures
from rl.runs import check_training, is_main_process, refuse
from rl.sft import LongCotTrainer, small_tiles_on_cpu

USED = 0.01  # of the loss: by how much a wrong figure has to raise it, or none is used


@dataclass
class GeometryConfig(SFTConfig):
    """TRL's `SFTConfig` with defaults for Long-CoT with figures.

    > NOTE: these defaults differ from TRL's: `max_length` 8192 (was 1024), `learning_rate` 1e-5 (2e-5),
    > `lr_scheduler_type` cosine (linear), `warmup_steps` 0.05 (0), `per_device_train_batch_size` and
    > `per_device_eval_batch_size` 1 (8), `gradient_accumulation_steps` 8 (1).
    """

    output_dir: str | None = field(
        default="outputs/sft_geometry", metadata={"help": "Where checkpoints and the model go."}
    )
    max_length: int | None = field(default=8192, metadata={"help": "Longest sample with its figures, in tokens."})
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up: steps, or a share of all steps below 1."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Samples per device and forward pass."})
    per_device_eval_batch_size: int = field(default=1, metadata={"help": "The same for the evaluation loss."})
    gradient_accumulation_steps: int = field(default=8, metadata={"help": "Forward passes per optimizer step."})


# What the recipe decides itself, what is for texts alone, and code from model folders, which is never run.
WITHOUT_EFFECT = (
    "packing", "padding_free", "assistant_only_loss", "completion_only_loss", "dataset_kwargs", "dataset_num_proc",
    "dataset_text_field", "eos_token", "eval_packing", "ignore_data_skip", "model_init_kwargs", "packing_strategy",
    "pad_token", "pad_to_multiple_of", "chat_template_path", "resume_from_checkpoint", "shuffle_dataset",
    "truncation_mode", "trust_remote_code", "ddp_find_unused_parameters", "remove_unused_columns",
)  # fmt: skip


def check_settings(args: Any, training: SFTConfig, model: ModelConfig) -> None:
    """Raises ValueError for settings that would have no effect, or a wrong one."""
    check_training(training, WITHOUT_EFFECT)
    refuse(model, WITHOUT_EFFECT)
    if training.max_length is None:
        raise ValueError("--max_length null: give the longest sample with its figures, in tokens")
    check_pixels(args.max_image_pixels)
    if args.datasets and args.dataset_name:
        raise ValueError("give --dataset_name or --datasets, not both")
    if args.eval_datasets and args.eval_share:
        raise ValueError("give --eval_datasets or --eval_share, not both")
    if not 0 <= args.eval_share < 1:
        raise ValueError(f"--eval_share {args.eval_share}: a share, from 0 to below 1")


def check_pixels(max_image_pixels: int) -> None:
    """Raises ValueError."""
    if not 1024 <= max_image_pixels <= LARGEST:
        raise ValueError(f"--max_image_pixels {max_image_pixels}: from 1,024 to {LARGEST:,}")


def load_processor(model: ModelConfig) -> Any:
    """The model's processor. Raises ValueError if it has no images, no chat template or no end of a text."""
    name = model.model_name_or_path
    try:
        processor = AutoProcessor.from_pretrained(name, revision=model.model_revision)
    except OSError as error:
        raise ValueError(
            f"{name}: no such folder here, and not found on the Hub ({str(error).splitlines()[0][:100]}); "
            "the small base is made by recipes/pretrain_geometry.py"
        ) from None
    if not hasattr(processor, "image_processor"):
        raise ValueError(
            f"{name}: reads no images: give a vision-language model, or train it with recipes/sft_longcot.py"
        )
    if not processor.chat_template:
        raise ValueError(f"{name}: the processor has no chat template: put chat_template.jinja into its folder")
    if processor.tokenizer.eos_token is None:
        raise ValueError(f"{name}: the tokenizer has no end-of-text token")
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def check_length(model: ModelConfig, max_length: int) -> None:
    """Raises ValueError where samples may be longer than the model's positions."""
    config = AutoConfig.from_pretrained(model.model_name_or_path, revision=model.model_revision)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions and max_length > positions:
        raise ValueError(
            f"--max_length {max_length} is beyond the {positions:,} positions of {model.model_name_or_path}: lower it"
        )


def load_model(
    model: ModelConfig, training: TrainingArguments, vision_tower: Literal["frozen", "trained"]
) -> PreTrainedModel:  # fmt: skip
    """The model ready for a trainer."""
    name, revision = model.model_name_or_path, model.model_revision
    kwargs: dict[str, Any] = {"dtype": getattr(torch, str(model.dtype), model.dtype)}
    if model.attn_implementation:
        kwargs["attn_implementation"] = model.attn_implementation
    if (quantization := get_quantization_config(model)) is not None:
        kwargs |= {"quantization_config": quantization, "device_map": {"": training.device}}
    network = AutoModelForImageTextToText.from_pretrained(name, revision=revision, **kwargs)
    if vision_tower == "frozen":
        tower = network.get_encoder(modality="image")
        if tower is network or tower is network.base_model:
            raise ValueError(f"{name}: its vision tower is not found by transformers: give --vision_tower trained")
        tower.requires_grad_(False)
    return network


class GeometryTrainer(LongCotTrainer):
    """Beside the held-out loss it measures that of the same samples with white figures and with other samples' figures:
    `eval_blank_loss`, `eval_swapped_loss`. Where neither is higher, figures are not used, and it says so.
    """

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        own = self.eval_dataset if eval_dataset is None else eval_dataset
        if metric_key_prefix != "eval" or not isinstance(own, Dataset) or not any(own["images"]):
            return metrics
        for kind in ("blank", "swapped"):
            metrics |= super().evaluate(with_other_figures(own, kind), ignore_keys, f"eval_{kind}")
        loss, others = metrics["eval_loss"], {kind: metrics[f"eval_{kind}_loss"] for kind in ("blank", "swapped")}
        if min(others.values()) < loss * (1 + USED) and is_main_process():
            print(
                f"warning    step {self.state.global_step:,}: figures are not used: held-out loss {loss:.4f} with, "
                + ", ".join(f"{value:.4f} with {kind} ones" for kind, value in others.items()),
                file=sys.stderr, flush=True,
            )  # fmt: skip
        return metrics


def make_trainer(
    model: PreTrainedModel, model_args: ModelConfig, training: SFTConfig, processor: Any, rows: FigureSamples,
    eval_rows: FigureSamples | None, callbacks: list[Any],
) -> GeometryTrainer:  # fmt: skip
    small_tiles_on_cpu()
    training.dataset_kwargs = {"skip_prepare_dataset": True}
    training.remove_unused_columns = False
    training.ddp_find_unused_parameters = False if training.world_size > 1 else None  # every batch has a figure
    return GeometryTrainer(
        model=model,
        args=training,
        processing_class=processor,
        data_collator=FigureCollator(processor, always_a_figure=rows.n_images > 0),
        peft_config=get_peft_config(model_args),
        train_dataset=rows.dataset,
        eval_dataset=eval_rows.dataset if eval_rows else None,
        callbacks=callbacks,
    )
