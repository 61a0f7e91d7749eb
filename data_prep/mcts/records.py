"""Trees as rows, and back."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_prep.mcts.tree import Node, Tree
from data_prep.rows import PROBLEM, RowError, validate


def node_rows(tree: Tree) -> list[dict[str, Any]]:
    """The tree's nodes in the order in which they were made."""
    return [
        {
            "problem_id": tree.problem["problem_id"],
            "tree": tree.number,
            "node": node.number,
            "parent": None if node.parent is None else node.parent.number,
            "step": node.step,
            "output": node.output,
            "visits": node.visits,
            "value_sum": node.value_sum,
            "prior_score": node.prior_score,
            "terminal": node.terminal,
            "extracted": node.extracted,
            "verdict": node.verdict,
            "seed": tree.seed,
            "n_tokens": node.n_tokens,
            "errors": node.errors,
        }
        for node in tree.nodes()
    ]


def run_row(tree: Tree, policy: str, policy_hash: str, scorer_hash: str | None) -> dict[str, Any]:
    return {
        **{name: tree.problem.get(name) for name in (*PROBLEM.names, "choices")},
        "images": [],  # a problem with an image is not searched
        "tree": tree.number,
        "prompt": tree.prompt,
        "seed": tree.seed,
        "policy": policy,
        "policy_hash": policy_hash,
        "scorer_hash": scorer_hash,
        "ended_at": tree.ended_at,
        "stopped": tree.stopped,
        "n_nodes": tree.n_nodes,
        "n_tokens": tree.n_tokens(),
        "n_executions": tree.n_executions,
        "n_right": tree.n_right,
    }


def tree_of(run: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Tree:
    """The tree of a run row and its node rows. Raises RowError if they are not those of one tree."""
    where = f"problem {run.get('problem_id')}, tree {run.get('tree')}"
    if "ended_at" not in run or "n_right" not in run:
        raise RowError(f"{where}: no row of a search run; it has {sorted(run)}")
    tree = Tree(dict(run), run["tree"], run["seed"], run["prompt"], n_nodes=0)
    nodes: dict[int, Node] = {}
    for row in rows:
        validate(row, "tree", f"{where}, node {row.get('node')}")
        parent = None if row["parent"] is None else nodes.get(row["parent"])
        if (parent is None) != (row["node"] == 0) or row["node"] in nodes:
            raise RowError(f"{where}: node {row['node']} has no parent before it, or is there twice")
        node = Node(
            row["node"], parent, 0 if parent is None else parent.depth + 1, row["step"], row["output"],
            row["n_tokens"], row["visits"], row["value_sum"], row["prior_score"], row["terminal"], row["extracted"],
            row["verdict"], row["errors"],
        )  # fmt: skip
        nodes[node.number] = node
        if parent is not None and (node.terminal or "").startswith("dropped"):
            parent.dropped.append(node)
        elif parent is not None:
            parent.children = [*(parent.children or ()), node]
    if 0 not in nodes:
        raise RowError(f"{where}: no root")
    tree.root, tree.n_nodes = nodes[0], run["n_nodes"]
    tree.ended_at, tree.stopped, tree.n_executions = list(run["ended_at"]), run["stopped"], run["n_executions"]
    tree.n_right = run["n_right"]
    return tree


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of an artefact folder, in order."""
    shards = sorted(folder.glob("data-*.parquet"))
    if not shards:
        raise ValueError(f"{folder} holds no data-*.parquet: give the folder that generate_mcts.py has written")
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(4096):
            yield from batch.to_pylist()


def read_trees(folder: str | Path) -> Iterator[Tree]:
    """The trees that `generate_mcts.py` has written into a folder. Raises ValueError, RowError."""
    folder = Path(folder)
    groups = groupby(read_rows(folder / "trees"), key=lambda row: (row["problem_id"], row["tree"]))
    runs = read_rows(folder / "runs")  # in the same order
    for key, rows in groups:
        run = next(runs, {})
        if (run.get("problem_id"), run.get("tree")) != key:
            raise RowError(f"{folder / 'runs'}: no row for problem {key[0]}, tree {key[1]} where it should stand")
        yield tree_of(run, rows)
