"""Plots of a study, as SVG for its page and as PNG for a talk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.ablation.analysis import Analysis
from data_prep.bands import BANDS

COLOURS = ("#0a66b7", "#e08214", "#1a7f37", "#8250df", "#cf222e", "#57606a", "#bf8700", "#1b7c83")
BAND_COLOURS = {"easy": "#1a7f37", "medium": "#bf8700", "hard": "#cf222e", "unsolved": "#8250df", "all": "#57606a"}
VERDICT_COLOURS = {"holds": "#1a7f37", "contradicted": "#cf222e", "undecided": "#57606a"}
MAX_LINES = 8
AXES = ("response", "where", "length", "matched", "epochs", "per_problem", "random_init")


def write_figures(found: Analysis, folder: Path, budget: str) -> list[tuple[str, str, str]]:
    """Writes NAME.svg and NAME.png; returns (name, caption, SVG text) in the order in which a reader wants them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none",
             "svg.hashsalt": "redstar", "figure.constrained_layout.use": True}  # fmt: skip
    figures = []
    with plt.rc_context(style):
        for unit in ("points", "log-odds"):
            some = [q for q in found.questions if q["unit"] == unit and q["estimate"] is not None]
            if some:
                figures.append((f"answers_{unit.replace('-', '_')}", f"Estimates in {unit}: thick line 95 % interval, "
                                "thin line corrected for the comparisons of its family, dashes the smallest effect "
                                "of interest.", forest(plt, some, unit)))  # fmt: skip
        lines = lines_of(found)
        for start in range(0, len(lines), MAX_LINES):
            caption = (
                f"Accuracy by {budget} trained on, mean over seeds with its 95 % interval (new seeds and problems); "
                "dotted: the untrained model."
            )
            figures.append((f"by_size_{start // MAX_LINES + 1}", caption,
                            by_size(plt, lines[start : start + MAX_LINES], found, budget)))  # fmt: skip
        if matrix := bands_of(found):
            size = f"{matrix[0]['size']:,} {budget}"
            caption = f"Accuracy in %, by the band trained on ({size}) and the group of problems tested."
            figures.append(("trained_and_tested", caption, heat(plt, matrix, found)))
        figures.append(("ways", f"Every way of training at the largest size, in {budget}, and untrained models: mean "
                        "over seeds with its 95 % interval, and the single runs.", ways(plt, found)))  # fmt: skip
        written = []
        for name, caption, figure in figures:
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=160)
            plt.close(figure)
            svg = (folder / f"{name}.svg").read_text()
            written.append((name, caption, svg[svg.index("<svg") :]))
    return written


def forest(plt: Any, questions: Sequence[dict[str, Any]], unit: str) -> Any:
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.42 * len(questions)))
    for i, q in enumerate(reversed(questions)):
        colour = VERDICT_COLOURS[q["verdict"]]
        axes.plot([q["simultaneous_low"], q["simultaneous_high"]], [i, i], color=colour, lw=1.2)
        axes.plot([q["low"], q["high"]], [i, i], color=colour, lw=3.5, solid_capstyle="butt")
        axes.plot(q["estimate"], i, "o", color=colour, ms=6)
        axes.plot([q["smallest_effect"]] * 2, [i - 0.32, i + 0.32], color="black", lw=1.4, ls=(0, (2, 1)))
        text = f"{q['verdict']}  {q['estimate']:+.{1 if unit == 'points' else 2}f}"
        axes.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", color=colour)
    axes.axvline(0, color="#57606a", lw=0.8)
    axes.set_yticks(range(len(questions)), [q["name"].replace("_", " ") for q in reversed(questions)])
    axes.set_xlabel(f"effect in {unit}")
    axes.set_ylim(-0.6, len(questions) - 0.4)
    return figure


def lines_of(found: Analysis) -> list[list[dict[str, Any]]]:
    """Ways that differ in the size only, two sizes or more, each as a line of rising size."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for way in found.ways:
        if way["size"] and way["accuracy"]:
            lines.setdefault(way["name"].rpartition(":")[0], []).append(way)
    return [sorted(line, key=lambda way: way["size"]) for line in lines.values() if len(line) > 1]


def by_size(plt: Any, lines: Sequence[Sequence[dict[str, Any]]], found: Analysis, budget: str) -> Any:
    n_columns = min(3, len(found.groups))
    n_rows = -(-len(found.groups) // n_columns)
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=(3.6 * n_columns, 2.9 * n_rows), sharex=True, sharey=True, squeeze=False
    )
    several = len({line[0]["model"] for line in lines}) > 1
    sizes = sorted({way["size"] for line in lines for way in line})
    for axes, group in zip(grid.flat, found.groups, strict=False):
        for i, line in enumerate(lines):
            first = line[0]
            same = [other for other in lines[:i] if other[0]["band"] == first["band"]]
            colour = (
                COLOURS[i % len(COLOURS)]
                if len({line[0]["band"] for line in lines}) == 1
                else BAND_COLOURS[first["band"]]
            )
            estimates = [way["accuracy"][group] for way in line]
            x = np.array([way["size"] for way in line]) * (1 + 0.03 * (i - len(lines) / 2))  # side by side
            mean = np.array([100 * e["mean"] for e in estimates])
            ends = np.abs([[100 * e["low"], 100 * e["high"]] for e in estimates] - mean[:, None]).T
            name = first["name"].rpartition(":")[0]
            axes.errorbar(x, mean, yerr=ends, marker="o^sD"[len(same) % 4], ms=4, lw=1.4, elinewidth=0.9, capsize=2,
                          color=colour, ls=("-", "--", "-.")[len(same) % 3],
                          label=name if several else name.partition(", ")[2])  # fmt: skip
        for i, base in enumerate(way for way in found.ways if not way["size"] and way["accuracy"]):
            if base["model"] in {line[0]["model"] for line in lines}:
                axes.axhline(100 * base["accuracy"][group]["mean"], color="#57606a", ls=":", lw=1 + 0.6 * i)
        axes.set_xscale("log")
        axes.set_xticks(sizes, [short(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(-3, 103)
        axes.set_title(f"{'all test problems' if group == 'all' else group} ({found.n_problems[group]:,})", fontsize=10)
        axes.grid(axis="y", lw=0.4, alpha=0.5)
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(found.groups) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel("accuracy, %")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.supxlabel(f"{budget} trained on", fontsize=10)
    figure.legend(handles, labels, loc="outside upper center", ncols=2 if several else 4, frameon=False, fontsize=9)
    return figure


def bands_of(found: Analysis) -> list[dict[str, Any]]:
    """Ways that differ in the band only, at the largest size at which there are most of them."""
    blocks: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for way in found.ways:
        if way["size"] and way["accuracy"]:
            same = {key: str(way[key]) for key in ("model", *AXES)}
            blocks.setdefault((way["size"], str(same)), []).append(way)
    best = max(blocks.items(), key=lambda item: (len(item[1]), item[0][0]), default=(None, []))[1]
    order = [*BANDS, "all"]
    return sorted(best, key=lambda way: order.index(way["band"])) if len(best) > 1 and len(found.groups) > 1 else []


def heat(plt: Any, matrix: Sequence[dict[str, Any]], found: Analysis) -> Any:
    values = np.array([[100 * way["accuracy"][group]["mean"] for group in found.groups] for way in matrix])
    figure, axes = plt.subplots(figsize=(1.6 + 1.1 * len(found.groups), 1.1 + 0.55 * len(matrix)))
    axes.imshow(values, vmin=0, vmax=100, cmap="Greens", aspect="auto")
    for i, way in enumerate(matrix):
        for j, group in enumerate(found.groups):
            e = way["accuracy"][group]
            text = f"{100 * e['mean']:.1f}\n{100 * e['low']:.0f} to {100 * e['high']:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if values[i, j] > 60 else "black")
    axes.set_xticks(range(len(found.groups)), [f"{g} ({found.n_problems[g]:,})" for g in found.groups])
    axes.set_yticks(range(len(matrix)), [way["band"] for way in matrix])
    axes.set_xlabel("tested")
    axes.set_ylabel("trained on")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def ways(plt: Any, found: Analysis) -> Any:
    """All ways at the largest size of their line, on all test problems."""
    chosen: dict[str, dict[str, Any]] = {}
    for way in found.ways:
        if way["accuracy"]:
            key = way["name"].rpartition(":")[0] or way["name"]
            if key not in chosen or way["size"] > chosen[key]["size"]:
                chosen[key] = way
    order = sorted(chosen.values(), key=lambda way: way["accuracy"]["all"]["mean"])
    figure, axes = plt.subplots(figsize=(9, 0.9 + 0.34 * len(order)))
    for i, way in enumerate(order):
        e = way["accuracy"]["all"]
        colour = BAND_COLOURS.get(way["band"], "#57606a") if way["size"] else "#57606a"
        axes.plot([100 * e["low"], 100 * e["high"]], [i, i], color=colour, lw=2.5, solid_capstyle="butt", alpha=0.6)
        axes.plot(100 * e["mean"], i, "o", color=colour, ms=6)
        runs = [r["accuracy"]["all"] for r in found.cells if r["status"] == "done" and same_way(r, way)]
        axes.plot([100 * run for run in runs], [i] * len(runs), "|", color=colour, ms=9, alpha=0.8)
    axes.set_yticks(range(len(order)), [way["name"] for way in order], fontsize=9)
    axes.set_xlabel("accuracy on all test problems, %")
    axes.grid(axis="x", lw=0.4, alpha=0.5)
    return figure


def same_way(record: dict[str, Any], way: dict[str, Any]) -> bool:
    return all(plain(record[axis]) == plain(way[axis]) for axis in ("model", "size", "band", *AXES))


def plain(value: Any) -> Any:
    """JSON has lists where Python has tuples."""
    return list(value) if isinstance(value, tuple) else value


def short(size: float) -> str:
    """800000 as 800k."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if size >= factor:
            return f"{size / factor:g}{unit}"
    return f"{size:g}"
