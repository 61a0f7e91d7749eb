"""Before anything runs: what cells cost, and what differences the grid can see."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from typing import Any

from scipy import stats

from data_prep.ablation.cells import terms_of
from data_prep.ablation.plan import Plan, evaluate_settings
from data_prep.ablation.settings import Cell, PowerArguments, QuestionConfig
from data_prep.statistics import MANY_SEEDS

PER_POINT = 1 / 25  # log-odds at one half: what a point is worth where the spread is given in points


@dataclass(frozen=True)
class Cost:
    """Tokens to train on and to generate, and hours, for cells of which `at_once` run side by side."""

    n_cells: int
    trained: int
    generated: int
    hours: float
    at_once: int


def cost_of(
    plan: Plan, cells: Sequence[Cell], throughput: float, evaluate_throughput: float, response_tokens: int, at_once: int
) -> Cost:
    """What the cells cost at these tokens a second (of one cell)."""
    trained = round(sum(plan.selections[c.name].tokens * c.epochs for c in cells if c.size))
    generated = responses_of_a_cell(plan) * response_tokens * len(cells)
    seconds = trained / throughput + generated / evaluate_throughput
    return Cost(len(cells), trained, generated, seconds / 3600 / min(at_once, max(1, len(cells))), at_once)


def responses_of_a_cell(plan: Plan) -> int:
    settings = evaluate_settings(plan.study)
    return plan.n_test * (int(settings.get("greedy", True)) + int(settings.get("n_samples", 0)))


def probe_cell(plan: Plan) -> Cell | None:
    """The cheapest cell that can be trained as it is: by it the throughput is measured."""
    cells = plan.tuning or plan.cells
    able = [cell for cell in cells if cell.size and not plan.selections[cell.name].fault]
    return min(able, key=lambda cell: (cell.size, cell.name)) if able else None


def power_lines(plan: Plan, expected: PowerArguments) -> list[str]:
    """For each question the chance to see its smallest effect, and how many seeds give 80 %."""
    lines = []
    for question in plan.study.questions:
        terms = terms_of(question, plan.study, plan.cells)
        n_seeds = min(len(cells) for _, cells in terms if cells[0].size)
        n_problems = sum(plan.groups[group] for group in question.tested or ["all"])
        weights = [(weight, bool(cells[0].size)) for weight, cells in terms]
        n_family = sum(other.family == question.family for other in plan.study.questions)
        settings: dict[str, Any] = {"weights": weights, "n_problems": n_problems, "n_family": n_family}
        unit = "points" if question.scale == "points" else "log-odds"
        text = f"{question.name:28} {abs(question.smallest_effect):g} {unit}, "
        if n_seeds < 2:
            lines.append(f"{text}one seed: no claim about training; take at least two, better five")
            continue
        chance = power_of(question, expected, n_seeds, **settings)
        enough = (n for n in range(2, MANY_SEEDS) if power_of(question, expected, n, **settings) >= 0.8)
        wanted = next(enough, None)
        needed = f"80 % takes {wanted}" if wanted else f"80 % takes more than {n_problems:,} problems"
        lines.append(f"{text}{n_seeds} seeds, {n_problems:,} problems: {chance:4.0%} ({needed})")
    return lines


def power_of(
    question: QuestionConfig,
    expected: PowerArguments,
    n_seeds: int,
    *,
    weights: Sequence[tuple[float, bool]],
    n_problems: int,
    n_family: int,
) -> float:
    """Chance that the corrected interval of a contrast lies on the effect's side of zero, if the effect is as stated.

    weights: of each term, and whether it is trained (others are one run). Seeds of the arms are independent, or paired
    where there are more than two trained arms, as in the analysis; the spread between problems is that of a difference
    of two arms, so half of it for each squared weight. Half-widths are those of the expected spread. On log-odds the
    spread in points counts as it does at one half.
    """
    unit = PER_POINT if question.scale == "log_odds" else 1.0
    trained = sum(w**2 for w, is_trained in weights if is_trained)
    n_arms = sum(is_trained for _, is_trained in weights)
    everything = sum(w**2 for w, _ in weights)
    of_residual = trained * expected.residual_sd**2 / (n_seeds * n_problems)
    of_seeds = trained * expected.seed_sd**2 / n_seeds
    of_problems = everything / 2 * expected.interaction_sd**2 / n_problems
    level = 1 - 0.025 / n_family
    freedom = (n_seeds - 1) * (n_arms if n_arms <= 2 else 1)
    t, z = float(stats.t.ppf(level, freedom)), float(stats.norm.ppf(level))
    half = max(hypot(t * sqrt(of_seeds), z * sqrt(of_problems + of_residual)), t * sqrt(of_seeds + of_residual))
    error = sqrt(of_seeds + of_problems + of_residual)
    return float(stats.norm.cdf((abs(question.smallest_effect) / unit - half) / error))
