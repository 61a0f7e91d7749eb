"""A process preference model at work: evaluate.py --strategy and --step_labels, generate_mcts.py --scorer."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.artefacts import hash_model
from data_prep.mcts.records import read_rows, read_trees
from tests.recipes.conftest import Run, one_error_line
from tests.rl.ppm.conftest import SHIPPED, ppm_of

SEARCH = ["--strategy", "greedy", "best_of_n", "beam", "mcts", "--trajectories", 4, "--runs", 2, "--rollouts", 2,
          "--candidates", 3, "--beam_size", 2, "--max_step_tokens", 96]  # fmt: skip


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A process preference model whose head is random."""
    folder = tmp_path_factory.mktemp("ppm") / "random"
    model, tokenizer, _ = ppm_of()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def arguments(out: Path, *more: object) -> list[object]:
    return ["recipes/evaluate.py", "--model_name_or_path", SHIPPED, "--benchmarks", "small-world", "--split", "test",
            "--n_problems", 5, "--dtype", "float32", "--batch_size", 64, "--output_dir", out, *more]  # fmt: skip


def test_answers_by_every_strategy_with_their_costs(run: Run, scorer: Path, tmp_path: Path) -> None:
    done = run(*arguments(tmp_path / "out", *SEARCH, "--scorer", scorer))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    lines = {(line["strategy"], line["rule"], line["n"]): line for line in result["strategies"]}
    assert {strategy for strategy, _, _ in lines} == {"greedy", "best_of_n", "beam", "mcts"}
    for line in lines.values():
        assert 0 <= line["low"] <= line["mean"] <= line["high"] <= 1
        assert line["cost"]["generated"] > 0 < line["cost"]["flops"]
    one, four = (lines["best_of_n", "best by last score", n]["cost"] for n in (1, 4))
    assert one["generated"] < four["generated"]
    assert one["flops"] < four["flops"]
    assert lines["best_of_n", "majority", 4]["cost"]["scored"] == 0
    assert lines["mcts", "majority of top k", 2]["at_equal_cost"] is not None
    rows = list(read_rows(tmp_path / "out"))
    assert {row["decoding"] for row in rows} == {"greedy", "best_of_n", "beam", "mcts"}
    assert sum(row["decoding"] == "best_of_n" for row in rows) == 20
    for row in rows:
        if row["extracted"] is not None and row["decoding"] != "greedy":
            assert row["scores"]
            assert all(-1 <= score <= 1 for score in row["scores"])
    assert (tmp_path / "out" / "small-world.png").stat().st_size > 10_000
    assert result["scorer_counts"]["tokens read"] > 0
    assert "mcts       majority of top k" in done.stdout
    assert not (tmp_path / "out.partial").exists()


def test_votes_need_no_scorer_and_other_things_do(run: Run, scorer: Path, tmp_path: Path) -> None:
    run(*arguments(tmp_path / "out", "--strategy", "best_of_n", "--trajectories", 3, "--max_step_tokens", 96))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [(line["rule"], line["n"]) for line in result["strategies"]] == [("majority", n) for n in (1, 2, 3)]
    refused: list[tuple[list[object], str]] = [
        (["--strategy", "mcts"], "--strategy mcts needs a --scorer"),
        (["--scorer", scorer], "--scorer is for --strategy"),
        (["--strategy", "best_of_n", "--scorer", SHIPPED], "no process preference model"),
        (["--step_labels", "x.jsonl"], "not with --step_labels"),
    ]
    for more, message in refused:
        assert message in one_error_line(run(*arguments(tmp_path / "no", *more), check=False))


def test_the_scorer_guides_a_search_and_finds_wrong_steps(run: Run, scorer: Path, tmp_path: Path) -> None:
    out = tmp_path / "mcts"
    tiny = ["recipes/generate_mcts.py", "--config", "recipes/configs/tiny/generate_mcts.yaml"]
    done = run(*tiny, "--n_problems", 12, "--rollouts", 3, "--rollouts_if_unsolved", 0, "--candidates", 3, "--scorer",
               scorer, "--output_dir", out)  # fmt: skip
    assert f"steps scored by {scorer}" in done.stdout
    for tree in read_trees(out):
        for node in tree.root.subtree():
            if node.parent is not None and node.terminal is None:
                assert node.prior_score is not None
                below = [answer for answer in node.subtree() if answer.terminal == "answer"]
                reached = sum(answer.visits for answer in below)
                assert node.visits == 1 + reached
    hashes = {row["scorer_hash"] for row in read_rows(out / "runs")}
    from transformers import AutoConfig

    assert hashes == {hash_model(str(scorer), AutoConfig.from_pretrained(scorer))}

    labels = tmp_path / "labels.jsonl"
    run("-m", "data_prep.small_world.step_labels", "--trees", out, "--output", labels)
    done = run("recipes/evaluate.py", "--step_labels", labels, "--scorer", scorer, "--output_dir", tmp_path / "labels")
    result = json.loads((tmp_path / "labels" / "result.json").read_text())
    (found,) = result["step_labels"].values()
    n_rows = len(labels.read_text().splitlines())
    assert found["n_solutions"] == n_rows > 0
    rows: list[dict[str, Any]] = list(read_rows(tmp_path / "labels"))
    assert all(len(row["scores"]) == len(row["steps"]) for row in rows)
    assert "threshold  0: the default" in done.stdout
