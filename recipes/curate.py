"""Curates Long-CoT samples: reads problems and responses, filters, verifies, removes duplicates and benchmark problems,
rates difficulty, and selects.

Reads artefact folders, JSONL (also .gz, .xz, .zst), Parquet and Hub data sets, by their columns or by a named reader.
Writes an artefact folder of samples (or of problems, for RL) whose manifest has the funnel, a page to look at
(index.html), and below report/ a decision about every row that was read, matches with benchmarks, and examples of what
was left out. A killed run goes on when started again and ends with the same bytes.

    python recipes/curate.py                                                # the small world
    python recipes/curate.py --inputs '{path: outputs/distill}' --benchmarks redstar --output_dir outputs/curate
    python recipes/curate.py --config recipes/configs/redstar/curate_math_4k.yaml
    accelerate launch recipes/sft_longcot.py --datasets '{path: outputs/curate}'    # what comes next
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: its files would hide libraries of their names

from data_prep.bands import BANDS
from data_prep.config import nearest, parse_config
from data_prep.curation.settings import (
    ContaminationArguments,
    DifficultyArguments,
    DuplicateArguments,
    FilterArguments,
    InputArguments,
    RunArguments,
    SelectionArguments,
    Settings,
)

PARTS = (
    InputArguments,
    FilterArguments,
    ContaminationArguments,
    DuplicateArguments,
    DifficultyArguments,
    SelectionArguments,
    RunArguments,
)


def main() -> None:
    settings = Settings(*parse_config("curate", __doc__, PARTS))
    from data_prep.curation.pipeline import curate
    from rl.runs import user_errors

    with user_errors():
        check(settings)
        manifest = curate(settings)
    report(settings, manifest)


def check(settings: Settings) -> None:
    """Raises ValueError for settings that contradict each other or are out of range."""
    from data_prep.curation.readers import COLUMNS, READERS

    for source in settings.input.inputs:
        names = [("no reader", source.reader, list(READERS))] if source.reader is not None else []
        names += [("fields {ours: theirs}: we have no column", name, list(COLUMNS)) for name in source.fields]
        for what, name, known in names:
            if name not in known:
                hint = f"{nearest(name, known)}; known: {', '.join(known)}"
                raise ValueError(f"inputs: {source.path}: {what} {name!r}{hint}")
    pass_rates = settings.difficulty.difficulty == "pass_rate"
    first, second = (*settings.difficulty.bands, 0.0, 0.0)[:2]
    bands_ok = len(settings.difficulty.bands) == 2 and (1 >= first > second > 0 if pass_rates else first <= second)
    bands_ok |= settings.difficulty.difficulty == "none"
    strata = {"band": BANDS, "kind": ("math", "code")}.get(settings.selection.weight_by, ())
    weights_known = not strata or settings.selection.weights.keys() <= set(strata)
    run, contamination, duplicates = settings.run, settings.contamination, settings.duplicates
    for name, ok, wanted in (
        ("inputs", bool(settings.input.inputs), "give at least one, as --inputs '{path: FILE}'"),
        ("bands", bands_ok, "two falling pass rates, as 0.8 0.4" if pass_rates else "two rising values, as 3 5"),
        ("size", (settings.selection.size or 1) > 0, "at least 1"),
        ("per_problem", (duplicates.per_problem or 1) > 0, "at least 1"),
        ("weights", weights_known, f"weight_by {settings.selection.weight_by}: {', '.join(strata)}"),
        ("weights", all(weight >= 0 for weight in settings.selection.weights.values()), "0 or more"),
        ("ngram", contamination.ngram >= 2, "at least 2"),
        ("ngram_threshold", 0 < contamination.ngram_threshold <= 1, "above 0, at most 1"),
        ("contamination_similarity", 0.5 <= contamination.contamination_similarity <= 1, "from 0.5 to 1"),
        ("similarity", 0.5 <= duplicates.similarity <= 1, "from 0.5 to 1"),
        ("mislabelled_share", 0 < duplicates.mislabelled_share <= 1, "above 0, at most 1"),
        ("shard_mb", run.shard_mb > 0, "at least 1"),
        ("workers", (run.workers or 1) > 0, "at least 1"),
        ("max_row_mb", settings.input.max_row_mb > 0, "above 0"),
        ("partition_rows", run.partition_rows > 0, "at least 1"),
        ("count_tokens", run.count_tokens == "none" or bool(run.tokenizer), "needs --tokenizer"),
        ("verify_timeout", settings.filter.verify_timeout > 0, "above 0"),
    ):  # fmt: skip
        if not ok:
            values = next(vars(part)[name] for part in vars(settings).values() if name in vars(part))
            raise ValueError(f"--{name} {values}: {wanted}")
    if settings.contamination.benchmarks and "contamination" not in settings.filter.filters:
        raise ValueError("--benchmarks without 'contamination' among --filters: nothing would be compared with them")


def report(settings: Settings, manifest: dict) -> None:
    """The funnel, and what to do next."""
    output = settings.input.output_dir
    print()
    for step in manifest["funnel"]:
        print(f"{step['step']:14}{step['left']:>12,}")
        for reason, n in step.get("dropped", {}).items():
            print(f"{'':26}{-n:>12,}  {reason.partition(': ')[2]}")
    counts = manifest["counts"]
    bands = ", ".join(f"{band} {n:,}" for band, n in manifest["problem_bands"].items())
    by_band = f"; bands {bands}" if settings.difficulty.difficulty != "none" else ""
    print(f"\nproblems    {counts['problems']:,}{by_band}")
    for name, what in (
        ("problems_probably_mislabelled", "probably mislabelled (report/mislabelled.json)"),
        ("problems_with_conflicting_golds", "with golds that differ from row to row"),
        ("problems_renumbered", "with the words of another one and other numbers"),
        ("near_with_other_answers", "pairs nearly the same but with other answers, kept apart"),
    ):
        if counts.get(name):
            print(f"            {counts[name]:,} {what}")
    if manifest["tokens"]:
        error = manifest["tokens"].get("standard_error")
        print(f"tokens      {manifest['tokens']['total']:,}" + (f" ± {error:,} (standard error)" if error else ""))
    for warning in manifest["warnings"]:
        print(f"warning     {warning}")
    print(
        f"result      {manifest['rows_out']:,} of {manifest['rows_in']:,} rows in {output}; look at {output}/index.html"
    )
    if settings.input.rows == "samples" and manifest["rows_out"]:
        print(f"next        accelerate launch recipes/sft_longcot.py --datasets '{{path: {output}}}'")


if __name__ == "__main__":
    main()
