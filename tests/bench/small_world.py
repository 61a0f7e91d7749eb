"""Acceptance of the small world: headroom and kinds of mistakes on the hard band, after Long-CoT SFT.

    python -m tests.bench.small_world                  # the shipped small base; about 10 minutes on 2 cores
    python -m tests.bench.small_world --base outputs/tiny/pretrain_small_world_large

Fine-tunes a shipped base as `recipes/quickstart.py` does, measures it on hard held-out problems with one greedy
response and `--n_samples` at temperature 1, and says of every wrong greedy response what went wrong first:

    slip       a computation is wrong
    misread    another amount, number or operation than the problem says; in the plan: another order of dependence
    carried    not the value that the response itself found before, or not the person whose turn it is by its own plan
    broken     no well-formed trace: cut off, or text that says nothing

`single` is the share of wrong responses with exactly one wrong step; what follows from a wrong step is not counted
again. The world is accepted when hard pass@1 lies between 40 and 70 %, pass@16 at least 15 points above it, and most
wrong responses come from a single wrong step.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_prep.benchmarks import score
from data_prep.small_world import CHECKPOINTS
from data_prep.small_world.problems import problems
from data_prep.small_world.samples import problem_row
from data_prep.small_world.traces import mistakes
from tests.bench.common import ROOT, machine, print_result, print_table


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--base", type=Path, default=CHECKPOINTS / "small", help="model folder of the base")
    parser.add_argument("--band", choices=("easy", "medium", "hard"), default="hard")
    parser.add_argument("--n_train_samples", type=int, default=2200)
    parser.add_argument("--num_train_epochs", type=float, default=1)
    parser.add_argument("--n_problems", type=int, default=100)
    parser.add_argument("--n_samples", type=int, default=16)
    parser.add_argument("--output_dir", type=Path, help="keeps policy and responses here; goes on from what is there")
    return parser.parse_args()


def recipe(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True, stdout=sys.stderr)


def main() -> None:
    args, began = parse(), time.perf_counter()
    with TemporaryDirectory() as temporary:
        folder = (args.output_dir or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        policy, answers, benchmark = folder / "policy", folder / f"responses-{args.band}", folder / f"{args.band}.jsonl"
        if not policy.exists():
            recipe(
                "recipes/sft_longcot.py", "--config", "recipes/configs/tiny/sft_longcot.yaml",
                "--model_name_or_path", args.base, "--output_dir", policy,
                "--datasets", f"{{path: small-world, n_rows: {args.n_train_samples}}}",
                "--num_train_epochs", args.num_train_epochs,
            )  # fmt: skip
        chosen = list(islice(problems("test", bands=(args.band,)), args.n_problems))
        rows = {row["problem_id"]: problem for problem in chosen for row in [problem_row(problem)]}
        benchmark.write_text("".join(json.dumps(problem_row(problem)) + "\n" for problem in chosen))
        if not (answers / "result.json").exists():
            recipe(
                "recipes/evaluate.py", "--config", "recipes/configs/tiny/evaluate.yaml", "--model_name_or_path", policy,
                "--benchmarks", f"small-world={benchmark}", "--n_problems", len(chosen),
                "--n_samples", args.n_samples, "--temperature", 1,
                "--output_dir", answers,
            )  # fmt: skip
        result = json.loads((answers / "result.json").read_text())
        greedy = read_greedy(answers)

    kinds: Counter[str] = Counter()
    n_single = 0
    for response in (row for row in greedy if row["verdict"] != "right"):
        found = mistakes(rows[response["problem_id"]], response["response"])
        n_single += len({mistake.step for mistake in found or []}) == 1
        kinds[found[0].kind if found else "broken"] += 1
    n_wrong = max(1, sum(kinds.values()))
    print_table(["first mistake", "responses", "share"], [[kind, n, n / n_wrong] for kind, n in kinds.most_common()])
    k = f"pass@{args.n_samples}"
    print_result(
        {
            "band": args.band,
            "pass@1_greedy": score(result),
            "pass@1_sampled": score(result, decoding="sampled"),
            k: score(result, metric=k, decoding="sampled"),
            **{f"share_{kind}": n / n_wrong for kind, n in sorted(kinds.items())},
            "share_single": n_single / n_wrong,
            "n_problems": len(chosen),
            "n_wrong": sum(kinds.values()),
            "seconds": time.perf_counter() - began,
            **machine(),
        }
    )


def read_greedy(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows = [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    return [row for row in rows if row["decoding"] == "greedy"]


if __name__ == "__main__":
    main()
