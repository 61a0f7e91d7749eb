"""Samples to training rows: tokenised, packed with TRL's best-fit-decreasing strategy, documents whole and marked.

Both ways of training read the data in *windows* of shuffled blocks and pack each window by itself:

* `cached_rows` works through all windows before training and keeps the rows on disk under a name made from their
  content, so that a second start finds them;
* `PackedStream` works while training runs, one window ahead, for data that would take too long or too much disk. Memory
  is bounded by the window, and a position in the stream is two numbers, whatever the number of processes.
"""

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from math import ceil
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset, IterableDataset
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from tqdm.auto import tqdm
from trl import pack_dataset

from data_prep.artefacts import atomic_folder, cache_folder, hash_path, read_trained_on, write_json, write_trained_on
from data_prep.sources import (
    Block,
    DatasetConfig,
    can_be_entered,
    load_hub,
    open_blocks,
    read_block,
)
from data_prep.tokenization import Rules, Tally, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CACHED_WINDOW_BLOCKS = 64  # about 16,000 rows packed at once
STREAM_WINDOW_BLOCKS = 4  # about 1,000 rows: read in seconds, and packed to within 1 % of the optimum
CACHE_VERSION = 3  # of the cached rows' form and making; a change makes old caches unused


class Mixture:
    """Several data sets as one order of blocks per epoch.

    A data set of weight 2 is seen twice in an epoch, one of weight 0.5 by a random half of its blocks (what is left
    over: by a random part of the rows of one more block), drawn anew each epoch of a stream; cached rows are those of
    one epoch, so that each epoch of training sees the same part. `shuffle=False` keeps the order of the files.
    """

    def __init__(self, datasets: Sequence[DatasetConfig], seed: int = 0, shuffle: bool = True):
        self.datasets = list(datasets)
        self.blocks = [open_blocks(dataset) for dataset in datasets]
        self.seed, self.shuffle = seed, shuffle
        for dataset, blocks in zip(self.datasets, self.blocks, strict=True):
            if not blocks:
                raise ValueError(f"{dataset.path}: no rows")
            if not 0 < dataset.weight < 1e6:
                raise ValueError(f"{dataset.path}: weight {dataset.weight}: expected above 0, and a finite number")

    @property
    def n_rows(self) -> int | None:
        """Rows of one epoch; None where only reading tells (compressed files)."""
        total = 0.0
        for dataset, blocks in zip(self.datasets, self.blocks, strict=True):
            for block in blocks:
                if block.n_rows is None:
                    return None
                total += block.n_rows * dataset.weight
        return round(total)

    def epoch(self, epoch: int) -> list[Block]:
        """Blocks of an epoch in the order of reading; the number of them is the same in each epoch."""
        rng = Random(f"{self.seed}/{epoch}")
        order: list[Block] = []
        for dataset, blocks in zip(self.datasets, self.blocks, strict=True):
            whole = int(dataset.weight)
            n_blocks = (dataset.weight - whole) * len(blocks)
            part = rng.sample(blocks, ceil(round(n_blocks, 6)))
            if left := round(n_blocks % 1, 6):
                part[-1] = replace(part[-1], share=left, draw=f"{self.seed}/{epoch}")
            order += [*blocks * whole, *part]
        if self.shuffle:
            rng.shuffle(order)
        return order

    def content_hash(self) -> str:
        """Hash of the rows and weights: of the files' bytes, or of the Hub data set's own fingerprint."""
        digest = hashlib.sha256()
        for dataset, blocks in zip(self.datasets, self.blocks, strict=True):
            for file in sorted({block.file for block in blocks}):
                local = Path(file).exists()
                rows = hash_path(file) if local else load_hub(file, dataset.split, dataset.config)._fingerprint
                digest.update(rows.encode())
            digest.update(json.dumps([len(blocks), dataset.n_rows, float(dataset.weight)]).encode())
        return digest.hexdigest()

    def quick_hash(self) -> str:
        """Hash of the data sets' names, splits and weights, the files' sizes and times of change, and the seed."""
        digest = hashlib.sha256(str(self.seed).encode())
        for dataset, blocks in zip(self.datasets, self.blocks, strict=True):
            rest = [dataset.split, dataset.config, dataset.n_rows, dataset.weight]
            for file in sorted({block.file for block in blocks}):
                status = Path(file).stat() if Path(file).exists() else None
                seen = [file, status and (status.st_size, status.st_mtime_ns), *rest]
                digest.update(json.dumps(seen).encode())
        return digest.hexdigest()


def pack(table: pa.Table, max_length: int) -> pa.Table:
    """Packs a table of `input_ids` and `labels` into rows of up to `max_length` tokens, with `seq_lengths`."""
    if len(table) == 0:
        return table.append_column("seq_lengths", pa.array([], pa.list_(pa.int64())))
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        settings = {"batch_size": None, "keep_in_memory": True, "load_from_cache_file": False}
        return pack_dataset(Dataset(table), max_length, "bfd", settings).with_format("arrow")[:]
    finally:
        if shown:
            enable_progress_bars()


def read_window(
    blocks: Sequence[Block], tokenizer: "PreTrainedTokenizerBase", rules: Rules, packing: bool, rng: Random | None
) -> tuple[pa.Table, list[str], Tally]:
    """Reads, tokenises, packs and shuffles the rows of some blocks; `rng` None keeps their order."""
    rows = (row for block in blocks for row in read_block(block))
    table, problem_ids, tally = tokenize(rows, tokenizer, rules)
    if packing:
        table = pack(table, rules.max_length)
    if rng is not None:
        order = list(range(len(table)))
        rng.shuffle(order)
        table = table.take(pa.array(order, pa.int64()))
    return table, problem_ids, tally


def fingerprint(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Hash of all that decides which ids a conversation gets."""
    if tokenizer.is_fast:
        # Padding and truncation are left over from the last call, whoever made it.
        backend = {**json.loads(tokenizer.backend_tokenizer.to_str()), "padding": None, "truncation": None}
    else:
        backend = tokenizer.get_vocab()
    deciding = [backend, tokenizer.chat_template, tokenizer.special_tokens_map]  # templates write some of the latter
    return hashlib.sha256(json.dumps(deciding, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class CachedRows:
    """Training rows in the cache. `dataset`: `input_ids`, `labels` and, if packed, `seq_lengths` (lists of ints).

    `content`: hash of all that decides them. `found`: whether they were in the cache already.
    """

    dataset: Dataset
    trained_on: set[str]
    tally: Tally
    content: str
    found: bool
    row_length: int

    def summary(self) -> str:
        fill = self.tally.tokens / max(1, len(self.dataset) * self.row_length)
        packed = (
            f" in {len(self.dataset):,} rows, {fill:.1%} full" if "seq_lengths" in self.dataset.column_names else ""
        )
        return f"{self.tally}{packed}{' (from the cache)' if self.found else ''}"


def cached_rows(
    datasets: Sequence[DatasetConfig], tokenizer: "PreTrainedTokenizerBase", rules: Rules, packing: bool
) -> CachedRows:
    """All rows of a mixture, tokenised and packed, memory-mapped from the cache.

    Call it on one process first: the others then find the rows. Raises ValueError if no row is left.
    """
    mixture = Mixture(datasets)
    key = json.dumps(
        [CACHE_VERSION, mixture.content_hash(), fingerprint(tokenizer), asdict(rules), packing], sort_keys=True
    )
    content = hashlib.sha256(key.encode()).hexdigest()[:24]
    path = cache_folder() / "tokenized" / content
    found = path.exists()
    if not found:
        try:
            write_cached_rows(path, mixture, tokenizer, rules, packing)
        except FileExistsError:  # another run has made the same rows meanwhile
            pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                f"{path}: the disk is full: make room, move the cache with REDSTAR_CACHE, or give --streaming true"
            ) from error
    tally = Tally(**json.loads((path / "tally.json").read_text()))
    dataset = Dataset.from_file(str(path / "rows.arrow"))
    if len(dataset) == 0:
        raise ValueError(f"{', '.join(d.path for d in datasets)}: no sample is left to train on: {tally}")
    return CachedRows(dataset, read_trained_on(path), tally, content, found, rules.max_length)


def write_cached_rows(
    path: Path, mixture: Mixture, tokenizer: "PreTrainedTokenizerBase", rules: Rules, packing: bool
) -> None:
    tally, ids = Tally(), []
    order = mixture.epoch(0)
    if not order:
        raise ValueError("the weights of the data sets are so small that no rows are drawn")
    with (
        atomic_folder(path) as folder,
        pa.OSFile(str(folder / "rows.arrow"), "wb") as sink,
        tqdm(total=mixture.n_rows, desc="tokenising", unit=" rows", disable=None) as bar,
    ):
        writer = None
        for start in range(0, len(order), CACHED_WINDOW_BLOCKS):
            window = order[start : start + CACHED_WINDOW_BLOCKS]
            table, problem_ids, counts = read_window(window, tokenizer, rules, packing, Random(f"window/{start}"))
            writer = writer or pa.ipc.new_stream(sink, table.schema)
            writer.write_table(table, max_chunksize=1000)
            ids += problem_ids
            tally.add(counts)
            bar.update(counts.rows)
        if writer:
            writer.close()
        write_trained_on(folder, ids)
        write_json(folder / "tally.json", tally.as_dict())


class PackedStream:
    """An endless stream of packed rows over a mixture, which can start at any position.

    Every process reads the whole stream and takes its share, as accelerate's `IterableDatasetShard` does, so the
    rows of a global batch do not depend on the number of processes. Reading runs one window ahead in a thread.
    """

    def __init__(
        self,
        datasets: Sequence[DatasetConfig],
        tokenizer: "PreTrainedTokenizerBase",
        rules: Rules,
        packing: bool,
        seed: int,
    ):
        self.mixture = Mixture(datasets, seed)
        for block in chain.from_iterable(self.mixture.blocks):
            if not can_be_entered(block.file):
                raise ValueError(
                    f"{block.file}: streaming enters files in the middle, and this one can only be read from its "
                    "beginning: decompress it, convert it to Parquet, or leave out --streaming"
                )
        self.tokenizer, self.rules, self.packing, self.seed = tokenizer, rules, packing, seed
        self.windows_per_epoch = -(-len(self.mixture.epoch(0)) // STREAM_WINDOW_BLOCKS)
        self.window, self.offset = 0, 0  # where an iteration starts
        self.tally_before = Tally()  # of the windows before the start
        self.tally = Tally()  # of those and the windows begun since then
        # The windows begun since the start: (rows between the start and it, window, tally of all windows before it).
        self.begun: list[tuple[int, int, Tally]] = []
        self.trained_on: set[str] = set()  # grows by the ids of the problems in each window begun
        self._first: tuple[int, pa.Table, list[str], Tally] | None = None

    @property
    def content(self) -> str:
        """Names the rows: their files by name, size and time of change, since hashing them takes minutes."""
        settings = [self.mixture.quick_hash(), fingerprint(self.tokenizer), asdict(self.rules), self.packing]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]

    def start_at(self, window: int, offset: int, tally: Mapping[str, Any] | None = None) -> None:
        """Sets where the next iteration starts: a window (they count on over epochs) and a row in it.

        `tally`: counts of the windows before it, as `position` gives them; without them, counting begins at the start.
        """
        self.window, self.offset = window, offset
        self.tally_before = Tally(**(tally or {}))

    def read(self, window: int) -> tuple[pa.Table, list[str], Tally]:
        epoch, index = divmod(window, self.windows_per_epoch)
        blocks = self.mixture.epoch(epoch)[index * STREAM_WINDOW_BLOCKS : (index + 1) * STREAM_WINDOW_BLOCKS]
        rng = Random(f"window/{self.seed}/{window}")
        return read_window(blocks, self.tokenizer, self.rules, self.packing, rng)

    def first_window(self) -> tuple[pa.Table, list[str], Tally]:
        """The window at the start, kept, since a trainer looks at the first row before it begins."""
        if self._first is None or self._first[0] != self.window:
            self._first = (self.window, *self.read(self.window))
        return self._first[1:]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.tally, self.begun = replace(self.tally_before), []
        n_before, n_barren = -self.offset, 0
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenise")
        coming = None
        try:
            for window in count(self.window):
                table, ids, tally = coming.result() if coming else self.first_window()
                coming = None
                self.begun.append((n_before, window, replace(self.tally)))
                self.tally.add(tally)
                self.trained_on.update(ids)
                n_barren = 0 if len(table) else n_barren + 1
                if n_barren > self.windows_per_epoch:
                    raise ValueError(f"no sample of this data is left to train on: {self.tally}")
                for i in range(self.offset if window == self.window else 0, len(table)):
                    yield {name: table[name][i].as_py() for name in table.column_names}
                    # Not before the second row is asked for: trainers look at the first one several times beforehand.
                    coming = coming or pool.submit(self.read, window + 1)
                coming = coming or pool.submit(self.read, window + 1)
                n_before += len(table)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def position(self, n_consumed: int) -> dict[str, Any]:
        """Where the stream stands after `n_consumed` rows of this iteration, for `start_at` in another process.

        `tally` leaves out the window at the position: whoever goes on there begins and counts it again.
        """
        begun = self.begun or [(-self.offset, self.window, self.tally_before)]
        before, window, tally = max(entry for entry in begun if entry[0] <= n_consumed)
        return {"window": window, "offset": n_consumed - before, "tally": tally.as_dict()}

    def n_steps(self, epochs: float, rows_per_step: int) -> int:
        """Steps of that many epochs, estimated from how the first window packs."""
        table, _, tally = self.first_window()
        return max(1, round(epochs * (self.mixture.n_rows or 0) * len(table) / max(1, tally.rows) / rows_per_step))

    def summary(self) -> str:
        table, _, tally = self.first_window()
        fill = tally.tokens / max(1, len(table) * self.rules.max_length)
        packed = f", packed {fill:.1%} full" if self.packing else ""
        return f"streaming {self.mixture.n_rows:,} rows an epoch; first window: {tally}{packed}"

    @property
    def dataset(self) -> IterableDataset:
        """The stream as the class that TRL's trainers take."""
        return IterableDataset.from_generator(self.__iter__)
