"""The recipe of the vision-language base, for a few steps."""

from itertools import islice
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from data_prep.artefacts import read_manifest
from data_prep.small_world import CHECKPOINTS
from multimodal.base_corpus import KINDS, figures
from multimodal.base_model import new_base
from multimodal.samples import VERSION
from recipes.pretrain_geometry import batch_of
from tests.recipes.conftest import Run, one_error_line


def test_leaves_a_model_that_reads_figures(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "base"
    command = ["recipes/pretrain_geometry.py", "--n_steps", 3, "--output_dir", out]
    done = run(*command)
    assert "right   on new figures in %: described" in done.stdout
    model, processor = AutoModelForImageTextToText.from_pretrained(out), AutoProcessor.from_pretrained(out)
    _, image, document = next(figures(1))
    batch = batch_of(processor, [(image, document)])
    assert (batch["input_ids"] == model.config.image_token_id).sum() == 49, "one token for 2 x 2 patches of 8 pixels"
    prompt = processor(text=document[0][0], images=[image], return_tensors="pt", add_special_tokens=False)
    assert model.generate(**prompt.to(model.dtype), max_new_tokens=3).shape[1] == prompt["input_ids"].shape[1] + 3
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["small_geometry"] == VERSION
    assert set(manifest["metrics"]["right"]) == {*KINDS}
    assert "exists already" in one_error_line(run(*command, check=False)), "not written over, and said before training"


def test_it_begins_as_the_text_base_and_sees_the_figure() -> None:
    base = CHECKPOINTS / "large"
    model, processor = new_base(base, 0)
    model.eval()
    text = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = processor.tokenizer("14+5=19. 19-5=", return_tensors="pt", add_special_tokens=False)["input_ids"]
    n = text.config.vocab_size
    with torch.inference_mode():
        torch.testing.assert_close(model(input_ids=ids).logits[..., :n], text(input_ids=ids).logits)
    (_, first, document), (_, second, _) = islice(figures(2), 2)
    one, other = (batch_of(processor, [(image, document)]) for image in (first, second))
    with torch.inference_mode():
        change = model(**one).logits[0, -1] - model(**other).logits[0, -1]
    assert change.abs().max() > 1e-4


def test_loss_is_on_what_follows_from_the_figure_alone() -> None:
    _, processor = new_base(CHECKPOINTS / "large", 0)
    for kind, image, document in islice(figures(3), 20):
        batch = batch_of(processor, [(image, document)])
        trained = batch["labels"][0][batch["labels"][0] != -100]
        assert processor.tokenizer.decode(trained) == "".join(text for text, on in document if on), kind
