"""Coverage and false positives of the project's intervals, on simulated studies whose truth is known.

    python -m tests.bench.statistics                  # 20,000 studies a cell; about three minutes on one core
    python -m tests.bench.statistics --n_studies 500

Shares per problem of five kinds, always through the functions of data_prep/statistics.py:

    normal   seed, problem and residual effects are normal. `ratio` is the variance between seeds over that between
             problems (for a difference of arms: of the problem-by-arm interaction); the residual has the variance of
             the problems. Shares are as good as continuous, so that no bound plays a part.
    answers  one or eight right or wrong answers per run and problem, chances with the stated mean that differ between
             problems (a beta distribution), are scaled by a factor per run (1 +- 0.1, bell-shaped) and, for sampled
             problems, by a pair of factors per problem and arm (0.7 to 1.3, evenly spread)
    flat     the same, with factors per run spread evenly from 0.7 to 1.3: a hard case for t, whose normal values have
             tails that these lack
    single   one run of each model, 1, 8 or 64 answers per problem; a fifth of the problems have chances drawn anew
    rare     the same, but only one problem in twenty: all of the difference may hang on a handful of problems

`coverage` is how often the interval holds the truth: that of the problems at hand where problems are fixed, of all
problems where they are sampled. For differences of normal shares the true effect is 3 points. `false positives` is how
often the interval excludes zero where there is no effect. A 95 % interval wants 95 and 5; the standard error of a rate
of 5 % is 0.15 points for 20,000 studies. Methods in brackets are for comparison and not used in the project: the
textbook interval for sampled problems, two single runs taken for their recipes, and t over problems.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from data_prep.statistics import (
    Array,
    Problems,
    Seeds,
    difference_over_seeds_interval,
    mean_over_seeds_interval,
    paired_interval,
    problems_interval,
)
from tests.bench.common import machine, print_result, print_table

SIZES = [(2, 30), (3, 30), (3, 100), (5, 30), (5, 100), (5, 500), (10, 100)]  # seeds, problems
ANSWERS_SIZES = [(2, 100), (3, 30), (3, 100), (5, 100), (10, 30)]
RATIOS = [0.01, 0.1, 1.0, 10.0]
MEANS = [0.01, 0.05, 0.5, 0.99]
WIDTH = 0.3
CHUNK = 500  # studies at once
CONTINUOUS = 10**6  # n_draws of shares that are as good as continuous
KINDS: list[Problems] = ["fixed", "sampled"]
# method -> for each study whether its interval holds the truth, and whether one without an effect excludes zero
Booleans = NDArray[np.bool_]
Outcome = dict[str, tuple[Booleans | None, Booleans | None]]
Draw = Callable[[int], Outcome]


def holds(interval: tuple[Array, Array], truth: Array | float) -> Booleans:
    return (interval[0] - 1e-12 <= truth) & (truth <= interval[1] + 1e-12)


def normal_means(rng: np.random.Generator, n: int, n_seeds: int, n_problems: int, ratio: float) -> Outcome:
    seed_sd, problem_sd = deviations(ratio)
    problem = 0.5 + problem_sd * rng.standard_normal((n, 1, n_problems))
    seed = seed_sd * rng.standard_normal((n, n_seeds, 1))
    shares = problem + seed + problem_sd * rng.standard_normal((n, n_seeds, n_problems))
    fixed, sampled = [mean_over_seeds_interval(shares, problems, CONTINUOUS) for problems in KINDS]
    return {
        "mean_over_seeds, fixed": (holds(fixed, problem.mean((1, 2))), None),
        "mean_over_seeds, sampled": (holds(sampled, 0.5), None),
        "(Satterthwaite alone, sampled)": (holds(satterthwaite(shares), 0.5), None),
    }


def normal_differences(
    rng: np.random.Generator, n: int, n_seeds: int, n_problems: int, ratio: float, effect: float = 0.03
) -> Outcome:
    seed_sd, problem_sd = deviations(ratio)
    interaction = problem_sd * rng.standard_normal((n, 1, n_problems))
    shared = seed_sd * rng.standard_normal((n, n_seeds, 1))
    own = [
        0.5
        + seed_sd * rng.standard_normal((n, n_seeds, 1))
        + problem_sd * rng.standard_normal((n, n_seeds, n_problems))
        for _ in range(2)
    ]
    pairs: list[tuple[Seeds, list[Array]]] = [("separate", own), ("shared", [arm + shared for arm in own])]
    outcome: Outcome = {}
    for seeds, (a, b) in pairs:
        for problems in KINDS:
            # The problems at hand show no effect where the mean of their interactions is taken out.
            there = interaction - (interaction.mean(-1, keepdims=True) if problems == "fixed" else 0.0)
            null = difference_over_seeds_interval(a + there, b, problems, seeds, CONTINUOUS)
            found = difference_over_seeds_interval(a + there + effect, b, problems, seeds, CONTINUOUS)
            name = f"difference_over_seeds, {problems}, {seeds}"
            outcome[name] = holds(found, effect), ~holds(null, 0.0)
    one_run = paired_interval((own[0] + interaction)[:, 0] - own[1][:, 0])
    outcome["(one run each, over problems)"] = None, ~holds(one_run, 0.0)
    return outcome


def deviations(ratio: float) -> tuple[float, float]:
    """Standard deviations between seeds and between problems (and of the residual), of a size that shares have."""
    seed_sd = min(0.1, 0.3 * float(np.sqrt(ratio)))
    return seed_sd, seed_sd / float(np.sqrt(ratio))


def answers(
    rng: np.random.Generator, n: int, n_seeds: int, n_problems: int, mean: float, n_draws: int, flat: bool = False
) -> Outcome:
    rare = min(mean, 1 - mean)  # near 1 it is wrong answers that are rare
    largest = (1 + WIDTH) ** 2
    chance = rng.beta(0.5, 0.5 * (1 / (rare * largest) - 1), (n, 1, n_problems)) / largest
    tilt = rng.uniform(-WIDTH, WIDTH, chance.shape)
    shape = 1 if flat else 4
    factors = [1 + WIDTH * (2 * rng.beta(shape, shape, (n, n_seeds, 1)) - 1) for _ in range(2)]
    a = rng.binomial(n_draws, chance * (1 + tilt) * factors[0]) / n_draws
    same = rng.binomial(n_draws, chance * (1 + tilt) * factors[1]) / n_draws  # other seeds, no interaction
    b = rng.binomial(n_draws, chance * (1 - tilt) * factors[1]) / n_draws
    here = (chance * (1 + tilt)).mean((1, 2))
    if mean > 0.5:
        a, same, b, here = 1 - a, 1 - same, 1 - b, 1 - here
    fixed = difference_over_seeds_interval(a, same, "fixed", "separate", n_draws)
    sampled = difference_over_seeds_interval(a, b, "sampled", "separate", n_draws)
    return {
        "mean_over_seeds, fixed": (holds(mean_over_seeds_interval(a, "fixed", n_draws), here), None),
        "mean_over_seeds, sampled": (holds(mean_over_seeds_interval(a, "sampled", n_draws), mean), None),
        "difference_over_seeds, fixed, separate": (holds(fixed, 0.0), ~holds(fixed, 0.0)),
        "difference_over_seeds, sampled, separate": (holds(sampled, 0.0), ~holds(sampled, 0.0)),
    }


def single(
    rng: np.random.Generator, n: int, n_problems: int, mean: float, n_draws: int, differ: float = 0.2
) -> Outcome:
    def chances(average: float) -> Array:
        return rng.beta(average, 1 - average, (n, n_problems))

    base, which = chances(mean), rng.random((n, n_problems))
    changed = np.where(which < differ, chances(mean), base)
    worse = np.where(which < differ / 2, chances(0.6 * mean), changed)
    a, same, b = [rng.binomial(n_draws, chance) / n_draws for chance in (base, changed, worse)]
    effect = (1 - 0.6) * mean * differ / 2
    paired = holds(paired_interval(a - b), effect), ~holds(paired_interval(a - same), 0.0)
    plain = holds(plain_t(a - b), effect), ~holds(plain_t(a - same), 0.0)
    return {
        "mean_over_problems": (holds(problems_interval(a, n_draws), mean), None),
        "paired_difference": paired,
        "(plain t, paired)": plain,
    }


def plain_t(differences: Array) -> tuple[Array, Array]:
    n = differences.shape[-1]
    half = stats.t.ppf(0.975, n - 1) * differences.std(-1, ddof=1) / np.sqrt(n)
    return differences.mean(-1) - half, differences.mean(-1) + half


def satterthwaite(shares: Array) -> tuple[Array, Array]:
    """The textbook interval for sampled problems: one t with Satterthwaite's degrees of freedom, no floor."""
    n_seeds, n_problems = shares.shape[-2:]
    mean, runs, problems = shares.mean((-2, -1)), shares.mean(-1), shares.mean(-2)
    residual = shares - runs[..., None] - problems[..., None, :] + mean[..., None, None]
    free = np.array([n_seeds - 1, n_problems - 1, (n_seeds - 1) * (n_problems - 1)])
    parts = np.stack([
        runs.var(-1, ddof=1) / n_seeds,
        problems.var(-1, ddof=1) / n_problems,
        (residual**2).sum((-2, -1)) / free[2] / (n_seeds * n_problems),
    ])  # fmt: skip
    variance = np.maximum(parts[0] + parts[1] - parts[2], np.maximum(parts[0], parts[1]))
    freedom = variance**2 / (parts.T**2 / free).sum(-1)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return mean - half, mean + half


def rates(draw: Draw, n_studies: int) -> dict[str, list[float | None]]:
    """Coverage and rate of false positives by method, over `n_studies` studies."""
    chunks = [draw(min(CHUNK, n_studies - start)) for start in range(0, n_studies, CHUNK)]
    return {
        method: [
            None
            if chunks[0][method][i] is None
            else float(np.mean(np.concatenate([chunk[method][i] for chunk in chunks])))
            for i in (0, 1)
        ]
        for method in chunks[0]
    }


def cells(rng: np.random.Generator) -> Iterator[tuple[str, int, int, float, Draw]]:
    """Data, seeds, problems, ratio or mean, and what draws as many studies as asked for."""
    for size in SIZES:
        for ratio in RATIOS:
            for function in (normal_means, normal_differences):
                yield "normal", *size, ratio, partial(function, rng, n_seeds=size[0], n_problems=size[1], ratio=ratio)
    for n_seeds, n_problems in ANSWERS_SIZES:
        for mean in MEANS:
            for n_draws in (1, 8):
                for flat in (False, True) if mean == 0.5 else (False,):
                    draw = partial(
                        answers, rng, n_seeds=n_seeds, n_problems=n_problems, mean=mean, n_draws=n_draws, flat=flat
                    )
                    yield f"{'flat' if flat else 'answers'}, {n_draws}", n_seeds, n_problems, mean, draw
    for n_problems in (10, 30, 100, 500):
        for mean in MEANS:
            for n_draws in (1, 8, 64):
                draw = partial(single, rng, n_problems=n_problems, mean=mean, n_draws=n_draws)
                yield f"single, {n_draws}", 1, n_problems, mean, draw
    for n_problems in (30, 100, 500):
        for n_draws in (8, 64):
            draw = partial(single, rng, n_problems=n_problems, mean=0.9, n_draws=n_draws, differ=0.05)
            yield f"rare, {n_draws}", 1, n_problems, 0.9, draw


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--n_studies", type=int, default=20_000, help="simulated studies per cell")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args, began = parse(), time.perf_counter()
    found = [
        (method, data, n_seeds, n_problems, setting, coverage, false)
        for data, n_seeds, n_problems, setting, draw in cells(np.random.default_rng(args.seed))
        for method, (coverage, false) in rates(draw, args.n_studies).items()
    ]
    found.sort(key=lambda row: (row[0].startswith("("), row[0], row[1]))
    shown = [
        [*row[:4], f"{row[4]:g}", *("" if rate is None else f"{100 * rate:.1f}" for rate in row[5:])] for row in found
    ]
    print_table(["method", "data", "seeds", "problems", "ratio or mean", "coverage %", "false positives %"], shown)
    groups: dict[str, dict[str, float]] = {}
    for method, data, *_, coverage, false in found:
        group = groups.setdefault(f"{method}; {data.split(',')[0]}", {})
        if coverage is not None:
            group["lowest_coverage"] = round(min(coverage, group.get("lowest_coverage", 1.0)), 4)
            group["highest_coverage"] = round(max(coverage, group.get("highest_coverage", 0.0)), 4)
        if false is not None:
            group["most_false_positives"] = round(max(false, group.get("most_false_positives", 0.0)), 4)
    seconds = time.perf_counter() - began
    print_result({"methods": groups, "n_studies": args.n_studies, "seconds": seconds, **machine()})


if __name__ == "__main__":
    main()
