"""How far measures of difficulty agree: annotated levels, learned scores, pass rates of one model or another.

    python -m data_prep.ablation.transfer --samples outputs/curate --responses base=outputs/distill_base \\
        policy=outputs/distill_policy

Bands that were made for one model say something about another one only as far as these tables say so.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atanh, sqrt, tanh
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from data_prep.ablation.selection import pass_rates
from data_prep.artefacts import read_manifest
from data_prep.bands import BANDS, band_of
from data_prep.sources import find_files
from data_prep.statistics import Z

MIN_PROBLEMS = 10
RATES = (0.8, 0.4)
PARTS = ("easiest third", "middle", "hardest third")


@dataclass(frozen=True)
class Measure:
    """Difficulty by problem id. A pass rate falls with difficulty, levels and scores rise."""

    name: str
    values: Mapping[str, float]
    is_rate: bool

    def parts(self) -> tuple[str, ...]:
        return BANDS if self.is_rate else PARTS

    def part_of(self, values: np.ndarray, bounds: Sequence[float]) -> list[str]:
        """Bands of pass rates; of other measures the thirds of these very values (equal values together)."""
        if self.is_rate:
            return [band_of(value, bounds) for value in values]
        place = (stats.rankdata(values) - 0.5) / len(values)
        return [PARTS[min(2, int(3 * p))] for p in place]


def measures_of(samples: Mapping[str, Sequence[Any]], rates: Mapping[str, Mapping[str, float]]) -> list[Measure]:
    """What the columns of samples (problem_id; level, pass_rate, score where there) and given pass rates measure."""
    found = []
    for column in ("level", "score", "pass_rate"):
        values = {
            i: float(v) for i, v in zip(samples["problem_id"], samples.get(column, ()), strict=False) if v is not None
        }
        if len(set(values.values())) > 1:
            found.append(Measure(column.replace("_", " "), values, column == "pass_rate"))
    return found + [Measure(f"pass rate of {name}", values, True) for name, values in rates.items()]


def compare(first: Measure, second: Measure, bounds: Sequence[float] = RATES) -> dict[str, Any] | None:
    """Rank correlation of difficulty with its interval, and the shares of the second's parts in each of the first's.

    Spearman's coefficient, both turned so that more is harder; Fisher's z with the variance 1.06 / (n - 3) (Fieller,
    Hartley and Pearson, Biometrika 44, 1957). None with fewer than ten common problems or a constant measure.
    """
    common = sorted(first.values.keys() & second.values.keys())
    a, b = (np.array([measure.values[i] for i in common]) for measure in (first, second))
    if len(common) < MIN_PROBLEMS or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    sign = -1 if first.is_rate != second.is_rate else 1
    rho = float(sign * stats.spearmanr(a, b).statistic)
    z, half = atanh(max(-0.999999, min(0.999999, rho))), Z * sqrt(1.06 / (len(common) - 3))
    rows, columns = first.part_of(a, bounds), second.part_of(b, bounds)
    table = {
        row: {c: sum(r == row and k == c for r, k in zip(rows, columns, strict=True)) for c in second.parts()}
        for row in first.parts()
    }
    return {"first": first.name, "second": second.name, "n": len(common), "rank_correlation": rho,
            "low": tanh(z - half), "high": tanh(z + half), "table": table}  # fmt: skip


def transfer(measures: Sequence[Measure], bounds: Sequence[float] = RATES) -> list[dict[str, Any]]:
    """`compare` of every pair."""
    pairs = [(a, b) for i, a in enumerate(measures) for b in measures[i + 1 :]]
    return [found for a, b in pairs if (found := compare(a, b, bounds))]


def as_text(found: Mapping[str, Any]) -> str:
    columns = list(next(iter(found["table"].values())))
    width = max(len(row) for row in found["table"]) + 2
    lines = [
        f"{found['first']} and {found['second']}: rank correlation {found['rank_correlation']:.2f} "
        f"({found['low']:.2f} to {found['high']:.2f}), {found['n']:,} problems",
        f"{'':{width}}" + "".join(f"{column:>16}" for column in columns),
    ]
    for row, counts in found["table"].items():
        total = sum(counts.values())
        shares = "".join(f"{100 * counts[c] / total:15.0f}%" if total else f"{'-':>16}" for c in columns)
        lines.append(f"{row:{width}}{shares}  of {total:,}")
    return "\n".join(lines)


def read_columns(folder: str) -> dict[str, list[Any]]:
    """Problem ids and measures of an artefact folder's rows; `difficulty` counts as score where a scorer made it."""
    manifest = read_manifest(folder) if Path(folder).is_dir() else None
    if manifest is None or manifest.get("kind") not in ("sample", "problem"):
        raise ValueError(f"--samples {folder}: no artefact folder of samples or problems")
    scored = manifest["config"].get("difficulty", {}).get("difficulty") == "scorer"
    columns: dict[str, list[Any]] = {}
    for file in find_files(Path(folder)):
        table = pq.read_table(file)
        for name in ("problem_id", "level", "score", "pass_rate", "difficulty"):
            if name in table.column_names:
                key = "score" if name == "difficulty" else name
                if name != "difficulty" or scored:
                    columns.setdefault(key, []).extend(table[name].to_pylist())
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--samples", help="artefact folder with level, pass_rate or a scorer's difficulty")
    parser.add_argument("--responses", nargs="*", default=[], metavar="NAME=FOLDER", help="responses of models")
    parser.add_argument("--bands", type=float, nargs=2, default=list(RATES), help="pass rates of easy and medium")
    args = parser.parse_args()
    try:
        columns = read_columns(args.samples) if args.samples else {"problem_id": []}
        rates = {name: pass_rates(folder) for name, _, folder in (text.partition("=") for text in args.responses)}
        found = transfer(measures_of(columns, rates), args.bands)
        if not found:
            raise ValueError("no two measures of difficulty of at least ten common problems: give more")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print("\n\n".join(as_text(one) for one in found))


if __name__ == "__main__":
    main()
