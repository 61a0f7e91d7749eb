"""Where rows come from: artefact folders, local files, Hub names and the small world, read in blocks.

A block is a few hundred neighbouring rows that can be read without what stands before them. So a data set of any size
is read in random order, from any position, with bounded memory.
"""

import gzip
import hashlib
import io
import json
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.artefacts import MANIFEST, atomic_folder, cache_folder, read_manifest
from data_prep.rows import RowError

BLOCK_ROWS = 256
# Rows of a Parquet row group beyond which a file is copied: reading a block decodes its group from the beginning.
LARGE_GROUP = 8192
BLOCKS_PER_COPY = 400  # in one file of a copy: each reading of a block parses the footer, which names all groups
COMPRESSED = (".gz", ".xz", ".zst")
SUFFIXES = (".parquet", ".jsonl", ".json", *(f".jsonl{suffix}" for suffix in COMPRESSED))
# Single .json files in a folder are manifests and settings more often than data.
IN_FOLDERS = tuple(suffix for suffix in SUFFIXES if suffix != ".json")
OTHER_DATA = ("*.json", "*.csv", "*.tsv", "*.arrow")  # which someone may take for part of the data
NO_DATA = ("manifest.json", "dataset_info.json", "state.json")  # ours and those of the `datasets` library


@dataclass(frozen=True)
class DatasetConfig:
    """One data set of a mixture."""

    path: str = field(
        metadata={
            "help": "artefact folder, local .parquet/.jsonl/.json file or folder of them, Hub name or small-world"
        }
    )
    split: str = field(default="train", metadata={"help": "split of a Hub data set or of the small world"})
    config: str | None = field(default=None, metadata={"help": "configuration of a Hub data set"})
    weight: float = field(
        default=1.0, metadata={"help": "how often each row is seen in an epoch: 2 twice, 0.5 every second row"}
    )
    n_rows: int | None = field(default=None, metadata={"help": "use only the first n rows (small world: make n)"})


@dataclass(frozen=True)
class Block:
    """Rows `start` to `start + n_rows` of `file`. `n_rows` is None where only reading tells.

    `offset`: byte position of the first row (JSONL), or number of the row group (Parquet). `share`: the part of the
    rows that is read, drawn anew for each value of `draw`. `copy`: the file with small row groups that the rows are
    read from instead (see `small_groups`); `offset` is then a group in it.
    """

    file: str
    start: int
    n_rows: int | None
    offset: int = 0
    split: str = ""
    config: str | None = None
    share: float = 1.0
    draw: str = ""
    copy: str = ""


def find_files(path: Path) -> list[Path]:
    """The data files of a path, in order of name. Raises ValueError if a folder holds none."""
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise ValueError(f"{path}: unknown kind of file; known endings: {', '.join(SUFFIXES)}")
        return [path]
    if (path / MANIFEST).is_file():  # an artefact folder, which may hold reports too
        if rows := sorted(path.glob("data-*.parquet")):
            return rows
        raise ValueError(f"{path}: an artefact folder without rows (no data-*.parquet)")
    files = sorted(
        file
        for file in path.rglob("*")
        if file.name.endswith(IN_FOLDERS)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)  # unfinished, or a tool's own
    )
    if not files:
        raise ValueError(f"{path}: a folder without data files; expected {', '.join(IN_FOLDERS)}")
    left_out = [f.name for pattern in OTHER_DATA for f in path.glob(pattern) if f.name not in NO_DATA]
    if left_out:
        print(f"{path}: left out, not among {', '.join(IN_FOLDERS)}: {', '.join(sorted(left_out))}", file=sys.stderr)
    return files


def is_local(name: str) -> bool:
    """Whether a data set name means a path: it exists, or it looks like nothing the Hub could hold."""
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.endswith(SUFFIXES) or name.count("/") > 1


def open_blocks(dataset: DatasetConfig, kinds: Sequence[str] = ("sample",)) -> list[Block]:
    """All blocks of a data set, in its own order. Counts rows, reads none (but for JSONL, which is scanned once, and
    Parquet files with huge row groups, which are copied once).

    `kinds`: the kinds of rows that an artefact folder may hold, see `data_prep.rows.SCHEMAS`.
    Raises FileNotFoundError, ValueError.
    """
    blocks: list[Block] = []
    if dataset.n_rows is not None and dataset.n_rows < 1:
        raise ValueError(f"{dataset.path}: n_rows {dataset.n_rows}: at least 1")
    if dataset.path == "small-world":
        from data_prep.small_world.samples import small_world_folder

        paths = find_files(small_world_folder(dataset.split, dataset.n_rows or 3000))  # type: ignore[arg-type]
    elif is_local(dataset.path):
        path = Path(dataset.path).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{dataset.path}: no such file or folder (looked in {Path.cwd()})")
        manifest = read_manifest(path) if path.is_dir() else None
        if manifest is not None and (kind := manifest.get("kind")) not in (None, *kinds):
            raise ValueError(f"{dataset.path}: holds {kind!r} rows, expected {' or '.join(kinds)} (see its manifest)")
        paths = find_files(path)
    else:
        hub = load_hub(dataset.path, dataset.split, dataset.config)
        return limit(
            [
                Block(dataset.path, start, min(BLOCK_ROWS, len(hub) - start), 0, dataset.split, dataset.config)
                for start in range(0, len(hub), BLOCK_ROWS)
            ],
            dataset.n_rows,
        )
    for path in paths:
        # The first rows of a group are read fast enough without a copy.
        blocks += file_blocks(path, may_copy=dataset.n_rows is None or dataset.n_rows > LARGE_GROUP)
    return limit(blocks, dataset.n_rows)


def limit(blocks: list[Block], n_rows: int | None) -> list[Block]:
    if n_rows is None:
        return blocks
    kept, left = [], n_rows
    for block in blocks:
        if left <= 0:
            break
        size = block.n_rows
        if size is None:  # only reading tells
            size = sum(1 for _ in read_block(replace(block, n_rows=left)))
        size = min(size, left)
        kept.append(replace(block, n_rows=size))
        left -= size
    return kept


def file_blocks(path: Path, may_copy: bool = True) -> list[Block]:
    if path.suffix == ".parquet":
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path}: no readable Parquet file ({one_line(error)})") from None
        blocks, first = [], 0
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        for group, rows in enumerate(sizes):
            blocks += [
                Block(str(path), first + start, min(BLOCK_ROWS, rows - start), group)
                for start in range(0, rows, BLOCK_ROWS)
            ]
            first += rows
        if may_copy and max(sizes, default=0) > LARGE_GROUP:
            folder = small_groups(path)
            blocks = [
                replace(block, offset=i % BLOCKS_PER_COPY, copy=str(folder / copy_name(i)))
                for i, block in enumerate(blocks)
            ]
        return blocks
    if not can_be_entered(str(path)):  # compressed files and JSON arrays cannot be entered in the middle
        return [Block(str(path), 0, None)]
    blocks, offset, start, count = [], 0, 0, 0
    with path.open("rb") as lines:
        position = 0
        for line in lines:
            position += len(line)
            count += 1
            if count - start == BLOCK_ROWS:
                blocks.append(Block(str(path), start, BLOCK_ROWS, offset))
                offset, start = position, count
    if count > start:
        blocks.append(Block(str(path), start, count - start, offset))
    return blocks


def copy_name(block: int) -> str:
    """Name of the file that holds a block, by its number, in the folder that `small_groups` makes."""
    return f"data-{block // BLOCKS_PER_COPY:05d}.parquet"


def small_groups(path: Path) -> Path:
    """A folder in the cache with the rows of a Parquet file, a row group for each block; written if it is not there.

    Memory is bounded by a few blocks. Raises ValueError if the file is unreadable.
    """
    status = path.stat()
    key = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns, BLOCK_ROWS, BLOCKS_PER_COPY])
    folder = cache_folder() / "regrouped" / hashlib.sha256(key.encode()).hexdigest()[:24]
    if folder.exists():
        return folder
    print(
        f"{path}: row groups of more than {LARGE_GROUP:,} rows are slow to read in random order: "
        f"copied once with smaller ones to {folder}",
        file=sys.stderr,
        flush=True,
    )
    with suppress(FileExistsError), atomic_folder(folder) as unfinished:  # another process may write the same copy
        writer = None
        for i, batch in enumerate(block_batches(path)):
            if i % BLOCKS_PER_COPY == 0:
                if writer:
                    writer.close()
                writer = pq.ParquetWriter(unfinished / copy_name(i), batch.schema, compression="zstd")
            assert writer
            writer.write_batch(batch)
        if writer:
            writer.close()
    return folder


def block_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of each block of a Parquet file. Raises ValueError where it is unreadable."""
    n_rows = 0
    try:
        # By default all columns of a row group are read into memory at once.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(batch_size=BLOCK_ROWS, row_groups=[group]):
                    yield batch
                    n_rows += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: unreadable at row {n_rows} ({one_line(error)})") from None


def can_be_entered(name: str) -> bool:
    """Whether reading can begin in the middle of this data file or Hub data set."""
    return not name.endswith((".json", *COMPRESSED))


@cache  # loading takes seconds, and each block asks for the data set
def load_hub(name: str, split: str, config: str | None) -> Any:
    """The data set as the `datasets` library loads it: downloaded once, then memory-mapped from its cache."""
    from datasets import load_dataset

    try:
        return load_dataset(name, config, split=split)
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        raise ValueError(f"data set {name!r}: no such path here, and the Hub gave none ({error})") from None


def read_block(block: Block) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (where, row) for each row of the block; `where` names file and row for messages.

    Raises RowError on broken JSON and ValueError on unreadable Parquet.
    """
    if block.share == 1:
        yield from read_rows(block)
        return
    rng = Random(block.draw)
    if block.n_rows is None:
        yield from (row for row in read_rows(block) if rng.random() < block.share)
        return
    drawn = set(rng.sample(range(block.n_rows), round(block.share * block.n_rows)))
    yield from (row for i, row in enumerate(read_rows(block)) if i in drawn)


def read_rows(block: Block) -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows of the block, whatever its share."""
    name = block.file
    if name.endswith(".parquet"):
        yield from read_parquet(block)
    elif name.endswith(".json"):
        try:
            rows = json.loads(Path(name).read_bytes())
        except UnicodeDecodeError as error:
            raise RowError(f"{name}: not in UTF-8: {error}") from None
        except json.JSONDecodeError as error:
            raise RowError(f"{name}, line {error.lineno}: broken JSON: {error.msg}") from None
        if not isinstance(rows, list):
            raise RowError(f"{name}: expected a JSON array of rows, found {type(rows).__name__}")
        for i, row in islice(enumerate(rows), block.n_rows):
            yield f"{name}, row {i}", require_mapping(row, f"{name}, row {i}")
    elif ".jsonl" in name:
        yield from read_jsonl(block)
    else:
        hub = load_hub(name, block.split, block.config)
        for i in range(block.start, block.start + (block.n_rows or 0)):
            yield f"{name} ({block.split}), row {i}", hub[i]


def require_mapping(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise RowError(f"{where}: expected an object with columns, found {type(row).__name__}")
    return row


def read_parquet(block: Block) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with pq.ParquetFile(block.copy or block.file) as file:
            batches = file.iter_batches(batch_size=BLOCK_ROWS, row_groups=[block.offset])
            batch = next(islice(batches, start_in_group(block, file) // BLOCK_ROWS, None))
            rows = batch.slice(0, block.n_rows).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{block.file}: unreadable at row {block.start} ({one_line(error)})") from None
    for i, row in enumerate(rows):
        yield f"{block.file}, row {block.start + i}", row


def start_in_group(block: Block, file: pq.ParquetFile) -> int:
    """Number of the block's first row in its row group of the opened file."""
    if block.copy:
        return 0
    return block.start - sum(file.metadata.row_group(i).num_rows for i in range(block.offset))


def read_jsonl(block: Block) -> Iterator[tuple[str, dict[str, Any]]]:
    with open_binary(block.file) as lines:
        if block.offset:
            lines.seek(block.offset)
        for i, line in islice(enumerate(intact(lines, block.file), block.start), block.n_rows):
            where = f"{block.file}, line {i + 1}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                raise RowError(f"{where}: not in UTF-8: {error}") from None
            except json.JSONDecodeError as error:
                raise RowError(f"{where}: broken JSON: {error.msg}") from None
            except (ValueError, RecursionError) as error:  # such as a number of 5,000 digits
                raise RowError(f"{where}: broken JSON: {error}") from None
            yield where, require_mapping(row, where)


def intact(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The lines. Raises ValueError where a compressed file is cut off or damaged."""
    try:
        yield from lines
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{name}: unreadable, cut off or damaged ({one_line(error)})") from None


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def open_binary(name: str) -> Any:
    if name.endswith(".gz"):
        return gzip.open(name, "rb")
    if name.endswith(".xz"):
        return lzma.open(name, "rb")
    if name.endswith(".zst"):
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(name), "zstd"))
    return open(name, "rb")
