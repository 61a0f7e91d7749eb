"""Rollouts kept to be read: Parquet files of response rows with rewards and scores of steps, and a page of some.

python -m rl.records outputs/grpo                  # rollouts.html, of outputs/grpo/rollouts/step-*.parquet
"""

import os
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.artefacts import as_table
from data_prep.mcts.page import printable
from data_prep.rows import RESPONSE, validate

FOLDER = "rollouts"
STEPS_SHOWN, GROUPS_SHOWN, ROLLOUTS_SHOWN = 4, 2, 4  # of a page
COLUMNS = (
    pa.field("step", pa.int64()),
    pa.field("problem", pa.string()),
    pa.field("answer", pa.string()),
    pa.field("rewards", pa.map_(pa.string(), pa.float64())),
    pa.field("advantage", pa.float64()),
    pa.field("steps", pa.list_(pa.string())),
    pa.field("step_scores", pa.list_(pa.float32())),
)


def write_rollouts(folder: Path, step: int, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes the rollouts that optimizer step `step` learns from, as response rows with `COLUMNS`.

    `rewards`: by function, null where it gave none; `advantage`: the mean over the tokens; `steps`, `step_scores`: of
    the process reward model, empty without one.
    """
    for i, row in enumerate(rows):
        validate(row, "response", f"rollout {i} of step {step}")
    path = folder / FOLDER / f"step-{step:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    pq.write_table(as_table(list(rows), pa.schema([*RESPONSE, *COLUMNS]), 0), temporary, compression="zstd")
    os.replace(temporary, path)
    return path


def write_page(folder: Path) -> Path:
    """Writes rollouts.html: some rollouts of steps from the first to the last. Raises ValueError if there are none."""
    files = sorted((folder / FOLDER).glob("step-*.parquet"))
    if not files:
        raise ValueError(f"{folder}: no rollouts there: were they written? (--rollouts_every)")
    n = min(STEPS_SHOWN, len(files))
    chosen = [files[round(i * (len(files) - 1) / max(1, n - 1))] for i in range(n)]
    parts = [part for path in chosen for part in step_part(pq.read_table(path).to_pylist())]
    page = TEMPLATE.format(
        title=escape(printable(f"Rollouts of {folder.resolve().name}")), n_files=len(files), content="\n".join(parts)
    )
    target = folder / "rollouts.html"
    target.write_text(page, encoding="utf-8")
    return target


def step_part(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Some problems of a step, those first that are solved sometimes, with some of their rollouts."""
    n_right = sum(row["verdict"] == "right" for row in rows)
    parts = [f"<h2>Step {rows[0]['step']:,}: {n_right} of {len(rows)} rollouts right</h2>"]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem"], []).append(row)
    alike = {problem: len({row["verdict"] for row in group}) == 1 for problem, group in groups.items()}
    for problem in sorted(groups, key=lambda problem: alike[problem])[:GROUPS_SHOWN]:
        group = groups[problem]
        parts.append(f"<p class='problem'>{shown(problem)}<br><b>Gold: {shown(group[0]['answer'] or '')}</b></p>")
        parts += [rollout_part(row) for row in group[:ROLLOUTS_SHOWN]]
    return parts


def rollout_part(row: Mapping[str, Any]) -> str:
    rewards = ", ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in row["rewards"])
    cut = ", cut" if row["finish_reason"] == "length" else ""
    verdict = row["verdict"] or "not judged"
    head = f"{verdict}, {row['n_tokens']:,} tokens{cut}; {rewards}; advantage {row['advantage']:+.2f}"
    if row["steps"]:
        body = "".join(
            f"<span class='step' style='background:{colour(score)}' title='score {score:+.2f}'>{shown(text)}"
            f"<sub>{score:+.2f}</sub></span>"
            for text, score in zip(row["steps"], row["step_scores"], strict=True)
        )
    else:
        body = shown(row["response"])
    mark = {"right": "right", "wrong": "wrong"}.get(row["verdict"] or "", "other")
    return f"<details class='{mark}'><summary>{escape(head)}</summary><div class='text'>{body}</div></details>"


def colour(score: float) -> str:
    """From red (-1) over white (0) to green (1)."""
    share = min(1.0, abs(score)) * 0.45
    return f"rgba(34,139,34,{share:.2f})" if score >= 0 else f"rgba(200,40,40,{share:.2f})"


def shown(text: str) -> str:
    return escape("".join(c if c == "\n" else printable(c) for c in text))


TEMPLATE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; color: #222 }}
h2 {{ margin-top: 2.2rem; border-bottom: 1px solid #ccc }}
.problem, .text {{ white-space: pre-wrap; overflow-wrap: anywhere }}
.problem {{ background: #f4f4f4; padding: .6rem .8rem; border-radius: 4px }}
details {{ margin: .4rem 0; border-left: 4px solid #aaa; padding-left: .7rem }}
details.right {{ border-color: #2e8b57 }} details.wrong {{ border-color: #c83c3c }}
summary {{ cursor: pointer }} sub {{ color: #444; font-size: .7em; margin-left: .15em }}
.text {{ font-family: ui-monospace, monospace; font-size: 13px; margin: .5rem 0 }}
.step {{ display: block; padding: .15rem .3rem; border-radius: 3px }}
</style></head><body>
<h1>{title}</h1>
<p>Some rollouts of {n_files:,} recorded steps; all of them are in the folder <code>rollouts</code> (Parquet). Each line
says the verdict, the length, every reward, and the advantage (mean over the tokens). Where a process reward model has
scored the steps, colours are its scores, from red (-1) to green (1).</p>
{content}
</body></html>
"""


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        print(write_page(Path(sys.argv[1])))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
