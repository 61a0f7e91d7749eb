"""A small process preference model with a head that is not zero, and a small tree."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rl.ppm.format import PROBE, Objective, StepFormat, markers_of
from rl.ppm.model import new_ppm

SHIPPED = str(Path(__file__).parents[3] / "data_prep" / "small_world" / "checkpoints" / "code")
PROMPT = "<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"


def ppm_of(objective: Objective = "pairs", **options: Any) -> tuple[Any, Any, StepFormat]:
    """Model, tokenizer and format; float32, begun from the shipped policy."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    probe = tuple(tokenizer(PROBE, add_special_tokens=False)["input_ids"])
    step_format = StepFormat(PROMPT, objective=objective, markers=markers_of(tokenizer), probe=probe, **options)
    model = new_ppm(SHIPPED, step_format, len(tokenizer), "float32", "tree")
    with torch.no_grad():
        model.score.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    return model, tokenizer, step_format


@pytest.fixture(scope="module")
def ppm() -> tuple[Any, Any, StepFormat]:
    return ppm_of()
