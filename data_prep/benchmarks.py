"""Benchmarks: reading problems with answers, refusing those a model was trained on, and summing up responses."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from data_prep.artefacts import read_trained_on
from data_prep.rows import RowError, is_unicode, problem_id
from data_prep.small_world.samples import problem_rows
from data_prep.sources import DatasetConfig, open_blocks, read_block
from data_prep.statistics import mean_over_problems, pass_at_k, wilson


def read_benchmark(name: str, split: str, n_problems: int | None) -> list[dict[str, Any]]:
    """Problem rows of a benchmark, each problem once; answers as text. Raises RowError, ValueError, FileNotFoundError.

    A problem that comes twice is left out the second time and named on stderr. Columns: `problem` or `question`, and
    `answer` or `gold`; `level` or `difficulty` if there.
    """
    if name == "small-world":
        return list(problem_rows(split, n_problems or 300))  # type: ignore[arg-type]
    rows: dict[str, dict[str, Any]] = {}
    for block in open_blocks(DatasetConfig(name, split=split, n_rows=n_problems), kinds=("problem", "sample")):
        for where, row in read_block(block):
            text = row.get("problem") or row.get("question")
            answer = next((row[c] for c in ("answer", "gold") if row.get(c) is not None), None)
            if not isinstance(text, str) or answer is None:
                raise RowError(
                    f"{where}: needs the columns 'problem' (or 'question') and 'answer'; it has {sorted(row)}"
                )
            if not is_unicode(text):
                raise RowError(f"{where}: the problem holds half a character (a lone surrogate)")
            level = row.get("level", row.get("difficulty"))
            row = {**row, "problem_id": problem_id(text), "problem": text, "answer": str(answer), "level": level}
            first = rows.setdefault(row["problem_id"], row)
            if first["answer"] != row["answer"]:
                raise RowError(f"{where}: answer {answer!r}, but {first['answer']!r} where the problem stood before")
            if first is not row:
                print(f"{where}: a problem that stood before, left out", file=sys.stderr)
    if not rows:
        raise ValueError(f"{name}: no problems")
    return list(rows.values())


def content_hash(problems: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the problems' ids and answers, in their order."""
    return hashlib.sha256(json.dumps([[row["problem_id"], row["answer"]] for row in problems]).encode()).hexdigest()


def refuse_trained_on(model: str, benchmark: str, problems: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError if the model's folder records any of the problems as trained on."""
    trained_on = read_trained_on(model) if Path(model).is_dir() else set()
    seen = [row for row in problems if row["problem_id"] in trained_on]
    if seen:
        raise ValueError(
            f"{model} was trained on {len(seen)} of the {len(problems)} problems of {benchmark}, e.g. "
            f"{seen[0]['problem'][:60]!r}: a score on them would say nothing. Choose another benchmark"
        )


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of response rows by decoding and group (`all` first), each with a 95 % interval over problems."""
    scores = []
    order = list(dict.fromkeys(row["group"] for row in rows))
    groups = ["all", *(group for group in order if group != "all")] if len(order) > 1 else ["all"]
    for decoding in dict.fromkeys(row["decoding"] for row in rows):
        for group in groups:
            chosen = sorted(
                (row for row in rows if row["decoding"] == decoding and group in ("all", row["group"])),
                key=lambda row: row["problem_id"],
            )
            if not chosen:  # this decoding was used on other groups only
                continue
            problems = [[*responses] for _, responses in groupby(chosen, key=lambda row: row["problem_id"])]
            right = [sum(row["verdict"] == "right" for row in responses) for responses in problems]
            n = min(len(responses) for responses in problems)
            counts = {
                "n_problems": len(problems),
                "n_samples": n,
                "mean_tokens": sum(row["n_tokens"] for row in chosen) / len(chosen),
                "truncated": sum(row["finish_reason"] == "length" for row in chosen) / len(chosen),
                "without_answer": sum(row["extracted"] is None for row in chosen) / len(chosen),
                "timed_out": sum(row["verdict"] == "timed out" for row in chosen),
                "unverifiable": sum(row["verdict"] == "unverifiable" for row in chosen),
            }
            ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k <= n]
            for k in ks:
                estimate = (
                    wilson(sum(right), len(problems))
                    if all(len(responses) == 1 for responses in problems)
                    else mean_over_problems(
                        [pass_at_k(len(r), c, k) for r, c in zip(problems, right, strict=True)], n // k
                    )
                )
                scores.append(
                    {"decoding": decoding, "group": group, "metric": f"pass@{k}", **asdict(estimate), **counts}
                )
    return {"scores": scores}


def score(result: Mapping[str, Any], metric: str = "pass@1", group: str = "all", decoding: str = "greedy") -> float:
    """One mean out of a result."""
    wanted = {"metric": metric, "group": group, "decoding": decoding}
    return next(s["mean"] for s in result["scores"] if all(s[key] == value for key, value in wanted.items()))


def table(result: Mapping[str, Any]) -> str:
    """The scores as text, one line each, in percent."""
    lines = [
        f"{'decoding':9} {'group':10} {'metric':9} {'%':>6}  {'95 % interval':14} {'problems':>8} {'tokens':>7} "
        f"{'cut':>6} {'no answer':>9}"
    ]
    for s in result["scores"]:
        interval = f"{100 * s['low']:.1f} to {100 * s['high']:.1f}"
        lines.append(
            f"{s['decoding']:9} {s['group']:10} {s['metric']:9} {100 * s['mean']:6.1f}  {interval:14} "
            f"{s['n_problems']:8,} {s['mean_tokens']:7,.0f} {100 * s['truncated']:5.1f}% "
            f"{100 * s['without_answer']:8.1f}%"
        )
    return "\n".join(lines)
