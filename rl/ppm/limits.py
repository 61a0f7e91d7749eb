"""What holds the PPM of the study back: labels that are wrong, or that are too few?

    python -m rl.ppm.limits --seeds 10 11

After `python -m rl.ppm.study`, in its folder. From a seed's policy PPMs are trained as in the study: with the truth in
the place of the search's values (same trees, same steps), on the trees of all seeds, and on these with the truth. Each
is measured on the seed's held-out trees and on its policy's samples for the hard band. What is finished is kept: the
same command goes on.
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from data_prep.artefacts import library_versions, write_json
from data_prep.mcts.records import read_trees
from data_prep.mcts.tree import Tree
from data_prep.small_world.search_study import train
from data_prep.small_world.step_labels import label_of
from rl.ppm.study import (
    HERE,
    answer_trees,
    first_errors,
    metrics_of,
    strategy_arguments,
    train_model,
    write_trees,
)


def by_the_truth(tree: Tree) -> Tree:
    """The tree with the truth as Q of every visited step: 1 up to the first mistake, -1 from there on.

    An answer is right only if no step before it is wrong. Steps of which it cannot be told count as not visited.
    """
    from data_prep.small_world.reading import read_problem

    tree = deepcopy(tree)
    problem = read_problem(tree.problem["problem"])
    assert problem is not None
    for node in tree.root.subtree():
        if node.parent is None or not node.visits:
            continue
        label, _ = label_of(problem, [step.step + step.output for step in node.path()])
        node.visits, node.value_sum = int(label is not None), {None: 0.0, -1: 1.0}.get(label, -1.0)
        if node.verdict in ("right", "wrong"):
            node.verdict = {None: "unverifiable", -1: "right"}.get(label, "wrong")
    return tree


def in_order(rows: Sequence[dict[str, Any]]) -> float | None:
    """Of two solutions of a problem, one without a mistake and one with: how often the first one's last score is the
    higher one. The mean over problems.
    """
    shares = []
    for _, own in groupby(rows, key=lambda row: row["problem"]):
        some = list(own)
        right = [row["score"] for row in some if row["label"] < 0]
        wrong = [row["score"] for row in some if row["label"] >= 0]
        if right and wrong:
            shares.append(mean((a > b) + (a == b) / 2 for a in right for b in wrong))
    return mean(shares) if shares else None


def measured(
    model: Path, policy: Path, seed: int, setting: dict[str, Any], plan: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """The model on the held-out trees, as the search and as the truth values them, and on samples for the hard band."""
    from data_prep.mcts.strategies import arms_of, score_answers
    from data_prep.small_world.step_labels import step_label_rows
    from rl.ppm.scoring import open_scorer
    from rl.ppm.training import measure

    scorer = open_scorer(str(model), dtype="float32")
    args = strategy_arguments(setting, plan)
    opened, grown, _ = answer_trees(args, ("best_of_n",), seed, setting["n_problems"], policy, scorer, folder)
    flat = [tree for some in grown["best_of_n"] for tree in some]
    scores = score_answers(flat, scorer, args.steps, opened.n_tokens)
    best = next(
        arm for arm in arms_of(args, "best_of_n", grown["best_of_n"], opened.n_tokens, scores)
        if arm.rule == "best by last score" and arm.n == min(8, args.trajectories)
    )  # fmt: skip
    for tree in flat:
        tree.problem["policy"] = str(seed)
    rows, _ = step_label_rows(flat, len(flat), seed)
    for row, own in zip(rows, scorer.score([r["problem"] for r in rows], [r["steps"] for r in rows]), strict=True):
        row["score"] = own[-1]
    some, _ = step_label_rows(flat, 2, seed)
    held_out, truth = metrics_of(model), measure(str(model), [str(folder / "held_out_truth")])
    return {
        "pairs": held_out["n_pairs_trained_on"],
        "pair_accuracy": held_out["pair_accuracy"],
        "pair_accuracy_truth": truth["pair_accuracy"],
        "n_pairs_truth": truth["n_pairs"],
        "hard_solutions_in_order": in_order(rows),
        "best_of_8": mean(best.right),
        "first_error_f1": first_errors(scorer, some)["f1"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--study", type=Path, default=Path("outputs/ppm_study"), help="its folder (%(default)s)")
    parser.add_argument("--setting", default="decide", help="of the study (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: all of the setting")
    parser.add_argument("--report_dir", type=Path, help="where limits.json and limits.md go (default: the folder)")
    args = parser.parse_args()
    plan = yaml.safe_load((HERE / "study.yaml").read_text())
    setting = plan.pop("settings")[args.setting]
    study = (args.study / args.setting).resolve()
    n = plan["data_rollouts"][-1]
    for seed in setting["seeds"]:
        for name, truth in ((f"data-{n}", "truth"), ("held_out", "held_out_truth")):
            if not (study / str(seed) / name / "trees" / "manifest.json").exists():
                raise SystemExit(f"{study / str(seed) / name}: no trees; run python -m rl.ppm.study first, to its end")
            if not (study / str(seed) / truth / "runs" / "manifest.json").exists():
                write_trees([by_the_truth(t) for t in read_trees(study / str(seed) / name)], study / str(seed) / truth)
    data = {
        "the study's": None,
        "its trees, the truth": ["truth"],
        "trees of all seeds": [f"../{seed}/data-{n}" for seed in setting["seeds"]],
        "trees of all seeds, the truth": [f"../{seed}/truth" for seed in setting["seeds"]],
    }
    found: dict[str, dict[str, Any]] = {name: {} for name in data}
    for seed in args.seeds or setting["seeds"]:
        folder = study / str(seed)
        for (name, own), short in zip(data.items(), (f"ppm-{n}", "ppm-truth", "ppm-all", "ppm-all-truth"), strict=True):
            policy = train(seed, setting["n_rows"], folder)
            if own is not None:
                train_model(short, "pairs", policy, [folder / x for x in own], folder / "held_out", seed, folder)
            found[name][str(seed)] = measured(folder / short, policy, seed, setting, plan, folder)
            print(seed, name, found[name][str(seed)], flush=True)
    target = args.report_dir or study
    write_json(target / "limits.json", {"data": found, "setting": args.setting, "libraries": library_versions()})
    (target / "limits.md").write_text(page(found))
    print(page(found))


def page(found: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# What holds the small world's PPM back",
        "",
        "Made by `python -m rl.ppm.limits`; results on the small world, and no more than that. By seed "
        f"({', '.join(next(iter(found.values())))}): held-out pairs in the right order as the search labels them and "
        "as the truth does; of the policy's solutions for problems of the hard band, how often one without a mistake "
        "has a higher last score than one with (50 % is chance); right answers by the best of 8; F1 of finding the "
        "first wrong step.",
        "",
        "| trained on | pairs | in order, search | in order, truth | hard band, in order | best of 8 | F1 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, by_seed in found.items():
        cells = [" / ".join(f"{one['pairs']:,}" for one in by_seed.values())]
        for key in ("pair_accuracy", "pair_accuracy_truth", "hard_solutions_in_order", "best_of_8", "first_error_f1"):
            values = [one[key] for one in by_seed.values()]
            cells.append(" / ".join("-" if value is None else f"{100 * value:.0f} %" for value in values))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
