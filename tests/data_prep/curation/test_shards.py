"""Broken input of every kind: counted with file and line, or refused in one line; the rest of the run goes on."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_prep.curation.settings import InputConfig
from data_prep.curation.shards import file_shards, input_files, read_shard, shards
from tests.data_prep.curation.conftest import Curated, solved, write_jsonl
from tests.data_prep.curation.planted import make

OPTIONS = ("--difficulty", "none")


def read_all(path: Path, shard_bytes: int = 2**20) -> list:
    source = InputConfig(str(path))
    found = []
    for shard in file_shards(source, str(path), shard_bytes, 2**20):
        found += [(row.row, row.fault) for row in read_shard(shard, source, 2**20) if row.row or row.fault]
    return found


@pytest.mark.parametrize("n_bytes", [1, 7, 40, 41, 1000])
def test_each_line_is_read_once_wherever_files_are_cut(tmp_path: Path, n_bytes: int) -> None:
    lines = [json.dumps({"n": i, "text": "é" * (i % 9)}, ensure_ascii=False) for i in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines[:10]) + "\n\n" + "\r\n".join(lines[10:]))  # a blank line, and no end of the last
    assert [row["n"] for row, _ in read_all(path, n_bytes)] == list(range(30))


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ".parquet", ".json"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    rows = [{"n": i, "text": "x" * 100} for i in range(500)]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / f"rows.jsonl{suffix}"
    if suffix == ".gz":
        path.write_bytes(gzip.compress(text))
    elif suffix == ".xz":
        path.write_bytes(lzma.compress(text))
    elif suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(text)
    elif suffix == ".parquet":
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=70)
    else:
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows))
    assert [row["n"] for row, _ in read_all(path, 10_000)] == list(range(500))


def test_faults_are_counted_with_file_and_line(curated: Callable[..., Curated], tmp_path: Path) -> None:
    good = [json.dumps(solved(text, "1")).encode() for text in make(6)]
    bad = {
        "read: broken JSON": b'{"problem": "x", ',
        "read: not in UTF-8": b'{"problem": "caf\xe9"}',
        "read: no JSON object": b"[1, 2]",
        "read: row too long": b'{"problem": "' + b"x" * 3_000_000 + b'"}',
        "read: unusable row": b'{"question_text": "x"}',
        "read: no response": json.dumps({"problem": make(7)[6], "answer": "1"}).encode(),
    }
    path = tmp_path / "mixed.jsonl"
    lines = [line for pair in zip(good, bad.values(), strict=True) for line in pair]
    path.write_bytes(b"\n".join(lines) + b"\n")
    result = curated(path, *OPTIONS, "--max_row_mb", "1")
    assert result.dropped == dict.fromkeys(bad, 1)
    assert result.manifest["rows_out"] == 6
    by_reason = {decision["reason"]: decision for decision in result.decisions if decision["reason"]}
    for i, reason in enumerate(bad):
        assert (by_reason[reason]["file"], by_reason[reason]["line"]) == (str(path), 2 * i + 2)
    assert "question_text" in by_reason["read: unusable row"]["detail"]
    shown = pq.read_table(result.folder / "report" / "dropped.parquet").to_pylist()
    assert {(row["reason"], row["line"]) for row in shown} == {(r, d["line"]) for r, d in by_reason.items()}


def test_lines_are_numbered_across_shards(curated: Callable[..., Curated], tmp_path: Path) -> None:
    rows = [solved(text, "1", thought="long " * 20_000) for text in make(40)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with path.open("a") as stream:
        stream.write("{broken\n")
    result = curated(path, *OPTIONS, "--shard_mb", "1")
    (fault,) = [decision for decision in result.decisions if decision["reason"]]
    assert fault["row"] >> 32 > 1
    assert fault["line"] == 41


def test_cut_compressed_file(curated: Callable[..., Curated], tmp_path: Path) -> None:
    text = "".join(json.dumps(solved(text, "1")) + "\n" for text in make(500)).encode()
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(text)[:-3000])
    result = curated(path, *OPTIONS)
    assert result.dropped["read: file cut off or damaged"] == 1
    assert 100 < result.manifest["rows_out"] < 500


def test_null_and_mistyped_columns(curated: Callable[..., Curated]) -> None:
    a, b, c, d = make(4)
    rows = [
        {**solved(a, "1"), "answer": None},
        {**solved(b, "1"), "answer": 1.0},
        {**solved(c, "1"), "problem": 5},
        {**solved(d, "1"), "response": ["a", 3]},
    ]
    result = curated(rows, *OPTIONS)
    assert result.dropped == {"gold: unverifiable, no gold": 1, "read: unusable row": 2}
    assert result.manifest["rows_out"] == 1


@pytest.mark.parametrize(
    ("gold", "why"),
    [
        ("proof", "proof"),
        ("not found", "not found"),
        ("(a) 3 (b) 5", "several parts"),
        ("", "no gold"),
        ("\\frac{1}{", "broken LaTeX"),
    ],
)
def test_unverifiable_golds_have_reasons_of_their_own(curated: Callable[..., Curated], gold: str, why: str) -> None:
    result = curated([solved(make(1)[0], gold, "3"), solved(make(2)[1], "1")], *OPTIONS)
    assert result.dropped == {f"gold: unverifiable, {why}": 1}


def test_parquet_cut_in_half_is_refused(curated: Callable[..., Curated], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([solved(text, "1") for text in make(50)]), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"rows\.parquet: no readable Parquet file"):
        curated(path, *OPTIONS)


def test_empty_files(curated: Callable[..., Curated], tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    write_jsonl(folder / "a.jsonl", [])
    write_jsonl(folder / "b.jsonl", [solved(text, "1") for text in make(3)])
    assert curated(folder, *OPTIONS).manifest["rows_out"] == 3
    (folder / "b.jsonl").unlink()
    with pytest.raises(ValueError, match="no rows in"):
        curated(folder, *OPTIONS)


def test_joined_problems(curated: Callable[..., Curated], tmp_path: Path) -> None:
    problems = [{"id": str(i), "problem": text, "gold": "1"} for i, text in enumerate(make(3))]
    rows = [{"id": str(i), "response": "<think>\nHm\n</think>\n\n\\boxed{1}"} for i in (0, 1, 9)]
    known = write_jsonl(tmp_path / "problems.jsonl", problems)
    path = write_jsonl(tmp_path / "responses.jsonl", rows)
    inputs = json.dumps({"path": str(path), "problems": str(known), "join_on": ["id"]})
    result = curated(path, *OPTIONS, "--inputs", inputs)
    assert result.dropped == {"read: unknown problem": 1}
    write_jsonl(tmp_path / "problems.jsonl", [*problems, {**problems[0], "gold": "2"}])
    with pytest.raises(ValueError, match=r"problems\.jsonl, line 4: 0 stood before with another content"):
        curated(path, *OPTIONS, "--inputs", inputs)


def test_a_missing_column_of_theirs_is_a_fault_of_its_row(curated: Callable[..., Curated], tmp_path: Path) -> None:
    rows = [{**solved(text, "1"), "gold": "1"} for text in make(3)]
    del rows[1]["gold"]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    result = curated(path, *OPTIONS, "--inputs", json.dumps({"path": str(path), "fields": {"answer": "gold"}}))
    assert result.dropped == {"read: unusable row": 1}
    (fault,) = [decision for decision in result.decisions if decision["reason"]]
    assert (fault["line"], fault["detail"]) == (2, "no column 'gold'; the row has answer, problem, response")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".parquet", "copied .parquet", "joined .jsonl"])
def test_images_are_looked_for_in_the_folder_of_their_file(
    curated: Callable[..., Curated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    folder = tmp_path / "geometry"
    (folder / "figures").mkdir(parents=True)
    figures = {name: (folder / "figures" / f"{name}.png") for name in ("a", "b")}
    for colour, file in enumerate(figures.values()):
        Image.new("L", (5, 4), colour).save(file)
    monkeypatch.chdir(folder / "figures")  # not where paths start
    rows = [
        {"n": i, **solved(text, "1"), "images": [f"figures/{name}.png"]}
        for i, (text, name) in enumerate(zip(make(3), ("a", "b", "gone"), strict=True))
    ]
    path = write_jsonl(folder / "rows.jsonl", rows)
    source: dict[str, Any] = {"path": str(path)}
    if suffix.startswith("joined"):
        responses = [{"n": row["n"], "response": row.pop("response")} for row in rows]
        source = {"problems": str(write_jsonl(path, rows)), "join_on": ["n"]}
        source["path"] = str(write_jsonl(tmp_path / "responses.jsonl", responses))
    elif suffix.endswith(".parquet"):
        source["path"] = str(folder / "rows.parquet")
        pq.write_table(pa.Table.from_pylist(rows), source["path"])
        if suffix.startswith("copied"):
            monkeypatch.setenv("REDSTAR_CACHE", str(tmp_path / "cache"))
            monkeypatch.setattr("data_prep.curation.shards.LARGE_GROUP", 2)
    elif suffix != ".jsonl":
        source["path"] = str(folder / f"rows{suffix}")
        data = json.dumps(rows).encode() if suffix == ".json" else gzip.compress(path.read_bytes())
        Path(source["path"]).write_bytes(data)
    result = curated(path, *OPTIONS, "--inputs", json.dumps(source))
    assert {row["images"][0] for row in result.rows} == {file.read_bytes() for file in figures.values()}
    assert len({row["problem_id"] for row in result.rows}) == 2
    (fault,) = [decision for decision in result.decisions if decision["reason"]]
    assert (fault["reason"], fault["file"], fault["line"]) == ("read: unusable row", source["path"], 3)
    assert "image 'figures/gone.png' cannot be read (No such file or directory)" in fault["detail"]
    assert f"looked for '{folder}/figures/gone.png'" in fault["detail"]
    assert (tmp_path / "cache").exists() == suffix.startswith("copied")


def test_copied_row_groups_are_shards_of_the_wanted_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDSTAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("data_prep.sources.BLOCKS_PER_COPY", 3)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"n": i} for i in range(10_000)]), path)
    source = InputConfig(str(path))
    found = list(file_shards(source, str(path), 5_000, 2**20))
    assert {shard.file for shard in found} == {str(path)}
    assert len({shard.copy for shard in found}) == 14
    assert max(shard.n_bytes for shard in found) <= 5_000
    rows = [(shard.first_row, row) for shard in found for row in read_shard(shard, source, 2**20)]
    assert [row.row for _, row in rows] == [{"n": i} for i in range(10_000)]
    assert [(first or 0) + row.number for first, row in rows] == list(range(10_000))


def test_problems_twice_in_a_benchmark_are_not_named_by_every_worker(
    curated: Callable[..., Curated], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    twice = write_jsonl(tmp_path / "b.jsonl", [{"problem": "What is 2 + 2?", "answer": "4"}] * 2)
    curated([solved(text, "1") for text in make(3)], *OPTIONS, "--benchmarks", str(twice))
    assert "stood before" not in capfd.readouterr().err


def test_shard_numbers_do_not_depend_on_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 300_000))
    inputs = [InputConfig(str(path))]
    files = input_files(inputs)
    everything = list(shards(inputs, files, 1, 32))
    assert len(everything) == 3
    again = list(shards(inputs, files, 1, 32, have=[0, 1]))
    assert [(s.number, s.first_row, s.n_bytes) for s in again] == [
        (s.number, s.first_row, s.n_bytes) for s in everything
    ]
    assert [len(s.lines or b"") > 0 for s in again] == [False, False, True]


def test_problems_with_figures_are_one_only_if_their_figures_are(
    curated: Callable[..., Curated], tmp_path: Path
) -> None:
    """Thousands of them say "Find x.", which is long enough below a figure."""
    for colour in range(3):
        Image.new("L", (5, 4), colour).save(tmp_path / f"{colour}.png")
    Image.new("L", (5, 4), 0).save(tmp_path / "again.bmp")
    rows = [
        {**solved("Find x.", "1"), "images": [name]} for name in ("0.png", "1.png", "2.png", "again.bmp")
    ] + [solved("Find x.", "1")]  # fmt: skip
    result = curated(write_jsonl(tmp_path / "rows.jsonl", rows), *OPTIONS)
    assert result.dropped["length: problem too short"] == 1
    assert len({row["problem_id"] for row in result.rows}) == 3
