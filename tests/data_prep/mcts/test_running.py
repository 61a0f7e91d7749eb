"""Finished trees on disk, the estimate, the results, and graded responses."""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_prep.answers import AnswerChecker
from data_prep.engines import Completion, Request
from data_prep.mcts.grading import grade_responses, graded_steps, read_responses, response_trees
from data_prep.mcts.inputs import Policy
from data_prep.mcts.records import node_rows, read_trees
from data_prep.mcts.running import FinishedTrees, Totals, duration, estimate, grow, probe, table, write_results
from data_prep.mcts.search import Search
from data_prep.mcts.settings import GradingArguments, SearchArguments
from data_prep.mcts.tree import ANSWER, Tree
from data_prep.rows import RowError, validate
from tests.data_prep.mcts.stub import StubPolicy, problems, trees

SETTINGS = {"policy": "stub", "seed": 0}
STAGE = {"stage": "generate_mcts", "config": {}, "seed": 0, "inputs": {}}


def run(folder: Path, n: int, settings: dict[str, Any] = SETTINGS) -> tuple[int, int]:
    """Grows the missing ones of `n` trees into a file; how many there were before and are now."""
    with FinishedTrees(folder / "trees.jsonl", settings) as finished, AnswerChecker() as checker:
        before = len(finished)
        totals = Totals(finished)
        totals.start(trees(n))
        with Search(SearchArguments(steps="text", rollouts=3, candidates=3).resolve(), checker, None) as search:
            grow(search, totals.missing(trees(n)), StubPolicy(code=False).stream, 4, totals)
        totals.end(search.counts, {})
        assert "nodes/s" in totals.line()
        return before, len(finished)


def test_finished_trees_are_found_again_and_a_torn_line_is_made_anew(tmp_path: Path) -> None:
    assert run(tmp_path, 5) == (0, 5)
    whole = (tmp_path / "trees.jsonl").read_bytes()
    assert run(tmp_path, 5) == (5, 5)
    assert (tmp_path / "trees.jsonl").read_bytes() == whole
    (tmp_path / "trees.jsonl").write_bytes(whole[:-7])
    assert run(tmp_path, 5) == (4, 5)
    lines = [sorted(content.splitlines()) for content in (whole, (tmp_path / "trees.jsonl").read_bytes())]
    assert lines[0] == lines[1]
    assert run(tmp_path, 8) == (5, 8)  # more problems: the old trees stay


def test_trees_of_other_settings_are_refused(tmp_path: Path) -> None:
    run(tmp_path, 2)
    with pytest.raises(ValueError, match="holds trees with seed 0, now it is 1"):
        run(tmp_path, 2, {"policy": "stub", "seed": 1})


def test_a_tree_of_another_gold_or_prompt_is_made_anew(tmp_path: Path) -> None:
    run(tmp_path, 2)
    with FinishedTrees(tmp_path / "trees.jsonl", SETTINGS) as finished:
        same, other = trees(2), trees(2)
        other[0].problem |= {"answer": "7"}
        other[1].prompt += " "
        assert [tree in finished for tree in (*same, *other)] == [True, True, False, False]


def test_the_file_stays_if_it_holds_more_than_this_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, 3)
    with FinishedTrees(tmp_path / "trees.jsonl", SETTINGS) as finished:
        finished.remove(trees(2))
        assert finished.path.exists()
        assert "it holds further trees" in capsys.readouterr().out
        finished.remove(trees(3))
        assert not finished.path.exists()


def test_settings_without_any_tree_bind_nobody(tmp_path: Path) -> None:
    with FinishedTrees(tmp_path / "trees.jsonl", {"seed": 5}):
        pass
    assert run(tmp_path, 1) == (0, 1)


def test_results_hold_every_tree_and_say_what_was_left_out(tmp_path: Path) -> None:
    with FinishedTrees(tmp_path / "partial" / "trees.jsonl", SETTINGS) as finished, AnswerChecker() as checker:
        totals = Totals(finished)
        totals.start(trees(6))
        with Search(SearchArguments(steps="text", rollouts=4, candidates=4).resolve(), checker, None) as search:
            grow(search, trees(6), StubPolicy(code=False).stream, 4, totals)
        totals.end(search.counts, {})
        manifest = write_results(
            tmp_path / "out", problems(6), finished, top_k=1, drop_errors=True, rule="paper", policy="p",
            policy_hash="h", scorer_hash=None, stage=STAGE,
        )  # fmt: skip
        expected = [node_rows(tree) for problem in problems(6) for tree in finished.of_problem(problem)]
    found = list(read_trees(tmp_path / "out"))
    assert [node_rows(tree) for tree in found] == expected
    assert manifest["problems"]["solved"] == sum(tree.n_right > 0 for tree in found)
    assert sum(manifest["nodes"].values()) == sum(tree.n_nodes - 1 for tree in found)
    n_right = sum(tree.n_right for tree in found)
    assert manifest["rows_out"]["samples"] + sum(manifest["right_answers_left_out"].values()) == n_right
    assert manifest["rows_out"]["pairs"] > 0
    assert "of 6 solved" in table(manifest)
    assert json.loads((tmp_path / "out" / "samples" / "manifest.json").read_text())["right_answers_left_out"]


def test_the_probe_is_taken_from_all_over_and_the_estimate_has_an_interval(tmp_path: Path) -> None:
    given = trees(100)
    assert [int(tree.problem["answer"]) - 1 for tree in probe(given, 5)] == [0, 20, 40, 60, 80]
    assert probe(given[:3], 5) == given[:3]
    with FinishedTrees(tmp_path / "trees.jsonl", {}) as finished:
        totals = Totals(finished)
        totals.tokens_per_tree, totals.n_tokens, totals.seconds = [100, 300], 400, 4.0
        line = estimate(totals, 50)
    assert "200 tokens a tree; 50 trees left: 10,000 tokens (0 to 20,000), 100 seconds at the 100 tokens/s" in line
    assert [duration(s) for s in (1, 200, 8000, 200_000)] == ["1 seconds", "3.3 minutes", "2.2 hours", "2.3 days"]


class Words:
    chat_template = None

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, Any]:
        return {"input_ids": text.split()}


class Continues:
    """Continues a thought: right after "good", wrong after "bad", cut otherwise."""

    def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
        while requests:
            request = requests.popleft()
            last = request.prompt.split()[-1]
            text = {"good": f" so {request.sample}\n</think>\n\n\\boxed{{2}}", "bad": "\n</think>\n\n\\boxed{3}"}.get(
                last
            )
            yield request, Completion(text or " on", 7, "stop" if text else "length"), False


def test_steps_of_responses_are_graded_by_what_follows_them(tmp_path: Path) -> None:
    step = "word " * 70
    first = f"<think>\n{step}good\n\n{step}bad\n\n{step}hm\n</think>\n\n\\boxed{{2}}"
    second = f"{step}bad\n\n{step}end\n</think>\n\n\\boxed{{3}}"
    rows = [
        *({"problem": "What is 1 + 1?", "answer": "2", "response": text} for text in (first, second, second)),
        {"problem": "Show that 1 = 1.", "answer": "proof", "response": "yes"},
        {"problem": "What is 1 + 2?", "answer": "3", "response": ""},
    ]  # fmt: skip
    (tmp_path / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs, responses = read_responses([str(tmp_path / "responses.jsonl")], None)
    assert inputs.dropped == {
        "the same response stood before": 1, "no answer that can be judged: proof": 1, "no response": 1,
    }  # fmt: skip
    policy = Policy(None, Words(), "hash", None, 4)  # type: ignore[arg-type]

    def stream(requests: deque[Request], failed: object = None) -> Iterator[tuple[Request, Completion, bool]]:
        return Continues().stream(requests)

    of = trees(1)
    of[0].problem = inputs.problems[0]
    with AnswerChecker() as checker:
        made = response_trees(policy, of, responses, checker)
        texts = [[node.text() for node in tree.root.subtree() if node.terminal] for tree in made]
        assert texts[0] == [rows[0]["response"]]
        done: list[Tree] = []
        grading = GradingArguments(continuations=3, max_new_tokens=50)
        counts = grade_responses(made, policy, stream, grading, checker, done.append)
    assert len(done) == 2
    assert counts == {"steps graded": 5}
    right, wrong = made
    chain = [node for node in right.root.subtree() if node.parent is not None and node.number <= 4]
    assert [(node.visits, node.q) for node in chain] == [(3, 1.0), (3, -1.0), (3, -1.0), (1, 1.0)]
    assert right.n_right == 1 + 3
    assert {node.terminal for node in right.root.subtree()} == {None, ANSWER, "too long"}
    assert [node.q for node in wrong.root.subtree() if node.number in (1, 2)] == [-1.0, -1.0]
    for tree in made:
        assert tree.stopped == "graded"
        for row in node_rows(tree):
            validate(row, "tree", "test")


def test_steps_without_room_are_counted_and_none_with_room_is_refused(tmp_path: Path) -> None:
    response = "<think>\n" + ("word " * 70 + "good\n\n") * 4 + "</think>\n\n\\boxed{2}"
    (tmp_path / "r.jsonl").write_text(json.dumps({"problem": "1 + 1?", "answer": "2", "response": response}) + "\n")
    inputs, responses = read_responses([str(tmp_path / "r.jsonl")], None)
    of = trees(1)
    of[0].problem = inputs.problems[0]

    def graded(context: int) -> dict[str, int]:
        policy = Policy(None, Words(), "hash", context, 4)  # type: ignore[arg-type]
        grading = GradingArguments(continuations=1, max_new_tokens=50)
        with AnswerChecker() as checker:
            made = response_trees(policy, of, responses, checker)
            return dict(grade_responses(made, policy, lambda requests, failed: Continues().stream(requests), grading,
                                        checker, lambda tree: None))  # fmt: skip

    assert graded(300) == {"steps graded": 3, "steps without room": 1}
    with pytest.raises(ValueError, match="no step has room"):
        graded(60)


def test_each_so_many_th_step_is_graded() -> None:
    tree = trees(1)[0]
    node = tree.root
    for _ in range(7):
        child = tree.add(node, step="x")
        node.children = [child]
        node = child
    node.terminal = ANSWER
    assert [node.number for node in graded_steps(tree, 1)] == [1, 2, 3, 4, 5, 6]
    assert [node.number for node in graded_steps(tree, 3)] == [3, 6]


def test_a_folder_without_trees_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no data"):
        next(read_trees(tmp_path))
    with pytest.raises((ValueError, RowError)):
        list(read_trees(tmp_path / "missing"))
