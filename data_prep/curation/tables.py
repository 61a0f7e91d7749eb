"""Tables of an unfinished curation: where they lie, and which row of which input a number means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.artefacts import ROWS_PER_GROUP


def table_file(folder: Path, kind: str, shard: int) -> Path:
    return folder / kind / f"{shard:05d}.parquet"


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a table so that the file is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="zstd", row_group_size=ROWS_PER_GROUP)
    temporary.replace(path)


@dataclass
class Place:
    """Where a shard is: its file, the number of its first row there, and its rows."""

    file: str
    first_row: int
    n_rows: int


def located(rows: list[int], folder: Path, places: dict[int, Place]) -> dict[int, dict[str, Any]]:
    """The file and the line (from 1) that each of the rows was read from."""
    found = {}
    for shard in sorted({row >> 32 for row in rows}):
        here = pc.field("row").isin([row for row in rows if row >> 32 == shard])
        index = pq.read_table(table_file(folder, "index", shard), columns=["row", "line"], filters=here)
        place = places[shard]
        for row, line in zip(index["row"].to_pylist(), index["line"].to_pylist()):
            found[row] = {"file": place.file, "line": line + place.first_row + 1}
    return found
