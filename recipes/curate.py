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

from data_prep.config import parse_config
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
    from data_prep.curation.checks import check
    from data_prep.curation.pipeline import curate
    from rl.runs import user_errors

    with user_errors():
        check(settings)
        manifest = curate(settings)
    report(settings, manifest)


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
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        images = pq.read_table(f"{output}/data-00000.parquet", columns=["images"])["images"]
        stage = "sft_geometry" if pc.any(pc.greater(pc.list_value_length(images), 0)).as_py() else "sft_longcot"
        print(
            f"next        accelerate launch recipes/{stage}.py --model_name_or_path MODEL "
            f"--datasets '{{path: {output}}}'"
        )


if __name__ == "__main__":
    main()
