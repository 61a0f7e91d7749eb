"""The result of a curation: the chosen rows, what was decided about each row, and the counts of it all."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from data_prep.artefacts import ROWS_PER_GROUP, write_json
from data_prep.config import nearest
from data_prep.curation import deciding
from data_prep.curation.grouping import ints
from data_prep.curation.local import Local
from data_prep.curation.rows import EXAMPLES
from data_prep.curation.settings import SelectionArguments, Settings
from data_prep.curation.tables import Place, located, table_file, write_table

ROWS_PER_FILE = 50_000
MAX_FAULTS = 1_000  # different ones that are counted apart
LENGTH_BINS = [0, *(2**i for i in range(5, 19))]  # characters


def finish(
    settings: Settings, engine: Local, folder: Path, places: dict[int, Place], final: list[Path]
) -> dict[str, Any]:
    """Writes the chosen rows and the reports; returns the part of the manifest about rows."""
    output = folder / "output"
    for part in ("report", ""):
        (output / part).mkdir(parents=True, exist_ok=True)
    examples = global_examples(settings, final)
    tasks, batch, size = [], [], 0
    for number in sorted(places):
        batch.append(number)
        size += places[number].n_rows
        if size >= ROWS_PER_FILE:
            tasks.append(batch)
            batch, size = [], 0
    tasks += [batch] if batch else []
    work = OutputTask(settings, folder, final, places, examples)
    total = Summary()
    with tqdm(total=len(tasks), desc="writing", unit=" files", disable=None) as bar:
        for summary in engine.map(work, list(enumerate(tasks))):
            total.add(summary)
            bar.update()
    write_reports(settings, folder, places, total)
    return total.as_manifest(settings, json.loads((folder / "counts.json").read_text()))


def global_examples(settings: Settings, final: list[Path]) -> frozenset[int]:
    """Rows that show what the decisions about all rows have left out: for each reason those with the smallest keys."""
    best: dict[str, list[tuple[int, int]]] = {}
    for file in final:
        table = pq.read_table(file, columns=["row", "key", "reason"])
        for row, key, reason in zip(*(table[name].to_pylist() for name in ("row", "key", "reason"))):
            if reason is not None and reason.startswith(("duplicates", "mislabelled", "select")):
                heap = best.setdefault(reason, [])
                heapq.heappush(heap, (-key, -row))
                if len(heap) > settings.run.n_examples:
                    heapq.heappop(heap)
    return frozenset(-row for heap in best.values() for _, row in heap)


@dataclass
class Summary:
    """Counts over rows, added up over output files."""

    n_rows: int = 0
    n_kept: int = 0
    reasons: Counter = field(default_factory=Counter)
    sources: Counter = field(default_factory=Counter)  # (source, kept?)
    bands: Counter = field(default_factory=Counter)  # (band, kept?), rows
    problem_bands: Counter = field(default_factory=Counter)
    lengths: Counter = field(default_factory=Counter)  # (lower bound in characters, kept?)
    difficulties: Counter = field(default_factory=Counter)  # (value to a tenth, kept?)
    about: Counter = field(default_factory=Counter)
    faults: Counter = field(default_factory=Counter)  # (reason, detail) of rows that could not be used, not of all
    tokens: Counter = field(default_factory=Counter)
    tokens_seconds: float = 0.0
    mislabelled: list = field(default_factory=list)

    def add(self, other: "Summary") -> None:
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)

    def as_manifest(self, settings: Settings, counts: dict[str, int]) -> dict[str, Any]:
        funnel, left = [{"step": "rows", "left": self.n_rows}], self.n_rows
        for step in ("read", *settings.filters, "mislabelled", "select"):
            dropped = {reason: n for reason, n in sorted(self.reasons.items()) if reason.split(":")[0] == step}
            left -= sum(dropped.values())
            if dropped or step in settings.filters:
                funnel.append({"step": step, "left": left, "dropped": dropped})
        assert left == self.n_kept, (left, self.n_kept)
        return {
            "rows_in": self.n_rows,
            "rows_out": self.n_kept,
            "rows_dropped": dict(sorted(self.reasons.items())),
            "funnel": funnel,
            "sources": pairs(self.sources),
            "bands": pairs(self.bands),
            "problem_bands": dict(sorted(self.problem_bands.items())),
            "lengths": pairs(self.lengths),
            "difficulties": pairs(self.difficulties),
            "counts": {**counts, **dict(sorted(self.about.items()))},
            "tokens": token_counts(self),
            "warnings": self.warnings(settings.selection),
        }

    def warnings(self, selection: SelectionArguments) -> list[str]:
        """Rows that could not be used, with the commonest fault; sources in the settings that no row has: a slip."""
        commonest = {reason: detail for (reason, detail), _ in reversed(self.faults.most_common())}
        unusable = [
            f"{reason} ({n:,})" + (f", most often: {commonest[reason]}" if commonest.get(reason) else "")
            for reason, n in sorted(self.reasons.items())
            if reason.startswith("read") and reason != "read: no response"
        ]
        sources = sorted({source for source, _ in self.sources})
        named = {"select_sources": selection.select_sources}
        if selection.weight_by == "source":
            named["weights"] = list(selection.weights)
        return unusable + [
            f"--{setting} names {name!r}, but no row is from there{nearest(name, sources)}; sources: "
            + shorten(", ".join(sources), 300, placeholder=" ...")
            for setting, names in named.items()
            for name in names
            if name not in sources
        ]


def pairs(counts: Counter) -> dict[str, dict[str, int]]:
    """{value: {"kept": n, "dropped": n}}, in order of value."""
    values = sorted({value for value, _ in counts}, key=lambda value: (isinstance(value, str), value))
    return {str(value): {"kept": counts[value, True], "dropped": counts[value, False]} for value in values}


def token_counts(summary: Summary) -> dict[str, Any] | None:
    """Tokens of the kept rows; where only some were counted, the estimate and its standard error."""
    tokens = summary.tokens
    n = tokens["rows"]
    if not n:
        return None
    if n == summary.n_kept:
        return {"total": tokens["tokens"], "counted": "all rows", "seconds": round(summary.tokens_seconds, 1)}
    # Ratio of tokens to characters: its variance over rows gives the error (ratio estimator).
    ratio = tokens["tokens"] / tokens["chars"]
    residual = tokens["tokens²"] - 2 * ratio * tokens["tokens·chars"] + ratio**2 * tokens["chars²"]
    error = (max(residual, 0) / max(n - 1, 1) / n) ** 0.5 * summary.n_kept
    return {
        "total": round(ratio * tokens["all chars"]),
        "standard_error": round(error),
        "counted": f"{n} of {summary.n_kept} rows",
        "seconds": round(summary.tokens_seconds, 1),
    }


@dataclass(frozen=True)
class OutputTask:
    """Writes the chosen rows of some shards, and the decisions about all of theirs."""

    settings: Settings
    folder: Path
    final: list[Path]
    places: dict[int, Place]
    examples: frozenset[int]

    def __call__(self, task: tuple[int, list[int]]) -> Summary:
        number, numbers = task
        summary = Summary()
        output = self.folder / "output"
        data, report = output / f"data-{number:05d}.parquet", output / "report" / f"decisions-{number:05d}.parquet"
        rows_writer = report_writer = None
        examples = []
        for shard in numbers:
            decisions = self.decisions(shard)
            index = pq.read_table(table_file(self.folder, "index", shard))
            table = decisions_of(index, decisions, self.places[shard])
            report_writer = report_writer or pq.ParquetWriter(part(report), table.schema, compression="zstd")
            report_writer.write_table(table)
            count(summary, table)
            with pq.ParquetFile(table_file(self.folder, "rows", shard)) as file:
                for batch in file.iter_batches(batch_size=ROWS_PER_GROUP):
                    rows = pa.Table.from_batches([batch])
                    known, at = deciding.lookup(ints(decisions, "row"), ints(rows, "row"))
                    assert len(known) == len(rows)
                    here = decisions.take(at)
                    kept = here["rank"].is_valid()
                    examples += self.shown(rows, here)
                    rows, here = rows.filter(kept), here.filter(kept)
                    if len(rows):
                        rows = finished(rows, here, self.settings, summary)
                        rows_writer = rows_writer or pq.ParquetWriter(part(data), rows.schema, compression="zstd")
                        rows_writer.write_table(rows)
        for writer, path in ((rows_writer, data), (report_writer, report)):
            if writer is not None:
                writer.close()
                part(path).replace(path)
        write_table(pa.Table.from_pylist(examples, EXAMPLES), self.folder / "dropped" / f"{number:05d}.parquet")
        return summary

    def decisions(self, shard: int) -> pa.Table:
        """Final decisions about the rows of a shard, by row."""
        tables = []
        for file in self.final:
            if len(self.final) == 1 or int(file.stem) == shard % len(self.final):
                tables.append(
                    pq.read_table(file, filters=[("row", ">=", shard << 32), ("row", "<", (shard + 1) << 32)])
                )
        return pa.concat_tables(tables).sort_by("row")

    def shown(self, rows: pa.Table, decisions: pa.Table) -> list[dict[str, Any]]:
        """The rows among these that are examples of what was left out."""
        found = []
        for i, row in enumerate(ints(rows, "row").tolist()):
            if row not in self.examples:
                continue
            values, decision = rows.slice(i, 1).to_pylist()[0], decisions.slice(i, 1).to_pylist()[0]
            detail, other = decision["detail"], decision["duplicate_of"]
            if other is not None:
                kept = located([other], self.folder, self.places)[other]
                detail = f"of {kept['file']}:{kept['line']}"
            turns = values.get("messages")
            found.append(
                {**{name: values.get(name) for name in EXAMPLES.names}, "key": decision["key"],
                 "reason": decision["reason"], "detail": detail,
                 "response": turns[-1]["content"] if turns else None}
            )  # fmt: skip
        return found


def part(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def decisions_of(index: pa.Table, decisions: pa.Table, place: Place) -> pa.Table:
    """What is reported about each row of a shard: where it is, whether it is in or out and why."""
    known, at = deciding.lookup(ints(decisions, "row"), ints(index, "row"))
    positions = np.zeros(len(index), np.int64)
    positions[known] = at
    outside = np.ones(len(index), bool)  # rows that could not be read have no problem and no decision
    outside[known] = False
    here = decisions.take(pa.array(positions, mask=outside))
    reasons = pa.compute.coalesce(here["reason"], index["reason"])
    details = pa.compute.coalesce(here["detail"], index["detail"])
    line = pa.compute.add(index["line"], place.first_row + 1)
    columns = {
        "file": pa.array([place.file] * len(index), pa.string()),
        "line": line,  # from 1
        "row": index["row"],
        "kept": here["rank"].is_valid(),
        "reason": reasons,
        "detail": details,
        "duplicate_of": here["duplicate_of"],
        "problem": here["problem_key"],
        "rank": here["rank"],
        **{name: index[name] for name in ("source", "kind", "gold", "extracted", "verdict", "level", "n_chars")},
        **{
            name: here[name]
            for name in ("pass_rate", "n_attempts", "difficulty", "band", "first", "majority", "majority_share",
                         "conflicting", "renumbered")
        },
    }  # fmt: skip
    return pa.table(columns)


def count(summary: Summary, table: pa.Table) -> None:
    """Adds the rows of a table made by `decisions_of`."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    summary.n_rows += len(table)
    bins = np.searchsorted(LENGTH_BINS, ints(table, "n_chars"), "right") - 1
    for i, kept in enumerate(columns["kept"]):
        summary.n_kept += kept
        if not kept:
            reason, detail = columns["reason"][i], columns["detail"][i]
            summary.reasons[reason] += 1
            if reason.startswith("read") and ((reason, detail) in summary.faults or len(summary.faults) < MAX_FAULTS):
                summary.faults[reason, detail] += 1
        summary.sources[columns["source"][i] or "unreadable", kept] += 1
        if columns["problem"][i] is None:
            continue
        summary.lengths[LENGTH_BINS[bins[i]], kept] += 1
        summary.bands[columns["band"][i] or "not known", kept] += 1
        if columns["difficulty"][i] is not None:
            summary.difficulties[round(columns["difficulty"][i], 1), kept] += 1
        if columns["first"][i]:
            summary.problem_bands[columns["band"][i] or "not known"] += 1
            summary.about["problems_renumbered"] += bool(columns["renumbered"][i])
            summary.about["problems_with_conflicting_golds"] += bool(columns["conflicting"][i])
            if columns["majority"][i] is not None:
                summary.about["problems_probably_mislabelled"] += 1
                summary.mislabelled.append(
                    {name: columns[name][i] for name in
                     ("row", "source", "gold", "majority", "majority_share", "n_attempts", "pass_rate")}
                )  # fmt: skip


def finished(rows: pa.Table, decisions: pa.Table, settings: Settings, summary: Summary) -> pa.Table:
    """The chosen rows with what the decisions know about them."""
    for name in ("pass_rate", "n_attempts", "difficulty", "band", "rank"):
        rows = rows.append_column(name, decisions[name])
    rows = rows.append_column("problem_key", decisions["problem_key"])
    if settings.run.count_tokens != "none":
        rows = rows.append_column("n_tokens", pa.array(count_tokens(rows, decisions, settings, summary), pa.int64()))
    return rows.drop_columns(["row"])


_tokenizers: dict[str, Any] = {}


def count_tokens(rows: pa.Table, decisions: pa.Table, settings: Settings, summary: Summary) -> list[int | None]:
    """Tokens of each row as the tokenizer counts the texts of its turns; of 1 row in 50 where an estimate is enough."""
    name = settings.run.tokenizer
    assert name
    if name not in _tokenizers:
        from transformers import AutoTokenizer

        _tokenizers[name] = AutoTokenizer.from_pretrained(name)
    started = perf_counter()
    column = rows["messages"] if "messages" in rows.column_names else rows["problem"]
    texts = [
        turns if isinstance(turns, str) else "\n".join(turn["content"] for turn in turns)
        for turns in column.to_pylist()
    ]
    every = 1 if settings.run.count_tokens == "exact" else 50
    picked = [i for i, key in enumerate(decisions["key"].to_pylist()) if key % every == 0]
    counted = dict(zip(picked, count_all([texts[i] for i in picked], _tokenizers[name])))
    for i, n in counted.items():
        chars = len(texts[i])
        summary.tokens.update(
            {"rows": 1, "tokens": n, "chars": chars, "tokens²": n * n, "tokens·chars": n * chars, "chars²": chars**2}
        )
    summary.tokens["all chars"] += sum(map(len, texts))
    summary.tokens_seconds += perf_counter() - started
    return [counted.get(i) for i in range(len(texts))]


def count_all(texts: list[str], tokenizer: Any) -> Iterable[int]:
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []


def write_reports(settings: Settings, folder: Path, places: dict[int, Place], summary: Summary) -> None:
    """Tables of benchmark matches, probably mislabelled problems, and examples of dropped rows."""
    report = folder / "output" / "report"
    examples: dict[str, list[dict[str, Any]]] = {}
    for path in sorted([*(folder / "examples").glob("*.parquet"), *(folder / "dropped").glob("*.parquet")]):
        for row in pq.read_table(path).to_pylist():
            some = examples.setdefault(row["reason"], [])
            some.append(row)
            some.sort(key=lambda row: (row["key"], row["row"]))
            del some[settings.run.n_examples :]
    write_table(
        pa.Table.from_pylist(
            with_places([row for _, some in sorted(examples.items()) for row in some], folder, places),
            pa.schema([pa.field("file", pa.string()), pa.field("line", pa.int64()), *EXAMPLES]).remove(3),
        ),
        report / "dropped.parquet",
    )
    matches = [pq.read_table(path) for path in sorted((folder / "matches").glob("*.parquet"))]
    write_table(
        pa.concat_tables(matches).sort_by([("strength", "descending"), ("row", "ascending")]),
        report / "contamination.parquet",
    )
    mislabelled = sorted(summary.mislabelled, key=lambda row: (-row["majority_share"], row["row"]))
    problems = with_problems(with_places(mislabelled, folder, places), folder)
    write_json(report / "mislabelled.json", {"problems": problems})


def with_places(rows: list[dict[str, Any]], folder: Path, places: dict[int, Place]) -> list[dict[str, Any]]:
    """Rows with the file and the line that they were read from."""
    found = located([row["row"] for row in rows], folder, places)
    return [{**found[row["row"]], **row} for row in rows]


def with_problems(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Rows that are the first ones of their problems, with the problem's text."""
    texts: dict[int, str] = {}
    for shard in sorted({row["row"] >> 32 for row in rows}):
        table = pq.read_table(table_file(folder, "problems", shard), columns=["row", "problem"])
        texts |= dict(zip(table["row"].to_pylist(), table["problem"].to_pylist()))
    return [{**row, "problem": texts[row["row"]]} for row in rows]
