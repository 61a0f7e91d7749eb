"""The study of RL: what is measured in it, and the whole of it in its smoke setting."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.answers import extract_answer
from data_prep.mcts.steps import corrects_itself
from rl.study import check_start, curve, steps_to, traces
from tests.recipes.conftest import ROOT, clean_environment


def test_a_level_is_reached_by_the_mean_of_three_measurements() -> None:
    points = [[10, 0.5], [20, 0.9], [30, 0.5], [40, 0.8], [50, 0.9], [60, 0.9]]
    assert steps_to(0.6, points) == 30
    assert steps_to(0.85, points) == 60
    assert steps_to(0.95, points) is None
    assert steps_to(0.1, points[:2]) is None


def test_a_curve_has_means_over_ten_steps() -> None:
    history = [{"step": i + 1, "x": float(i)} for i in range(25)] + [{"step": 25, "y": 1.0}]
    assert curve(history, "x") == [[10, 4.5], [20, 14.5], [25, 22.0]]
    assert curve(history, "z") == []


def test_traces_differ_in_their_slip_alone() -> None:
    found = list(traces(20, 1))
    assert len(found) == 20
    for row, own in found:
        assert set(own) == {"clean", "corrected", "uncorrected"}
        assert not corrects_itself(own["clean"])
        assert own["corrected"].count("Wait, not") == 1
        assert "Wait" not in own["uncorrected"]
        answers = {kind: extract_answer(text) for kind, text in own.items()}
        assert answers["clean"] == answers["corrected"] == row["answer"]
    wrong = [extract_answer(own["uncorrected"]) != row["answer"] for row, own in found]
    assert sum(wrong) > 15  # a division may bring a slip back to the right answer


def test_arms_of_a_seed_begin_from_the_same_weights(tmp_path: Path) -> None:
    start = {name: tmp_path / name for name in ("policy", "ppm")}
    for folder in start.values():
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"a")
    check_start(3, start, tmp_path / "arms")
    check_start(3, start, tmp_path / "arms")
    (start["ppm"] / "model.safetensors").write_bytes(b"b")
    with pytest.raises(ValueError, match="seed 3 began from other weights"):
        check_start(3, start, tmp_path / "arms")


@pytest.mark.slow
def test_the_study_runs_to_its_report(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rl.study", "--setting", "smoke", "--output_dir", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env=clean_environment())
    found = json.loads((tmp_path / "smoke" / "report.json").read_text())
    assert found["seeds"] == [0, 1]
    names = {"outcome", "min", "recovery", "sum_bounded", "sum_unbounded", "ppo", "reinforce++", "dpo"}
    assert {run["arm"] for run in found["runs"]} == names
    for run in found["runs"]:
        assert 0 <= run["pass@1_after"] <= 1
    assert {one["verdict"] for one in found["questions"].values()} <= {"holds", "contradicted", "undecided"}
    assert found["credit"][0]["n"] == 6
    assert "<svg" in (tmp_path / "smoke" / "curves.svg").read_text()
