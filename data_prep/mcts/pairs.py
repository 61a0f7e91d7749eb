"""Step pairs for a process preference model: better and worse steps behind one prefix (paper section 3.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from data_prep.benchmarks import as_asked
from data_prep.mcts.steps import segments
from data_prep.mcts.trajectories import mean_q
from data_prep.mcts.tree import ANSWER, Node, Tree

PairRule = Literal["paper", "official-code"]
# The official code's last filter (train/sample_rm_data.py): difference of Q, edits between the texts in characters.
LEAST_MARGIN, LEAST_EDITS = 0.5, 20


@dataclass(frozen=True)
class Group:
    """Steps (or whole solutions) behind one prefix, the best chosen and the worst rejected ones first."""

    kind: Literal["step", "final"]
    name: str
    before: Node
    chosen: Sequence[Node]
    rejected: Sequence[Node]


def leads_to(node: Node, verdict: str) -> bool:
    """Whether an answer with this verdict is at the step or below it."""
    return any(below.verdict == verdict for below in node.subtree())


def pair_rows(tree: Tree, rule: PairRule) -> Iterator[dict[str, Any]]:
    """The pairs of a tree; of a tree whose answers are all right, or all wrong, there are none."""
    verdicts = {node.verdict for node in tree.answers()}
    if not {"right", "wrong"} <= verdicts:
        return
    groups = paper_groups(tree) if rule == "paper" else official_groups(tree)
    for group in groups:
        whole = group.kind == "final"
        prompt, prefix = tree.prompt, [] if whole else path_segments(group.before)
        pairs = [
            (chosen, rejected)
            for chosen, rejected in product(group.chosen, group.rejected)
            if grade(chosen, whole) > grade(rejected, whole) and text_of(chosen, whole) != text_of(rejected, whole)
        ]
        if rule == "official-code":
            pairs = [
                (chosen, rejected)
                for chosen, rejected in pairs
                if grade(chosen, whole) - grade(rejected, whole) >= LEAST_MARGIN
                and not within_edits(text_of(chosen, whole), text_of(rejected, whole), LEAST_EDITS - 1)
            ]
        n_pos = len({id(chosen) for chosen, _ in pairs})
        n_neg = len({id(rejected) for _, rejected in pairs})
        for chosen, rejected in pairs:
            yield {
                "pair_group": f"{tree.problem['problem_id']}/{tree.number}/{group.name}",
                "kind": group.kind,
                "problem_id": tree.problem["problem_id"],
                "problem": as_asked(tree.problem),
                "prompt": prompt,
                "prefix": prefix,
                "chosen": segments(text_of(chosen, whole)),
                "rejected": segments(text_of(rejected, whole)),
                "n_pos": n_pos,
                "n_neg": n_neg,
                "q_chosen": grade(chosen, whole),
                "q_rejected": grade(rejected, whole),
            }


def path_segments(node: Node) -> list[str]:
    return [part for step in node.path() for part in segments(step.step + step.output)]


def text_of(node: Node, whole: bool) -> str:
    return node.text() if whole else node.step + node.output


def grade(node: Node, whole: bool) -> float:
    return mean_q(node) if whole else node.q


def paper_groups(tree: Tree) -> Iterator[Group]:
    """The paper's rule: of the steps behind one prefix the two with the highest Q, if they lead to a right answer, and
    the two with the lowest, if they lead to a wrong one. Of whole solutions the two right ones with the highest mean Q
    and the two wrong ones with the lowest. Steps that no answer has graded are left aside.
    """
    for node in tree.root.subtree():
        steps = [child for child in node.children or () if child.visits and child.terminal != ANSWER]
        steps = sorted(steps, key=lambda child: -child.q)
        chosen = [child for child in steps[:2] if leads_to(child, "right")]
        rejected = [child for child in steps[::-1][:2] if leads_to(child, "wrong")]
        yield Group("step", str(node.number), node, chosen, rejected)
    graded = sorted((answer for answer in tree.answers() if answer.visits), key=lambda answer: -mean_q(answer))
    right = [answer for answer in graded if answer.verdict == "right"]
    wrong = [answer for answer in graded if answer.verdict == "wrong"]
    yield Group("final", "final", tree.root, right[:2], wrong[::-1][:2])


def official_groups(tree: Tree) -> Iterator[Group]:
    """The official code's rule (extra_rm_file.py, `mode=all`).

    A step is right (wrong) if an answer worth +1 (an end worth -1 that is not due to errors of code) is at it or below.
    Chosen are the two right ones with the highest Q, rejected the two wrong ones with the lowest; where there is only
    one of a kind, up to four of the other. The best solution through the chosen must have a higher mean Q than the
    worst through the rejected. It goes on below steps that are both right and wrong.
    """
    waiting = [tree.root]
    while waiting:
        node = waiting.pop()
        right = sorted((c for c in node.children or () if ends(c, 1.0)), key=lambda child: -child.q)
        wrong = sorted((c for c in node.children or () if ends(c, -1.0)), key=lambda child: child.q)
        n_chosen = 4 if len(wrong) == 1 else 2
        n_rejected = 4 if len(right) == 1 else 2
        if right and wrong:
            best = max(mean_q(end) for end in ends(right[0], 1.0))
            worst = min(mean_q(end) for end in ends(wrong[0], -1.0))
            if best > worst:
                yield Group("step", str(node.number), node, right[:n_chosen], wrong[:n_rejected])
        waiting += [child for child in node.children or () if ends(child, 1.0) and ends(child, -1.0)]


def ends(node: Node, value: float) -> list[Node]:
    """The ends at or below a step that are worth this much."""
    return [
        end for end in node.subtree() if (end.verdict == "right" if value > 0 else end.verdict == "wrong" or fails(end))
    ]


def fails(end: Node) -> bool:
    """Whether a path ends here without an answer, which counts as -1 (`invalid`), and not for errors of code."""
    return end.terminal not in (None, ANSWER, "errors") and end.visits > 0 and end.q == -1.0


def within_edits(a: str, b: str, most: int) -> bool:
    """Whether at most `most` insertions, deletions and replacements of characters make `a` into `b`."""
    if abs(len(a) - len(b)) > most:
        return False
    row = {j: j for j in range(min(most, len(b)) + 1)}  # distance of the empty text to b[:j], where it can matter
    for i, character in enumerate(a, 1):
        last, row = row, {}
        for j in range(max(0, i - most), min(len(b), i + most) + 1):
            steps = [last.get(j, most) + 1]
            if j:
                steps += [row.get(j - 1, most) + 1, last.get(j - 1, most + 1) + (character != b[j - 1])]
            row[j] = min(steps)
        if min(row.values()) > most:
            return False
    return row.get(len(b), most + 1) <= most
