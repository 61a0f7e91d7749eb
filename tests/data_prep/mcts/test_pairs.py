"""Solutions and step pairs out of trees, and rStar-Math's formats."""

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.artefacts import write_artefact
from data_prep.mcts.pairs import pair_rows, within_edits
from data_prep.mcts.records import read_rows
from data_prep.mcts.rstar import OPENING, convert, pair_from_rstar, pair_to_rstar, sample_from_rstar, sample_to_rstar
from data_prep.mcts.trajectories import best_trajectories, difficulty, mean_q, sample_row, votes
from data_prep.mcts.tree import ANSWER, Node, Tree
from data_prep.rows import RowError, validate

STEP = "{}\n<end_of_step>"
ENDING = "\n<answer>It is \\boxed{{{}}}.<end_of_answer>"


def make_tree(number: int = 0) -> Tree:
    """Four first steps with Q 1, 0.5, -0.5 and -1; answers below, right ones 1 and wrong ones 2 or 3.

    a: two right ones. b: three right ones and one wrong. c: one right one and three wrong. d: two wrong ones.
    """
    problem = {"problem_id": "p1-x", "source": "test", "problem": "What is 0 + 1?", "answer": "1", "images": []}
    tree = Tree(problem, number, 0, "Question\n")
    tree.root.children = []
    for name, answers in (("a", "11"), ("b", "1112"), ("c", "1223"), ("d", "23")):
        step = tree.add(tree.root, step=STEP.format(f"{name * 30} = 1"), n_tokens=5)
        step.children = []
        tree.root.children.append(step)
        for i, answer in enumerate(answers):
            right = answer == "1"
            text = f"\n<answer>{name}{i}{ENDING.format(answer)[9:]}"
            end = tree.add(step, step=text, n_tokens=3, terminal=ANSWER, extracted=answer)
            end.verdict = "right" if right else "wrong"
            step.children.append(end)
            node: Node | None = end
            while node is not None:
                node.visits += 1
                node.value_sum += 1.0 if right else -1.0
                node = node.parent
            tree.n_right += right
    return tree


def names(texts: list[list[str]]) -> list[str]:
    return ["".join(text)[0] for text in texts]


def test_paper_pairs_are_the_two_best_and_the_two_worst_steps() -> None:
    rows = list(pair_rows(make_tree(), "paper"))
    steps = [row for row in rows if row["kind"] == "step"]
    assert {(row["q_chosen"], row["q_rejected"]) for row in steps} == set(product([1.0, 0.5], [-0.5, -1.0]))
    assert all((row["n_pos"], row["n_neg"], row["prefix"]) == (2, 2, []) for row in steps)
    final = [row for row in rows if row["kind"] == "final"]
    assert len(final) == 4
    for row in final:
        assert names([row["chosen"], row["rejected"]]) == ["a", "d"]
        assert row["chosen"][-1].endswith("\\boxed{1}.<end_of_answer>")
    for row in rows:
        validate(row, "step_pair", "test")


def test_official_pairs_need_a_margin_and_go_on_below_mixed_steps() -> None:
    rows = list(pair_rows(make_tree(), "official-code"))
    at_root = [row for row in rows if row["pair_group"].endswith("/0")]
    assert {(row["q_chosen"], row["q_rejected"]) for row in at_root} == set(product([1.0, 0.5], [-0.5, -1.0]))
    below = [row for row in rows if row["prefix"]]
    # Answers of b (three right, one wrong) and c differ in fewer than 20 characters.
    assert below == []
    tree = make_tree()
    for end in tree.answers():
        end.step = end.step.replace("It is", "It " + "is " * 9 if end.verdict == "right" else "No: it is")
    below = [row for row in pair_rows(tree, "official-code") if row["prefix"]]
    assert {(row["n_pos"], row["n_neg"]) for row in below} == {(3, 1), (1, 3)}  # up to four where one is alone


def test_trees_whose_answers_are_all_alike_give_no_pairs() -> None:
    tree = make_tree()
    for end in tree.answers():
        end.verdict = "right"
    assert list(pair_rows(tree, "paper")) == []
    assert difficulty([tree]) == "all right"
    assert difficulty([make_tree()]) == "mixed"
    for end in tree.answers():
        end.verdict = "wrong"
    assert difficulty([tree]) == "all wrong"
    assert difficulty([tree, make_tree()]) == "mixed"
    assert difficulty([Tree(tree.problem, 0, 0, "")]) == "no answer"


def test_the_best_solutions_are_those_with_the_highest_mean_q() -> None:
    found, dropped = best_trajectories([make_tree(0), make_tree(1)], 3, drop_errors=True)
    assert [node.text()[0] for _, node in found] == ["a", "a", "b"]
    assert mean_q(found[0][1]) == 1.0
    assert mean_q(found[2][1]) == pytest.approx((0.5 + 1.0) / 2)
    n_right = 6 * 2
    assert sum(dropped.values()) + len(found) == n_right
    assert dropped["the same text as another one"] > 0
    row = sample_row(*found[0], "mixed")
    validate(row, "sample", "test")
    assert row["n_tokens"] == 8
    assert row["messages"][1]["content"] == found[0][1].text()


def test_solutions_with_a_failed_program_are_left_out_and_counted() -> None:
    tree = make_tree()
    assert tree.root.children
    tree.root.children[0].errors = 1
    found, dropped = best_trajectories([tree], 9, drop_errors=True)
    assert {node.text()[0] for _, node in found} == {"b", "c"}
    assert dropped == {"a program failed on the way": 2}
    assert len(best_trajectories([tree], 9, drop_errors=False)[0]) == 6


def test_votes_count_visits_and_read_no_gold() -> None:
    tree = make_tree()
    assert votes([tree]) == [("1", 6.0), ("2", 4.0), ("3", 2.0)]
    for end in tree.answers():
        end.visits = 5 if end.extracted == "3" else 0
        end.verdict = None
    assert votes([tree]) == [("3", 10.0)]
    tree.answers()[0].extracted, tree.answers()[0].visits = "3.0", 1
    assert votes([tree]) == [("3.0", 11.0)]


def edits(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
    return row[-1]


@given(st.text("ab", max_size=12), st.text("ab", max_size=12), st.integers(0, 6))
def test_within_edits_is_the_edit_distance(a: str, b: str, most: int) -> None:
    assert within_edits(a, b, most) == (edits(a, b) <= most)


def examples(name: str) -> list[dict[str, Any]]:
    if "REDSTAR_DATA" not in os.environ:
        pytest.skip("needs rstar_examples/ below the folder named by $REDSTAR_DATA")
    return json.loads((Path(os.environ["REDSTAR_DATA"]) / "rstar_examples" / name).read_text())


@pytest.mark.real_data
def test_rstars_own_files_come_back_without_loss(tmp_path: Path) -> None:
    for name, kind in (("sft_data_examples.json", "sample"), ("rm_data_examples.json", "step_pair")):
        records = examples(name)
        source = tmp_path / name
        source.write_text(json.dumps(records))
        assert convert(source, tmp_path / kind) == (kind, len(records))
        for row in read_rows(tmp_path / kind):
            validate(row, kind, kind)
        convert(tmp_path / kind, tmp_path / f"again-{name}")
        assert json.loads((tmp_path / f"again-{name}").read_text()) == records


TEXTS = st.text(max_size=30) | st.sampled_from([OPENING, "<code>\nx<end_of_step>\n", "<|user|>:\nQ"])


@given(st.lists(TEXTS, min_size=3, max_size=3), st.integers(1, 4), st.integers(1, 4))
def test_any_pair_of_rstars_form_comes_back(texts: list[str], n_pos: int, n_neg: int) -> None:
    prompt, pos, neg = texts
    record = {"prompt": prompt, "pos": pos, "neg": neg, "pos_count": n_pos, "neg_count": n_neg}
    assert pair_to_rstar(pair_from_rstar(record, "test")) == record
    sample = {"query": prompt, "response": pos}
    assert sample_to_rstar(sample_from_rstar(sample, "test"), "test") == sample


def test_our_pairs_come_back_from_rstars_form() -> None:
    tree = make_tree()
    tree.prompt = f"<|user|>:\nWhat is 0 + 1?{OPENING}"
    for row in pair_rows(tree, "paper"):
        again = pair_from_rstar(pair_to_rstar(row), "test")
        for name in ("prompt", "prefix", "chosen", "rejected", "n_pos", "n_neg", "kind"):
            assert again[name] == row[name], name


def test_files_that_are_not_rstars_are_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    for content, said in (("{", "broken JSON"), ("[]", "a list of records"), ('[{"query": 1}]', "'query' is no text"),
                          ('[{"prompt": "a", "pos": "b", "neg": "c", "pos_count": "2"}]', "'pos_count'")):  # fmt: skip
        broken.write_text(content)
        with pytest.raises((ValueError, RowError), match=said):
            convert(broken, tmp_path / "out")
    write_artefact(tmp_path / "other", "problem", [], stage="x", config={}, seed=0, inputs={})
    with pytest.raises(ValueError, match="holds no samples or step pairs"):
        convert(tmp_path / "other", tmp_path / "out.json")
