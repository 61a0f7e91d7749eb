"""The recipe of the base checkpoints, for a few steps."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from data_prep.artefacts import read_manifest
from data_prep.small_world import VERSION
from data_prep.small_world.base_corpus import KINDS
from tests.recipes.conftest import Run, one_error_line


def test_leaves_a_model_and_says_what_it_can_do(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "base"
    command = ["recipes/pretrain_small_world.py", "--size", "small", "--n_steps", 3, "--output_dir", out]
    done = run(*command)
    assert "right   on new documents in %: chains" in done.stdout
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["small_world"] == VERSION
    assert set(manifest["metrics"]["right"]) == {*KINDS}
    assert "exists already" in one_error_line(run(*command, check=False)), "not written over, and said before training"
