"""Settings of a curation that are out of range, contradict each other, or would have no effect."""

import math

from data_prep.bands import BANDS
from data_prep.config import nearest
from data_prep.curation.readers import COLUMNS, READERS
from data_prep.curation.settings import InputConfig, Settings

LARGEST_WEIGHT = 1000.0


def check(settings: Settings) -> None:
    """Raises ValueError, naming the setting, its value, and what is wanted."""
    for source in settings.input.inputs:
        check_input(source)
    keep, rating, chosen, run = settings.filter, settings.difficulty, settings.selection, settings.run
    benchmarks, duplicates = settings.contamination, settings.duplicates
    pass_rates, rated = rating.difficulty == "pass_rate", rating.difficulty in ("level", "scorer")
    first, second = (*rating.bands, math.nan, math.nan)[:2]
    bands_ok = len(rating.bands) == 2 and (1 >= first > second > 0 if pass_rates else first <= second)
    strata = {"band": BANDS, "kind": ("math", "code")}.get(chosen.weight_by, ())
    lowest = -math.inf if chosen.min_difficulty is None else chosen.min_difficulty
    highest = math.inf if chosen.max_difficulty is None else chosen.max_difficulty
    for name, ok, wanted in (
        ("inputs", bool(settings.input.inputs), "give at least one, as --inputs '{path: FILE}'"),
        ("max_row_mb", settings.input.max_row_mb > 0, "above 0"),
        ("max_problem_chars", keep.max_problem_chars >= keep.min_problem_chars, "not below --min_problem_chars"),
        ("max_response_chars", keep.max_response_chars >= keep.min_response_chars, "not below --min_response_chars"),
        ("max_foreign_letters", keep.max_foreign_letters >= 0, "0 or more"),
        ("verify_timeout", keep.verify_timeout > 0, "above 0"),
        ("test_timeout", keep.test_timeout > 0, "above 0"),
        ("benchmarks", not benchmarks.benchmarks or "contamination" in keep.filters,
         "without 'contamination' among --filters nothing would be compared with them"),
        ("ngram", benchmarks.ngram >= 2, "at least 2"),
        ("ngram_threshold", 0 < benchmarks.ngram_threshold <= 1, "above 0, at most 1"),
        ("contamination_similarity", 0.5 <= benchmarks.contamination_similarity <= 1, "from 0.5 to 1"),
        ("similarity", 0.5 <= duplicates.similarity <= 1, "from 0.5 to 1"),
        ("per_problem", duplicates.per_problem is None or duplicates.per_problem > 0, "at least 1"),
        ("mislabelled_attempts", duplicates.mislabelled_attempts > 0, "at least 1"),
        ("mislabelled_share", 0 < duplicates.mislabelled_share <= 1, "above 0, at most 1"),
        ("bands", bands_ok or rating.difficulty == "none",
         "two falling pass rates, as 0.8 0.4" if pass_rates else "two rising values, as 3 5"),
        ("difficulty", rating.difficulty != "scorer" or bool(rating.scorer),
         "needs --scorer FOLDER: python -m data_prep.curation.scorer train"),
        ("scorer", not rating.scorer or rating.difficulty == "scorer", "without effect but for --difficulty scorer"),
        ("select_bands", not chosen.select_bands or rating.difficulty != "none", "needs a --difficulty"),
        ("min_difficulty", chosen.min_difficulty is None or rated, "needs --difficulty level or scorer"),
        ("max_difficulty", chosen.max_difficulty is None or rated, "needs --difficulty level or scorer"),
        ("max_difficulty", lowest <= highest, "below --min_difficulty"),
        ("size", chosen.size is None or chosen.size > 0, "at least 1"),
        ("weights", not strata or chosen.weights.keys() <= set(strata),
         f"weight_by {chosen.weight_by}: {', '.join(strata)}"),
        ("weights", all(0 <= weight <= LARGEST_WEIGHT for weight in chosen.weights.values()),
         f"0 or more, at most {LARGEST_WEIGHT:g}"),
        ("shard_mb", run.shard_mb > 0, "at least 1"),
        ("workers", run.workers is None or run.workers > 0, "at least 1"),
        ("partition_rows", run.partition_rows > 0, "at least 1"),
        ("n_examples", run.n_examples >= 0, "0 or more"),
        ("count_tokens", run.count_tokens == "none" or bool(run.tokenizer), "needs --tokenizer"),
        ("tokenizer", not run.tokenizer or run.count_tokens != "none", "without effect but for --count_tokens"),
    ):  # fmt: skip
        if not ok:
            value = next(vars(part)[name] for part in vars(settings).values() if name in vars(part))
            raise ValueError(f"--{name} {value}: {wanted}")


def check_input(source: InputConfig) -> None:
    names = [("no reader", source.reader, list(READERS))] if source.reader is not None else []
    names += [("no kind", source.kind, ["math", "code"])] if source.kind is not None else []
    names += [("fields {ours: theirs}: we have no column", name, list(COLUMNS)) for name in source.fields]
    for what, name, known in names:
        if name not in known:
            hint = f"{nearest(name, known)}; known: {', '.join(known)}"
            raise ValueError(f"inputs: {source.path}: {what} {name!r}{hint}")
    if not source.path:
        raise ValueError("inputs: an empty path")
    if source.join_on != InputConfig("").join_on and not source.problems:
        raise ValueError(f"inputs: {source.path}: join_on {source.join_on} needs `problems: FILE` to join with")
