"""Difficulty bands of problems by their pass rate, and when enough responses have been sampled to know the band."""

from collections.abc import Sequence
from functools import lru_cache

BANDS = ("easy", "medium", "hard", "unsolved")


def check_bounds(bounds: Sequence[float]) -> None:
    """Raises ValueError unless these are the pass rates from which a problem is easy and medium."""
    if len(bounds) != 2 or not 1 >= bounds[0] > bounds[1] > 0:
        raise ValueError(f"--bands {' '.join(map(str, bounds))}: give two falling pass rates, as 0.8 0.4")


def band_of(rate: float, bounds: Sequence[float]) -> str:
    """`easy` or `medium` from these pass rates on, `hard` above 0, `unsolved` if nothing is right.

    A rate `n_right / n` is rounded as the bound itself is, so 4 of 5 are 0.8.
    """
    easy, medium = bounds
    return "easy" if rate >= easy else "medium" if rate >= medium else "hard" if rate > 0 else "unsolved"


def settled(n_right: int, n: int, n_samples: int, bounds: Sequence[float], error: float) -> bool:
    """Whether the band after `n` of `n_samples` responses will be that after all of them, but for a chance of `error`.

    The chance is the posterior predictive one under a uniform prior: how many of the responses to come are right has a
    beta-binomial distribution with parameters 1 + n_right and 1 + n - n_right. So of the problems that stop, if pass
    rates are spread evenly, at most a share `error` would have changed their band, however often one asks; of those
    with a pass rate right at a bound it can be some more. `error` 0 stops only where nothing can change any more. A
    problem without a right response is never settled: only all `n_samples` make it unsolved.
    """
    return _settled(n_right, n, n_samples, tuple(bounds), error)


@lru_cache(maxsize=100_000)
def _settled(n_right: int, n: int, n_samples: int, bounds: tuple[float, ...], error: float) -> bool:
    from scipy.stats import betabinom  # slow to import

    left = n_samples - n
    if left <= 0 or n_right == 0:
        return left <= 0
    now = band_of(n_right / n, bounds)
    staying = [more for more in range(left + 1) if band_of((n_right + more) / n_samples, bounds) == now]
    chance = betabinom(left, 1 + n_right, 1 + n - n_right).pmf(staying).sum()
    return len(staying) == left + 1 or bool(chance >= 1 - error)
