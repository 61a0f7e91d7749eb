"""Settings of SFT that would have no effect, or a wrong one, are refused before anything is loaded."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from trl import ModelConfig

from data_prep.small_world import CHECKPOINTS
from rl.attention import PACKED, choose_attention
from rl.sft import LongCotConfig, check_settings, load_config, load_model, load_tokenizer

SMALL = str(CHECKPOINTS / "small")


def training(tmp_path: Path, **settings: Any) -> LongCotConfig:
    return LongCotConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, **settings)


@pytest.mark.parametrize(
    "settings",
    [{"packing_strategy": "wrapped"}, {"shuffle_dataset": True}, {"dataset_num_proc": 2}, {"assistant_only_loss": True},
     {"model_init_kwargs": {"dtype": "float32"}}, {"eos_token": "<|im_end|>"}, {"max_length": None},
     {"resume_from_checkpoint": "checkpoint-9"}, {"save_only_model": True}, {"gradient_accumulation_steps": 0},
     {"per_device_eval_batch_size": 0}, {"num_train_epochs": 0}],
)  # fmt: skip
def test_settings_without_effect(tmp_path: Path, settings: dict[str, Any]) -> None:
    check_settings(training(tmp_path), ModelConfig())
    with pytest.raises(ValueError, match=f"--{next(iter(settings))} "):
        check_settings(training(tmp_path, **settings), ModelConfig())


def test_a_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training(tmp_path, report_to="wandb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--report_to wandb: not installed: pip install wandb"):
        check_settings(settings, ModelConfig())


def test_weights_that_cannot_be_loaded(tmp_path: Path) -> None:
    folder = shutil.copytree(SMALL, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    model = ModelConfig(model_name_or_path=str(folder))
    config = load_config(model, 512, None, None)
    with pytest.raises(ValueError, match=f"{folder}: the weights cannot be loaded"):
        load_model(model, config, training(tmp_path), 1, False)


def test_code_of_model_folders_is_never_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--trust_remote_code True has no effect"):
        check_settings(training(tmp_path, trust_remote_code=True), ModelConfig())


def test_sequence_parallelism_splits_no_packed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLELISM_CONFIG_SP_SIZE", "4")
    with pytest.raises(ValueError, match="--packing false"):
        check_settings(training(tmp_path), ModelConfig())
    unpacked = training(tmp_path, packing=False)
    check_settings(unpacked, ModelConfig())
    assert unpacked.pad_to_multiple_of == 4  # else the sequence could not be cut into four


def test_new_tokens_need_trained_embeddings() -> None:
    lora = ModelConfig(model_name_or_path=SMALL, use_peft=True)
    with pytest.raises(ValueError, match="--added_tokens need trained embeddings"):
        load_tokenizer(lora, None, ["<new>"])
    assert "<new>" not in load_tokenizer(lora, None, ["<think>"]).get_vocab()  # it is there already
    lora.lora_modules_to_save = ["embed_tokens", "lm_head"]
    assert load_tokenizer(lora, None, ["<new>"]).tokenize("a <new>")[-1] == "<new>"


def test_rotary_settings_are_not_lost_with_an_adapter() -> None:
    with pytest.raises(ValueError, match="are lost with --use_peft"):
        load_config(ModelConfig(model_name_or_path=SMALL, use_peft=True), 4096, 300000.0, None)
    config = load_config(ModelConfig(model_name_or_path=SMALL), 4096, 300000.0, None)
    assert (config.max_position_embeddings, config.rope_parameters["rope_theta"]) == (4096, 300000.0)


def test_flash_attention_only_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl.attention.is_flash_attn_2_available", lambda: True)
    assert choose_attention(None, packing=True).name == "flash_attention_2"
    assert choose_attention(None, packing=True, half_on_gpu=False).name == PACKED
