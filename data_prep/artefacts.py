"""Artefact folders: what a stage leaves behind. Parquet shards or a model, and `manifest.json`, written atomically.

A folder under its final name is whole: it is written under a temporary name beside it and renamed at the end.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.rows import SCHEMAS, RowError, validate

MANIFEST = "manifest.json"
TRAINED_ON = "trained_on.parquet"
LIBRARIES = ("redstar-recipes", "torch", "transformers", "trl", "accelerate", "datasets", "math-verify")
ROWS_PER_GROUP = 256  # streaming reads single row groups in random order, so they are small
ROWS_PER_SHARD = 100_000


def cache_folder() -> Path:
    """Where derived data is kept between runs: $REDSTAR_CACHE or ~/.cache/redstar-recipes. Safe to delete."""
    return Path(os.environ.get("REDSTAR_CACHE", "~/.cache/redstar-recipes")).expanduser()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def hash_path(path: str | Path) -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files in a folder (hidden ones left out)."""
    path = Path(path)
    files = (
        sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith(".")) if path.is_dir() else [path]
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() if path.is_dir() else b"")
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def hash_model(name: str, config: Any) -> str:
    """Hash of the files right in a model folder, or the Hub commit that a model of this name was loaded from.

    Checkpoints below the folder are no part of the model.
    """
    if not Path(name).is_dir():
        return f"commit {getattr(config, '_commit_hash', None)}"
    files = sorted(file for file in Path(name).iterdir() if file.is_file() and not file.name.startswith("."))
    return hashlib.sha256("".join(f"{file.name} {hash_path(file)}\n" for file in files).encode()).hexdigest()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes `path` if the block ends well and is removed if it does not.

    Raises FileExistsError if `path` is there already: results are never written over.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already: choose another folder or remove it")
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(f"{path} has been written by another process meanwhile") from None
        raise


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes JSON so that a reader sees the old file or the whole new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    os.replace(temporary, path)


def read_manifest(folder: str | Path) -> dict[str, Any] | None:
    """The manifest of an artefact folder, or None if the folder has none."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: broken JSON in line {error.lineno}: {error.msg}") from None
    if not isinstance(manifest, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(manifest).__name__}")
    return manifest


def write_rows(folder: Path, kind: str, rows: Iterable[Mapping[str, Any]], columns: pa.Schema | None = None) -> int:
    """Writes rows as Parquet shards (zstd) named `data-00000.parquet` and returns their number.

    `kind`: a key of SCHEMAS; its columns come first. `columns`: the further ones, where the first rows may not tell
    their types; without it they keep the types of the first batch.
    """
    schema, n_rows, shard, writer = None, 0, 0, None
    rows = iter(rows)
    while batch := list(islice(rows, ROWS_PER_GROUP)):
        for i, row in enumerate(batch):
            validate(row, kind, f"row {n_rows + i}")
        if schema is None and columns is not None:
            schema = pa.schema([*SCHEMAS[kind], *columns])
        elif schema is None:
            # Arrow itself looks at the first row only.
            names = [name for name in dict.fromkeys(chain.from_iterable(batch)) if name not in SCHEMAS[kind].names]
            table = pa.table({name: pa.array([row.get(name) for row in batch]) for name in names})
            schema = pa.schema([*SCHEMAS[kind], *table.schema])
        if writer is None:
            writer = pq.ParquetWriter(folder / f"data-{shard:05d}.parquet", schema, compression="zstd")
        for i, row in enumerate(batch):
            if late := [name for name in row if name not in schema.names]:
                known = "the given columns" if columns is not None else f"the first {ROWS_PER_GROUP} rows"
                raise RowError(f"row {n_rows + i}: column {late[0]!r} is in none of {known}")
        writer.write_table(as_table(batch, schema, n_rows))
        n_rows += len(batch)
        if n_rows >= (shard + 1) * ROWS_PER_SHARD:
            writer.close()
            writer, shard = None, shard + 1
    if writer is not None:
        writer.close()
    return n_rows


def as_table(batch: list[Mapping[str, Any]], schema: pa.Schema, start: int) -> pa.Table:
    """The rows as a table; `start`: the number of the first one. Raises RowError naming the column that is wrong."""
    columns = []
    for field in schema:
        try:
            columns.append(pa.array([row.get(field.name) for row in batch], field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            rows = f"rows {start} to {start + len(batch) - 1}"
            raise RowError(f"{rows}: column {field.name!r} is no {field.type} everywhere ({error})") from None
    return pa.Table.from_arrays(columns, schema=schema)


def write_artefact(
    path: str | Path,
    kind: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    stage: str,
    config: Mapping[str, Any],
    seed: int,
    inputs: Mapping[str, str],
    n_read: int | None = None,
    dropped: Mapping[str, int] | None = None,
    extra: Mapping[str, Any] | None = None,
    columns: pa.Schema | None = None,
) -> dict[str, Any]:
    """Writes an artefact folder of rows with its manifest, which is returned.

    `inputs`: name -> content hash. `n_read` and `dropped` (reason -> rows): the funnel; no drop without a reason.
    `columns`: see `write_rows`.
    """
    started = now()
    with atomic_folder(path) as folder:
        n_rows = write_rows(folder, kind, rows, columns)
        manifest = {
            "stage": stage,
            "kind": kind,
            "config": dict(config),
            "seed": seed,
            "inputs": dict(inputs),
            "rows_in": n_read if n_read is not None else n_rows,
            "rows_out": n_rows,
            "rows_dropped": dict(dropped or {}),
            "started": started,
            "ended": now(),
            "libraries": library_versions(),
            **(extra or {}),
        }
        write_json(folder / MANIFEST, manifest)
    return manifest


def write_trained_on(folder: str | Path, ids: Iterable[str]) -> int:
    """Writes the ids of the problems that a model was trained on beside its manifest; returns their number."""
    unique = sorted(set(ids))
    path = Path(folder) / TRAINED_ON
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    pq.write_table(pa.table({"problem_id": pa.array(unique, pa.string())}), temporary, compression="zstd")
    os.replace(temporary, path)
    return len(unique)


def read_trained_on(folder: str | Path) -> set[str]:
    """Ids of the problems that the model in this folder was trained on; empty if it has no record.

    The record of a checkpoint is that of its run, in the folder above.
    """
    folder = Path(folder).resolve()
    path = (folder.parent if folder.name.startswith("checkpoint-") else folder) / TRAINED_ON
    return set(pq.read_table(path)["problem_id"].to_pylist()) if path.is_file() else set()
