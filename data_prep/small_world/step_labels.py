"""Solutions from search trees with the first wrong step of each, in ProcessBench's format.

    python -m data_prep.small_world.step_labels --trees outputs/tiny/generate_mcts --output outputs/step_labels.jsonl

For problems of the small world, whose truth their text gives: code-augmented solutions and thoughts. `evaluate.py
--step_labels` measures a scorer on the file.
"""

import argparse
import json
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from random import Random
from typing import Any

from data_prep.formats import END_THINK
from data_prep.mcts.records import read_trees
from data_prep.mcts.tree import Tree
from data_prep.small_world.code_mistakes import first_mistake
from data_prep.small_world.problems import Problem
from data_prep.small_world.reading import read_problem
from data_prep.small_world.traces import mistakes


def label_of(problem: Problem, steps: Sequence[str]) -> tuple[int | None, str]:
    """Index of the first wrong step, -1 if there is none, None if it cannot be told; and the kind of mistake."""
    text = "".join(steps)
    if END_THINK not in text:
        mistake = first_mistake(problem, steps)
        if mistake is None:
            return -1, ""
        return (None if mistake.kind == "unclear" else mistake.step), mistake.kind
    found = mistakes(problem, text)
    if not found:
        return (None, "unclear") if found is None else (-1, "")
    start = text.find(found[0].text)
    if start < 0:  # what is asked for is missing, or answered otherwise
        return len(steps) - 1, found[0].kind
    return bisect_right(list(accumulate(map(len, steps))), start), found[0].kind


def step_label_rows(trees: Iterable[Tree], most: int, seed: int) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Up to `most` solutions without a wrong step and as many with one of each problem, and what was left out, by
    reason. Trees of one problem stand together.

    Two solutions that are the same up to their first wrong step count once: no scorer could tell them apart there.
    """
    rows: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for problem_id, own in groupby(trees, key=lambda tree: tree.problem["problem_id"]):
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for tree in own:
            problem = read_problem(tree.problem["problem"])
            for answer in tree.answers():
                steps = [node.step + node.output for node in answer.path()]
                label, kind = label_of(problem, steps) if problem else (None, "")
                if label is None:
                    dropped["cannot be told" if problem else "no problem of the small world"] += 1
                    continue
                row = {
                    "id": "",
                    "generator": tree.problem["policy"],
                    "problem": tree.problem["problem"],
                    "steps": steps,
                    "label": label,
                    "final_answer_correct": answer.verdict == "right",
                    "mistake": kind,
                }
                until = tuple(steps if label < 0 else steps[: label + 1])
                if found.setdefault(until, row) is not row:
                    dropped["the same up to the first wrong step"] += 1
        kept: list[dict[str, Any]] = []
        for is_right in (True, False):
            some = [row for row in found.values() if (row["label"] < 0) == is_right]
            kept += some if len(some) <= most else Random(f"{seed}/{problem_id}").sample(some, most)
        dropped[f"beyond {most} of a kind"] += len(found) - len(kept)
        rows += [row | {"id": f"{problem_id}-{i}"} for i, row in enumerate(kept)]
    return rows, +dropped


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes JSONL, whole or not at all. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError(f"{path} exists already: choose another --output or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(unfinished, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--trees", type=Path, required=True, help="folder that generate_mcts.py has written")
    parser.add_argument("--output", type=Path, required=True, help="JSONL file, new")
    parser.add_argument("--most", type=int, default=2, help="solutions of each kind and problem (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among more (%(default)s)")
    args = parser.parse_args()
    try:
        rows, dropped = step_label_rows(read_trees(args.trees), args.most, args.seed)
        if not rows:
            raise ValueError(f"{args.trees}: no solution of a small-world problem with an answer")
        write_lines(args.output, rows)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    n_right = sum(row["label"] < 0 for row in rows)
    n_lucky = sum(row["label"] >= 0 and row["final_answer_correct"] for row in rows)
    kinds = Counter(row["mistake"] for row in rows if row["mistake"])
    print(f"{args.output}: {n_right:,} solutions without a wrong step, {len(rows) - n_right:,} with one, "
          f"{n_lucky:,} of them with a right answer")  # fmt: skip
    print(f"{'mistakes':10} {', '.join(f'{n:,} {kind}' for kind, n in kinds.most_common())}")
    if dropped:
        print(f"{'left out':10} {', '.join(f'{n:,} {why}' for why, n in dropped.most_common())}")


if __name__ == "__main__":
    main()
