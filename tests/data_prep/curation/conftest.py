"""Curations run in this process or as a user runs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep.config import parse_config
from data_prep.curation.pipeline import curate
from data_prep.curation.settings import Settings
from recipes.curate import PARTS


class Curated:
    """What a curation has left in its folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for file in sorted(self.folder.glob("data-*.parquet")) for row in pq.read_table(file).to_pylist()]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        files = sorted((self.folder / "report").glob("decisions-*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    @property
    def dropped(self) -> dict[str, int]:
        return self.manifest["rows_dropped"]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def solved(problem: str, answer: str, given: str | None = None, thought: str = "I think.") -> dict[str, Any]:
    """A row with a response that gives the answer, or another one."""
    return {
        "problem": problem,
        "answer": answer,
        "response": f"<think>\n{thought}\n</think>\n\nIt is \\boxed{{{given or answer}}}.",
    }


@pytest.fixture
def curated(tmp_path: Path) -> Callable[..., Curated]:
    """Curates rows (or an input) with options as on the command line."""

    def call(rows: list[dict[str, Any]] | Path, *options: str) -> Curated:
        n = len(list(tmp_path.glob("out-*")))
        path = rows if isinstance(rows, Path) else write_jsonl(tmp_path / f"rows-{n}.jsonl", rows)
        output = tmp_path / f"out-{n}"
        inputs = json.dumps({"path": str(path)})
        argv = ["--inputs", inputs, "--output_dir", str(output), "--workers", "1", *options]
        curate(Settings(*parse_config("curate", "", PARTS, argv=argv)))
        return Curated(output)

    return call
