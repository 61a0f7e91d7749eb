"""Runs that are broken on purpose: the experiment runs to its table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.small_world.search_study import SHIPPED
from tests.recipes.conftest import ROOT, clean_environment


@pytest.mark.slow
def test_the_runs_end_in_a_table_and_are_kept(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "rl.broken", "--policy", str(SHIPPED), "--steps", "2", "--runs", "healthy", "hackable",
        "--output_dir", str(tmp_path),
    ]  # fmt: skip
    for _ in range(2):
        subprocess.run(command, check=True, cwd=ROOT, env=clean_environment())
    found = json.loads((tmp_path / "report.json").read_text())
    assert [one["name"] for one in found["runs"]] == ["healthy", "hackable"]
    assert found["runs"][0]["as_expected"]
    assert "process/reward" in found["runs"][1]["curves"]
    assert "| hackable |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "healthy" / "curves.svg").exists()
