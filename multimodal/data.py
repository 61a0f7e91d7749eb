"""Samples with figures to what a trainer reads: rendered, masked, counted here, put into batches by the processor.

As for text (see `data_prep.tokenization`), a conversation is cut where the assistant's turns begin and end and its ids
are joined segment by segment, so that training sees the boundaries that generation sees. The figures stand in front of
the first user's text, or where that says `<image>`; what a model reads of them the processor decides.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from tqdm.auto import tqdm

from data_prep.benchmarks import folder_of
from data_prep.formats import is_unclosed, to_sample
from data_prep.images import MAX_PIXELS, as_rgb, encoded, images_of, open_image, pixel_hash, size_of, with_places
from data_prep.rows import RowError, problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block
from data_prep.tokenization import IGNORED, Rules, Tally, end_of_turn_texts, part_of, render
from multimodal.controls import Control, other_figures
from multimodal.samples import generated

OF_TOKENS = ("input_ids", "token_type_ids", "mm_token_type_ids")  # what a processor says of every token
BLANK = 112  # pixels of a side of a figure that shows nothing


def open_rows(
    dataset: DatasetConfig, kinds: Sequence[str] = ("sample",)
) -> Iterator[tuple[str, dict[str, Any], Path | None]]:
    """Each row with where it stands and the folder from which paths in it start. Raises RowError, ValueError.

    `small-geometry` are generated samples.
    """
    for block in open_blocks(generated(dataset), kinds):
        for where, row in read_block(block):
            yield where, row, folder_of(block.file)


def own_id(row: Mapping[str, Any], images: Sequence[bytes], where: str) -> str:
    """The row's `problem_id`, or one of its text and its pixels."""
    known = row.get("problem_id")
    if isinstance(known, str) and known:
        return known
    return problem_id(str(row["problem"]), [pixel_hash(image, where) for image in images])


class Template:
    """The processor's chat template, as `data_prep.tokenization.render` calls a tokenizer's."""

    def __init__(self, processor: Any, n_images: int, where: str):
        self.processor, self.n_images, self.where = processor, n_images, where

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        return self.processor.apply_chat_template(with_places(messages, self.n_images, self.where), **options)


@dataclass
class FigureSamples:
    """`dataset`: rows with `head` (the text up to the first trained token), `images` (encoded), and `input_ids` and
    `labels` of what follows; `trained_on`: the ids of their problems; what was read and left out.
    """

    dataset: Dataset
    trained_on: set[str]
    tally: Tally
    n_images: int
    n_smaller: int

    def summary(self) -> str:
        smaller = f", {self.n_smaller:,} of them made smaller" if self.n_smaller else ""
        return f"{self.tally}; {self.n_images:,} figures{smaller}"

    @property
    def content(self) -> str:
        digest = hashlib.sha256()
        for row in self.dataset:
            digest.update(json.dumps([row["head"], row["input_ids"], row["labels"]]).encode())
            for image in row["images"]:
                digest.update(hashlib.sha256(image).digest())
        return digest.hexdigest()


def figure_samples(
    datasets: Sequence[DatasetConfig], processor: Any, rules: Rules, max_pixels: int = MAX_PIXELS
) -> FigureSamples:  # fmt: skip
    """Samples of all data sets, each once, with or without figures. Raises RowError, or drops and counts, as the rules
    say. Lengths count what the processor makes of the figures, which are made smaller than `max_pixels`.
    """
    tokenizer, tally = processor.tokenizer, Tally()
    swallowing = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.rstrip}
    stops = {text: text in swallowing for text in end_of_turn_texts(tokenizer)}
    rows: list[dict[str, Any]] = []
    ids: list[str] = []
    n_smaller = 0
    for dataset in datasets:
        for where, row, folder in tqdm(open_rows(dataset), desc=dataset.path, unit=" rows", leave=False):
            tally.rows += 1
            try:
                images = images_of(row, folder, where)
                sample = to_sample(row, where)
                segments = render(Template(processor, len(images), where), sample["messages"], stops, where)
                shown = [as_rgb(image, max_pixels, where) for image in images]
                opened = [open_image(image, where) for image in shown]
            except RowError:
                if rules.bad_row == "error":
                    raise
                tally.dropped["bad row"] += 1
                continue
            known = own_id({**sample, "problem_id": row.get("problem_id")}, images, where)
            if rules.part != "all" and rules.part != part_of(known, rules.eval_share):
                tally.dropped["in the other part (held out or not)"] += 1
                continue
            answers = [m["content"] for m in sample["messages"] if m["role"] == "assistant"]
            if rules.unclosed_thought != "keep" and any(map(is_unclosed, answers)):
                if rules.unclosed_thought == "error":
                    raise RowError(f"{where}: a thought is never closed (--unclosed_thought drop or keep goes on)")
                tally.dropped["unclosed thought"] += 1
                continue
            head, *rest = segments
            parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text, _ in rest]
            tokens = [token for part in parts for token in part]
            labels = [
                token if trained else IGNORED for part, (_, trained) in zip(parts, rest, strict=True) for token in part
            ]
            n_tokens = len(read(processor, [head[0]], [opened])["input_ids"][0]) + len(tokens)
            if n_tokens > rules.max_length:
                if rules.overlong == "error":
                    raise RowError(f"{where}: {n_tokens} tokens, more than --max_length {rules.max_length}")
                tally.dropped["over-long"] += 1
                continue
            tally.kept += 1
            tally.tokens += n_tokens
            tally.trained_tokens += sum(label != IGNORED for label in labels)
            ids.append(known)
            n_smaller += sum(size_of(image) > max_pixels for image in images)
            rows.append({"head": head[0], "images": shown, "input_ids": tokens, "labels": labels})
    if not rows:
        raise ValueError(f"no samples are left of {tally.rows:,} rows: {dict(tally.dropped)}")
    return FigureSamples(Dataset.from_list(rows), set(ids), tally, sum(len(row["images"]) for row in rows), n_smaller)


def with_other_figures(dataset: Dataset, control: Control) -> Dataset:
    """The same rows with white figures, or with those of other rows; see `other_figures`."""
    return dataset.remove_columns("images").add_column("images", other_figures(dataset["images"], control))


def read(processor: Any, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> dict[str, Any]:
    """What the processor makes of texts with figures, or of texts alone: lists `input_ids`, and tensors of figures."""
    given = [list(own) for own in images] if any(images) else None
    return dict(processor(text=list(texts), images=given, add_special_tokens=False))


class FigureCollator:
    """Rows of `FigureSamples.dataset` to a batch: `input_ids`, `attention_mask`, `labels`, (B, T), padded on the right,
    and what the model's vision tower reads, as the processor names it.

    `always_a_figure`: a batch of texts gets one row more, with a white figure and no label. It has no part in the loss;
    but all processes then run, and gather, the same parts of the model, and an optimizer that moves weights without a
    gradient (by momentum) moves those of the vision tower on one process as it does on many.
    """

    def __init__(self, processor: Any, always_a_figure: bool):
        self.processor, self.always_a_figure = processor, always_a_figure
        self.pad = processor.tokenizer.pad_token_id

    def blank(self) -> dict[str, Any]:
        head = self.processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}], tokenize=False)
        return {
            "head": head,
            "images": [encoded(Image.new("RGB", (BLANK, BLANK), "white"))],
            "input_ids": [],
            "labels": [],
        }

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = list(rows)
        if self.always_a_figure and not any(row["images"] for row in rows):
            rows.append(self.blank())
        batch: dict[str, Any] = {}
        heads: dict[int, dict[str, list[int]]] = {}
        shown = [i for i, row in enumerate(rows) if row["images"]]
        if shown:
            images = [[open_image(image, f"sample {i}") for image in rows[i]["images"]] for i in shown]
            found = self.processor(
                text=[rows[i]["head"] for i in shown], images=images, padding=True, return_tensors="pt",
                add_special_tokens=False,
            )  # fmt: skip
            there = found.pop("attention_mask").bool()
            of_tokens = {name: found.pop(name) for name in OF_TOKENS if name in found}
            for k, i in enumerate(shown):
                heads[i] = {name: values[k][there[k]].tolist() for name, values in of_tokens.items()}
            batch |= found
        for i, row in enumerate(rows):
            if i not in heads:
                ids = self.processor.tokenizer(row["head"], add_special_tokens=False)["input_ids"]
                heads[i] = {"input_ids": ids}
        sequences = [
            {"input_ids": heads[i]["input_ids"] + row["input_ids"],
             "labels": [IGNORED] * len(heads[i]["input_ids"]) + row["labels"]}
            for i, row in enumerate(rows)
        ]  # fmt: skip
        width = max(len(row["input_ids"]) for row in sequences)

        def padded(values: Sequence[Sequence[int]], by: int) -> torch.Tensor:
            return torch.tensor([[*own, *[by] * (width - len(own))] for own in values])

        lengths = [len(row["input_ids"]) for row in sequences]
        for name in {name for head in heads.values() for name in head} - {"input_ids"}:  # which tokens are a figure's
            batch[name] = padded([heads[i].get(name, []) for i in range(len(rows))], 0)
        return batch | {
            "input_ids": padded([row["input_ids"] for row in sequences], self.pad),
            "attention_mask": padded([[1] * n for n in lengths], 0),
            "labels": padded([row["labels"] for row in sequences], IGNORED),
        }
