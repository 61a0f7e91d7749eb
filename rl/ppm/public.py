"""Process reward models that others have trained, read without their own code.

rStar-Math, as its official code saves a model: a folder of a transformers model with `value_head.bin` beside it, a
state dict of `v_head.summary.weight` (1, H) and `v_head.summary.bias` (1,). A score is tanh(logit / 5) at the last
token of a step. https://github.com/microsoft/rStar (train/rm.py, train/save_rm.py, and llm_engine.py and llms.py in
rstar_deepthink/llms; read in forks). No such weights were published.

Qwen2.5-Math-PRM-7B, -72B and Qwen2.5-Math-7B-PRM800K (`Qwen2ForProcessRewardModel`): `<extra_0>` behind every step; a
head of two layers gives two classes, of which the second says "right".
https://huggingface.co/Qwen/Qwen2.5-Math-PRM-7B; the layers are those of vLLM's own reading of these models
(vllm/model_executor/models/qwen2_rm.py).

Skywork-o1-Open-PRM-Qwen-2.5-1.5B and -7B (`Qwen2ForPrmModel`): BOS, problem and line break, then the lines of the
solution, each with the line break behind it as a token of its own, where a linear head is read.
https://huggingface.co/Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B, https://github.com/SkyworkAI/skywork-o1-prm-inference
(model_utils/io_utils.py and prm_model.py, read in the copy of https://github.com/openreasoner/openr). There every line
is a step; here a step of several lines is read as one, so give it solutions whose steps are single lines.

Math-Shepherd (peiyi9979/math-shepherd-mistral-7b-prm), a language model that puts `+` or `-` after the mark `ки`; known
by its name, since nothing in its files tells it from other language models.
https://huggingface.co/datasets/peiyi9979/Math-Shepherd, https://github.com/vllm-project/vllm/pull/9697. It was trained
on steps that begin with "Step 1: ", "Step 2: ", ...; what the policy writes is scored as it is. Where the first step
begins, a space is a token of its own here and part of the next one in its own tokenisation; all other ids are the same.

The weights themselves were not at hand when this was written. Tests read small models in these formats, with the names
of the weights and the way of scoring that the pages above give.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from tokenizers import normalizers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    Qwen2PreTrainedModel,
)
from transformers.utils import logging

from data_prep.mcts.prompts import RSTAR
from rl.ppm.attention import TREE
from rl.ppm.format import KEY, StepFormat, markers_of

VALUE_HEAD = "value_head.bin"
QWEN_MARK = "<extra_0>"
QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
SHEPHERD_MARK, RIGHT, WRONG = " ки", " +", " -"

Public = tuple[PreTrainedModel, torch.nn.Module, Any, StepFormat]


class PublicHead(torch.nn.Module):
    """Layers whose last one has one output: hidden states (N, H) of any dtype to logits (N,), in float32."""

    def __init__(self, *layers: torch.nn.Module):
        super().__init__()
        self.layers = torch.nn.Sequential(*layers).float()

    def forward(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        return self.layers(hidden_NH.float())[:, 0]


class QwenMathPRM(Qwen2PreTrainedModel):
    """The modules of `Qwen2ForProcessRewardModel`, by the names that their weights have."""

    def __init__(self, config: Qwen2Config):
        super().__init__(config)
        size = config.hidden_size
        self.model = Qwen2Model(config)
        self.score = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.ReLU(), torch.nn.Linear(size, 2))
        self.post_init()


class SkyworkPRM(Qwen2PreTrainedModel):
    """The modules of `Qwen2ForPrmModel`, by the names that their weights have."""

    def __init__(self, config: Qwen2Config):
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.v_head = torch.nn.ModuleDict({"summary": torch.nn.Linear(config.hidden_size, 1)})
        self.post_init()


def load_public(name: str, dtype: str = "auto", device: str = "cpu") -> Public | None:
    """Body, head, tokenizer and format of a process reward model in one of these forms; None for any other model.

    `name`: a folder, or a name on the Hub. `dtype`: a torch dtype's name, or `auto` for the weights' own. Raises
    ValueError for such a model that lacks weights or step marks, OSError if there is no model of this name.
    """
    try:
        config, _ = PretrainedConfig.get_config_dict(name)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{name}: neither a folder with a config.json nor a model on the Hub: {reason}") from error
    if KEY in config:
        return None
    architectures = config.get("architectures") or []
    if "Qwen2ForProcessRewardModel" in architectures:
        found = qwen_math(name, dtype)
    elif "Qwen2ForPrmModel" in architectures:
        found = skywork(name, dtype)
    elif "math-shepherd" in name.lower().replace("_", "-") and any("ForCausalLM" in a for a in architectures):
        found = math_shepherd(name, dtype)
    elif (value_head := find_file(name, VALUE_HEAD)) is not None:
        found = rstar(name, value_head, dtype)
    else:
        return None
    body, head, tokenizer, step_format = found
    return body.to(device), head.to(device), tokenizer, step_format


def rstar(name: str, value_head: str, dtype: str) -> Public:
    """A model as rStar-Math's code saves it."""
    try:
        state = torch.load(value_head, map_location="cpu", weights_only=True)
        state = {key.removeprefix("v_head."): value for key, value in state.items()}
        shapes = {key: list(value.shape) for key, value in state.items()}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
        raise ValueError(f"{value_head}: no state dict of tensors: {str(error).splitlines()[0]}") from error
    body = load(AutoModel, name, dtype)
    size = body.config.get_text_config().hidden_size
    if shapes != {"summary.weight": [1, size], "summary.bias": [1]}:
        raise ValueError(
            f"{value_head}: must hold v_head.summary.weight [1, {size}] and v_head.summary.bias [1], holds "
            f"{', '.join(f'{key} {shape}' for key, shape in shapes.items()) or 'nothing'}"
        )
    summary = torch.nn.Linear(size, 1)
    summary.load_state_dict({key.removeprefix("summary."): value for key, value in state.items()})
    tokenizer = AutoTokenizer.from_pretrained(name)
    return body, PublicHead(summary), tokenizer, StepFormat(RSTAR, markers=markers_of(tokenizer))


def qwen_math(name: str, dtype: str) -> Public:
    """A Qwen2.5-Math-PRM."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    token_of(name, tokenizer, QWEN_MARK)
    if tokenizer.chat_template is None:
        raise ValueError(f"{name}: the tokenizer has no chat template, in which this model reads a problem")
    messages = [{"role": "system", "content": QWEN_SYSTEM}, {"role": "user", "content": "{problem}"}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    model = load(QwenMathPRM, name, dtype, config=Qwen2Config.from_pretrained(name))
    # Of two classes the probability of the second is the sigmoid of the difference of their logits.
    head = PublicHead(model.score[0], model.score[1], second_against_first(model.score[2].weight, model.score[2].bias))
    return model.model, head, tokenizer, StepFormat(prompt, mark=QWEN_MARK, strip=True, scale=2.0, objective="labels")


def skywork(name: str, dtype: str) -> Public:
    """A Skywork-o1-Open-PRM."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    token_of(name, tokenizer, "\n")
    if tokenizer.bos_token is None:
        raise ValueError(f"{name}: the tokenizer has no BOS token, with which this model's input begins")
    prompt = f"{tokenizer.bos_token}{{problem}}\n"
    model = load(SkyworkPRM, name, dtype, config=Qwen2Config.from_pretrained(name))
    head = PublicHead(model.v_head["summary"])
    return model.model, head, tokenizer, StepFormat(prompt, mark="\n", strip=True, scale=2.0, objective="labels")


def math_shepherd(name: str, dtype: str) -> Public:
    """Math-Shepherd's process reward model."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    # Its tokenizer puts a space before every text; the pieces of a solution would each get one, the whole has only one.
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.backend_tokenizer.pre_tokenizer = None
    token_of(name, tokenizer, SHEPHERD_MARK)
    answers = [token_of(name, tokenizer, text) for text in (WRONG, RIGHT)]
    if tokenizer.bos_token is None:
        raise ValueError(f"{name}: the tokenizer has no BOS token, with which this model's input begins")
    model = load(AutoModelForCausalLM, name, dtype)
    head = PublicHead(second_against_first(model.get_output_embeddings().weight[answers]))
    step_format = StepFormat(
        f"{tokenizer.bos_token} {{problem}} ", mark=SHEPHERD_MARK, separator="\n", strip=True, scale=2.0,
        objective="labels",
    )  # fmt: skip
    return model.base_model, head, tokenizer, step_format


def second_against_first(weight_2H: torch.Tensor, bias_2: torch.Tensor | None = None) -> torch.nn.Linear:
    """The layer whose output is the second logit minus the first."""
    layer = torch.nn.Linear(weight_2H.shape[1], 1, bias=bias_2 is not None)
    with torch.no_grad():
        layer.weight.copy_(weight_2H[1:].float() - weight_2H[:1].float())
        if bias_2 is not None:
            layer.bias.copy_(bias_2[1:].float() - bias_2[:1].float())
    return layer


def token_of(name: str, tokenizer: Any, text: str) -> int:
    """The id of a text that has to be one token."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ValueError(
            f"{name}: the tokenizer reads {text!r} as {ids}, where this model needs a single token: "
            "this is not the tokenizer that the model was trained with"
        )
    return ids[0]


def find_file(name: str, file: str) -> str | None:
    """Path of a file of a model, None if the model has no such file."""
    if Path(name).is_dir():
        return str(path) if (path := Path(name, file)).is_file() else None
    try:
        return hf_hub_download(name, file)
    except EntryNotFoundError:
        return None


def load(cls: Any, name: str, dtype: str, **options: Any) -> Any:
    """A model with the attention of trees. Weights that it has no module for are left out; none may be missing."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a table of weights that are left out
    try:
        model, found = cls.from_pretrained(
            name, dtype=getattr(torch, dtype, dtype), attn_implementation=TREE, trust_remote_code=False,
            output_loading_info=True, **options,
        )  # fmt: skip
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{name}: the weights cannot be loaded: {str(error).splitlines()[0]}") from error
    finally:
        logging.set_verbosity(verbosity)
    if missing := found["missing_keys"]:
        raise ValueError(f"{name}: lacks {len(missing)} weights of the model, e.g. {sorted(missing)[0]}")
    return model
