"""The study of search against samples: no arm reads a gold for its answer, and samples get no fewer tokens."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_prep.engines import TransformersEngine
from data_prep.mcts.trajectories import votes
from data_prep.mcts.tree import Node, Tree
from data_prep.small_world.samples import problem_rows
from data_prep.small_world.search_study import HERE, SHIPPED, first_of, grow, page, report, sample, share_right

PLAN = yaml.safe_load((HERE / "search_study.yaml").read_text())


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine(str(SHIPPED), "float32", batch_size=64)


def test_answers_of_both_arms_do_not_depend_on_golds(engine: TransformersEngine) -> None:
    search = {**PLAN["search"], "rollouts": 3, "candidates": 3}
    problems = list(problem_rows("dev", 5, 5, bands=("easy",)))

    def answers(golds: list[Any]) -> list[Any]:
        given = [problem | {"answer": gold} for problem, gold in zip(problems, golds, strict=True)]
        trees = grow(engine, given, 0, {**search, "terminal_value": "agreement"})
        needed = {key: tree.n_tokens() for key, tree in trees.items()}
        samples = sample(engine, given, needed, 0, search)
        for key, own in samples.items():
            assert sum(tree.n_tokens() for tree in first_of(own, needed[key])) >= needed[key]
        return [(votes([trees[key]]), votes(first_of(samples[key], needed[key]))) for key in trees]

    golds = [problem["answer"] for problem in problems]
    found = answers(golds)
    assert any(counted for counted, _ in found)
    assert answers(golds[1:] + golds[:1]) == found


def tree_of(n_tokens: int) -> Tree:
    tree = Tree({"problem_id": "p"}, 0, 0, "")
    tree.root.children = [Node(1, tree.root, 1, n_tokens=n_tokens)]
    return tree


def test_samples_are_taken_until_they_have_as_many_tokens_as_the_search() -> None:
    samples = [tree_of(n) for n in (5, 7, 3, 9)]
    assert [len(first_of(samples, n)) for n in (1, 5, 6, 12, 13, 15, 16, 24)] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_tie_counts_by_the_share_of_its_answers_that_are_right() -> None:
    assert share_right([("4", 3.0), ("5", 1.0)], "4") == 1.0
    assert share_right([("4", 3.0), ("5", 3.0)], "4") == 0.5
    assert share_right([("5", 3.0), ("4", 1.0)], "4") == 0.0
    assert share_right([], "4") == 0.0


def result(seed: int, search: float) -> dict[str, Any]:
    row = {name: 0.5 for name in ("coverage_sampling", "answer_search", "answer_majority", "pass_at_1")}
    tokens = {f"{arm}_{kind}_tokens": 10 for arm, kind in (("coverage", "search"), ("coverage", "sampling"),
                                                         ("answer", "search"), ("answer", "majority"))}  # fmt: skip
    rows = [row | tokens | {"problem_id": f"p{i}", "coverage_search": search, "n_samples": 3} for i in range(40)]
    return {"seed": seed, "rows": rows, "ends_of_samples": {"answer right": 2, "dropped: code fails": 2}}


def test_the_report_says_what_was_expected_and_what_was_found() -> None:
    found = report([result(0, 0.9), result(1, 0.95), result(2, 0.92)], PLAN, "decide") | {"n_rows": 6000}
    for arm in ("coverage_search", "coverage_sampling", "answer_search", "answer_majority"):
        assert set(found[arm]) == {"mean", "low", "high", "tokens"}
        assert found[arm]["low"] <= found[arm]["mean"] <= found[arm]["high"]
    assert found["coverage_difference"]["verdict"] == "holds"
    assert found["answer_difference"]["mean"] == 0
    text = page(json.loads(json.dumps(found)))
    assert "+42.3 points" in text
    assert PLAN["questions"]["coverage"]["expected"] in text


@pytest.mark.slow
def test_the_smoke_setting_runs_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_prep.small_world.search_study", "--setting", "smoke", "--output_dir"]
    for _ in range(2):
        subprocess.run([*command, str(tmp_path)], check=True, timeout=550, cwd=Path(__file__).parents[3])
    found = json.loads((tmp_path / "smoke" / "report.json").read_text())
    assert found["n_seeds"] == 2
