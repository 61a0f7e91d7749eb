"""What the benchmarks share: real sample lengths, random samples, memory, the machine, the last line of output."""

import json
import lzma
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS_PER_TOKEN = 3.2
LONGEST = 16_384
# Quantiles 0, 1/32, ..., 1 of the lengths in tokens (about 3.2 characters each, cut at 16,384) of the 3,152 Long-CoT
# responses that NovaSky-AI/SkyThought publishes (Apache-2.0): mean 3,260, median 1,240, one in ten at the cut.
LENGTH_QUANTILES = [
    35, 282, 322, 351, 375, 401, 431, 460, 491, 520, 556, 605, 663, 744, 887, 1084, 1235, 1451, 1640, 1841, 2114, 2362,
    2629, 2875, 3154, 3453, 3996, 4866, 7057, 16384, 16384, 16384, 16384,
]  # fmt: skip
N_PROMPT = 100  # tokens of the prompt, which carry no loss
LIBRARIES = ("torch", "transformers", "trl", "accelerate", "datasets", "flash-attn", "kernels")


@cache
def length_quantiles() -> np.ndarray:
    """Evenly spaced quantiles of the real lengths, in tokens."""
    if not (data := os.environ.get("REDSTAR_DATA")):
        return np.array(LENGTH_QUANTILES, dtype=float)
    with lzma.open(Path(data) / "long_cot" / "responses.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        n_characters = [len(row["response"]) for row in rows if row["long_cot"]]
    return np.sort(np.minimum(np.array(n_characters) / CHARACTERS_PER_TOKEN, LONGEST))


def real_lengths(n: int, max_length: int = LONGEST, overlong: str = "cut", seed: int = 0) -> np.ndarray:
    """Lengths (n,) of Long-CoT samples in tokens, in random order; those over `max_length` are cut to it or dropped.

    They are evenly spaced quantiles, so that few samples stand for the distribution as well as they can. It is read
    from `long_cot/responses.jsonl.xz` below $REDSTAR_DATA if that is set, else it is the table above.
    """
    quantiles = length_quantiles()
    positions = np.linspace(0, 1, len(quantiles))
    whole = np.interp(max_length, quantiles, positions) if overlong == "drop" and max_length < LONGEST else 1.0
    lengths = np.minimum(np.interp((np.arange(n) + 0.5) / n * whole, positions, quantiles), max_length)
    return np.random.default_rng(seed).permutation(np.round(lengths).astype(int))


def random_samples(lengths: np.ndarray, vocabulary: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Samples of random `input_ids`; `labels` are -100 on the prompt, which takes at most half of a sample."""
    rng = np.random.default_rng(seed)
    samples = []
    for length in lengths:
        ids = rng.integers(0, vocabulary, length, dtype=np.int32)
        labels = ids.copy()
        labels[: min(N_PROMPT, length // 2)] = -100
        samples.append({"input_ids": ids, "labels": labels})
    return samples


def packing_efficiency(lengths: np.ndarray, max_length: int) -> float:
    """Share of packed rows of `max_length` that is filled, by the packing that the recipe uses on these lengths."""
    import pyarrow as pa

    from data_prep.packing import pack

    offsets = pa.array(np.concatenate([[0], lengths.cumsum()]), pa.int64())
    values = pa.array(np.zeros(lengths.sum(), np.int8))
    table = pa.table({"input_ids": pa.LargeListArray.from_arrays(offsets, values)})
    return float(lengths.sum() / (len(pack(table, max_length)) * max_length))


def real_share_when_padded(lengths: np.ndarray, batch_size: int, n_orders: int = 20) -> float:
    """Share of real tokens in batches that are padded to their longest sample, over random orders."""
    rng, real, padded = np.random.default_rng(0), 0, 0
    whole = len(lengths) // batch_size * batch_size
    for _ in range(n_orders):
        batches = rng.permutation(lengths)[:whole].reshape(-1, batch_size)
        real, padded = real + batches.sum(), padded + batches.max(axis=1).sum() * batch_size
    return float(real / padded)


def reset_peak_memory() -> None:
    """Starts a new measurement of this process's peak memory."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Peak bytes since `reset_peak_memory`: allocated on the GPU, else resident in this process (Linux: VmHWM)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def in_turn(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; all are run once before."""
    for work in sides.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            seconds[name].append(timed(work))
    return {name: median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """Device, cores, threads and library versions."""
    import torch

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{cpu_name()}, {os.cpu_count()} cores"
    return {"device": device, "threads": torch.get_num_threads(), "python": platform.python_version(), **versions}


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []  # fmt: skip
    return names[0] if names else platform.processor() or platform.machine()


def small_tokenizer() -> Any:
    """A tokenizer of one token, for trainers that want one although the samples are token ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<|endoftext|>": 0}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>")),
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )


def print_table(columns: list[str], rows: list[list[Any]]) -> None:
    """Prints rows under their columns; numbers to the right."""
    cells = [[f"{cell:,.3g}" if isinstance(cell, float) and abs(cell) < 100 else f"{cell:,.0f}"
              if isinstance(cell, float) else str(cell) for cell in row] for row in rows]  # fmt: skip
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [columns, *cells]:
        print(
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        )
    sys.stdout.flush()


def print_result(result: dict[str, Any]) -> None:
    """The last line of a benchmark: its result as one JSON object."""
    print(json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in result.items()}), flush=True)
