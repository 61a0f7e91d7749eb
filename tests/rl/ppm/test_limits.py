"""What holds a PPM back: trees as the truth values them, solutions in order."""

from itertools import islice

from data_prep.mcts.tree import ANSWER, Node, Tree
from data_prep.small_world.problems import problems
from data_prep.small_world.traces import code_steps
from rl.ppm.limits import by_the_truth, in_order


def put(tree: Tree, parent: Node, step: str, q: float, **more: str) -> Node:
    child = tree.add(parent, step=step, **more)
    child.visits, child.value_sum = 2, 2 * q
    parent.children = [*(parent.children or ()), child]
    return child


def test_the_truth_takes_the_place_of_what_the_search_has_found():
    problem = next(p for p in islice(problems("train", seed=5), 50) if len(code_steps(p)) > 2)
    steps = code_steps(problem)
    tree = Tree({"problem_id": "p", "problem": problem.text, "answer": problem.answer}, 0, 0, "")
    first = put(tree, tree.root, steps[0], -1.0)  # right, but its rollouts have failed
    lucky = put(tree, tree.root, "<code>\nnobody = 1\n<end_of_step>", 1.0)
    unclear = put(tree, tree.root, "<code>\nimport os\n<end_of_step>", 1.0)
    behind = put(tree, lucky, steps[1], 1.0)  # right in itself, behind a mistake
    never = tree.add(first, step="\nnobody = 2\n<end_of_step>")
    first.children = [never]
    end = first
    for step in steps[1:-1]:
        end = put(tree, end, step, -1.0)
    right = put(tree, end, steps[-1], -1.0, terminal=ANSWER, verdict="wrong")
    wrong = put(tree, behind, steps[-1], 1.0, terminal=ANSWER, verdict="right")

    true = {node.number: node for node in by_the_truth(tree).nodes()}
    assert [true[n.number].q for n in (first, end, right)] == [1.0] * 3
    assert [true[n.number].q for n in (lucky, behind, wrong)] == [-1.0] * 3
    assert true[unclear.number].visits == true[never.number].visits == 0
    assert (true[right.number].verdict, true[wrong.number].verdict) == ("right", "wrong")
    assert (first.q, wrong.verdict) == (-1.0, "right")  # the tree itself is as it was


def test_solutions_are_compared_within_a_problem():
    def row(problem: str, label: int, score: float) -> dict[str, object]:
        return {"problem": problem, "label": label, "score": score}

    rows = [row("a", -1, 0.5), row("a", 2, 0.1), row("a", 0, 0.9), row("b", -1, 0.0), row("c", -1, 1.0),
            row("c", 1, 1.0)]  # fmt: skip
    assert in_order(rows) == 0.5  # a: 1 of 2; b: nothing to compare; c: equal
    assert in_order(rows[3:4]) is None
