"""What the report of probably mislabelled problems is worth, on the small world, where every gold is known.

    python -m tests.bench.mislabelled --model outputs/quickstart/after     # the quickstart's policy; some minutes

A third of new problems get a wrong gold: another amount of the same problem, as an annotator might confuse. The policy
is sampled by `recipes/distill.py` and the result read by `recipes/curate.py`, once for each share of attempts that has
to agree. `found`: share of the wrong golds that are reported. `false_alarms`: share of the right ones. `precision_5`:
the share of reported problems that are mislabelled, were one gold in twenty wrong.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from data_prep.small_world.problems import BANDS, problems
from data_prep.small_world.samples import problem_row
from data_prep.statistics import wilson
from tests.bench.common import ROOT, machine, print_result, print_table

SHARES = (0.5, 0.75, 1.0)
PLANTED = 3  # one problem in so many


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=Path("outputs/quickstart/after"), help="policy to sample")
    parser.add_argument("--n_problems", type=int, default=720, help="of all bands together")
    parser.add_argument("--n_samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def plant(n: int, seed: int) -> list[dict[str, Any]]:
    """Problem rows of the test wordings with `band` and `true_answer`; every third has another amount as `answer`."""
    rng, rows = Random(seed), []
    for i, problem in enumerate(islice(problems("test", seed), n)):
        row = {**problem_row(problem), "band": problem.band, "true_answer": problem.answer}
        if i // len(BANDS) % PLANTED == 0:
            others = [str(step.value) for step in problem.steps if str(step.value) != problem.answer]
            row["answer"] = rng.choice(others or [str(int(problem.answer) + 1)])
        rows.append(row)
    return rows


def recipe(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True, stdout=sys.stderr)


def main() -> None:
    args, began = parse(), time.perf_counter()
    rows = plant(args.n_problems, args.seed)
    results: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe(
            "recipes/distill.py", "--model_name_or_path", args.model, "--problems", folder / "problems.jsonl",
            "--instruction=", "--n_samples", args.n_samples, "--temperature", args.temperature, "--top_p", 1.0,
            "--max_new_tokens", 700, "--batch_size", 128, "--dtype", "float32", "--seed", args.seed,
            "--output_dir", folder / "responses",
        )  # fmt: skip
        for share in SHARES:
            output = folder / f"curate-{share}"
            recipe(
                "recipes/curate.py", "--inputs", json.dumps({"path": str(folder / "responses")}),
                "--mislabelled_share", share, "--output_dir", output,
            )  # fmt: skip
            report = json.loads((output / "report" / "mislabelled.json").read_text())["problems"]
            results[str(share)] = judged(rows, {row["problem"]: row["majority"] for row in report})
    table = [
        [share, band, f"{of['found']:.1%}", f"{of['found_low']:.1%}-{of['found_high']:.1%}",
         f"{of['majority_is_true']:.1%}", f"{of['false_alarms']:.1%}",
         f"{of['false_alarms_low']:.1%}-{of['false_alarms_high']:.1%}", f"{of['precision_5']:.1%}"]
        for share, bands in results.items() for band, of in bands.items()
    ]  # fmt: skip
    heads = ["agree", "band", "found", "95 %", "of these the true answer", "false alarms", "95 %", "precision at 5 %"]
    print_table(heads, table)
    print_result(
        {"bench": "mislabelled", "n_problems": len(rows), "n_samples": args.n_samples, "temperature": args.temperature,
         "results": results, "seconds": round(time.perf_counter() - began, 1), "machine": machine()}
    )  # fmt: skip


def judged(rows: list[dict[str, Any]], majorities: dict[str, str]) -> dict[str, dict[str, float]]:
    """Rates by band and for all of them. `majorities`: the answer that most agree on, by problem reported."""
    found: dict[str, dict[str, float]] = {}
    for band in ("all", *BANDS):
        n: Counter[str] = Counter()
        for row in rows:
            if band in ("all", row["band"]):
                kind = "planted" if row["answer"] != row["true_answer"] else "right"
                n[kind] += 1
                n[f"{kind} reported"] += row["problem"] in majorities
                n["true majority"] += kind == "planted" and majorities.get(row["problem"]) == row["true_answer"]
        recall = wilson(n["planted reported"], n["planted"])
        alarms = wilson(n["right reported"], n["right"])
        wrong, right = 0.05 * recall.mean, 0.95 * alarms.mean
        found[band] = {
            "planted": n["planted"], "right": n["right"],
            "found": recall.mean, "found_low": recall.low, "found_high": recall.high,
            "majority_is_true": n["true majority"] / max(n["planted reported"], 1),
            "false_alarms": alarms.mean, "false_alarms_low": alarms.low, "false_alarms_high": alarms.high,
            "precision_5": wrong / (wrong + right) if wrong + right else 0.0,
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
