"""`data_prep.artefacts`: whole or not there, never written over, nothing lost on the way through Parquet."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import artefacts
from data_prep.artefacts import (
    atomic_folder,
    hash_path,
    read_manifest,
    read_trained_on,
    write_artefact,
    write_json,
    write_trained_on,
)
from data_prep.rows import RowError
from data_prep.sources import DatasetConfig, open_blocks, read_block

OPTIONS: dict[str, Any] = {"stage": "test", "config": {"a": 1, "path": Path("x")}, "seed": 7, "inputs": {"in": "hash"}}


def sample(i: int, **more: Any) -> dict[str, Any]:
    return {
        "problem_id": f"p{i}", "source": "s", "problem": f"What is {i}?", "answer": str(i), "images": [], "level": i,
        "messages": [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"{i} é"}],
        **more,
    }  # fmt: skip


def read(folder: Path) -> list[dict[str, Any]]:
    return [row for block in open_blocks(DatasetConfig(str(folder))) for _, row in read_block(block)]


def test_rows_come_back_as_they_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(artefacts, "ROWS_PER_SHARD", 512)
    rows = [sample(i, band="easy", nested={"a": [i, i + 1]}, flag=i % 2 == 0) for i in range(1100)]
    folder = tmp_path / "deep" / "out"
    write_artefact(folder, "sample", iter(rows), **OPTIONS)
    empty = {"verdict": None, "pass_rate": None, "n_attempts": None, "n_tokens": None}
    assert read(folder) == [{**empty, **row, "level": float(row["level"])} for row in rows]
    shards = sorted(folder.glob("*.parquet"))
    assert [(shard.name, pq.read_metadata(shard).num_rows) for shard in shards] == [
        ("data-00000.parquet", 512), ("data-00001.parquet", 512), ("data-00002.parquet", 76)
    ]  # fmt: skip
    metadata = pq.read_metadata(shards[0])
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) <= 256


def test_columns_of_some_rows_survive(tmp_path: Path):
    rows = [sample(0), sample(1, note="late"), sample(2)]
    write_artefact(tmp_path / "out", "sample", rows, **OPTIONS)
    assert [row["note"] for row in read(tmp_path / "out")] == [None, "late", None]


def test_types_that_the_first_rows_do_not_tell_are_given(tmp_path: Path):
    rows = [sample(i, note=None if i < 299 else "late") for i in range(300)]
    columns = pa.schema([pa.field("note", pa.string())])
    write_artefact(tmp_path / "out", "sample", rows, columns=columns, **OPTIONS)
    assert [row["note"] for row in read(tmp_path / "out")] == [None] * 299 + ["late"]
    with pytest.raises(RowError, match="row 0: column 'more' is in none of the given columns"):
        write_artefact(tmp_path / "b", "sample", [sample(0, more=1)], columns=columns, **OPTIONS)


def test_columns_that_come_too_late_or_change_their_type_are_named(tmp_path: Path):
    rows = [sample(i) for i in range(300)]
    with pytest.raises(RowError, match="row 299: column 'note' is in none of the first 256 rows"):
        write_artefact(tmp_path / "out", "sample", [*rows[:299], sample(299, note="x")], **OPTIONS)
    rows = [sample(i, note=None if i < 299 else "x") for i in range(300)]
    with pytest.raises(RowError, match="rows 256 to 299: column 'note' is no null everywhere"):
        write_artefact(tmp_path / "out", "sample", rows, **OPTIONS)
    with pytest.raises(RowError, match="rows 0 to 0: column 'images' is no list"):
        write_artefact(tmp_path / "out", "sample", [sample(0, images=[7])], **OPTIONS)
    with pytest.raises(RowError, match=r"row 1: column 'n_tokens' holds 1.5"):
        write_artefact(tmp_path / "out", "sample", [sample(0), sample(1, n_tokens=1.5)], **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_the_manifest(tmp_path: Path):
    manifest = write_artefact(
        tmp_path / "out", "sample", [sample(0)], **OPTIONS, n_read=10, dropped={"wrong": 9}, extra={"x": [1]}
    )
    stored = read_manifest(tmp_path / "out")
    assert stored is not None
    assert stored == json.loads(json.dumps(manifest, default=str))
    assert {k: stored[k] for k in ("stage", "kind", "seed", "rows_in", "rows_out", "rows_dropped", "inputs", "x")} == {
        "stage": "test", "kind": "sample", "seed": 7, "rows_in": 10, "rows_out": 1, "rows_dropped": {"wrong": 9},
        "inputs": {"in": "hash"}, "x": [1],
    }  # fmt: skip
    assert stored["started"] <= stored["ended"]
    assert {"torch", "transformers", "trl"} <= set(stored["libraries"])
    assert read_manifest(tmp_path) is None


def test_a_folder_is_whole_or_not_there(tmp_path: Path):
    class Stop(BaseException):
        pass

    def rows(error: BaseException):
        yield from (sample(i) for i in range(600))
        assert not (tmp_path / "out").exists()
        raise error

    for error in (ValueError("x"), KeyboardInterrupt(), Stop()):
        with pytest.raises(type(error)):
            write_artefact(tmp_path / "out", "sample", rows(error), **OPTIONS)
        assert list(tmp_path.iterdir()) == []
    write_artefact(tmp_path / "out", "sample", [sample(0)], **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_results_are_never_written_over(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(FileExistsError, match="out exists already: choose another folder or remove it"):
        write_artefact(tmp_path / "out", "sample", [sample(0)], **OPTIONS)
    with pytest.raises(FileExistsError), atomic_folder(tmp_path / "out" / "precious"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "precious"]


def test_the_slower_of_two_writers_is_told(tmp_path: Path):
    with (  # noqa: PT012
        pytest.raises(FileExistsError, match="out has been written by another process meanwhile"),
        atomic_folder(tmp_path / "out") as folder,
    ):
        (folder / "slow").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "fast").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["fast", "out"]


def test_json_is_replaced_as_a_whole(tmp_path: Path):
    path = tmp_path / "x.json"
    write_json(path, {"a": "é", "p": Path("y")})
    assert json.loads(path.read_text()) == {"a": "é", "p": "y"}
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(ValueError, match="Circular"):
        write_json(path, circle)
    assert json.loads(path.read_text()) == {"a": "é", "p": "y"}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_hashes_follow_names_and_bytes(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_text("1")
    hashes = [hash_path(folder), hash_path(folder / "a")]
    (folder / ".hidden").write_text("x")
    assert hash_path(folder) == hashes[0]
    (folder / "b").write_text("")
    hashes.append(hash_path(folder))
    (folder / "b").rename(folder / "c")
    hashes.append(hash_path(folder))
    (folder / "a").write_text("2")
    hashes += [hash_path(folder), hash_path(folder / "a")]
    assert len(set(hashes)) == len(hashes)
    moved = folder.rename(tmp_path / "moved")
    assert hash_path(moved) == hashes[-2]


def test_problems_trained_on(tmp_path: Path):
    assert read_trained_on(tmp_path) == set()
    assert write_trained_on(tmp_path, ["b", "a", "b"]) == 2
    assert read_trained_on(tmp_path) == {"a", "b"}
    assert write_trained_on(tmp_path, []) == 0
    assert read_trained_on(tmp_path) == set()
    assert [path.name for path in tmp_path.iterdir()] == ["trained_on.parquet"]
