"""Curation of a million Long-CoT rows by `recipes/curate.py`: time, memory, what it finds; against two usual pipelines.

    REDSTAR_DATA=... python -m tests.bench.curate --rows 1000000        # 16 GB of rows are made first, in some minutes
    REDSTAR_DATA=... python -m tests.bench.curate --rows 50000 --keep   # keeps the rows for the next call
    REDSTAR_DATA=... python -m tests.bench.curate --smoke

*Data*: rows made from the 3,152 real Long-CoT responses below $REDSTAR_DATA. In each row every word of four letters or
more becomes another word of the same length; the digits 2 to 9 are exchanged, in problem, gold and response alike where
this leaves the real verdict as it is (else solution and gold keep theirs); the paragraphs of the thought are shuffled
unless it ends in a loop; and sentences of other problems stand before the problem. So lengths, loops, unclosed
thoughts, forms of answers and the share of right ones are the real ones, and no two problems are alike, but for what is
planted, about 2 % of each: `exact` copies of an earlier row, `respaced` ones (white space, case), `edited` ones (the
same response, a few words of the problem changed), and problems of a benchmark, as they are (`benchmark`) or inside a
longer text (`benchmark_inside`). `truth.parquet` says which.

*Run*: the recipe in a process of its own on all rows: `seconds`, `mb_per_s` of JSON, `peak_rss_gib` (the largest sum of
resident memory over the process tree, five samples a second, which counts shared pages once for each process) and
`peak_pss_gib` (shared pages divided among their processes, one sample a second). `scaling` is rows per second on all
rows over rows per second on the first 50,000.

*Found*: of the planted rows that nothing else has dropped, the share that was found (`recall_*`), and of all other rows
the share that was taken for a copy or for a benchmark's (`false_*`). `wrong_kept` and `right_dropped` are shares of the
rows whose answer our checker, on the real response, finds wrong and right.

*Baselines* (`tests.bench.curate_baselines`): `usual` and `strong` do the same jobs on the first 20,000 rows, taking
turns with the recipe, `--repeats` times; medians. `ratio_*`: their seconds over ours.
"""

import argparse
import json
import lzma
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from gzip import open as open_gzip
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import ROOT, cpu_name, print_result, print_table

RECIPE = ROOT / "recipes" / "curate.py"
DATA_VERSION = 1  # of what the generator writes
PLANTED = {"exact": 0.02, "respaced": 0.02, "edited": 0.02, "benchmark": 0.01, "benchmark_inside": 0.01}
KINDS = ["plain", *PLANTED]
COPIES = ("exact", "respaced", "edited")
ROWS_PER_FILE = 16_000  # about 250 MB
BYTES_PER_ROW = 17_000
ROWS_OF_SCALING = 50_000
BENCHMARKS = ["math500_test.jsonl", "math_test_5000.jsonl.gz", "aime2024_test.jsonl", "amc23_test.jsonl",
              "olympiadbench_test.jsonl"]  # fmt: skip
REASONS = {  # words in a recipe's reason for dropping a row, and what they mean here
    "duplicate": ("duplicate", "per problem"),
    "contaminated": ("benchmark", "contaminat"),
    "answer": ("wrong", "unverifiable", "timed out", "no answer"),
    "selection": ("select", "size", "band"),
}


# ------------------------------------------------------------------------------------------------- data: the templates

WORDS = re.compile(rb"(?<![\\A-Za-z{_|<])[A-Za-z][a-z]{3,15}(?![A-Za-z}_|>])")
WORDS_AND_VARIABLES = re.compile(rb"(?<![\\A-Za-z])(?:[A-Za-z][a-z]{3,15}|[B-HJ-Zb-z])(?![A-Za-z])")
ENVIRONMENT = re.compile(rb"\\(?:begin|end)\{$")
# What an answer is found by, and where a thought turns: these stay, and are not put anywhere else.
KEPT_WORDS = frozenset(
    b"answer answers final boxed correct option choice wait alternatively therefore thus solution result problem "
    b"asked conclusion maybe perhaps check mistake actually".split()
)
DIGITS = b"23456789"
N_EXCHANGES = 4096  # ways to exchange digits
LONGEST_CONTEXT = 700  # bytes


class Vocabulary:
    """Words that may take one another's place: of the same length, both capitalised or neither."""

    def __init__(self, texts: Sequence[bytes]):
        counts = Counter(word for text in texts for word in WORDS.findall(text) if word.lower() not in KEPT_WORDS)
        groups: dict[tuple[bool, int], list[bytes]] = defaultdict(list)
        for word in sorted(word for word, n in counts.items() if n >= 3):
            groups[self.group(word)].append(word)
        for letters in (b"BCDEFGHJKLMNPQRSTUVWXYZ", b"bcdfghjkmnpqrstuvwxyz"):
            groups[letters[0] < 97, 1] = [bytes([letter]) for letter in letters]
        self.words = np.array([word for group in groups.values() for word in group], dtype=object)
        sizes = np.cumsum([0, *map(len, groups.values())])
        self.places = {
            name: (int(start), int(end - start))
            for name, start, end in zip(groups, sizes, sizes[1:], strict=False)
            if end - start >= 20
        }

    @staticmethod
    def group(word: bytes) -> tuple[bool, int]:
        return word[:1].isupper(), len(word)


class Template:
    """A text with slots. `render` puts other words into them, everywhere the same one for the same word."""

    def __init__(self, text: bytes, vocabulary: Vocabulary, words: re.Pattern[bytes], kept: Sequence[tuple[int, int]]):
        pieces, slots, types, ends = [], [], [], 0
        numbers: dict[bytes, int] = {}
        for match in words.finditer(text):
            word = match[0]
            if word.lower() in KEPT_WORDS or vocabulary.group(word) not in vocabulary.places:
                continue
            if ENVIRONMENT.search(text[max(match.start() - 7, 0) : match.start()]):
                continue
            if any(start <= match.start() < end for start, end in kept):
                continue
            pieces.append(text[ends : match.start()])
            slots.append(len(pieces))
            types.append(numbers.setdefault(word, len(numbers)))
            pieces.append(word)
            ends = match.end()
        pieces.append(text[ends:])
        self.pieces = np.array(pieces, dtype=object)
        self.slots, self.types = np.array(slots, np.int32), np.array(types, np.int32)
        places = np.array([vocabulary.places[vocabulary.group(word)] for word in numbers], np.int32).reshape(-1, 2)
        self.starts, self.sizes = places[:, 0], places[:, 1]
        self.vocabulary = vocabulary.words
        self.n_fixed = len(text) - sum(len(pieces[slot]) for slot in slots)

    def render(self, rng: np.random.Generator) -> bytes:
        drawn = self.starts + (rng.random(len(self.starts), np.float32) * self.sizes).astype(np.int32)
        self.pieces[self.slots] = self.vocabulary[drawn][self.types]
        return b"".join(self.pieces.tolist())


@dataclass
class Base:
    """A real response with its problem. `exchangeable`: its verdict stays when digits are exchanged everywhere.

    `problem`: None if a long formula of it would be the same in all variants.
    """

    problem: Template | None
    thought: Template
    solution: Template
    gold: bytes
    source: str
    level: int | None
    exchangeable: bool
    loops: bool
    right: bool


@dataclass
class Row:
    problem: bytes
    answer: bytes
    response: bytes
    source: str
    level: int | None


def boxes(text: str) -> list[tuple[int, int]]:
    """Begin and end of each closed box, in bytes."""
    from data_prep.answers import BOX, closed_at

    found = [(match.start(), closed_at(text, match.end())) for match in BOX.finditer(text)]
    return [(len(text[:start].encode()), len(text[:end].encode())) for start, end in found if end is not None]


def ngrams(text: bytes, n: int = 8) -> set[tuple[bytes, ...]]:
    words = re.findall(rb"\w+", text)
    return set(zip(*(words[i:] for i in range(n)), strict=False))


def is_loop(response: str) -> bool:
    """Whether the end of a response is one passage again and again."""
    end = response[-4000:].encode()
    return len(response) > 4000 and len(zlib.compress(end)) < 0.15 * len(end)


def data_folder() -> Path:
    return Path(os.environ["REDSTAR_DATA"])


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    opener: Any = {".xz": lzma.open, ".gz": open_gzip}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Maker:
    """Makes the rows: `row(i)` is the same in every process and for every number of rows."""

    def __init__(self, seed: int):
        from data_prep.answers import AnswerChecker
        from data_prep.formats import convert_markers

        self.seed = seed
        folder = data_folder()
        rows = read_lines(folder / "long_cot" / "problems.jsonl.xz")
        problems = {(row["dataset"], row["problem_id"]): row for row in rows}
        responses = [row for row in read_lines(folder / "long_cot" / "responses.jsonl.xz") if row["long_cot"]]
        texts = [re.sub(r"\[asy\].*?\[/asy\]", "", row["problem"], flags=re.DOTALL) for row in problems.values()]
        vocabulary = Vocabulary([*(row["response"].encode() for row in responses), *map(str.encode, texts)])
        rng = np.random.default_rng([seed, 0])
        orders = (rng.permutation(list(DIGITS)) for _ in range(4 * N_EXCHANGES))
        moved = [bytes(order.tolist()) for order in orders if (order != list(DIGITS)).all()]  # a third: no digit stays
        self.exchanges = [bytes.maketrans(DIGITS, order) for order in moved[:N_EXCHANGES]]

        golds = [str(problems[row["dataset"], row["problem_id"]]["gold"]) for row in responses]
        converted = [convert_markers(row["response"]) for row in responses]
        with AnswerChecker(workers=2) as checker:
            verdicts = [judgement.verdict for judgement in checker.judge_all(golds, converted)]
            exchangeable = [True] * len(responses)
            for exchange in self.exchanges[:3]:
                table = {old: exchange[old] for old in DIGITS}
                others = checker.judge_all(
                    [gold.translate(table) for gold in golds], [text.translate(table) for text in converted]
                )
                for i, other in enumerate(others):
                    exchangeable[i] &= (other.verdict == "right") == (verdicts[i] == "right")
                    exchangeable[i] &= other.verdict != "timed out"

        def template(text: str) -> Template | None:
            made = Template(text.strip().encode(), vocabulary, WORDS_AND_VARIABLES, [])
            variant = made.render(rng).translate(self.exchanges[0])
            return made if ngrams(text.encode()).isdisjoint(ngrams(variant)) else None

        sentences = [
            template(sentence)
            for text in texts
            for sentence in re.split(r"(?<=[.?!])\s+(?=[A-Z])", text)
            if 40 <= len(sentence) <= 300 and sentence.count("$") % 2 == 0 and "boxed" not in sentence
        ]
        self.context = [sentence for sentence in sentences if sentence]
        templates = {key: template(text) for key, text in zip(problems, texts, strict=True)}
        self.bases = []
        for row, gold, verdict, may in zip(responses, golds, verdicts, exchangeable, strict=True):
            thought, marker, solution = row["response"].partition("<|end_of_thought|>")
            key = row["dataset"], row["problem_id"]
            level = problems[key]["level"]
            self.bases.append(
                Base(
                    templates[key],
                    Template(thought.encode(), vocabulary, WORDS, boxes(thought)),
                    Template((marker + solution).encode(), vocabulary, WORDS, boxes(marker + solution)),
                    gold.encode(),
                    row["dataset"],
                    None if level is None else int(level),
                    may,
                    is_loop(row["response"]),
                    verdict == "right",
                )
            )
        self.vocabulary = vocabulary
        self.benchmarks = [
            row["question"].encode() for name in BENCHMARKS for row in read_lines(folder / "benchmarks" / name)
        ]
        # One of a few words is in no longer text in a way that anybody could tell.
        self.long_benchmarks = [text for text in self.benchmarks if len(re.findall(rb"\w+", text)) >= 20]

    def plan(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Kind of each row (n_rows,), an index of KINDS, and the row that it is a copy of, else -1."""
        rng = np.random.default_rng([self.seed, 1])
        bounds = np.cumsum([0.0, *PLANTED.values()])
        drawn = rng.random(n_rows)
        kinds = np.searchsorted(bounds, drawn, "right") % len(KINDS)
        kinds[0] = 0
        plain = np.flatnonzero(kinds == 0)
        before = np.searchsorted(plain, np.arange(n_rows))  # plain rows before each row
        copied = plain[(np.random.default_rng([self.seed, 2]).random(n_rows) * before).astype(int)]
        return kinds, np.where(np.isin(kinds, [KINDS.index(kind) for kind in COPIES]), copied, -1)

    def generator(self, row: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 3, row])

    def base_number(self, row: int) -> int:
        return int(self.generator(row).integers(len(self.bases)))

    def row(self, row: int, kind: str = "plain", copied: int = -1) -> Row:
        rng = self.generator(row)
        if kind in COPIES:
            made = self.row(copied)
            if kind == "respaced":
                made.problem, made.response = respaced(made.problem, rng), made.response.replace(b"\n", b" \n")
            elif kind == "edited":
                made.problem = self.edited(made.problem, rng)
            return made
        base = self.bases[int(rng.integers(len(self.bases)))]
        exchange = self.exchanges[int(rng.integers(N_EXCHANGES))]
        thought, solution, gold = base.thought.render(rng).translate(exchange), base.solution.render(rng), base.gold
        if base.exchangeable:
            solution, gold = solution.translate(exchange), gold.translate(exchange)
        if not base.loops:
            first, *paragraphs = thought.split(b"\n\n")
            order = rng.permutation(len(paragraphs) - 1).tolist() if paragraphs else []
            thought = b"\n\n".join([first, *map(paragraphs.__getitem__, order), *paragraphs[-1:]])
        if kind == "benchmark":
            problem = self.benchmarks[int(rng.integers(len(self.benchmarks)))]
        elif kind == "benchmark_inside":
            inner = self.long_benchmarks[int(rng.integers(len(self.long_benchmarks)))]
            problem = b" ".join([self.sentences(rng, 40), inner, self.sentences(rng, 40)])
        else:
            # As much of other problems as there is in this one that every variant has.
            problem = self.sentences(rng, min(80 + base.problem.n_fixed, LONGEST_CONTEXT) if base.problem else 200)
            if base.problem:
                problem += b" " + base.problem.render(rng).translate(exchange)
        return Row(problem, gold, thought + solution, base.source, base.level)

    def sentences(self, rng: np.random.Generator, n_bytes: int) -> bytes:
        found, n = [], 0
        while n < n_bytes:
            template = self.context[int(rng.integers(len(self.context)))]
            found.append(template.render(rng).translate(self.exchanges[int(rng.integers(N_EXCHANGES))]))
            n += len(found[-1])
        return b" ".join(found)

    def edited(self, problem: bytes, rng: np.random.Generator) -> bytes:
        """One to three words dropped, repeated or replaced."""
        words = problem.split(b" ")
        plain = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 2]
        for i in sorted(rng.permutation(plain)[: 1 + min(len(problem) // 250, 2)].tolist(), reverse=True):
            other = self.vocabulary.words[int(rng.integers(len(self.vocabulary.words)))]
            words[i : i + 1] = [[], [words[i], words[i]], [other]][int(rng.integers(3))]
        return b" ".join(words)


def respaced(problem: bytes, rng: np.random.Generator) -> bytes:
    """Some spaces as two or as a line end, some words capitalised."""
    words = problem.split(b" ")
    drawn = rng.random(len(words)).tolist()
    spaces = [b"  " if d < 0.15 else b"\n" if d < 0.2 else b" " for d in drawn]
    words = [word.capitalize() if d > 0.8 and word.isalpha() else word for word, d in zip(words, drawn, strict=True)]
    return b"".join(part for pair in zip(words, spaces, strict=True) for part in pair)


# ----------------------------------------------------------------------------------------------------- data: the files


@cache
def maker(seed: int) -> Maker:
    return Maker(seed)


def write_file(task: tuple[Path, int, int, int, int]) -> tuple[int, int]:
    """Writes one file of rows, if it is not there yet. Returns rows and bytes."""
    import orjson

    folder, number, n_rows, rows_per_file, seed = task
    path = folder / f"data-{number:05d}.jsonl"
    first, last = number * rows_per_file, min((number + 1) * rows_per_file, n_rows)
    if not path.exists():
        make = maker(seed)
        kinds, copied = make.plan(last)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb", buffering=1 << 22) as output:
            for i in range(first, last):
                row = make.row(i, KINDS[kinds[i]], int(copied[i]))
                fields = {
                    "problem": row.problem.decode(), "answer": row.answer.decode(), "response": row.response.decode(),
                    "source": row.source, "level": row.level,
                }  # fmt: skip
                output.write(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))
        unfinished.rename(path)
    return last - first, path.stat().st_size


def write_truth(path: Path, n_rows: int, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    make = maker(seed)
    kinds, copied = make.plan(n_rows)
    bases = np.array([make.base_number(i if of < 0 else of) for i, of in enumerate(copied.tolist())], np.int32)
    right = np.array([base.right for base in make.bases])[bases]
    names = pa.DictionaryArray.from_arrays(pa.array(kinds, pa.int8()), KINDS)
    columns = {"row": pa.array(np.arange(n_rows)), "kind": names, "copy_of": pa.array(copied), "base": pa.array(bases)}
    pq.write_table(pa.table({**columns, "right": pa.array(right)}), path, compression="zstd")


def make_data(folder: Path, n_rows: int, seed: int, processes: int = 2) -> dict[str, Any]:
    """Rows in `folder/rows`, made unless they are there, and what is known of them. Exits if the disk is too full."""
    wanted = {"version": DATA_VERSION, "rows": n_rows, "seed": seed, "planted": PLANTED, "rows_per_file": ROWS_PER_FILE}
    about, rows = folder / "about.json", folder / "rows"
    known = json.loads(about.read_text()) if about.exists() else {}
    if {key: known.get(key) for key in wanted} != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        known = wanted
    elif "input_gb" in known:
        return {**known, "made": False}
    rows.mkdir(parents=True, exist_ok=True)
    about.write_text(json.dumps(known))
    there = sum(file.stat().st_size for file in rows.iterdir())
    # The rows, the slices, and what the recipe writes, which is compressed.
    needed = 1.6 * n_rows * BYTES_PER_ROW + 2e9 - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        sys.exit(f"{folder}: {needed / 1e9:.0f} GB are needed for {n_rows:,} rows, {free / 1e9:.0f} GB are free: "
                 "take fewer --rows or another --data")  # fmt: skip
    began = time.perf_counter()
    maker(seed)  # once, before the processes are forked
    prepared = time.perf_counter()
    print(f"{prepared - began:6.1f} s  read {len(maker(seed).bases):,} responses", flush=True)
    files = range((n_rows - 1) // ROWS_PER_FILE + 1)
    tasks = [(rows, number, n_rows, ROWS_PER_FILE, seed) for number in files]
    n_bytes = n_done = 0
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for n, size in pool.imap_unordered(write_file, tasks):
            n_done, n_bytes, seconds = n_done + n, n_bytes + size, time.perf_counter() - prepared
            print(f"{seconds:6.1f} s  {n_done:,} rows, {n_bytes / 1e9:.2f} GB, {n_bytes / seconds / 1e6:.0f} MB/s",
                  flush=True)  # fmt: skip
    write_truth(folder / "truth.parquet", n_rows, seed)
    about.write_text(json.dumps({**wanted, "input_gb": n_bytes / 1e9}))
    return {**wanted, "input_gb": n_bytes / 1e9, "made": True}


def first_rows(folder: Path, n_rows: int) -> Path:
    """A folder with the first rows alone."""
    sliced = folder / f"first-{n_rows}"
    if not (sliced / "data-00000.jsonl").exists():
        sliced.mkdir(exist_ok=True)
        with (sliced / "data-00000.unfinished").open("wb") as output:
            lines = (line for file in sorted((folder / "rows").glob("*.jsonl")) for line in file.open("rb"))
            output.writelines(islice(lines, n_rows))
        (sliced / "data-00000.unfinished").rename(sliced / "data-00000.jsonl")
    return sliced


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.jsonl"))


# ------------------------------------------------------------------------------------------------------ run and measure


class Run:
    """A command in a process of its own; `seconds`, and memory of its process tree in bytes."""

    def __init__(self, command: Sequence[str | Path], log: Path, **variables: str):
        self.peak_rss = self.peak_pss = 0
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **variables}
        began = time.perf_counter()
        with log.open("w") as output:
            process = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=output, stderr=output)
        watching = threading.Thread(target=self.watch, args=(process,), daemon=True)
        watching.start()
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
        self.seconds = time.perf_counter() - began
        watching.join()
        if code:
            raise SystemExit(f"{' '.join(map(str, command))}\nended with code {code}:\n{log.read_text()[-3000:]}")

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        import psutil

        sampled_pss = 0.0
        while process.poll() is None:
            with suppress(psutil.Error, OSError):
                tree = psutil.Process(process.pid)
                members = [tree, *tree.children(recursive=True)]
                self.peak_rss = max(self.peak_rss, sum(map(resident, members)))
                if time.monotonic() - sampled_pss > 1:
                    self.peak_pss = max(self.peak_pss, sum(proportional(member.pid) for member in members))
                    sampled_pss = time.monotonic()
            time.sleep(0.2)


def resident(process: Any) -> int:
    import psutil

    try:
        return process.memory_info().rss
    except psutil.Error:  # it has ended
        return 0


def proportional(pid: int) -> int:
    """Resident bytes of a process, those that it shares divided by how many share them; 0 where that isn't told."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def benchmark_files() -> list[Path]:
    return [data_folder() / "benchmarks" / name for name in BENCHMARKS]


def settings(rows: Path, output: Path, size: int, workers: int, seed: int) -> dict[str, Any]:
    """The recipe's configuration, as it stands in a YAML file."""
    return {
        "inputs": [{"path": str(rows)}],
        "benchmarks": [str(file) for file in benchmark_files()],
        "output_dir": str(output),
        "workers": workers,
        "seed": seed,
        "size": size,
        "per_problem": 1,  # as the baselines do: another response to the same problem is a copy
        "difficulty": "level",
        "bands": [2.0, 4.0],
    }


def run_ours(rows: Path, output: Path, size: int, workers: int, seed: int, *options: str) -> Run:
    """The recipe as a user runs it."""
    import yaml

    shutil.rmtree(output, ignore_errors=True)
    config = output.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings(rows, output, size, workers, seed), sort_keys=False))
    command: list[str | Path] = [sys.executable, RECIPE, "--config", config, "--output_dir", output]
    return Run([*command, "--workers", str(workers), *options], output.with_suffix(".log"))


def run_baseline(name: str, rows: Path, output: Path, size: int, workers: int, seed: int) -> Run:
    shutil.rmtree(output, ignore_errors=True)
    command: list[str | Path] = [sys.executable, "-m", "tests.bench.curate_baselines", name, rows, output]
    command += ["--size", str(size), "--workers", str(workers), "--seed", str(seed), "--benchmarks", *benchmark_files()]
    kept = output.with_name(f"{output.name}-cache")
    try:
        return Run(command, output.with_suffix(".log"), HF_DATASETS_CACHE=str(kept), HF_HOME=str(kept))
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def tokens_seconds(rows: Path, output: Path, tokenizer: Path, size: int, workers: int, seed: int) -> float | None:
    """Seconds that exact token counting takes on the rows of a folder, by the recipe's own clock."""
    run_ours(rows, output, size, workers, seed, "--count_tokens", "exact", "--tokenizer", str(tokenizer))
    return manifest(output)["tokens"]["seconds"]


def manifest(output: Path) -> dict[str, Any]:
    return json.loads((output / "manifest.json").read_text())


def decisions(output: Path) -> dict[int, str | None]:
    """Why each row was dropped, None for those that are kept; rows are numbered in the order of the files."""
    import pyarrow.parquet as pq

    table = pq.read_table(sorted((output / "report").glob("decisions-*.parquet")), columns=["row", "reason"])
    return dict(enumerate(table.sort_by("row")["reason"].to_pylist()))


def meaning(reason: str | None) -> str:
    """`kept`, a key of REASONS, or `other`. What only the selection left out was found to be good: `kept`."""
    if reason is None:
        return "kept"
    found = next((key for key, words in REASONS.items() if any(word in reason for word in words)), "other")
    return "kept" if found == "selection" else found


def found_rows(truth: Path, reasons: dict[int, str | None]) -> dict[str, Any]:
    """What was found of the planted rows, and what was found among the others; see the head of this file."""
    import pyarrow.parquet as pq

    table = pq.read_table(truth).to_pydict()
    kinds, copied, right = table["kind"], table["copy_of"], table["right"]
    known = {reason: meaning(reason) for reason in set(reasons.values())}
    what = [known[reasons[i]] for i in range(len(kinds))]
    counts: Counter[str] = Counter()
    has_copies = set(copied)
    for i, kind in enumerate(kinds):
        if kind in COPIES:
            pair = (what[i], what[copied[i]])
            if all(one in ("kept", "duplicate") for one in pair):  # nothing else has dropped either
                counts[f"of_{kind}"] += 1
                counts[f"found_{kind}"] += "duplicate" in pair
        elif kind == "plain":
            counts["of_plain"] += 1
            counts["contaminated_plain"] += what[i] == "contaminated"
            if i not in has_copies:
                counts["of_single"] += 1
                counts["duplicate_single"] += what[i] == "duplicate"
        elif what[i] in ("kept", "contaminated"):
            counts[f"of_{kind}"] += 1
            counts[f"found_{kind}"] += what[i] == "contaminated"
        counts["of_wrong" if not right[i] else "of_right"] += 1
        counts["wrong_kept"] += not right[i] and what[i] == "kept"
        counts["right_dropped"] += right[i] and what[i] == "answer"

    def share(part: str, whole: str) -> float | None:
        return counts[part] / counts[whole] if counts[whole] else None

    return {
        **{f"recall_{kind}": share(f"found_{kind}", f"of_{kind}") for kind in PLANTED},
        "false_duplicate": share("duplicate_single", "of_single"),
        "false_contaminated": share("contaminated_plain", "of_plain"),
        "wrong_kept": share("wrong_kept", "of_wrong"),
        "right_dropped": share("right_dropped", "of_right"),
    }


# ----------------------------------------------------------------------------------------------------------------- main


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--baseline_rows", type=int, default=20_000)
    parser.add_argument("--size", type=int, help="rows that are selected (default: a tenth)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="turns of the recipe and the baselines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "redstar-bench-curate")
    parser.add_argument("--keep", action="store_true", help="leave the rows that were made for the next call")
    parser.add_argument("--tokenizer", type=Path, help="also counts tokens exactly, in a run of its own")
    parser.add_argument("--skip_ours", action="store_true")
    parser.add_argument("--skip_usual", action="store_true", help="27 rows a second and core")
    parser.add_argument("--skip_strong", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="2,000 rows, of which 300 for the baselines")
    args = parser.parse_args()
    if args.smoke:
        args.rows, args.baseline_rows = 2_000, 300
    args.baseline_rows = min(args.baseline_rows, args.rows)
    args.size = args.size or max(args.rows // 10, 1)
    return args


def compare(args: argparse.Namespace, folder: Path, output: Path) -> dict[str, Any]:
    """Seconds on the first `baseline_rows`, all sides in turns."""
    rows = first_rows(folder, args.baseline_rows)
    size = max(args.baseline_rows // 10, 1)
    sides = [side for side in ("ours", "strong", "usual") if not getattr(args, f"skip_{side}")]
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    n_kept: dict[str, int] = {}
    for _ in range(args.repeats):
        for side in sides:
            target = output / side
            if side == "ours":
                run = run_ours(rows, target, size, args.workers, args.seed)
                n_kept[side] = manifest(target)["rows_out"]
            else:
                run = run_baseline(side, rows, target, size, args.workers, args.seed)
                n_kept[side] = manifest(target)["rows_kept"]
            runs[side].append(run)
            print(f"{side}: {run.seconds:.1f} s on {args.baseline_rows:,} rows, {n_kept[side]:,} kept", flush=True)
    seconds = {side: statistics.median(run.seconds for run in runs[side]) for side in sides}
    print_table(
        ["side", "seconds", "rows/s", "MB/s", "peak GiB", "rows kept"],
        [[side, seconds[side], args.baseline_rows / seconds[side], size_of(rows) / seconds[side] / 1e6,
          max(run.peak_rss for run in runs[side]) / 2**30, n_kept[side]] for side in sides],
    )  # fmt: skip
    result: dict[str, Any] = {"baseline_rows": args.baseline_rows, "repeats": args.repeats}
    for side in sides:
        result[f"ours_seconds_{args.baseline_rows}" if side == "ours" else f"{side}_seconds"] = seconds[side]
        if side != "ours" and "ours" in sides:
            result[f"ratio_{side}"] = seconds[side] / seconds["ours"]
    return result


def main() -> None:
    args = parse()
    if "REDSTAR_DATA" not in os.environ:
        sys.exit("tests.bench.curate needs long_cot/ and benchmarks/ below the folder named by $REDSTAR_DATA")
    began = time.perf_counter()
    folder, output = args.data.resolve() / f"rows-{args.rows}", args.data.resolve() / "output"
    about = make_data(folder, args.rows, args.seed, args.workers)
    input_gb = about["input_gb"]
    print(f"data: {args.rows:,} rows, {input_gb:.2f} GB in {folder}", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"rows": args.rows, "input_gb": input_gb}
    try:
        if not args.skip_ours:
            whole = run_ours(folder / "rows", output / "all", args.size, args.workers, args.seed)
            told, found = manifest(output / "all"), decisions(output / "all")
            print(f"ours: {whole.seconds:.1f} s on {args.rows:,} rows", flush=True)
            known = found_rows(folder / "truth.parquet", found)
            shutil.rmtree(output / "all")
            rate, tokens = args.rows / whole.seconds, None
            n_few = min(args.rows, ROWS_OF_SCALING)
            few, few_size, few_rate = first_rows(folder, n_few), max(n_few // 10, 1), rate
            if n_few < args.rows:
                few_rate = n_few / run_ours(few, output / "few", few_size, args.workers, args.seed).seconds
            if args.tokenizer:
                tokens = tokens_seconds(few, output / "tokens", args.tokenizer, few_size, args.workers, args.seed)
            print_table(
                ["ours", "seconds", "rows/s", "MB/s", "peak RSS GiB", "peak PSS GiB"],
                [[f"{args.rows:,} rows", whole.seconds, rate, input_gb * 1e3 / whole.seconds,
                  whole.peak_rss / 2**30, whole.peak_pss / 2**30]],
            )  # fmt: skip
            result |= {
                "seconds": whole.seconds,
                "mb_per_s": input_gb * 1e3 / whole.seconds,
                "rows_per_s": rate,
                "rows_per_s_at_50000": few_rate,
                "scaling": rate / few_rate,
                "tokens_seconds": tokens,
                "peak_rss_gib": whole.peak_rss / 2**30,
                "peak_pss_gib": whole.peak_pss / 2**30,
                "rows_in": told["rows_in"],
                "rows_out": told["rows_out"],
                "rows_dropped": told["rows_dropped"],
                **known,
            }
        if not (args.skip_usual and args.skip_strong):
            result |= compare(args, folder, output)
    finally:
        shutil.rmtree(output, ignore_errors=True)
        if about["made"] and not args.keep:
            shutil.rmtree(folder)
    print_result({**result, "workers": args.workers, "device": f"{cpu_name()}, {os.cpu_count()} cores",
                  "seconds_in_all": time.perf_counter() - began})  # fmt: skip


if __name__ == "__main__":
    main()
