"""From inputs to an artefact folder: shards one by one, then what needs all rows, then the chosen rows and the reports.

Everything lies in OUT.partial until it is whole. A step that is finished is not done again, so a killed run goes on.
"""

import heapq
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from data_prep.artefacts import MANIFEST, ROWS_PER_GROUP, hash_path, library_versions, now, write_json
from data_prep.curation import deciding, grouping
from data_prep.curation.grouping import ints
from data_prep.curation.local import Local
from data_prep.curation.rows import EXAMPLES
from data_prep.curation.settings import Settings
from data_prep.curation.shard_work import Tools, curate_shard, default_source, open_tools
from data_prep.curation.shards import Shard, fingerprint, input_files, shards
from data_prep.sources import is_local

SHARD_TABLES = ("rows", "problems", "matches", "examples", "index")  # the last one says that a shard is finished
FINAL = pa.schema([*deciding.DECISIONS, pa.field("rank", pa.int64())])
ROWS_PER_OUTPUT = 50_000
LENGTH_BINS = [0, *(2**i for i in range(5, 19))]  # characters


def table_file(folder: Path, kind: str, shard: int) -> Path:
    return folder / kind / f"{shard:05d}.parquet"


# --- Work on shards, in worker processes

_tools: dict[str, Tools] = {}  # of this process, which serves one run


@dataclass(frozen=True)
class ShardTask:
    """Does one shard and writes its tables."""

    settings: Settings
    folder: Path

    def __call__(self, shard: Shard) -> dict[str, Any]:
        if not _tools:
            _tools["all"] = open_tools(self.settings)
        tables = curate_shard(shard, _tools["all"])
        for kind in SHARD_TABLES:
            write_table(tables[kind], table_file(self.folder, kind, shard.number))
        return {"shard": shard.number, "rows": len(tables["index"]), "n_bytes": shard.n_bytes}


def write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(
        table, temporary, compression="zstd", row_group_size=ROWS_PER_GROUP if table.num_columns < 25 else None
    )
    temporary.replace(path)


# --- The run


@dataclass
class Place:
    """Where a shard is: its file, the number of its first row there, and its rows."""

    file: str
    first_row: int
    n_rows: int


def curate(settings: Settings) -> dict[str, Any]:
    """Runs a curation and returns its manifest. Raises ValueError, FileNotFoundError, FileExistsError, OSError."""
    started, clock = now(), perf_counter()
    output = Path(settings.input.output_dir)
    if output.exists():
        raise FileExistsError(f"{output} exists already: choose another --output_dir or remove it")
    files = input_files(settings.input.inputs)
    folder = output.with_name(f"{output.name}.partial")
    prepare_folder(folder, settings, fingerprint(settings.input.inputs, files))
    with open_engine(settings) as engine:
        places, seconds = all_shards(settings, engine, files, folder)
        n_rows = sum(place.n_rows for place in places.values())
        if not n_rows:
            raise ValueError(f"no rows in {', '.join(source.path for source in settings.input.inputs)}")
        seconds["shards"] = perf_counter() - clock
        final = decide_all(settings, engine, folder, sorted(places), n_rows)
        seconds["decisions"] = perf_counter() - clock - seconds["shards"]
        summary = finish(settings, engine, folder, places, final)
        seconds["output"] = perf_counter() - clock - seconds["shards"] - seconds["decisions"]

    manifest = {
        "stage": "curate",
        "kind": "sample" if settings.input.rows == "samples" else "problem",
        "config": asdict(settings),
        "seed": settings.selection.seed,
        "inputs": {name: hash_path(name) if Path(name).exists() else "Hub" for _, name in files},
        **summary,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "started": started,
        "ended": now(),
        "libraries": library_versions(),
    }
    whole = folder / "output"
    write_json(whole / MANIFEST, manifest)
    from data_prep.curation.page import write_page

    write_page(whole)
    whole.replace(output)
    shutil.rmtree(folder)
    return manifest


def open_engine(settings: Settings) -> Local:
    workers = settings.run.workers or os.cpu_count() or 1
    if settings.run.engine == "ray":
        from data_prep.curation.ray_data import RayData

        return RayData(workers, settings.run.partition_rows)
    return Local(workers, settings.run.partition_rows)


def prepare_folder(folder: Path, settings: Settings, inputs: dict[str, str]) -> None:
    """Makes the folder of an unfinished run, or checks that it is of the same run."""
    asked = json.loads(json.dumps({"settings": asdict(settings), "inputs": inputs}))
    for name in ("workers", "engine", "partition_rows"):  # which change nothing
        del asked["settings"]["run"][name]
    path = folder / "run.json"
    if path.exists():
        before = json.loads(path.read_text())
        if before != asked:
            what = [
                f"{part}.{name}"
                for part, values in asked["settings"].items()
                for name, value in values.items()
                if before["settings"].get(part, {}).get(name) != value
            ]
            what += [] if before["inputs"] == inputs else ["the input files"]
            raise ValueError(
                f"{folder} is an unfinished run with other settings ({', '.join(what)}): remove it, or choose another "
                "--output_dir"
            )
        print(f"resume     the unfinished run in {folder}", flush=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)


def all_shards(
    settings: Settings, engine: Local, files: list[tuple[int, str]], folder: Path
) -> tuple[dict[int, Place], dict[str, float]]:
    """Does the shards that are not done yet. Returns where each is, and seconds by step, of all workers together."""
    done = {int(path.stem) for path in (folder / "index").glob("*.parquet")}
    sizes = [Path(name).stat().st_size for _, name in files if Path(name).exists() and name.endswith(".jsonl")]
    seen: dict[int, Shard] = {}

    def todo() -> Iterator[Shard]:
        for shard in shards(settings.input.inputs, files, settings.run.shard_mb, settings.input.max_row_mb, done):
            seen[shard.number] = Shard(
                shard.number, shard.input, shard.file, 0, 0, shard.first_row, None, "", shard.n_bytes
            )
            if shard.number not in done:
                yield shard
            else:
                bar.update(shard.n_bytes)

    total = sum(sizes) if len(sizes) == len(files) else None
    n_rows, clock = 0, perf_counter()
    with tqdm(total=total, desc="curating", unit="B", unit_scale=True, disable=None) as bar:
        for stats in engine.map(ShardTask(settings, folder), todo()):
            n_rows += stats["rows"]
            bar.update(stats["n_bytes"])
            bar.set_postfix_str(f"{n_rows / (perf_counter() - clock):,.0f} rows/s")
    places, seconds, lines = {}, Counter[str](), Counter[str]()
    for number, shard in sorted(seen.items()):
        metadata = pq.read_metadata(table_file(folder, "index", number))
        stats = json.loads(metadata.metadata[b"stats"])
        first = shard.first_row if shard.first_row is not None else lines[shard.file]
        lines[shard.file] = first + stats["n_lines"]
        places[number] = Place(shard.file, first, metadata.num_rows)
        seconds.update({f"{name} (all workers)": value for name, value in stats["seconds"].items()})
    return places, dict(seconds)


def decide_all(settings: Settings, engine: Local, folder: Path, numbers: list[int], n_rows: int) -> list[Path]:
    """Groups problems, decides about every row, selects; returns the files of final decisions, by shard."""
    bar = tqdm(total=5, desc="deciding", unit=" steps", disable=None)
    index = [table_file(folder, "index", number) for number in numbers]
    problems = engine.shuffle(
        [([table_file(folder, "problems", number) for number in numbers], same_table)],
        "group", grouping.unique_problems, n_rows, folder / "unique",
    )  # fmt: skip
    n_problems = sum(pq.read_metadata(file).num_rows for file in problems)
    bar.update()
    canonical, conflicts = near_duplicates(settings, engine, folder, problems, n_problems)
    bar.update()
    others = engine.shuffle([(problems, same_table)], "masked", grouping.renumbered, n_problems, folder / "renumbered")
    renumbered = folder / "renumbered.parquet"
    write_table(pa.concat_tables([pq.read_table(file) for file in others]), renumbered)
    bar.update()
    keyed = partial(deciding.with_problem_key, canonical=str(canonical), renumbered=str(renumbered))
    decisions = engine.shuffle(
        [(index, keyed)], "problem_key", partial(deciding.decide, settings=settings), n_rows, folder / "decisions"
    )
    bar.update()
    order = select(settings, engine, folder, decisions, n_rows)
    final = engine.shuffle(
        [(decisions, by_shard), (order, by_shard)], "shard", with_rank, n_rows, folder / "final"
    )  # fmt: skip
    bar.update()
    bar.close()
    write_json(folder / "counts.json", {"problems": n_problems, "near_with_other_answers": conflicts})
    return final


def same_table(table: pa.Table) -> pa.Table:
    return table


def near_duplicates(
    settings: Settings, engine: Local, folder: Path, problems: list[Path], n_problems: int
) -> tuple[Path, int]:
    """The file of problems that are nearly the same as an earlier one, and how many such pairs have other answers."""
    canonical = folder / "canonical.parquet"
    wanted = settings.duplicates
    if "duplicates" not in settings.filter.filters or wanted.duplicates != "near":
        write_table(grouping.representatives(pa.Table.from_pylist([], grouping.EDGES)), canonical)
        return canonical, 0
    pairs = engine.shuffle(
        [(problems, grouping.exploded)],
        "key",
        grouping.candidate_pairs,
        n_problems * grouping.N_BANDS,
        folder / "pairs",
    )
    half = engine.shuffle(
        [(pairs, same_table), (problems, grouping.with_key)], "key", grouping.first_half, n_problems, folder / "half"
    )
    found = engine.shuffle(
        [(half, same_table), (problems, grouping.with_key)],
        "key", partial(grouping.edges, similarity=wanted.similarity), n_problems, folder / "edges",
    )  # fmt: skip
    edges = pa.concat_tables([pq.read_table(file) for file in found])
    write_table(grouping.representatives(edges), canonical)
    return canonical, sum(edges["conflict"].to_pylist())


def select(settings: Settings, engine: Local, folder: Path, decisions: list[Path], n_rows: int) -> list[Path]:
    """Files of (row, rank): the chosen rows and their places in the order, of which every beginning is balanced."""
    wanted = settings.selection
    n_parts = engine.n_partitions(n_rows)
    ranked = engine.shuffle(
        [(decisions, partial(deciding.by_key_range, n_parts=n_parts))],
        "part", partial(deciding.ranked, weight_by=wanted.weight_by), n_rows, folder / "ranked",
    )  # fmt: skip
    by_part: Counter[tuple[int, str]] = Counter()
    for file in ranked:
        table = pq.read_table(file, columns=["part", "stratum"])
        for group in table.group_by(["part", "stratum"]).aggregate([([], "count_all")]).to_pylist():
            by_part[group["part"], group["stratum"]] += group["count_all"]
    counts: Counter[str] = Counter()
    offsets = {}
    for (part, stratum), n in sorted(by_part.items()):
        offsets[part, stratum] = counts[stratum]
        counts[stratum] += n
    quotas = deciding.quotas(counts, wanted.weights, wanted.size)
    paths = []
    for file in ranked:
        path = folder / "order" / file.name
        write_table(chosen(pq.read_table(file), offsets, counts, quotas, wanted.weights), path)
        paths.append(path)
    return paths


def chosen(
    table: pa.Table, offsets: dict, counts: dict[str, int], quotas: dict[str, int], weights: dict[str, float]
) -> pa.Table:
    rows, ranks = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    parts, strata = ints(table, "part"), np.array(table["stratum"].to_pylist(), dtype=object)
    local, row = ints(table, "local"), ints(table, "row")
    for (part, stratum), offset in offsets.items():
        here = np.flatnonzero((parts == part) & (strata == stratum))
        places = local[here] + offset
        here, places = here[places < quotas[stratum]], places[places < quotas[stratum]]
        rows.append(row[here])
        ranks.append(deciding.order_of(places, stratum, counts, weights))
    return pa.table({"row": np.concatenate(rows), "rank": np.concatenate(ranks)})


def by_shard(table: pa.Table) -> pa.Table:
    return table.append_column("shard", pa.array(ints(table, "row") >> 32))


def with_rank(table: pa.Table) -> pa.Table:
    """Decisions with the rank of the rows that are chosen. Key: `shard`."""
    is_order = table["rank"].is_valid()
    order = table.filter(is_order).sort_by("row")
    table = table.filter(table["rank"].is_null()).sort_by("row")
    known, at = deciding.lookup(ints(order, "row"), ints(table, "row"))
    rank = np.full(len(table), -1, np.int64)
    rank[known] = ints(order, "rank")[at]
    reasons = table["reason"].to_pylist()
    reasons = ["select: beyond the size" if r is None and rank[i] < 0 else r for i, r in enumerate(reasons)]
    table = table.set_column(table.schema.get_field_index("reason"), "reason", pa.array(reasons, pa.string()))
    return table.set_column(table.schema.get_field_index("rank"), "rank", pa.array(rank, mask=rank < 0)).select(
        FINAL.names
    )


# --- The output


def finish(
    settings: Settings, engine: Local, folder: Path, places: dict[int, Place], final: list[Path]
) -> dict[str, Any]:
    """Writes the chosen rows and the reports; returns the part of the manifest about rows."""
    output = folder / "output"
    for part in ("report", ""):
        (output / part).mkdir(parents=True, exist_ok=True)
    examples = global_examples(settings, final)
    n_partitions = len(final)
    tasks, batch, size = [], [], 0
    for number in sorted(places):
        batch.append(number)
        size += places[number].n_rows
        if size >= ROWS_PER_OUTPUT:
            tasks.append(batch)
            batch, size = [], 0
    tasks += [batch] if batch else []
    work = OutputTask(settings, folder, final if n_partitions > 1 else final * 1, places, examples)
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
        steps = ["read", *settings.filter.filters, "mislabelled", "select"]
        for step in steps:
            dropped = {reason: n for reason, n in sorted(self.reasons.items()) if reason.split(":")[0] == step}
            left -= sum(dropped.values())
            if dropped or step in settings.filter.filters:
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
        }


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
                    examples += shown(rows, here, self.examples)
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
    columns = {name: table[name].to_pylist() for name in table.column_names if name not in ("file", "detail")}
    summary.n_rows += len(table)
    bins = np.searchsorted(LENGTH_BINS, ints(table, "n_chars"), "right") - 1
    for i, kept in enumerate(columns["kept"]):
        summary.n_kept += kept
        if not kept:
            summary.reasons[columns["reason"][i]] += 1
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


def shown(rows: pa.Table, decisions: pa.Table, wanted: frozenset[int]) -> list[dict[str, Any]]:
    """The rows among these that are examples of what was left out."""
    found = []
    for i, row in enumerate(ints(rows, "row").tolist()):
        if row in wanted:
            values, decision = rows.slice(i, 1).to_pylist()[0], decisions.slice(i, 1).to_pylist()[0]
            turns = values.get("messages") or []
            detail = decision["detail"]
            if decision["duplicate_of"] is not None:
                detail = f"row {decision['duplicate_of']} is kept"
            found.append(
                {**{name: values.get(name) for name in EXAMPLES.names}, "key": decision["key"],
                 "reason": decision["reason"], "detail": detail,
                 "response": turns[-1]["content"] if turns else None}
            )  # fmt: skip
    return found


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
    shown = [located(row, folder, places) for _, some in sorted(examples.items()) for row in some]
    schema = pa.schema([pa.field("file", pa.string()), pa.field("line", pa.int64()), *EXAMPLES]).remove(3)
    write_table(pa.Table.from_pylist(shown, schema), report / "dropped.parquet")
    matches = [pq.read_table(path) for path in sorted((folder / "matches").glob("*.parquet"))]
    write_table(
        pa.concat_tables(matches).sort_by([("strength", "descending"), ("row", "ascending")]),
        report / "contamination.parquet",
    )
    mislabelled = sorted(summary.mislabelled, key=lambda row: (-row["majority_share"], row["row"]))
    write_json(report / "mislabelled.json", {"problems": [located(row, folder, places) for row in mislabelled]})


def located(row: dict[str, Any], folder: Path, places: dict[int, Place]) -> dict[str, Any]:
    """With the file and the line that the row was read from."""
    shard = row["row"] >> 32
    index = pq.read_table(
        table_file(folder, "index", shard), columns=["row", "line"], filters=[("row", "=", row["row"])]
    )
    return {"file": places[shard].file, "line": index["line"][0].as_py() + places[shard].first_row + 1, **row}


def sources_of(settings: Settings) -> list[str]:
    """Names by which weights and selections may call the sources that the settings name."""
    return [source.source or default_source(source.path) for source in settings.input.inputs if is_local(source.path)]
