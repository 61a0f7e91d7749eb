"""The study: trees as they were after fewer rollouts, the report; the whole of it in its smoke setting."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.answers import AnswerChecker
from data_prep.mcts.search import Search
from data_prep.mcts.settings import SearchArguments
from data_prep.mcts.tree import Tree
from rl.ppm.study import first_rollouts, over_seeds
from tests.data_prep.mcts.stub import StubPolicy, trees
from tests.recipes.conftest import ROOT, clean_environment


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker() as checker:
        yield checker


def grown(checker: AnswerChecker, rollouts: int) -> list[Tree]:
    settings = SearchArguments(
        steps="text", rollouts=rollouts, candidates=4, rollouts_if_unsolved=[0], preset="paper"
    ).resolve()
    done: list[Tree] = []
    with Search(settings, checker, None) as search:
        search.run(trees(6), StubPolicy(code=False).stream, 6, done.append)
    return sorted(done, key=lambda tree: tree.problem["problem"])


def test_the_first_rollouts_of_a_tree_are_the_tree_of_fewer_rollouts(checker: AnswerChecker) -> None:
    for whole, fewer in zip(grown(checker, 8), grown(checker, 3), strict=True):
        cut = first_rollouts(whole, 3)
        assert [(n.number, n.step, n.visits, n.value_sum) for n in cut.nodes()] == [
            (n.number, n.step, n.visits, n.value_sum) for n in fewer.nodes()
        ]
        assert (cut.ended_at, cut.n_right, cut.n_nodes) == (fewer.ended_at, fewer.n_right, fewer.n_nodes)
        assert len(whole.ended_at) == 8  # which is left as it is
        same = first_rollouts(whole, 8)
        assert [(n.number, n.visits, n.value_sum) for n in same.nodes()] == [
            (n.number, n.visits, n.value_sum) for n in whole.nodes()
        ]


def test_a_number_a_seed_has_an_interval_over_seeds() -> None:
    found = over_seeds([0.7, 0.8, 0.9])
    assert found["mean"] == pytest.approx(0.8)
    assert found["low"] < 0.7 < 0.9 < found["high"]
    assert over_seeds([1.4, 1.6], most=2.0)["mean"] == pytest.approx(1.5)  # an error between scores from -1 to 1
    assert over_seeds([0.5, None])["mean"] == 0.5
    assert over_seeds([None, None])["mean"] is None


@pytest.mark.slow
def test_the_study_runs_to_its_report(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rl.ppm.study", "--setting", "smoke", "--output_dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=clean_environment(), check=True, timeout=550, stdout=subprocess.DEVNULL)
    report = json.loads((tmp_path / "smoke" / "report.json").read_text())
    for key in ("pair_accuracy_unfiltered", "first_error_f1"):
        assert set(report[key]) == {"ppm", "orm", "pqm"}
    assert {line["strategy"] for line in report["strategies"]} == {"greedy", "best_of_n", "beam", "mcts"}
    assert all({"mean", "low", "high", "cost"} <= set(line) for line in report["strategies"])
    assert (tmp_path / "smoke" / "answers.svg").stat().st_size > 10_000
    page = (tmp_path / "smoke" / "README.md").read_text()
    assert "Expected before the run: holds." in page
    command = [sys.executable, "-m", "rl.ppm.limits", "--study", str(tmp_path), "--setting", "smoke", "--seeds", "0"]
    subprocess.run(command, cwd=ROOT, env=clean_environment(), check=True, timeout=550, stdout=subprocess.DEVNULL)
    limits = json.loads((tmp_path / "smoke" / "limits.json").read_text())["data"]
    assert limits["trees of all seeds"]["0"]["pairs"] > limits["the study's"]["0"]["pairs"] > 0
