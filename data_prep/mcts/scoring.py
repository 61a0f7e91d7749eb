"""What search and evaluation ask of a model that grades steps."""

from collections.abc import Sequence
from typing import Protocol


class StepScorer(Protocol):
    """Grades the steps of solutions, as a process preference model does."""

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        """For each problem (its text as it is asked) and the steps of a solution so far (each with the output of its
        program) the scores of all these steps, from -1 to 1. A step's score depends on the steps up to it alone.
        """


def check_range(scores: Sequence[Sequence[float]]) -> None:
    """Raises ValueError if a score is no number from -1 to 1, with how many are not."""
    if n_odd := sum(not -1 <= score <= 1 for own in scores for score in own):
        n = sum(map(len, scores))
        raise ValueError(f"the scorer gave {n_odd:,} of {n:,} scores that are not from -1 to 1")
