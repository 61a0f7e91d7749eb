"""A model of a few thousand parameters and a small data set, and recipes run as a user runs them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.artefacts import write_artefact
from data_prep.small_world.samples import sample_rows
from data_prep.small_world.tokenizer import build_tokenizer

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a Qwen3 shape with 512 positions."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefact folder of 300 Long-CoT samples."""
    folder = tmp_path_factory.mktemp("data") / "samples"
    write_artefact(folder, "sample", sample_rows("train", 300), stage="test", config={}, seed=0, inputs={})
    return folder


def command_line(*command: object, launcher: tuple[str, ...] = ()) -> list[str]:
    if launcher:
        return [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *launcher, *map(str, command)]
    return [sys.executable, *map(str, command)]


@pytest.fixture(scope="session")
def run(cache_of_tests: Path) -> Run:
    """Runs a recipe from the repository's root in a process of its own, and returns its output.

    `launcher`: arguments of `accelerate launch`; without them the recipe is started by plain `python`.
    """

    def call(*command: object, launcher: tuple[str, ...] = (), check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command_line(*command, launcher=launcher), cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        if check:
            assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done

    return call


def one_error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The single `error: ...` line of a refused run; there is no traceback beside it."""
    assert done.returncode != 0, done.stdout[-2000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr[-3000:]
    return lines[0]


def clean_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
