"""The curation on many machines: shards as Ray tasks, rows with the same key brought together by Ray Data's shuffle.

Machines share the folder of the output, as on a cluster's network file system. `ray.init` finds a running cluster by
$RAY_ADDRESS and starts a local one otherwise (https://docs.ray.io/en/latest/data/data.html).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from data_prep.artefacts import atomic_folder
from data_prep.curation.local import Local, Source, partition_of

PART = "__part"


class RayData(Local):
    """What `Local` does, by Ray. `workers`: cores of a local cluster; a running one is used as it is."""

    def __init__(self, workers: int, partition_rows: int):
        self.partition_rows = partition_rows
        if not ray.is_initialized():
            cluster = os.environ.get("RAY_ADDRESS")
            # Loopback only: Ray's ports take code from whoever reaches them.
            own: dict[str, Any] = {} if cluster else {"num_cpus": workers, "_node_ip_address": "127.0.0.1"}
            ray.init(address=cluster, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **own)
        ray.data.DataContext.get_current().enable_progress_bars = False
        self.workers = max(1, int(ray.cluster_resources().get("CPU", workers)))

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        remote = ray.remote(max_retries=2)(call)
        sent = ray.put(function)
        running: list[Any] = []
        for task in tasks:
            running.append(remote.remote(sent, task))
            if len(running) >= 2 * self.workers:
                done, running = ray.wait(running)
                yield from map(fetch, done)
        while running:
            done, running = ray.wait(running)
            yield from map(fetch, done)

    def shuffle(
        self, sources: Sequence[Source], key: str, function: Callable[[pa.Table], pa.Table], n_rows: int, out: Path
    ) -> list[Path]:
        if not out.exists():
            n = self.n_partitions(n_rows)
            empty = pa.unify_schemas(
                [prepare(pq.read_schema(files[0]).empty_table()).schema for files, prepare in sources]
            )
            with atomic_folder(out) as folder:
                rows: ray.data.Dataset | None = None
                for files, prepare in sources:
                    some = ray.data.from_items([str(file.resolve()) for file in files]).map_batches(
                        prepared, batch_format="pyarrow", batch_size=1, fn_args=(prepare, empty, key, n)
                    )
                    rows = some if rows is None else rows.union(some)
                assert rows is not None
                rows.groupby(PART).map_groups(
                    write_group, batch_format="pyarrow", fn_args=(function, folder.resolve())
                ).materialize()
                for part in range(n):
                    if not part_file(folder, part).exists():  # no row has these keys
                        pq.write_table(function(empty.empty_table()), part_file(folder, part), compression="zstd")
        return sorted(out.glob("*.parquet"))


def call(function: Callable[[Any], Any], task: Any) -> Any:
    return function(task)


def fetch(result: Any) -> Any:
    """The result of a task. Raises what the task has raised."""
    try:
        return ray.get(result)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError | OSError):
            raise error.cause from None
        raise


def prepared(files: pa.Table, prepare: Callable[[pa.Table], pa.Table], schema: pa.Schema, key: str, n: int) -> pa.Table:
    """The rows of a file, prepared, with all columns of the schema and the partition that they belong to."""
    table = prepare(pq.read_table(files["item"][0].as_py()))
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    full = pa.table(columns, schema=schema.remove_metadata())
    return full.append_column(PART, pa.array(partition_of(full, key, n)))


def part_file(folder: Path, part: int) -> Path:
    return folder / f"{part:05d}.parquet"


def write_group(table: pa.Table, function: Callable[[pa.Table], pa.Table], folder: Path) -> pa.Table:
    """Writes the result of a function of one partition's rows."""
    part = table[PART][0].as_py()
    pq.write_table(function(table.drop_columns([PART])), part_file(folder, part), compression="zstd")
    return pa.table({PART: [part]})
