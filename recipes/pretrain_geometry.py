"""Makes the small vision-language base from nothing but the small text base: figures read, numbers computed.

Reads the generator and the small world's text base; writes a model folder with its processor: an Idefics3 whose vision
tower sees 112 x 112 pixels as 49 tokens. One process, CPU or GPU:

    python recipes/pretrain_geometry.py
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config

HELD_OUT_SEED = 10**6  # of documents that no base is trained on
TEXT_EVERY = 3  # every third step has text alone: the small world's documents and computations in turn


@dataclass
class PretrainArguments:
    output_dir: str = field(metadata={"help": "folder for the model, new"})
    text_base: str = field(
        default="", metadata={"help": "folder of the language model to begin from (the small world's large base)"}
    )
    n_steps: int = field(default=6000, metadata={"help": "optimizer steps"})
    figures_per_step: int = field(default=16, metadata={"help": "documents with a figure in a step"})
    learning_rate: float = field(default=2e-3, metadata={"help": "peak; constant for 60 % of the steps, then to zero"})
    seed: int = field(default=0, metadata={"help": "of the weights and the documents"})


def main() -> None:
    (args,) = parse_config("pretrain_geometry", __doc__, [PretrainArguments])
    from rl.runs import user_errors

    with user_errors():
        pretrain(args)


def batch_of(processor: Any, documents: list[tuple[Any, list[tuple[str, bool]]]]) -> dict[str, Any]:
    """Tensors `input_ids`, `labels` and `attention_mask`, (B, T), and what the tower reads of the documents' figures,
    which all of them have or none (None).
    """
    import torch

    from data_prep.tokenization import IGNORED

    tokenizer = processor.tokenizer
    heads = [segments[0][0] for _, segments in documents]
    images = [[image] for image, _ in documents if image is not None] or None
    found = processor(text=heads, images=images, padding=True, return_tensors="pt", add_special_tokens=False)
    rows = []
    for ids, there, (_, segments) in zip(found.pop("input_ids"), found.pop("attention_mask"), documents, strict=True):
        row = ids[there.bool()].tolist()
        labels = [IGNORED] * len(row)
        for text, trained in segments[1:]:
            part = tokenizer(text, add_special_tokens=False)["input_ids"]
            row, labels = row + part, labels + (part if trained else [IGNORED] * len(part))
        rows.append((row, labels))
    width = max(len(row) for row, _ in rows)

    def padded(values: list[int], by: int) -> torch.Tensor:
        return torch.tensor(values + [by] * (width - len(values)))

    return {
        "input_ids": torch.stack([padded(row, tokenizer.pad_token_id) for row, _ in rows]),
        "labels": torch.stack([padded(labels, IGNORED) for _, labels in rows]),
        "attention_mask": torch.stack([padded([1] * len(row), 0) for row, _ in rows]),
        **found,
    }


def batches(args: PretrainArguments, processor: Any) -> Iterator[dict[str, Any]]:
    """Endless: documents with figures, and every so often one of texts alone; depends on the seed only."""
    from data_prep.small_world.base_corpus import documents
    from multimodal.base_corpus import computations, figures

    with_figure, sums, texts = figures(args.seed), computations(args.seed), documents(args.seed, n_growing=0)
    for step in count():
        some: list[tuple[Any, list[tuple[str, bool]]]]
        if step % TEXT_EVERY != TEXT_EVERY - 1:
            some = [(image, document) for _, image, document in islice(with_figure, args.figures_per_step)]
        else:
            some = [(None, next(sums)) for _ in range(2)] + [(None, document) for _, document in islice(texts, 4)]
        yield batch_of(processor, some)


def accuracy(model: Any, processor: Any, n_documents: int) -> dict[str, float]:
    """By kind of document, the share of trained segments of which every token is the model's first choice."""
    import torch

    from data_prep.tokenization import IGNORED
    from multimodal.base_corpus import figures

    right: dict[str, list[bool]] = {}
    stream = figures(HELD_OUT_SEED, n_growing=0)
    for _ in range(n_documents // 20):
        some = list(islice(stream, 20))
        batch = batch_of(processor, [(image, document) for _, image, document in some])
        with torch.inference_mode():
            choice = model(**{name: value.to(model.device) for name, value in batch.items()}).logits.argmax(-1).cpu()
        for (kind, _, _), labels, chosen in zip(some, batch["labels"][:, 1:], choice[:, :-1], strict=True):
            trained = labels != IGNORED
            starts = trained & ~torch.cat([torch.tensor([False]), trained[:-1]])
            segment = starts.cumsum(0)
            for i in range(1, int(segment.max()) + 1):
                own = trained & (segment == i)
                right.setdefault(kind, []).append(bool((chosen[own] == labels[own]).all()))
    return {kind: round(sum(found) / len(found), 4) for kind, found in sorted(right.items())}


def percent(shares: dict[str, float]) -> str:
    return ", ".join(f"{kind} {100 * share:.0f}" for kind, share in shares.items())


def pretrain(args: PretrainArguments) -> None:
    import torch
    from torch.utils.data import DataLoader, IterableDataset
    from tqdm.auto import trange

    from data_prep.artefacts import MANIFEST, atomic_folder, library_versions, now, write_json
    from data_prep.small_world import CHECKPOINTS
    from multimodal.base_model import new_base
    from multimodal.samples import VERSION, content_hash
    from rl.muon import optimizers_of

    class Batches(IterableDataset):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return batches(args, processor)

    if Path(args.output_dir).exists():
        raise FileExistsError(f"{args.output_dir} exists already: choose another --output_dir or remove it")
    started, begun = now(), time.monotonic()
    model, processor = new_base(args.text_base or CHECKPOINTS / "large", args.seed)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model.to(device).train()
    optimizers, schedules = optimizers_of(model, args.learning_rate, args.n_steps)
    print(f"model   {model.num_parameters() / 1e6:.2f} M parameters", flush=True)
    smooth: dict[bool, float] = {}
    # Figures are drawn, and texts tokenised, in a process beside this one.
    loader = iter(DataLoader(Batches(), batch_size=None, num_workers=1, prefetch_factor=8))
    for step in (bar := trange(args.n_steps, unit=" steps")):
        batch = {name: value.to(device) for name, value in next(loader).items()}
        has_figures = "pixel_values" in batch
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        smooth[has_figures] = 0.98 * smooth.get(has_figures, loss.item()) + 0.02 * loss.item()
        if step % 50 == 49:
            bar.set_postfix_str(f"loss {smooth[True]:.3f}, of texts {smooth.get(False, 0):.3f}")
        if step % 500 == 499:
            model.eval()
            bar.write(f"{step + 1} steps, right on new figures in %: {percent(accuracy(model, processor, 200))}")
            model.train()
    model.eval()
    found = accuracy(model, processor, 1000)
    model.to(torch.bfloat16)  # half the size in the repository; fine-tuning starts from the same numbers
    with atomic_folder(args.output_dir) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        write_json(
            folder / MANIFEST,
            {
                "stage": "pretrain_geometry",
                "kind": "model",
                "small_geometry": VERSION,
                "small_geometry_content": content_hash(),
                "config": asdict(args),
                "seed": args.seed,
                "metrics": {"loss": smooth[True], "seconds": time.monotonic() - begun, "right": found},
                "started": started,
                "ended": now(),
                "libraries": library_versions(),
            },
        )
    print(f"result  loss {smooth[True]:.3f} in {(time.monotonic() - begun) / 60:.0f} minutes")
    print(f"right   on new figures in %: {percent(found)}")
    print(f"model   {args.output_dir}")


if __name__ == "__main__":
    main()
