"""What a study says before it runs, and how it is run elsewhere: plan, cost, commands, job arrays."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from data_prep.ablation.cost import cost_of, power_lines, probe_cell, responses_of_a_cell
from data_prep.ablation.plan import Plan, as_shell, evaluate_command, evaluated_model, train_command
from data_prep.ablation.running import Runner, read_cell, run_cells
from data_prep.ablation.settings import PowerArguments, RunArguments
from data_prep.ablation.study import fix_questions, write_data
from data_prep.config import nearest

FAULTS_SHOWN = 16  # kinds of cells that cannot run, on the terminal
RESPONSE_TOKENS = 4000  # expected, where nothing is known


def check_only(plan: Plan, names: Sequence[str]) -> None:
    """Raises ValueError for a name that no cell has."""
    known = [cell.name for cell in plan.everything]
    for name in names:
        if name not in known:
            raise ValueError(f"--only {name}: no such cell{nearest(name, known)}; --dry_run true lists them")


def print_plan(plan: Plan, expected: PowerArguments) -> None:
    study, cells = plan.study, plan.cells
    print(
        f"samples    {len(plan.pool.rows):,} in {study.samples}; left out: "
        + (", ".join(f"{n:,} {reason}" for reason, n in plan.left_out.items() if n) or "none")
    )
    print(f"test       {plan.n_test:,} problems of {', '.join(study.test)}")
    tuning = f", {len(plan.tuning):,} more that choose learning rates" if plan.tuning else ""
    print(f"cells      {len(cells):,}, of which {sum(bool(c.size) for c in cells):,} train{tuning}")
    alike: dict[str, list[str]] = {}  # faults by the cell's name without its seed: too few is too few with any seed
    for cell in plan.everything:
        if fault := plan.faults.get(cell.name):
            alike.setdefault(cell.name.replace(f"_s{cell.seed}_", "_"), []).append(fault)
    for name, faults in list(alike.items())[:FAULTS_SHOWN]:
        print(f"left out   {name} ({len(faults)} seeds): {faults[0]}")
    if len(alike) > FAULTS_SHOWN:
        print(f"left out   {sum(map(len, list(alike.values())[FAULTS_SHOWN:])):,} more, for reasons of their own")
    if study.questions:
        print(
            f"power      chance to see the smallest effect of interest, with {expected.seed_sd:g} points between seeds"
            f", {expected.interaction_sd:g} between problems, {expected.residual_sd:g} in an answer:"
        )
        for line in power_lines(plan, expected):
            print(f"           {line}")
    sys.stdout.flush()


def check_cost(plan: Plan, run: RunArguments, runner: Runner, places: Sequence[str]) -> None:
    """Prints what is still to be run costs. Raises ValueError if that is more than `max_hours`, or if nothing can run.

    Without given throughputs it goes by what finished cells have reached, the cheapest of which is run first if
    `probe` or `max_hours` asks for a number.
    """
    cell = probe_cell(plan)
    if cell is None and plan.faults and not run.dry_run:
        raise ValueError(f"no cell can be trained: {next(iter(plan.faults.values()))}")
    given = run.throughput and run.evaluate_throughput
    if cell is not None and not given and (run.probe or (run.max_hours and not run.dry_run)):
        fix_questions(plan)
        write_data(plan, [cell])
        run_cells(plan, [cell], run, runner, places[:1])
    records = [record for c in plan.everything if (record := read_cell(plan, c)) and record["status"] == "done"]
    trained = [record for record in records if record["size"]]
    throughput = run.throughput or (median(r["train_tokens_per_second"] for r in trained) if trained else None)
    lengths = [record["response_tokens"] for record in trained]
    response_tokens = run.response_tokens or round(median(lengths) if lengths else RESPONSE_TOKENS)
    n_responses = responses_of_a_cell(plan)
    speeds = [r["response_tokens"] * n_responses / max(0.1, r["seconds"] - r["seconds_training"]) for r in records]
    evaluate_throughput = run.evaluate_throughput or (median(speeds) if speeds else None)
    finished = {record["name"] for record in records}
    # A plan is for all cells, also those whose samples are still to be found.
    left = [c for c in plan.everything if c.name not in finished and (run.dry_run or c.name not in plan.faults)]
    cost = cost_of(plan, left, throughput or 1, evaluate_throughput or 1, response_tokens, len(places))
    text = (
        f"cost       {cost.n_cells:,} cells to run: {cost.trained:,} tokens to train on, {cost.generated:,} to generate"
    )
    if throughput is None or evaluate_throughput is None:
        print(f"{text}; hours: give --throughput and --evaluate_throughput, or --probe true", flush=True)
        return
    print(
        f"{text}; {cost.hours:,.1f} hours, {cost.at_once} at once, at {throughput:,.0f} and "
        f"{evaluate_throughput:,.0f} tokens/s each",
        flush=True,
    )
    if run.max_hours is not None and cost.hours > run.max_hours:
        raise ValueError(
            f"the grid would take {cost.hours:,.1f} hours, more than --max_hours {run.max_hours:g}: take fewer cells, "
            "seeds or smaller sizes, or more devices"
        )


def print_commands(plan: Plan, run: RunArguments) -> None:
    """The commands of every cell, as one would type them. Learning rates that are still to be tuned say so."""
    for cell in plan.everything:
        n = plan.selections[cell.name] if cell.size else None
        size = f": {n.n_rows:,} samples, {n.tokens:,} tokens, {cell.epochs:g} epochs" if n else ""
        print(f"\n# {cell.name}{size}" + (f"\n# not yet: {n.fault}" if n and n.fault else ""))
        if cell.size:
            rate = "  # + --learning_rate, as tuned" if plan.tuning and cell.learning_rate is None else ""
            print(as_shell(train_command(plan, cell, run, cell.learning_rate)) + rate)
        if run.serve:
            print(run.serve.format(model=shlex.quote(evaluated_model(plan, cell)), port=8000) + " &")
        print(as_shell(evaluate_command(plan, cell, "http://127.0.0.1:8000" if run.serve else None)))


def command_again(without: Sequence[str] = ()) -> list[str]:
    """The arguments with which this process was started, but for these options and their values."""
    words, kept = sys.argv[1:], []
    while words:
        word = words.pop(0)
        if word.partition("=")[0] in without:
            while "=" not in word and words and not words[0].startswith("--"):
                words.pop(0)
        else:
            kept.append(word)
    return [str(Path(sys.argv[0]).resolve()), *kept]


def write_slurm(plan: Plan, run: RunArguments) -> None:
    """Writes `cells.txt` and `cells.slurm` (and the same for tuning) and prints how to submit them.

    Every job runs one cell by this recipe itself; afterwards the recipe, started as ever, finds them all finished and
    writes the report.
    """
    again = command_again(("--launcher", "--dry_run", "--probe", "--max_hours"))
    python = shlex.join([sys.executable, *again, "--launcher", "local"])
    folder, lines = plan.folder.resolve(), list[str]()
    for name, cells in (("tuning", plan.tuning), ("cells", plan.cells)):
        able = [cell.name for cell in cells if cell.name not in plan.faults]
        if not able:
            continue
        (folder / f"{name}.txt").write_text("\n".join(able) + "\n")
        script = folder / f"{name}.slurm"
        script.write_text(
            f"#!/bin/bash\n#SBATCH --job-name=ablate-{name}\n#SBATCH --array=1-{len(able)}\n"
            f"#SBATCH --gpus-per-task={run.gpus_per_cell}\n#SBATCH --output={folder}/{name}-%a.log\n"
            f"cd {shlex.quote(str(Path.cwd()))}\n"
            f'cell=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(str(folder / f"{name}.txt"))})\n'
            f'{python} --only "$cell"\n'
        )
        after = " --dependency=afterany:$tuning" if lines else ""
        lines.append(f"{name}=$(sbatch --parsable{after} {shlex.quote(str(script))})")
    print("\n".join(["", "# submit:", *lines, "# and when all are done, for the report:", python]))
