"""Advantages against references that are written out number by number, and what process credit promises."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.advantages import (
    Credit,
    gae,
    gated,
    group_relative,
    leave_one_out,
    over_tokens,
    process_advantages,
    reinforce_plus_plus,
    returns_to_go,
    step_rewards,
)

CREDITS: tuple[Credit, ...] = ("min", "recovery", "delta", "sum")
number = st.floats(-1, 1, width=32)
reward = st.one_of(number, st.just(math.nan))


def close(found: torch.Tensor, wanted: Sequence[float], within: float = 1e-4) -> None:
    assert found.tolist() == pytest.approx(list(wanted), abs=within)


def ragged(rows: Sequence[Sequence[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths, with something in the places that the mask leaves out."""
    width = max(map(len, rows))
    values = torch.tensor([[*row, *[9.0] * (width - len(row))] for row in rows]).reshape(len(rows), width)
    return values, torch.tensor([[i < len(row) for i in range(width)] for row in rows]).reshape(len(rows), width)


def some(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


@given(st.lists(st.lists(reward, min_size=3, max_size=3), min_size=1, max_size=4))
def test_outcome_advantages_are_those_of_their_groups(groups: list[list[float]]) -> None:
    rewards = torch.tensor(groups).flatten()
    everything = some(rewards.tolist())
    wanted: dict[str, list[float]] = {"group": [], "batch": [], "none": [], "rloo": []}
    for group in groups:
        given_ = some(group)
        for i, value in enumerate(group):
            others = some(group[:i] + group[i + 1 :])
            if math.isnan(value):
                for name in wanted:
                    wanted[name].append(0.0)
                continue
            over = value - fmean(given_)
            wanted["none"].append(over)
            wanted["group"].append(over / ((stdev(given_) if len(given_) > 1 else 0.0) + 1e-4))
            wanted["batch"].append(over / ((stdev(everything) if len(everything) > 1 else 0.0) + 1e-4))
            wanted["rloo"].append(value - fmean(others) if others else 0.0)
    for scale in ("group", "batch", "none"):
        close(group_relative(rewards, 3, scale), wanted[scale], within=2e-2 if scale != "none" else 1e-5)
    close(leave_one_out(rewards, 3), wanted["rloo"], within=1e-5)


def test_rollouts_that_are_no_whole_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="5 rollouts are no whole groups of 2"):
        group_relative(torch.zeros(5), 2)


@given(
    st.lists(st.tuples(number, st.lists(number, min_size=1, max_size=5)), min_size=1, max_size=4),
    st.floats(0, 1, width=32),
)
def test_returns_to_go_and_gae_are_their_sums(rows: list[tuple[float, list[float]]], gamma: float) -> None:
    values, mask = ragged([row for _, row in rows])
    rewards = torch.where(mask, torch.tensor([[first] for first, _ in rows]), 7.0)
    lam = 0.7
    found_returns, found_gae = returns_to_go(rewards, mask, gamma), gae(rewards, values, mask, gamma, lam)
    for i, (first, row) in enumerate(rows):
        n = len(row)
        deltas = [first + gamma * (row[t + 1] if t + 1 < n else 0.0) - row[t] for t in range(n)]
        for t in range(n):
            assert found_returns[i, t] == pytest.approx(sum(gamma**k * first for k in range(n - t)), abs=1e-4)
            wanted = sum((gamma * lam) ** k * deltas[t + k] for k in range(n - t))
            assert found_gae[i, t] == pytest.approx(wanted, abs=1e-4)
    assert not found_gae[~mask].any()
    # lambda 1 is the return minus the value, lambda 0 one step's surprise
    everything = gae(rewards, values, mask, 1.0, 1.0)
    assert torch.allclose(everything[mask], (returns_to_go(rewards, mask) - values)[mask], atol=1e-5)


@given(st.lists(st.tuples(reward, st.lists(number, min_size=1, max_size=4)), min_size=4, max_size=4))
def test_reinforce_plus_plus_is_normalised_over_all_tokens(rows: list[tuple[float, list[float]]]) -> None:
    kl, mask = ragged([row for _, row in rows])
    rewards = [value for value, _ in rows]
    found = reinforce_plus_plus(torch.tensor(rewards), kl, mask, 0.1)
    returns: dict[tuple[int, int], float] = {}
    for i, (value, row) in enumerate(rows):
        if math.isnan(value):
            continue
        for t in range(len(row)):
            returns[i, t] = value - 0.1 * sum(row[t:])
    if returns:
        mean = fmean(returns.values())
        deviation = math.sqrt(fmean((x - mean) ** 2 for x in returns.values()))
        if deviation > 1e-3:
            for place, value in returns.items():
                assert found[place] == pytest.approx((value - mean) / deviation, abs=1e-2)
    assert all(not found[i, t] for i, t in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist()
               if (i, t) not in returns)  # fmt: skip


scores = st.lists(st.lists(number, max_size=6), min_size=1, max_size=3).filter(lambda rows: any(rows))


@given(scores)
def test_step_rewards_are_what_their_names_say(rows: list[list[float]]) -> None:
    values, mask = ragged(rows)
    found = {credit: step_rewards(values, mask, credit, 0.1) for credit in CREDITS}
    for i, row in enumerate(rows):
        n = len(row)
        close(found["sum"][i, :n], row)
        close(found["delta"][i, :n], [row[k] - (row[k - 1] if k else 0.0) for k in range(n)])
        weights = [math.exp(-value / 0.1) for value in row]
        close(found["min"][i, :n], [w * v / sum(weights) for w, v in zip(weights, row, strict=True)])
        levels = [max(row[k:]) for k in range(n)]
        before = [max(0.0, levels[0]), *levels[:-1]] if n else []
        close(found["recovery"][i, :n], [a - b for a, b in zip(levels, before, strict=True)])
        for credit in CREDITS:
            assert not found[credit][i, n:].any()
        if n:
            assert found["recovery"][i].max() <= 0
            assert found["recovery"][i].sum() == pytest.approx(row[-1] - max(0.0, *row), abs=1e-5)
            assert found["delta"][i].sum() == pytest.approx(row[-1], abs=1e-5)


def test_what_is_put_right_later_costs_nothing_and_what_is_not_is_charged_where_it_went_wrong() -> None:
    clean, corrected, wrong = [0.8, 0.8, 0.8, 0.8], [0.8, -0.7, 0.8, 0.8], [0.8, -0.7, -0.7, -0.7]
    values, mask = ragged([clean, corrected, wrong])
    recovery = step_rewards(values, mask, "recovery")
    close(recovery[0], [0, 0, 0, 0])
    close(recovery[1], [0, 0, 0, 0])
    close(recovery[2], [0, -1.5, 0, 0])
    minimum = step_rewards(values, mask, "min", 0.01)
    close(minimum[1], [0, -0.7, 0, 0])  # the correction does not help
    # More steps of the same kind earn more by the sum alone.
    longer, longer_mask = ragged([clean, clean * 3])
    for credit in CREDITS:
        short, long = step_rewards(longer, longer_mask, credit, 0.01).sum(1)
        assert (long - short > 1) == (credit == "sum")


@given(scores)
def test_process_advantages_have_a_baseline_that_falls_with_the_rest_of_the_solution(rows: list[list[float]]) -> None:
    values, mask = ragged(rows)
    found = process_advantages(values, mask, len(rows))
    for i, row in enumerate(rows):
        others = [sum(other) for j, other in enumerate(rows) if j != i and other]
        baseline = fmean(others) if others else 0.0
        for k in range(len(row)):
            wanted = sum(row[k:]) - baseline * (len(row) - k) / len(row) if others else 0.0
            assert found[i, k] == pytest.approx(wanted, abs=1e-4)
        assert not found[i, len(row) :].any()


def test_a_gate_lets_no_praise_through_where_the_answer_is_not_known_to_be_right() -> None:
    process = torch.tensor([[0.5, -0.5]] * 3)
    found = gated(process, torch.tensor([1.0, 0.0, math.nan]))
    assert found.tolist() == [[0.5, -0.5], [0.0, -0.5], [0.0, -0.5]]


@given(st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=3), st.integers(0, 3))
def test_a_token_has_the_value_of_its_step(lengths: list[list[int]], behind: int) -> None:
    n_tokens = max(map(sum, lengths)) + behind
    if not any(lengths):
        return
    ends, mask = ragged([[sum(row[: k + 1]) - 1 for k in range(len(row))] for row in lengths])
    values, _ = ragged([[10.0 * i + k + 1 for k in range(len(row))] for i, row in enumerate(lengths)])
    found = over_tokens(values, ends.long(), mask, n_tokens)
    for i, row in enumerate(lengths):
        wanted = [10.0 * i + k + 1 for k, n in enumerate(row) for _ in range(n)]
        assert found[i].tolist() == wanted + [0.0] * (n_tokens - len(wanted))
