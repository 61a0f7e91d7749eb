"""The small world's tokenizer: byte-level BPE of 768 tokens, digits one by one, ChatML, step markers as tokens."""

from collections.abc import Iterable
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from data_prep.small_world.problems import problems
from data_prep.small_world.traces import code_steps, long_cot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Markers stay visible when special tokens are skipped in decoding: parsers need them.
# rStar-Math's are those of its code, rstar_deepthink/constants.py.
MARKERS = [
    "<think>", "</think>",
    "<code>", "<end_of_step>", "<end_of_code>", "<output>", "<end_of_output>", "<answer>", "<end_of_answer>",
    "<refine>", "<end_of_refine>",
]  # fmt: skip
VOCAB_SIZE = 768

# ChatML as Qwen2.5 has it, without a default system prompt: https://huggingface.co/Qwen/Qwen2.5-Math-7B
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

# Words that the text problems do not contain and later branches (figures, programs) do.
# fmt: off
MORE_WORDS = [
    "triangle", "angle", "degrees", "circle", "radius", "area", "perimeter", "side", "length", "parallel", "line",
    "point", "equal", "right", "isosceles", "height", "width", "square", "figure", "label", "shown", "find", "because",
    "so", "then", "therefore", "total", "number", "of", "the", "is", "are", "and", "sum", "print", "for", "in", "range",
    "if", "else", "return", "import", "math", "system", "user", "assistant", "step", "let", "check", "answer", "boxed",
]
# fmt: on


def training_text() -> Iterable[str]:
    """What the merges are learned from: problems of all bands in both template sets, traces and programs."""
    for split in ("train", "test"):
        for i, problem in enumerate(islice(problems(split, seed=1), 3000)):
            yield problem.text
            yield long_cot(problem, Random(i))
            yield "".join(code_steps(problem))
    for word in MORE_WORDS:
        yield " ".join([word, word.capitalize()] * 40)


def build_tokenizer() -> "PreTrainedTokenizerFast":
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # A name is one token wherever it stands: capitalised words leave the space before them alone.
    words = Regex(r"\p{Lu}\p{Ll}*| ?\p{Ll}+|\p{N}| ?[^\s\p{L}\p{N}]|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [PAD, TURN_START, TURN_END]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(MARKERS),
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(), trainer)
    tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in MARKERS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=TURN_END, model_max_length=1024, padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
