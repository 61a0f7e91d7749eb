"""Every interval and average that the project reports. `low` and `high` are always a 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over `n` units; `method` names how it was found."""

    mean: float
    low: float
    high: float
    n: int
    method: str


def wilson(n_right: int, n: int) -> Estimate:
    """Share of right ones among n independent trials, Wilson's score interval."""
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "Wilson")
    return Estimate(n_right / n, *wilson_interval(n_right / n, n), n, "Wilson, over problems")


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    z = float(stats.norm.ppf(0.975))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_over_problems(shares: Sequence[float], n_draws: int) -> Estimate:
    """Mean of one share between 0 and 1 per problem, such as that of its right samples.

    Wilson's interval for as many independent trials as the variance between problems is worth: at least one a problem,
    at most `n_draws` (the samples behind each share). Unlike Student's t it stays between 0 and 1, and says something
    where all shares are equal (after Korn and Graubard, Survey Methodology 24, 1998).
    """
    n = len(shares)
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "Wilson")
    mean = float(np.mean(shares))
    variance = float(np.var(shares, ddof=1)) if n > 1 else 0.0
    largest = n * max(1, n_draws)
    trials = min(max(n, mean * (1 - mean) * n / variance), largest) if variance > 0 else n
    low, high = wilson_interval(mean, trials)
    return Estimate(mean, low, high, n, "Wilson by the variance between problems")


def pass_at_k(n: int, n_right: int, k: int) -> float:
    """Chance that one of k samples, drawn without replacement from n of which `n_right` are right, is right.

    The unbiased estimator of https://arxiv.org/abs/2107.03374. Raises ValueError for k > n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem, there are {n}")
    return 1.0 - comb(n - n_right, k) / comb(n, k)
