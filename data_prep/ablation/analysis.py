"""What the cells of a study say: accuracy by what was trained on and tested, by size, and verdicts on the questions.

Runs with different seeds are the unit; intervals are for new seeds and new problems of the same kind.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from data_prep.ablation.cells import terms_of
from data_prep.ablation.plan import Plan
from data_prep.ablation.settings import Cell, QuestionConfig, label
from data_prep.ablation.study import records_of
from data_prep.bands import BANDS
from data_prep.statistics import (
    Estimate,
    contrast_over_seeds,
    mean_over_problems,
    mean_over_seeds,
    verdict,
)

MIN_SIZES, MIN_SEEDS = 3, 3  # of a curve that a line is fitted to


@dataclass(frozen=True)
class Analysis:
    """cells: records. ways: cells that differ in the seed only, with estimates by group of test problems.

    curves: fits by size. questions: estimates and verdicts. groups: of test problems, `all` first.
    """

    cells: list[dict[str, Any]]
    ways: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    questions: list[dict[str, Any]]
    groups: list[str]
    n_problems: dict[str, int]


class Scores:
    """Share of right answers of every finished cell, problem by problem, the same problems in the same order."""

    def __init__(self, plan: Plan, records: Sequence[Mapping[str, Any]]):
        self.shares: dict[str, np.ndarray] = {}
        self.group: np.ndarray = np.array([], dtype=object)
        self.n_draws = 1  # responses behind each share
        keys: list[tuple[str, str]] | None = None
        for record in records:
            if record["status"] != "done":
                continue
            found, groups, self.n_draws = read_shares(plan.folder / "cells" / record["name"] / "evaluation")
            if not found:
                raise ValueError(
                    f"{record['name']}: its evaluation is gone: remove {plan.folder / 'cells' / record['name']}, and "
                    "start again to run it anew"
                )
            if keys is None:
                keys = sorted(found)
                self.group = np.array([groups[key] for key in keys], dtype=object)
            if sorted(found) != keys:
                raise ValueError(
                    f"{record['name']}: evaluated on other problems than the cells before it: remove "
                    f"{plan.folder / 'cells' / record['name']}, and start again to run it anew"
                )
            self.shares[record["name"]] = np.array([found[key] for key in keys])

    @property
    def groups(self) -> list[str]:
        return ["all", *sorted(set(self.group) - {"all"}, key=by_difficulty)]

    def of(self, cells: Sequence[Cell], groups: Sequence[str]) -> np.ndarray:
        """(n finished cells, n_problems) of the problems of these groups (none, or `all`: of all)."""
        wanted = np.ones(len(self.group), bool) if not groups or "all" in groups else np.isin(self.group, list(groups))
        runs = [self.shares[cell.name][wanted] for cell in cells if cell.name in self.shares]
        return np.array(runs) if runs else np.zeros((0, int(wanted.sum())))


def read_shares(folder: Path) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], str], int]:
    """Share of right responses by (benchmark, problem), greedy ones if there are any; the problems' groups; and how
    many responses are behind a share."""
    columns = ["benchmark", "problem_id", "decoding", "verdict", "group"]
    rows = [row for f in sorted(folder.glob("data-*.parquet")) for row in pq.read_table(f, columns=columns).to_pylist()]
    decoding = "greedy" if any(row["decoding"] == "greedy" for row in rows) else "sampled"
    right: Counter[tuple[str, str]] = Counter()
    n: Counter[tuple[str, str]] = Counter()
    groups = {}
    for row in rows:
        if row["decoding"] == decoding:
            key = (row["benchmark"], row["problem_id"])
            n[key] += 1
            right[key] += row["verdict"] == "right"
            groups[key] = row["group"]
    return {key: right[key] / n[key] for key in n}, groups, min(n.values(), default=1)


def analyse(plan: Plan) -> Analysis:
    """Reads all finished cells. Raises ValueError where they were not tested on the same problems."""
    records = records_of(plan, plan.cells)
    if all(record["status"] != "done" for record in records):
        raise ValueError(f"{plan.folder}: no cell has finished yet: there is nothing to report")
    scores = Scores(plan, records)
    groups = scores.groups
    sizes = Counter(scores.group)
    return Analysis(
        records,
        ways(plan, records, scores, groups),
        curves(plan.cells, scores, groups),
        [answer(question, plan, scores) for question in plan.study.questions],
        groups,
        {"all": len(scores.group), **{group: sizes[group] for group in groups[1:]}},
    )


def by_difficulty(group: str) -> tuple[float, str]:
    """Bands from easy to hard, levels as numbers, then what is left by name."""
    if group in BANDS:
        return BANDS.index(group), ""
    try:
        return float(group), group
    except ValueError:
        return float("inf"), group


def ways(
    plan: Plan, records: Sequence[Mapping[str, Any]], scores: Scores, groups: Sequence[str]
) -> list[dict[str, Any]]:
    """One entry for cells that differ in the seed only: how much they trained on, and estimates by tested group.

    `share_of_fitting`: of the samples that fit, how many a cell draws; two seeds share that share of their samples.
    """
    found: dict[Cell, list[Cell]] = {}
    for cell in plan.cells:
        found.setdefault(replace(cell, seed=0), []).append(cell)
    by_name = {record["name"]: record for record in records}
    entries = []
    for way, some in found.items():
        done = [by_name[cell.name] for cell in some if cell.name in scores.shares]
        about = {
            name: float(np.mean([record[name] for record in done]))
            for name in ("tokens", "samples", "unique_samples", "tokens_per_sample", "response_tokens")
            if done and name in done[0]
        }
        estimates = {group: estimate(scores.of(some, [group]), scores.n_draws) for group in groups} if done else {}
        entries.append(
            {**way.as_dict(), "name": title(way), "n_seeds": len(done), "n_failed": len(some) - len(done), **about,
             "share_of_fitting": plan.shares.get(some[0].name),
             "accuracy": {group: asdict(e) for group, e in estimates.items()}}
        )  # fmt: skip
    return sorted(entries, key=lambda entry: (entry["size"] > 0, entry["name"].partition(",")[0], -entry["size"]))


def title(cell: Cell) -> str:
    """A way in words."""
    if not cell.size:
        return f"{label(cell.model)}, untrained"
    parts = [label(cell.model), "all bands" if cell.band == "all" else cell.band]
    parts += [] if cell.response == "long" else [f"{cell.response} responses"]
    parts += [f"{column} {value}" for column, value in cell.where]
    parts += [] if cell.length == "any" else [f"{cell.length} tokens"]
    parts += ["equal lengths"] if cell.matched else []
    parts += [f"{cell.per_problem} per problem"] if cell.per_problem else []
    parts += [f"{cell.epochs:g} epochs"] if cell.epochs != 1 else []
    parts += ["random weights"] if cell.random_init else []
    return f"{', '.join(parts)}: {cell.size:,}"


def estimate(runs: np.ndarray, n_draws: int) -> Estimate:
    """Accuracy of runs (n_seeds, n_problems) on new seeds and problems; of one run, on new problems."""
    if len(runs) == 1:
        return mean_over_problems(list(runs[0]), n_draws)
    if runs.shape[1] == 1:
        return mean_over_seeds(runs, problems="fixed", n_draws=n_draws)
    return mean_over_seeds(runs, problems="sampled", n_draws=n_draws)


def curves(cells: Sequence[Cell], scores: Scores, groups: Sequence[str]) -> list[dict[str, Any]]:
    """Log-odds of accuracy against the number of doublings of the size, for cells that differ in size and seed only.

    A line per seed that has all sizes; the slope is their mean with Student's t over seeds, on these test problems.
    `bend` is that of a parabola; where its interval leaves out zero the points say more than the line. That it does not
    is no proof of a line.
    """
    found: dict[Cell, dict[int, dict[int, Cell]]] = {}
    for cell in cells:
        if cell.size and cell.name in scores.shares:
            found.setdefault(replace(cell, size=1, seed=0), {}).setdefault(cell.seed, {})[cell.size] = cell
    entries = []
    for way, seeds in found.items():
        sizes = sorted(set().union(*seeds.values()))
        complete = [some for some in seeds.values() if len(some) == len(sizes)]
        if len(sizes) < MIN_SIZES or len(complete) < MIN_SEEDS:
            continue
        for group in groups:
            runs = np.array([[scores.of([some[size]], [group]).mean() for size in sizes] for some in complete])
            n = scores.of([complete[0][sizes[0]]], [group]).shape[1]
            entries.append({"way": title(way).rpartition(":")[0], "tested": group,
                            "band": way.band, "sizes": sizes, **fit(np.log2(sizes), runs, n)})  # fmt: skip
    return entries


def fit(doublings: np.ndarray, accuracy: np.ndarray, n_problems: int) -> dict[str, Any]:
    """Slope in log-odds per doubling, of accuracies (n_seeds, n_sizes); half an answer is added on either side."""
    shares = (accuracy * n_problems + 0.5) / (n_problems + 1)
    odds = np.log(shares / (1 - shares))
    lines = np.polynomial.polynomial.polyfit(doublings, odds.T, 1)  # (2, n_seeds)
    bends = np.polynomial.polynomial.polyfit(doublings - doublings.mean(), odds.T, 2)[2]
    slope, low, high = t_interval(lines[1])
    bend, bend_low, bend_high = t_interval(bends)
    return {
        "slope": slope, "low": low, "high": high, "intercept": float(lines[0].mean()),
        "bend": bend, "bend_low": bend_low, "bend_high": bend_high, "n_seeds": len(accuracy),
        "bend_seen": not bend_low <= 0 <= bend_high,
    }  # fmt: skip


def t_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % interval over seeds, Student's t."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def answer(question: QuestionConfig, plan: Plan, scores: Scores) -> dict[str, Any]:
    """Estimate, intervals, verdict and power of a question, in points or log-odds; without cells, what is missing."""
    terms = merged(terms_of(question, plan.study, plan.cells))
    n_family = sum(other.family == question.family for other in plan.study.questions)
    unit = 100.0 if question.scale == "points" else 1.0
    about: dict[str, Any] = {
        **asdict(question),
        "unit": "points" if question.scale == "points" else "log-odds",
        "n_comparisons": n_family,
        "means": [],
        **dict.fromkeys(("estimate", "low", "high", "simultaneous_low", "simultaneous_high", "power")),
        "verdict": "undecided",
    }
    # Two arms count as independent; more of them, some of the same sign, are paired by the seeds that all have.
    shared = sum(bool(cells[0].size) for _, cells in terms) > 2
    if shared:
        terms = with_common_seeds(terms, scores)
    arms = [scores.of(cells, question.tested) for _, cells in terms]
    for arm, (_, cells) in zip(arms, terms, strict=True):
        if len(arm) < (2 if cells and cells[0].size else 1):
            what = title(cells[0]) if cells else "seeds that all its ways of training share"
            return {**about, "method": f"no answer yet: {len(arm)} finished of {what}"}
    about["means"] = [
        {"weight": weight, "way": title(cells[0]), "mean": float(arm.mean()), "runs": arm.mean(1).tolist()}
        for arm, (weight, cells) in zip(arms, terms, strict=True)
    ]
    weights = [weight for weight, _ in terms]
    try:
        found = contrast_over_seeds(
            arms, weights, scale=question.scale, seeds="shared" if shared else "separate", n_comparisons=n_family,
            n_draws=scores.n_draws,
        )  # fmt: skip
    except ValueError as error:  # such as a group of one problem: the other questions have answers
        return {**about, "method": f"no answer: {error}"}
    simultaneous = Estimate(found.mean, found.simultaneous_low, found.simultaneous_high, found.n, found.method)
    effect = question.smallest_effect / unit
    return {
        **about,
        "estimate": unit * found.mean,
        "low": unit * found.low,
        "high": unit * found.high,
        "simultaneous_low": unit * found.simultaneous_low,
        "simultaneous_high": unit * found.simultaneous_high,
        "verdict": verdict(simultaneous, effect),
        "power": found.power(effect),
        "seeds_sd": unit * found.seeds_sd,
        "problems_sd": unit * found.problems_sd,
        "method": found.method,
    }


Terms = list[tuple[float, list[Cell]]]


def merged(terms: Terms) -> Terms:
    """Terms with the same cells as one: they are the same runs, not independent ones."""
    weights: dict[tuple[Cell, ...], float] = {}
    for weight, cells in terms:
        weights[tuple(cells)] = weights.get(tuple(cells), 0.0) + weight
    return [(weight, list(cells)) for cells, weight in weights.items() if weight]


def with_common_seeds(terms: Terms, scores: Scores) -> Terms:
    """The terms with only those seeds of which all trained ones have a finished cell."""
    finished = [{c.seed for c in cells if c.name in scores.shares} for _, cells in terms if cells[0].size]
    common = set.intersection(*finished)
    return [(w, [c for c in cells if not c.size or c.seed in common]) for w, cells in terms]
