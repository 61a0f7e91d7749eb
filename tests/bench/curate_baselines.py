"""Two pipelines without ours that do the jobs of `recipes/curate.py`, for `tests.bench.curate` to compare with.

    python -m tests.bench.curate_baselines usual ROWS OUTPUT --size 2000 --benchmarks FILE ...
    python -m tests.bench.curate_baselines strong ROWS OUTPUT --size 2000 --benchmarks FILE ...

Both read a folder of JSON lines, convert the thought markers, keep rows whose answer is right, whose thought is closed
and does not run in a loop, one of each group of copies and near-copies of a problem, and none of a benchmark; select
`--size` of them evenly over the levels, and write them as chat messages to zstd Parquet.

`usual` is what the parts' own pages show: `datasets` with `map` and `filter`, Math-Verify on whole responses,
datasketch, sets of n-grams, step by step in the order above. `strong` is written by hand for speed: orjson, one pass
in a pool of processes with the cheap tests first, Math-Verify on the extracted answer where the texts differ, rensa,
hashed n-grams.
"""

import argparse
import json
import logging
import multiprocessing
import random
import re
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache
from gzip import open as open_gzip
from pathlib import Path
from typing import Any

N_GRAM = 8  # words, as in https://github.com/huggingface/open-r1
SIMILAR = 0.8
N_PERMUTATIONS = 128
SCHEME = "affine32"
LOOP = 0.15  # compressed share of a response's end below which it says one thing again and again
END = 4000  # characters
SHORTEST, LONGEST = 50, 200_000  # characters of a response
MARKERS = {"<|begin_of_thought|>": "<think>", "<|end_of_thought|>": "</think>", "<|begin_of_solution|>": "",
           "<|end_of_solution|>": ""}  # fmt: skip


def benchmark_problems(files: list[Path]) -> list[str]:
    problems = []
    for file in files:
        with open_gzip(file, "rt") if file.suffix == ".gz" else file.open() as lines:
            rows = map(json.loads, lines)
            problems += [row.get("question") or row["problem"] for row in rows]
    return problems


def convert(response: str) -> str:
    for marker, ours in MARKERS.items():
        response = response.replace(marker, ours)
    return response.strip()


def normalised(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())


def quality(response: str) -> str | None:
    """What is wrong with a response."""
    if not SHORTEST <= len(response) <= LONGEST:
        return "length"
    if "</think>" not in response:
        return "unclosed thought"
    if "\\boxed" not in response.rpartition("</think>")[2]:
        return "no boxed answer"
    end = response[-END:].encode()
    if len(end) > END // 2 and len(zlib.compress(end, 1)) < LOOP * len(end):
        return "loop"
    return None


def messages(row: dict[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["problem"]}, {"role": "assistant", "content": row["response"]}]


def evenly(levels: list[int | None], size: int, seed: int) -> list[int]:
    """Up to `size` positions, as many of each level as there are, in order."""
    groups = defaultdict(list)
    for i, level in enumerate(levels):
        groups[level].append(i)
    rng, chosen, left = random.Random(seed), [], min(size, len(levels))
    for n, group in enumerate(sorted(groups.values(), key=len)):
        share = min(len(group), left // (len(groups) - n))
        chosen += rng.sample(group, share)
        left -= share
    return sorted(chosen)


def write_manifest(output: Path, n_rows: int, dropped: Counter[str], n_kept: int, n_selected: int) -> None:
    found = {"rows_in": n_rows, "rows_dropped": dict(dropped), "rows_kept": n_kept, "rows_out": n_selected}
    (output / "manifest.json").write_text(json.dumps(found))


# ---------------------------------------------------------------------------------------------------------------- usual


def usual_ngrams(text: str) -> set[tuple[str, ...]]:
    words = normalised(text).split()
    return {tuple(words[i : i + N_GRAM]) for i in range(len(words) - N_GRAM + 1)}


def usual_verify(row: dict[str, Any]) -> dict[str, Any]:
    from math_verify import parse, verify

    try:
        return {"right": bool(verify(parse(f"${row['answer']}$"), parse(row["response"])))}
    except Exception:  # its own on hostile text
        return {"right": False}


def usual_quality(row: dict[str, Any]) -> dict[str, Any]:
    response = row["response"]
    words = response.split()
    runs = Counter(zip(*(words[i:] for i in range(10)), strict=False))
    repeated = sum(n for n in runs.values() if n > 3) / max(sum(runs.values()), 1)
    return {"bad": quality(response) or ("loop" if repeated > 0.3 else "")}


def usual_minhash(row: dict[str, Any]) -> dict[str, Any]:
    from datasketch import MinHash

    text = normalised(row["problem"])
    sketch = MinHash(num_perm=N_PERMUTATIONS, scheme=SCHEME)
    for shingle in {text[i : i + 5] for i in range(max(len(text) - 4, 1))}:
        sketch.update(shingle.encode())
    return {"minhash": sketch.hashvalues}


def usual(rows: Path, output: Path, benchmarks: list[Path], size: int, workers: int, seed: int) -> None:
    import datasets
    from datasketch import MinHash, MinHashLSH

    datasets.disable_progress_bars()
    data = datasets.load_dataset("json", data_files=sorted(map(str, rows.glob("*.jsonl"))), split="train")
    n_rows, dropped = len(data), Counter[str]()

    def keep(column: str, good: Any, reason: str) -> None:
        nonlocal data
        before = len(data)
        data = data.filter(lambda value: value == good, input_columns=column, num_proc=workers).remove_columns(column)
        dropped[reason] += before - len(data)

    took = {}
    began = time.perf_counter()
    data = data.map(lambda row: {"response": convert(row["response"])}, num_proc=workers)
    took["read"] = time.perf_counter() - began
    data = data.map(usual_verify, num_proc=workers)
    keep("right", True, "wrong")
    took["verify"] = time.perf_counter() - began
    data = data.map(usual_quality, num_proc=workers)
    keep("bad", "", "quality")
    took["quality"] = time.perf_counter() - began
    data = data.map(usual_minhash, num_proc=workers)
    index = MinHashLSH(threshold=SIMILAR, num_perm=N_PERMUTATIONS)
    first = []
    for i, values in enumerate(data.with_format("numpy")["minhash"]):
        sketch = MinHash(num_perm=N_PERMUTATIONS, hashvalues=values, scheme=SCHEME)
        if not index.query(sketch):
            index.insert(i, sketch)
            first.append(i)
    dropped["duplicate"] += len(data) - len(first)
    data = data.select(first).remove_columns("minhash")
    took["dedup"] = time.perf_counter() - began
    problems = benchmark_problems(benchmarks)
    grams = set().union(*map(usual_ngrams, problems))
    whole = set(map(normalised, problems))
    data = data.map(
        lambda row: {"seen": normalised(row["problem"]) in whole or not grams.isdisjoint(usual_ngrams(row["problem"]))},
        num_proc=workers,
    )
    keep("seen", False, "contaminated")
    took["contamination"] = time.perf_counter() - began
    n_kept = len(data)
    data = data.select(evenly(data["level"], size, seed))
    data = data.map(lambda row: {"messages": messages(row)}, num_proc=workers, remove_columns=["response"])
    output.mkdir(parents=True)
    data.to_parquet(output / "data.parquet")
    took["write"] = time.perf_counter() - began
    print({step: round(seconds, 1) for step, seconds in took.items()}, "seconds since the beginning")
    write_manifest(output, n_rows, dropped, n_kept, len(data))


# --------------------------------------------------------------------------------------------------------------- strong

BENCHMARK_HASHES: set[int] = set()  # of n-grams and of whole short problems; set before the processes are forked


def strong_hashes(words: list[str]) -> set[int]:
    import xxhash

    if len(words) <= N_GRAM:
        return {xxhash.xxh3_64_intdigest(" ".join(words).encode())}
    grams = (" ".join(words[i : i + N_GRAM]) for i in range(len(words) - N_GRAM + 1))
    return {xxhash.xxh3_64_intdigest(gram.encode()) for gram in grams}


def last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    depth = 0
    for brace in re.finditer(r"[{}]", text[start:]) if start >= 0 else ():
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[start + len("\\boxed{") : start + brace.start()]
    return None


@lru_cache(100_000)
def strong_same(gold: str, answer: str) -> bool:
    """Math-Verify with its own time-outs, which are signals: this is a process of a pool, in its main thread."""
    from math_verify import parse, verify

    if gold.strip() == answer.strip():
        return True
    try:
        return bool(verify(parse(f"\\boxed{{{gold}}}"), parse(f"\\boxed{{{answer}}}")))
    except Exception:
        return False


def strong_block(lines: list[bytes]) -> tuple[Counter[str], list[tuple[dict[str, Any], str]]]:
    """Rows of a block that are good by themselves, each with its normalised problem."""
    import orjson

    dropped, good = Counter[str](), []
    for line in lines:
        row = orjson.loads(line)
        response = row["response"] = convert(row["response"])
        if reason := quality(response):
            dropped[reason] += 1
            continue
        problem = normalised(row["problem"])
        if not BENCHMARK_HASHES.isdisjoint(strong_hashes(problem.split())):
            dropped["contaminated"] += 1
            continue
        answer = last_boxed(response.rpartition("</think>")[2])
        if answer is None or not strong_same(row["answer"], answer):
            dropped["wrong"] += 1
            continue
        good.append((row, problem))
    return dropped, good


def blocks(rows: Path) -> Iterator[list[bytes]]:
    for file in sorted(rows.glob("*.jsonl")):
        with file.open("rb") as lines:
            while block := lines.readlines(1 << 21):
                yield block


def strong(rows: Path, output: Path, benchmarks: list[Path], size: int, workers: int, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from rensa import RMinHashDeduplicator

    began = time.perf_counter()
    for problem in benchmark_problems(benchmarks):
        BENCHMARK_HASHES.update(strong_hashes(normalised(problem).split()))
    index = RMinHashDeduplicator(SIMILAR, N_PERMUTATIONS, True)
    dropped: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    n_seen = 0
    with multiprocessing.get_context("fork").Pool(workers, logging.disable, (logging.CRITICAL,)) as pool:
        for reasons, good in pool.imap(strong_block, blocks(rows)):
            dropped += reasons
            pairs = []
            for n, (_, text) in enumerate(good, n_seen):
                pairs.append((str(n), list({text[i : i + 5] for i in range(max(len(text) - 4, 1))})))
            n_seen += len(good)
            new = index.add_pairs(pairs)
            kept += [row for (row, _), one in zip(good, new, strict=True) if one]
            dropped["duplicate"] += len(good) - sum(new)
    took = {"pass": time.perf_counter() - began}
    chosen = [kept[i] for i in evenly([row["level"] for row in kept], size, seed)]
    table = [{**row, "messages": messages(row)} for row in chosen]
    for row in table:
        del row["response"]
    output.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table), output / "data.parquet", compression="zstd")
    took["write"] = time.perf_counter() - began
    print({step: round(seconds, 1) for step, seconds in took.items()}, "seconds since the beginning")
    write_manifest(output, len(kept) + sum(dropped.values()), dropped, len(kept), len(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("name", choices=["usual", "strong"])
    parser.add_argument("rows", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--benchmarks", type=Path, nargs="*", default=[])
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not list(args.rows.glob("*.jsonl")):
        sys.exit(f"{args.rows}: no .jsonl files")
    logging.disable(logging.CRITICAL)
    pipeline = {"usual": usual, "strong": strong}[args.name]
    pipeline(args.rows, args.output, args.benchmarks, args.size, args.workers, args.seed)


if __name__ == "__main__":
    main()
