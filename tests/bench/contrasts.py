"""Coverage of `contrast_over_seeds`: sums of two and four ways of training, in points and in log-odds.

    python -m tests.bench.contrasts                     # 2,000 studies a cell; half a minute on one core
    python -m tests.bench.contrasts --n_studies 300

Right and wrong answers whose log-odds are the sum of a level of the arm, a problem (standard deviation 1, the same for
all arms), the problem in this arm (0.6), and a seed (0.25 or 0.05). `floor`: the last arm has few right answers. The
arms of `gains` are two trained models and their untrained bases, which are one run each. Coverage of the true contrast
of all problems and seeds in %, and how often the truth lies above and below the interval (2.5 % each wanted).
"""

import argparse
import time
from typing import Any

import numpy as np

from data_prep.statistics import Array, contrast_over_seeds
from tests.bench.common import machine, print_result, print_table

LEVELS = {
    "two arms": ([1.0, 0.0], [1.0, -1.0]),
    "two arms, floor": ([1.0, -3.6], [1.0, -1.0]),
    "2 x 2": ([1.0, 0.0, -0.5, 0.5], [0.5, 0.5, -0.5, -0.5]),
    "gains": ([1.0, -3.6, 0.0, -3.0], [1.0, -1.0, -1.0, 1.0]),
}
ONE_RUN = {"gains": (1, 3)}  # arms without seeds
PROBLEM_SD, OWN_SD = 1.0, 0.6
N_TRUTH = 400_000


def shares(odds: Array) -> Array:
    return 1 / (1 + np.exp(-odds))


def measure(
    kind: str, scale: Any, n_seeds: int, n_problems: int, seed_sd: float, n_studies: int, rng: np.random.Generator
) -> dict[str, Any]:
    levels, weights = LEVELS[kind]
    single = ONE_RUN.get(kind, ())
    # An arm of one run is this very run: its own seed effect belongs to the truth, and is none here.
    spread = [np.sqrt(PROBLEM_SD**2 + OWN_SD**2 + (0 if i in single else seed_sd**2)) for i in range(len(levels))]
    means = [shares(level + sd * rng.standard_normal(N_TRUTH)).mean() for level, sd in zip(levels, spread, strict=True)]
    truth = sum(
        w * (np.log(m / (1 - m)) if scale == "log_odds" else m) for w, m in zip(weights, means, strict=True)
    )  # fmt: skip
    covered = below = 0
    for _ in range(n_studies):
        problems = PROBLEM_SD * rng.standard_normal(n_problems)
        arms = []
        for i, level in enumerate(levels):
            own = problems + OWN_SD * rng.standard_normal(n_problems)
            seeds = np.zeros((1, 1)) if i in single else seed_sd * rng.standard_normal((n_seeds, 1))
            chance = shares(level + own + seeds)
            arms.append((rng.random(chance.shape) < chance).astype(float))
        found = contrast_over_seeds(arms, weights, scale=scale)
        covered += found.low <= truth <= found.high
        below += found.high < truth
    return {
        "arms": kind, "scale": scale, "seeds": n_seeds, "problems": n_problems, "seed_sd": seed_sd,
        "coverage": 100 * covered / n_studies, "below": 100 * below / n_studies,
        "above": 100 * (n_studies - covered - below) / n_studies,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--n_studies", type=int, default=2000, help="simulated studies a cell (%(default)s)")
    args = parser.parse_args()
    begun = time.monotonic()
    rng = np.random.default_rng(0)
    results = [
        measure(kind, scale, n_seeds, n_problems, seed_sd, args.n_studies, rng)
        for kind in LEVELS
        for scale in ("points", "log_odds")
        for n_seeds, n_problems in ((3, 100), (5, 300))
        for seed_sd in (0.05, 0.25)
    ]
    print_table(
        ["arms", "scale", "seeds", "problems", "seed sd", "coverage", "truth above", "truth below"],
        [
            [r["arms"], r["scale"], r["seeds"], r["problems"], r["seed_sd"],
             f"{r['coverage']:.1f}", f"{r['below']:.1f}", f"{r['above']:.1f}"]
            for r in results
        ],
    )  # fmt: skip
    coverage = [r["coverage"] for r in results]
    print_result(
        {"lowest_coverage": min(coverage), "highest_coverage": max(coverage), "cells": results,
         "n_studies": args.n_studies, "seconds": round(time.monotonic() - begun, 1), **machine()}
    )  # fmt: skip


if __name__ == "__main__":
    main()
