"""Solutions out of trees: the best verified ones for SFT, and how hard a problem was."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from data_prep.mcts.tree import Node, Tree
from data_prep.rows import PROBLEM


def mean_q(node: Node) -> float:
    """Mean Q of the steps up to this one, by which trajectories are ranked (paper section 3.4.1)."""
    path = node.path()
    return sum(step.q for step in path) / len(path)


def ranking(node: Node) -> tuple[float, float]:
    """Mean and least Q of the steps: the order of the official code (train/sample_sft_data.py)."""
    return mean_q(node), min(step.q for step in node.path())


def difficulty(trees: Sequence[Tree]) -> str:
    """Of one problem's trees: `all right`, `mixed`, `all wrong`, or `no answer`."""
    verdicts = {node.verdict == "right" for tree in trees for node in tree.answers()}
    return {2: "mixed", 0: "no answer"}.get(len(verdicts)) or ("all right" if True in verdicts else "all wrong")


def best_trajectories(
    trees: Sequence[Tree], top_k: int, drop_errors: bool
) -> tuple[list[tuple[Tree, Node]], Counter[str]]:
    """The `top_k` right answers of one problem with the highest mean Q, equal texts once; what was left out, by reason.

    `drop_errors`: none with a failed program in it, as the official code has it (after the choice; here before).
    """
    dropped: Counter[str] = Counter()
    found: list[tuple[Tree, Node]] = []
    texts: set[str] = set()
    right = [(tree, node) for tree in trees for node in tree.answers() if node.verdict == "right"]
    for tree, node in sorted(right, key=lambda pair: ranking(pair[1]), reverse=True):
        text = node.text()
        if drop_errors and any(step.errors for step in node.path()):
            dropped["a program failed on the way"] += 1
        elif text in texts:
            dropped["the same text as another one"] += 1
        elif len(found) == top_k:
            dropped["beyond top_k"] += 1
        else:
            texts.add(text)
            found.append((tree, node))
    return found, dropped


def sample_row(tree: Tree, node: Node, problem_difficulty: str) -> dict[str, Any]:
    """A sample row: the problem and the solution as a conversation, with where it comes from."""
    problem = tree.problem
    return {
        **{name: problem.get(name) for name in PROBLEM.names},
        "images": [],
        "messages": [{"role": "user", "content": problem["problem"]}, {"role": "assistant", "content": node.text()}],
        "verdict": "right",
        "pass_rate": None,
        "n_attempts": None,
        "n_tokens": sum(step.n_tokens for step in node.path()),
        "tree": tree.number,
        "node": node.number,
        "mean_q": mean_q(node),
        "min_q": ranking(node)[1],
        "difficulty": problem_difficulty,
    }


def votes(trees: Sequence[Tree]) -> list[tuple[str, float]]:
    """The answers of trees with their visits, equal ones together, most votes first; ties in the order of appearance.

    Needs no gold. Answers that no rollout has reached have no vote.
    """
    from data_prep.mcts.search import same_answer

    groups: list[list[Any]] = []
    for tree in trees:
        for node in tree.answers():
            group = next((g for g in groups if same_answer(g[0], node.extracted or "")), None)
            if group is None:
                groups.append(group := [node.extracted, 0])
            group[1] += node.visits
    return sorted(((answer, float(n)) for answer, n in groups if n), key=lambda group: -group[1])
