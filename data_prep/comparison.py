"""Two evaluations of the same problems, side by side: what changed, by how much, and both responses to read."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_prep.artefacts import read_manifest
from data_prep.statistics import Estimate, paired_difference

MAX_SHOWN = 20_000  # characters of a response on the page; its beginning and end, and how much is left out between


def read_responses(folder: str | Path) -> list[dict[str, Any]]:
    """Response rows of an evaluation's folder. Raises ValueError if it is none, FileNotFoundError if not there."""
    manifest = read_manifest(folder)
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if manifest is None or manifest.get("stage") != "evaluate":
        raise ValueError(f"{folder}: not the output of recipes/evaluate.py (its manifest.json does not say so)")
    rows = [row for path in sorted(Path(folder).glob("data-*.parquet")) for row in pq.read_table(path).to_pylist()]
    if missing := {"benchmark", "decoding", "problem", "answer", "group"} - set(rows[0] if rows else ()):
        raise ValueError(f"{folder}: no column {min(missing)!r}: made by an older version, run evaluate.py again")
    return rows


def compare(
    a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]], decoding: str
) -> tuple[list[dict[str, Any]], dict[str, Estimate], int]:
    """Problems that both have, the difference b - a per benchmark, and how many problems only one of them has.

    A problem: `problem`, `answer`, `benchmark`, `group`, `a` and `b` (response rows of this decoding), and their shares
    of right ones, `share_a` and `share_b`. Raises ValueError if they share no problem.
    """
    sides: list[dict[tuple[str, str], list[Mapping[str, Any]]]] = []
    for rows in (a, b):
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["decoding"] == decoding:
                found.setdefault((row["benchmark"], row["problem_id"]), []).append(row)
        sides.append(found)
    both = [key for key in sides[0] if key in sides[1]]
    if not both:
        raise ValueError(
            f"the two evaluations share no problem with {decoding} responses: give the same --benchmarks and decodings"
        )
    problems = []
    for key in both:
        ours, theirs = (sorted(side[key], key=lambda row: row["sample"]) for side in sides)
        shares = [sum(row["verdict"] == "right" for row in rows) / len(rows) for rows in (ours, theirs)]
        kept = {name: ours[0][name] for name in ("problem", "answer", "benchmark", "group")}
        problems.append({**kept, "a": ours, "b": theirs, "share_a": shares[0], "share_b": shares[1]})
    differences = {}
    for benchmark in dict.fromkeys(key[0] for key in both):
        here = [problem for problem in problems if problem["benchmark"] == benchmark]
        differences[benchmark] = paired_difference(
            [problem["share_b"] for problem in here], [problem["share_a"] for problem in here]
        )
    return problems, differences, len({*sides[0]} ^ {*sides[1]})


def kind_of(problem: Mapping[str, Any]) -> str:
    """`gained`, `lost`, `right` (both equally, some right) or `wrong` (both never right)."""
    if problem["share_b"] != problem["share_a"]:
        return "gained" if problem["share_b"] > problem["share_a"] else "lost"
    return "right" if problem["share_a"] else "wrong"


STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
nav { position: sticky; top: 0; background: Canvas; padding: .6rem 0; border-bottom: 1px solid var(--line); }
#search { min-width: 18rem; }
nav label { margin-right: 1.2rem; cursor: pointer; }
details.problem { border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0; padding: .4rem .8rem; }
details.problem > summary { cursor: pointer; }
code { overflow-wrap: anywhere; }
.tag { display: inline-block; min-width: 4.2rem; font-weight: 600; }
.gained .tag, .verdict-right { color: var(--good); font-weight: 600; }
.lost .tag, .verdict-wrong { color: var(--bad); font-weight: 600; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.sides > div { min-width: 0; }
@media (max-width: 800px) { .sides { grid-template-columns: 1fr; } }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); border-radius: 6px; padding: .6rem; }
pre { max-height: 32rem; overflow-y: auto; font-size: 13px; }
.question { white-space: pre-wrap; overflow-wrap: anywhere; }
body.hide-gained .gained, body.hide-lost .lost, body.hide-right .right, body.hide-wrong .wrong { display: none; }
"""
SCRIPT = """
for (const box of document.querySelectorAll("nav input[data-kind]")) {
  const show = () => document.body.classList.toggle("hide-" + box.dataset.kind, !box.checked);
  box.addEventListener("change", show); show();
}
const search = document.querySelector("#search");
search.addEventListener("input", () => {
  const wanted = search.value.toLowerCase();
  for (const item of document.querySelectorAll("details.problem"))
    item.hidden = wanted && !item.textContent.toLowerCase().includes(wanted);
});
"""
TITLES = {
    "gained": "B is right more often",
    "lost": "B is right less often",
    "right": "both equally right",
    "wrong": "both never right",
}


def page(
    problems: Sequence[Mapping[str, Any]],
    differences: Mapping[str, Estimate],
    names: tuple[str, str],
    notes: Sequence[str],
) -> str:
    """One HTML file that needs nothing else; what the models have written is escaped."""
    kinds = [kind_of(problem) for problem in problems]
    counts = {kind: kinds.count(kind) for kind in TITLES}
    rows = []
    for benchmark, estimate in differences.items():
        here = [problem for problem in problems if problem["benchmark"] == benchmark]
        a, b = (100 * sum(problem[share] for problem in here) / len(here) for share in ("share_a", "share_b"))
        cells = [f"{len(here):,}", f"{a:.1f}", f"{b:.1f}", f"{100 * estimate.mean:+.1f}"]
        interval = f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"
        rows.append(
            f"<tr><td>{html.escape(benchmark)}</td>"
            + "".join(f'<td class="number">{cell}</td>' for cell in [*cells, interval])
            + f"<td>{html.escape(estimate.method)}</td></tr>"
        )
    boxes = "".join(
        f'<label><input type="checkbox" data-kind="{kind}"{" checked" if kind in ("gained", "lost") else ""}> '
        f"{title} ({counts[kind]:,})</label>"
        for kind, title in TITLES.items()
    )
    order = sorted(range(len(problems)), key=lambda i: (list(TITLES).index(kinds[i]), problems[i]["benchmark"]))
    items = "\n".join(one_problem(problems[i], kinds[i]) for i in order)
    a, b = (html.escape(name) for name in names)
    heads = "".join(
        f"<th>{head}</th>" for head in ("benchmark", "problems", "A %", "B %", "B − A", "95 % interval", "method")
    )
    lines = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{a} and {b}</title><style>{STYLE}</style></head><body>
<h1>Two evaluations, problem by problem</h1>
<p><b>A</b>: {a}<br><b>B</b>: {b}</p>{lines}
<table><tr>{heads}</tr>
{"".join(rows)}</table>
<nav>{boxes}<input id="search" type="search" placeholder="text in problem or response"></nav>
{items}
<script>{SCRIPT}</script></body></html>
"""


def one_problem(problem: Mapping[str, Any], kind: str) -> str:
    shares = " → ".join(share(problem[name], len(problem[side])) for name, side in (("share_a", "a"), ("share_b", "b")))
    sides = "".join(f"<div><b>{name}</b>{one_side(problem[side])}</div>" for name, side in (("A", "a"), ("B", "b")))
    first = " ".join(problem["problem"].split())
    short = html.escape(first[:140] + ("…" if len(first) > 140 else ""))
    group = "" if problem["group"] == "all" else f", {html.escape(problem['group'])}"
    return (
        f'<details class="problem {kind}"><summary><span class="tag">{kind}</span> {shares} · '
        f"{html.escape(problem['benchmark'])}{group} · {short}</summary>"
        f'<p class="question">{html.escape(problem["problem"])}</p>'
        f"<p>Gold: <code>{html.escape(problem['answer'])}</code></p>"
        f'<div class="sides">{sides}</div></details>'
    )


def share(value: float, n: int) -> str:
    return ("right" if value else "wrong") if n == 1 else f"{round(value * n)}/{n}"


def one_side(rows: Sequence[Mapping[str, Any]]) -> str:
    """The responses of one evaluation to a problem; of several, a right one and a wrong one."""
    chosen = {row["verdict"] == "right": row for row in reversed(rows)}
    parts = []
    for row in sorted(chosen.values(), key=lambda row: row["sample"]):
        verdict = "right" if row["verdict"] == "right" else "wrong"
        found = (
            "no answer"
            if row["extracted"] is None
            else f"answer <code>{html.escape(shortened(row['extracted'], 1000))}</code>"
        )
        cut = ", cut at the limit" if row["finish_reason"] == "length" else ""
        which = "" if len(rows) == 1 else f"sample {row['sample']} of {len(rows)}: "
        parts.append(
            f'<p>{which}<span class="verdict-{verdict}">{html.escape(row["verdict"])}</span>, {found}, '
            f"{row['n_tokens']:,} tokens{cut}</p><pre>{html.escape(shortened(row['response']))}</pre>"
        )
    return "".join(parts)


def shortened(text: str, longest: int = MAX_SHOWN) -> str:
    half = longest // 2
    if len(text) <= longest:
        return text
    return f"{text[:half]}\n\n[... {len(text) - longest:,} characters are left out here ...]\n\n{text[-half:]}"
