"""What a curation did to its data, as one HTML file: funnel, histograms, sources, matches, examples, time, settings."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, fields
from html import escape
from math import gcd, log10
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.artefacts import MANIFEST
from data_prep.bands import BANDS
from data_prep.comparison import STYLE, shortened
from data_prep.curation.settings import InputConfig, Settings
from data_prep.formats import END_THINK, THINK

MAX_SHOWN = 20_100  # characters of a text; dropped examples come cut to 20,000 with a note in the middle, which stays
KEPT_SHOWN = 10
DROPPED_SHOWN = 20  # of one reason
MATCHES_SHOWN = 25  # of one kind
MISLABELLED_SHOWN = 100
SOURCES_SHOWN = 50
MAX_BARS = 24
KINDS = ("exact", "near", "contained", "renumbered")
Pairs = Mapping[str, Mapping[str, int]]  # {value: {"kept": rows, "dropped": rows}}

LOOK = """
:root { --kept: #0a66b7; --dropped: #e08214; }
@media (prefers-color-scheme: dark) { :root { --kept: #5aa9e6; --dropped: #f0a04b; } }
body { max-width: 1100px; }
h1, p { overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; font-size: 1.2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
.lead { font-size: 1.15rem; }
.soft { opacity: .75; }
nav { z-index: 1; display: flex; flex-wrap: wrap; gap: .2rem 1rem; align-items: baseline; }
nav #search { margin-left: auto; min-width: 14rem; }
[id] { scroll-margin-top: 5rem; }
table { display: block; overflow-x: auto; max-width: 100%; }
td { vertical-align: top; overflow-wrap: break-word; }
.step { display: grid; grid-template-columns: 7.5rem 1fr 6.5rem; gap: 0 .8rem; align-items: center; margin: .35rem 0; }
.step ul { grid-column: 2; margin: .1rem 0 .3rem; padding: 0; list-style: none; font-size: .9rem; }
.step ul:empty { display: none; } .step li { display: inline-block; margin-right: 1.2rem; } .step a { color: inherit; }
.bar { display: flex; height: 1.1rem; background: var(--soft); border-radius: 3px; overflow: hidden; }
td .bar { width: 12rem; max-width: 20vw; margin-top: .2rem; }
.bar i { min-width: 0; } .bar i.dropped { border-left: 1px solid Canvas; }
i.kept { background: var(--kept); } i.dropped { background: var(--dropped); }
.key i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin: 0 .3rem 0 0; }
.key i.dropped { margin-left: 1rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 100%; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif; fill: currentColor; }
svg .kept { fill: var(--kept); } svg .dropped { fill: var(--dropped); } svg line { stroke: currentColor; opacity: .25; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
details.problem > summary { overflow-wrap: anywhere; }
"""
SCRIPT = """
const search = document.querySelector("#search"), found = document.querySelector("#found");
const items = [...document.querySelectorAll("details.problem")];
search.addEventListener("input", () => {
  const wanted = search.value.toLowerCase();
  for (const item of items) item.hidden = wanted && !item.textContent.toLowerCase().includes(wanted);
  const n = items.filter(item => !item.hidden).length;
  found.textContent = wanted ? `${n} of ${items.length}, Enter shows them` : "";
});
search.addEventListener("keydown", event => {
  if (event.key === "Enter") items.find(item => !item.hidden)?.scrollIntoView();
});
"""
KEY = '<p class="key"><i class="kept"></i>kept<i class="dropped"></i>dropped</p>'


def write_page(folder: Path) -> None:
    """Writes `index.html` from the other files of a curation's output folder."""
    manifest = json.loads((folder / MANIFEST).read_text())
    config, reasons = manifest["config"], sorted(manifest["rows_dropped"])
    parts = {
        "Funnel": funnel(manifest, reasons),
        "Histograms": histograms(manifest),
        "Sources": sources(manifest["sources"]),
        "Benchmarks": contamination(folder / "report" / "contamination.parquet", config["contamination"]),
        "Labels": mislabelled(folder / "report" / "mislabelled.json", config["duplicates"]),
        "Kept": kept_examples(folder),
        "Dropped": dropped_examples(folder / "report" / "dropped.parquet", manifest["rows_dropped"], reasons),
        "Time": seconds(manifest),
        "Settings": settings(config),
    }
    title = text(config["input"]["output_dir"])
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in parts)
    body = "\n".join(f'<section id="{name.lower()}">{part}</section>' for name, part in parts.items())
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}{LOOK}</style></head><body>
<h1>What curation did: {title}</h1>
{summary(manifest)}
<nav>{links}<input id="search" type="search" aria-label="search"
placeholder="text in examples and matches"><span id="found"></span></nav>
{body}
<script>{SCRIPT}</script></body></html>
"""
    (folder / "index.html").write_text(page, encoding="utf-8")


# --- Numbers, words, tables


def text(value: Any, longest: int = MAX_SHOWN) -> str:
    """Escaped; a long one is cut in the middle. Whatever comes from data goes through here or through `one_line`."""
    return escape(shortened("" if value is None else str(value), longest))


def code(value: Any, longest: int = 500) -> str:
    return f"<code>{text(value, longest)}</code>"


def one_line(value: str | None, longest: int = 140) -> str:
    line = " ".join((value or "")[: 4 * longest].split())
    return escape(line[:longest] + ("…" if len(line) > longest else ""))


def percent(part: float, whole: float = 1) -> str:
    share = 100 * part / (whole or 1)
    return f"{share:.3g} %" if share < 99.95 or share == 100 else "99.9 %"


def amount(n: int) -> str:
    """A number where there is little room."""
    size, unit = next(((size, unit) for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")) if n >= size), (1, ""))
    return f"{n:,}" if n < 10**5 else f"{n / size:.0f}{unit}" if n >= 100 * size else f"{n / size:.3g}{unit}"


def duration(value: float) -> str:
    minutes, rest = divmod(round(value), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{value:.1f} s"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """`rows` are cells of HTML; `numbers`: the columns to be set to the right."""
    kinds = [' class="number"' if i in numbers else "" for i in range(len(heads))]
    lines = ["".join(f"<th{kind}>{head}</th>" for kind, head in zip(kinds, heads))]
    lines += ["".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row)) for row in rows]
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def bar(kept: float, dropped: float, whole: float) -> str:
    widths = {side: 100 * n / whole for side, n in (("kept", kept), ("dropped", dropped)) if n}
    parts = (f'<i class="{side}" style="width:{width:.2f}%"></i>' for side, width in widths.items())
    return f'<div class="bar">{"".join(parts)}</div>'


def wall_seconds(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of the run's three parts; the others are sums over workers."""
    return {name: value for name, value in manifest["seconds"].items() if "(" not in name}


# --- Parts of the page


def summary(manifest: Mapping[str, Any]) -> str:
    n_in, n_out, counts = manifest["rows_in"], manifest["rows_out"], manifest["counts"]
    took, tokens = sum(wall_seconds(manifest).values()), manifest["tokens"]
    with_tokens = f" with <b>{tokens['total']:,}</b> tokens" if tokens else ""
    if tokens and "standard_error" in tokens:
        with_tokens += f" (± {tokens['standard_error']:,}, estimated from {text(tokens['counted'])})"
    time_taken = f"That took {duration(took)}: {n_in / (took or 0.1):,.0f} rows/s."
    if manifest["resumed"]:
        time_taken = f"The run had been stopped; the last part of it took {duration(took)}."
    lines = [
        f'<p class="lead">Of <b>{n_in:,}</b> rows about {counts["problems"]:,} problems, <b>{n_out:,}</b> are kept '
        f"({percent(n_out, n_in)}){with_tokens}. {time_taken}</p>"
    ]
    for name, what in (
        ("problems_probably_mislabelled", 'problems are <a href="#labels">probably mislabelled</a>'),
        ("problems_with_conflicting_golds", "problems have golds that differ from row to row"),
        ("problems_renumbered", "problems have the words of another one and other numbers"),
        ("near_with_other_answers", "pairs of problems are nearly the same but with other answers, kept apart"),
    ):
        if counts.get(name):
            lines.append(f"<div>{counts[name]:,} {what}.</div>")
    lines += [f"<div><b>Warning:</b> {text(warning)}</div>" for warning in manifest["warnings"]]
    return "\n".join(lines)


def funnel(manifest: Mapping[str, Any], reasons: Sequence[str]) -> str:
    lines = ["<h2>Funnel</h2>", KEY]
    for step in manifest["funnel"]:
        dropped = sorted(step.get("dropped", {}).items(), key=lambda item: -item[1])
        items = "".join(
            f'<li><a href="#dropped-{reasons.index(reason)}">−{n:,} {text(reason.partition(": ")[2])}</a></li>'
            for reason, n in dropped
        )
        lines.append(
            f'<div class="step"><span>{text(step["step"])}</span>'
            f"{bar(step['left'], sum(n for _, n in dropped), manifest['rows_in'])}"
            f'<span class="number">{step["left"]:,}</span><ul>{items}</ul></div>'
        )
    return "\n".join(lines)


def histograms(manifest: Mapping[str, Any]) -> str:
    what = "response" if manifest["config"]["input"]["rows"] == "samples" else "problem"
    lengths = {int(bound): count for bound, count in manifest["lengths"].items()}
    smallest, largest = min(filter(None, lengths), default=0), max(lengths, default=0)
    doubling = [2**i for i in range(31) if smallest <= 2**i <= largest]  # those between that no row has, too
    by_length = {f"{bound:,}": lengths.get(bound, {}) for bound in [*([0] * (0 in lengths)), *doubling]}
    names = {"pass_rate": "Pass rate of the problem", "level": "Annotated level", "scorer": "Difficulty by the scorer"}
    difficulty = names.get(manifest["config"]["difficulty"]["difficulty"], "Difficulty")
    order = [*BANDS, *sorted({*manifest["bands"]} - {*BANDS})]
    bands = {name: manifest["bands"][name] for name in order if name in manifest["bands"]}
    problems = [manifest["problem_bands"].get(name, 0) for name in bands]
    return (
        f'<h2>Histograms, in rows</h2>{KEY}<div class="charts">'
        + histogram(f"Characters of the {what}", by_length, True, step=50)
        + (histogram(difficulty, *even_bins(manifest["difficulties"])) if manifest["difficulties"] else "")
        + histogram("Band", bands, problems=problems, step=72)
        + "</div>"
    )


def even_bins(counts: Pairs) -> tuple[dict[str, dict[str, int]], bool]:
    """Bins of one width for values to a tenth, and whether they hold several values each (then named by the lowest)."""
    tenths = {round(10 * float(value)): count for value, count in counts.items()}
    finest = step = gcd(*tenths) or 1
    while max(tenths) // step - min(tenths) // step >= MAX_BARS:
        step += finest
    bins = {i: {"kept": 0, "dropped": 0} for i in range(min(tenths) // step, max(tenths) // step + 1)}
    for value, count in tenths.items():
        for side, n in count.items():
            bins[value // step][side] += n
    return {f"{i * step / 10:g}": count for i, count in bins.items()}, step > finest


def histogram(title: str, bars: Pairs, at_edges: bool = False, problems: Sequence[int] = (), step: int = 46) -> str:
    """Stacked bars as SVG. `at_edges`: a name is that of the lower bound; `problems`: numbers below the bars."""
    if not bars:
        return ""
    left, top, height = 58, 18, 170
    bottom, width = top + height, left + step * len(bars) + 24
    counts = [(count.get("kept", 0), count.get("dropped", 0)) for count in bars.values()]
    most = max(map(sum, counts)) or 1
    power = 10 ** int(log10(most))
    tick = max(1, next(power * part // 10 for part in (2, 5, 10, 20, 50) if most <= power * part / 2))
    parts: list[str] = []

    def label(x: float, y: float, words: str, kind: str = "middle") -> None:
        parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{text(words)}</text>')

    for value in range(0, most + 1, tick):
        y = bottom - height * value / most
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label(left - 6, y + 4, amount(value), "end")
    for i, (name, (kept, dropped)) in enumerate(zip(bars, counts)):
        middle, y, whole = left + step * (i + 0.5), float(bottom), kept + dropped
        about = f"{name}{' and more' * at_edges}: {kept:,} kept, {dropped:,} dropped"
        for side, n in (("kept", kept), ("dropped", dropped)):
            y -= (high := height * n / most)
            size = f'x="{middle - step / 2 + 3}" y="{y:.1f}" width="{step - 6}" height="{high:.1f}"'
            parts.append(f'<rect class="{side}" {size}><title>{text(about)}</title></rect>')
        label(middle - step / 2 * at_edges, bottom + 15, name)
        if whole:
            label(middle, y - 4, amount(whole))
            label(middle, bottom + 32, "< 1 %" if 0 < 200 * kept < whole else f"{100 * kept / whole:.0f} %")
        if problems:
            label(middle, bottom + 49, f"{problems[i]:,}")
    for i, name in enumerate(["kept", "problems"] if problems else ["kept"]):
        label(left - 6, bottom + 32 + 17 * i, name, "end")
    return (
        f'<figure><figcaption>{text(title)}</figcaption><svg role="img" aria-label="{text(title)}" width="{width}" '
        f'viewBox="0 0 {width} {bottom + (54 if problems else 37)}">{"".join(parts)}</svg></figure>'
    )


def sources(counts: Pairs) -> str:
    shown = sorted(counts.items(), key=lambda item: -sum(item[1].values()))
    if rest := shown[SOURCES_SHOWN:]:
        both = {side: sum(count[side] for _, count in rest) for side in ("kept", "dropped")}
        shown = [*shown[:SOURCES_SHOWN], (f"{len(rest):,} other sources", both)]
    most = max(sum(count.values()) for _, count in shown)
    rows = [
        [text(name, 200), f"{kept:,}", f"{dropped:,}", percent(kept, kept + dropped), bar(kept, dropped, most)]
        for name, (kept, dropped) in ((name, (count["kept"], count["dropped"])) for name, count in shown)
    ]
    return "<h2>Sources</h2>" + table(["source", "kept", "dropped", "share kept", ""], rows, (1, 2, 3))


def contamination(path: Path, config: Mapping[str, Any]) -> str:
    head = "<h2>Problems that stand in a benchmark</h2>"
    if not config["benchmarks"]:
        return f"{head}<p>Nothing was compared with a benchmark: <code>--benchmarks</code> names none.</p>"
    named = text(", ".join(config["benchmarks"]), 1000)
    matches = pq.read_table(path)
    if not len(matches):
        return f"{head}<p>None of the problems was found in {named}.</p>"
    groups = matches.group_by(["benchmark", "kind"]).aggregate([([], "count_all")]).to_pylist()
    counts = {(group["benchmark"], group["kind"]): group["count_all"] for group in groups}
    rows = [
        [text(name, 200), *(f"{counts.get((name, kind), 0):,}" for kind in KINDS)]
        for name in sorted({name for name, _ in counts})
    ]
    fate = "dropped too" if config["renumbered_benchmark"] == "drop" else "kept (unless --renumbered_benchmark drop)"
    parts = [
        f"{head}<p>{len(matches):,} matches of problems with {named}. Exact: the same words. Near: almost the same. "
        "Contained: has most of a benchmark problem's n-grams. Rows about these are dropped. Renumbered: the same "
        f"words with other numbers, {fate}.</p>",
        table(["benchmark", *KINDS], rows, range(1, 5)),
    ]
    for kind in KINDS:
        some = matches.filter(pc.field("kind") == kind).sort_by([("strength", "descending")])
        if len(some):
            # From the strongest to the weakest, as it is the weak ones that show whether the bounds are right.
            picked = np.unique(np.linspace(0, len(some) - 1, MATCHES_SHOWN).round().astype(int))
            parts.append(f"<h3>{kind}: {len(picked):,} of {len(some):,} shown</h3>")
            parts += [one_match(match) for match in some.take(picked).to_pylist()]
    return "\n".join(parts)


def one_match(match: Mapping[str, Any]) -> str:
    sides = "".join(
        f'<div><b>{name}</b><p class="question">{text(match[column])}</p></div>'
        for name, column in (("data", "problem"), ("benchmark", "benchmark_problem"))
    )
    return (
        f'<details class="problem"><summary>{match["strength"]:.2f} · {text(match["benchmark"], 200)} {match["item"]:,}'
        f' · {one_line(match["problem"])}</summary><div class="sides">{sides}</div></details>'
    )


def mislabelled(path: Path, config: Mapping[str, Any]) -> str:
    problems = json.loads(path.read_text(encoding="utf-8"))["problems"]
    shown = f"; the {MISLABELLED_SHOWN} clearest are shown" if len(problems) > MISLABELLED_SHOWN else ""
    fate = "They are dropped" if config["mislabelled"] == "drop" else "They stay (unless --mislabelled drop)"
    rows = [
        [place(row), text(row["source"], 200), one_line(row["problem"]), code(row["gold"]), code(row["majority"]),
         percent(row["majority_share"]), f"{row['n_attempts'] or 0:,}",
         "" if row["pass_rate"] is None else percent(row["pass_rate"])]
        for row in problems[:MISLABELLED_SHOWN]
    ]  # fmt: skip
    heads = ["first row", "source", "problem", "gold", "most say", "share", "attempts", "pass rate"]
    return (
        f"<h2>Probably mislabelled problems</h2><p>{len(problems):,} problems, of which most attempts agree on one "
        f"answer against the gold{shown}. {fate}. All are in report/mislabelled.json.</p>"
    ) + (table(heads, rows, (5, 6, 7)) if rows else "")


def place(row: Mapping[str, Any]) -> str:
    return f'<span title="{text(row["file"], 500)}">{text(Path(row["file"]).name, 100)}:{row["line"]}</span>'


def kept_examples(folder: Path) -> str:
    """The first rows of the balanced order."""
    wanted = ("problem", "answer", "source", "band", "difficulty", "pass_rate", "messages", "rank")
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("data-*.parquet")):
        columns = [name for name in wanted if name in pq.read_schema(path).names]
        rows += pq.read_table(path, columns=columns, filters=[("rank", "<", KEPT_SHOWN)]).to_pylist()
    parts = [f"<h2>Kept: the first {len(rows):,} rows of the order of the selection</h2>"]
    for row in sorted(rows, key=lambda row: row["rank"]):
        about = [f"{name} {text(row[column])}" for name, column in
                 (("band", "band"), ("pass rate", "pass_rate"), ("difficulty", "difficulty"))
                 if row[column] is not None]  # fmt: skip
        turns = [turn for turn in row.get("messages") or () if turn["content"] != row["problem"]]
        body = "".join(f"<b>{text(turn['role'], 100)}</b>{response(turn['content'])}" for turn in turns)
        parts.append(one_example(row, about, body))
    return "\n".join(parts)


def dropped_examples(path: Path, counts: Mapping[str, int], reasons: Sequence[str]) -> str:
    by_reason: dict[str, list[dict[str, Any]]] = {reason: [] for reason in reasons}
    for row in pq.read_table(path).to_pylist():
        by_reason[row["reason"]].append(row)
    parts = ["<h2>Dropped, by reason</h2>"]
    for i, (reason, rows) in enumerate(by_reason.items()):
        n = f"{min(len(rows), DROPPED_SHOWN):,} of {counts[reason]:,} rows"
        parts.append(f'<h3 id="dropped-{i}">{text(reason)} <span class="soft">{n}</span></h3>')
        for row in rows[:DROPPED_SHOWN]:
            about = [place(row)] + ([text(row["detail"], 500)] if row["detail"] else [])
            if row["extracted"] and not reason.startswith("verify"):  # whose detail has the answer
                about.append(f"answer {code(row['extracted'])} ({text(row['verdict'])})")
            parts.append(one_example(row, about, response(row["response"] or "")))
    return "\n".join(parts)


def one_example(row: Mapping[str, Any], about: Sequence[str], body: str) -> str:
    gold = [] if row["answer"] is None else [f"gold {code(row['answer'], 1000)}"]
    return (
        f'<details class="problem"><summary>{text(row["source"], 200)} · {one_line(row["problem"])}</summary>'
        f'<p class="question">{text(row["problem"])}</p><p>{" · ".join([*gold, *about])}</p>{body}</details>'
    )


def response(content: str) -> str:
    """A thought and what follows it, each by itself."""
    before, _, rest = content.partition(THINK)
    thought, closed, answer = rest.partition(END_THINK)
    parts = {"": before, "Thought" if closed else "Thought, never closed": thought, "Answer": answer}
    return "".join(
        f"<div>{name}</div><pre>{text(part.strip(chr(10)))}</pre>" for name, part in parts.items() if part.strip()
    )


def seconds(manifest: Mapping[str, Any]) -> str:
    wall, parts = wall_seconds(manifest), ["<h2>Time</h2>"]
    work = {name.partition(" (")[0]: value for name, value in manifest["seconds"].items() if name not in wall}
    for head, values in (("by the clock", wall), ("shards, all workers", work)):
        most = max(values.values(), default=0)
        rows = [[text(name), f"{value:,.1f}", bar(value, 0, most)] for name, value in values.items()]
        parts.append(table([head, "seconds", ""], rows, (1,)))
    libraries = ", ".join(f"{name} {version}" for name, version in manifest["libraries"].items())
    parts.append(f'<p class="soft">{text(manifest["started"])} to {text(manifest["ended"])}; {text(libraries)}</p>')
    return "\n".join(parts)


# --- Settings


def changed(config: Mapping[str, Any]) -> list[tuple[Field, Any, Any]]:
    """Settings that differ from their defaults: field, value, default. Of an input, what differs from its defaults."""
    found = []
    for part, cls in get_type_hints(Settings).items():
        for field, default in zip(fields(cls), asdict(cls()).values()):
            value = config[part][field.name]
            if field.name == "inputs":
                plain = asdict(InputConfig(""))
                value = [{key: of for key, of in one.items() if of != plain[key]} for one in value]
            found += [(field, value, default)] if value != default else []
    return found


def settings(config: Mapping[str, Any]) -> str:
    rows = [
        [text(field.name), *(code(as_text(one), 2000) for one in (value, default)),
         text(field.metadata["help"].replace("%%", "%"))]
        for field, value, default in changed(config)
    ]  # fmt: skip
    return (
        "<h2>Settings that differ from their defaults</h2>" + table(["setting", "value", "default", "about"], rows)
    ) + f"<p>The same again, with an output_dir that does not exist yet:</p><pre>{escape(command(config))}</pre>"


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def command(config: Mapping[str, Any]) -> str:
    """What repeats the run, from the repository's root. An empty list has no form there: a comment tells it."""
    lines, comments = ["python recipes/curate.py"], ""
    for field, value, _ in changed(config):
        if value == []:
            comments += f"\n# and in a YAML file that --config names: {field.name}: []"
        else:
            values = [as_text(one) for one in (value if isinstance(value, list) else [value])]
            equals = "=" if values[0].startswith("-") and not isinstance(value, list) else " "
            lines.append(f"--{field.name}{equals}{' '.join(map(shlex.quote, values))}")
    return " \\\n    ".join(lines) + comments
