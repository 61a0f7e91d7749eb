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
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.ablation.settings import PowerArguments, RunArguments, StudyArguments
from data_prep.config import parse_config

if TYPE_CHECKING:
    from data_prep.ablation.plan import Plan

# What the two recipes of a cell import, for the process that cells are forked from.
PRELOAD = ("torch", "transformers", "trl", "data_prep.packing", "data_prep.engines", "data_prep.statistics",
           "data_prep.benchmarks", "data_prep.answers", "rl.sft", "rl.runs")  # fmt: skip


def main() -> None:
    study, run, expected = parse_config("ablate", __doc__, [StudyArguments, RunArguments, PowerArguments])
    from rl.runs import user_errors

    with user_errors():
        try:
            ablate(study, run, expected)
        except KeyboardInterrupt:
            raise SystemExit("stopped: the same command goes on with the cells that are not finished") from None


def ablate(study: StudyArguments, run: RunArguments, expected: PowerArguments) -> None:
    from data_prep.ablation.analysis import analyse
    from data_prep.ablation.cells import check
    from data_prep.ablation.launching import check_cost, check_only, print_commands, print_plan, write_slurm
    from data_prep.ablation.plan import make_plan, resolved, write_settings
    from data_prep.ablation.report import write_report
    from data_prep.ablation.running import Runner, devices, run_cells
    from data_prep.ablation.study import check_questions, fix_questions, study_folder, tuned_rates, write_data

    # The plan: which cells, on which samples, at what cost.
    study = resolved(study)
    check(study, run)
    places = devices(run)
    plan = make_plan(study, len(places), may_estimate=run.dry_run)
    check_only(plan, run.only)
    print_plan(plan, expected)
    check_questions(plan)
    if run.report_only:
        write_report(plan, run, analyse(plan))
        return
    with study_folder(plan.folder, alone=not run.only and (not run.dry_run or run.probe)):
        write_settings(plan)
        check_settings(plan)
        runner = Runner(run, len(places), PRELOAD)
        if not run.only:
            check_cost(plan, run, runner, places)
        if run.dry_run:
            print_commands(plan, run)
            return
        fix_questions(plan)
        tuning, cells = ([c for c in some if not run.only or c.name in run.only] for some in (plan.tuning, plan.cells))
        write_data(plan, [*tuning, *cells])
        if run.launcher == "slurm":
            write_slurm(plan, run)
            return

        # The cells: those that choose learning rates, then all others.
        run_cells(plan, tuning, run, runner, places)
        if cells:
            run_cells(plan, cells, run, runner, places, tuned_rates(plan))

        # What they say.
        if not run.only:
            write_report(plan, run, analyse(plan))


def check_settings(plan: "Plan") -> None:
    """Refuses settings of the cells that their recipes would refuse, before anything is trained."""
    from data_prep.ablation.plan import EVALUATE, SFT
    from recipes.evaluate import EvaluateArguments
    from recipes.sft_longcot import DataArguments, hardware, trainer_classes

    model = ["--model_name_or_path", plan.study.model_name_or_path]
    with redirect_stdout(None):  # its line about the configuration is for the cell's own log
        sft, evaluate = (["--config", str(plan.folder / name), *model] for name in (SFT, EVALUATE))
        parse_config("sft_longcot", "", [DataArguments], trainer_classes, {}, hardware, sft)
        parse_config("evaluate", "", [EvaluateArguments], argv=[*evaluate, "--benchmarks", *plan.study.test])


if __name__ == "__main__":
    main()
