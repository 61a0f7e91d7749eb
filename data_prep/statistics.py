"""Every interval and average that the project reports. `low` and `high` are always a 95 % interval.

Which function answers which question:

    one model, one run, on new problems of the same kind         wilson, mean_over_problems
    two shares of it that are both to be high                    harmonic_mean
    two models (one run each) on the same problems               paired_difference
    a way of training, over its seeds                            mean_over_seeds
    two ways of training, over their seeds                       difference_over_seeds
    a sum of several, each with a weight                         contrast_over_seeds
    does a study find what it set out to find                    verdict
    how many seeds and problems does that take                   power, smallest_n_seeds, spread_of_pilot

The last also from the command line: `python -m data_prep.statistics --help`. docs/statistics.md has the formulae and
the measured coverage. Functions named `*_interval` take many studies at once (leading axes) and check nothing.
"""

import argparse
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, hypot, isfinite, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Problems = Literal["fixed", "sampled"]
Seeds = Literal["separate", "shared"]
Verdict = Literal["holds", "contradicted", "undecided"]
Z = float(stats.norm.ppf(0.975))
MANY_SEEDS = 1000  # where smallest_n_seeds stops looking


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over `n` units; `method` names how it was found.

    The units are problems, or for claims about training runs with different seeds (of both arms; pairs where paired).
    """

    mean: float
    low: float
    high: float
    n: int
    method: str


@dataclass(frozen=True)
class Contrast(Estimate):
    """An estimate with its interval also at the level that several comparisons need, and what it varies by.

    seeds_sd, problems_sd: standard errors of the estimate, by new seeds (and chance in answers), and by new problems.
    """

    simultaneous_low: float
    simultaneous_high: float
    seeds_sd: float
    problems_sd: float

    def power(self, effect: float) -> float:
        """Chance that the simultaneous interval lies on the effect's side of zero, for a true `effect`.

        With the spread that was seen, which a handful of seeds knows roughly. As the error is normal and the half-width
        taken as it is, it is a little higher than `power` of the module, which averages over what it may come out as.
        """
        half = (self.simultaneous_high - self.simultaneous_low) / 2
        error = hypot(self.seeds_sd, self.problems_sd)
        return float(stats.norm.cdf((abs(effect) - half) / error)) if error else float(abs(effect) > half)


@dataclass(frozen=True)
class Spread:
    """Standard deviations behind a difference of two arms, all in the unit of the effect (such as points).

    seed_sd: between the true scores of training runs of one arm on the same problems.
    interaction_sd: between problems, of the true difference of the two arms ("the recipe helps on some problems more").
    residual_sd: of one share (one run, one problem) about what seed and problem lead one to expect: the chance in
        sampling answers, about 100 * sqrt(p (1 - p)) points for one answer with a chance p of being right, smaller by
        the square root of the number of answers; and what a seed does to single problems.
    """

    seed_sd: float
    interaction_sd: float
    residual_sd: float


# One run of each model: problems are the unit.


def wilson(n_right: int, n: int) -> Estimate:
    """Share of right ones among n independent trials, Wilson's score interval (see `wilson_interval`)."""
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "Wilson")
    low, high = wilson_interval(n_right / n, n)
    return Estimate(n_right / n, float(low), float(high), n, "Wilson, over problems")


def wilson_interval(share: ArrayLike, n: ArrayLike) -> tuple[Array, Array]:
    """Wilson's score interval of shares (...) among as many independent trials (...), whole or not.

    With a handful of right (or wrong) ones the end near 0 (or 1) is moved out to the exact one-sided 95 % bound, where
    Wilson's own covers down to 83 % (Brown, Cai and DasGupta, Statistical Science 16, 2001, section 4.1.1). Elsewhere
    that bound lies further in and nothing changes.
    """
    share, n = np.asarray(share, float), np.asarray(n, float)
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    right, wrong = share * n, (1 - share) * n
    lowest = np.where(right > 0, stats.beta.ppf(0.05, np.maximum(right, 1e-9), wrong + 1), 0.0)
    highest = np.where(wrong > 0, stats.beta.ppf(0.95, right + 1, np.maximum(wrong, 1e-9)), 1.0)
    low, high = np.minimum(centre - half, lowest), np.maximum(centre + half, highest)
    return np.maximum(0.0, low), np.minimum(1.0, high)


def harmonic_mean(right_a: int, n_a: int, right_b: int, n_b: int) -> Estimate:
    """Harmonic mean of two shares among independent trials, such as the F1 of step-label benchmarks.

    The interval is that of 20,000 draws (always the same) of both shares from Jeffreys' posterior, Beta(right + 1/2,
    wrong + 1/2). Unlike a bootstrap of the trials it has a width where all, or none, are right.
    """
    if n_a == 0 or n_b == 0:
        return Estimate(float("nan"), 0.0, 1.0, n_a + n_b, "Jeffreys")
    rng = np.random.default_rng(0)
    a, b = (rng.beta(right + 0.5, n - right + 0.5, 20_000) for right, n in ((right_a, n_a), (right_b, n_b)))
    low, high = np.quantile(2 * a * b / (a + b), (0.025, 0.975))
    mean = 2 * right_a * right_b / (right_a * n_b + right_b * n_a) if right_a or right_b else 0.0
    method = "Jeffreys, of both shares, over solutions"
    return Estimate(mean, min(float(low), mean), max(float(high), mean), n_a + n_b, method)


def mean_over_problems(shares: Sequence[float], n_draws: int) -> Estimate:
    """Mean of one share between 0 and 1 per problem, such as that of its right samples.

    Wilson's interval for as many independent trials as the variance between problems is worth: at least one a problem,
    at most `n_draws` (the samples behind each share). Unlike Student's t it stays between 0 and 1, and says something
    where all shares are equal (after Korn and Graubard, Survey Methodology 24, 1998, with their factor for the degrees
    of freedom of the variance). Where few problems are partly right or partly wrong their variance is a poor guide,
    and one imaginary problem that is all or nothing is added, with a weight that falls as they become more.
    """
    n = len(shares)
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0, "Wilson")
    values = np.asarray(shares, float)
    low, high = problems_interval(values, n_draws)
    return Estimate(float(values.mean()), float(low), float(high), n, "Wilson by the variance between problems")


def problems_interval(shares: Array, n_draws: int) -> tuple[Array, Array]:
    """`mean_over_problems` of shares (..., n_problems)."""
    n = shares.shape[-1]
    mean = shares.mean(-1)
    if n == 1:
        return wilson_interval(mean, 1)
    binary = n * mean * (1 - mean)  # what the sum of squares would be if all shares were 0 or 1
    imaginary = 1 / (1 + binary) ** 2
    freedom = (stats.t.ppf(0.975, n - 1) / Z) ** 2
    inflation = freedom * (n * shares.var(-1, ddof=1) + imaginary) / (binary + imaginary)
    return wilson_interval(mean, n / np.clip(inflation, 1 / max(1, n_draws), 1.0))


def paired_difference(a: Sequence[float] | Array, b: Sequence[float] | Array) -> Estimate:
    """Mean of a - b over problems, for one share between 0 and 1 per problem and model, the same problems in order.

    The normal interval after adding two imaginary problems, one in favour of each model, whose difference is as large
    as differences here typically are: s = (sum d^2 + w) / (sum |d| + w). For shares of 0 and 1, s = 1 and this is the
    interval of Bonett and Price for paired proportions (Journal of Educational and Behavioral Statistics 37, 2012).
    w = 1 / (1 + sum |d|)^2: while few problems differ, a difference may be anything up to 1. So it is never of zero
    width. It says what to expect on new problems of the same kind from these two models, and nothing about other
    seeds of their training. It is too short (90 % measured) where a handful of problems differ much and all others
    hardly at all: then look at those.

    Raises ValueError for different numbers of problems, none, and shares that are NaN or outside 0 to 1.
    """
    first, second = _shares("a", a, 1), _shares("b", b, 1)
    if first.shape != second.shape:
        raise ValueError(
            f"a has {first.size} problems and b has {second.size}: give shares of the same problems, in the same order"
        )
    differences = first - second
    low, high = paired_interval(differences)
    method = "adjusted Wald (Bonett and Price), paired by problem"
    return Estimate(float(differences.mean()), float(low), float(high), differences.size, method)


def paired_interval(differences: Array, level: float = 0.95) -> tuple[Array, Array]:
    """`paired_difference` of differences (..., n_problems)."""
    n = differences.shape[-1]
    z = Z if level == 0.95 else float(stats.norm.ppf((1 + level) / 2))
    sizes, squares = np.abs(differences).sum(-1), (differences**2).sum(-1)
    weight = 1 / (1 + sizes) ** 2
    typical = (squares + weight) / (sizes + weight)
    centre = differences.sum(-1) / (n + 2)
    half = z * np.sqrt(((squares + 2 * typical**2) / (n + 2) - centre**2) / (n + 2))
    return np.maximum(-1.0, centre - half), np.minimum(1.0, centre + half)


def pass_at_k(n: int, n_right: int, k: int) -> float:
    """Chance that one of k samples, drawn without replacement from n of which `n_right` are right, is right.

    The unbiased estimator of https://arxiv.org/abs/2107.03374. Raises ValueError for k > n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem, there are {n}")
    return 1.0 - comb(n - n_right, k) / comb(n, k)


# Claims about training: runs with different seeds are the unit.


def mean_over_seeds(shares: Sequence[Sequence[float]] | Array, *, problems: Problems, n_draws: int = 1) -> Estimate:
    """Mean score of a way of training. shares: (n_seeds, n_problems), between 0 and 1, each row one training run.

    problems="fixed": on this very benchmark, over new seeds. Student's t of the runs' means, n_seeds - 1 degrees of
        freedom.
    problems="sampled": over new seeds and new problems of the same kind (crossed random effects). The distances of two
        intervals from the mean are squared and added (Zou and Donner, Statistics in Medicine 27, 2008): t over the
        seeds, for what the runs differ by beyond the residual, and `mean_over_problems` of the problems' means over
        runs. Never narrower than the fixed one.

    n_draws: samples behind each share. The interval reaches at least as far as Wilson's for no right one among
    n_seeds * n_problems * n_draws samples, since a few runs can agree by chance. With two seeds t is 12.7 and the
    interval says little; take at least three.

    Raises ValueError for one seed, for a single problem where they are sampled, and for shares that are NaN or outside
    0 to 1.
    """
    runs = _runs("shares", shares, problems)
    low, high = mean_over_seeds_interval(runs, problems, n_draws)
    n_seeds, n_problems = runs.shape
    method = (
        f"t over {n_seeds} seeds, {n_problems} problems fixed"
        if problems == "fixed"
        else f"t over {n_seeds} seeds and Wilson over {n_problems} sampled problems, squared and added"
    )
    return Estimate(float(runs.mean()), float(low), float(high), n_seeds, method)


def mean_over_seeds_interval(shares: Array, problems: Problems, n_draws: int = 1) -> tuple[Array, Array]:
    """`mean_over_seeds` of shares (..., n_seeds, n_problems)."""
    per_problem = problems_interval(shares.mean(-2), shares.shape[-2] * n_draws) if problems == "sampled" else None
    low, high = _seeds_interval([shares], shares.mean((-2, -1)), _least(shares, n_draws), per_problem)
    return np.maximum(0.0, low), np.minimum(1.0, high)


def difference_over_seeds(
    a: Sequence[Sequence[float]] | Array,
    b: Sequence[Sequence[float]] | Array,
    *,
    problems: Problems,
    seeds: Seeds = "separate",
    n_draws: int = 1,
) -> Estimate:
    """Mean of a - b, two ways of training. a, b: (n_seeds, n_problems), the same problems in the same order.

    seeds="separate": the runs of a and b have nothing in common; Welch's t. For different numbers of seeds its degrees
        of freedom are at most those of two arms of the smaller number, without which two runs that agree by chance
        make the interval too short (2 against 10 seeds: 90 % coverage, with it 97 %). Equal numbers are best.
    seeds="shared": row i of a and of b share a seed (order of data, start); t of the differences, n_seeds - 1 degrees
        of freedom. Worth it only where sharing makes the runs alike: it has half the degrees of freedom.
    problems, n_draws: as for `mean_over_seeds`; with sampled problems `paired_difference` of the problems' means over
        runs takes the place of `mean_over_problems`.

    Raises ValueError for one seed in an arm, different problems, different numbers of shared seeds, a single problem
    where they are sampled, and shares that are NaN or outside 0 to 1.
    """
    first, second = _runs("a", a, problems), _runs("b", b, problems)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"a has {first.shape[1]} problems and b has {second.shape[1]}: "
            "give shares of the same problems, in the same order, for all runs"
        )
    if seeds not in ("separate", "shared"):
        raise ValueError(f"seeds is 'separate' or 'shared', not {seeds!r}")
    if seeds == "shared" and len(first) != len(second):
        raise ValueError(
            f"a has {len(first)} runs and b has {len(second)}: shared seeds come in pairs; or seeds='separate'"
        )
    low, high = difference_over_seeds_interval(first, second, problems, seeds, n_draws)
    n_problems = first.shape[1]
    over = (
        f"t over {len(first)} pairs of seeds"
        if seeds == "shared"
        else f"Welch's t over {len(first)} and {len(second)} seeds"
    )
    method = (
        f"{over}, {n_problems} problems fixed"
        if problems == "fixed"
        else f"{over} and adjusted Wald over {n_problems} sampled problems, squared and added"
    )
    n = len(first) if seeds == "shared" else len(first) + len(second)
    return Estimate(float(first.mean() - second.mean()), float(low), float(high), n, method)


def difference_over_seeds_interval(
    a: Array, b: Array, problems: Problems, seeds: Seeds = "separate", n_draws: int = 1
) -> tuple[Array, Array]:
    """`difference_over_seeds` of a and b (..., n_seeds, n_problems)."""
    per_problem = paired_interval(a.mean(-2) - b.mean(-2)) if problems == "sampled" else None
    mean = a.mean((-2, -1)) - b.mean((-2, -1))
    least = hypot(_least(a, n_draws), _least(b, n_draws))
    low, high = _seeds_interval([a - b] if seeds == "shared" else [a, b], mean, least, per_problem)
    return np.maximum(-1.0, low), np.minimum(1.0, high)


def contrast_over_seeds(
    arms: Sequence[ArrayLike],
    weights: Sequence[float],
    *,
    scale: Literal["points", "log_odds"] = "points",
    seeds: Seeds = "separate",
    n_comparisons: int = 1,
    n_draws: int = 1,
) -> Contrast:
    """Weighted sum of the scores of several ways of training, over new seeds and new problems of the same kind.

    arms: each (n_seeds, n_problems), the same problems in the same order; an arm of one run is taken as it is, such as
        the untrained model that others are compared with. weights: (n_arms,), as (1, -1) for a difference, which then
        is `difference_over_seeds` with sampled problems, or (1, -1, -1, 1) for one of gains.
    scale: points sums shares; log_odds sums log(p / (1 - p)) of the arms' mean shares p, half an answer added on either
        side, and its interval is the one of points with each arm weighted by 1 / (p (1 - p)) (delta method). It asks
        whether odds are multiplied by more, so that an arm near 0 or 1 is not held to have gained less.
    seeds: as for `difference_over_seeds`. Separate ones take the arms for independent, which is on the safe side where
        what they share (a seed, samples) moves two arms of opposite weights alike, and not where it moves two of the
        same sign: for more than two arms with the same seeds take "shared", t of the weighted sums of each seed.
    n_comparisons: claims that are corrected for together; the simultaneous interval is that at 1 - 0.05 / n.
    n_draws: as for `mean_over_seeds`.

    Raises ValueError where arms and weights do not fit each other, no arm has two seeds, and as
    `difference_over_seeds` does.
    """
    runs = [_shares(f"arms[{i}]", arm, 2) for i, arm in enumerate(arms)]
    if len(runs) != len(weights) or not runs:
        raise ValueError(f"{len(runs)} arms and {len(weights)} weights: give one weight for each arm")
    if len({arm.shape[1] for arm in runs}) > 1 or runs[0].shape[1] < 2:
        raise ValueError(f"arms have {[arm.shape[1] for arm in runs]} problems: give the same ones, at least two")
    over_seeds = [i for i, arm in enumerate(runs) if len(arm) > 1]
    if not over_seeds:
        raise ValueError("every arm holds one run: a claim about training needs at least two seeds (better five)")
    if seeds == "shared" and len({len(runs[i]) for i in over_seeds}) > 1:
        raise ValueError(f"arms have {[len(arm) for arm in runs]} runs: shared seeds come in all; or seeds='separate'")
    n_problems = runs[0].shape[1]
    shares = [(arm.mean() * arm.size * n_draws + 0.5) / (arm.size * n_draws + 1) for arm in runs]
    slopes = [1 / (p * (1 - p)) if scale == "log_odds" else 1.0 for p in shares]
    steep = [w * slope for w, slope in zip(weights, slopes, strict=True)]
    mean = float(
        sum(w * (np.log(p / (1 - p)) if scale == "log_odds" else arm.mean())
            for w, p, arm in zip(weights, shares, runs, strict=True))
    )  # fmt: skip
    scaled = [steep[i] * runs[i] for i in over_seeds]
    if seeds == "shared":
        scaled = [np.sum(scaled, axis=0)]
    least = float(np.sqrt(sum((steep[i] * _least(runs[i], n_draws)) ** 2 for i in over_seeds)))
    per_problem = np.sum([w * arm.mean(0) for w, arm in zip(steep, runs, strict=True)], axis=0)
    widest = max(sum(w for w in steep if w > 0), -sum(w for w in steep if w < 0))  # per_problem / widest is in [-1, 1]

    def interval(level: float) -> tuple[float, float]:
        low, high = paired_interval(per_problem / widest, level)
        shift = mean - float(per_problem.mean())  # on log odds the middle is not that of the linear sum
        of_problems = low * widest + shift, high * widest + shift
        ends = np.array(_seeds_interval(scaled, np.asarray(mean), least, of_problems, level))
        if scale == "points":  # more than all is none
            ends = np.clip(ends, sum(w for w in steep if w < 0), sum(w for w in steep if w > 0))
        return float(ends[0]), float(ends[1])

    low, high = interval(0.95)
    variance = sum(float(arm.mean(-1).var(ddof=1)) / len(arm) for arm in scaled)
    residual = sum(float(_residual_variance(arm)) / arm.size for arm in scaled)
    of_problems = float(per_problem.var(ddof=1)) / n_problems
    over = " and ".join(str(len(arm)) for arm in scaled) + (" shared seeds" if seeds == "shared" else " seeds")
    method = (
        f"t over {over} and adjusted Wald over {n_problems} "
        f"sampled problems, squared and added{', delta method' if scale == 'log_odds' else ''}"
    )
    return Contrast(
        mean, low, high, sum(len(runs[i]) for i in over_seeds), method,
        *interval(1 - 0.05 / n_comparisons),
        seeds_sd=sqrt(variance), problems_sd=sqrt(max(0.0, of_problems - residual)),
    )  # fmt: skip


def _seeds_interval(
    arms: list[Array], mean: Array, least: float, per_problem: tuple[Array, Array] | None, level: float = 0.95
) -> tuple[Array, Array]:
    """Interval about mean (...) from independent arms (..., n_seeds, n_problems), before it is cut to its range.

    least: smallest half-width. per_problem: the interval over problems, none where they are fixed.
    """
    variances = [arm.mean(-1).var(-1, ddof=1) / arm.shape[-2] for arm in arms]
    variance = np.sum(variances, axis=0)
    spent = np.sum([v**2 / (arm.shape[-2] - 1) for v, arm in zip(variances, arms, strict=True)], axis=0)
    fewest = min(arm.shape[-2] for arm in arms) - 1
    welch = np.where(spent > 0, variance**2 / np.where(spent > 0, spent, 1.0), fewest)
    freedom = np.minimum(welch, len(arms) * fewest)  # n_seeds - 1 for one arm; two equal ones never reach the limit
    t = stats.t.ppf((1 + level) / 2, freedom)
    fixed = np.maximum(t * np.sqrt(variance), least)
    if per_problem is None:
        return mean - fixed, mean + fixed
    residual = np.sum([_residual_variance(arm) / (arm.shape[-2] * arm.shape[-1]) for arm in arms], axis=0)
    # The means of the problems over runs hold the residual already: here it is taken out. `fixed` keeps it all.
    of_seeds = t * np.sqrt(np.maximum(variance - residual, 0.0))
    low, high = per_problem
    return (
        mean - np.maximum(np.hypot(of_seeds, mean - low), fixed),
        mean + np.maximum(np.hypot(of_seeds, high - mean), fixed),
    )


def _residual_variance(arm: Array) -> Array:
    """Mean square of the residual of a crossed layout (..., n_seeds, n_problems), one share per cell."""
    n_seeds, n_problems = arm.shape[-2:]
    residual = arm - arm.mean(-1, keepdims=True) - arm.mean(-2, keepdims=True) + arm.mean((-2, -1), keepdims=True)
    return (residual**2).sum((-2, -1)) / ((n_seeds - 1) * (n_problems - 1))


def _least(shares: Array, n_draws: int) -> float:
    """Length of Wilson's interval for none (or all) right among all samples of an arm."""
    return Z**2 / (shares.shape[-2] * shares.shape[-1] * n_draws + Z**2)


def _runs(name: str, values: ArrayLike, problems: str) -> Array:
    if problems not in ("fixed", "sampled"):
        raise ValueError(f"problems is 'fixed' or 'sampled', not {problems!r}")
    shares = _shares(name, values, 2)
    if len(shares) < 2:
        raise ValueError(
            f"{name} holds one run: a claim about training needs at least two seeds (better five). "
            "For the models as they are, compare single runs by paired_difference"
        )
    if problems == "sampled" and shares.shape[1] < 2:
        raise ValueError(f"{name} has one problem: an interval for new problems needs more")
    return shares


def _shares(name: str, values: ArrayLike, n_axes: int) -> Array:
    form = (
        "one share per problem" if n_axes == 1 else "an array (n_seeds, n_problems) with the same problems in all runs"
    )
    try:
        shares = np.asarray(values, float)
    except ValueError as error:
        raise ValueError(f"{name} is {form}; rows of different lengths, or no numbers, were given") from error
    if shares.ndim != n_axes or shares.size == 0:
        raise ValueError(f"{name} is {form}; the shape {shares.shape} was given")
    if np.isnan(shares).any():
        raise ValueError(f"{name} holds {int(np.isnan(shares).sum())} NaN: every run needs a share for every problem")
    if shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"{name} ranges from {shares.min():g} to {shares.max():g}: shares lie between 0 and 1")
    return shares


# Studies: verdicts, and how large a study has to be.


def verdict(estimate: Estimate, smallest_effect: float) -> Verdict:
    """Whether a study finds the effect it set out to find, of at least `smallest_effect` (in the estimate's unit).

    The sign of `smallest_effect` is the direction that the hypothesis names. Seen in that direction, with the
    interval from low to high:

    contradicted: high < smallest effect. Every effect of interest is excluded; what the interval holds has the other
        sign, is nothing, or is too small to care about, even where it differs from zero.
    holds: low > 0, and high >= smallest effect. There is an effect in the named direction, and one of interest is not
        excluded. (That it is at least the smallest effect of interest is not shown: for that the interval would have
        to lie beyond it, which a study of an effect of just this size succeeds in once in forty times.)
    undecided: all else. The interval holds both no effect and one of interest; report it with `power`.

    So with a true effect of zero or the other sign `holds` comes out at most once in forty times (2.5 %, one side of a
    95 % interval), and with a true effect of interest `contradicted` does. For a true effect between the two both
    are right in what they say. `power` is the chance of low > 0, so that of `holds` is at most 2.5 points below it.

    Raises ValueError where `smallest_effect` is zero or not finite, or the interval is NaN.
    """
    if smallest_effect == 0 or not isfinite(smallest_effect):
        raise ValueError(
            f"the smallest effect of interest is {smallest_effect}: it needs a size and, by its sign, a side"
        )
    low, high = (estimate.low, estimate.high) if smallest_effect > 0 else (-estimate.high, -estimate.low)
    if not low <= high:
        raise ValueError(f"no interval: {estimate}")
    if high < abs(smallest_effect):
        return "contradicted"
    return "holds" if low > 0 else "undecided"


def power(effect: float, n_seeds: int, n_problems: int, spread: Spread, *, problems: Problems) -> float:
    """Chance that `difference_over_seeds` (separate seeds) lies on the effect's side of zero, for a true `effect`.

    n_seeds: runs of each arm. The difference is normal with the variance

        2 seed_sd^2 / n_seeds + 2 residual_sd^2 / (n_seeds n_problems) [+ interaction_sd^2 / n_problems, if sampled],

    and the chance is averaged over what the two arms' variances between runs may come out as (chi-squared), each with
    the half-width that the interval then has. The usual noncentral t with 2 (n_seeds - 1) degrees of freedom is that of
    the pooled t test; Welch's has fewer at few seeds, and it would promise 31 % where the interval reaches 15 % (two
    seeds) or 65 for 55 % (three). What this does not know is how small differences of right and wrong come in steps:
    with under about ten answers that differ, expect less.

    Raises ValueError for fewer than two seeds, no problem, and standard deviations that are negative or all zero.
    """
    _check_plan(n_seeds, n_problems, spread, problems)
    of_residual = 2 * spread.residual_sd**2 / (n_seeds * n_problems)
    of_runs = 2 * spread.seed_sd**2 / n_seeds + of_residual
    of_problems = spread.interaction_sd**2 / n_problems if problems == "sampled" else 0.0
    if of_runs + of_problems == 0:
        raise ValueError("all standard deviations are zero: nothing varies, one run shows it")
    quantiles = stats.chi2.ppf((np.arange(100) + 0.5) / 100, n_seeds - 1) / (n_seeds - 1)
    a, b = np.meshgrid(quantiles, quantiles)  # the arms' variances between runs, in units of the true one
    t = stats.t.ppf(0.975, (n_seeds - 1) * (a + b) ** 2 / (a**2 + b**2))
    variance = of_runs * (a + b) / 2
    half = t * np.sqrt(variance)
    if problems == "sampled":
        of_seeds = t * np.sqrt(np.maximum(variance - of_residual, 0.0))
        half = np.maximum(half, np.hypot(of_seeds, Z * sqrt(of_problems + of_residual)))
    return float(stats.norm.cdf((abs(effect) - half) / sqrt(of_runs + of_problems)).mean())


def smallest_n_seeds(
    effect: float, n_problems: int, spread: Spread, *, problems: Problems, wanted: float = 0.8
) -> int | None:
    """Fewest seeds per arm with at least the `power` that is wanted. None where 1,000 are not enough.

    That happens with sampled problems: their number bounds what any number of seeds can show. Raises ValueError as
    `power` does, and for a wanted power outside 0 to 1 or an effect of zero.
    """
    if effect == 0 or not isfinite(effect) or not 0 < wanted < 1:
        raise ValueError("give an effect other than zero and a power between 0 and 1")
    seeds = range(2, MANY_SEEDS + 1)
    place = bisect_left(seeds, wanted, key=lambda n: power(effect, n, n_problems, spread, problems=problems))
    return seeds[place] if place < len(seeds) else None


def spread_of_pilot(a: Sequence[Sequence[float]] | Array, b: Sequence[Sequence[float]] | Array) -> Spread:
    """Standard deviations for `power` from a pilot: a, b (n_seeds, n_problems), separate seeds, the same problems.

    Variance components by analysis of variance (expected mean squares), those of seeds and of the residual pooled over
    the arms, negative ones set to zero; in shares, so multiply by 100 for points. Standard deviations between three or
    five seeds are themselves vague: plan with the upper half of what is believable.

    Raises ValueError as `difference_over_seeds` does.
    """
    first, second = _runs("a", a, "sampled"), _runs("b", b, "sampled")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"a has {first.shape[1]} problems and b has {second.shape[1]}: give the same problems")
    n_problems = first.shape[1]
    free = np.array([len(arm) - 1 for arm in (first, second)])
    residuals = np.array([float(_residual_variance(arm)) for arm in (first, second)])
    of_means = np.array([float(arm.mean(1).var(ddof=1)) for arm in (first, second)])
    residual = float((free * residuals).sum() / free.sum())
    seed = float((free * (of_means - residuals / n_problems)).sum() / free.sum())
    per_problem = float((first.mean(0) - second.mean(0)).var(ddof=1))
    interaction = per_problem - float((residuals / (free + 1)).sum())
    return Spread(sqrt(max(0.0, seed)), sqrt(max(0.0, interaction)), sqrt(residual))


def _check_plan(n_seeds: int, n_problems: int, spread: Spread, problems: str) -> None:
    if problems not in ("fixed", "sampled"):
        raise ValueError(f"problems is 'fixed' or 'sampled', not {problems!r}")
    if n_seeds < 2 or n_problems < 1:
        raise ValueError(f"{n_seeds} seeds and {n_problems} problems: needs at least two seeds and one problem")
    for name in ("seed_sd", "interaction_sd", "residual_sd"):
        value = getattr(spread, name)
        if not (value >= 0 and isfinite(value)):
            raise ValueError(f"{name} is {value}: a standard deviation is not negative")


HELP = """How many seeds and problems does it take to see a difference of two ways of training?

A score moves for three reasons: the seed (another run of the same recipe), the problems (a recipe helps on some more
than on others), and chance in every answer. More seeds help against the first and the last, more problems against
the last two. Two arms of n seeds on P problems have a difference with the variance

    2 seed_sd^2 / n  +  2 residual_sd^2 / (n P)  [ +  interaction_sd^2 / P ]

where the part in brackets counts only if the claim is about new problems of the same kind (problems sampled), not
about this very benchmark (problems fixed). The tables show the power: the chance that the 95 % interval of
difference_over_seeds excludes zero on the right side, if the effect is as large as you say. Under 80 % a study that
finds nothing says little, and one that finds something overstates it.

Where the standard deviations come from: a pilot of three or more seeds per arm and spread_of_pilot(a, b); in points,
the residual of one answer per problem is about 100 sqrt(p (1 - p)), 30 to 45, and with k answers smaller by sqrt(k).
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.statistics",
        description=HELP,
        epilog="example: three points, runs that differ by one point, eight answers a problem:\n"
        "    python -m data_prep.statistics --effect 3 --seed_sd 1 --residual_sd 14",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--effect", type=float, default=3.0, help="true difference of the two arms, in points (default: %(default)s)")
    add("--seed_sd", type=float, default=1.5, help="between runs of one arm, in points (default: %(default)s)")
    add(
        "--interaction_sd", type=float, default=15.0,
        help="between problems, of the true difference of the arms, in points (default: %(default)s)",
    )  # fmt: skip
    add(
        "--residual_sd", type=float, default=40.0,
        help="of one share, one run on one problem, in points (default: %(default)s: one sampled answer)",
    )  # fmt: skip
    add("--n_problems", type=int, nargs="+", default=[30, 100, 500, 1319], help="columns (default: 30 100 500 1319)")
    add("--n_seeds", type=int, nargs="+", default=[2, 3, 5, 8, 12, 20], help="rows (default: 2 3 5 8 12 20)")
    add("--power", type=float, default=80.0, help="wanted power in percent, for the last row (default: %(default)s)")
    args = parser.parse_args()
    try:
        smallest_n_seeds(
            args.effect, min(args.n_problems), Spread(args.seed_sd, args.interaction_sd, args.residual_sd),
            problems="fixed", wanted=args.power / 100,
        )  # fmt: skip
        _check_plan(min(args.n_seeds), 1, Spread(0, 0, 0), "fixed")
    except ValueError as error:
        parser.error(str(error))
    return args


def power_table(
    effect: float, n_seeds: Sequence[int], n_problems: Sequence[int], spread: Spread, problems: Problems, wanted: float
) -> str:
    """Power in percent, a row per number of seeds and a column per number of problems; last row: seeds it takes."""
    lines = [f"{'seeds per arm':>17}" + "".join(f"{f'{n:,} problems':>16}" for n in n_problems)]
    for seeds in n_seeds:
        powers = [power(effect, seeds, n, spread, problems=problems) for n in n_problems]
        lines.append(f"{seeds:17}" + "".join(f"{100 * value:14.0f} %" for value in powers))
    needed = [smallest_n_seeds(effect, n, spread, problems=problems, wanted=wanted) for n in n_problems]
    lines.append(f"{f'seeds for {100 * wanted:g} %':>17}" + "".join(f"{value or 'never':>16}" for value in needed))
    return "\n".join(lines)


def main() -> None:
    args = parse()
    spread = Spread(args.seed_sd, args.interaction_sd, args.residual_sd)
    print(
        f"Power to see {args.effect:g} points between two arms (95 % interval beyond zero), standard deviations in\n"
        f"points: {spread.seed_sd:g} between seeds, {spread.interaction_sd:g} between problems in the difference, "
        f"{spread.residual_sd:g} residual"
    )
    titles: dict[Problems, str] = {
        "fixed": "On this very benchmark (problems fixed)",
        "sampled": "On new problems of the same kind, too (problems sampled)",
    }
    for problems, title in titles.items():
        print(f"\n{title}")
        print(power_table(args.effect, args.n_seeds, args.n_problems, spread, problems, args.power / 100))
    print("\nnever: not with 1,000 seeds. More problems are needed, or more answers to each.")


if __name__ == "__main__":
    main()
