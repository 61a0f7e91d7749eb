"""A search tree: which step is looked at next, and how answers grade the steps before them (paper section 3.3)."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from data_prep.mcts.settings import SearchArguments

ANSWER = "answer"  # the terminal reason of a node that gives one


@dataclass(eq=False, slots=True)
class Node:
    """A step of a solution and everything below it.

    `step`: what the policy wrote; `output`: what its program printed, as the policy sees it. `terminal`: why nothing
    follows (`answer`, `no answer`, `too long`, `errors`, `depth`), None if something may; a reason that begins with
    `dropped` is a candidate that takes no part in the search. `done`: all answers below it are known. `value_sum` and
    `visits`: of the answers that were backed up through it (and the scorer's value); their quotient is Q, in [-1, 1].
    """

    number: int
    parent: "Node | None" = None
    depth: int = 0
    step: str = ""
    output: str = ""
    n_tokens: int = 0
    visits: int = 0
    value_sum: float = 0.0
    prior_score: float | None = None
    terminal: str | None = None
    extracted: str | None = None
    verdict: str | None = None
    errors: int = 0
    done: bool = False
    children: "list[Node] | None" = None
    dropped: "list[Node]" = field(default_factory=list)

    @property
    def q(self) -> float:
        return self.value_sum / self.visits if self.visits else 0.0

    def path(self) -> "list[Node]":
        """From the first step to this one, without the root."""
        nodes = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def text(self) -> str:
        """The solution so far."""
        return "".join(node.step + node.output for node in self.path())

    def subtree(self) -> "Iterator[Node]":
        """This node and all below it, dropped candidates left out, each before its children."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children or ())


def uct(child: Node, parent: Node, c: float, unvisited: str) -> float:
    """UCT = Q + c sqrt(ln N_parent / N) (paper, equation 1; `puct` in the official code).

    `unvisited`: `first` makes it infinite for a step that was never visited, as is usual; with `zero` it is 0, as the
    official code has it, so that good steps are followed before all others have been tried.
    """
    if not child.visits:
        return math.inf if unvisited == "first" else 0.0
    if not parent.visits:
        return child.q
    return child.q + c * math.sqrt(math.log(parent.visits) / child.visits)


def select(node: Node, settings: SearchArguments, rng: Random) -> Node | None:
    """The child that is looked at next, None if everything below is known."""
    open_children = [child for child in node.children or () if not child.done]
    if not open_children:
        return None
    values = [uct(child, node, settings.c, settings.unvisited or "") for child in open_children]
    best = max(values)
    equal = [child for child, value in zip(open_children, values, strict=True) if value == best]
    return equal[0] if settings.tie_break == "first" or len(equal) == 1 else rng.choice(equal)


def back_up(node: Node, value: float) -> None:
    """Adds an answer's value to its node and all before it (paper, equation 2)."""
    step: Node | None = node
    while step is not None:
        step.visits += 1
        step.value_sum += value
        step = step.parent


def finish(node: Node) -> None:
    """Marks a node below which everything is known, and those before it of which that is then true too."""
    node.done = True
    parent = node.parent
    while parent is not None and all(child.done for child in parent.children or ()):
        parent.done = True
        parent = parent.parent


@dataclass(eq=False)
class Tree:
    """A tree of one problem. `prompt`: what the policy continues. `ended_at`: for each rollout the node of its end."""

    problem: dict[str, Any]
    number: int
    seed: int
    prompt: str
    root: Node = field(default_factory=lambda: Node(0))
    n_nodes: int = 1
    ended_at: list[int] = field(default_factory=list)
    response: str = ""  # the one that is graded, where none is searched for
    stopped: str = ""  # rollouts, explored (nothing is left to look at), settled
    waited: dict[str, float] = field(default_factory=dict)  # seconds by what the tree waited for
    n_executions: int = 0
    n_right: int = 0

    def add(self, parent: Node, **values: Any) -> Node:
        node = Node(self.n_nodes, parent, parent.depth + 1, **values)
        self.n_nodes += 1
        return node

    def made_of(self) -> str:
        """A hash of what the tree is made of beside the settings: prompt, gold and choices, the response."""
        problem = self.problem
        parts = [self.prompt, problem.get("answer"), problem.get("choices"), self.response]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def answers(self) -> list[Node]:
        return [node for node in self.root.subtree() if node.terminal == ANSWER]

    def nodes(self) -> list[Node]:
        """All nodes in the order in which they were made, dropped candidates among them."""
        found = [own for node in self.root.subtree() for own in (node, *node.dropped)]
        return sorted(found, key=lambda node: node.number)

    def n_tokens(self) -> int:
        return sum(node.n_tokens for node in self.nodes())

    def rng(self, *what: Any) -> Random:
        """Random numbers that depend on seed, problem and tree, and on `what` alone."""
        return Random(repr((self.seed, self.problem["problem_id"], self.number, *what)))
