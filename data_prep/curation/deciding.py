"""Decisions that need all rows of a problem, or all rows: pass rates, wrong golds, duplicates, bands, selection.

Like `data_prep.curation.grouping`: pure functions of the rows that share a key.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.bands import band_of
from data_prep.curation.grouping import ints, starts
from data_prep.curation.settings import DifficultyArguments, Settings
from data_prep.equivalence.comparing import same

DECISIONS = pa.schema(
    {
        "row": pa.int64(),
        "reason": pa.string(),
        "detail": pa.string(),
        "duplicate_of": pa.int64(),  # the row that is kept instead
        "problem_key": pa.int64(),  # rows of one problem have the same
        "source": pa.string(),
        "kind": pa.string(),
        "verdict": pa.string(),
        "pass_rate": pa.float64(),
        "n_attempts": pa.int64(),
        "difficulty": pa.float64(),
        "band": pa.string(),
        "first": pa.bool_(),  # of its problem: the row to count problems by
        "majority": pa.string(),  # answer of a problem that is probably mislabelled
        "majority_share": pa.float64(),
        "conflicting": pa.bool_(),  # rows of the problem have golds that differ
        "renumbered": pa.bool_(),
        "key": pa.int64(),
        "n_chars": pa.int64(),
    }
)
MOST_ANSWERS = 8  # of a problem that are compared with each other; the rest is rarer
VERDICTS = {"right": 0, None: 1, "unverifiable": 2, "timed out": 3, "wrong": 4}


def with_problem_key(table: pa.Table, canonical: str, renumbered: str) -> pa.Table:
    """Index rows with `problem_key`, and `renumbered_of` (a row). The files hold tables made by `grouping`."""
    table = table.filter(table["group"].is_valid())
    groups = ints(table, "group")
    same_as = pa.parquet.read_table(canonical).sort_by("group")
    keys = groups.copy()
    known, at = lookup(ints(same_as, "group"), groups)
    keys[known] = ints(same_as, "canonical")[at]
    of = pa.parquet.read_table(renumbered).sort_by("group")
    rows = np.full(len(groups), -1, np.int64)
    known, at = lookup(ints(of, "group"), groups)
    rows[known] = ints(of, "of_row")[at]
    table = table.append_column("problem_key", pa.array(keys))
    return table.append_column("renumbered_of", pa.array(rows, mask=rows < 0))


def lookup(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the wanted are known, and where."""
    if not len(known):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found = np.flatnonzero(known[at] == wanted)
    return found, at[found]


def decide(table: pa.Table, settings: Settings) -> pa.Table:
    """A decision about every row. Key: `problem_key`."""
    table = table.sort_by([("problem_key", "ascending"), ("row", "ascending")])
    rows = table.to_pylist()
    first = starts(ints(table, "problem_key"))
    decided = []
    for begin, end in zip(first, [*first[1:], len(rows)]):
        decided += decide_problem(rows[begin:end], settings)
    return pa.Table.from_pylist(decided, DECISIONS)


def decide_problem(rows: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """Decisions about the rows of one problem, which come in the order of the input."""
    # The same text twice is one attempt, unless it is numbered as two: short responses do come out equal.
    judged = [row for row in rows if row["verdict"] in ("right", "wrong")]
    attempts = list({(row["response_hash"], row["sample"]): row for row in judged}.values())
    n_attempts = len(attempts)
    rate = sum(row["verdict"] == "right" for row in attempts) / n_attempts if n_attempts else None
    given = next((row for row in rows if row["given_rate"] is not None), None)
    if given is not None and (given["given_attempts"] or 0) >= n_attempts:
        rate, n_attempts = given["given_rate"], given["given_attempts"] or 0
    majority, share = wrong_majority(attempts, settings)
    golds = list(dict.fromkeys(row["gold"] for row in rows if row["gold"] is not None))
    difficulty = difficulty_of(rows, rate, settings.difficulty)
    about = {
        "pass_rate": rate,
        "n_attempts": n_attempts if rate is not None else None,
        "difficulty": difficulty,
        "band": band_by(difficulty, settings.difficulty),
        "majority": majority,
        "majority_share": share,
        "conflicting": any(same(golds[0], gold) is False for gold in golds[1:MOST_ANSWERS]),
    }
    decisions = [
        {**about, **{name: row[name] for name in DECISIONS.names if name in row},
         "renumbered": row["renumbered_of"] is not None, "duplicate_of": None, "first": i == 0}
        for i, row in enumerate(rows)
    ]  # fmt: skip
    alive = [(row, decision) for row, decision in zip(rows, decisions) if row["reason"] is None]
    if "duplicates" in settings.filter.filters:
        alive = drop_duplicates(alive, settings)
    if majority is not None and settings.duplicates.mislabelled == "drop":
        for _, decision in alive:
            decision["reason"] = "mislabelled: attempts agree on another answer"
            decision["detail"] = f"{majority!r} in {share:.0%} of {len(attempts)}"
        alive = []
    for _, decision in alive:
        decision["reason"] = unwanted(decision, settings)
    alive = [entry for entry in alive if entry[1]["reason"] is None]
    cap = settings.duplicates.per_problem
    if cap is not None and len(alive) > cap:
        for _, decision in sorted(alive, key=lambda entry: best_first(entry[0], settings))[cap:]:
            decision["reason"] = f"select: more than {cap} of a problem"
    return decisions


def best_first(row: Mapping[str, Any], settings: Settings) -> tuple:
    """The rule by which one of several rows stays: right ones, then as preferred, then by the seed."""
    length = {"any": 0, "shortest": row["n_chars"], "longest": -row["n_chars"]}[settings.duplicates.prefer]
    return VERDICTS[row["verdict"]], length, row["key"], row["row"]


def drop_duplicates(alive: list[tuple[dict, dict]], settings: Settings) -> list[tuple[dict, dict]]:
    """Of rows with the same response (or none) the best stays: right, with a gold, and earlier in the input."""
    best: dict[int | None, tuple[dict, dict]] = {}
    problems_only = settings.input.rows == "problems"
    if settings.duplicates.renumbered == "drop":
        for row, decision in alive:
            if row["renumbered_of"] is not None:
                decision["reason"], decision["duplicate_of"] = "duplicates: renumbered", row["renumbered_of"]
        alive = [entry for entry in alive if entry[1]["reason"] is None]
    for entry in sorted(alive, key=lambda e: (VERDICTS[e[0]["verdict"]], e[0]["gold"] is None, e[0]["row"])):
        row, decision = entry
        kept = best.setdefault(None if problems_only else row["response_hash"], entry)[0]
        if kept is not row:
            what = "same problem" if kept["group"] == row["group"] else "nearly the same problem"
            decision["reason"] = f"duplicates: {what}" + ("" if problems_only else ", same response")
            decision["duplicate_of"] = kept["row"]
    return [entry for entry in alive if entry[1]["reason"] is None]


def wrong_majority(attempts: Sequence[Mapping[str, Any]], settings: Settings) -> tuple[str | None, float | None]:
    """The answer that most attempts agree on against the gold, and their share; None where there is none."""
    if len(attempts) < settings.duplicates.mislabelled_attempts:
        return None, None
    counts = Counter(row["extracted"] for row in attempts if row["extracted"] is not None and row["verdict"] == "wrong")
    answers: list[list[Any]] = []
    for answer, n in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_ANSWERS]:
        known = next((entry for entry in answers if same(entry[0], answer)), None)
        if known:
            known[1] += n
        else:
            answers.append([answer, n])
    if not answers:
        return None, None
    answer, n = max(answers, key=lambda entry: entry[1])
    n_right = sum(row["verdict"] == "right" for row in attempts)
    share = n / len(attempts)
    return (answer, share) if share >= settings.duplicates.mislabelled_share and n > n_right else (None, None)


def difficulty_of(rows: Sequence[Mapping[str, Any]], rate: float | None, wanted: DifficultyArguments) -> float | None:
    if wanted.difficulty == "pass_rate":
        return rate
    column = {"level": "level", "scorer": "score"}.get(wanted.difficulty)
    return next((row[column] for row in rows if row[column] is not None), None) if column else None


def band_by(value: float | None, wanted: DifficultyArguments) -> str | None:
    """The band of a pass rate, level or score."""
    if value is None:
        return None
    if wanted.difficulty == "pass_rate":
        return band_of(value, wanted.bands)
    first, second = wanted.bands
    return "easy" if value < first else "medium" if value < second else "hard"


def unwanted(decision: Mapping[str, Any], settings: Settings) -> str | None:
    """Why a row is not among those to choose from."""
    wanted = settings.selection
    if wanted.select_sources and decision["source"] not in wanted.select_sources:
        return "select: another source"
    if wanted.select_bands and decision["band"] not in wanted.select_bands:
        return f"select: band {decision['band'] or 'not known'}"
    value = decision["difficulty"]
    if wanted.min_difficulty is not None and (value is None or value < wanted.min_difficulty):
        return "select: too easy" if value is not None else "select: difficulty not known"
    if wanted.max_difficulty is not None and (value is None or value > wanted.max_difficulty):
        return "select: too hard" if value is not None else "select: difficulty not known"
    if wanted.weights.get(decision[wanted.weight_by] or "", 1.0) == 0:
        return "select: weight 0"
    return None


# --- The selection: an order of all rows, of which every beginning has the wanted shares


def by_key_range(table: pa.Table, n_parts: int) -> pa.Table:
    """Rows that are in, with `part`: which of equal ranges their random key lies in."""
    table = table.filter(table["reason"].is_null())
    keys = ints(table, "key").astype(np.float64) / 2.0**64 + 0.5
    return table.append_column("part", pa.array(np.minimum((keys * n_parts).astype(np.int64), n_parts - 1)))


def ranked(table: pa.Table, weight_by: str) -> pa.Table:
    """(row, part, stratum, local): the place of each row among those of its stratum and part. Key: `part`."""
    table = table.append_column("stratum", pc.fill_null(table[weight_by], ""))
    table = table.sort_by([(name, "ascending") for name in ("part", "stratum", "key", "row")])
    strata = table["stratum"].combine_chunks().dictionary_encode()
    codes, parts = strata.indices.to_numpy(zero_copy_only=False), ints(table, "part")
    first = starts(parts, codes)
    local = np.arange(len(table)) - np.repeat(first, np.diff([*first, len(table)]))
    return table.select(["row", "part", "stratum"]).append_column("local", pa.array(local, pa.int64()))


def quotas(counts: Mapping[str, int], weights: Mapping[str, float], size: int | None) -> dict[str, int]:
    """How many rows of each stratum are among the first `size`.

    Row k of a stratum (from 0) of weight w comes at (k + 1/2) / w: shares follow the weights at every size, a smaller
    size is the beginning of a larger one, and what an exhausted stratum lacks the others fill up.
    """
    if size is None:
        return dict(counts)

    def is_outside(rank: int, name: str) -> bool:
        return bool(order_of(np.array([rank]), name, counts, weights)[0] >= size)

    return {name: bisect_left(range(count), True, key=partial(is_outside, name=name)) for name, count in counts.items()}


def order_of(ranks: np.ndarray, stratum: str, counts: Mapping[str, int], weights: Mapping[str, float]) -> np.ndarray:
    """Places in the order of all rows, from 0, of the rows with these ranks in their stratum; int64 (n,).

    In whole numbers, so that places that are equal are: weights count to a millionth.
    """
    own = whole_weight(stratum, weights)
    order = np.zeros(len(ranks), np.int64)
    for name, count in counts.items():
        if name == stratum:
            order += ranks
        else:
            # Rows j of the other stratum with (2j + 1) / other below (2k + 1) / own; where equal, by name.
            bound = (2 * ranks + 1) * whole_weight(name, weights) - (name > stratum)
            order += np.minimum((bound // own + 1) // 2, count)
    return order


def whole_weight(name: str, weights: Mapping[str, float]) -> int:
    return max(1, round(weights.get(name, 1.0) * 1_000_000))
