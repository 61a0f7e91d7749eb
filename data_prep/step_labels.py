"""Step-label benchmarks: solutions whose first wrong step is known, and how well a scorer finds it.

ProcessBench (arXiv 2412.06559, https://huggingface.co/datasets/Qwen/ProcessBench): a row is a solution with `problem`,
`steps` and `label`, the index of the first wrong step or -1. PRM800K (arXiv 2305.20050,
https://github.com/openai/prm800k): a row is a labelling session with a rating for each step. And our own `step_label`
rows.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.artefacts import write_artefact, write_json
from data_prep.mcts.scoring import StepScorer
from data_prep.rows import RowError, is_unicode, problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block
from data_prep.statistics import harmonic_mean, wilson

KNOWN = {
    f"processbench-{split}": DatasetConfig("Qwen/ProcessBench", split=split)
    for split in ("gsm8k", "math", "olympiadbench", "omnimath")
}
SUITE = "processbench"  # all of them
DEFAULT_THRESHOLD = 0.0  # a probability of 1/2
BATCH = 64  # solutions given to the scorer at once

# ------------------------------------------------------------------------------------------------------------- reading


def find_step_labels(names: Iterable[str], split: str | None = None) -> dict[str, DatasetConfig]:
    """The data sets behind names: `processbench`, one of its parts (`processbench-gsm8k`), files, folders, Hub names.

    `split`: of other Hub data sets (default: test).
    """
    found: dict[str, DatasetConfig] = {}
    for name in names:
        for part in KNOWN if name == SUITE else (name,):
            found[part] = KNOWN.get(part) or DatasetConfig(part, split=split or "test")
    return found


def read_step_labels(dataset: DatasetConfig, n_rows: int | None = None) -> tuple[list[dict[str, Any]], Counter[str]]:
    """`step_label` rows of a data set, and how many rows are left out, by reason.

    A solution that stood before is left out. Raises RowError, ValueError, FileNotFoundError.
    """
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    dropped: Counter[str] = Counter()
    for block in open_blocks(replace(dataset, n_rows=n_rows), kinds=("step_label",)):
        for where, row in read_block(block):
            found = as_step_labels(row, where)
            if isinstance(found, str):
                dropped[found] += 1
                continue
            found["source"] = dataset.path
            first = rows.setdefault((found["problem_id"], *found["steps"]), found)
            if first is not found:
                other = first["first_error"] != found["first_error"]
                dropped["stood before" + (", with another label" if other else "")] += 1
    if not rows:
        reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise ValueError(f"{dataset.path}: no solution with labelled steps" + (f" ({reasons})" if reasons else ""))
    return list(rows.values()), dropped


def as_step_labels(row: Mapping[str, Any], where: str) -> dict[str, Any] | str:
    """A `step_label` row without its source, or the reason why the row cannot be used.

    Raises RowError if the row has none of the known forms.
    """
    steps: Any
    if isinstance(row.get("question"), Mapping) and isinstance(row.get("label"), Mapping):
        problem, found = row["question"].get("problem"), prm800k_steps(row, where)
        if isinstance(found, str):
            return found
        steps, first_error = found
    elif "label" in row or "first_error" in row:
        problem, steps = row.get("problem"), row.get("steps")
        first_error = row["first_error"] if "first_error" in row else row["label"]
        if "label" in row and first_error is None:
            return "no label"
        if first_error is not None and (isinstance(first_error, bool) or not isinstance(first_error, int)):
            raise RowError(
                f"{where}: the index of the first wrong step is {first_error!r}: a whole number, -1 for none"
            )
        first_error = None if first_error == -1 else first_error
    else:
        raise RowError(
            f"{where}: needs 'problem', 'steps' and 'label' (ProcessBench) or 'first_error', or PRM800K's 'question' "
            f"and 'label'; it has {sorted(row)}"
        )
    if not isinstance(problem, str) or not isinstance(steps, list) or not all(isinstance(s, str) for s in steps):
        raise RowError(f"{where}: 'problem' must be a text and 'steps' a list of texts")
    if not all(map(is_unicode, (problem, *steps))):
        raise RowError(f"{where}: holds half a character (a lone surrogate)")
    if not steps or not all(step.strip() for step in steps):
        return "an empty step" if steps else "no steps"
    if first_error is not None and not 0 <= first_error < len(steps):
        raise RowError(f"{where}: the first wrong step is number {first_error} (from 0) of {len(steps)}")
    return {"problem_id": problem_id(problem), "problem": problem, "steps": steps, "first_error": first_error}


def prm800k_steps(row: Mapping[str, Any], where: str) -> tuple[list[str], int | None] | str:
    """Steps of a PRM800K session and the first wrong one, or why they cannot be used.

    Each step has one or more `completions` with ratings (-1 wrong, 0 neutral, 1 right) and which of them was chosen to
    go on from; where none was and no human wrote the step instead, the first one ends the solution. The first step
    rated -1 is the first wrong one. In phase 2 the rest of the pre-generated solution was not labelled; it is kept, as
    ProcessBench keeps what follows an error.
    """
    label = row["label"]
    finish, steps = label.get("finish_reason"), label.get("steps")
    if finish not in ("solution", "found_error"):
        return {"give_up": "the labeller gave up", "bad_problem": "a bad problem"}.get(finish, "not finished")
    if not isinstance(steps, list):
        raise RowError(f"{where}: 'label' has no list of 'steps'")
    texts: list[str] = []
    for step in steps:
        completions, chosen, human = (step.get(key) for key in ("completions", "chosen_completion", "human_completion"))
        if chosen is None and human is not None:  # written by the labeller, and right
            texts.append(human["text"] if isinstance(human, Mapping) else human)
            continue
        if not completions:
            return "no steps"
        completion = completions[chosen or 0]
        if completion.get("flagged"):
            return "flagged by the labeller"
        if completion.get("rating") is None:
            return "no rating"
        texts.append(completion["text"])
        if completion["rating"] == -1:
            whole = row["question"].get("pre_generated_steps") or []
            rest = whole[len(texts) :] if whole[: len(texts)] == texts else []
            return texts + rest, len(texts) - 1
    if finish == "found_error":
        return "an error was found, but no step is rated as wrong"
    return texts, None


# ------------------------------------------------------------------------------------------------------------- scoring


def scored(scorer: StepScorer, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows with the scores of their steps. Raises ValueError if the scorer does not give one for each."""
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        found = scorer.score([row["problem"] for row in batch], [row["steps"] for row in batch])
        for row, scores in zip(batch, found, strict=True):
            if len(scores) != len(row["steps"]):
                raise ValueError(f"the scorer gave {len(scores)} scores for a solution of {len(row['steps'])} steps")
            yield {**row, "scores": [float(score) for score in scores]}


def first_error(scores: Sequence[float], threshold: float) -> int | None:
    """Index of the first step whose score is below the threshold, None if there is none."""
    return next((i for i, score in enumerate(scores) if score < threshold), None)


def choose_threshold(rows: Sequence[Mapping[str, Any]]) -> float:
    """The threshold with the highest F1 on scored rows; between two scores, the lowest of equally good ones.

    Raises ValueError if all solutions have an error, or none.
    """
    # A threshold t finds the error exactly if lowest[e] < t <= lowest[e - 1], where lowest[i] is the lowest score up to
    # step i; and leaves a right solution alone if t <= lowest[-1].
    lowest = [np.minimum.accumulate(row["scores"]) for row in rows]
    errors = [row["first_error"] for row in rows]
    below = np.sort([low[e] for low, e in zip(lowest, errors, strict=True) if e is not None])
    above = np.sort([low[e - 1] if e else np.inf for low, e in zip(lowest, errors, strict=True) if e is not None])
    last = np.sort([low[-1] for low, e in zip(lowest, errors, strict=True) if e is None])
    if not len(below) or not len(last):
        raise ValueError("a threshold is chosen on solutions with and without a wrong step; these are of one kind")
    scores = np.unique(np.concatenate(lowest))
    candidates = np.concatenate([scores[:1], (scores[:-1] + scores[1:]) / 2, [np.nextafter(scores[-1], np.inf)]])
    found = (np.searchsorted(below, candidates) - np.searchsorted(above, candidates)) / len(below)
    left_alone = 1 - np.searchsorted(last, candidates) / len(last)
    f1 = 2 * found * left_alone / np.maximum(found + left_alone, 1e-12)
    return float(candidates[np.argmax(f1)])


# ------------------------------------------------------------------------------------------------------------- metrics


def localisation(rows: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, Any]:
    """How well scores find the first wrong step; every share with its 95 % interval over solutions. What
    there are no solutions for is left out.

    `error_accuracy`: share of the solutions with a wrong step for which the first score below the threshold is at
    it; `error_within_one`: or at a neighbour. `correct_accuracy`: share of those without a wrong step in which no score
    is below the threshold. `f1`: the harmonic mean of the first and the third, as in
    https://github.com/QwenLM/ProcessBench (code/run_eval_prm_trl.py).
    Without any threshold, on those with a wrong step: `lowest_at_error` (the lowest score, the first of equal ones, is
    at it) and `lowest_within_one`; `lowest_by_chance` is what random scores would reach.
    """
    wrong = [row for row in rows if row["first_error"] is not None]
    right = [row for row in rows if row["first_error"] is None]
    found = [first_error(row["scores"], threshold) for row in wrong]
    lowest = [int(np.argmin(row["scores"])) for row in wrong]
    errors = [row["first_error"] for row in wrong]
    n_found = sum(f == e for f, e in zip(found, errors, strict=True))
    n_left_alone = sum(first_error(row["scores"], threshold) is None for row in right)
    shares = {
        "f1": harmonic_mean(n_found, len(wrong), n_left_alone, len(right)),
        "error_accuracy": wilson(n_found, len(wrong)),
        "error_within_one": wilson(
            sum(f is not None and abs(f - e) <= 1 for f, e in zip(found, errors, strict=True)), len(wrong)
        ),
        "correct_accuracy": wilson(n_left_alone, len(right)),
        "lowest_at_error": wilson(sum(at == e for at, e in zip(lowest, errors, strict=True)), len(wrong)),
        "lowest_within_one": wilson(sum(abs(at - e) <= 1 for at, e in zip(lowest, errors, strict=True)), len(wrong)),
    }
    return {
        "n_solutions": len(rows),
        "n_erroneous": len(wrong),
        "threshold": threshold,
        **{name: asdict(share) for name, share in shares.items() if not np.isnan(share.mean)},
        **({"lowest_by_chance": float(np.mean([1 / len(row["steps"]) for row in wrong]))} if wrong else {}),
    }


def localisation_table(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The results of several sets as text, in percent."""
    names = ("f1", "error_accuracy", "correct_accuracy", "error_within_one", "lowest_at_error", "lowest_within_one")
    width = max(map(len, sets))
    lines = [f"{'':{width}} {'solutions':>9} {'wrong':>6}  " + "  ".join(f"{name:>20}" for name in names)]
    for name, found in sets.items():
        shares = [found.get(key) for key in names]
        cells = [f"{100 * s['mean']:.1f} ({100 * s['low']:.1f} to {100 * s['high']:.1f})" if s else "-" for s in shares]
        lines.append(
            f"{name:{width}} {found['n_solutions']:9,} {found['n_erroneous']:6,}  "
            + "  ".join(f"{cell:>20}" for cell in cells)
        )
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- whole runs


def measure(
    scorer: StepScorer,
    name: str,
    sets: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, int]]],
    output: Path,
    *,
    threshold: float | None,
    calibration: tuple[str, Sequence[Mapping[str, Any]]] | None,
    config: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Scores all sets (rows and what was left out of them, by name), prints the table, writes rows and result.json.

    The threshold is the given one, or the best one on the calibration set, or 0, where a probability is 1/2. What was
    learnt from preferences alone has no such zero: calibrate it, on solutions that are not tested.
    """
    source, n_both = "given", 0
    if threshold is None and calibration is not None:
        path, rows = calibration
        threshold = choose_threshold(list(scored(scorer, rows)))
        source = f"the highest F1 on {path} ({len(rows):,} solutions)"
        seen = {(row["problem_id"], *row["steps"]) for row in rows}
        n_both = sum((row["problem_id"], *row["steps"]) in seen for tested, _ in sets.values() for row in tested)
    elif threshold is None:
        threshold, source = DEFAULT_THRESHOLD, "the default; --calibrate_on FILE finds a better one"
    print(f"threshold  {threshold:.4g}: {source}", flush=True)
    if n_both:
        print(f"           {n_both:,} of the tested solutions are among them: their F1 is a little too high")
    results, written = {}, []
    for part, (rows, _) in sets.items():
        with_scores = list(scored(scorer, rows))
        results[part] = localisation(with_scores, threshold)
        written += [row | {"found": first_error(row["scores"], threshold)} for row in with_scores]
    f1s = [found["f1"]["mean"] for found in results.values() if "f1" in found]
    average = float(np.mean(f1s)) if len(f1s) == len(results) > 1 else None
    counts = dict(getattr(scorer, "counts", {}))
    result = {
        "step_labels": results,
        "average_f1": average,
        "threshold": threshold,
        "threshold_from": source,
        "n_calibrated_on": n_both,
        "scorer_counts": counts,
        "settings": dict(config),
    }
    dropped: Counter[str] = sum((Counter(left_out) for _, left_out in sets.values()), Counter())
    manifest = write_artefact(
        output, "step_label", written, stage="evaluate", config=config, seed=seed,
        inputs={name: getattr(scorer, "hash", ""), **{part: content_hash(rows) for part, (rows, _) in sets.items()}},
        n_read=len(written) + dropped.total(), dropped=dropped, extra=result,
    )  # fmt: skip
    result |= {key: manifest[key] for key in ("libraries", "inputs", "rows_dropped")}
    write_json(output / "result.json", result)
    print(localisation_table(results))
    if average is not None:
        print(f"average F1 {100 * average:.1f}")
    for title, found in (("left out", dropped), ("scorer", counts)):
        if found:
            print(f"{title:10} {', '.join(f'{n:,} {what}' for what, n in found.items())}")
    return result


def content_hash(rows: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of problems, steps and labels, in their order."""
    about = [[row["problem_id"], row["steps"], row["first_error"]] for row in rows]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
