"""Which samples, how hard, how many, for which model? A grid of trainings over a curated data set, and its report.

Reads an artefact folder of samples with difficulty (curate.py) and a study: blocks of cells (bands x sizes x seeds, and
more axes), and the questions with their smallest effects, fixed before the first cell runs. Each cell is selected
(nested sizes, equal tokens or samples, disjoint from the test), trained by sft_longcot.py and measured by evaluate.py.
Writes cells.parquet, report.json, report.md and index.html with verdicts, intervals and plots. A killed grid goes on
with the cells that are missing; a failed cell is marked and the rest goes on.

    python recipes/ablate.py                                        # the small world, a few minutes
    python recipes/ablate.py --config recipes/configs/tiny/ablate_difficulty.yaml              # hours
    python recipes/ablate.py --config recipes/configs/qwen2.5-7b-instruct/ablate_8x80gb.yaml \\
        --samples outputs/curate --dry_run true --throughput 20000       # plan, tokens, hours, commands; runs nothing
    python recipes/ablate.py --config STUDY.yaml --launcher slurm        # a job array for sbatch, one job a cell
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.ablation.settings import PowerArguments, RunArguments, StudyArguments
from data_prep.config import parse_config

# What the two recipes of a cell import, for the process that cells are forked from.
PRELOAD = ("torch", "transformers", "trl", "data_prep.packing", "data_prep.engines", "data_prep.statistics",
           "data_prep.benchmarks", "data_prep.answers", "rl.sft", "rl.runs")  # fmt: skip


def main() -> None:
    study, run, expected = parse_config("ablate", __doc__, [StudyArguments, RunArguments, PowerArguments])
    from rl.runs import user_errors

    with user_errors():
        ablate(study, run, expected)


def ablate(study: StudyArguments, run: RunArguments, expected: PowerArguments) -> None:
    from data_prep.ablation.analysis import analyse
    from data_prep.ablation.cells import check
    from data_prep.ablation.plan import make_plan, resolved, write_settings
    from data_prep.ablation.report import write_report
    from data_prep.ablation.running import Runner, devices, run_cells
    from data_prep.ablation.study import (
        check_cost,
        check_only,
        fix_questions,
        print_commands,
        print_plan,
        study_folder,
        tuned_rates,
        write_data,
        write_slurm,
    )

    # The plan: which cells, on which samples, at what cost.
    study = resolved(study)
    check(study, run)
    places = devices(run)
    plan = make_plan(study, len(places), may_estimate=run.dry_run)
    print_plan(plan, expected)
    if run.report_only:
        write_report(plan, analyse(plan))
        return
    check_only(plan, run.only)
    with study_folder(plan.folder, alone=not (run.dry_run or run.only)):
        write_settings(plan)
        runner = Runner(run, len(places), PRELOAD)
        check_cost(plan, run, runner, places)
        if run.dry_run:
            print_commands(plan, run)
            return
        fix_questions(plan)
        write_data(plan)
        if run.launcher == "slurm":
            write_slurm(plan, run)
            return

        # The cells: those that choose learning rates, then all others.
        tuning, cells = ([c for c in some if not run.only or c.name in run.only] for some in (plan.tuning, plan.cells))
        run_cells(plan, tuning, run, runner, places)
        run_cells(plan, cells, run, runner, places, tuned_rates(plan) if cells else {})

        # What they say.
        if not run.only:
            write_report(plan, analyse(plan))


if __name__ == "__main__":
    main()
