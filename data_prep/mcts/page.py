"""A run's trees to look at: one HTML file that needs nothing else, with a chooser of trees, their steps and rollouts.

    python -m data_prep.mcts.page outputs/mcts

Everything is in the page as JSON; `page.js` draws the tree that is looked at. What models have written becomes text
nodes there, nothing else, and the page's content security policy allows that one script and nothing from outside.
"""

import argparse
import base64
import hashlib
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from data_prep.comparison import shortened
from data_prep.mcts.records import read_trees
from data_prep.mcts.trajectories import difficulty
from data_prep.mcts.tree import Node, Tree

OUTCOMES = ("mixed", "all right", "all wrong", "no answer")
# Characters of a text. The first with which the page has less than MAX_BYTES is taken, else the last.
LONGEST = (4000, 1500, 500, 200)
MAX_BYTES = 9_000_000
# What might end the script element that holds the data, cannot be encoded, or makes the file look other than it is.
ESCAPED = re.compile("[<\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def write_page(trees: Iterable[Tree], path: str | Path, title: str = "Search trees", note: str = "") -> None:
    """Writes the page. `note`: which trees these are, of how many. Raises ValueError if there is none."""
    trees = list(trees)
    if not trees:
        raise ValueError("there is no tree to write a page of")
    for longest in LONGEST:
        data = page_data(trees, title, note, longest)
        if len(data.encode()) < MAX_BYTES:
            break
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "POLICY": f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'",
        "TITLE": escape(printable(title)),
        "DATA": data,
        "SCRIPT": script,
    }
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)
    Path(path).write_text(page, encoding="utf-8")


def printable(text: str) -> str:
    """Without what HTML cannot hold (lone surrogates, null bytes) and what cannot be seen."""
    return "".join(c if c.isprintable() else "�" for c in text)


def page_data(trees: Sequence[Tree], title: str, note: str, longest: int) -> str:
    """JSON that can stand in a script element: it has no `<`, so no tag or comment begins in it.

    Texts of steps and outputs stand in `texts` once, as a dropped duplicate is equal to another step.
    """
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(shortened(text, longest), len(texts))

    def node_data(node: Node) -> dict[str, Any]:
        values = {
            "visits": node.visits,
            "value_sum": finite(node.value_sum),
            "prior_score": finite(node.prior_score),
            "terminal": node.terminal,
            "extracted": None if node.extracted is None else shortened(node.extracted, longest),
            "verdict": node.verdict,
            "n_tokens": node.n_tokens,
        }
        return {
            "number": node.number,
            "parent": None if node.parent is None else node.parent.number,
            "step": number(node.step),
            "output": number(node.output),
            **{name: value for name, value in values.items() if value},
            **({"prior_score": 0} if node.prior_score == 0 else {}),
            **({"extracted": ""} if node.extracted == "" else {}),
        }

    def tree_data(tree: Tree) -> dict[str, Any]:
        problem = tree.problem
        return {
            **{name: problem.get(name) for name in ("problem_id", "source", "policy", "choices")},
            "problem": shortened(problem["problem"], longest),
            "answer": None if problem["answer"] is None else shortened(problem["answer"], longest),
            "n_images": len(problem.get("images") or ()),
            "number": tree.number,
            "seed": tree.seed,
            "prompt": shortened(tree.prompt, longest),
            "outcome": difficulty([tree]),
            "stopped": tree.stopped,
            "ended_at": tree.ended_at,
            "n_tokens": tree.n_tokens(),
            "n_executions": tree.n_executions,
            "nodes": [node_data(node) for node in tree.nodes()],
        }

    found = [tree_data(tree) for tree in trees]
    data = {"title": title, "note": note, "trees": found, "texts": list(texts)}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def finite(value: float | None) -> float | None:
    return round(value, 5) if value is not None and math.isfinite(value) else None


def choose(trees: Iterable[Tree], n: int) -> tuple[list[Tree], str]:
    """At most `n` trees: the first with each outcome, as evenly as there are some; and what they are in words."""
    counts: Counter[str] = Counter()
    first: dict[str, list[tuple[int, Tree]]] = {outcome: [] for outcome in OUTCOMES}
    for i, tree in enumerate(trees):
        outcome = difficulty([tree])
        if counts[outcome] < n:
            first[outcome].append((i, tree))
        counts[outcome] += 1
    turns = sorted((turn, i) for i, outcome in enumerate(OUTCOMES) for turn in range(len(first[outcome])))[:n]
    taken = Counter(OUTCOMES[i] for _, i in turns)
    pairs = [pair for outcome in OUTCOMES for pair in first[outcome][: taken[outcome]]]
    chosen = sorted(pairs, key=lambda pair: pair[0])
    some = len(chosen) < counts.total()
    each = ", ".join(f"{f'{taken[o]:,} of ' * some}{counts[o]:,} {o}" for o in OUTCOMES if counts[o])
    many = f"{len(chosen):,} of {counts.total():,} trees" if some else f"all {len(chosen):,} trees"
    return [tree for _, tree in chosen], f"{many}: {each}"


def trees_of(folder: Path, problem_ids: Sequence[str] | None) -> Iterator[Tree]:
    """The trees of a run, or those of some problems. Raises ValueError if one of these has none, or as `read_trees`."""
    missing = set(problem_ids or ())
    for tree in read_trees(folder):
        problem_id = tree.problem["problem_id"]
        if problem_ids is None or problem_id in problem_ids:
            missing.discard(problem_id)
            yield tree
    if missing:
        raise ValueError(f"{folder} holds no tree of the problem {min(missing)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.mcts.page",
        description="Writes one HTML page to look at the trees of a search with.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("folder", type=Path, help="what recipes/generate_mcts.py has written, for example outputs/mcts")
    add("--output", type=Path, help="the page (default: trees.html in the folder)")
    add("--n_trees", type=int, default=20, help="at most so many, some of every outcome (default: %(default)s)")
    add("--problem", nargs="+", metavar="PROBLEM_ID", help="trees of these problems only (default: of all)")
    args = parser.parse_args()
    if args.n_trees < 1:
        parser.error("--n_trees: at least 1")
    args.output = args.output or args.folder / "trees.html"
    return args


def main() -> None:
    args = parse()
    try:
        chosen, note = choose(trees_of(args.folder, args.problem), args.n_trees)
        write_page(chosen, args.output, f"Search trees of {args.folder}", note)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{args.output}: {note}, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
