"""Samples for studies of difficulty: the same depths in every band, two traces each, test problems apart."""

import pytest

from data_prep.small_world.problems import BANDS
from data_prep.small_world.study import DEPTHS, FAR_DEPTHS, heldout_problems, samples


def test_bands_have_the_same_depths_and_differ_in_the_other_knobs() -> None:
    rows = list(samples(80, 0))
    for trace in ("natural", "padded"):
        for band in BANDS:
            some = [row for row in rows if row["band"] == band and row["trace"] == trace]
            assert len(some) >= 78  # a problem may come twice
            assert {row["depth"] for row in some} == set(DEPTHS)
    sizes = {band: {row["operand_size"] for row in rows if row["band"] == band} for band in BANDS}
    assert max(sizes["easy"]) < min(sizes["hard"])
    lengths = {t: sum(len(r["messages"][1]["content"]) for r in rows if r["trace"] == t) for t in ("natural", "padded")}
    assert lengths["padded"] > 1.3 * lengths["natural"]


@pytest.mark.parametrize("split", ["test", "dev"])
def test_held_out_problems_are_no_training_problems(split: str) -> None:
    rows = list(heldout_problems(30, 0, split))
    assert len({row["problem_id"] for row in rows}) == len(rows) == 4 * 30
    assert {row["depth"] for row in rows if row["band"] == "far"} == set(FAR_DEPTHS)
    assert {row["depth"] for row in rows if row["band"] != "far"} == set(DEPTHS)
    assert not {row["problem_id"] for row in rows} & {row["problem_id"] for row in samples(200, 0)}
