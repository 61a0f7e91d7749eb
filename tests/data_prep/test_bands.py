"""`data_prep.bands`: bands by pass rate, and the rule that says when enough was sampled, with its error."""

import numpy as np
import pytest

from data_prep.bands import band_of, check_bounds, settled

BOUNDS = [0.8, 0.4]


def test_bands():
    assert [band_of(n_right / 10, BOUNDS) for n_right in range(11)] == (
        ["unsolved"] + ["hard"] * 3 + ["medium"] * 4 + ["easy"] * 3
    )
    assert band_of(4 / 5, BOUNDS) == "easy"  # 0.8 itself, whatever 0.8 * 5 is in floating point
    assert band_of(3 / 15, [0.6, 0.2]) == "medium"


@pytest.mark.parametrize("bounds", [[], [0.5], [0.4, 0.8], [0.5, 0.5], [1.2, 0.4], [0.8, 0.0], [0.8, float("nan")]])
def test_bounds_that_are_none(bounds: list[float]):
    with pytest.raises(ValueError, match="give two falling pass rates"):
        check_bounds(bounds)


def test_without_error_only_what_cannot_change_is_settled():
    for n in range(1, 17):
        for n_right in range(n + 1):
            possible = {band_of((n_right + more) / 16, BOUNDS) for more in range(16 - n + 1)}
            fixed = possible == {band_of(n_right / n, BOUNDS)}
            assert settled(n_right, n, 16, BOUNDS, 0.0) == (n == 16 or (fixed and n_right > 0))


def test_unsolved_takes_all_samples():
    assert not any(settled(0, n, 16, BOUNDS, 0.5) for n in range(16))
    assert settled(0, 16, 16, BOUNDS, 0.0)


def test_more_error_settles_more():
    for n in range(1, 16):
        for n_right in range(n + 1):
            found = [settled(n_right, n, 16, BOUNDS, error) for error in (0.0, 0.05, 0.1, 0.3)]
            assert found == sorted(found)


def stopped(rates: np.ndarray, n_samples: int, error: float, step: int = 2) -> tuple[float, float, float]:
    """By simulation: share of responses saved, of all problems and of those that stopped whose band would change."""
    rng = np.random.default_rng(0)
    right = (rng.random((len(rates), n_samples)) < rates[:, None]).cumsum(1)
    n_used, n_stopped, n_changed = 0, 0, 0
    for row in right:
        n = 4
        while not settled(int(row[n - 1]), n, n_samples, BOUNDS, error):
            n = min(n + step, n_samples)
        n_used += n
        if n < n_samples:
            n_stopped += 1
            n_changed += band_of(row[n - 1] / n, BOUNDS) != band_of(row[-1] / n_samples, BOUNDS)
    return 1 - n_used / right.size, n_changed / len(rates), n_changed / max(1, n_stopped)


@pytest.mark.parametrize("error", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("n_samples", [8, 16, 32])
def test_the_error_is_kept_where_pass_rates_are_spread_evenly(n_samples: int, error: float):
    saved, _, of_stopped = stopped(np.random.default_rng(1).random(4000), n_samples, error, step=1)
    assert of_stopped <= error + 0.01  # asked after every single response
    assert saved > 0.05 * n_samples**0.5  # 20 % of 16


def test_the_error_elsewhere():
    """Mostly unsolved and mostly easy, as real pass rates are: less than stated. Right at a bound: not much more."""
    many = np.random.default_rng(2)
    assert stopped(many.beta(0.5, 0.5, 4000), 16, 0.1)[2] < 0.07
    assert stopped(many.beta(0.3, 0.9, 4000), 16, 0.1)[2] < 0.07
    for bound in BOUNDS:
        assert stopped(np.full(4000, bound), 16, 0.1)[2] < 0.15
