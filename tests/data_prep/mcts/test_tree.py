"""Selection and back-up, and the two presets."""

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.mcts.settings import PRESETS, SearchArguments
from data_prep.mcts.tree import Node, Tree, back_up, finish, select, uct


def tree_of_two(**values: Any) -> tuple[Node, Node, Node]:
    root = Node(0, **values)
    a, b = Node(1, root, 1), Node(2, root, 1)
    root.children = [a, b]
    return root, a, b


def test_uct_is_the_papers_formula() -> None:
    root, a, _ = tree_of_two(visits=10)
    a.visits, a.value_sum = 4, 2.0
    assert uct(a, root, 2.0, "first") == pytest.approx(0.5 + 2 * math.sqrt(math.log(10) / 4))
    root.visits = 0  # a scorer's value alone
    assert uct(a, root, 2.0, "first") == 0.5


def test_an_unvisited_step_is_tried_first_or_has_uct_0() -> None:
    root, a, b = tree_of_two(visits=3)
    b.visits, b.value_sum = 3, 3.0
    assert uct(a, root, 2.0, "first") == math.inf
    assert uct(a, root, 2.0, "zero") == 0.0
    paper, official = SearchArguments().resolve(), SearchArguments(preset="official-code").resolve()
    assert select(root, paper, Random(0)) is a
    assert select(root, official, Random(0)) is b  # explore high q first


def test_ties_go_to_the_first_or_to_any() -> None:
    root, a, b = tree_of_two()
    official, paper = SearchArguments(preset="official-code").resolve(), SearchArguments().resolve()
    assert all(select(root, official, Random(i)) is a for i in range(20))
    assert {select(root, paper, Random(i)) for i in range(20)} == {a, b}


def test_an_answer_counts_for_all_steps_before_it() -> None:
    root, a, b = tree_of_two()
    c = Node(3, a, 2)
    back_up(c, 1.0)
    back_up(c, -1.0)
    back_up(b, -1.0)
    assert [(n.visits, n.value_sum, n.q) for n in (root, a, b, c)] == [
        (3, -1.0, -1 / 3), (2, 0.0, 0.0), (1, -1.0, -1.0), (2, 0.0, 0.0),
    ]  # fmt: skip


def test_steps_without_anything_left_to_look_at_are_done() -> None:
    root, a, b = tree_of_two()
    a.children = [Node(3, a, 2), Node(4, a, 2)]
    finish(a.children[0])
    assert not a.done
    finish(a.children[1])
    assert a.done
    assert not root.done
    assert select(root, SearchArguments().resolve(), Random(0)) is b
    finish(b)
    assert root.done
    assert select(root, SearchArguments().resolve(), Random(0)) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([-1.0, 1.0])), max_size=40), st.randoms())
def test_visits_and_values_add_up(answers: list[tuple[int, float]], rng: Random) -> None:
    tree = Tree({"problem_id": "p"}, 0, 0, "")
    nodes = [tree.root]
    for _ in range(30):
        parent = rng.choice(nodes)
        child = tree.add(parent)
        parent.children = [*(parent.children or ()), child]
        nodes.append(child)
    for number, value in answers:
        back_up(nodes[number], value)
    assert tree.root.visits == len(answers)
    assert tree.root.value_sum == sum(value for _, value in answers)
    for node in nodes:
        assert abs(node.q) <= 1
        assert node.visits >= sum(child.visits for child in node.children or ())
    assert [node.number for node in tree.nodes()] == list(range(31))


def test_presets_are_what_paper_and_official_code_say() -> None:
    paper, official = SearchArguments().resolve(), SearchArguments(preset="official-code").resolve()
    assert (paper.rollouts, paper.rollouts_if_unsolved, paper.candidates) == (16, [32], 8)
    assert (official.rollouts, official.rollouts_if_unsolved, official.candidates) == (48, [], 12)
    assert (paper.c, paper.max_depth, official.c, official.max_depth) == (2.0, 16, 2.0, 16)
    assert set(PRESETS["paper"]) == set(PRESETS["official-code"])
    assert not paper.differences()
    assert SearchArguments(rollouts=4, unvisited="zero").resolve().differences() == {"rollouts": 4, "unvisited": "zero"}
    # A second pass is as long as the first one, unless there is to be none.
    assert SearchArguments(rollouts=40).resolve().rollouts_if_unsolved == [80]
    assert SearchArguments(rollouts_if_unsolved=[0]).resolve().rollouts_if_unsolved == []
    assert SearchArguments(terminal_value="agreement").resolve().rollouts_if_unsolved == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rollouts": 0}, "rollouts"),
        ({"candidates": 0}, "candidates"),
        ({"rollouts": 8, "rollouts_if_unsolved": [8]}, "rollouts_if_unsolved"),
        ({"rollouts_if_unsolved": [64, 32]}, "rollouts_if_unsolved"),
        ({"c": -1.0}, "c"),
        ({"max_depth": 0}, "max_depth"),
        ({"temperature": 0.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"stop_after_right": 0}, "stop_after_right"),
        ({"terminal_value": "agreement", "rollouts_if_unsolved": [32]}, "rollouts_if_unsolved"),
        ({"terminal_value": "agreement", "stop_after_right": 2}, "stop_after_right"),
        ({"max_step_tokens": 0}, "max_step_tokens"),
        ({"trees": 0}, "trees"),
    ],
)
def test_values_out_of_range_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"--{named} "):
        SearchArguments(**values).resolve()
