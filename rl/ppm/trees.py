"""Trees of steps as one sequence: each prefix is there once, however many steps share it.

In depth-first order token j is visible to token i exactly if j <= i and i lies inside the subtree of j's node;
positions count along the path. So every step has the state that it has in the sequence of its own path.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class StepTree:
    """Nodes of token ids; node 0 is the prompt. A node is known by its parent and a key (the text)."""

    ids: list[list[int]]
    parent: list[int] = field(default_factory=lambda: [-1])
    known: dict[tuple[int, str], int] = field(default_factory=dict)

    @classmethod
    def begin(cls, prompt_ids: list[int]) -> "StepTree":
        return cls([prompt_ids])

    def add(self, parent: int, key: str, ids: list[int]) -> int:
        """The child of `parent` with this key, made if it is not there; returns its number."""
        if (node := self.known.get((parent, key))) is None:
            node = self.known[parent, key] = len(self.ids)
            self.ids.append(ids)
            self.parent.append(parent)
        return node

    def path(self, node: int) -> list[int]:
        """From the prompt to the node."""
        found = []
        while node >= 0:
            found.append(node)
            node = self.parent[node]
        return found[::-1]

    def n_tokens(self, nodes: Iterable[int]) -> int:
        return sum(len(self.ids[node]) for node in nodes)

    def depth_first(self, nodes: Iterable[int]) -> list[int]:
        """These nodes and all before them, each before its children, children in the order in which they were made."""
        wanted = {before for node in nodes for before in self.path(node)} | {0}
        children: dict[int, list[int]] = {}
        for node in sorted(wanted):
            children.setdefault(self.parent[node], []).append(node)
        order, waiting = [], [0]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting += reversed(children.get(node, ()))
        return order


class Run(NamedTuple):
    """Tokens `start` to `stop` of a row, one below the other; they see each other causally.

    `before`: ranges of tokens before them on their path, all of which they see.
    """

    start: int
    stop: int
    before: tuple[tuple[int, int], ...]


Ranges = tuple[tuple[int, int], ...]


@dataclass
class Forest:
    """Trees in one row of tokens, depth first. `end`: index of each node's last token (that of its parent if empty).

    `position`: of each token on its path. `runs`: what sees what, in order. `subtree_end`: for each token the index
    behind the subtree of its node. `path`: for each node the ranges of tokens up to its end. All but `end` count from
    the offset that the row was made with.
    """

    ids: list[int]
    position: list[int]
    end: list[int]
    runs: list[Run]
    subtree_end: list[int]
    path: list[Ranges]


def forest(
    ids: Sequence[int],
    lengths: Sequence[int],
    parents: Sequence[int],
    offset: int = 0,
    above: Mapping[int, tuple[Ranges, int]] | None = None,
) -> Forest:
    """The row of trees whose nodes have `lengths` tokens each, in depth-first order; a parent of -1 begins a tree.

    `ids`: of all nodes, one after the other. `offset`: where the row begins behind tokens that were read before;
    `above`: for nodes that begin a tree, the ranges of those on their path, and how many they are.
    """
    n = len(lengths)
    position: list[int] = []
    end, start, depth = [0] * n, [0] * n, [0] * n  # depth: tokens of the path up to the end of the node
    runs: list[Run] = []
    path: list[Ranges] = []
    subtree_stop = [0] * n
    t = offset
    for node, (length, parent) in enumerate(zip(lengths, parents, strict=True)):
        before, first = (path[parent], depth[parent]) if parent >= 0 else (above or {}).get(node, ((), 0))
        start[node] = t
        position += range(first, first + length)
        depth[node] = first + length
        t += length
        end[node] = t - 1 - offset if length else (end[parent] if parent >= 0 else 0)
        if not length:
            path.append(before)
        elif runs and before and before[-1][1] == start[node]:
            # Goes on where its parent, the last node before it, ends: the same run.
            runs[-1] = Run(runs[-1].start, t, runs[-1].before)
            path.append((*before[:-1], (before[-1][0], t)))
        else:
            runs.append(Run(start[node], t, before))
            path.append((*before, (start[node], t)))
    for node in reversed(range(n)):
        subtree_stop[node] = max(subtree_stop[node], start[node] + lengths[node])
        if parents[node] >= 0:
            subtree_stop[parents[node]] = max(subtree_stop[parents[node]], subtree_stop[node])
    subtree_end = [stop for length, stop in zip(lengths, subtree_stop, strict=True) for _ in range(length)]
    return Forest(list(ids), position, end, runs, subtree_end, path)
