"""Numbers of a report in words, the same on the page, in the text and on the terminal."""

from collections.abc import Mapping
from typing import Any

OVERLAP = 0.3  # share of the samples that two seeds may have in common before the report speaks of it


def effect(q: Mapping[str, Any]) -> str:
    """`+12.3 points (8.1 to 16.5), power 99 %`."""
    if q["estimate"] is None:
        return q["method"]
    digits = 1 if q["unit"] == "points" else 2
    return (
        f"{q['estimate']:+.{digits}f} {q['unit']} ({q['low']:.{digits}f} to {q['high']:.{digits}f}), "
        f"power {q['power']:.0%}"
    )


def percent(e: Mapping[str, Any] | None) -> str:
    return f"{100 * e['mean']:.1f} ({100 * e['low']:.1f} to {100 * e['high']:.1f})" if e else "-"


def summary(report: Mapping[str, Any]) -> list[str]:
    status = ", ".join(f"{n:,} {what}" for what, n in report["status"].items())
    samples = report["samples"]
    left_out = ", ".join(f"{n:,} {reason}" for reason, n in samples["left_out"].items() if n) or "none"
    drawn = max((way["share_of_fitting"] or 0 for way in report["ways"]), default=0)
    overlap = (
        f" Two seeds share up to {drawn:.0%} of their samples, so intervals hold less of the chance in drawing them "
        "than with more samples to draw from (column 'of those that fit')."
        if drawn > OVERLAP
        else ""
    )
    added = len(report["cells_added_later"])
    return [
        f"Cells: {status}. Sizes count {report['budget']}; learning rate {report['learning_rate']}. "
        f"{report['tokens_trained']:,} tokens trained on in {report['cell_hours']:g} cell hours.",
        f"Samples: {samples['rows']:,} of {samples['path']}; left out: {left_out}.{overlap}",
        f"Questions, tests and smallest effects were fixed at {report['questions_fixed']}, before the first cell "
        f"(SHA-256 {(report['questions_sha256'] or '')[:12]})."
        + (f" {added:,} cells were added to the grids later." if added else ""),
    ]


def numbers(q: Mapping[str, Any]) -> list[str]:
    """Effect, interval and corrected interval in words."""
    if q["estimate"] is None:
        return [q["method"], "-", "-"]
    d = 1 if q["unit"] == "points" else 2
    return [
        f"{q['estimate']:+.{d}f} {q['unit']}",
        f"{q['low']:.{d}f} to {q['high']:.{d}f}",
        f"{q['simultaneous_low']:.{d}f} to {q['simultaneous_high']:.{d}f} (of {q['n_comparisons']})",
    ]


def curve_rows(report: Mapping[str, Any]) -> list[list[str]]:
    return [
        [c["way"], c["tested"], f"{c['slope']:.2f} ({c['low']:.2f} to {c['high']:.2f})",
         f"{c['bend']:.2f} ({c['bend_low']:.2f} to {c['bend_high']:.2f})", "yes" if c["bend_seen"] else "no"]
        for c in report["curves"]
    ]  # fmt: skip
