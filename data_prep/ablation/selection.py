"""Which samples each cell trains on: beginnings of one random order of what its band and filters leave.

A smaller size is the beginning of a larger one of the same seed, seeds draw anew, and what is never drawn is a test
problem. The order is written once as an artefact folder; a cell names it and how many rows of it it wants.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.ablation.cells import token_range
from data_prep.ablation.settings import Cell, Response, StudyArguments, label
from data_prep.artefacts import cache_folder, hash_path, read_manifest, write_artefact
from data_prep.bands import band_of
from data_prep.benchmarks import find_benchmarks, group_column, read_benchmark
from data_prep.config import nearest
from data_prep.formats import END_THINK, THINK
from data_prep.small_world.samples import small_world_folder
from data_prep.sources import find_files
from data_prep.tokenization import Rules, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LENGTH_BINS = 20  # of equally many samples each, within which bands are matched
UNKNOWN = "no band"
COUNTING = 1  # changes with the way tokens are counted, so that no old counts are found
N_SMALL_WORLD = 6000  # samples, where `small-world` is asked for
CHARACTERS_PER_TOKEN = 3.2  # of Long-CoT mathematics, where only an estimate can be had


@dataclass(frozen=True)
class Selection:
    """What a cell trains on, or why it cannot.

    n_rows: rows of the cell's data. tokens: of those rows, once; trained_tokens: that carry the loss. Where there are
    too few samples, n_rows and tokens are what would be needed, by the mean of those that there are.
    """

    n_rows: int = 0
    n_problems: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    fault: str | None = None


def variant(row: Mapping[str, Any], response: Response) -> list[dict[str, str]] | None:
    """The messages with the last turn as wanted; None where it has no thought that could be left out or shuffled."""
    messages = [dict(message) for message in row["messages"]]
    if response == "long":
        return messages
    content = messages[-1]["content"]
    thought, closed, answer = content.partition(END_THINK)
    if not closed or not answer.strip():
        return None
    if response == "short":
        messages[-1]["content"] = answer.strip()
        return messages
    opening = THINK if thought.lstrip().startswith(THINK) else ""
    paragraphs = [part for part in thought.lstrip().removeprefix(THINK).strip().split("\n\n") if part.strip()]
    Random(f"shuffled/{row['problem_id']}").shuffle(paragraphs)
    messages[-1]["content"] = f"{opening}\n" + "\n\n".join(paragraphs) + f"\n{END_THINK}{answer}"
    return messages


class Pool:
    """The samples of a study, their bands, and how many tokens they have for each model.

    `left_out`: rows that no cell can have, by reason. Raises ValueError, FileNotFoundError.
    """

    def __init__(self, study: StudyArguments):
        from datasets import Dataset
        from datasets.exceptions import DatasetGenerationError

        small = study.samples == "small-world"
        folder = small_world_folder("train", N_SMALL_WORLD) if small else Path(study.samples)
        manifest = read_manifest(folder) if folder.is_dir() else None
        if manifest is None or manifest.get("kind") != "sample":
            raise ValueError(f"samples: {folder}: no artefact folder of samples (see recipes/curate.py)")
        files = [str(path) for path in find_files(folder)]
        try:
            self.rows = Dataset.from_parquet(files, cache_dir=str(cache_folder() / "datasets"))
        except (ValueError, DatasetGenerationError) as error:
            raise ValueError(f"samples: {folder}: unreadable ({' '.join(str(error).split())})") from None
        if lacking := {"problem_id", "problem", "messages"} - set(self.rows.column_names):
            raise ValueError(f"samples: {folder}: no column {min(lacking)!r}; curate.py writes what is needed")
        self.hash = hash_path(folder)
        self.left_out: Counter[str] = Counter()
        self.rates: dict[str, dict[str, float]] = {}  # pass rates of this model, where they are given
        self.lengths: dict[tuple[str, Response], tuple[np.ndarray, np.ndarray]] = {}
        self.ids = np.array(self.rows["problem_id"][:], dtype=object)
        self.band = self.bands(study)
        self.number = numbers_within(self.ids)

    def bands(self, study: StudyArguments) -> np.ndarray:
        """Band of each row, from the pass rates of this model where they are given, else as curated."""
        if study.pass_rates is not None:
            rates = pass_rates(study.pass_rates)
            self.rates[label(study.model_name_or_path)] = rates
            found = [UNKNOWN if i not in rates else band_of(rates[i], study.bands) for i in self.ids]
            self.left_out[f"no pass rate in {study.pass_rates}"] = found.count(UNKNOWN)
        elif "band" in self.rows.column_names:
            found = [band or UNKNOWN for band in self.rows["band"][:]]
            self.left_out["no band"] = found.count(UNKNOWN)
        else:
            raise ValueError(
                f"samples: {study.samples} has no column 'band': curate with --difficulty, or give --pass_rates"
            )
        return np.array(found, dtype=object)

    def count_tokens(
        self, model: str, response: Response, tokenizer: "PreTrainedTokenizerBase", rules: Rules, workers: int
    ) -> None:
        """Counts the tokens of every row as this model would be trained on it; 0 where it would be left out."""
        backend = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else str(tokenizer.get_vocab())
        key = [COUNTING, self.hash, response, str(rules), tokenizer.chat_template, backend]
        name = hashlib.sha256("\n".join(map(str, key)).encode()).hexdigest()
        table = self.rows.map(
            partial(count_row, tokenizer=tokenizer, rules=rules, response=response),
            remove_columns=self.rows.column_names,
            num_proc=workers if len(self.rows) > 5_000 and workers > 1 else None,
            new_fingerprint=name[:32],
            desc=f"tokens of {label(model)}, {response}",
        )
        self.lengths[model, response] = (np.array(table["tokens"][:]), np.array(table["trained"][:]))
        for reason, n in Counter(table["reason"][:]).items():
            if reason:
                self.left_out[f"{reason} ({label(model)}, {response})"] = n

    def estimate_tokens(self, model: str, response: Response) -> None:
        """The same by the number of characters, for a plan where the model's tokenizer is not at hand."""
        table = self.rows.map(
            partial(estimate_row, response=response), remove_columns=self.rows.column_names, desc="characters"
        )
        self.lengths[model, response] = (np.array(table["tokens"][:]), np.array(table["trained"][:]))

    def order(self, cell: Cell) -> np.ndarray:
        """Row numbers in the order of which cells of this data train on a beginning."""
        tokens = self.lengths[cell.model, cell.response][0]
        low, high = token_range(cell.length)
        usable = (tokens > 0) & (tokens >= low) & (tokens <= high) & (self.band != UNKNOWN)
        for column, value in cell.where:
            usable &= self.column(column, value)
        keys = np.array([random_key(cell.seed, i, n) for i, n in zip(self.ids, self.number, strict=True)])
        if cell.per_problem:
            usable &= within_problem(self.ids, keys, usable) < cell.per_problem
            # The responses of a problem stand together, so that a beginning holds whole problems.
            keys = np.array([random_key(cell.seed, i, -1) for i in self.ids]) + keys * 1e-12
        if cell.matched:
            keys, usable = matched_keys(keys, usable, self.band, tokens, cell)
        if cell.band != "all":
            usable &= self.band == cell.band
        rows = np.flatnonzero(usable)
        return rows[np.argsort(keys[rows], kind="stable")]

    def column(self, name: str, value: Any) -> np.ndarray:
        """Which rows have this value. Raises ValueError where no row has it."""
        if name not in self.rows.column_names:
            raise ValueError(
                f"where: the samples have no column {name!r}{nearest(name, self.rows.column_names)}; "
                f"they have {', '.join(self.rows.column_names)}"
            )
        values = self.rows[name][:]
        found = np.array([entry == value for entry in values])
        if not found.any():
            some = sorted({str(entry) for entry in values})[:10]
            raise ValueError(f"where: no row has {name} = {value!r}; there are {', '.join(some)}")
        return found

    def select(self, cell: Cell, order: np.ndarray, budget: str, test_ids: set[str]) -> Selection:
        """How much of the order the cell trains on; with a fault where it has too little or a test problem."""
        tokens, trained = (values[order] for values in self.lengths[cell.model, cell.response])
        wanted = cell.size / cell.epochs
        if budget == "samples":
            n_rows = round(wanted)
            if n_rows > len(order):
                mean = float(tokens.mean()) if len(order) else 0.0
                fault = f"band {cell.band} has too few samples: {len(order):,} fit, {n_rows:,} are wanted"
                return Selection(n_rows, tokens=round(mean * n_rows), fault=fault)
        else:
            total = np.cumsum(tokens)
            n_rows = int(np.searchsorted(total, wanted, side="right"))
            if n_rows == len(order) and (not n_rows or total[-1] < wanted):
                have = int(total[-1]) if n_rows else 0
                fault = f"band {cell.band} has too few tokens: {have:,} fit, {wanted:,.0f} are wanted"
                return Selection(round(n_rows * wanted / have) if have else 0, tokens=round(wanted), fault=fault)
        if not n_rows:
            return Selection(fault=f"{wanted:,.0f} {budget} are less than one sample")
        ids = list(self.ids[order[:n_rows]])
        if leaked := [i for i in ids if i in test_ids]:
            text = self.rows[int(order[ids.index(leaked[0])])]["problem"]
            return Selection(
                fault=f"{len(set(leaked)):,} test problems among its samples, e.g. {text[:60]!r}: "
                "curate with --benchmarks"
            )
        return Selection(n_rows, len(set(ids)), int(tokens[:n_rows].sum()), int(trained[:n_rows].sum()))

    def fingerprint(self, cell: Cell, order: np.ndarray) -> str:
        """Hash of the rows of the order as they are written."""
        rows = [[self.ids[i], int(self.number[i]), self.band[i]] for i in order]
        return hashlib.sha256(json.dumps([self.hash, cell.response, rows]).encode()).hexdigest()

    def write(self, cell: Cell, order: np.ndarray, folder: Path) -> None:
        """Writes the rows of the order as an artefact folder, each with its `band` and `n_tokens`."""
        tokens = self.lengths[cell.model, cell.response][0]

        def rows() -> Iterator[dict[str, Any]]:
            for i, row in zip(order, self.rows.select(order), strict=True):
                yield row | {
                    "messages": variant(row, cell.response), "n_tokens": int(tokens[i]), "band": self.band[i]
                }  # fmt: skip

        write_artefact(
            folder, "sample", rows(), stage="ablate", config={"cell": cell.as_dict()}, seed=cell.seed,
            inputs={"samples": self.hash}, extra={"fingerprint": self.fingerprint(cell, order)},
        )  # fmt: skip


def count_row(
    row: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase", rules: Rules, response: Response
) -> dict[str, Any]:
    messages = variant(row, response)
    if messages is None:
        return {"tokens": 0, "trained": 0, "reason": "no thought with an answer behind it"}
    _, _, tally = tokenize([("", {**row, "messages": messages})], tokenizer, rules)
    return {"tokens": tally.tokens, "trained": tally.trained_tokens, "reason": next(iter(tally.dropped), "")}


def estimate_row(row: Mapping[str, Any], response: Response) -> dict[str, int]:
    messages = variant(row, response) or []
    lengths = [round(len(message["content"]) / CHARACTERS_PER_TOKEN) for message in messages]
    return {"tokens": sum(lengths), "trained": lengths[-1] if lengths else 0}


def pass_rates(folder: str) -> dict[str, float]:
    """Share of right responses of each problem in an artefact folder of responses. Raises ValueError."""
    import pyarrow.parquet as pq

    manifest = read_manifest(folder) if Path(folder).is_dir() else None
    if manifest is None or manifest.get("kind") != "response":
        raise ValueError(f"pass_rates: {folder}: no artefact folder of responses (distill.py or evaluate.py)")
    right: Counter[str] = Counter()
    n: Counter[str] = Counter()
    for file in find_files(Path(folder)):
        table = pq.read_table(file, columns=["problem_id", "verdict"])
        for i, verdict in zip(table["problem_id"].to_pylist(), table["verdict"].to_pylist(), strict=True):
            if verdict in ("right", "wrong"):
                n[i] += 1
                right[i] += verdict == "right"
    return {i: right[i] / n[i] for i in n}


def numbers_within(ids: np.ndarray) -> np.ndarray:
    """Number of each row among those of its problem, from 0."""
    seen: Counter[str] = Counter()
    numbers = np.zeros(len(ids), np.int64)
    for at, i in enumerate(ids):
        numbers[at] = seen[i]
        seen[i] += 1
    return numbers


def random_key(seed: int, problem_id: str, number: int) -> float:
    """A number from 0 to 1 that depends on seed, problem and number alone, not on the pool around it."""
    digest = hashlib.sha256(f"{seed}/{problem_id}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def within_problem(ids: np.ndarray, keys: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Place of each usable row among those of its problem, by key."""
    place = np.full(len(ids), len(ids))
    seen: Counter[str] = Counter()
    for at in np.flatnonzero(usable)[np.argsort(keys[usable], kind="stable")]:
        place[at] = seen[ids[at]]
        seen[ids[at]] += 1
    return place


def matched_keys(
    keys: np.ndarray, usable: np.ndarray, band: np.ndarray, tokens: np.ndarray, cell: Cell
) -> tuple[np.ndarray, np.ndarray]:
    """Keys by which every beginning of every band has the same lengths, and the rows that take part.

    Lengths are cut into bins; of each, every band gives as many as the band that has fewest, spread evenly.
    """
    usable = usable & np.isin(band, cell.matched)
    if not usable.any():
        return keys, usable
    edges = np.unique(np.quantile(tokens[usable], np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, tokens, side="right")
    new, taking_part = keys.copy(), np.zeros(len(keys), bool)
    for b in range(len(edges) + 1):
        here = [np.flatnonzero(usable & (bins == b) & (band == name)) for name in cell.matched]
        n = min(map(len, here))
        for rows in here:
            rows = rows[np.argsort(keys[rows], kind="stable")][:n]
            taking_part[rows] = True
            new[rows] = (np.arange(n) + keys[rows]) / max(1, n)
    return new, taking_part


def read_test(names: Sequence[str], n_problems: int | None, group_by: str | None) -> tuple[set[str], Counter[str]]:
    """Ids of the problems of benchmarks (of the first `n_problems` of each, if given), and the sizes of their groups.

    Raises ValueError where a benchmark lacks the column `group_by`: evaluate.py would refuse it after each training.
    """
    ids: set[str] = set()
    groups: Counter[str] = Counter()
    for benchmark in find_benchmarks(names):
        rows = read_benchmark(benchmark, n_problems, quiet=True)[0]
        if group_by and all(row.get(group_by) is None for row in rows):
            columns = ", ".join(sorted(name for name in rows[0] if rows[0][name] is not None))
            raise ValueError(f"group_by {group_by}: no problem of {benchmark.name} has it; there are {columns}")
        column = group_column(rows, group_by)
        ids |= {row["problem_id"] for row in rows}
        groups["all"] += len(rows)
        groups.update(str(row.get(column)) for row in rows if column)
    return ids, groups
