"""What a process reward model is worth: pairs in the right order, scores against Q."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

POSITIONS = ((0, 0, "first"), (1, 3, "1_to_3"), (4, 10**9, "4_on"))  # steps before a pair
BINS = 10


class PairRecord(NamedTuple):
    """A scored pair. `row`, `number`: where it stands in the data. `clear`: the official filter keeps it."""

    row: int
    number: int
    chosen: float
    rejected: float
    final: bool
    position: int
    clear: bool

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], chosen: Any, rejected: Any) -> "list[PairRecord]":
        """The pairs of rows, whose scores are given in their order."""
        places = [(row, i) for row in rows for i in range(len(row["chosen"]))]
        scores = zip(chosen.tolist(), rejected.tolist(), strict=True)
        return [
            cls(row["number"], i, good, bad, row["final"][i], row["position"][i], row["clear"][i])
            for (row, i), (good, bad) in zip(places, scores, strict=True)
        ]


class ValueRecord(NamedTuple):
    """A scored step and its Q."""

    row: int
    number: int
    score: float
    q: float

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], scores: Any) -> "list[ValueRecord]":
        places = [(row, i) for row in rows for i in range(len(row["q"]))]
        return [cls(row["number"], i, s, row["q"][i]) for (row, i), s in zip(places, scores.tolist(), strict=True)]


def pair_accuracy(pairs: Sequence[PairRecord]) -> float:
    """Share of pairs whose chosen step has the higher score; equal scores count half."""
    chosen = np.array([pair.chosen for pair in pairs])
    rejected = np.array([pair.rejected for pair in pairs])
    return float(np.mean((chosen > rejected) + 0.5 * (chosen == rejected)))


def calibration_error(scores: np.ndarray, q: np.ndarray) -> float:
    """Mean distance of score and Q in ten bins of equal width by score, weighted by their sizes (both from -1 to 1)."""
    bins = np.clip(((scores + 1) / 2 * BINS).astype(int), 0, BINS - 1)
    distances = [abs(scores[bins == b].mean() - q[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(distances) / len(scores))


def ppm_metrics(pairs: Sequence[PairRecord], values: Sequence[ValueRecord]) -> dict[str, float]:
    """`pair_accuracy` of all pairs and of those that the official filter keeps, of final answers, and by position;
    `calibration_error`, correlation and mean squared error of scores against Q. What there is no data for is left out.
    """
    found: dict[str, float] = {}
    groups = {
        "pair_accuracy": list(pairs),
        "pair_accuracy_filtered": [pair for pair in pairs if pair.clear],
        "pair_accuracy_final": [pair for pair in pairs if pair.final],
        "pair_accuracy_steps": [pair for pair in pairs if not pair.final],
    }
    for low, high, name in POSITIONS:
        groups[f"pair_accuracy_steps_{name}"] = [p for p in pairs if not p.final and low <= p.position <= high]
    for name, members in groups.items():
        if members:
            found[name] = pair_accuracy(members)
            found[f"n_{name.replace('pair_accuracy', 'pairs')}"] = len(members)
    if values:
        scores, q = np.array([v.score for v in values]), np.array([v.q for v in values])
        found |= {"n_values": len(values), "calibration_error": calibration_error(scores, q),
                  "q_mse": float(((scores - q) ** 2).mean())}  # fmt: skip
        if scores.std() > 0 and q.std() > 0:
            found["q_correlation"] = float(np.corrcoef(scores, q)[0, 1])
    return found
