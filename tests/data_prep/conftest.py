"""The small world's tokenizer and tokenizers of the presets' chat families, built on it: no Hub is needed."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from data_prep.small_world.tokenizer import build_tokenizer


class Family(NamedTuple):
    """A chat family: its template as the model's repository has it, and its special tokens."""

    template: str
    tokens: tuple[str, ...]
    stop: str  # what ends a turn
    bos: str | None = None
    eos: str | None = None
    swallowing: bool = False  # whether the tokens take the white space behind them
    system: bool = True
    lead: str = ""  # what the template writes between its generation prompt and the content


CHATML_LOOP = (
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>system\nDEFAULT<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    '{%- if (message.role == "user") or (message.role == "system" and not loop.first) '
    'or (message.role == "assistant" and not message.tool_calls) %}'
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
FAMILIES = {
    "chatml": Family("{% for message in messages %}" + CHATML_LOOP, CHATML, "<|im_end|>", eos="<|im_end|>"),
    "qwen2.5": Family(
        QWEN.replace("DEFAULT", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        CHATML, "<|im_end|>", eos="<|im_end|>",
    ),
    # The base models of Qwen2.5 end in <|endoftext|>, whatever their template writes.
    "qwen2.5-math": Family(
        QWEN.replace("DEFAULT", "Please reason step by step, and put your final answer within \\\\boxed{}."),
        CHATML, "<|im_end|>", eos="<|endoftext|>",
    ),
    "smollm2": Family(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}" + CHATML_LOOP,
        CHATML, "<|im_end|>", bos="<|im_start|>", eos="<|im_end|>",
    ),
    "phi-3-mini": Family(
        "{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
        "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
        "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), "<|end|>", bos="<s>", eos="<|endoftext|>",
        swallowing=True,
    ),
    "llama-3": Family(
        "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>",
        bos="<|begin_of_text|>", eos="<|end_of_text|>",
    ),
    "mistral": Family(
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        ("[INST]", "[/INST]"), "</s>", bos="<s>", eos="</s>", system=False, lead=" ",
    ),
}  # fmt: skip
R1_DISTILL = Family(
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}",
    ("<｜User｜>", "<｜Assistant｜>"), "<｜end▁of▁sentence｜>",
    bos="<｜begin▁of▁sentence｜>", eos="<｜end▁of▁sentence｜>",
)  # fmt: skip


def with_chat(family: Family) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the family's special tokens and template."""
    tokenizer = build()
    specials = [*family.tokens, *(text for text in (family.bos, family.eos) if text)]
    tokenizer.add_tokens(
        [
            AddedToken(text, special=True, normalized=False, rstrip=family.swallowing and text in family.tokens)
            for text in dict.fromkeys(specials)
        ],
        special_tokens=True,
    )
    tokenizer.bos_token, tokenizer.eos_token = family.bos, family.eos
    tokenizer.chat_template = family.template
    return tokenizer


_stored: list[str] = []


def build() -> PreTrainedTokenizerFast:
    """A fresh copy of the small world's tokenizer, trained once per test process."""
    from tokenizers import Tokenizer

    from data_prep.small_world.tokenizer import CHAT_TEMPLATE, PAD, TURN_END

    if not _stored:
        _stored.append(build_tokenizer().backend_tokenizer.to_str())
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_stored[0]), pad_token=PAD, eos_token=TURN_END, padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build()


@pytest.fixture(scope="session")
def chat_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Tokenizer of a family by name, made once."""
    made: dict[str, PreTrainedTokenizerFast] = {}

    def get(name: str) -> PreTrainedTokenizerFast:
        if name not in made:
            made[name] = with_chat(R1_DISTILL if name == "r1-distill" else FAMILIES[name])
        return made[name]

    return get
