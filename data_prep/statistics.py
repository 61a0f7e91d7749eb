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
    z = stats.norm.ppf(0.975)
    share = n_right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n, "Wilson, over problems")


def mean_over_problems(values: Sequence[float]) -> Estimate:
    """Mean of one value per problem (such as its share of right samples), Student's t over problems."""
    n = len(values)
    mean = float(np.mean(values)) if n else float("nan")
    if n < 2:
        return Estimate(mean, float("-inf"), float("inf"), n, "t, over problems")
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / sqrt(n))
    return Estimate(mean, mean - half, mean + half, n, "t, over problems")


def pass_at_k(n: int, n_right: int, k: int) -> float:
    """Chance that one of k samples, drawn without replacement from n of which `n_right` are right, is right.

    The unbiased estimator of https://arxiv.org/abs/2107.03374. Raises ValueError for k > n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem, there are {n}")
    return 1.0 - comb(n - n_right, k) / comb(n, k)
