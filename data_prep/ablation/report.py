"""The report of a study: a tidy table of all cells, report.json, report.md, plots and a page."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.ablation.analysis import Analysis
from data_prep.ablation.figures import write_figures
from data_prep.ablation.launching import command_again
from data_prep.ablation.page import page
from data_prep.ablation.plan import Plan, as_shell, evaluate_command, sft_settings, train_command
from data_prep.ablation.settings import RunArguments
from data_prep.ablation.study import records_of
from data_prep.ablation.transfer import as_text, measures_of, transfer
from data_prep.ablation.words import curve_rows, effect, numbers, percent, summary
from data_prep.artefacts import MANIFEST, library_versions, read_manifest, write_json

TIDY = ("name", "model", "band", "size", "seed", "response", "where", "length", "matched", "epochs", "per_problem",
        "random_init", "status", "fault", "tokens", "unique_tokens", "trained_tokens", "samples", "unique_samples",
        "problems", "tokens_per_sample", "steps", "learning_rate", "train_loss", "response_tokens",
        "seconds")  # fmt: skip


def write_report(plan: Plan, run: RunArguments, found: Analysis) -> None:
    """Writes everything below `report_dir` (or the study's folder) and prints the verdicts."""
    folder = Path(plan.study.report_dir or plan.study.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    report = as_report(plan, run, found)
    tidy(found).to_parquet(folder / "cells.parquet", compression="zstd", index=False)
    write_json(folder / "report.json", report)
    figures = write_figures(found, folder / "figures", plan.study.budget)
    (folder / "report.md").write_text(markdown(report, [(name, caption) for name, caption, _ in figures]))
    (folder / "index.html").write_text(page(report, figures), encoding="utf-8")
    print_answers(report, folder)


def tidy(found: Analysis) -> pd.DataFrame:
    """One row for each cell and group of test problems; a cell without a result has one row without accuracy."""
    rows = []
    for record in found.cells:
        about = {name: record.get(name) for name in TIDY}
        about |= {"where": json.dumps(record["where"]), "matched": ",".join(record["matched"])}
        for group, accuracy in (record.get("accuracy") or {None: None}).items():
            rows.append({**about, "tested": group, "accuracy": accuracy, "n_tested": found.n_problems.get(group or "")})
    return pd.DataFrame(rows)


def as_report(plan: Plan, run: RunArguments, found: Analysis) -> dict[str, Any]:
    """All numbers of the report, for programs."""
    manifest = read_manifest(plan.folder) or {}
    done = [record for record in found.cells if record["status"] == "done"]
    status = Counter(record["status"] for record in found.cells)
    names = set(plan.pool.rows.column_names) & {"problem_id", "level", "score", "pass_rate"}
    columns = {name: plan.pool.rows[name][:] for name in names}
    return {
        "study": Path(plan.study.output_dir).name,
        "questions_fixed": manifest.get("fixed"),
        "questions_sha256": manifest.get("questions_sha256"),
        "cells_added_later": manifest.get("cells_added_later", []),
        "manifest": str(plan.folder / MANIFEST),
        "budget": plan.study.budget,
        "learning_rate": "tuned for each size on " + ", ".join(plan.study.dev) if plan.tuning else "fixed",
        "status": dict(status),
        "questions": found.questions,
        "ways": found.ways,
        "curves": found.curves,
        "tuning": records_of(plan, plan.tuning),
        "cells": [{key: value for key, value in r.items() if key not in ("key", "device")} for r in found.cells],
        "tested": found.n_problems,
        "samples": {"path": plan.study.samples, "rows": len(plan.pool.rows), "hash": plan.pool.hash,
                    "left_out": plan.left_out, "bands": dict(Counter(plan.pool.band))},
        "difficulty_measures": transfer(measures_of(columns, plan.pool.rates), plan.study.bands),
        "commands": {
            cell.name: [
                *([as_shell(train_command(plan, cell, run, record.get("learning_rate")))] if cell.size else []),
                as_shell(evaluate_command(plan, cell)),
            ]
            for cell, record in zip(plan.cells, found.cells, strict=True)
            if record["status"] != "missing"
        },
        "command": as_shell(command_again(("--only", "--report_only", "--dry_run", "--report_dir", "--retry_failed"))),
        "reported_on": hardware(),
        "settings": {"study": asdict(plan.study), "sft": sft_settings(plan.study)},
        "tokens_trained": sum(record.get("tokens", 0) for record in done),
        "cell_hours": round(sum(record["seconds"] for record in found.cells if "seconds" in record) / 3600, 2),
        "libraries": library_versions(),
    }  # fmt: skip


def hardware() -> str:
    """The accelerators, or the processor, and the number of cores."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def print_answers(report: Mapping[str, Any], folder: Path) -> None:
    print()
    for q in report["questions"]:
        print(f"{q['verdict']:13}{effect(q):42} {q['claim']}")
    failed = report["status"].get("failed", 0) + report["status"].get("missing", 0)
    print(
        f"\nresult     {report['status'].get('done', 0):,} cells"
        + (f", {failed:,} failed or missing" if failed else "")
    )
    print(f"report     {folder}/index.html, report.md, report.json, cells.parquet, figures/")


def markdown(report: Mapping[str, Any], figures: Sequence[tuple[str, str]]) -> str:
    """The report as a text for a repository or a paper's appendix."""
    groups = list(report["tested"])
    lines = [f"# Study: {report['study']}", ""]
    lines += [*summary(report), "", "## Answers", ""]
    lines += table(
        ["claim", "effect", "95 % interval", "corrected", "verdict", "power", "expected before the run"],
        [
            [q["claim"], *numbers(q), q["verdict"], "-" if q["power"] is None else f"{q['power']:.0%}", q["expected"]]
            for q in report["questions"]
        ],
    )
    for name, caption in figures:
        lines += ["", f"![{name}](figures/{name}.svg)", "", f"*{caption}*"]
    lines += ["", "## Accuracy by what was trained on and tested", "",
              "In %, mean over seeds with the 95 % interval for new seeds and problems.", ""]  # fmt: skip
    lines += table(
        ["trained on", "seeds", "samples", "of those that fit", "tokens a sample",
         *(f"{g} ({report['tested'][g]:,})" for g in groups)],
        [
            [way["name"], str(way["n_seeds"]), count(way, "samples"), share(way), count(way, "tokens_per_sample"),
             *(percent(way["accuracy"].get(group)) for group in groups)]
            for way in report["ways"]
        ],
    )  # fmt: skip
    if report["curves"]:
        lines += ["", "## By size", "", "Log-odds of a right answer gained by each doubling of the size; lines by "
                  "seed, interval over seeds on these problems. Where a bend is seen the points say more.",
                  ""]  # fmt: skip
        lines += table(["trained on", "tested", "log-odds per doubling", "bend", "bend seen"], curve_rows(report))
    if report["difficulty_measures"]:
        lines += ["", "## Measures of difficulty", ""]
        lines += ["```", *("\n\n".join(map(as_text, report["difficulty_measures"]))).splitlines(), "```"]
    if failed := [cell for cell in report["cells"] if cell["status"] != "done"]:
        lines += ["", "## Cells without a result", ""]
        lines += [f"- `{cell['name']}`: {cell['status']}, {cell['fault'] or 'not run yet'}" for cell in failed]
    return "\n".join(lines) + "\n"


def count(way: Mapping[str, Any], name: str) -> str:
    return f"{way[name]:,.0f}" if name in way else "-"


def share(way: Mapping[str, Any]) -> str:
    return "-" if way["share_of_fitting"] is None else f"{way['share_of_fitting']:.0%}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
