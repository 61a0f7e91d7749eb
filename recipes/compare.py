"""Compares two evaluations of the same problems: the paired difference, and a page with both responses side by side.

Reads two output folders of recipes/evaluate.py (greedy responses, or sampled ones with `--decoding sampled`). Prints
the difference per benchmark with its 95 % interval, paired by problem, and writes one HTML file that needs no network:
which problems were gained and lost, with gold, both answers and both responses.

    python recipes/compare.py                                     # the quickstart's base and its policy
    python recipes/compare.py --a outputs/evaluate_a --b outputs/evaluate_b --output outputs/a_and_b.html
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config


@dataclass
class CompareArguments:
    a: str = field(metadata={"help": "output folder of an evaluation"})
    b: str = field(metadata={"help": "output folder of another one, of the same benchmarks"})
    decoding: Literal["greedy", "sampled"] = field(default="greedy", metadata={"help": "which responses"})
    output: str = field(default="outputs/compare.html", metadata={"help": "the page, written over"})


def main() -> None:
    (args,) = parse_config("compare", __doc__, [CompareArguments])
    from rl.runs import user_errors

    with user_errors():
        compare_runs(args)


def compare_runs(args: CompareArguments) -> None:
    from data_prep.artefacts import read_manifest
    from data_prep.comparison import TITLES, compare, kind_of, page, read_responses

    a, b = read_responses(args.a), read_responses(args.b)
    problems, differences, n_alone = compare(a, b, args.decoding)
    # What makes the two hard to compare.
    first, second = ((read_manifest(folder) or {})["settings"] for folder in (args.a, args.b))
    no_matter = {"model_name_or_path", "output_dir", "batch_size", "concurrency", "general", "greedy"}
    no_matter |= {"n_samples", "temperature", "top_p", "seed"} if args.decoding == "greedy" else set()
    notes = [
        f"{name}: A {first[name]!r}, B {second[name]!r}"
        for name in first
        if name not in no_matter and name in second and first[name] != second[name]
    ]
    notes += [
        f"{name} {x} made A, {y} made B"
        for name, x in (read_manifest(args.a) or {})["libraries"].items()
        if (y := (read_manifest(args.b) or {})["libraries"].get(name)) != x
    ]
    n_golds = sum(problem["a"][0]["answer"] != problem["b"][0]["answer"] for problem in problems)
    notes += [f"{n_golds:,} problems have another gold in B than in A"] if n_golds else []
    notes += [f"{n_alone:,} problems are in one of the two only and left out"] if n_alone else []
    for benchmark, e in differences.items():
        interval = f"{100 * e.low:+.1f} to {100 * e.high:+.1f}"
        print(f"{benchmark}: B - A = {100 * e.mean:+.1f} points ({interval}, {e.n:,} problems, {e.method})")
    kinds = [kind_of(problem) for problem in problems]
    print(", ".join(f"{title}: {kinds.count(kind):,}" for kind, title in TITLES.items()))
    for note in notes:
        print(f"note       {note}")
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(problems, differences, (args.a, args.b), notes), encoding="utf-8")
    print(f"side by side in {output}")


if __name__ == "__main__":
    main()
