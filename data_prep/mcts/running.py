"""A run of many trees: what is finished stays on disk, progress, an estimate of the cost, and the results."""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from data_prep.artefacts import MANIFEST, atomic_folder, write_artefact, write_json
from data_prep.mcts.pairs import PairRule, pair_rows
from data_prep.mcts.records import node_rows, run_row, tree_of
from data_prep.mcts.search import Search, Stream
from data_prep.mcts.trajectories import best_trajectories, difficulty, sample_row
from data_prep.mcts.tree import Node, Tree
from data_prep.rows import PROBLEM

DIFFICULTIES = ("all right", "mixed", "all wrong", "no answer")
OF_A_RUN = ("prompt", "ended_at", "stopped", "n_nodes", "n_tokens", "n_executions", "n_right", "seed", "tree")


class FinishedTrees:
    """Trees that are done, one line each in a JSONL file; a run that was killed goes on with the others.

    A line is with the operating system before `put` returns. `settings`: everything that trees depend on. Raises
    ValueError on opening if the file was begun with other settings, naming the first that differs.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.settings = json.loads(json.dumps(settings, default=str))
        # problem and tree -> position and length, bytes, and what it is made of
        self.places: dict[tuple[str, int], tuple[int, int, str]] = {}
        self.file = open(path, "a+b", buffering=0)  # noqa: SIM115
        try:
            self.end = self.read()
        except BaseException:
            self.file.close()
            raise

    def read(self) -> int:
        self.file.seek(0)
        end = 0
        for number, line in enumerate(self.file):
            if not line.endswith(b"\n"):  # half-written when the run was killed
                self.file.truncate(end)
                break
            record = json.loads(line)
            if number == 0:
                self.check(record["settings"])
            else:
                self.places[record["problem_id"], record["tree"]] = (end, len(line), record["made_of"])
            end += len(line)
        return end

    def check(self, before: Mapping[str, Any]) -> None:
        for name, now in self.settings.items():
            if before.get(name) != now:
                raise ValueError(
                    f"{self.path} holds trees with {name} {before.get(name)!r}, now it is {now!r}: start it as before "
                    "to go on, or remove the file, or choose another --output_dir"
                )

    def append(self, record: Mapping[str, Any]) -> int:
        """Writes a line and returns its length."""
        line = (json.dumps(record) + "\n").encode()
        try:
            rest = line
            while rest:
                rest = rest[self.file.write(rest) :]
        except BaseException:
            self.file.truncate(self.end)
            raise
        self.end += len(line)
        return len(line)

    def put(self, tree: Tree) -> None:
        """Writes a tree. Raises OSError if the disk is full."""
        if self.end == 0:
            self.append({"settings": self.settings})
        run, key = run_row(tree, "", "", None), (tree.problem["problem_id"], tree.number)
        record = {"problem_id": key[0], "made_of": tree.made_of(), **{name: run[name] for name in OF_A_RUN}}
        start = self.end
        self.places[key] = (start, self.append({**record, "nodes": node_rows(tree)}), record["made_of"])

    def __contains__(self, tree: Tree) -> bool:
        place = self.places.get((tree.problem["problem_id"], tree.number))
        return place is not None and place[2] == tree.made_of()

    def __len__(self) -> int:
        return len(self.places)

    def of_problem(self, problem: Mapping[str, Any]) -> list[Tree]:
        """The problem's trees, in the order of their numbers."""
        trees = []
        for number in range(len(self.places)):
            if (place := self.places.get((problem["problem_id"], number))) is None:
                break
            record = json.loads(os.pread(self.file.fileno(), place[1], place[0]))
            nodes = record.pop("nodes")
            trees.append(tree_of({**problem, **record}, nodes))
        return trees

    def remove(self, trees: Sequence[Tree]) -> None:
        """Removes the file, and its folder if nothing else is in it; not if it holds others than these trees."""
        if set(self.places) <= {(tree.problem["problem_id"], tree.number) for tree in trees}:
            self.path.unlink()
            with suppress(OSError):
                self.path.parent.rmdir()
        else:
            print(f"kept       {self.path}: it holds further trees, for a run with more problems or trees")

    def __enter__(self) -> "FinishedTrees":
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()


class Totals:
    """What this start of a run has come to, and the bar that shows it."""

    def __init__(self, finished: FinishedTrees):
        self.finished = finished
        self.n_trees = self.n_nodes = self.n_tokens = 0
        self.seconds = 0.0
        self.waited: Counter[str] = Counter()  # seconds of trees, by what they waited for
        self.solved: dict[str, bool] = {}
        self.n_solved = 0
        self.tokens_per_tree: list[int] = []
        self.candidates: dict[str, int] = {}
        self.executions: dict[str, int] = {}

    def start(self, trees: Sequence[Tree], name: str = "search") -> None:
        if n_before := len(trees) - len(self.missing(trees)):
            print(f"resume     {n_before:,} trees of an earlier start are in {self.finished.path}", flush=True)
        # smoothing 0: rates are averages, since trees come in bursts
        self.bar = tqdm(
            total=len(trees), initial=n_before, desc=name, unit=" trees", disable=None,
            smoothing=0,
        )  # fmt: skip
        self.begin = time.monotonic()

    def missing(self, trees: Sequence[Tree]) -> list[Tree]:
        return [tree for tree in trees if tree not in self.finished]

    def add(self, tree: Tree) -> None:
        """Keeps a finished tree and counts it."""
        self.finished.put(tree)
        self.n_trees += 1
        self.n_nodes += tree.n_nodes
        self.tokens_per_tree.append(tree.n_tokens())
        self.n_tokens += self.tokens_per_tree[-1]
        self.waited.update(tree.waited)
        key = tree.problem["problem_id"]
        self.n_solved += tree.n_right > 0 and not self.solved.get(key, False)
        self.solved[key] = self.solved.get(key, False) or tree.n_right > 0
        self.seconds = time.monotonic() - self.begin
        self.bar.set_postfix_str(f"{self.n_solved:,} of {len(self.solved):,} solved, {self.speeds()}", refresh=False)
        self.bar.update()
        tree.root = Node(0)  # it is on disk: a million of them would not fit into memory

    def speeds(self) -> str:
        seconds = max(self.seconds, 1e-9)
        shares = ", ".join(f"{what} {share:.0%}" for what, share in self.shares().items())
        return f"{self.n_nodes / seconds:,.0f} nodes/s, {self.n_tokens / seconds:,.0f} tokens/s; {shares}"

    def shares(self) -> dict[str, float]:
        """What trees spent their time on: waiting for model, sandbox, checker or scorer, or with the search itself."""
        total = sum(self.waited.values()) or 1.0
        return {what: seconds / total for what, seconds in self.waited.most_common()}

    def end(self, candidates: Mapping[str, int], executions: Mapping[str, int]) -> None:
        """Closes the bar. `candidates` by what became of them, `executions` by how they ended."""
        self.bar.close()
        self.candidates, self.executions = dict(candidates), dict(executions)

    def summary(self) -> dict[str, Any]:
        return {
            "trees_of_this_start": self.n_trees, "seconds": self.seconds, "shares_of_time": self.shares(),
            "nodes_per_s": self.n_nodes / max(self.seconds, 1e-9),
            "tokens_per_s": self.n_tokens / max(self.seconds, 1e-9),
            "candidates": self.candidates, "executions": self.executions,
        }  # fmt: skip

    def line(self) -> str:
        programs = ", ".join(f"{n:,} {status}" for status, n in sorted(self.executions.items()))
        return f"speed      {self.n_trees:,} trees in {duration(self.seconds)}: {self.speeds()}" + (
            f"\nprograms   {programs}" if programs else ""
        )


def grow(search: Search, trees: Sequence[Tree], stream: Stream, at_once: int, totals: Totals) -> None:
    """Grows the trees, at most so many at once."""
    if trees:
        search.run(trees, stream, min(at_once, len(trees)), totals.add)


def probe(trees: Sequence[Tree], n: int) -> list[Tree]:
    """`n` trees from all over the list."""
    return [trees[i * len(trees) // n] for i in range(n)] if n < len(trees) else list(trees)


def estimate(totals: Totals, n_left: int) -> str:
    """What the trees that are left will cost, by those that are done, with the 95 % interval of the mean."""
    tokens = totals.tokens_per_tree
    mean = sum(tokens) / len(tokens)
    spread = math.sqrt(sum((n - mean) ** 2 for n in tokens) / max(1, len(tokens) - 1) / len(tokens))
    speed = totals.n_tokens / max(totals.seconds, 1e-9)
    low, high = max(0.0, mean - 2 * spread) * n_left, (mean + 2 * spread) * n_left
    return (
        f"estimate   {mean:,.0f} tokens a tree; {n_left:,} trees left: {mean * n_left:,.0f} tokens "
        f"({low:,.0f} to {high:,.0f}), {duration(mean * n_left / max(speed, 1e-9))} at the {speed:,.0f} tokens/s so far"
    )


def duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} seconds"


def write_results(
    output: Path,
    problems: Sequence[Mapping[str, Any]],
    finished: FinishedTrees,
    *,
    top_k: int,
    drop_errors: bool,
    rule: PairRule,
    policy: str,
    policy_hash: str,
    scorer_hash: str | None,
    stage: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes `trees`, `runs`, `samples`, `pairs`, `unsolved` and `manifest.json` below `output`; returns the manifest.

    The trees are read once for each of the first four. `stage`: what their manifests have in common.
    """
    counts: Counter[str] = Counter()
    nodes: Counter[str] = Counter()
    levels: dict[str, Counter[str]] = {}
    left_out: Counter[str] = Counter()
    unsolved: list[dict[str, Any]] = []

    def all_nodes() -> Iterator[dict[str, Any]]:
        for problem in problems:
            trees = finished.of_problem(problem)
            kind = difficulty(trees)
            counts[kind] += 1
            counts["solved"] += kind in ("all right", "mixed")
            if kind not in ("all right", "mixed"):
                unsolved.append({name: problem.get(name) for name in PROBLEM.names} | {"images": []})
            levels.setdefault(str(problem.get("level")), Counter())[kind] += 1
            for tree in trees:
                rows = node_rows(tree)
                nodes.update(node_kind(row) for row in rows[1:])
                yield from rows

    def runs() -> Iterator[dict[str, Any]]:
        for problem in problems:
            yield from (run_row(tree, policy, policy_hash, scorer_hash) for tree in finished.of_problem(problem))

    def samples() -> Iterator[dict[str, Any]]:
        for problem in problems:
            trees = finished.of_problem(problem)
            best, dropped = best_trajectories(trees, top_k, drop_errors)
            left_out.update(dropped)
            yield from (sample_row(tree, node, difficulty(trees)) for tree, node in best)

    def pairs() -> Iterator[dict[str, Any]]:
        for problem in problems:
            for tree in finished.of_problem(problem):
                yield from pair_rows(tree, rule)

    with atomic_folder(output) as folder:
        written = {}
        for name, kind, rows in (
            ("trees", "tree", all_nodes()),
            ("runs", "search_run", runs()),
            ("samples", "sample", samples()),
            ("pairs", "step_pair", pairs()),
            ("unsolved", "problem", unsolved),
        ):
            manifest = write_artefact(folder / name, kind, rows, **stage)
            written[name] = manifest["rows_out"]
            if name == "samples":
                write_json(folder / name / MANIFEST, {**manifest, "right_answers_left_out": dict(left_out)})
        manifest = {
            **manifest, "kind": "search", "rows_in": len(problems), "rows_out": written,
            "problems": {kind: counts[kind] for kind in ("solved", *DIFFICULTIES)},
            "problems_by_level": {level: dict(found) for level, found in sorted(levels.items())},
            "nodes": dict(nodes.most_common()), "right_answers_left_out": dict(left_out),
        }  # fmt: skip
        write_json(folder / MANIFEST, manifest)
    return manifest


def node_kind(row: Mapping[str, Any]) -> str:
    if row["terminal"] == "answer":
        return f"answer {row['verdict']}"
    return row["terminal"] or "step"


def table(manifest: Mapping[str, Any]) -> str:
    """The results as text."""
    problems, rows, n = manifest["problems"], manifest["rows_out"], manifest["rows_in"]
    shown = {name: ", ".join(f"{n:,} {what}" for what, n in manifest[name].items()) or "none"
             for name in ("nodes", "right_answers_left_out")}  # fmt: skip
    by_kind = ", ".join(f"{problems[kind]:,} {kind}" for kind in DIFFICULTIES)
    return "\n".join(
        [
            f"problems   {problems['solved']:,} of {n:,} solved ({problems['solved'] / n:.1%}): {by_kind}",
            f"nodes      {shown['nodes']}",
            f"samples    {rows['samples']:,} verified solutions; right answers left out: "
            f"{shown['right_answers_left_out']}",
            f"pairs      {rows['pairs']:,} step pairs",
        ]
    )
