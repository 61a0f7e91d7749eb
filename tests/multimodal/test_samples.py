"""Geometry rows: as the contract says, with the figure that belongs to them."""

import io
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_prep.images import pixel_hash
from data_prep.rows import problem_id, validate
from multimodal.problems import problems
from multimodal.samples import geometry_folder, rows


def test_rows_keep_the_contract_and_their_figure() -> None:
    drawn = [image for _, image in islice(problems("dev", 2), 30)]
    for i, row in enumerate(rows("dev", 30, 2)):
        validate(row, "sample", f"row {i}")
        (png,) = row["images"]
        image = Image.open(io.BytesIO(png))
        assert image.format == "PNG"
        assert image.convert("RGB").tobytes() == drawn[i].tobytes()
        assert row["problem_id"] == problem_id(row["problem"], [pixel_hash(drawn[i], "")])
        assert row["messages"][0]["content"] == row["problem"]
        assert f"\\boxed{{{row['answer']}}}" in row["messages"][1]["content"]
    ids = [row["problem_id"] for row in rows("dev", 300, thought=None)]
    assert len(set(ids)) == 300


def test_the_folder_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDSTAR_CACHE", str(tmp_path))
    long, short = geometry_folder("train", 6), geometry_folder("train", 6, thought="short")
    assert long != short
    assert geometry_folder("train", 6) == long
    first = [pq.read_table(next(folder.glob("*.parquet"))).to_pylist() for folder in (long, short)]
    assert [row["problem_id"] for row in first[0]] == [row["problem_id"] for row in first[1]]
    assert all("<think>" in row["messages"][1]["content"] for row in first[0])
    assert not any("<think>" in row["messages"][1]["content"] for row in first[1])
    with pytest.raises(ValueError, match="no style 'huge'"):
        geometry_folder("train", 6, style="huge")
