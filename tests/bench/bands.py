"""How many responses a difficulty band needs: its error against their number, on real pass rates.

    REDSTAR_DATA=... python -m tests.bench.bands

The pass rates are those of 1,139 problems of MATH and the like during the second half of a reinforcement-learning run
(One-Shot-RLVR, 25 times 8 rollouts a problem), taken for true: they are known to 3.5 points. A band from `n` responses
is that of a binomial draw. `wrong`: share of problems in another band than the true rate's; `two_off`: by more than one
band; for each band the share of the problems called so that belong there (`of_easy`, ...).
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import binom

from data_prep.bands import BANDS, band_of, check_bounds
from tests.bench.common import print_result, print_table

NUMBERS = (1, 2, 4, 8, 16, 32, 64)
POINTS, LAST = 50, 25  # of the run at which each problem was sampled 8 times


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--bands", type=float, nargs=2, default=[0.8, 0.4], help="pass rates of easy and medium")
    return parser.parse_args()


def true_rates(path: Path) -> np.ndarray:
    """Pass rates (n_problems,) of the last points of the run."""
    histories = [json.loads(line)["acc_history"] for line in path.open()]
    return np.array([np.mean(history[LAST:POINTS]) for history in histories if len(history) >= POINTS])


def confusion(rates: np.ndarray, n: int, bounds: Sequence[float]) -> np.ndarray:
    """Expected share of problems by true band and by the band from `n` responses, (4, 4)."""
    called = np.array([BANDS.index(band_of(n_right / n, bounds)) for n_right in range(n + 1)])
    table = np.zeros((len(BANDS), len(BANDS)))
    for rate in rates:
        chances = np.bincount(called, binom.pmf(np.arange(n + 1), n, rate), len(BANDS))
        table[BANDS.index(band_of(rate, bounds))] += chances
    return table / len(rates)


def main() -> None:
    args = parse()
    check_bounds(args.bands)
    if "REDSTAR_DATA" not in os.environ:
        sys.exit("tests.bench.bands needs pass_rates/ below the folder named by $REDSTAR_DATA")
    rates = true_rates(Path(os.environ["REDSTAR_DATA"]) / "pass_rates" / "one_shot_rlvr.jsonl")
    results = []
    for n in NUMBERS:
        table = confusion(rates, n, args.bands)
        apart = np.abs(np.subtract.outer(np.arange(len(BANDS)), np.arange(len(BANDS))))
        of = {
            f"of_{band}": table[i, i] / table[:, i].sum() if table[:, i].sum() else None for i, band in enumerate(BANDS)
        }
        results.append({"n": n, "wrong": table[apart > 0].sum(), "two_off": table[apart > 1].sum(), **of})
    print_table(
        list(results[0]),
        [[row["n"], *("" if value is None else f"{value:.1%}" for value in list(row.values())[1:])] for row in results],
    )
    true = {band: float(np.mean([band_of(rate, args.bands) == band for rate in rates])) for band in BANDS}
    print_result({"bench": "bands", "bounds": args.bands, "n_problems": len(rates), "true": true, "results": results})


if __name__ == "__main__":
    main()
