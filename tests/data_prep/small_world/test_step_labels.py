"""Step-labelled solutions out of search trees."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from data_prep.mcts.steps import thought_steps
from data_prep.mcts.tree import ANSWER, Node, Tree
from data_prep.small_world.problems import Problem, problems
from data_prep.small_world.reading import read_problem
from data_prep.small_world.samples import problem_rows
from data_prep.small_world.search_study import SHIPPED, grow
from data_prep.small_world.step_labels import label_of, step_label_rows
from data_prep.small_world.traces import code_steps, long_cot
from data_prep.sources import DatasetConfig
from data_prep.step_labels import read_step_labels


@pytest.fixture(scope="module")
def trees() -> list[Tree]:
    """Trees of the shipped policy."""
    from data_prep.engines import TransformersEngine

    engine = TransformersEngine(str(SHIPPED), "float32", batch_size=64)
    rows = list(problem_rows("dev", 10, seed=3, bands=("easy", "medium")))
    search = {"candidates": 3, "rollouts": 4, "rollouts_if_unsolved": [], "max_step_tokens": 96}
    grown = list(grow(engine, rows, 0, search).values())
    for tree in grown:
        tree.problem["policy"] = "shipped"
    return grown


def test_labels_of_a_real_policy_agree_with_its_answers(trees: list[Tree]):
    n_right = n_wrong = n_unclear = 0
    for tree in trees:
        problem = read_problem(tree.problem["problem"])
        assert problem is not None
        for answer in tree.answers():
            label, _ = label_of(problem, [node.step + node.output for node in answer.path()])
            n_unclear += label is None
            if label == -1:
                assert answer.verdict == "right", answer.text()
                n_right += 1
            elif label is not None and answer.verdict == "wrong":
                n_wrong += 1
    assert n_right >= 5
    assert n_wrong >= 5
    assert n_unclear <= (n_right + n_wrong) // 10


def test_rows_are_distinct_and_balanced(trees: list[Tree]):
    rows, dropped = step_label_rows(trees, 1, 0)
    assert len({row["id"] for row in rows}) == len(rows)
    for tree in trees:
        own = [row["label"] >= 0 for row in rows if row["problem"] == tree.problem["problem"]]
        assert len(set(own)) == len(own)  # at most one of a kind
    everything, all_dropped = step_label_rows(trees, 1000, 0)
    firsts = [(row["problem"], *row["steps"][: row["label"] + 1 or None]) for row in everything]
    assert len(set(firsts)) == len(firsts)
    n_answers = sum(len(tree.answers()) for tree in trees)
    assert len(rows) + dropped.total() == len(everything) + all_dropped.total() == n_answers
    assert all(row["final_answer_correct"] for row in everything if row["label"] == -1)
    again, _ = step_label_rows(trees, 1, 0)
    assert again == rows


def solution(tree: Tree, steps: list[str], verdict: str) -> None:
    node = tree.root
    for i, step in enumerate(steps):
        last = {"terminal": ANSWER, "verdict": verdict} if i == len(steps) - 1 else {}
        child: Node = tree.add(node, step=step, **last)
        node.children = [*(node.children or ()), child]
        node = child


def row_of(problem: Problem, **more: Any) -> dict[str, Any]:
    return {"problem_id": "p", "problem": problem.text, "answer": problem.answer, "policy": "x", **more}


def test_other_problems_and_what_cannot_be_read_are_counted():
    problem = next(problems("train", seed=5))
    tree = Tree(row_of(problem), 0, 0, "")
    solution(tree, code_steps(problem), "right")
    solution(tree, ["<code>\nimport os\n<end_of_step>", "\n<answer>\\boxed{1}<end_of_answer>"], "wrong")
    other = Tree({"problem_id": "q", "problem": "What is 1 + 1?", "policy": "x"}, 0, 0, "")
    solution(other, ["\n<answer>\\boxed{2}<end_of_answer>"], "right")
    rows, dropped = step_label_rows([tree, other], 2, 0)
    assert [(row["label"], row["steps"]) for row in rows] == [(-1, code_steps(problem))]
    assert dropped == {"cannot be told": 1, "no problem of the small world": 1}


def test_a_slip_in_a_thought_is_in_the_step_that_holds_it():
    n_slips = 0
    for i, problem in enumerate(islice(problems("train", seed=6), 150)):
        right = thought_steps(long_cot(problem, Random(i)), len, least=60, most=200)
        assert label_of(problem, right) == (-1, "")
        text = long_cot(problem, Random(i), slip_rate=0.5, correct_slips=False, check_rate=0.0)
        truth = long_cot(problem, Random(i), slip_rate=0.0, check_rate=0.0)
        steps = thought_steps(text, len, least=60, most=200)
        label, kind = label_of(problem, steps)
        if text == truth:
            assert label == -1
            continue
        same = next(j for j, (a, b) in enumerate(zip(text, truth)) if a != b)  # where the first slip shows
        assert kind == "slip"
        assert label is not None
        before, until = len("".join(steps[:label])), len("".join(steps[: label + 1]))
        start = text.rfind("\n\n", 0, same)  # the paragraph of the slip begins in the step
        assert before <= start + 2 < until
        n_slips += 1
    assert n_slips > 80


def test_the_command_writes_a_file_that_is_read(trees: list[Tree], tmp_path: Path):
    from data_prep.artefacts import write_artefact
    from data_prep.mcts.records import node_rows, run_row

    for tree in trees:
        tree.problem.setdefault("source", "small-world")
    for kind, name, rows in (
        ("tree", "trees", [row for tree in trees for row in node_rows(tree)]),
        ("search_run", "runs", [run_row(tree, "shipped", "", None) for tree in trees]),
    ):
        write_artefact(tmp_path / "t" / name, kind, rows, stage="test", config={}, seed=0, inputs={})
    command = [sys.executable, "-m", "data_prep.small_world.step_labels", "--trees", str(tmp_path / "t")]
    command += ["--output", str(tmp_path / "labels.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    written = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert f"{sum(row['label'] < 0 for row in written):,} solutions without a wrong step" in done.stdout
    rows, dropped = read_step_labels(DatasetConfig(str(tmp_path / "labels.jsonl")))
    assert not dropped
    assert [row["first_error"] for row in rows] == [None if r["label"] < 0 else r["label"] for r in written]
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2
    assert "exists already" in again.stderr
