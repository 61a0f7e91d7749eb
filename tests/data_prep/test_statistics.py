"""`data_prep.statistics`: against brute force, published values and simulation."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data_prep.statistics import mean_over_problems, pass_at_k, wilson


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
@settings(deadline=None)
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(drawn: tuple[int, int, int]):
    n, n_right, k = drawn
    draws = list(combinations([True] * n_right + [False] * (n - n_right), k))
    assert pass_at_k(n, n_right, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws), abs=1e-12)


def test_pass_at_k_needs_k_samples():
    for n, k in ((4, 5), (4, 0), (0, 1)):
        with pytest.raises(ValueError, match=f"pass@{k} needs at least {k} samples a problem, there are {n}"):
            pass_at_k(n, 0, k)


# Wilson's interval as Newcombe (1998, table I) and R's prop.test(correct=FALSE) give it.
@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
     (29, 29, 0.8830, 1.0)],
)  # fmt: skip
def test_wilson(right: int, n: int, low: float, high: float):
    found = wilson(right, n)
    assert (found.mean, found.n) == (right / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_wilson_is_an_interval_around_the_share(drawn: tuple[int, int]):
    n, right = drawn
    found, mirrored = wilson(right, n), wilson(n - right, n)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))
    reference = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_nothing_to_average():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert isnan(wilson(0, 0).mean)
    assert isnan(mean_over_problems([], 4).mean)


def test_mean_over_problems_is_wilson_for_the_trials_that_the_variance_is_worth():
    # All samples of a problem alike: as many trials as problems. Independent: as many as samples.
    alike = mean_over_problems([1.0, 1.0, 0.0, 0.0] * 5, 4)
    assert (alike.low, alike.high) == pytest.approx((wilson(10, 20).low, wilson(10, 20).high), abs=0.01)
    independent = mean_over_problems([0.5] * 19 + [0.5 + 1e-9], 4)
    assert (independent.low, independent.high) == pytest.approx((wilson(40, 80).low, wilson(40, 80).high), abs=1e-6)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_mean_over_problems_stays_between_0_and_1_and_says_something(counts: list[int]):
    found = mean_over_problems([count / 4 for count in counts], 4)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
    assert found.high > found.low


def test_coverage_by_simulation():
    """The 95 % intervals hold the truth in about 95 % of the cases. 4,000 draws: a standard error of 0.35 points."""
    rng = np.random.default_rng(0)
    for n, share in ((30, 0.5), (200, 0.1), (500, 0.93)):
        intervals = [wilson(int(right), n) for right in rng.binomial(n, share, 4000)]
        covered = np.mean([interval.low <= share <= interval.high for interval in intervals])
        assert 0.93 < covered < 0.975
    # Shares of right ones of 8 samples a problem, problems of different difficulty.
    covered_means = []
    for _ in range(1500):
        difficulty = rng.beta(1.0, 2.0, 60)
        found = mean_over_problems((rng.binomial(8, difficulty) / 8).tolist(), 8)
        covered_means.append(found.low <= 1 / 3 <= found.high)
    assert 0.93 < np.mean(covered_means) < 0.97
