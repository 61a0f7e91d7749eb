"""Supervised fine-tuning on TRL's `SFTTrainer`: model, tokenizer and trainer as the settings say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AddedToken,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config, get_quantization_config

from data_prep.artefacts import (
    write_trained_on,
)
from data_prep.packing import CachedRows, PackedStream
from data_prep.tokenization import end_of_turn_texts
from rl.attention import choose_attention
from rl.runs import check_training, end_together, n_sharing, refuse, save_finished, write_model_manifest


@dataclass
class LongCotConfig(SFTConfig):
    """TRL's `SFTConfig` with defaults for Long-CoT.

    > NOTE: these defaults differ from TRL's: `packing` True (was False), `max_length` 16384 (1024), `learning_rate`
    > 1e-5 (2e-5), `lr_scheduler_type` cosine (linear), `warmup_steps` 0.05 (0), `per_device_train_batch_size` and
    > `per_device_eval_batch_size` 1 (8), since a packed row is a batch by itself.
    """

    output_dir: str | None = field(default="outputs/sft", metadata={"help": "Where checkpoints and the model go."})

    packing: bool = field(default=True, metadata={"help": "Put several samples into one row of max_length tokens."})
    max_length: int | None = field(default=16384, metadata={"help": "Longest sample and packed row, in tokens."})
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up: steps, or a share of all steps below 1."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Rows per device and forward pass."})
    per_device_eval_batch_size: int = field(default=1, metadata={"help": "The same for the evaluation loss."})


# TRL's own data preparation, which ours stands in for; resuming, which goes by the output folder; and code from model
# folders, which is never run.
WITHOUT_EFFECT = (
    "assistant_only_loss", "completion_only_loss", "dataset_kwargs", "dataset_num_proc", "dataset_text_field",
    "eos_token", "eval_packing", "ignore_data_skip", "model_init_kwargs", "packing_strategy", "pad_token",
    "resume_from_checkpoint", "shuffle_dataset", "truncation_mode", "trust_remote_code",
)  # fmt: skip


def check_settings(training: SFTConfig, model: ModelConfig) -> None:
    """Raises ValueError for settings that TRL knows and that would have no effect here, or a wrong one."""
    check_training(training, WITHOUT_EFFECT)
    refuse(model, WITHOUT_EFFECT)
    if training.max_length is None:
        raise ValueError("--max_length null: give the length of a packed row and of the longest sample, in tokens")
    if n_sharing() > 1:
        if training.packing:
            raise ValueError(
                "packed documents cannot be split over GPUs: with sequence parallelism give --packing false"
            )
        training.pad_to_multiple_of = n_sharing()


def load_tokenizer(
    model: ModelConfig, chat_template_path: str | None, added_tokens: Sequence[str]
) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with the chat template of `chat_template_path` (a .jinja file) if given.

    `added_tokens` become single tokens that stay visible in decoded text. Raises ValueError if there is no chat
    template or no end-of-text token, and for new tokens whose embeddings LoRA would leave untrained.
    """
    tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path, revision=model.model_revision)
    if chat_template_path is not None:
        tokenizer.chat_template = Path(chat_template_path).read_text(encoding="utf-8")
    if tokenizer.chat_template is None:
        raise ValueError(f"{model.model_name_or_path}: no chat template: give one with --chat_template_path FILE.jinja")
    if tokenizer.eos_token is None:
        raise ValueError(f"{model.model_name_or_path}: the tokenizer has no end-of-text token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    n_new = tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added_tokens])
    if n_new and model.use_peft and "embed_tokens" not in (model.lora_modules_to_save or []):
        raise ValueError(
            "--added_tokens need trained embeddings, which LoRA leaves as they are: "
            "add --lora_modules_to_save embed_tokens lm_head, or train without --use_peft"
        )
    return tokenizer


def load_config(
    model: ModelConfig, max_length: int, rope_theta: float | None, rope_scaling: dict[str, Any] | None
) -> PreTrainedConfig:
    """The model's config, with other rotary positions if asked for.

    Raises ValueError if samples may be longer than the model's positions and no rotary setting says how, and for
    rotary settings with LoRA: an adapter's folder has no place for them, so they would be lost.
    """
    if model.use_peft and (rope_theta is not None or rope_scaling is not None):
        raise ValueError(
            "--rope_theta and --rope_scaling are lost with --use_peft, since an adapter is loaded into the base as it "
            "is: save a copy of the base with these settings in its config.json and train on that, or train all weights"
        )
    config = AutoConfig.from_pretrained(model.model_name_or_path, revision=model.model_revision)
    text = config.get_text_config()
    if rope_theta is not None:
        text.rope_parameters = {**(text.rope_parameters or {}), "rope_theta": rope_theta}
    if rope_scaling is not None:
        original = {"original_max_position_embeddings": text.max_position_embeddings}
        text.rope_parameters = {**(text.rope_parameters or {}), **original, **rope_scaling}
    if max_length > text.max_position_embeddings:
        if rope_theta is None and rope_scaling is None:
            raise ValueError(
                f"--max_length {max_length} is beyond the {text.max_position_embeddings} positions of "
                f"{model.model_name_or_path}: lower it, or say how positions are stretched with --rope_theta "
                "(e.g. 300000) or --rope_scaling '{rope_type: yarn, factor: 4.0}'"
            )
        text.max_position_embeddings = max_length
    return config


def load_model(
    model: ModelConfig, config: PreTrainedConfig, training: TrainingArguments, n_tokens: int, packed: bool,
    random_init: bool = False,
) -> tuple[PreTrainedModel, str]:  # fmt: skip
    """The model ready for a trainer of TRL, and a line that says how it attends.

    `n_tokens`: size of the vocabulary; embeddings grow to it. `packed`: a row holds several documents. `random_init`:
    fresh weights of the same shape, the control for what pretraining brings.
    """
    from transformers import AutoModelForCausalLM

    dtype = str(model.dtype).removeprefix("torch.")
    half = training.bf16 or training.fp16 or dtype in ("bfloat16", "float16") or bool(model.load_in_4bit)
    attention, reason = choose_attention(model.attn_implementation, packed, half and not training.use_cpu)
    description = f"attention {attention} ({reason})"
    kwargs: dict[str, Any] = {"dtype": getattr(torch, str(model.dtype), model.dtype), "attn_implementation": attention}
    if random_init:
        torch.manual_seed(training.seed)
        network = AutoModelForCausalLM.from_config(config, **kwargs)
    else:
        quantization = get_quantization_config(model)
        if quantization is not None:
            kwargs |= {"quantization_config": quantization, "device_map": {"": training.device}}
        try:
            network = AutoModelForCausalLM.from_pretrained(
                model.model_name_or_path, revision=model.model_revision, config=config, **kwargs
            )
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{model.model_name_or_path}: the weights cannot be loaded: {error}") from error
    if n_tokens > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(n_tokens)
    return network, description


class SavePosition(TrainerCallback, ExportableState):
    """Keeps the position in a `PackedStream` in `trainer_state.json`, which makes a checkpoint whole.

    The ids of the problems read so far go into the run's folder before each checkpoint.
    """

    def __init__(self, stream: PackedStream, start: int, rows_per_step: int):
        self.stream, self.start, self.rows_per_step = stream, start, rows_per_step
        self.step, self.max_steps = start, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.step, self.max_steps = state.global_step, state.max_steps
        if control.should_save and state.is_world_process_zero:
            write_trained_on(args.output_dir, self.stream.trained_on)

    def state(self) -> dict[str, Any]:
        position = self.stream.position((self.step - self.start) * self.rows_per_step)
        return {"args": {}, "attributes": {"step": self.step, "max_steps": self.max_steps, **position}}


def read_position(checkpoint: Path | None) -> dict[str, Any]:
    """Where a stream goes on: step, window and offset, and the steps that were planned (0 at the beginning)."""
    if checkpoint is None:
        return {"step": 0, "max_steps": 0, "window": 0, "offset": 0}
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return state["stateful_callbacks"][SavePosition.__name__]["attributes"]


class LongCotTrainer(SFTTrainer):
    """TRL's trainer over rows that are tokenised, masked and packed already: it prepares nothing itself."""

    @property
    def n_tokens_seen(self) -> float:
        """Tokens of all processes in this process's part of the run, padding left out."""
        return float(self._total_train_tokens)


def small_tiles_on_cpu() -> None:
    """Lets TRL's fused language-model head work in small tiles on a CPU.

    Its own, 4,096 tokens x 32,768 words, suit a GPU; in plain torch each of its temporaries then takes 0.5 GB, where
    tiles of 256 x 4,096 stay in the cache: the same numbers in 55 % of the time.
    """
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    if not torch.accelerator.is_available():
        chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE = 256, 4096


def make_trainer(
    model: PreTrainedModel,
    model_args: ModelConfig,
    training: SFTConfig,
    tokenizer: PreTrainedTokenizerBase,
    rows: CachedRows | PackedStream,
    eval_rows: CachedRows | None,
    callbacks: list[TrainerCallback],
) -> LongCotTrainer:
    small_tiles_on_cpu()
    training.dataset_kwargs = {"skip_prepare_dataset": True}
    training.chat_template_path = None  # the tokenizer has it
    return LongCotTrainer(
        model=model,
        args=training,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        train_dataset=rows.dataset,
        eval_dataset=eval_rows.dataset if eval_rows else None,
        callbacks=callbacks,
    )


def stop_at_turn_ends(trainer: Any) -> None:
    """The saved model's generation stops where the chat template ends a turn."""
    tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    trainer.model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(end_of_turn_texts(tokenizer))


def finish(
    trainer: LongCotTrainer,
    result: Any,
    rows: Any,
    config: Mapping[str, Any],
    started: str,
    first_step: int = 0,
    stage: str = "sft_longcot",
) -> dict[str, float]:
    """Evaluates, saves and signs the model folder; returns the metrics, which stand in all_results.json too.

    The manifest is written last, on the main process, beside the ids of all problems that the weights have seen,
    those of the model that training began with included. `rows`: what was trained on, with `tally`, `trained_on`
    and `content`. `first_step`: where this process went on from; loss, tokens and time are those since then.
    """
    n_tokens = trainer.n_tokens_seen
    metrics = dict(result.metrics)
    if first_step:
        metrics["resumed_at_step"] = first_step
    metrics["train_tokens_per_second"] = n_tokens / max(1e-9, metrics["train_runtime"])
    metrics |= {f"data_{name}": value for name, value in rows.tally.as_dict().items() if isinstance(value, int)}
    if trainer.eval_dataset is not None:
        metrics |= trainer.evaluate()
    stop_at_turn_ends(trainer)
    save_finished(trainer, metrics)
    if trainer.is_world_process_zero():
        sign(trainer, rows, config, started, metrics, stage)
    end_together(trainer)
    return metrics


def sign(
    trainer: LongCotTrainer,
    rows: Any,
    config: Mapping[str, Any],
    started: str,
    metrics: Mapping[str, float],
    stage: str,
) -> None:
    """Writes model card, ids of the problems and manifest into the output folder."""
    folder = Path(trainer.args.output_dir)
    base = str(config["model"])
    trainer.create_model_card(model_name=folder.name, tags=["long-cot"])
    card = folder / "README.md"  # which has no name for a base that is a local folder
    text = card.read_text().replace("[None](https://huggingface.co/None)", f"`{base}`")
    card.write_text(text.replace('model="None"', f'model="{folder}"'))
    tally = rows.tally.as_dict()
    write_model_manifest(
        trainer, base, rows.trained_on, started, stage=stage, config=config, content=rows.content,
        rows_in=tally["rows"], rows_out=tally["kept"], rows_dropped=tally["dropped"], metrics=metrics,
    )  # fmt: skip
