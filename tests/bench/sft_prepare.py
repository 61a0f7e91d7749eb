"""A million rows to the first step: start-up, memory, packing and resuming of the streaming SFT recipe.

    python -m tests.bench.sft_prepare --rows 1000000     # about 8 minutes on 2 cores; 2 of them, once, for the data
    python -m tests.bench.sft_prepare --rows 20000       # about 5 minutes

Makes an artefact folder of Long-CoT samples (untimed, kept in `--data` for the next time): the lengths of real
responses, text of made-up words, arithmetic and LaTeX, every row another piece of it; and a tokenizer trained on that
text with a one-layer model, so that reading, tokenising and packing are what takes the time. About 10 kB of text a row:
10 GB for a million, 4 GB on disk; if the disk is too full for that, rows are shortened, and the JSON says how much
(`characters_scale`).

Then runs `recipes/sft_longcot.py --streaming true` as a user does, in a process of its own, and measures

    seconds_to_first_step        from the start of the process to the end of the first optimizer step
    seconds_to_first_step_again  the same command once more with a new output folder: what each start costs
    peak_rss_gib                 largest sum of resident memory over the process tree, sampled 20 times a second; the
                                 run is long enough for the window after the first to have been read beside it
    packing_efficiency           real tokens / (rows * max_length) of the stream's first windows
    same_batches_after_kill      kill -9 in mid-epoch, same command again: the rows of every following step are those of
                                 the uninterrupted run
    same_batches_other_processes killed with one process, continued with two at the same global batch: the same set of
                                 rows in every following step

Rows are compared by a hash of their token ids, which a wrapper around the trainer's `training_step` writes to a log;
the recipe itself is not changed.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import ROOT, machine, print_result, print_table, real_lengths

RECIPE = ROOT / "recipes" / "sft_longcot.py"
MAX_LENGTH = 8192
ROWS_PER_STEP = 2
SAVE_STEPS = 4
N_STEPS = 10
POOL_CHARACTERS = 16_000_000
SPARE_DISK = 15e9
LOG = "REDSTAR_BENCH_LOG"  # the recipe's processes write what they trained on below this folder


# The data: text, tokenizer, model, samples.


def make_text(n_characters: int, seed: int = 0) -> str:
    """Made-up words (frequent ones often, as in real text) in sentences, between lines of arithmetic and LaTeX."""
    rng = np.random.default_rng(seed)
    syllables = np.array([c + v + e for c in "bcdfghlmnprstvw" for v in "aeiou" for e in ("", "n", "r", "s", "t", "l")])
    words = np.unique(["".join(rng.choice(syllables, n)) for n in rng.integers(1, 4, 40_000)])
    rng.shuffle(words)
    n_words = n_characters // 5
    drawn = words[np.minimum(rng.zipf(1.3, n_words) - 1, len(words) - 1)]
    numbers = rng.integers(1, 2000, (n_words // 16 + 1, 2))
    pieces = []
    for i, (a, b) in enumerate(numbers.tolist()):
        sentence = " ".join(drawn[i * 16 : i * 16 + 12])
        maths = f"\\frac{{{a}}}{{{b}}} \\le x^2" if i % 3 == 0 else f"{a} + {b} = {a + b}"
        pieces.append(f"{sentence}, so {maths}." + (" Wait, let me check this.\n\n" if i % 5 == 0 else "\n"))
    return "".join(pieces)[:n_characters]


def make_tokenizer(text: str) -> Any:
    """Byte-level BPE of 2,048 tokens, digits one by one, ChatML, trained on the beginning of the text."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Qwen2.5's rule: https://huggingface.co/Qwen/Qwen2.5-7B/blob/main/tokenizer.json
    pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        [text[i : i + 10_000] for i in range(0, min(len(text), 4_000_000), 10_000)],
        trainers.BpeTrainer(
            vocab_size=2048,
            special_tokens=specials,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=specials[0], eos_token=specials[2])
    fast.chat_template = (
        "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    )
    return fast


def make_model(folder: Path, tokenizer: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=16,
        intermediate_size=16, vocab_size=len(tokenizer), max_position_embeddings=MAX_LENGTH, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_samples(folder: Path, n_rows: int, text: str, characters_per_token: float) -> dict[str, Any]:
    """Writes the artefact folder in the layout of `data_prep.artefacts.write_artefact`, a row group at a time.

    Not with that function: it checks and converts row by row, for half an hour a million.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from data_prep.artefacts import MANIFEST, ROWS_PER_GROUP, ROWS_PER_SHARD, atomic_folder, library_versions, now
    from data_prep.artefacts import write_json as write
    from data_prep.rows import ID_VERSION, MESSAGES, SAMPLE

    started = now()
    raw = np.frombuffer(text.encode(), np.uint8)
    assert len(raw) == len(text), "positions in the text are positions of bytes"
    scale = min(1.0, max(0.05, (shutil.disk_usage(folder.parent).free - SPARE_DISK) / (n_rows * 5_000)))
    all_lengths = np.maximum(50, real_lengths(n_rows) * characters_per_token * scale).astype(int)
    n_written = 0
    per_shard = ROWS_PER_SHARD // ROWS_PER_GROUP * ROWS_PER_GROUP
    with atomic_folder(folder) as temporary:
        writer = None
        for start in range(0, n_rows, ROWS_PER_GROUP):
            n = min(ROWS_PER_GROUP, n_rows - start)
            if start % per_shard == 0:
                if writer:
                    writer.close()
                name = f"data-{start // per_shard:05d}.parquet"
                writer = pq.ParquetWriter(temporary / name, SAMPLE, compression="zstd")
            assert writer is not None
            rng = np.random.default_rng(start)
            lengths = all_lengths[start : start + n]
            begins = rng.integers(0, len(text) - lengths)
            problems = [f"Problem {start + i}: {text[b : b + 200]}" for i, b in enumerate(begins.tolist())]
            thoughts = [
                f"<think>\n{text[b : b + size]}\n</think>\n\nThe answer is \\boxed{{{i}}}."
                for i, (b, size) in enumerate(zip(begins.tolist(), lengths.tolist(), strict=True), start)
            ]
            n_written += sum(map(len, thoughts)) + sum(map(len, problems)) * 2
            contents = [content for pair in zip(problems, thoughts, strict=True) for content in pair]
            turns = pa.StructArray.from_arrays(
                [pa.array(["user", "assistant"] * n), pa.array(contents)], ["role", "content"]
            )
            messages = pa.ListArray.from_arrays(pa.array(np.arange(n + 1) * 2, pa.int32()), turns).cast(MESSAGES)
            ids = [ID_VERSION + hashlib.sha256(problem.encode()).hexdigest()[:24] for problem in problems]
            columns = {
                "problem_id": pa.array(ids),
                "source": pa.array(["bench"] * n),
                "problem": pa.array(problems),
                "answer": pa.array([str(i) for i in range(start, start + n)]),
                "images": pa.array([[]] * n, SAMPLE.field("images").type),
                "messages": messages,
                "verdict": pa.array(["right"] * n),
            }
            arrays = [columns.get(field.name, pa.nulls(n, field.type)) for field in SAMPLE]
            writer.write_table(pa.Table.from_arrays(arrays, schema=SAMPLE))
        if writer:
            writer.close()
        about = {"raw_gb": n_written / 1e9, "characters_scale": scale, "characters_per_token": characters_per_token}
        manifest = {
            "stage": "bench", "kind": "sample", "config": about, "seed": 0, "inputs": {}, "rows_in": n_rows,
            "rows_out": n_rows, "rows_dropped": {}, "started": started, "ended": now(), "libraries": library_versions(),
        }  # fmt: skip
        write(temporary / MANIFEST, manifest)
    return about


def prepare(data: Path, n_rows: int) -> tuple[Path, Path, dict[str, Any]]:
    """Folders of the model and of the samples, made if they are not there yet, and what is known of the samples."""
    from data_prep.artefacts import read_manifest

    model, samples = data / "model", data / f"samples-{n_rows}"
    data.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(samples)
    if manifest is None or not (model / "model.safetensors").exists():
        began = time.perf_counter()
        text = make_text(POOL_CHARACTERS)
        tokenizer = make_tokenizer(text)
        make_model(model, tokenizer)
        shutil.rmtree(samples, ignore_errors=True)
        n_tokens = len(tokenizer(text[:1_000_000], verbose=False)["input_ids"])
        make_samples(samples, n_rows, text, 1_000_000 / n_tokens)
        print(f"made {samples} in {time.perf_counter() - began:.0f} s", flush=True)
        manifest = read_manifest(samples)
    assert manifest is not None
    on_disk = sum(file.stat().st_size for file in samples.iterdir()) / 1e9
    return model, samples, {**manifest["config"], "disk_gb": on_disk}


# One process of the recipe, with a log of what it trains on.


def run_recipe() -> None:
    """Runs the recipe in this process; writes a line for each forward pass and each optimizer step."""
    import runpy

    from rl.sft import LongCotTrainer

    rank = int(os.environ.get("RANK", "0"))
    log = (Path(os.environ[LOG]) / f"rank-{rank}.jsonl").open("a", buffering=1)
    inner = LongCotTrainer.training_step

    def logged(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        row = hashlib.sha256(inputs["input_ids"].cpu().numpy().tobytes()).hexdigest()[:16]
        loss = inner(self, model, inputs, *args, **kwargs)
        line = {
            "step": self.state.global_step,
            "row": row,
            "tokens": inputs["input_ids"].numel(),
            "time": time.monotonic(),
        }
        print(json.dumps(line), file=log)
        return loss

    LongCotTrainer.training_step = logged
    sys.argv = [str(RECIPE), *sys.argv[sys.argv.index("--recipe") + 1 :]]
    runpy.run_path(str(RECIPE), run_name="__main__")


class Run:
    """A start of the recipe: its process tree, the memory that this takes, and the rows that it trains on."""

    def __init__(self, arguments: list[str], folder: Path, n_processes: int = 1):
        folder.mkdir(parents=True)
        self.folder, self.peak_rss = folder, 0
        launcher = [sys.executable]
        if n_processes > 1:
            launcher += ["-m", "torch.distributed.run", f"--nproc_per_node={n_processes}", "--standalone"]
        command = [*launcher, "-m", "tests.bench.sft_prepare", "--recipe", *arguments]
        environment = {**os.environ, LOG: str(folder), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        environment |= {"PYTHONPATH": str(ROOT)}
        self.output = folder / "output.txt"
        self.began = time.monotonic()
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        import psutil

        while self.process.poll() is None:
            total = 0
            try:
                tree = psutil.Process(self.process.pid)
                for process in (tree, *tree.children(recursive=True)):
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self.peak_rss = max(self.peak_rss, total)
            time.sleep(0.05)

    def rows(self) -> dict[int, list[str]]:
        """Hashes of the rows of each step, all processes, sorted; `step` counts from 0."""
        steps: dict[int, list[str]] = defaultdict(list)
        for line in self._lines():
            steps[line["step"]].append(line["row"])
        return {step: sorted(found) for step, found in sorted(steps.items())}

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for file in self.folder.glob("rank-*.jsonl"):
            lines += [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return sorted(lines, key=lambda line: line["time"])

    def seconds_to_step(self, step: int = 0) -> float:
        """Waits until a step is done and returns its time since the start of the process."""
        while True:
            ended = self.process.poll() is not None
            times = [line["time"] for line in self._lines() if line["step"] == step]
            if len(times) >= ROWS_PER_STEP:
                return max(times) - self.began
            if ended:
                raise SystemExit(
                    f"the recipe ended with code {self.process.returncode}:\n{self.output.read_text()[-3000:]}"
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9, the process and its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self) -> None:
        if self.process.wait():
            raise SystemExit(
                f"the recipe ended with code {self.process.returncode}:\n{self.output.read_text()[-3000:]}"
            )


# What is measured.


def windows(model: Path, samples: Path, n_windows: int) -> tuple[float, float, dict[str, Any]]:
    """Packing efficiency over the stream's first windows, seconds to read one, and its rows and tokens."""
    from transformers import AutoTokenizer

    from data_prep.packing import PackedStream
    from data_prep.sources import DatasetConfig
    from data_prep.tokenization import Rules

    tokenizer = AutoTokenizer.from_pretrained(model)
    stream = PackedStream([DatasetConfig(str(samples))], tokenizer, Rules(MAX_LENGTH), True, 0)
    n_windows = min(n_windows, stream.windows_per_epoch)
    n_tokens = n_packed = n_rows = 0
    began = time.perf_counter()
    for window in range(n_windows):
        table, _, tally = stream.read(window)
        n_tokens, n_packed, n_rows = n_tokens + tally.tokens, n_packed + len(table), n_rows + tally.rows
    seconds = (time.perf_counter() - began) / n_windows
    about = {"windows": n_windows, "window_rows": n_rows // n_windows, "window_packed_rows": n_packed // n_windows}
    return n_tokens / (n_packed * MAX_LENGTH), seconds, about


def same_rows(whole: dict[int, list[str]], continued: dict[int, list[str]]) -> bool:
    """Whether a continued run trained on the rows of the whole run, step by step, to its end."""
    steps = sorted(continued)
    gapless = bool(steps) and steps[-1] == max(whole) and all(b - a == 1 for a, b in pairwise(steps))
    return gapless and steps[0] > 0 and all(whole[step] == continued[step] for step in steps)


def main() -> None:
    if "--recipe" in sys.argv:
        run_recipe()
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "redstar-bench-sft-prepare")
    parser.add_argument("--windows", type=int, default=5, help="windows over which packing is measured")
    parser.add_argument("--steps", type=int, default=N_STEPS, help="optimizer steps of the runs that are compared")
    args = parser.parse_args()
    began = time.perf_counter()
    model, samples, about = prepare(args.data.resolve(), args.rows)
    print(f"data: {args.rows:,} rows, {about['raw_gb']:.1f} GB of text, {about['disk_gb']:.1f} GB on disk", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def start(name: str, output: str, accumulate: int = ROWS_PER_STEP, n_processes: int = 1) -> Run:
            options = {
                "model_name_or_path": model, "dataset_name": samples, "streaming": "true", "max_length": MAX_LENGTH,
                "output_dir": folder / "out" / output, "max_steps": args.steps, "per_device_train_batch_size": 1,
                "gradient_accumulation_steps": accumulate, "save_steps": SAVE_STEPS, "logging_steps": SAVE_STEPS,
                "learning_rate": 1e-3, "report_to": "none",
            }  # fmt: skip
            arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
            return Run(arguments, folder / name, n_processes)

        def report(text: str) -> None:
            print(f"{time.perf_counter() - began:6.0f} s  {text}", flush=True)

        first = start("first", "whole")
        seconds_to_first_step = first.seconds_to_step()
        first.wait()
        report(f"first start: {seconds_to_first_step:.1f} s to the first step, peak {first.peak_rss / 2**30:.2f} GiB")

        killed = start("killed", "killed")
        seconds_again = killed.seconds_to_step()
        killed.seconds_to_step(SAVE_STEPS + 2)
        killed.kill()
        # What the second comparison continues from: the same checkpoint, in a folder of its own.
        shutil.copytree(folder / "out" / "killed", folder / "out" / "elsewhere")
        report(f"second start: {seconds_again:.1f} s; killed after step {max(killed.rows()) + 1}")

        continued = start("continued", "killed")
        continued.wait()
        after_kill = same_rows(first.rows(), continued.rows())
        report(f"continued from step {min(continued.rows())}: {'the same' if after_kill else 'OTHER'} rows")

        spread = start("spread", "elsewhere", ROWS_PER_STEP // 2, n_processes=2)
        spread.wait()
        other_processes = same_rows(first.rows(), spread.rows())
        report(f"continued by two processes: {'the same' if other_processes else 'OTHER'} rows")
        seconds_continued, seconds_spread = (run.seconds_to_step(min(run.rows())) for run in (continued, spread))
        peaks = {run.folder.name: run.peak_rss / 2**30 for run in (first, killed, continued, spread)}

    efficiency, window_seconds, window = windows(model, samples, args.windows)
    rows_per_second = window["window_rows"] / window_seconds
    report(f"windows of {window['window_rows']:,} rows: {window_seconds:.1f} s each, packed {efficiency:.2%} full")
    print_table(
        ["", "seconds to first step", "peak GiB"],
        [["first start", seconds_to_first_step, peaks["first"]], ["second start", seconds_again, peaks["killed"]],
         ["continued", seconds_continued, peaks["continued"]],
         ["two processes", seconds_spread, peaks["spread"]]],
    )  # fmt: skip
    print_result(
        {
            "rows": args.rows,
            "seconds_to_first_step": seconds_to_first_step,
            "seconds_to_first_step_again": seconds_again,
            "seconds_to_first_step_continued": seconds_continued,
            "peak_rss_gib": peaks["first"],
            "peak_rss_gib_two_processes": peaks["spread"],
            "packing_efficiency": efficiency,
            "same_batches_after_kill": after_kill,
            "same_batches_other_processes": other_processes,
            "rows_tokenised_per_s": rows_per_second,
            "seconds_per_window": window_seconds,
            **window,
            **about,
            "max_length": MAX_LENGTH,
            "seconds": time.perf_counter() - began,
            **machine(),
        }
    )


if __name__ == "__main__":
    main()
