"""The input cut into shards: pieces of one file that a worker reads by itself, the same whoever reads them.

A shard of a plain JSONL file is a range of bytes, of a Parquet file some row groups, of a Hub data set a range of rows.
A compressed file cannot be entered in the middle: whoever asks for its shards unpacks it and hands their lines on.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.artefacts import hash_path, read_manifest
from data_prep.curation.settings import InputConfig
from data_prep.sources import (
    COMPRESSED,
    LARGE_GROUP,
    find_files,
    intact,
    is_local,
    load_hub,
    one_line,
    open_binary,
    small_groups,
)

MEBIBYTE = 2**20
HUB_ROWS = 2000  # in a shard of a Hub data set, whose rows have no size before they are read


@dataclass(frozen=True)
class Shard:
    """A piece of an input. `number`: its place among all shards. `input`: which of the inputs it is of.

    `start`, `stop`: bytes (JSONL), row groups (Parquet), or rows (others). `lines`: the bytes themselves, of a
    compressed file. `first_row`: number of its first row in the file, None where only reading the earlier ones tells.
    `copy`: the file with small row groups that is read instead (see `small_groups`); the row groups are then of it.
    """

    number: int
    input: int
    file: str
    start: int
    stop: int
    first_row: int | None = 0
    lines: bytes | None = None
    damaged: str = ""
    n_bytes: int = 0  # unpacked; of Hub data sets 0
    copy: str = ""


@dataclass(frozen=True)
class Row:
    """A row as read: its number in the shard, from 0, and the row, or what was wrong with it (blank line: neither)."""

    number: int
    row: dict[str, Any] | None
    fault: str = ""
    detail: str = ""


def input_files(inputs: Sequence[InputConfig]) -> list[tuple[int, str]]:
    """(input, file or Hub name) of all inputs, in order. Raises FileNotFoundError, ValueError."""
    files: list[tuple[int, str]] = []
    for number, source in enumerate(inputs):
        if source.problems and not Path(source.problems).exists():
            raise FileNotFoundError(f"problems: {source.problems}: no such file (looked in {Path.cwd()})")
        if not is_local(source.path) and source.path != "small-world":
            files.append((number, source.path))
            continue
        if source.path == "small-world":
            from data_prep.small_world.samples import small_world_folder

            path = small_world_folder(source.split, 3000)  # type: ignore[arg-type]
        else:
            path = Path(source.path).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{source.path}: no such file or folder (looked in {Path.cwd()})")
        if path.is_dir():
            read_manifest(path)  # a broken one is said here
        files += [(number, str(file)) for file in find_files(path)]
    for _, name in files:
        if name.endswith(".parquet"):
            try:
                pq.read_metadata(name)
            except (pa.ArrowInvalid, OSError) as error:
                raise ValueError(
                    f"{name}: no readable Parquet file, cut off or damaged ({one_line(error)}); "
                    "mend or remove it and start again"
                ) from None
    return files


def fingerprint(inputs: Sequence[InputConfig], files: Sequence[tuple[int, str]]) -> dict[str, str]:
    """What tells whether the inputs are the same as at an earlier start: size and time of each file."""
    marks = {}
    for number, name in files:
        if Path(name).exists():
            status = Path(name).stat()
            marks[name] = f"{status.st_size} bytes, {status.st_mtime_ns}"
        else:
            data = load_hub(name, inputs[number].split, inputs[number].config)
            marks[name] = f"Hub, {data._fingerprint}"
    for source in inputs:
        if source.problems:
            marks[source.problems] = hash_path(source.problems)
    return marks


def shards(
    inputs: Sequence[InputConfig],
    files: Sequence[tuple[int, str]],
    shard_mb: int,
    max_row_mb: float,
    have: Iterable[int] = (),
) -> Iterator[Shard]:
    """All shards, in order. `have`: numbers of those whose lines nobody needs any more."""
    done = frozenset(have)
    number = 0
    for which, name in files:
        for shard in file_shards(inputs[which], name, shard_mb * MEBIBYTE, int(max_row_mb * MEBIBYTE)):
            lines = b"" if number in done and shard.lines is not None else shard.lines
            yield replace(shard, number=number, input=which, lines=lines)
            number += 1


def file_shards(source: InputConfig, name: str, n_bytes: int, max_row_bytes: int) -> Iterator[Shard]:
    """Shards of one file, with numbers and inputs still to be set."""
    empty = Shard(0, 0, name, 0, 0)
    if not Path(name).exists():
        n_rows = len(load_hub(name, source.split, source.config))
        for start in range(0, n_rows, HUB_ROWS):
            yield replace(empty, start=start, stop=min(start + HUB_ROWS, n_rows), first_row=start)
    elif name.endswith(".parquet"):
        yield from parquet_shards(name, n_bytes)
    elif name.endswith(COMPRESSED):
        yield from unpacked(name, n_bytes, max_row_bytes)
    elif name.endswith(".json"):
        size = Path(name).stat().st_size
        yield replace(empty, stop=size, n_bytes=size)
    else:
        size = Path(name).stat().st_size
        for start in range(0, max(size, 1), n_bytes):
            stop = min(start + n_bytes, size)
            yield replace(empty, start=start, stop=stop, first_row=None if start else 0, n_bytes=stop - start)


def parquet_shards(name: str, n_bytes: int) -> Iterator[Shard]:
    """Neighbouring row groups up to a size; a file with huge ones is copied with smaller ones first."""
    copies = [""]
    if any(group.num_rows > LARGE_GROUP or group.total_byte_size > 4 * n_bytes for group in row_groups(name)):
        copies = sorted(map(str, small_groups(Path(name)).glob("*.parquet")))
    row = 0
    for copy in copies:
        groups = row_groups(copy or name)
        start, first_row, total = 0, row, 0
        for i, group in enumerate(groups):
            if total and total + group.total_byte_size > n_bytes:
                yield Shard(0, 0, name, start, i, first_row, n_bytes=total, copy=copy)
                start, first_row, total = i, row, 0
            total += group.total_byte_size
            row += group.num_rows
        yield Shard(0, 0, name, start, len(groups), first_row, n_bytes=total, copy=copy)


def row_groups(name: str) -> list[pq.RowGroupMetaData]:
    metadata = pq.read_metadata(name)
    return [metadata.row_group(i) for i in range(metadata.num_row_groups)]


def unpacked(name: str, n_bytes: int, max_row_bytes: int) -> Iterator[Shard]:
    """Lines of a compressed file in pieces of about a size. One that is cut off ends with what could be read."""
    first, count, size, lines = 0, 0, 0, list[bytes]()
    damaged = ""
    with open_binary(name) as stream:
        try:
            for line in intact(stream, name):
                if len(line) > max_row_bytes + 1:
                    line = line[: max_row_bytes + 1] + b"\n"
                lines.append(line)
                size += len(line)
                count += 1
                if size >= n_bytes:
                    yield Shard(0, 0, name, 0, 0, first, b"".join(lines), n_bytes=size)
                    first, size, lines = count, 0, []
        except ValueError as error:
            damaged = str(error)
    yield Shard(0, 0, name, 0, 0, first, b"".join(lines), damaged, size)


def folder_of(file: str) -> Path | None:
    """The folder from which paths in the rows of a file start; None for a Hub data set, which is no file."""
    return Path(file).parent if Path(file).exists() else None


def read_shard(shard: Shard, source: InputConfig, max_row_bytes: int) -> Iterator[Row]:
    """The rows of a shard, and the faults among them, which are rows too."""
    if shard.lines is not None:
        yield from parse_lines(io.BytesIO(shard.lines), max_row_bytes)
        if shard.damaged:
            yield Row(-1, None, "file cut off or damaged", shard.damaged)
    elif not Path(shard.file).exists():
        data = load_hub(shard.file, source.split, source.config)
        for i in range(shard.start, shard.stop):
            yield Row(i - shard.start, data[i])
    elif shard.file.endswith(".parquet"):
        yield from read_groups(shard, max_row_bytes)
    elif shard.file.endswith(".json"):
        yield from read_array(shard.file)
    else:
        with open(shard.file, "rb") as stream:
            yield from parse_lines(lines_from(stream, shard.start, shard.stop, max_row_bytes), max_row_bytes)


def lines_from(stream: Any, start: int, stop: int, max_row_bytes: int) -> Iterator[bytes]:
    """Lines that begin in a range of bytes. Of one that is too long only its first bytes."""
    if start:  # the line that reaches into the range belongs to the one before
        stream.seek(start - 1)
        while (piece := stream.readline(MEBIBYTE)) and not piece.endswith(b"\n"):
            pass
    while stream.tell() < stop:
        line = stream.readline(max_row_bytes + 2)
        if not line:
            return
        whole = line
        while line and not line.endswith(b"\n") and len(whole) > max_row_bytes:
            line = stream.readline(MEBIBYTE)
        yield whole


def parse_lines(lines: Iterable[bytes], max_row_bytes: int) -> Iterator[Row]:
    """Rows of JSON lines."""
    for number, line in enumerate(lines):
        if not line.strip():
            yield Row(number, None)
        elif len(line) > max_row_bytes + 1:
            yield Row(number, None, "row too long", f"more than {max_row_bytes / MEBIBYTE:g} MB (--max_row_mb)")
        else:
            yield parse_line(number, line)


def parse_line(number: int, line: bytes) -> Row:
    try:
        row = orjson.loads(line)
    except ValueError as error:
        try:
            line.decode()
        except UnicodeDecodeError as found:
            return Row(number, None, "not in UTF-8", str(found))
        try:
            row = json.loads(line)  # which takes NaN, huge numbers and halves of characters too
        except (ValueError, RecursionError):
            return Row(number, None, "broken JSON", one_line(error))
    if isinstance(row, dict):
        return Row(number, row)
    return Row(number, None, "no JSON object", f"found {type(row).__name__}")


def read_groups(shard: Shard, max_row_bytes: int) -> Iterator[Row]:
    """Rows of row groups of a Parquet file; of a damaged group each row that is lost is a fault."""
    number = 0
    with pq.ParquetFile(shard.copy or shard.file, buffer_size=MEBIBYTE, pre_buffer=False) as file:
        for group in range(shard.start, shard.stop):
            n_rows, read = file.metadata.row_group(group).num_rows, 0
            try:
                for batch in file.iter_batches(batch_size=256, row_groups=[group]):
                    for row in batch.to_pylist():
                        size = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
                        if size > max_row_bytes:
                            detail = f"more than {max_row_bytes / MEBIBYTE:g} MB (--max_row_mb)"
                            yield Row(number + read, None, "row too long", detail)
                        else:
                            yield Row(number + read, row)
                        read += 1
            except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
                for lost in range(read, n_rows):
                    yield Row(number + lost, None, "unreadable in Parquet", one_line(error))
            number += n_rows


def read_array(name: str) -> Iterator[Row]:
    """Rows of a file that is one JSON array."""
    try:
        rows = json.loads(Path(name).read_bytes())
    except ValueError as error:  # JSON and Unicode
        yield Row(-1, None, "broken JSON", one_line(error))
        return
    if not isinstance(rows, list):
        yield Row(-1, None, "no JSON array", f"found {type(rows).__name__}")
        return
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            yield Row(number, row)
        else:
            yield Row(number, None, "no JSON object", f"found {type(row).__name__}")
