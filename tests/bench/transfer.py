"""How measures of difficulty carry over to each other on real problems: levels, a learned scorer, pass rates of models.

    REDSTAR_DATA=... python -m tests.bench.transfer

SkyThought's evaluations (1,517 problems of MATH500, OlympiadBench, Minerva, AMC23, AIME24): MATH's annotated level, the
linear scorer trained on MATH train and Omni-MATH, the pass rate of all models together (4 to 40 runs), and those of
single models, which are one run a problem. One-Shot-RLVR (1,139 problems of MATH train): the level, and the pass rate
of one model in the second half of its training (200 rollouts).
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.ablation.transfer import Measure, as_text, compare
from data_prep.rows import problem_id
from tests.bench.bands import LAST, POINTS
from tests.bench.common import print_result

MODELS = ("Qwen/Qwen2.5-14B-Instruct", "google/gemma-2-27b-it")


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]


def learned_scores(data: Path, problems: Mapping[str, str]) -> dict[str, float]:
    """Scores of the linear scorer, trained for this as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        asked, scored = Path(folder) / "problems.jsonl", Path(folder) / "scored.jsonl"
        asked.write_text("".join(f"{json.dumps({'problem': text})}\n" for text in problems.values()))
        scorer = [sys.executable, "-m", "data_prep.curation.scorer"]
        sets = [f"math={data}/benchmarks/math_train_7474.jsonl.gz", f"omni={data}/benchmarks/omni_math_4428.jsonl.gz"]
        train = [*scorer, "train", f"{folder}/scorer", *(word for name in sets for word in ("--data", name))]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL)
        score = [*scorer, "score", f"{folder}/scorer", str(asked), str(scored)]
        subprocess.run(score, check=True, stdout=subprocess.DEVNULL)
        return {i: row["score"] for i, row in zip(problems, read(scored), strict=True)}


def main() -> None:
    if "REDSTAR_DATA" not in os.environ:
        sys.exit("tests.bench.transfer needs pass_rates/ and benchmarks/ below the folder named by $REDSTAR_DATA")
    data = Path(os.environ["REDSTAR_DATA"])
    rows = {problem_id(row["problem"]): row for row in read(data / "pass_rates" / "skythought.jsonl.gz")}
    level = Measure("level", {i: float(r["level"]) for i, r in rows.items() if r["level"] is not None}, False)
    scores = Measure("learned score", learned_scores(data, {i: r["problem"] for i, r in rows.items()}), False)
    of_all = Measure("pass rate of all models", {i: r["pass_rate"] for i, r in rows.items()}, True)
    of_one = [
        Measure(f"pass rate of {m}", {i: r["by_model"][m] for i, r in rows.items() if m in r["by_model"]}, True)
        for m in MODELS
    ]
    annotated = {
        problem_id(r["problem"]): float(r["difficulty"]) for r in read(data / "benchmarks" / "math_train_7474.jsonl.gz")
    }
    trained = [r for r in read(data / "pass_rates" / "one_shot_rlvr.jsonl") if len(r["acc_history"]) >= POINTS]
    of_policy = Measure(
        "pass rate during RL",
        {problem_id(r["problem"]): float(np.mean(r["acc_history"][LAST:POINTS])) for r in trained}, True,
    )  # fmt: skip
    math_train = Measure("level of MATH train", {i: v for i, v in annotated.items() if v > 0}, False)
    first, second = of_one
    pairs = [
        (level, of_all),
        (scores, of_all),
        (level, scores),
        (first, of_all),
        (first, second),
        (math_train, of_policy),
    ]
    found = [one for pair in pairs if (one := compare(*pair))]
    print("\n\n".join(map(as_text, found)))
    print_result({f"{one['first']} / {one['second']}": one["rank_correlation"] for one in found})


if __name__ == "__main__":
    main()
