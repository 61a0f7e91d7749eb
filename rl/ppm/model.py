"""The model: a transformers token-classification model with one label, made from a policy, read at step ends.

https://huggingface.co/docs/transformers/main_classes/model (`AutoModelForTokenClassification`). Its config.json holds
the `StepFormat` beside the rest, so that the folder says how it is to be read.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AddedToken,
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from data_prep.mcts.prompts import RSTAR
from rl.ppm.format import KEY, PROBE, Objective, StepFormat, check_tokenizer, markers_of

ALMOST_ZERO = 1e-30  # transformers takes 0 for "not given"
NO_DROPOUT = ("classifier_dropout", "hidden_dropout", "attention_dropout", "embd_pdrop", "resid_pdrop")


def tokenizer_for(model: str, revision: str, added_tokens: Sequence[str]) -> PreTrainedTokenizerBase:
    """The policy's tokenizer; `added_tokens` become single tokens."""
    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added_tokens])
    return tokenizer


def step_format_for(
    tokenizer: Any, objective: Objective, bound: Literal["tanh/5", "tanh"], prompt: Literal["chat", "rstar"],
    instruction: str,
) -> StepFormat:  # fmt: skip
    """How a model that is trained here will be read. `bound`: of scores learnt from pairs; an outcome is a probability,
    so its score is tanh(logit / 2); a Q is tanh(logit). Raises ValueError for a tokenizer without a chat template.
    """
    if prompt == "rstar":
        text = RSTAR
    elif tokenizer.chat_template is None:
        raise ValueError("the tokenizer has no chat template: give --prompt rstar, or a model with one")
    else:
        messages = [{"role": "user", "content": f"{{problem}}\n{instruction}".strip()}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    scale, bounded = {"outcome": (2.0, False), "q": (1.0, True)}.get(
        objective, (5.0, False) if bound == "tanh/5" else (1.0, True)
    )
    return StepFormat(
        text,
        scale=scale,
        bounded_in_training=bounded,
        objective=objective,
        markers=markers_of(tokenizer),
        probe=tuple(tokenizer(PROBE, add_special_tokens=False)["input_ids"]),
    )


def new_ppm(
    policy: str, step_format: StepFormat, n_tokens: int, dtype: str, attention: str, revision: str = "main"
) -> PreTrainedModel:
    """A model that begins as `policy`, its language-model head replaced by a scalar one that is as good as zero.

    So is the official code's at first (train/rm.py: normal with deviation 1e-6). Every start is the same, on however
    many processes. `n_tokens`: size of the vocabulary, embeddings grow to it. Dropout is off: a
    step's score must not depend on chance. Raises ValueError if the architecture has no such class, or for weights
    that cannot be loaded.
    """
    # Differences of logits do not know a bias: its gradient would be rounding, which Adam makes as large as any other.
    bias = step_format.objective != "pairs" or step_format.bounded_in_training
    model = scalar_model(policy, bias, dtype, attention, revision)
    if n_tokens > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(n_tokens)
    setattr(model.config, KEY, step_format.as_dict())
    return model


def scalar_model(policy: str, bias: bool, dtype: str, attention: str, revision: str = "main") -> PreTrainedModel:
    """The policy with a head of one number a token, as good as zero, in the place of its own. Raises ValueError."""
    config = AutoConfig.from_pretrained(policy, revision=revision)
    text = config.get_text_config()
    spread = text.initializer_range
    text.initializer_range = ALMOST_ZERO  # of what the checkpoint does not have: the head
    config.num_labels = 1
    config.token_classification_bias = bias
    for name in NO_DROPOUT:
        if name == "classifier_dropout" or getattr(text, name, None):
            setattr(text, name, 0.0)
    model = _load(policy, config, missing="score.", dtype=dtype, attn_implementation=attention, revision=revision)
    model.config.get_text_config().initializer_range = spread
    model.config.use_cache = False
    return model


def load_ppm(
    folder: str, dtype: str = "auto", attention: str = "tree"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, StepFormat]:
    """A trained model with its tokenizer and what its config says of scores. Raises ValueError."""
    config = AutoConfig.from_pretrained(folder)
    found = getattr(config, KEY, None)
    if found is None:
        raise ValueError(
            f"{folder}: no process preference model: its config.json has no {KEY!r}. Give the folder that "
            "recipes/train_ppm.py has written, or a public process reward model (see docs/ppm.md)"
        )
    step_format = StepFormat.from_dict(found)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    check_tokenizer(folder, tokenizer, step_format)
    return _load(folder, config, dtype=dtype, attn_implementation=attention), tokenizer, step_format


def _load(folder: str, config: Any, missing: str | None = None, **options: Any) -> PreTrainedModel:
    """`missing`: what the names of weights that the folder does not have begin with."""
    import rl.ppm.attention  # noqa: F401  (registers "tree")

    options["dtype"] = getattr(torch, options["dtype"], options["dtype"])
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a table of missing weights, which are expected or an error
    try:
        model, found = AutoModelForTokenClassification.from_pretrained(
            folder, config=config, output_loading_info=True, **options
        )
        if lacking := [name for name in found["missing_keys"] if not (missing and name.startswith(missing))]:
            raise ValueError(f"{folder}: lacks {len(lacking)} weights of the model, e.g. {sorted(lacking)[0]}")
        return model
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder}: the weights cannot be loaded: {error}") from error
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):
            raise ValueError(
                f"{folder}: transformers has no token-classification model of the type {config.model_type}"
            ) from None
        raise
    finally:
        logging.set_verbosity(verbosity)
