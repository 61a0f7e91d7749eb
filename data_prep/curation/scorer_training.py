"""Training a scorer of difficulty: reads and splits labelled problems, fits a model and scores the held-out ones.

The command line is that of `data_prep.curation.scorer`; the models are in `scorer_models`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.artefacts import MANIFEST, atomic_folder, hash_path, library_versions, now, write_json, write_trained_on
from data_prep.curation.scorer_models import (
    Array,
    Finetuning,
    Labelled,
    Linear,
    Predict,
    Regressor,
    features,
    fit_length,
    fit_linear,
    fit_regressor,
)
from data_prep.curation.text import masked, tokens
from data_prep.rows import RowError, is_unicode, problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block
from data_prep.statistics import Estimate, wilson

STAGE = "difficulty_scorer"
# A model of Omni-MATH alone puts MATH's levels at 1.7, 2.5, 3.2, 3.5 and 4.2, after its scores are stretched to the
# spread of difficulties: the same order and upper end.
LEVELS: Mapping[str, tuple[float, ...]] = {"math": (1.0, 1.5, 2.25, 3.0, 4.0)}
LOWEST, HIGHEST = 1.0, 10.0
NO_LABEL = re.compile(r"\s*(?:level\s*\?|\?|nan|null|none)?\s*", re.IGNORECASE)
LABEL = re.compile(r"\s*(?:level\s*|omni_)?(\d+(?:\.\d+)?)(?:_.*|\s*)", re.IGNORECASE | re.DOTALL)
CUTS = (5.0, 5.5, 6.0)
HARD = 6.0  # RedStar's bound


# Labelled problems


def read_texts(path: str | Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, text, row) of each problem of a data file; the text is in column `problem` or `question`.

    Raises RowError for rows without a text, FileNotFoundError, ValueError.
    """
    for block in open_blocks(DatasetConfig(str(path)), kinds=("problem", "sample")):
        for where, row in read_block(block):
            text = row.get("problem") or row.get("question")
            if not isinstance(text, str):
                raise RowError(f"{where}: no text in 'problem' or 'question'; it has {sorted(row)}")
            if not is_unicode(text):
                raise RowError(f"{where}: {text[:40]!r} holds half a character (a lone surrogate)")
            yield where, text, row


def read_labelled(
    data: Mapping[str, str | Path], levels: Mapping[str, Sequence[float]] = LEVELS
) -> tuple[list[Labelled], dict[str, int]]:
    """Problems of all data sets (name -> path), and how many were left out, by reason.

    Columns: `problem` or `question`; the label in `difficulty`, `level` or `human_type`, where "Level 3" and
    "omni_3.0_imo" are 3. A label of a data set named in `levels` is a whole number k and means the k-th value there;
    others are on the scale already. Left out: no label (none, 0, "Level ?"), and what stands a second time in its data
    set.
    Raises RowError, ValueError, FileNotFoundError.
    """
    found: list[Labelled] = []
    left_out: Counter[str] = Counter()
    for name, path in data.items():
        ids: set[str] = set()
        for where, text, row in read_texts(path):
            if not text.strip():
                raise RowError(f"{where}: no text, only white space")
            difficulty = difficulty_of(row, levels.get(name), where)
            if difficulty is None:
                left_out[f"{name}: no label"] += 1
            elif (own := problem_id(text)) in ids:
                left_out[f"{name}: stood before"] += 1
            else:
                ids.add(own)
                found.append(Labelled(name, text, difficulty, masked(tokens(text))))
        if not ids:
            raise ValueError(f"{path}: no problem with a label")
    return found, dict(left_out)


def difficulty_of(row: Mapping[str, Any], levels: Sequence[float] | None, where: str) -> float | None:
    """The row's label on the scale from 1 to 10, or None if it has none. Raises RowError for what is no label."""
    column = next((column for column in ("difficulty", "level", "human_type") if row.get(column) is not None), None)
    if column is None:
        return None
    said = str(row[column])
    if NO_LABEL.fullmatch(said):
        return None
    match = LABEL.fullmatch(said)
    if not match:
        raise RowError(f"{where}: {column!r} is {said[:40]!r}: no difficulty")
    value = float(match[1])
    if value == 0:
        return None
    if levels is not None:
        if value not in range(1, len(levels) + 1):
            raise RowError(f"{where}: {column!r} is {value:g}: levels here are 1 to {len(levels)} (see --levels)")
        return levels[int(value) - 1]
    if not LOWEST <= value <= HIGHEST:
        raise RowError(f"{where}: {column!r} is {value:g}: difficulties lie between {LOWEST:g} and {HIGHEST:g}")
    return value


def is_held_out(group: str, share: float) -> bool:
    """The same in every run and for every data set, so scorers of one share are tested on the same problems."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:15], 16) / 16**15 < share


# Training


def train(
    out: str | Path,
    data: Mapping[str, str | Path],
    *,
    levels: Mapping[str, Sequence[float]] = LEVELS,
    held_out: float = 0.2,
    model_name_or_path: str | None = None,
    finetuning: Finetuning | None = None,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> dict[str, Any]:
    """Trains a scorer on data sets (name -> path), writes its folder and returns its manifest.

    levels: values of the levels 1, 2, ... of a data set that is not on the scale yet. held_out: share of the groups of
    problems that are not trained on but scored, see `evaluate`. seed: of the bootstrap and of the transformer; the
    linear model has no chance in it. Raises ValueError, FileNotFoundError, FileExistsError.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}: a share between 0 and 1")
    if finetuning and not model_name_or_path:
        raise ValueError("settings of a transformer have no effect without --model_name_or_path")
    for name, values in levels.items():
        if not all(LOWEST <= value <= HIGHEST for value in values) or list(values) != sorted(values):
            raise ValueError(f"levels of {name} are {list(values)}: give rising values between 1 and 10")
    started = now()
    with atomic_folder(out) as folder:
        problems, left_out = read_labelled(data, levels)
        learned = [row for row in problems if not is_held_out(row.group, held_out)]
        kept = [row for row in problems if is_held_out(row.group, held_out)]
        for name in data:
            n_learned, n_kept = (sum(row.data == name for row in part) for part in (learned, kept))
            if min(n_learned, n_kept) < 2:
                raise ValueError(f"{data[name]}: {n_learned} problems to learn from, {n_kept} held out: too few")
        model: Linear | Regressor
        if model_name_or_path:
            model, settings = fit_regressor(learned, model_name_or_path, finetuning or Finetuning(), seed)
        else:
            model, settings = fit_linear(learned)
        model.save(folder)
        compared, hard = evaluate(model, learned, kept, settings.get("penalty"), seed, n_bootstrap)
        manifest = {
            "stage": STAGE,
            "kind": "scorer",
            "model": "transformer" if model_name_or_path else "linear",
            "config": {
                "data": {name: str(path) for name, path in data.items()},
                "levels": {name: list(values) for name, values in levels.items() if name in data},
                "held_out": held_out,
            },
            "seed": seed,
            "settings": settings,
            "inputs": {str(path): hash_path(path) for path in data.values()},
            "rows_in": len(problems) + sum(left_out.values()),
            "rows_out": len(learned),
            "rows_dropped": left_out | {"held out": len(kept)},
            "held_out": compared,
            "hard": hard,
            "started": started,
            "ended": now(),
            "libraries": library_versions()
            | {name: version(name) for name in ("numpy", "scikit-learn", "safetensors")},
        }
        write_trained_on(folder, [problem_id(row.problem) for row in learned])
        write_json(folder / MANIFEST, manifest)
    return manifest


# How good it is


def evaluate(
    model: Predict,
    learned: Sequence[Labelled],
    kept: Sequence[Labelled],
    penalty: float | None,
    seed: int,
    n_bootstrap: int,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The model on the held-out problems, by data set, and what bounds on its score find there (`find_hard`).

    By data set: Spearman of the model and of baselines fitted to the learned problems, by how much the model's is
    higher than each, and the model's mean absolute error. penalty: of the linear model fitted to the other data sets;
    None leaves it out.
    """
    compared, hard = {}, []
    length = fit_length(learned)
    for name in dict.fromkeys(row.data for row in kept):
        own = [row for row in learned if row.data == name]
        elsewhere = [row for row in learned if row.data != name]
        models: dict[str, Predict] = {"model": model, "length": length, "length, own data": fit_length(own)}
        if elsewhere and penalty is not None:  # a second transformer would cost as much as the first
            labels = np.array([row.difficulty for row in elsewhere])
            models["model, other data"] = Linear.fit(*features([row.problem for row in elsewhere]), labels, penalty)
        texts = [row.problem for row in kept if row.data == name]
        difficulties = np.array([row.difficulty for row in kept if row.data == name])
        # As `Scorer.score` gives them: what is cut off at the ends of the scale are ties.
        scores = {what: np.clip(predict(texts), LOWEST, HIGHEST) for what, predict in models.items()}
        each, differences = correlations(difficulties, scores, seed, n_bootstrap)
        compared[name] = {
            "n": len(texts),
            "spearman": {what: asdict(estimate) for what, estimate in each.items()},
            "model_minus": {what: asdict(estimate) for what, estimate in differences.items()},
            "mean_absolute_error": float(np.abs(scores["model"] - difficulties).mean()),
        }
        hard += find_hard(name, difficulties, scores["model"])
    return compared, hard


def correlations(
    difficulties: Array, scores: Mapping[str, Array], seed: int, n_bootstrap: int
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Spearman of each scores (n,) with the difficulties (n,), and of the first minus that of each further one.

    95 % percentile intervals of a bootstrap over problems; all are computed in the same samples, so differences are
    paired.
    """
    rng = np.random.default_rng(seed)
    n = len(difficulties)

    def values(chosen: Any) -> list[float]:
        first, *rest = (rank_correlation(difficulties[chosen], one[chosen]) for one in scores.values())
        return [first, *rest, *(first - one for one in rest)]

    means = values(slice(None))
    drawn = np.array([values(rng.integers(0, n, n)) for _ in range(n_bootstrap)])
    lows, highs = np.percentile(drawn, [2.5, 97.5], axis=0).tolist()
    method = f"bootstrap over problems, {n_bootstrap} samples, percentiles"
    found = [Estimate(mean, low, high, n, method) for mean, low, high in zip(means, lows, highs, strict=True)]
    names = list(scores)
    return dict(zip(names, found)), dict(zip(names[1:], found[len(names) :], strict=True))


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's, 0 if one of them is constant."""
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def find_hard(data: str, difficulties: Array, scores: Array) -> list[dict[str, Any]]:
    """What bounds on the scores (n,) find of the problems of a data set that are harder than 6; empty if none is.

    precision: share of the chosen that are; recall: share of them that are chosen. Wilson's intervals.
    """
    is_hard = difficulties > HARD
    result = []
    for cut in CUTS if is_hard.any() else ():
        chosen = scores > cut
        both = int((chosen & is_hard).sum())
        result.append(
            {
                "data": data,
                "cut": cut,
                "share_hard": float(is_hard.mean()),
                "share_chosen": float(chosen.mean()),
                "precision": asdict(wilson(both, int(chosen.sum()))),
                "recall": asdict(wilson(both, int(is_hard.sum()))),
            }
        )
    return result


def table(manifest: Mapping[str, Any]) -> str:
    """The held-out results of a manifest as text."""
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in manifest["rows_dropped"].items())
    lines = [f"{manifest['rows_in']:,} problems read, {manifest['rows_out']:,} learned from; not: {dropped}", ""]
    lines.append(f"{'held out':18} problems  {'':17} Spearman, 95 % interval    model minus this")
    for name, found in manifest["held_out"].items():
        for what, estimate in found["spearman"].items():
            line = f"{name:18} {found['n']:8,}  {what:17} {with_interval(estimate):27}"
            line += with_interval(found["model_minus"][what]) if what in found["model_minus"] else ""
            lines.append(line.rstrip())
        lines.append(f"{name:18} {found['n']:8,}  {'mean |error|':17} {found['mean_absolute_error']:6.3f}")
    if manifest["hard"]:
        lines += ["", f"{'difficulty > 6':18} {'score >':>8}  chosen  precision, 95 % interval  recall, 95 % interval"]
    for found in manifest["hard"]:
        precision, recall = (
            f"{100 * e['mean']:5.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f})"
            for e in (found["precision"], found["recall"])
        )
        name = f"{found['data']} ({100 * found['share_hard']:.1f} %)"
        lines.append(f"{name:18} {found['cut']:8g}  {100 * found['share_chosen']:4.1f} %  {precision:24}  {recall}")
    return "\n".join(lines)


def with_interval(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['mean']:+.3f} ({estimate['low']:+.3f} to {estimate['high']:+.3f})"
