"""From trees and pairs to rows: what is learnt, each prefix once, what is left out and counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_prep.answers import AnswerChecker
from data_prep.artefacts import write_artefact
from data_prep.mcts.grading import complete
from data_prep.mcts.pairs import pair_rows
from data_prep.mcts.records import node_rows, run_row
from data_prep.mcts.rstar import OPENING, USER
from data_prep.mcts.tree import ANSWER, Tree
from rl.ppm.data import Rules, leaf_paths, ppm_rows
from rl.ppm.format import Encoder
from tests.data_prep.mcts.test_pairs import make_tree

RULES = Rules(("pairs",), "paper", 1000, 4000)


def write_trees(folder: Path, trees: list[Tree]) -> str:
    rows = [row for tree in trees for row in node_rows(tree)]
    write_artefact(folder / "trees", "tree", rows, stage="test", config={}, seed=0, inputs={})
    runs = [run_row(tree, "policy", "hash", None) for tree in trees]
    write_artefact(folder / "runs", "search_run", runs, stage="test", config={}, seed=0, inputs={})
    return str(folder)


def write_pairs(folder: Path, pairs: list[dict[str, Any]]) -> str:
    write_artefact(folder, "step_pair", pairs, stage="test", config={}, seed=0, inputs={})
    return str(folder)


def texts_of(row: dict[str, Any], tokenizer: Any) -> list[str]:
    """The text of the path to each node."""
    start = [sum(row["length"][:i]) for i in range(len(row["length"]) + 1)]
    own = [tokenizer.decode(row["ids"][start[i] : start[i + 1]]) for i in range(len(row["length"]))]
    paths: list[str] = []
    for i, parent in enumerate(row["parent"]):
        paths.append((paths[parent] if parent >= 0 else "") + own[i])
    return paths


def test_whole_trees_and_their_pairs_make_the_same_rows(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    tree = make_tree()
    pairs = list(pair_rows(tree, "paper"))
    of_trees = ppm_rows([write_trees(tmp_path / "mcts", [tree])], tokenizer, step_format, RULES)
    of_pairs = ppm_rows([write_pairs(tmp_path / "pairs", pairs)], tokenizer, step_format, RULES)
    assert of_trees.dataset.to_list() == of_pairs.dataset.to_list()
    (row,) = of_trees.dataset.to_list()
    paths = texts_of(row, tokenizer)
    prompt = step_format.prompt.replace("{problem}", "What is 0 + 1?")
    found = {(paths[good], paths[bad]) for good, bad in zip(row["chosen"], row["rejected"], strict=True)}
    assert found == {(prompt + "".join(p["prefix"] + p["chosen"]), prompt + "".join(p["prefix"] + p["rejected"]))
                     for p in pairs}  # fmt: skip
    assert row["weight"] == [0.25] * 8  # two groups of 2 x 2
    assert sorted(zip(row["group"], row["final"], strict=True)) == [(0, False)] * 4 + [(1, True)] * 4
    # Steps a to d, and below a and d two answers each.
    assert len(row["length"]) == 1 + 4 + 4
    assert of_trees.counts["tokens path by path"] == sum(map(len, leaf_paths(row)))


def test_values_and_outcomes_of_trees(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    tree = make_tree()
    folder = write_trees(tmp_path / "mcts", [tree])
    (row,) = ppm_rows([folder], tokenizer, step_format, RULES._replace(learnt=("q", "outcome"))).dataset.to_list()
    paths = texts_of(row, tokenizer)
    graded = zip([paths[node] for node in row["q_node"]], row["q"], strict=True)
    q = {path.removesuffix(" = 1\n<end_of_step>")[-1]: value for path, value in graded if path.endswith("_step>")}
    assert q == {"a": 1.0, "b": 0.5, "c": -0.5, "d": -1.0}
    assert sorted(row["outcome"]) == [0.0] * 6 + [1.0] * 6
    assert all(paths[node].endswith("<end_of_answer>") for node in row["outcome_node"])
    assert row["chosen"] == []
    with pytest.raises(ValueError, match="outcomes and values of steps are in trees, not in pairs"):
        ppm_rows([write_pairs(tmp_path / "pairs", list(pair_rows(tree, "paper")))], tokenizer, step_format,
                 RULES._replace(learnt=("q",)))  # fmt: skip


def test_steps_of_thoughts_are_learnt_alike(ppm: Any, tmp_path: Path) -> None:
    """A graded response: its own steps are one path, from whose ends continuations branch off."""
    _, tokenizer, step_format = ppm
    problem = {"problem_id": "p1-t", "source": "test", "problem": "What is 2 + 3?", "answer": "5", "images": []}
    tree = Tree(problem, 0, 0, "Question\n")
    thought = ["<think>\nFirst, two.\n\n", "Wait, two and three make six.\n\n", "</think>\n\nIt is \\boxed{6}."]
    node = tree.root
    for step in thought:
        child = tree.add(node, step=step, n_tokens=9)
        node.children = [child]
        node = child
    node.terminal, node.extracted, node.verdict = ANSWER, "6", "wrong"
    first = (tree.root.children or [])[0]
    second = (first.children or [])[0]
    good, bad = "Two and three make five.\n\n</think>\n\nIt is \\boxed{5}.", "\n\n</think>\n\nIt is \\boxed{6}."
    texts = {(first.number, 0): (good, 9, "stop"), (first.number, 1): (good + " ", 9, "stop"),
             (second.number, 0): (bad, 9, "stop"), (second.number, 1): (bad + " ", 9, "stop")}  # fmt: skip
    with AnswerChecker() as checker:
        complete(tree, texts, checker)
    assert (first.q, second.q) == (1.0, -1.0)
    (row,) = ppm_rows([write_trees(tmp_path / "mcts", [tree])], tokenizer, step_format, RULES).dataset.to_list()
    paths = texts_of(row, tokenizer)
    step_pairs = [
        (paths[a], paths[b]) for a, b, final in zip(row["chosen"], row["rejected"], row["final"]) if not final
    ]
    prompt = step_format.prompt.replace("{problem}", "What is 2 + 3?")
    assert (prompt + thought[0] + "Two and three make five.\n\n", prompt + thought[0] + thought[1]) in step_pairs


def test_a_large_tree_becomes_several_with_all_pairs(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    folder = write_trees(tmp_path / "mcts", [make_tree(), make_tree(1)])
    whole = ppm_rows([folder], tokenizer, step_format, RULES)
    cut = ppm_rows([folder], tokenizer, step_format, RULES._replace(max_tokens=150))
    assert len(whole.dataset) == 1  # trees of one problem share their prompt
    assert len(cut.dataset) > 1
    assert all(len(row["ids"]) <= 150 or len(set(row["group"])) == 1 for row in cut.dataset)

    def pairs(rows: Any) -> list[Any]:
        found = []
        for row in rows:
            paths = texts_of(row, tokenizer)
            found += [(paths[a], paths[b], w) for a, b, w in zip(row["chosen"], row["rejected"], row["weight"])]
        return sorted(found)

    assert pairs(cut.dataset) == pairs(whole.dataset)


def test_what_cannot_be_used_is_counted(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    pairs = list(pair_rows(make_tree(), "paper"))
    same, empty, long = dict(pairs[0]), dict(pairs[1]), dict(pairs[2])
    same["rejected"], empty["rejected"] = [f" {''.join(same['chosen'])}"], [""]
    long["chosen"] = ["x = 1 + 1\n" * 400 + "<end_of_step>"]
    rows = ppm_rows([write_pairs(tmp_path / "p", [same, empty, long, *pairs[3:]])], tokenizer, step_format, RULES)
    assert rows.counts["pairs left out: chosen and rejected are the same"] == 1
    assert rows.counts["pairs left out: a step without text"] == 1
    assert rows.counts["targets left out: longer than max_length"] == 1
    assert rows.counts["pairs"] == 8
    assert sum(len(row["chosen"]) for row in rows.dataset) == 5
    for what in ("1 pairs left out: chosen and rejected are the same", "1 targets left out: longer than max_length"):
        assert what in rows.summary()


def test_another_problem_under_the_same_id_has_a_tree_of_its_own(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    pairs = list(pair_rows(make_tree(), "paper"))[:2]
    pairs[1] = {**pairs[1], "problem": "What is 9 + 9?"}
    rows = ppm_rows([write_pairs(tmp_path / "p", pairs)], tokenizer, step_format, RULES).dataset.to_list()
    assert ["What is 9 + 9?" in texts_of(row, tokenizer)[0] for row in rows] == [False, True]


def test_trees_without_pairs_are_named(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    tree = make_tree()
    for node in tree.answers():
        node.verdict = "wrong"
    with pytest.raises(ValueError, match=r"nothing to learn from \(1 trees, 1 trees without a pair"):
        ppm_rows([write_trees(tmp_path / "mcts", [tree])], tokenizer, step_format, RULES)
    with pytest.raises(ValueError, match="--data takes folders"):
        ppm_rows([], tokenizer, step_format, RULES)


def test_held_out_problems_are_in_one_part(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    trees = [make_tree() for _ in range(12)]
    for i, tree in enumerate(trees):
        tree.problem |= {"problem_id": f"p1-{i}", "problem": f"What is {i}?"}
    folder = write_trees(tmp_path / "mcts", trees)
    parts = [ppm_rows([folder], tokenizer, step_format, RULES._replace(part=part, eval_share=0.4))
             for part in ("train", "eval")]  # fmt: skip
    names = [{row["problem_id"] for row in part.dataset} for part in parts]
    assert names[0] | names[1] == {tree.problem["problem_id"] for tree in trees}
    assert not names[0] & names[1]
    assert names[0]
    assert names[1]
    assert [part.trained_on for part in parts] == names
    assert all(part.counts["trees"] == len(own) for part, own in zip(parts, names, strict=True))


def test_rstars_own_records_are_read(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    prompt = f"{USER}What is 0 + 1?"
    records = [{"prompt": prompt, "pos": f"{OPENING}<code>\nx = 1<end_of_step>",
                "neg": f"{OPENING}<code>\nx = 2<end_of_step>", "pos_count": 2, "neg_count": 1}]  # fmt: skip
    path = tmp_path / "rm_data.json"
    path.write_text(json.dumps(records))
    (row,) = ppm_rows([str(path)], tokenizer, step_format, RULES).dataset.to_list()
    assert row["weight"] == [0.5]
    assert texts_of(row, tokenizer)[row["chosen"][0]].endswith("<code>\nx = 1<end_of_step>")
    path.write_text(json.dumps([{**records[0], "pos_count": 0}]))
    with pytest.raises(ValueError, match=r"rm_data.json.*n_pos 0 and n_neg 1 should be 1 or more"):
        ppm_rows([str(path)], tokenizer, step_format, RULES)


def test_a_step_that_is_no_list_of_texts_is_named(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    pair = {**next(pair_rows(make_tree(), "paper")), "rejected": "x = 1"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair))
    with pytest.raises(ValueError, match=r"pairs.jsonl, line 1: column 'rejected' should hold a list of texts"):
        ppm_rows([str(tmp_path / "pairs.jsonl")], tokenizer, step_format, RULES)


def test_rows_come_from_the_cache(ppm: Any, tmp_path: Path) -> None:
    _, tokenizer, step_format = ppm
    folder = write_trees(tmp_path / "mcts", [make_tree()])
    rules = RULES._replace(max_tokens=3999)
    first = ppm_rows([folder], tokenizer, step_format, rules)
    again = ppm_rows([folder], tokenizer, step_format, rules)
    other = ppm_rows([folder], tokenizer, step_format, RULES._replace(max_length=999))
    assert (first.found, again.found, other.found) == (False, True, False)
    assert again.dataset.to_list() == first.dataset.to_list()
    assert again.counts == Counter(first.counts)


def test_a_step_has_the_same_ids_wherever_it_is_cut(ppm: Any) -> None:
    """Pairs hold segments, searches whole steps with their output: the same ids."""
    _, tokenizer, step_format = ppm
    encoder = Encoder(tokenizer, step_format)
    step = "\nprint(x)\n<end_of_code>\n<output>3<end_of_output>"
    parts = ["\nprint(x)\n<end_of_code>", "\n<output>3<end_of_output>"]
    assert encoder.step(step, True) == [token for part in parts for token in encoder.ids(part)]
