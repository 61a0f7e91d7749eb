"""What the search itself costs, with a policy that answers at once, and how busy it keeps a policy that takes its time.

    python -m tests.bench.search

First part: 16 problems, 8 rollouts, n = 8, five levels, every candidate a program of its own that is really run in the
sandbox (no result is cached), answers compared by the real checker. The same without programs. Nodes are those in the
trees, without candidates that were left out; times are medians of several rounds.

Second part: a simulated engine with a fixed number of places, whose latencies have a long tail (log-normal).
`utilisation`: share of the places that are busy from the first request to the last completion, when trees go on by
themselves, and, with the very same latencies, when all trees wait for each other at every depth.
"""

import argparse
import heapq
import math
import time
from collections import deque
from collections.abc import Iterator
from random import Random
from statistics import median

from data_prep.answers import AnswerChecker
from data_prep.engines import Completion, Request
from data_prep.mcts.search import Search
from data_prep.mcts.settings import SearchArguments
from data_prep.mcts.tree import Tree
from data_prep.sandbox.client import Sandbox
from tests.bench.common import machine, print_result, print_table
from tests.data_prep.mcts.stub import StubPolicy, number, trees

N_PROBLEMS, ROLLOUTS, CANDIDATES = 16, 8, 8


def settings(code: bool) -> SearchArguments:
    """As the official code's, of whose figures ours are to be compared with."""
    return SearchArguments(
        preset="official-code", rollouts=ROLLOUTS, candidates=CANDIDATES, steps="code" if code else "text"
    ).resolve()


def in_trees(done: list[Tree]) -> int:
    return sum(1 for tree in done for _ in tree.root.subtree())


def grow(code: bool, sandbox: Sandbox, checker: AnswerChecker) -> dict[str, float]:
    done: list[Tree] = []
    with Search(settings(code), checker, sandbox) as search:
        checker.cache.clear()
        begin = time.perf_counter()
        search.run(trees(N_PROBLEMS), StubPolicy(code=code).stream, N_PROBLEMS, done.append)
        seconds = time.perf_counter() - begin
    nodes, executions = in_trees(done), sum(tree.n_executions for tree in done)
    levels = max(node.depth for tree in done for node in tree.root.subtree())
    return {"nodes": nodes, "executions": executions, "levels": levels, "seconds": seconds, "ms": 1e3 * seconds / nodes}


class SlowEngine:
    """Answers as the stub policy does, `places` requests at a time, each after a latency that depends on it alone."""

    def __init__(self, places: int, mean_seconds: float, sigma: float = 1.2):
        self.places, self.mean, self.sigma = places, mean_seconds, sigma
        self.policy = StubPolicy(code=False)
        self.drawn: list[float] = []  # latencies, seconds
        self.first = self.last = 0.0

    def latency(self, request: Request) -> float:
        z = Random(number(request.prompt, request.sample)).gauss(0.0, 1.0)
        return self.mean * math.exp(self.sigma * z - self.sigma**2 / 2)

    def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
        under_way: list[tuple[float, int, Request]] = []
        self.first = self.first or time.monotonic()
        count = 0
        while requests or under_way:
            now = time.monotonic()
            while requests and len(under_way) < self.places:
                request = requests.popleft()
                seconds = self.latency(request)
                self.drawn.append(seconds)
                count += 1
                heapq.heappush(under_way, (now + seconds, count, request))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, request = heapq.heappop(under_way)
                self.last = time.monotonic()
                text = self.policy.write(request.prompt, request.sample)
                yield request, Completion(text, len(text) // 4, "stop"), False
            if under_way:
                time.sleep(max(0.0, min(0.0005, under_way[0][0] - time.monotonic())))

    def utilisation(self) -> float:
        return sum(self.drawn) / (self.places * (self.last - self.first))


def without_barriers(places: int, mean_seconds: float, n_problems: int, checker: AnswerChecker) -> SlowEngine:
    engine = SlowEngine(places, mean_seconds)
    with Search(settings(False), checker, None) as search:
        search.run(trees(n_problems), engine.stream, 8 + 4 * places // CANDIDATES, lambda tree: None)
    return engine


def lock_step(places: int, drawn: list[float], n_trees: int) -> float:
    """Utilisation with these latencies if all trees take one step, and the next when all candidates are there.

    A step lasts as long as it takes to work through its requests. Time is computed, not waited for.
    """
    total = 0.0
    for start in range(0, len(drawn), n_trees * CANDIDATES):
        free = [0.0] * places
        for seconds in drawn[start : start + n_trees * CANDIDATES]:
            heapq.heapreplace(free, free[0] + seconds)
        total += max(free)
    return sum(drawn) / (places * total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (%(default)s)")
    parser.add_argument("--places", type=int, default=64, help="of the simulated engine (%(default)s)")
    parser.add_argument("--trees", type=int, default=400, help="that it serves (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.02, help="mean, seconds (%(default)s)")
    args = parser.parse_args()

    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    with Sandbox() as sandbox, AnswerChecker() as checker:
        grow(True, sandbox, checker)  # starts the sandbox's servers
        for _ in range(args.rounds):
            for code in (True, False):
                found[code].append(grow(code, sandbox, checker))
        isolation = sandbox.describe()
        engine = without_barriers(args.places, args.latency, args.trees, checker)
    locked = lock_step(args.places, engine.drawn, args.trees)
    rows = [
        ["every program isolated" if code else "without code"]
        + [median(run[key] for run in runs) for key in ("nodes", "executions", "levels", "seconds", "ms")]
        for code, runs in found.items()
    ]
    print_table(["search", "nodes", "executions", "levels", "seconds", "ms per node"], rows)
    print_table(["schedule", "utilisation"], [["trees by themselves", engine.utilisation()], ["lock-step", locked]])
    with_code = {key: median(run[key] for run in found[True]) for key in found[True][0]}
    print_result(
        {
            **{key: with_code[key] for key in ("nodes", "executions", "seconds", "levels")},
            "ms_per_node": with_code["ms"],
            "ms_per_node_without_code": median(run["ms"] for run in found[False]),
            "utilisation": engine.utilisation(),
            "utilisation_lock_step": locked,
            "isolation": isolation,
            "rounds": args.rounds,
            **machine(),
        }
    )


if __name__ == "__main__":
    main()
