"""The curation on one machine: shards to worker processes, and rows with the same key brought together on disk."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.artefacts import atomic_folder

Source = tuple[Sequence[Path], Callable[[pa.Table], pa.Table]]  # files, and what is done to each before it is split


WORTH_SPLITTING = 5_000  # rows


class Local:
    """Processes on this machine. `partition_rows`: rows that are looked at together, which bounds memory."""

    def __init__(self, workers: int, partition_rows: int):
        self.workers, self.partition_rows = workers, partition_rows
        # Workers that have imported nothing yet, and end with this process, however that ends.
        self.pool = ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent, (os.getpid(),))

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Results as they come; two tasks for each worker are under way, so few are in memory."""
        running: set[Future] = set()
        try:
            for task in tasks:
                running.add(self.pool.submit(function, task))
                if len(running) >= 2 * self.workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool:
            raise OSError(
                "a worker process was killed, most often for lack of memory: lower --shard_mb or --workers and "
                "start again; finished shards are kept"
            ) from None

    def n_partitions(self, n_rows: int) -> int:
        """Enough for the bound on memory, and for every worker where that is worth it. Results do not depend on it."""
        return max(-(-n_rows // self.partition_rows), self.workers if n_rows > WORTH_SPLITTING else 1, 1)

    def shuffle(
        self, sources: Sequence[Source], key: str, function: Callable[[pa.Table], pa.Table], n_rows: int, out: Path
    ) -> list[Path]:
        """Applies `function` to tables that each hold all rows with the same keys; returns the files of its results.

        `key`: an integer column. `n_rows`: about how many there will be. Nothing is done where `out` exists.
        """
        if not out.exists():
            n = self.n_partitions(n_rows)
            with atomic_folder(out) as folder:
                if n == 1:
                    together = [prepare(pq.read_table(file)) for files, prepare in sources for file in files]
                    pq.write_table(function(concat(together)), folder / "00000.parquet", compression="zstd")
                else:
                    parts = split(sources, key, n, folder)
                    for _ in self.map(Partition(function), parts):
                        pass
        return sorted(out.glob("*.parquet"))


class Partition:
    """The work on one partition: a function that can be sent to a worker."""

    def __init__(self, function: Callable[[pa.Table], pa.Table]):
        self.function = function

    def __call__(self, files: list[Path]) -> None:
        tables = []
        for file in files:
            with pa.ipc.open_stream(file) as stream:
                tables.append(stream.read_all())
        result = self.function(concat(tables))
        pq.write_table(result, files[0].with_name(f"{files[0].name.split('-')[0]}.parquet"), compression="zstd")
        for file in files:
            file.unlink()


def split(sources: Sequence[Source], key: str, n: int, folder: Path) -> list[list[Path]]:
    """Writes the rows of all files into n partitions by key; a partition is a file for each source."""
    parts: list[list[Path]] = [[] for _ in range(n)]
    for number, (files, prepare) in enumerate(sources):
        with ExitStack() as stack:
            writers: list[pa.RecordBatchStreamWriter] = []
            for file in files:
                table = prepare(pq.read_table(file))
                if not writers:
                    for i in range(n):
                        path = folder / f"{i:05d}-{number}.arrow"
                        parts[i].append(path)
                        writers.append(stack.enter_context(pa.ipc.new_stream(path, table.schema)))
                part = partition_of(table, key, n)
                order = np.argsort(part, kind="stable")
                table, bounds = table.take(order), np.searchsorted(part[order], np.arange(n + 1))
                for i in range(n):
                    if bounds[i + 1] > bounds[i]:
                        writers[i].write_table(table.slice(bounds[i], bounds[i + 1] - bounds[i]))
    return parts


def partition_of(table: pa.Table, key: str, n: int) -> np.ndarray:
    return (table[key].combine_chunks().to_numpy(zero_copy_only=False).view(np.uint64) % np.uint64(n)).astype(np.int64)


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """One table; columns that some lack are null there."""
    return pa.concat_tables([table.replace_schema_metadata() for table in tables], promote_options="default")


def end_with_parent(parent: int) -> None:
    """Ends this worker when its parent is gone, also by kill -9, after which nobody reads its results."""

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
