"""Makes the small world's base checkpoints from nothing: facts, readings and short answers, no Long-CoT trace.

Reads nothing but the generator; writes a model folder. One process, CPU or GPU. The first line made the shipped base:

    python recipes/pretrain_small_world.py
    python recipes/pretrain_small_world.py --config recipes/configs/tiny/pretrain_small_world_large.yaml
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config

# layers, width, heads, key-value heads, feed-forward width
SHAPES = {"small": (4, 128, 4, 2, 384), "large": (4, 192, 6, 2, 640)}
ROW_LENGTH = 512
WINDOW_DOCUMENTS = 2000
HELD_OUT_SEED = 10**6  # of documents that no base is trained on


@dataclass
class PretrainArguments:
    size: Literal["small", "large"] = field(metadata={"help": "0.9 or 2.0 M parameters"})
    output_dir: str = field(metadata={"help": "folder for the model, new"})
    n_steps: int = field(default=6000, metadata={"help": "optimizer steps"})
    rows_per_step: int = field(default=4, metadata={"help": "packed rows of 512 tokens per step"})
    learning_rate: float = field(default=3e-3, metadata={"help": "peak; constant for 60 % of the steps, then to zero"})
    seed: int = field(default=0, metadata={"help": "of the weights and the documents"})


def main() -> None:
    (args,) = parse_config("pretrain_small_world", __doc__, [PretrainArguments])
    from rl.runs import user_errors

    with user_errors():
        pretrain(args)


def rows(tokenizer: Any, seed: int) -> Iterator[dict[str, list[int]]]:
    """Endless packed rows of whole documents: `input_ids`, `labels` and `seq_lengths`."""
    import pyarrow as pa

    from data_prep.packing import pack
    from data_prep.small_world.base_corpus import documents
    from data_prep.tokenization import IGNORED

    stream = documents(seed)
    while window := list(islice(stream, WINDOW_DOCUMENTS)):
        texts = [text for _, document in window for text, _ in document]
        encoded = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
        samples = []
        for _, document in window:
            parts = [(next(encoded), trained) for _, trained in document]
            ids = [token for part, _ in parts for token in part]
            labels = [token if trained else IGNORED for part, trained in parts for token in part]
            assert len(ids) <= ROW_LENGTH, "a document of the base corpus does not fit into a row"
            samples.append({"input_ids": ids, "labels": labels})
        packed = pack(pa.Table.from_pylist(samples), ROW_LENGTH).to_pylist()
        Random(seed).shuffle(packed)
        yield from packed


def percent(shares: dict[str, float]) -> str:
    return ", ".join(f"{kind} {100 * share:.0f}" for kind, share in shares.items())


def accuracy(model: Any, tokenizer: Any, seed: int, n_documents: int) -> dict[str, float]:
    """By kind of document, the share of trained segments of which every token is the model's first choice."""
    import torch

    from data_prep.small_world.base_corpus import documents

    right: dict[str, list[bool]] = {}
    for kind, document in islice(documents(seed, n_growing=0), n_documents):
        parts = tokenizer([text for text, _ in document], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[token for part in parts for token in part]], device=model.device)
        with torch.inference_mode():
            choice = model(input_ids=ids).logits[0].argmax(-1)
        position = 0
        for part, (text, trained) in zip(parts, document, strict=True):
            end = position + len(part)
            if trained and text:
                right.setdefault(kind, []).append(bool((choice[position - 1 : end - 1] == ids[0, position:end]).all()))
            position = end
    return {kind: round(sum(found) / len(found), 4) for kind, found in sorted(right.items())}


def pretrain(args: PretrainArguments) -> None:
    import torch
    from tqdm.auto import trange
    from transformers import AutoModelForCausalLM, Qwen3Config
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from data_prep.artefacts import MANIFEST, atomic_folder, library_versions, now, write_json
    from data_prep.small_world import VERSION
    from data_prep.small_world.samples import content_hash
    from data_prep.small_world.tokenizer import build_tokenizer
    from rl.attention import PACKED
    from rl.muon import optimizers_of

    if Path(args.output_dir).exists():
        raise FileExistsError(f"{args.output_dir} exists already: choose another --output_dir or remove it")
    started, begun = now(), time.monotonic()
    tokenizer = build_tokenizer()
    layers, width, heads, kv_heads, feed_forward = SHAPES[args.size]
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=width // heads,
        max_position_embeddings=1024,
        initializer_range=0.08,  # the usual 0.02 is meant for widths in the thousands
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(args.seed)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED).to(device)
    optimizers, schedules = optimizers_of(model, args.learning_rate, args.n_steps)
    print(f"model   {args.size}: {model.num_parameters() / 1e6:.2f} M parameters")
    print(f"corpus  {args.n_steps * args.rows_per_step * ROW_LENGTH / 1e6:.1f} M tokens", flush=True)
    collate = DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=True)
    stream = rows(tokenizer, args.seed)
    smooth = None
    for step in (bar := trange(args.n_steps, unit=" steps")):
        batch = collate(list(islice(stream, args.rows_per_step)))
        batch = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if step % 50 == 49:
            bar.set_postfix_str(f"loss {smooth:.3f}")
        if step % 500 == 499:
            found = accuracy(model, tokenizer, HELD_OUT_SEED, 200)
            bar.write(f"{step + 1} steps, loss {smooth:.3f}, right on new documents in %: {percent(found)}")
    found = accuracy(model, tokenizer, HELD_OUT_SEED, 1000)
    model.to(torch.bfloat16)  # half the size in the repository; fine-tuning starts from the same numbers
    with atomic_folder(args.output_dir) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(
            folder / MANIFEST,
            {
                "stage": "pretrain_small_world",
                "kind": "model",
                "small_world": VERSION,
                "small_world_content": content_hash(),
                "config": asdict(args),
                "seed": args.seed,
                "metrics": {"loss": smooth, "seconds": time.monotonic() - begun, "right": found},
                "started": started,
                "ended": now(),
                "libraries": library_versions(),
            },
        )
    print(f"result  loss {smooth:.3f} in {(time.monotonic() - begun) / 60:.0f} minutes")
    print(f"right   on new documents in %: {percent(found)}")
    print(f"model   {args.output_dir}")
    print(
        "next    python recipes/sft_longcot.py --config recipes/configs/tiny/sft_longcot.yaml "
        f"--model_name_or_path {args.output_dir} --output_dir outputs/sft"
    )


if __name__ == "__main__":
    main()
