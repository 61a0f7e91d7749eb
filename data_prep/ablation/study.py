"""What stands around the cells of a study: its folder, the questions that are fixed first, its cost, and job arrays."""

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep.ablation.plan import (
    Plan,
    as_shell,
    cost_of,
    evaluate_command,
    evaluated_model,
    power_lines,
    probe_cell,
    train_command,
)
from data_prep.ablation.running import Runner, read_cell, run_cells
from data_prep.ablation.settings import Cell, PowerArguments, RunArguments
from data_prep.artefacts import MANIFEST, hash_path, library_versions, now, read_manifest, write_json
from data_prep.config import REPOSITORY, nearest
from data_prep.small_world import VERSION

FAULTS_SHOWN = 16  # kinds of cells that cannot run, on the terminal


@contextmanager
def study_folder(folder: Path, alone: bool) -> Iterator[None]:
    """Makes the folder and, if this run needs it `alone`, holds it. Raises FileExistsError where another run has it."""
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    if not alone:
        yield
        return
    try:
        with FileLock(folder / ".lock", blocking=False):
            yield
    except Timeout:
        raise FileExistsError(f"{folder}: another run is working here: wait for it or choose another one") from None


def check_only(plan: Plan, names: Sequence[str]) -> None:
    """Raises ValueError for a name that no cell has."""
    known = [cell.name for cell in plan.everything]
    for name in names:
        if name not in known:
            raise ValueError(f"--only {name}: no such cell{nearest(name, known)}; --dry_run true lists them")


def print_plan(plan: Plan, expected: PowerArguments) -> None:
    study, cells = plan.study, plan.cells
    trained = [plan.selections[cell.name] for cell in cells if cell.size]
    print(
        f"samples    {len(plan.pool.rows):,} in {study.samples}; left out: "
        + (", ".join(f"{n:,} {reason}" for reason, n in plan.left_out.items() if n) or "none")
    )
    print(f"test       {plan.n_test:,} problems of {', '.join(study.test)}")
    tuning = f", {len(plan.tuning):,} more that choose learning rates" if plan.tuning else ""
    print(f"cells      {len(cells):,}, of which {len(trained):,} train{tuning}")
    faults: dict[str, list[str]] = {}  # by the cell but for its seed: too few is too few with any seed
    for cell in plan.everything:
        if fault := plan.faults.get(cell.name):
            faults.setdefault(f"{cell.band}, {cell.size:,}, {cell.response}, {cell.matched}", []).append(fault)
    for same in list(faults.values())[:FAULTS_SHOWN]:
        print(f"left out   {len(same)} cells: {same[0]}")
    if len(faults) > FAULTS_SHOWN:
        print(f"left out   {sum(map(len, list(faults.values())[FAULTS_SHOWN:])):,} more, with the faults of their like")
    if study.questions:
        print(
            f"power      chance to see the smallest effect of interest, with {expected.seed_sd:g} points between seeds"
            f", {expected.interaction_sd:g} between problems, {expected.residual_sd:g} in an answer:"
        )
        for line in power_lines(plan, expected):
            print(f"           {line}")
    sys.stdout.flush()


def check_cost(plan: Plan, run: RunArguments, runner: Runner, places: Sequence[str]) -> None:
    """Prints what is still to be run costs. Raises ValueError if that is more than `max_hours`.

    Without given throughputs it goes by what finished cells have reached, the cheapest of which is run first if
    `probe` or `max_hours` asks for a number.
    """
    cell = probe_cell(plan)
    if cell is None and plan.faults and not run.dry_run:
        raise ValueError(f"no cell can be trained: {next(iter(plan.faults.values()))}")
    given = run.throughput and run.evaluate_throughput
    if cell is not None and not given and (run.probe or (run.max_hours and not run.dry_run)):
        if not run.dry_run:
            fix_questions(plan)
        write_data(plan, [cell])
        run_cells(plan, [cell], run, runner, places[:1])
    records = [record for c in plan.cells if (record := read_cell(plan, c)) and record["status"] == "done"]
    speeds = sorted(r["train_tokens_per_second"] for r in records if r["size"])
    throughput = run.throughput or (speeds[len(speeds) // 2] if speeds else None)
    answers = [r["response_tokens"] * plan.n_test / max(0.1, r["seconds"] - r["seconds_training"]) for r in records]
    evaluate_throughput = run.evaluate_throughput or (sorted(answers)[len(answers) // 2] if answers else None)
    lengths = [r["response_tokens"] for r in records if r["size"]]
    response_tokens = round(sum(lengths) / len(lengths)) if lengths else run.response_tokens
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
        f"{text}; {cost.hours:,.1f} hours, {cost.at_once} cells at once, at {throughput:,.0f} and "
        f"{evaluate_throughput:,.0f} tokens/s each",
        flush=True,
    )
    if run.max_hours is not None and cost.hours > run.max_hours:
        raise ValueError(
            f"the grid would take {cost.hours:,.1f} hours, more than --max_hours {run.max_hours:g}: take fewer cells, "
            "seeds or smaller sizes, or more devices"
        )


def fix_questions(plan: Plan) -> None:
    """Writes questions, tests and smallest effects into the manifest, before any cell runs; later they may not change.

    Raises ValueError where they have changed since.
    """
    questions = [asdict(question) for question in plan.study.questions]
    digest = hashlib.sha256(json.dumps(questions, sort_keys=True).encode()).hexdigest()
    known = read_manifest(plan.folder)
    if known is not None and known.get("questions_sha256") != digest:
        raise ValueError(
            f"{plan.folder}: the questions have changed since they were fixed ({known.get('fixed')}), before the first "
            "cell ran: choose another --output_dir, or ask the old ones again"
        )
    fixed = known["fixed"] if known else now()
    manifest = {
        "stage": "ablate",
        "kind": "study",
        "questions": questions,
        "questions_sha256": digest,
        "fixed": fixed,
        "config": asdict(plan.study),
        "seed": sorted({cell.seed for cell in plan.cells}),
        "inputs": {plan.study.samples: plan.pool.hash,
                   **{name: hash_path(name) for name in plan.study.test if Path(name).exists()}},
        "rows_in": len(plan.pool.rows),
        "rows_dropped": plan.left_out,
        "cells": len(plan.cells),
        "cells_left_out": plan.faults,
        "small_world": VERSION,
        "libraries": library_versions(),
    }  # fmt: skip
    write_json(plan.folder / MANIFEST, manifest)


def write_data(plan: Plan, cells: Sequence[Cell] | None = None) -> None:
    """Writes the samples of all cells (or these) that are not there yet; as long as the longest cell needs."""
    wanted = {cell.data for cell in (plan.everything if cells is None else cells)}
    for name, (cell, order) in plan.orders.items():
        folder = plan.folder / "data" / name
        if name not in wanted:
            continue
        if (known := read_manifest(folder)) is not None:
            if known["inputs"]["samples"] == plan.pool.hash and known["rows_out"] >= len(order):
                continue
            shutil.rmtree(folder)  # of a study with smaller sizes, whose cells are the beginnings of these
        plan.pool.write(cell, order, folder)


def tuned_rates(plan: Plan) -> dict[tuple[str, int, bool], float]:
    """For each model and size the learning rate that is best on dev, printed; none where none ran to its end."""
    found: dict[tuple[str, int, bool], list[tuple[float, float]]] = {}
    for cell in plan.tuning:
        record = read_cell(plan, cell)
        scores = found.setdefault((cell.model, cell.size, cell.random_init), [])
        if record and record["status"] == "done":
            scores.append((record["accuracy"]["all"], -cell.learning_rate))  # type: ignore[operator]
    best = {}
    for (model, size, random_init), scores in found.items():
        if not scores:
            print(f"tuned      {model}, size {size:,}: no learning rate ran to its end", flush=True)
            continue
        accuracy, rate = max(scores)
        best[model, size, random_init] = -rate
        print(f"tuned      {model}, size {size:,}: learning rate {-rate:g} ({100 * accuracy:.1f} % on dev)", flush=True)
    return best


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


def write_slurm(plan: Plan, run: RunArguments) -> None:
    """Writes `cells.txt` and `array.slurm` (and the same for tuning) and prints how to submit them.

    Every job runs one cell by this recipe itself; afterwards the recipe, started as ever, finds them all finished and
    writes the report.
    """
    arguments = [word for word in sys.argv[1:]]
    for flag in ("--launcher", "--dry_run"):
        while flag in arguments:
            del arguments[arguments.index(flag) : arguments.index(flag) + 2]
    recipe = shlex.join(["recipes/ablate.py", *arguments])
    lines: list[str] = []
    for name, cells in (("tuning", plan.tuning), ("cells", plan.cells)):
        able = [cell.name for cell in cells if cell.name not in plan.faults]
        if not able:
            continue
        (plan.folder / f"{name}.txt").write_text("\n".join(able) + "\n")
        script = plan.folder / f"{name}.slurm"
        script.write_text(
            f"#!/bin/bash\n#SBATCH --job-name=ablate-{name}\n#SBATCH --array=1-{len(able)}\n"
            f"#SBATCH --gpus-per-task={run.gpus_per_cell}\n#SBATCH --output={plan.folder.resolve()}/{name}-%a.log\n"
            f"cd {shlex.quote(str(REPOSITORY))}\n"
            f'cell=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(str((plan.folder / f"{name}.txt").resolve()))})\n'
            f'python {recipe} --only "$cell"\n'
        )
        after = " --dependency=afterany:$tuning" if lines else ""
        lines.append(f"{name}=$(sbatch --parsable{after} {script})")
    print("\n".join(["", "# submit:", *lines, "# and when all are done, for the report:", f"python {recipe}"]))


def cells_table(plan: Plan) -> list[dict[str, Any]]:
    """One record for each cell, in the order of the plan; those that have not run yet with the status `missing`."""
    return [
        read_cell(plan, cell) or {**cell.as_dict(), "status": "missing", "fault": plan.faults.get(cell.name)}
        for cell in plan.cells
    ]
