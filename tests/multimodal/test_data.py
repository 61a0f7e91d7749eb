"""Samples with figures: places, labels, batches of texts and figures together."""

import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from data_prep.rows import RowError
from data_prep.small_world import CHECKPOINTS
from data_prep.small_world.samples import sample_rows
from data_prep.sources import DatasetConfig
from data_prep.tokenization import IGNORED, Rules
from multimodal.base_model import new_base
from multimodal.data import FigureCollator, FigureSamples, figure_samples, with_places
from multimodal.samples import rows

MODEL, PROCESSOR = new_base(CHECKPOINTS / "large", 0)
MODEL.eval()


def write(path: Path, some: list[dict[str, Any]]) -> DatasetConfig:
    """JSONL with the images as files beside it."""
    for i, row in enumerate(some):
        names = []
        for k, image in enumerate(row.get("images") or []):
            (path.parent / f"{i}-{k}.png").write_bytes(image)
            names.append(f"{i}-{k}.png")
        row["images"] = names
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return DatasetConfig(str(path))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> FigureSamples:
    folder = tmp_path_factory.mktemp("mixed")
    figures, texts = list(rows("train", 3)), list(islice(sample_rows("train", 3, bands=("easy",)), 3))
    some = [row for pair in zip(figures, texts, strict=True) for row in pair]
    return figure_samples([write(folder / "rows.jsonl", some)], PROCESSOR, Rules(1024))


def losses(batch: dict[str, Any]) -> list[float]:
    """The sum over each row's trained tokens."""
    with torch.no_grad():
        logits = MODEL(**{name: value for name, value in batch.items() if name != "labels"}).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return each.sum(1).tolist()


def test_a_sample_has_the_same_loss_alone_and_beside_texts_and_figures(mixed: FigureSamples) -> None:
    samples = mixed.dataset.to_list()
    collate = FigureCollator(PROCESSOR, False)
    alone = [losses(collate([row]))[0] for row in samples]
    for chosen in ([0, 2, 4], [1, 3, 5], [0, 1, 2, 3, 4, 5], [1, 0]):
        together = losses(collate([samples[i] for i in chosen]))
        assert together == pytest.approx([alone[i] for i in chosen], rel=1e-5), chosen


def test_a_batch_of_texts_may_get_a_figure_that_has_no_part_in_the_loss(mixed: FigureSamples) -> None:
    texts = [mixed.dataset[i] for i in (1, 3)]
    plain, more = (FigureCollator(PROCESSOR, always)(texts) for always in (False, True))
    assert "pixel_values" not in plain
    assert more["pixel_values"].shape[0] == 1
    assert (more["labels"][2] == IGNORED).all()
    assert losses(more)[:2] == pytest.approx(losses(plain), rel=1e-5)
    shown = FigureCollator(PROCESSOR, True)([mixed.dataset[0], texts[0]])
    assert len(shown["input_ids"]) == 2


def test_the_ids_are_the_template_s_own_and_the_loss_is_on_the_assistant(mixed: FigureSamples) -> None:
    row = next(rows("train", 1))
    (image,) = row["images"]
    messages = with_places(row["messages"], 1, "row 1")
    whole = PROCESSOR.apply_chat_template(
        [{**m, "content": [{**part, "image": Image.open(io.BytesIO(image))} if part["type"] == "image" else part
                           for part in m["content"]]} for m in messages],
        tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    batch = FigureCollator(PROCESSOR, False)([mixed.dataset[0]])
    assert batch["input_ids"].tolist() == whole["input_ids"].tolist()
    assert torch.equal(batch["pixel_values"], whole["pixel_values"])
    trained = batch["input_ids"][0][batch["labels"][0] != IGNORED]
    assert PROCESSOR.tokenizer.decode(trained) == row["messages"][1]["content"] + "<|im_end|>"
    assert mixed.tally.tokens == sum(
        int(FigureCollator(PROCESSOR, False)([one])["attention_mask"].sum()) for one in mixed.dataset
    )


def test_a_figure_stands_where_the_text_says() -> None:
    def kinds(text: str, n: int) -> list[str]:
        content = with_places([{"role": "user", "content": text}], n, "row 1")[0]["content"]
        return [part["text"] if part["type"] == "text" else "*" for part in content]

    assert kinds("Find x.", 1) == ["*", "Find x."]
    assert kinds("In <image> find x.", 1) == ["In ", "*", " find x."]
    assert kinds("<image1>\nor <image2>?", 2) == ["*", "\nor ", "*", "?"]
    assert kinds("Find x.", 0) == ["Find x."]
    with pytest.raises(RowError, match="row 1: 1 places for an image in the text, and 2 images"):
        kinds("<image> Find x.", 2)
    with pytest.raises(RowError, match="no user turn"):
        with_places([{"role": "system", "content": "Think."}], 1, "row 1")


@pytest.mark.parametrize(
    ("image", "said"),
    [("missing.png", r"rows\.jsonl, line 2: column 'images': image 'missing.png' cannot be read"),
     ("broken.png", r"rows\.jsonl, line 2: no image that can be read")],
)  # fmt: skip
def test_an_image_that_is_none_is_named_or_counted(tmp_path: Path, image: str, said: str) -> None:
    some = list(rows("train", 2))
    data = write(tmp_path / "rows.jsonl", some)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    lines[1]["images"] = [image]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RowError, match=said):
        figure_samples([data], PROCESSOR, Rules(1024))
    found = figure_samples([data], PROCESSOR, Rules(1024, bad_row="drop"))
    assert (found.tally.kept, found.tally.dropped) == (1, {"bad row": 1})


def test_lengths_count_what_a_figure_becomes() -> None:
    data = DatasetConfig("small-geometry", n_rows=8)
    whole = figure_samples([data], PROCESSOR, Rules(1024))
    assert whole.n_images == 8
    lengths = sorted(int(FigureCollator(PROCESSOR, False)([row])["attention_mask"].sum()) for row in whole.dataset)
    found = figure_samples([data], PROCESSOR, Rules(lengths[3]))
    assert (found.tally.kept, found.tally.dropped) == (4, {"over-long": 4})
