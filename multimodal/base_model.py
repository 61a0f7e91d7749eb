"""The small vision-language model: Idefics3 (https://huggingface.co/docs/transformers/model_doc/idefics3) around a text
base of the small world. Its image processor works with Pillow alone.
"""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
)

from multimodal.figures import TINY

# ChatML as the text base has it; a turn is a text, or a list of texts and images.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<image>' }}{%- else %}{{- part.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
IMAGE_TOKENS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]  # Idefics3's names
PATCH = 8  # pixels, a cell of the tiny figures: a character is a patch
JOINED = 2  # patches in each direction become one token
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4}


def new_base(text_base: str | Path, seed: int) -> tuple[Idefics3ForConditionalGeneration, Idefics3Processor]:
    """A model in float32, its language part with the weights of the text base, and its processor."""
    tokenizer = AutoTokenizer.from_pretrained(text_base)
    tokenizer.add_special_tokens({"additional_special_tokens": IMAGE_TOKENS})
    text = AutoModelForCausalLM.from_pretrained(text_base, dtype=torch.float32)
    torch.manual_seed(seed)
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    config = Idefics3Config(
        text_config=text.config.to_dict(),
        vision_config={**VISION, "image_size": TINY.size, "patch_size": PATCH},
        scale_factor=JOINED,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    model = Idefics3ForConditionalGeneration(config)
    model.model.text_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    model.generation_config = text.generation_config
    images = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": TINY.size},
        max_image_size={"longest_edge": TINY.size},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    n_tokens = (TINY.size // PATCH // JOINED) ** 2
    return model, Idefics3Processor(images, tokenizer, image_seq_len=n_tokens, chat_template=CHAT_TEMPLATE)
