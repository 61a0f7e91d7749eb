"""From search trees or step pairs to rows that a process reward model is trained on.

A row is a tree of token ids (see rl/ppm/trees.py), cut to what is learnt from it: pairs of steps, values of steps, or
outcomes of solutions. Rows are made once and lie memory-mapped in the cache.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from datasets import Dataset
from tqdm.auto import tqdm

from data_prep.artefacts import atomic_folder, cache_folder, hash_path, read_trained_on, write_json, write_trained_on
from data_prep.benchmarks import as_asked
from data_prep.mcts.pairs import LEAST_EDITS, LEAST_MARGIN, PairRule, pair_rows, path_segments, within_edits
from data_prep.mcts.records import read_trees
from data_prep.mcts.rstar import pair_from_rstar
from data_prep.mcts.tree import Tree
from data_prep.packing import fingerprint
from data_prep.rows import RowError, validate
from data_prep.sources import DatasetConfig, is_local, open_blocks, read_block
from data_prep.tokenization import part_of
from rl.ppm.format import Encoder, Objective, StepFormat
from rl.ppm.trees import StepTree

VERSION = 1  # of the rows in the cache
ROW = pa.schema(
    [
        ("problem_id", pa.string()),
        ("number", pa.int64()),  # of the row
        # Nodes in depth-first order, the prompt first; `ids` are those of all nodes, one after the other.
        ("ids", pa.list_(pa.int32())),
        ("length", pa.list_(pa.int32())),
        ("parent", pa.list_(pa.int32())),
        # Pairs of nodes. `weight`: 1 / (n_pos n_neg) of the group; `final`: of whole solutions; `position`: steps
        # before; `clear`: the official filter keeps it. `group`: number of the group within the row.
        ("chosen", pa.list_(pa.int32())),
        ("rejected", pa.list_(pa.int32())),
        ("weight", pa.list_(pa.float32())),
        ("group", pa.list_(pa.int32())),
        ("final", pa.list_(pa.bool_())),
        ("position", pa.list_(pa.int32())),
        ("clear", pa.list_(pa.bool_())),
        # Nodes with a value: Q of a step, or 1 and 0 for the last step of a right and a wrong solution.
        ("q_node", pa.list_(pa.int32())),
        ("q", pa.list_(pa.float32())),
        ("outcome_node", pa.list_(pa.int32())),
        ("outcome", pa.list_(pa.float32())),
    ]
)


class Rules(NamedTuple):
    """What is made of the data. `learnt`: what rows hold; `max_length`: tokens of a path, `max_tokens`: of a row."""

    learnt: tuple[Objective, ...]
    pair_rule: PairRule
    max_length: int
    max_tokens: int
    part: Literal["all", "train", "eval"] = "all"
    eval_share: float = 0.0


class Item(NamedTuple):
    """Something to be learnt that must not be torn apart: the pairs of a group, or one node's value."""

    nodes: tuple[int, ...]
    columns: tuple[dict[str, Any], ...]


@dataclass
class Problem:
    """What is known of one problem: its tree, and what there is to learn."""

    problem_id: str
    tree: StepTree
    items: list[Item] = field(default_factory=list)


def read_problems(path: str, encoder: Encoder, rules: Rules, counts: Counter[str]) -> Iterator[Problem]:
    """The problems of a folder of `generate_mcts.py` (its trees), or of step pairs (ours, or rStar-Math's records).

    Raises ValueError, RowError.
    """

    def wanted(problem_id: str) -> bool:
        return rules.part in ("all", part_of(problem_id, rules.eval_share))

    if (Path(path) / "trees").is_dir():
        for problem_id, trees in groupby(read_trees(path), key=lambda tree: tree.problem["problem_id"]):
            if wanted(problem_id):
                yield of_trees(problem_id, list(trees), encoder, rules, counts)
    elif "pairs" not in rules.learnt:
        raise ValueError(
            f"{path}: outcomes and values of steps are in trees, not in pairs: give the folder that "
            "recipes/generate_mcts.py has written (with trees/ and runs/ in it)"
        )
    else:
        same = lambda pair: (pair["problem_id"], pair.get("problem"), pair["prompt"])  # noqa: E731
        for (problem_id, _, _), pairs in groupby(read_pairs(path), key=same):
            if wanted(problem_id):
                yield of_pairs(problem_id, list(pairs), encoder, counts)


def read_pairs(path: str) -> Iterator[dict[str, Any]]:
    for block in open_blocks(DatasetConfig(path), kinds=("step_pair",)):
        for where, row in read_block(block):
            pair = pair_from_rstar(row, where) if "pos" in row and "neg" in row else row
            validate(pair, "step_pair", where)
            for name in ("prefix", "chosen", "rejected"):
                if not isinstance(pair[name], list) or not all(isinstance(text, str) for text in pair[name]):
                    raise RowError(f"{where}: column {name!r} should hold a list of texts, the segments of a step")
            if pair["n_pos"] < 1 or pair["n_neg"] < 1:
                raise RowError(f"{where}: n_pos {pair['n_pos']} and n_neg {pair['n_neg']} should be 1 or more")
            yield pair


def add_steps(tree: StepTree, node: int, texts: Iterable[str], encoder: Encoder) -> int:
    """Puts the segments of a solution below a node and returns the last one's number."""
    for text in texts:
        if text:
            node = tree.add(node, text, encoder.ids(text))
    return node


def of_trees(
    problem_id: str, trees: Sequence[Tree], encoder: Encoder, rules: Rules, counts: Counter[str]
) -> Problem:  # fmt: skip
    found = Problem(problem_id, StepTree.begin(encoder.prompt(as_asked(trees[0].problem))))
    pairs = []
    for tree in trees:
        own = list(pair_rows(tree, rules.pair_rule)) if "pairs" in rules.learnt else []
        counts["trees"] += 1
        counts["trees without a pair"] += "pairs" in rules.learnt and not own
        pairs += own
    found.items += pair_items(found.tree, pairs, encoder, counts)
    for tree in trees:
        for node in tree.root.subtree():
            if node.parent is None or not set(rules.learnt) - {"pairs"}:
                continue
            last = add_steps(found.tree, 0, path_segments(node), encoder)
            if "q" in rules.learnt and node.visits:
                found.items.append(Item((last,), ({"q_node": last, "q": node.q},)))
            if "outcome" in rules.learnt and node.verdict in ("right", "wrong"):
                outcome = {"outcome_node": last, "outcome": float(node.verdict == "right")}
                found.items.append(Item((last,), (outcome,)))
    return found


def of_pairs(problem_id: str, pairs: Sequence[Mapping[str, Any]], encoder: Encoder, counts: Counter[str]) -> Problem:
    problem = pairs[0].get("problem")
    prompt = encoder.ids(pairs[0]["prompt"]) if problem is None else encoder.prompt(problem)
    found = Problem(problem_id, StepTree.begin(prompt))
    found.items += pair_items(found.tree, pairs, encoder, counts)
    return found


def pair_items(
    tree: StepTree, pairs: Sequence[Mapping[str, Any]], encoder: Encoder, counts: Counter[str]
) -> Iterator[Item]:
    """The pairs group by group; those whose steps are the same are counted and left out."""
    for _, members in groupby(pairs, key=lambda pair: pair["pair_group"]):
        columns, nodes = [], set()
        for pair in members:
            counts["pairs"] += 1
            before = add_steps(tree, 0, pair["prefix"], encoder)
            chosen = add_steps(tree, before, pair["chosen"], encoder)
            rejected = add_steps(tree, before, pair["rejected"], encoder)
            if before in (chosen, rejected):
                counts["pairs left out: a step without text"] += 1
                continue
            if "".join(pair["chosen"]).strip() == "".join(pair["rejected"]).strip():
                counts["pairs left out: chosen and rejected are the same"] += 1
                continue
            columns.append(
                {
                    "chosen": chosen, "rejected": rejected, "weight": 1 / (pair["n_pos"] * pair["n_neg"]),
                    "final": pair["kind"] == "final", "position": len(pair["prefix"]), "clear": is_clear(pair),
                }
            )  # fmt: skip
            nodes |= {chosen, rejected}
        if columns:
            counts["groups"] += 1
            yield Item(tuple(sorted(nodes)), tuple(columns))


def is_clear(pair: Mapping[str, Any]) -> bool:
    """Whether the last filter of the official code (train/sample_rm_data.py) keeps the pair."""
    q_chosen, q_rejected = pair.get("q_chosen"), pair.get("q_rejected")
    apart = q_chosen is None or q_rejected is None or q_chosen - q_rejected >= LEAST_MARGIN
    return apart and not within_edits("".join(pair["chosen"]), "".join(pair["rejected"]), LEAST_EDITS - 1)


def rows_of(problem: Problem, rules: Rules, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The rows of a problem: one, or several where one would be longer than `max_tokens`."""
    tree = problem.tree
    depth = [0] * len(tree.ids)
    for node, parent in enumerate(tree.parent):
        depth[node] = len(tree.ids[node]) + (depth[parent] if parent >= 0 else 0)
    kept: list[Item] = []
    for item in problem.items:
        if max(depth[node] for node in item.nodes) <= rules.max_length:
            kept.append(item)
            continue
        fitting = [c for c in item.columns if all(depth[n] <= rules.max_length for n in nodes_of(c))]
        counts["targets left out: longer than max_length"] += len(item.columns) - len(fitting)
        if fitting:
            kept.append(Item(tuple({n for c in fitting for n in nodes_of(c)}), tuple(fitting)))
    # Neighbours in the tree share most tokens, so they go into the same row.
    place = {node: i for i, node in enumerate(tree.depth_first(range(len(tree.ids))))}
    kept.sort(key=lambda item: min(place[node] for node in item.nodes))
    chunk: list[Item] = []
    nodes: set[int] = set()
    for item in kept:
        own = {before for node in item.nodes for before in tree.path(node)}
        if chunk and tree.n_tokens(nodes | own) > rules.max_tokens:
            yield row_of(problem, chunk, counts)
            chunk, nodes = [], set()
        chunk.append(item)
        nodes |= own
    if chunk:
        yield row_of(problem, chunk, counts)


def nodes_of(columns: Mapping[str, Any]) -> list[int]:
    return [columns[name] for name in ("chosen", "rejected", "q_node", "outcome_node") if name in columns]


def row_of(problem: Problem, items: Sequence[Item], counts: Counter[str]) -> dict[str, Any]:
    tree = problem.tree
    order = tree.depth_first(node for item in items for node in item.nodes)
    number = {node: i for i, node in enumerate(order)}
    row: dict[str, Any] = {name: [] for name in ROW.names}
    row |= {
        "problem_id": problem.problem_id,
        "number": counts["rows"],
        "ids": [token for node in order for token in tree.ids[node]],
        "length": [len(tree.ids[node]) for node in order],
        "parent": [number.get(tree.parent[node], -1) for node in order],
    }
    for group, item in enumerate(items):
        for columns in item.columns:
            for name, value in columns.items():
                row[name].append(number[value] if name in ("chosen", "rejected", "q_node", "outcome_node") else value)
            if "chosen" in columns:
                row["group"].append(group)
    counts["rows"] += 1
    counts["tokens of the longest row"] = max(counts["tokens of the longest row"], len(row["ids"]))
    counts["tokens"] += len(row["ids"])
    counts["tokens path by path"] += sum(len(path) for path in leaf_paths(row))
    return row


def leaf_paths(row: Mapping[str, Any]) -> list[list[int]]:
    """Of every leaf the indices of the tokens on its path: what one sequence per distinct leaf path would read."""
    starts = [0]
    for length in row["length"]:
        starts.append(starts[-1] + length)
    paths: list[list[int]] = []
    for node, parent in enumerate(row["parent"]):
        before = paths[parent] if parent >= 0 else []
        paths.append(before + list(range(starts[node], starts[node + 1])))
    inner = set(row["parent"])
    return [path for node, path in enumerate(paths) if node not in inner]


@dataclass(frozen=True)
class PpmRows:
    """Rows in the cache. `counts`: what was read, made and left out; `content`: a hash of all that decides them."""

    dataset: Dataset
    trained_on: set[str]
    counts: Counter[str]
    content: str
    found: bool

    def summary(self) -> str:
        c = self.counts
        left_out = [f"{n:,} {what}" for what, n in c.items() if ("left out" in what or "trees without" in what) and n]
        ratio = c["tokens path by path"] / max(1, c["tokens"])
        learnt = [f"{c['pairs']:,} pairs in {c['groups']:,} groups"] * bool(c["pairs"])
        learnt += [f"{c['values']:,} values and outcomes"] * bool(c["values"])
        return (
            f"{c['problems']:,} problems, {', '.join(learnt)}; {c['rows']:,} trees of {c['tokens']:,} tokens "
            f"({c['tokens of the longest row']:,} the longest; {ratio:.1f} times as many path by path)"
            + (f"; {'; '.join(left_out)}" if left_out else "")
        )


def ppm_rows(paths: Sequence[str], tokenizer: Any, step_format: StepFormat, rules: Rules) -> PpmRows:
    """All rows of these folders and files. Call it on one process first: the others then find the rows.

    Raises ValueError if no row is left.
    """
    if not paths:
        raise ValueError("nothing to train on: --data takes folders of generate_mcts.py, step pairs, or rStar's files")
    if missing := [path for path in paths if is_local(path) and not Path(path).exists()]:
        raise FileNotFoundError(f"{missing[0]}: no such file or folder (looked in {Path.cwd()})")
    hashes = [hash_path(path) if is_local(path) else path for path in paths]
    key = json.dumps([VERSION, hashes, fingerprint(tokenizer), step_format.as_dict(), rules._asdict()], sort_keys=True)
    content = hashlib.sha256(key.encode()).hexdigest()[:24]
    folder = cache_folder() / "ppm" / content
    if not (found := folder.exists()):
        write_ppm_rows(folder, paths, Encoder(tokenizer, step_format), rules)
    counts = Counter(json.loads((folder / "counts.json").read_text()))
    dataset = Dataset.from_file(str(folder / "rows.arrow"))
    if len(dataset) == 0:
        told = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing"
        advice = "raise --max_length" if counts["targets left out: longer than max_length"] else (
            "pairs need problems with right and wrong answers, so search harder or other problems"
        )  # fmt: skip
        raise ValueError(f"{', '.join(paths)}: nothing to learn from ({told}): {advice}")
    return PpmRows(dataset, read_trained_on(folder), counts, content, found)


def write_ppm_rows(folder: Path, paths: Sequence[str], encoder: Encoder, rules: Rules) -> None:
    counts: Counter[str] = Counter()
    ids: list[str] = []
    with (
        atomic_folder(folder) as made,
        pa.OSFile(str(made / "rows.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, ROW) as writer,
        tqdm(desc="reading trees", unit=" problems", disable=None) as bar,
    ):
        for path in paths:
            for problem in read_problems(path, encoder, rules, counts):
                bar.update()
                rows = list(rows_of(problem, rules, counts))
                counts["problems"] += bool(rows)
                counts["problems without anything to learn"] += not rows
                counts["values"] += sum(len(row["q"]) + len(row["outcome"]) for row in rows)
                if rows:
                    ids.append(problem.problem_id)
                    writer.write_table(pa.Table.from_pylist(rows, schema=ROW))
        write_trained_on(made, ids)
        write_json(made / "counts.json", counts)
