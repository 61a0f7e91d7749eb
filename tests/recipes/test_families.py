"""SFT, RL and evaluation with small models of the families that people train: LLaVA, Qwen2.5-VL, InternVL."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from data_prep.small_world import CHECKPOINTS
from multimodal.base_model import CHAT_TEMPLATE
from tests.recipes.conftest import Run

NEEDS_TORCHVISION = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="its processor needs torchvision (for videos), which is not installed"
)
TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024,
}  # fmt: skip


def with_tokens(*names: str) -> tuple[Any, list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / "small")
    tokenizer.add_special_tokens({"additional_special_tokens": list(names)})
    return tokenizer, [tokenizer.convert_tokens_to_ids(name) for name in names]


def llava() -> tuple[Any, Any]:
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer, (image,) = with_tokens("<image>")
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=112, patch_size=16,
        projection_dim=32,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT), image_token_index=image,
        vision_feature_select_strategy="default", vision_feature_layer=-1, image_seq_length=49,
    )  # fmt: skip
    images = CLIPImageProcessorPil(size={"shortest_edge": 112}, crop_size={"height": 112, "width": 112})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config), processor


def qwen() -> tuple[Any, Any]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    names = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer, (start, end, image, video) = with_tokens(*names)
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14,
            "spatial_merge_size": 2, "out_hidden_size": 64, "window_size": 56, "fullatt_block_indexes": [1],
        },
        vision_start_token_id=start, vision_end_token_id=end, image_token_id=image, video_token_id=video,
    )  # fmt: skip
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=112 * 112), tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE.replace("'<image>'", "'<|vision_start|><|image_pad|><|vision_end|>'"),
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    from transformers import (
        AutoTokenizer,
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
        Qwen2Config,
    )

    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / "small", extra_special_tokens=names)
    image = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": [112, 112], "patch_size": [16, 16],
        },
        text_config=Qwen2Config(vocab_size=len(tokenizer), **TEXT), image_token_id=image, downsample_ratio=1.0,
        image_seq_length=49,
    )  # fmt: skip
    images = GotOcr2ImageProcessor(size={"height": 112, "width": 112}, crop_to_patches=False)
    processor = InternVLProcessor(
        images, tokenizer, InternVLVideoProcessor(size={"height": 112, "width": 112}), image_seq_length=49,
        chat_template=CHAT_TEMPLATE.replace("'<image>'", "'<IMG_CONTEXT>'"),
    )  # fmt: skip
    return InternVLForConditionalGeneration(config), processor


FAMILIES = [
    llava,
    pytest.param(qwen, marks=NEEDS_TORCHVISION),
    pytest.param(internvl, marks=NEEDS_TORCHVISION),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_stage_runs(run: Run, tmp_path: Path, family: Any) -> None:
    import torch

    torch.manual_seed(0)
    model, processor = family()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    common = ["--bf16", "false", "--use_cpu", "true", "--gradient_checkpointing", "false", "--learning_rate", 1e-3,
              "--logging_steps", 1, "--save_strategy", "no"]  # fmt: skip
    run(
        "recipes/sft_geometry.py", "--model_name_or_path", tmp_path / "base", "--datasets",
        "{path: small-geometry, n_rows: 8}", "{path: small-world, n_rows: 4}", "--output_dir", tmp_path / "sft",
        "--max_length", 1024, "--per_device_train_batch_size", 3, "--gradient_accumulation_steps", 1, "--max_steps", 3,
        "--warmup_steps", 0, *common,
    )  # fmt: skip
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "sft"))
    kinds = {"vision" if "vis" in name else "language" for name in before if not before[name].equal(after[name])}
    assert kinds == {"vision", "language"}
    done = run(
        "recipes/rl_geometry.py", "--model_name_or_path", tmp_path / "sft", "--problems",
        "{path: small-geometry, n_rows: 8}", "--output_dir", tmp_path / "rl", "--num_generations", 2,
        "--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 1, "--max_completion_length", 8,
        "--max_steps", 1, "--repetition_weight", 1, "--repetition_ngram", 1, *common,
    )  # fmt: skip
    assert "result     1 steps" in done.stdout
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", tmp_path / "rl", "--benchmarks", "small-geometry",
        "--n_problems", 2, "--max_new_tokens", 4, "--output_dir", tmp_path / "eval",
    )  # fmt: skip
    assert "2 problems of small-geometry" in done.stdout
