"""From inputs to an artefact folder: shards one by one, then what needs all rows, then the chosen rows and the reports.

Everything lies in OUT.partial until it is whole. A step that is finished is not done again, so a killed run goes on.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from data_prep.artefacts import MANIFEST, hash_path, library_versions, now, write_json
from data_prep.curation import deciding, grouping
from data_prep.curation.grouping import ints
from data_prep.curation.local import Local
from data_prep.curation.output import finish
from data_prep.curation.settings import Settings
from data_prep.curation.shard_work import SANDBOX, Tools, curate_shard, open_tools
from data_prep.curation.shards import Shard, fingerprint, input_files, shards
from data_prep.curation.tables import Place, table_file, write_table

SHARD_TABLES = ("rows", "problems", "matches", "examples", "index")  # the last one says that a shard is finished
LOCK = ".lock"
FINAL = pa.schema([*deciding.DECISIONS, pa.field("rank", pa.int64())])


# --- Work on shards, in worker processes

_tools: dict[str, Tools] = {}  # of this process, which serves one run


@dataclass(frozen=True)
class ShardTask:
    """Does one shard and writes its tables."""

    settings: Settings
    folder: Path

    def __call__(self, shard: Shard) -> dict[str, Any]:
        if not _tools:
            _tools["all"] = open_tools(self.settings, self.folder)
        tables = curate_shard(shard, _tools["all"])
        for kind in SHARD_TABLES:
            write_table(tables[kind], table_file(self.folder, kind, shard.number))
        return {"shard": shard.number, "rows": len(tables["index"]), "n_bytes": shard.n_bytes}


# --- The run


def curate(settings: Settings) -> dict[str, Any]:
    """Runs a curation and returns its manifest. Raises ValueError, FileNotFoundError, FileExistsError, OSError."""
    output = Path(settings.input.output_dir)
    if output.exists():
        raise FileExistsError(f"{output} exists already: choose another --output_dir or remove it")
    files = input_files(settings.input.inputs)
    folder = output.with_name(f"{output.name}.partial")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}, where the unfinished run would lie, is a file: remove it")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, blocking=False):
            manifest = curate_into(folder, settings, files)
            (folder / "output").replace(output)
    except Timeout:
        raise ValueError(f"another run is working in {folder}") from None
    shutil.rmtree(folder)
    return manifest


def curate_into(folder: Path, settings: Settings, files: list[tuple[int, str]]) -> dict[str, Any]:
    """Makes `folder/output` and returns its manifest."""
    started, clock = now(), perf_counter()
    resumed = prepare_folder(folder, settings, fingerprint(settings.input.inputs, files))
    sandbox = folder / SANDBOX
    sandbox.unlink(missing_ok=True)
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
        "sandbox": sandbox.read_text() if sandbox.exists() else None,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "started": started,
        "resumed": resumed,
        "ended": now(),
        "libraries": library_versions(),
    }
    whole = folder / "output"
    write_json(whole / MANIFEST, manifest)
    from data_prep.curation.page import write_page

    write_page(whole)
    return manifest


def open_engine(settings: Settings) -> Local:
    workers = settings.run.workers or os.cpu_count() or 1
    if settings.run.engine == "ray":
        from data_prep.curation.ray_data import RayData

        return RayData(workers, settings.run.partition_rows)
    return Local(workers, settings.run.partition_rows)


def prepare_folder(folder: Path, settings: Settings, inputs: dict[str, str]) -> bool:
    """Makes the folder of an unfinished run, or checks that it is of the same run: whether there was one to go on with.

    What a run with other settings has left is removed if it did not finish a shard: it was stopped by a mistake.
    """
    asked = json.loads(json.dumps({"settings": asdict(settings), "inputs": inputs}))
    for name in ("workers", "engine", "partition_rows"):  # which change nothing
        del asked["settings"]["run"][name]
    path = folder / "run.json"
    if not path.exists():
        if {file.name for file in folder.iterdir()} - {LOCK}:
            raise FileExistsError(f"{folder} is not of an unfinished run: remove it, or choose another --output_dir")
        write_json(path, asked)
        return False
    try:
        before = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove {folder} and start again") from None
    if before == asked:
        print(f"resume      the unfinished run in {folder}", flush=True)
        return True
    if any((folder / "index").glob("*.parquet")):
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
    for name in SHARD_TABLES:
        shutil.rmtree(folder / name, ignore_errors=True)
    write_json(path, asked)
    return False


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
