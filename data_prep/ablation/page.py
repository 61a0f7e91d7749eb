"""The report as one HTML file that needs no network: verdicts, plots, tables, and the commands of every cell."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from data_prep.ablation.transfer import as_text
from data_prep.ablation.words import curve_rows, numbers, summary
from data_prep.comparison import STYLE

LOOK = """
body { max-width: 1200px; }
h2 { margin-top: 2.2rem; font-size: 1.2rem; }
.soft { opacity: .75; }
nav { z-index: 1; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
[id] { scroll-margin-top: 4rem; }
.wide { overflow-x: auto; }
td { vertical-align: top; }
td.claim { min-width: 18rem; }
.holds { color: var(--good); font-weight: 600; } .contradicted { color: var(--bad); font-weight: 600; }
figure { margin: 1.2rem 0; background: #fff; color: #000; border-radius: 8px; padding: .6rem; }
figure svg { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; }
td.heat { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.heat small { opacity: .7; display: block; }
th.sortable { cursor: pointer; } th.sortable::after { content: " \\2195"; opacity: .4; }
pre { max-height: none; }
"""
SCRIPT = """
for (const link of document.querySelectorAll("a.save")) link.addEventListener("click", () => {
  const svg = new XMLSerializer().serializeToString(link.closest("figure").querySelector("svg"));
  link.href = URL.createObjectURL(new Blob([svg], {type: "image/svg+xml"}));
});
for (const head of document.querySelectorAll("th.sortable")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], i = [...head.parentNode.children].indexOf(head);
  const value = row => { const text = row.cells[i].dataset.value ?? row.cells[i].textContent;
    return text.trim() === "" || isNaN(text) ? text : Number(text); };
  const up = head.dataset.up = head.dataset.up === "1" ? "" : "1";
  const order = (a, b) => value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0;
  body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
});
"""


def page(report: Mapping[str, Any], figures: Sequence[tuple[str, str, str]]) -> str:
    """The page; what comes from data and settings is escaped."""
    parts = {
        "Answers": answers(report["questions"]),
        "Plots": "".join(figure(*one) for one in figures),
        "Trained and tested": trained_and_tested(report),
        "By size": by_size(report),
        "Difficulty": measures(report["difficulty_measures"]),
        "Cells": cells(report),
        "Settings": settings(report),
    }
    parts = {name: part for name, part in parts.items() if part}
    links = "".join(f'<a href="#{anchor(name)}">{name}</a>' for name in parts)
    body = "\n".join(f'<section id="{anchor(name)}"><h2>{name}</h2>{part}</section>' for name, part in parts.items())
    lead = "".join(f"<p>{escape(line)}</p>" for line in summary(report))
    title = escape(f"Study: {report['study']}")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}{LOOK}</style></head><body>
<h1>{title}</h1>{lead}
<nav>{links}</nav>
{body}
<script>{SCRIPT}</script></body></html>
"""


def anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def figure(name: str, caption: str, svg: str) -> str:
    link = f'<a class="save" download="{escape(name)}.svg" href="#">SVG</a>'
    return f"<figure>{svg}<figcaption>{escape(caption)} {link}</figcaption></figure>"


def table(heads: Sequence[str], rows: Sequence[str], sortable: bool = False) -> str:
    kind = ' class="sortable"' if sortable else ""
    cells = "".join(f"<th{kind}>{escape(head)}</th>" for head in heads)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def answers(questions: Sequence[Mapping[str, Any]]) -> str:
    if not questions:
        return "<p>The study asks no question; the tables below say what came out.</p>"
    rows = []
    for q in questions:
        power = "" if q["power"] is None else f"{q['power']:.0%}"
        size = f"{q['smallest_effect']:+g} {q['unit']}"
        tested = ", ".join(q["tested"]) or "all"
        means = "".join(f"<br>{m['weight']:+g} × {100 * m['mean']:.1f} % {escape(m['way'])}" for m in q["means"])
        rows.append(
            f'<tr><td class="claim">{escape(q["claim"])}<br><small class="soft">{escape(q["name"])}, family '
            f"{escape(q['family'])}, tested on {escape(tested)}{means}</small></td>"
            f'<td class="{q["verdict"]}">{q["verdict"]}</td>'
            + "".join(f"<td>{escape(text)}</td>" for text in [*numbers(q), size, power, q["expected"]])
            + "</tr>"
        )
    note = (
        "<p class='soft'><b>holds</b>: there is an effect in the claimed direction, and one of interest is "
        "not excluded. <b>contradicted</b>: every effect of interest is excluded. <b>undecided</b>: the interval holds "
        "both. "
        "Verdicts go by the corrected interval (Bonferroni, within the family); power is the chance of an interval on "
        "the claimed side if the effect were the smallest of interest, with the spread that was seen.</p>"
    )
    heads = (
        "claim",
        "verdict",
        "effect",
        "95 % interval",
        "corrected",
        "of interest",
        "power",
        "expected before the run",
    )
    return note + table(heads, rows)


def trained_and_tested(report: Mapping[str, Any]) -> str:
    groups = list(report["tested"])
    rows = []
    for way in report["ways"]:
        cells = [f"<td>{escape(way['name'])}</td>", f'<td class="number">{way["n_seeds"]}</td>']
        for name in ("samples", "share_of_fitting", "tokens_per_sample", "response_tokens"):
            value = way.get(name)
            shown = "" if value is None else f"{value:.0%}" if name == "share_of_fitting" else f"{value:,.0f}"
            cells.append(f'<td class="number" data-value="{"" if value is None else value}">{shown}</td>')
        cells += [heat(way["accuracy"].get(group)) for group in groups]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["trained on", "seeds", "samples", "of those that fit", "tokens a sample", "tokens a response",
             *(f"{group} ({report['tested'][group]:,})" for group in groups)]  # fmt: skip
    note = (
        '<p class="soft">Accuracy in %, mean over seeds, below it the 95 % interval for new seeds and problems (of the '
        "untrained model: for new problems).</p>"
    )
    return note + table(heads, rows, sortable=True)


def heat(e: Mapping[str, Any] | None) -> str:
    if not e:
        return "<td></td>"
    share = 45 * e["mean"]
    return (
        f'<td class="heat" data-value="{e["mean"]}" '
        f'style="background: color-mix(in srgb, #1a7f37 {share:.0f}%, transparent)">'
        f"{100 * e['mean']:.1f}<small>{100 * e['low']:.1f} to {100 * e['high']:.1f}</small></td>"
    )


def by_size(report: Mapping[str, Any]) -> str:
    if not report["curves"]:
        return ""
    note = (
        '<p class="soft">Log-odds of a right answer gained by each doubling of the size: a line for each seed, the '
        "interval over seeds on these problems. Where a bend is seen (its interval leaves out zero) the points say "
        "more than the line; where none is, that is no proof of a line.</p>"
    )
    rows = ["<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in curve_rows(report)]
    return note + table(("trained on", "tested", "log-odds per doubling", "bend", "bend seen"), rows, sortable=True)


def measures(found: Sequence[Mapping[str, Any]]) -> str:
    return "".join(f"<pre>{escape(as_text(one))}</pre>" for one in found)


def cells(report: Mapping[str, Any]) -> str:
    groups = list(report["tested"])
    rows = []
    for cell in report["cells"]:
        numbers = [cell.get(name) for name in ("seed", "size", "tokens", "samples", "steps", "train_loss", "seconds")]
        shown = ["" if v is None else f"{v:,.3f}" if isinstance(v, float) and v < 100 else f"{v:,.0f}" for v in numbers]
        accuracy = [(cell.get("accuracy") or {}).get(group) for group in groups]
        status = cell["status"] if cell["status"] == "done" else f"{cell['status']}: {cell['fault'] or 'not run yet'}"
        rows.append(
            f"<tr><td><code>{escape(cell['name'])}</code></td><td>{escape(status)}</td><td>{escape(cell['band'])}</td>"
            + "".join(f'<td class="number" data-value="{v if v is not None else ""}">{s}</td>'
                      for v, s in zip(numbers, shown, strict=True))
            + "".join(f'<td class="number">{"" if a is None else f"{100 * a:.1f}"}</td>' for a in accuracy)
            + "</tr>"
        )  # fmt: skip
    heads = ["cell", "status", "band", "seed", "size", "tokens", "samples", "steps", "loss", "seconds", *groups]
    commands = "\n\n".join("\n".join([f"# {name}", *lines]) for name, lines in report["commands"].items())
    return (
        f"<details><summary>{len(rows):,} cells</summary>{table(heads, rows, sortable=True)}</details>"
        f"<p>The whole study again, or what is missing of it: <code>{escape(report['command'])}</code></p>"
        f"<details><summary>The commands of every cell</summary><pre>{escape(commands)}</pre></details>"
    )


def settings(report: Mapping[str, Any]) -> str:
    shown = {**report["settings"], "libraries": report["libraries"], "reported_on": report["reported_on"],
             "samples": report["samples"]}  # fmt: skip
    return f"<pre>{escape(json.dumps(shown, indent=2, default=str))}</pre>"
