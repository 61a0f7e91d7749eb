"""`data_prep.sources`: blocks give the same rows as straight reading, and bad files are named in one message."""

import gzip
import json
import lzma
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import sources
from data_prep.artefacts import write_artefact
from data_prep.rows import RowError
from data_prep.sources import Block, DatasetConfig, can_be_entered, open_blocks, read_block

FORMATS = ("jsonl", "jsonl.gz", "jsonl.xz", "jsonl.zst", "json", "parquet")


def make_rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"query": f"q{i}", "response": "line\u2028é\n" * (i % 4) + f"r{i}"} for i in range(start, start + n)]


def write(path: Path, rows: list[dict[str, Any]], group: int = 256) -> Path:
    """Writes rows in the form that the file's ending names; `group`: rows of a Parquet row group."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    elif path.name.endswith(".json"):
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    elif path.name.endswith(".xz"):
        path.write_bytes(lzma.compress(lines))
    elif path.name.endswith(".zst"):
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream:
            stream.write(lines)
    else:
        path.write_bytes(lines)
    return path


def read_all(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row for block in open_blocks(DatasetConfig(str(path), **options)) for _, row in read_block(block)]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("n_rows", [1, 255, 256, 257, 1000])
def test_blocks_give_all_rows_in_order(ending: str, n_rows: int, tmp_path: Path):
    rows = make_rows(n_rows)
    path = write(tmp_path / f"data.{ending}", rows)
    assert read_all(path) == rows
    blocks = open_blocks(DatasetConfig(str(path)))
    if can_be_entered(str(path)):
        assert [block.n_rows for block in blocks] == [min(256, n_rows - i) for i in range(0, n_rows, 256)]
        for block in blocks:  # each can be read by itself
            assert [row for _, row in read_block(block)] == rows[block.start : block.start + (block.n_rows or 0)]
    else:
        assert [block.n_rows for block in blocks] == [None]


@pytest.mark.parametrize("group", [1, 255, 256, 257, 1000])
def test_row_groups_of_any_size(group: int, tmp_path: Path):
    """With the columns that samples have: nested ones come in chunks of their own."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a" * (i % 9)}],
            "images": [],
        }
        for i in range(600 if group == 1 else 1300)
    ]
    path = write(tmp_path / "data.parquet", rows, group)
    blocks = open_blocks(DatasetConfig(str(path)))
    assert sum(block.n_rows or 0 for block in blocks) == len(rows)
    found: list[dict[str, Any]] = []
    for block in reversed(blocks):
        part = list(read_block(block))
        assert [where for where, _ in part] == [f"{path}, row {block.start + i}" for i in range(block.n_rows or 0)]
        found = [row for _, row in part] + found
    assert found == rows


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 rows, so that few rows make many of them."""
    monkeypatch.setattr(sources, "BLOCK_ROWS", 4)


@given(
    sizes=st.lists(st.integers(1, 21), min_size=1, max_size=3),
    endings=st.lists(st.sampled_from(FORMATS[:4] + FORMATS[5:]), min_size=3, max_size=3),
    group=st.integers(1, 9),
    limit=st.one_of(st.none(), st.integers(1, 60)),
    blank=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folders_of_any_files(sizes, endings, group, limit, blank, tmp_path_factory, small_blocks):
    folder = tmp_path_factory.mktemp("data")
    rows: list[dict[str, Any]] = []
    for i, (n, ending) in enumerate(zip(sizes, endings, strict=False)):
        path = write(folder / f"part-{i}.{ending}", make_rows(n, len(rows)), group)
        if ending == "jsonl" and blank and limit is None:
            path.write_bytes(path.read_bytes().replace(b"}\n", b"}\n\n") + b"   ")  # blank lines, no newline at the end
        rows += make_rows(n, len(rows))
    assert read_all(folder, n_rows=limit) == rows[:limit]
    shutil.rmtree(folder)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("n_rows", [1, 5, 300])
def test_the_first_rows(ending: str, n_rows: int, tmp_path: Path):
    path = write(tmp_path / f"data.{ending}", make_rows(400), 100)
    assert read_all(path, n_rows=n_rows) == make_rows(n_rows)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_share_of_a_block(ending: str, tmp_path: Path):
    path = write(tmp_path / f"data.{ending}", make_rows(200))
    (whole,) = open_blocks(DatasetConfig(str(path)))

    def drawn(draw: str) -> list[str]:
        block = Block(whole.file, 0, whole.n_rows, whole.offset, share=0.3, draw=draw)
        return [row["query"] for _, row in read_block(block)]

    assert len(drawn("a")) == 60 if whole.n_rows else 35 < len(drawn("a")) < 85
    assert drawn("a") == drawn("a") != drawn("b")
    assert drawn("a") == sorted(set(drawn("a")), key=lambda name: int(name[1:]))


def message(path: Path, error: type[Exception] = ValueError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        read_all(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_files(tmp_path: Path):
    for name in ("none.jsonl", "none", "none.csv"):
        path = tmp_path / name
        assert f"{path}: no such file or folder (looked in " in message(path, FileNotFoundError)


def test_a_relative_missing_file_is_not_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("none.jsonl", "./none", "a/b/c", "none.parquet"):
        assert "no such file or folder" in message(Path(name) if name != "./none" else "./none", FileNotFoundError)  # type: ignore[arg-type]


def test_unknown_endings(tmp_path: Path):
    (tmp_path / "data.csv").write_text("a,b\n")
    assert f"{tmp_path}/data.csv: unknown kind of file; known endings: .parquet, .jsonl" in message(
        tmp_path / "data.csv"
    )


def test_folders_without_data(tmp_path: Path):
    assert f"{tmp_path}: a folder without data files; expected .parquet, .jsonl" in message(tmp_path)
    for name in ("data.csv.gz", "manifest.txt", "x.json", ".hidden.jsonl"):
        (tmp_path / name).write_bytes(b"x")
    unfinished = tmp_path / ".out.tmp-1"
    unfinished.mkdir()
    write(unfinished / "data.jsonl", make_rows(1))
    text = message(tmp_path)
    assert "a folder without data files" in text
    assert ".json," not in text  # it holds one, and that is not what is looked for


@pytest.mark.parametrize("ending", ["parquet", "json", "jsonl.gz", "jsonl.xz"])
def test_empty_files(ending: str, tmp_path: Path):
    path = tmp_path / f"data.{ending}"
    path.write_bytes(b"")
    if ending == "jsonl.gz":  # no bytes are no members: gzip takes that as no lines
        assert read_all(path) == []
    else:
        assert str(path) in message(path)


def test_broken_json_names_file_and_line(tmp_path: Path):
    path = write(tmp_path / "data.jsonl", make_rows(600))
    lines = path.read_bytes().split(b"\n")
    lines[299] = b'{"query": "q"'
    path.write_bytes(b"\n".join(lines))
    assert message(path, RowError).startswith(f"{path}, line 300: broken JSON: ")
    array = tmp_path / "data.json"
    array.write_text('[\n{"query": "q"},\n{"query": }\n]')
    assert message(array, RowError).startswith(f"{array}, line 3: broken JSON: ")


def test_nesting_without_end_is_broken_json(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text("[" * 200_000 + "\n")
    assert message(path, RowError).startswith(f"{path}, line 1: broken JSON: ")


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_other_json_than_rows(ending: str, tmp_path: Path):
    path = tmp_path / f"data.{ending}"
    for content, found in (('["a"]', "list" if ending == "jsonl" else "str"), ("[null]", None), ("17", "int")):
        path.write_text(content)
        text = message(path, RowError)
        assert str(path) in text
        assert "expected a" in text
        if found:
            assert text.endswith(f"found {found}")
    path.write_text('{"query": "q"}')
    if ending == "json":
        assert message(path, RowError) == f"{path}: expected a JSON array of rows, found dict"


@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz"])
def test_other_encodings_are_named(ending: str, tmp_path: Path):
    path = tmp_path / f"data.{ending}"
    text = '{"query": "Größe", "response": "7"}'
    content = (f"[{text}]" if ending == "json" else f'{{"query": "q"}}\n{text}\n').encode("latin-1")
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    where = f"{path}: " if ending == "json" else f"{path}, line 2: "
    assert message(path, RowError).startswith(f"{where}not in UTF-8: ")


def test_damaged_files(tmp_path: Path):
    whole = write(tmp_path / "whole.parquet", make_rows(5000), 500).read_bytes()
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole[: len(whole) // 2])
    assert f"{cut}: no readable Parquet file" in message(cut)
    overwritten = tmp_path / "hole.parquet"
    overwritten.write_bytes(whole[:4] + b"\xff" * (len(whole) // 2) + whole[len(whole) // 2 + 4 :])
    assert f"{overwritten}: unreadable at row 0 (" in message(overwritten)
    for ending in ("jsonl.gz", "jsonl.xz", "jsonl.zst"):
        path = write(tmp_path / f"cut.{ending}", make_rows(5000))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert f"{path}: unreadable" in message(path)
        path.write_bytes(b"plain text\n")
        assert f"{path}: unreadable" in message(path)


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files with row groups of more than 1,000 rows are copied to; each file of a copy has 5 blocks."""
    monkeypatch.setenv("REDSTAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "LARGE_GROUP", 1000)
    monkeypatch.setattr(sources, "BLOCKS_PER_COPY", 5)
    return tmp_path / "cache" / "regrouped"


def test_huge_row_groups_are_copied_once_into_small_ones(copies: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    rows = [{**row, "messages": [{"role": "user", "content": row["query"]}]} for row in make_rows(5300)]
    table = pa.Table.from_pylist(rows)
    table = table.append_column("level", table["query"].dictionary_encode())
    path = tmp_path / "data.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:  # with an empty group and one that ends within a block
        for group in (table[:300], table[:0], table[300:]):
            writer.write_table(group, row_group_size=5000)
    shown = []
    for _ in range(2):
        blocks = open_blocks(DatasetConfig(str(path)))
        assert [block.n_rows for block in blocks] == [256, 44, *[256] * 19, 136]
        for block in Random(0).sample(blocks, len(blocks)):
            expected = range(block.start, block.start + (block.n_rows or 0))
            assert list(read_block(block)) == [
                (f"{path}, row {i}", {**rows[i], "level": rows[i]["query"]}) for i in expected
            ]
            assert block.file == str(path)
            assert pq.read_metadata(block.copy).row_group(block.offset).num_rows == block.n_rows  # nothing else is read
        shown.append(capfd.readouterr().err)
    (copy,) = copies.iterdir()
    assert [file.name for file in sorted(copy.iterdir())] == [f"data-0000{i}.parquet" for i in range(5)]
    assert shown == [
        f"{path}: row groups of more than 1,000 rows are slow to read in random order: "
        f"copied once with smaller ones to {copy}\n",
        "",
    ]
    assert read_all(path, n_rows=1234) == [{**row, "level": row["query"]} for row in rows[:1234]]
    write(path, make_rows(1500), 1500)
    assert read_all(path) == make_rows(1500), "the copy of a file that has changed is not used"


def test_a_few_rows_of_a_huge_row_group_need_no_copy(copies: Path, tmp_path: Path):
    path = write(tmp_path / "data.parquet", make_rows(3000), 3000)
    assert read_all(path, n_rows=1000) == make_rows(1000)
    assert read_all(write(tmp_path / "small.parquet", make_rows(3000), 1000)) == make_rows(3000)
    assert not copies.exists()


def test_a_copy_that_another_process_has_written_meanwhile(
    copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write(tmp_path / "data.parquet", make_rows(3000), 3000)
    folder = sources.small_groups(path)
    folder.rename(tmp_path / "theirs")
    batches = sources.block_batches

    def slowly(path: Path):
        yield from batches(path)
        (tmp_path / "theirs").rename(folder)

    monkeypatch.setattr(sources, "block_batches", slowly)
    assert read_all(path) == make_rows(3000)
    assert list(copies.iterdir()) == [folder]


def test_damage_in_a_huge_row_group_is_named_in_the_users_file(copies: Path, tmp_path: Path):
    path = write(tmp_path / "data.parquet", [{"query": f"q{i * 7919 % 100_003}"} for i in range(50_000)], 50_000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50_000] = b"\xff" * 50_000
    path.write_bytes(content)
    text = message(path)
    assert text.startswith(f"{path}: unreadable at row ")
    assert "cache" not in text
    assert list(copies.iterdir()) == []


def test_a_hub_data_set_is_loaded_once(monkeypatch: pytest.MonkeyPatch):
    import datasets

    calls = []

    def load_dataset(name: str, config: str | None, split: str) -> datasets.Dataset:
        calls.append((name, config, split))
        return datasets.Dataset.from_list(make_rows(1000))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    sources.load_hub.cache_clear()
    blocks = open_blocks(DatasetConfig("someone/something", split="a", config="b"))
    found = [pair for block in blocks for pair in read_block(block)]
    assert found == [(f"someone/something (a), row {i}", row) for i, row in enumerate(make_rows(1000))]
    assert calls == [("someone/something", "b", "a")]
    sources.load_hub.cache_clear()


def test_artefact_folders_of_another_kind(tmp_path: Path):
    problem = {"problem_id": "p", "source": "s", "problem": "x", "answer": "1", "images": []}
    options: dict[str, Any] = {"stage": "t", "config": {}, "seed": 0, "inputs": {}}
    write_artefact(tmp_path / "problems", "problem", [problem], **options)
    path = tmp_path / "problems"
    assert message(path) == f"{path}: holds 'problem' rows, expected sample (see its manifest)"
    blocks = open_blocks(DatasetConfig(str(path)), kinds=("problem", "sample"))
    assert [row["problem"] for block in blocks for _, row in read_block(block)] == ["x"]
    (path / "manifest.json").write_text('{"kind": \n"problem"')
    assert message(path).startswith(f"{path}/manifest.json: broken JSON in line 2")
    (path / "manifest.json").write_text("[]")
    assert message(path).startswith(f"{path}/manifest.json: ")


def test_the_small_world_by_name():
    blocks = open_blocks(DatasetConfig("small-world", split="test", n_rows=7))
    rows = [row for block in blocks for _, row in read_block(block)]
    assert len(rows) == 7
    assert all(row["messages"][1]["content"].startswith("<think>") for row in rows)
    with pytest.raises(ValueError, match="small-world has no split 'validation': train, dev, test"):
        open_blocks(DatasetConfig("small-world", split="validation"))
