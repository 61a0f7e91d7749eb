"""recipes/generate_mcts.py as a user runs it: a search, killed and resumed, refused; graded responses; a server."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from data_prep.mcts.records import node_rows, read_rows, read_trees
from data_prep.rows import validate
from tests.data_prep.mcts.stub import problems
from tests.data_prep.mcts.test_search import PolicyServer
from tests.recipes.conftest import ROOT, Run, clean_environment, command_line, one_error_line

TINY = ["recipes/generate_mcts.py", "--config", "recipes/configs/tiny/generate_mcts.yaml"]
SMALL = ["--n_problems", 12, "--rollouts", 3, "--rollouts_if_unsolved", 4, "--candidates", 3, "--probe", 4]


@pytest.fixture(scope="module")
def searched(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small search in this process, and what it printed."""
    folder = tmp_path_factory.mktemp("mcts") / "out"
    return folder, run(*TINY, *SMALL, "--output_dir", folder).stdout


def test_a_search_writes_trees_samples_and_pairs_and_says_what_it_did(searched: tuple[Path, str]) -> None:
    folder, printed = searched
    trees = list(read_trees(folder))
    assert len(trees) == 12
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["problems"]["solved"] == sum(tree.n_right > 0 for tree in trees) > 0
    for kind, name in (("tree", "trees"), ("search_run", "runs"), ("sample", "samples"), ("step_pair", "pairs")):
        rows = list(read_rows(folder / name))
        assert len(rows) == manifest["rows_out"][name] > 0
        for row in rows:
            validate(row, kind, name)
    for row in read_rows(folder / "samples"):
        assert row["messages"][-1]["content"].startswith("<code>")
        assert f"\\boxed{{{row['answer']}}}" in row["messages"][-1]["content"]
    # Every right answer was printed by its own program.
    for tree in trees:
        for node in tree.answers():
            if node.verdict == "right" and node.parent is not None:
                assert f"<output>{tree.problem['answer']}<end_of_output>" in node.parent.output
    for what in ("search", "sandbox", "estimate", "problems", "nodes", "samples", "pairs", "speed", "next"):
        assert f"\n{what}  " in printed, what
    assert "tokens/s" in printed
    assert "<title>" in (folder / "trees.html").read_text()
    assert not folder.with_name("out.partial").exists()


def all_rows(folder: Path) -> list[Any]:
    return [[node_rows(tree), tree.ended_at, tree.stopped] for tree in read_trees(folder)]


def test_a_killed_search_goes_on_to_the_same_set_of_trees(run: Run, tmp_path: Path, searched: tuple[Path, str]) -> None:
    """One tree at a time on both sides: batches are the same, so are the numbers in them."""
    options = [*SMALL, "--trees_at_once", 1, "--n_problems", 6, "--probe", 2]
    run(*TINY, *options, "--output_dir", tmp_path / "whole")
    process = subprocess.Popen(
        command_line(*TINY, *options, "--output_dir", tmp_path / "killed"), cwd=ROOT, env=clean_environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    kept = tmp_path / "killed.partial" / "trees.jsonl"
    deadline = time.monotonic() + 100
    while not kept.exists() or kept.read_bytes().count(b"\n") < 4:  # a header and three trees
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(*TINY, *options, "--output_dir", tmp_path / "killed")
    assert "trees of an earlier start are in" in done.stdout
    assert all_rows(tmp_path / "killed") == all_rows(tmp_path / "whole")


def test_trees_hardly_depend_on_the_batch(run: Run, tmp_path: Path, searched: tuple[Path, str]) -> None:
    """In other batches sums are rounded otherwise, which now and then draws another token."""
    run(*TINY, *SMALL, "--batch_size", 7, "--trees_at_once", 3, "--output_dir", tmp_path / "out")
    same = [a == b for a, b in zip(all_rows(tmp_path / "out"), all_rows(searched[0]), strict=True)]
    assert sum(same) >= len(same) - 1


def test_only_the_estimate_then_the_rest(run: Run, tmp_path: Path) -> None:
    options = [*SMALL, "--n_problems", 5, "--probe", 2, "--output_dir", tmp_path / "out"]
    first = run(*TINY, *options, "--estimate_only", "true").stdout
    assert "3 trees left" in first
    assert "kept       2 trees" in first
    assert not (tmp_path / "out").exists()
    second = run(*TINY, *options).stdout
    assert "resume     2 trees" in second
    assert len(list(read_trees(tmp_path / "out"))) == 5


def test_a_search_behind_a_server(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    rows = [{"problem": row["problem"], "answer": row["answer"]} for row in problems(5)]
    rows += [{"problem": "Show that 1 = 1.", "answer": None}, {"problem": "What is 0 + 1?", "answer": "1"}]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with PolicyServer() as server:
        server.script = ["drop", "500"]
        done = run(
            "recipes/generate_mcts.py", "--model_name_or_path", "policy", "--server_urls", server.url, "--tokenizer",
            "data_prep/small_world/checkpoints/code", "--problems", file, "--steps", "text", "--rollouts", 3,
            "--candidates", 3, "--output_dir", tmp_path / "out", "--prompt", "rstar",
        )  # fmt: skip
        assert all(request["include_stop_str_in_output"] for request in server.requests)
        assert all(request["skip_special_tokens"] is False for request in server.requests)
    assert "1 of 7 rows: no answer that can be judged" in done.stdout
    assert "1 of 7 rows: problem stood before" in done.stdout
    trees = list(read_trees(tmp_path / "out"))
    assert len(trees) == 5
    assert trees[0].prompt.startswith("<|user|>:\nWhat is 0 + 1?\n<|assistant|>:")


def test_responses_are_graded(run: Run, tmp_path: Path) -> None:
    from data_prep.small_world.samples import sample_rows

    file = tmp_path / "responses.jsonl"
    rows = [
        {"problem": row["problem"], "answer": row["answer"], "response": row["messages"][-1]["content"]}
        for row in sample_rows("train", 3)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = run(
        "recipes/generate_mcts.py", "--model_name_or_path", "data_prep/small_world/checkpoints/small", "--dtype",
        "float32", "--from_responses", file, "--continuations", 2, "--max_new_tokens", 60, "--output_dir",
        tmp_path / "out",
    )  # fmt: skip
    assert "grading    3 responses" in done.stdout
    trees = list(read_trees(tmp_path / "out"))
    assert len(trees) == 3
    for tree, row in zip(trees, rows, strict=True):
        first = (tree.root.children or [])[0]
        assert first.visits in (1, 2)  # a thought of one step has an end of its own alone
        assert any(node.text() == row["response"] for node in tree.answers())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rollouts", 0], "--rollouts 0"),
        (["--candidates", 0], "--candidates 0"),
        (["--temperature", 0], "--temperature"),
        (["--terminal_value", "agreement"], "--rollouts_if_unsolved [16]"),
        (["--terminal_value", "scorer", "--rollouts_if_unsolved", 0], "needs a --scorer"),
        (["--instruction", "Think.", "--prompt", "rstar"], "--instruction is part of chat prompts"),
        (["--code_timeout", 0], "--code_timeout"),
        (["--problems", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["--output_dir", "recipes"], "recipes exists already"),
        (["--tokenizer", "x"], "--tokenizer is for --server_urls"),
    ],
)
def test_refused_in_one_line(run: Run, tmp_path: Path, options: list[Any], said: str) -> None:
    if "--output_dir" not in options:
        options = [*options, "--output_dir", tmp_path / "out"]
    assert said in one_error_line(run(*TINY, *options, check=False))
