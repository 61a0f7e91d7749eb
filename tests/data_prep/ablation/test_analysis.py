"""Contrasts over seeds, fits by size, divergence, transfer between measures of difficulty."""

from typing import Any

import numpy as np
import pytest

from data_prep.ablation.analysis import by_difficulty, fit, merged
from data_prep.ablation.running import diverged
from data_prep.ablation.settings import Cell
from data_prep.ablation.transfer import Measure, as_text, compare, measures_of, transfer
from data_prep.statistics import contrast_over_seeds, difference_over_seeds


def runs(rng: np.random.Generator, n_studies: int, n_seeds: int, odds: float, seed_sd: float, problems: Any) -> Any:
    """(n_studies, n_seeds, n_problems) of right and wrong, from log-odds by seed and problem."""
    chance = odds + seed_sd * rng.normal(size=(n_studies, n_seeds, 1)) + problems[:, None, :]
    return (rng.random(chance.shape) < 1 / (1 + np.exp(-chance))).astype(float)


def test_two_arms_are_the_difference_over_seeds() -> None:
    rng = np.random.default_rng(0)
    a, b = (runs(rng, 1, 5, odds, 0.3, rng.normal(size=(1, 50)))[0] for odds in (0.0, 0.5))
    found = contrast_over_seeds([a, b], [1, -1])
    wanted = difference_over_seeds(a, b, problems="sampled")
    assert (found.mean, found.low, found.high) == pytest.approx((wanted.mean, wanted.low, wanted.high))
    assert (found.simultaneous_low, found.simultaneous_high) == (found.low, found.high)
    corrected = contrast_over_seeds([a, b], [1, -1], n_comparisons=5)
    assert corrected.simultaneous_low < corrected.low == found.low


@pytest.mark.parametrize("scale", ["points", "log_odds"])
@pytest.mark.parametrize("n_arms", [2, 4])
def test_the_interval_covers(scale: Any, n_arms: int) -> None:
    """95 % of intervals hold the true contrast of new seeds and new problems, one arm near the floor."""
    rng = np.random.default_rng(1)
    n_studies, n_seeds, n_problems = 400, 5, 150
    levels = [1.0, 0.0, -2.5, -1.5][:n_arms]
    weights = [1.0, -1.0, -1.0, 1.0][:n_arms]
    wide = rng.normal(size=(1, 200_000))
    own = [0.6 * rng.normal(size=(1, 200_000)) for _ in levels]
    shares = [
        float((1 / (1 + np.exp(-(level + 0.25 * rng.normal(size=(1, 200_000)) + wide + mine)))).mean())
        for level, mine in zip(levels, own, strict=True)
    ]
    scaled = [np.log(p / (1 - p)) if scale == "log_odds" else p for p in shares]
    truth = sum(w * s for w, s in zip(weights, scaled, strict=True))
    common = rng.normal(size=(n_studies, n_problems))
    arms = [
        runs(rng, n_studies, n_seeds, level, 0.25, common + 0.6 * rng.normal(size=common.shape)) for level in levels
    ]
    covered = 0
    for i in range(n_studies):
        found = contrast_over_seeds([arm[i] for arm in arms], weights, scale=scale)
        covered += found.low <= truth <= found.high
    assert 0.925 <= covered / n_studies <= 0.995


def test_untrained_models_have_no_seeds() -> None:
    rng = np.random.default_rng(2)
    trained = runs(rng, 1, 4, 1.0, 0.1, np.zeros((1, 80)))[0]
    untrained = np.zeros((1, 80))
    found = contrast_over_seeds([trained, untrained], [1, -1])
    assert found.mean == pytest.approx(trained.mean())
    assert found.low > 0.5
    with pytest.raises(ValueError, match="one run"):
        contrast_over_seeds([untrained, untrained], [1, -1])
    with pytest.raises(ValueError, match="one weight for each arm"):
        contrast_over_seeds([trained], [1, -1])
    with pytest.raises(ValueError, match="same ones"):
        contrast_over_seeds([trained, trained[:, :9]], [1, -1])


def test_seeds_that_arms_share_are_paired() -> None:
    """Two arms of one sign that a seed moves alike: taken for independent they would be too sure of themselves."""
    rng = np.random.default_rng(6)
    n_studies, n_seeds, n_problems = 300, 4, 400
    missed = {"separate": 0, "shared": 0}
    for _ in range(n_studies):
        seeds = 0.1 * rng.normal(size=(n_seeds, 1))
        together = [(rng.random((n_seeds, n_problems)) < 0.5 + seeds).astype(float) for _ in range(2)]
        third = (rng.random((n_seeds, n_problems)) < 0.5).astype(float)
        for way in missed:
            found = contrast_over_seeds([*together, third], [0.5, 0.5, -1], seeds=way)  # type: ignore[arg-type]
            missed[way] += not found.low <= 0 <= found.high
    assert missed["shared"] / n_studies < 0.08
    assert missed["separate"] > missed["shared"]
    with pytest.raises(ValueError, match="shared seeds come in all"):
        contrast_over_seeds([together[0], third[:3], third], [1, -1, 0], seeds="shared")


def test_terms_of_the_same_cells_are_one() -> None:
    a, b = [Cell("m", 1, seed) for seed in (0, 1)], [Cell("m", 2)]
    assert merged([(0.5, a), (0.5, a), (-1.0, b)]) == [(1.0, a), (-1.0, b)]
    assert merged([(1.0, a), (-1.0, a), (1.0, b)]) == [(1.0, b)]


def test_groups_stand_from_easy_to_hard() -> None:
    groups = ["10", "hard", "far", "2", "easy", "None"]
    assert sorted(groups, key=by_difficulty) == ["easy", "hard", "2", "10", "None", "far"]


def test_power_is_the_chance_of_an_interval_beyond_zero() -> None:
    rng = np.random.default_rng(3)
    hits, promised = 0, []
    for _ in range(300):
        problems = np.zeros((1, 200))
        a, b = runs(rng, 1, 5, 0.4, 0.2, problems)[0], runs(rng, 1, 5, 0.0, 0.2, problems)[0]
        found = contrast_over_seeds([a, b], [1, -1])
        hits += found.low > 0
        promised.append(found.power(0.0983))  # the true difference of the two
    assert abs(hits / 300 - np.mean(promised)) < 0.12


def test_a_line_is_fitted_and_a_bend_is_seen() -> None:
    rng = np.random.default_rng(4)
    doublings = np.array([10.0, 11, 12, 13])
    straight = 0.8 * (doublings - 11.5) + 0.1 * rng.normal(size=(5, 1)) + 0.02 * rng.normal(size=(5, 4))
    bent = straight + 0.5 * (doublings - 11.5) ** 2
    line, curve = (fit(doublings, 1 / (1 + np.exp(-odds)), 10_000) for odds in (straight, bent))
    assert line["low"] < 0.8 < line["high"]
    assert not line["bend_seen"]
    assert curve["bend_seen"]


@pytest.mark.parametrize(
    ("history", "loss", "said"),
    [
        ([(1, 2.0, 1.0), (2, 1.0, 1.0)], 1.5, None),
        ([(1, 2.0, 1.0)], 2.0, None),
        ([(1, 2.0, 1.0), (2, 1.0, float("nan"))], 1.5, "gradient norm nan at step 2"),
        ([(1, 2.0, 1.0), (2, 3.0, 1.0)], 2.5, None),
        ([(i, 1 + 4 * (i == 15), 1.0) for i in range(30)], 2.5, None),
        ([(i, 1 + i / 10, 1.0) for i in range(30)], 2.5, "loss 1.1 at its beginning, 3.8 at its end"),
        ([(1, 2.0, 1.0)], float("inf"), "mean loss inf"),
    ],
)
def test_divergence(history: list[tuple[int, float, float]], loss: float, said: str | None) -> None:
    found = diverged([{"step": step, "loss": value, "grad_norm": norm} for step, value, norm in history], loss)
    assert (found is None) if said is None else (said in (found or ""))


def test_transfer_between_measures_of_difficulty() -> None:
    rng = np.random.default_rng(5)
    hidden = rng.random(300)
    ids = [f"p{i}" for i in range(300)]
    samples = {"problem_id": ids, "level": list(np.ceil(hidden * 5)), "pass_rate": list(1 - hidden)}
    own = {i: float(np.clip(1 - h + 0.2 * e, 0, 1)) for i, h, e in zip(ids, hidden, rng.normal(size=300), strict=True)}
    found = {(one["first"], one["second"]): one for one in transfer(measures_of(samples, {"base": own}))}
    assert set(found) == {
        ("level", "pass rate"), ("level", "pass rate of base"), ("pass rate", "pass rate of base")
    }  # fmt: skip
    level = found["level", "pass rate"]
    assert level["rank_correlation"] > 0.95, "both say what is harder, whichever way they run"
    weaker = found["pass rate", "pass rate of base"]
    assert weaker["low"] < weaker["rank_correlation"] < min(weaker["high"], level["rank_correlation"])
    assert sum(sum(row.values()) for row in weaker["table"].values()) == weaker["n"] == 300
    assert "rank correlation" in as_text(weaker)
    few = Measure("few", {i: 1.0 for i in ids[:5]}, True)
    assert compare(few, Measure("level", dict(zip(ids, hidden, strict=True)), False)) is None
