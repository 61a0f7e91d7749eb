"""A study's folder: who works in it, the questions that are fixed before anything runs, the samples of its cells."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep.ablation.plan import Plan
from data_prep.ablation.running import read_cell
from data_prep.ablation.settings import Cell
from data_prep.artefacts import MANIFEST, hash_path, library_versions, now, read_manifest, write_json
from data_prep.small_world import VERSION


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


def check_questions(plan: Plan) -> dict[str, Any] | None:
    """The study's manifest, None if there is none yet.

    Raises ValueError where the questions are others than those that were fixed, and where cells have run without any.
    """
    known = read_manifest(plan.folder)
    if known is None:
        if any(plan.folder.glob("cells/*/cell.json")):
            raise ValueError(
                f"{plan.folder}: cells have run here, but {MANIFEST} with the questions that were fixed before is "
                "gone: choose another --output_dir"
            )
        return None
    if known.get("questions_sha256") != digest_of(plan):
        raise ValueError(
            f"{plan.folder}: the questions have changed since they were fixed ({known.get('fixed')}), before the first "
            "cell ran: choose another --output_dir, or ask the old ones again"
        )
    return known


def digest_of(plan: Plan) -> str:
    questions = [asdict(question) for question in plan.study.questions]
    return hashlib.sha256(json.dumps(questions, sort_keys=True).encode()).hexdigest()


def fix_questions(plan: Plan) -> None:
    """Writes questions, tests and smallest effects into the manifest, before any cell runs; later they may not change.

    Cells that are added to the grids later are listed as such.
    """
    known = check_questions(plan)
    names = [cell.name for cell in plan.cells]
    first = known["cells"] if known else names
    manifest = {
        "stage": "ablate",
        "kind": "study",
        "questions": [asdict(question) for question in plan.study.questions],
        "questions_sha256": digest_of(plan),
        "fixed": known["fixed"] if known else now(),
        "cells": first,
        "cells_added_later": sorted(set(names) - set(first)),
        "cells_left_out": plan.faults,
        "config": asdict(plan.study),
        "seed": sorted({cell.seed for cell in plan.cells}),
        "inputs": {plan.study.samples: plan.pool.hash,
                   **{name: hash_path(name) for name in plan.study.test if Path(name).exists()}},
        "rows_in": len(plan.pool.rows),
        "rows_dropped": plan.left_out,
        "small_world": VERSION,
        "libraries": library_versions(),
    }  # fmt: skip
    write_json(plan.folder / MANIFEST, manifest)


def write_data(plan: Plan, cells: Sequence[Cell]) -> None:
    """Writes the samples of these cells that are not there yet, as many as the longest cell needs.

    Samples that are there are kept if they begin as this plan's do and are enough; else they are written anew.
    """
    for name in dict.fromkeys(cell.data for cell in cells):
        if name not in plan.orders:  # a cell that cannot run
            continue
        cell, order, needed = plan.orders[name]
        folder = plan.folder / "data" / name
        if (known := read_manifest(folder)) is not None:
            n = known["rows_out"]
            if n >= needed and known.get("fingerprint") == plan.pool.fingerprint(cell, order[:n]):
                continue
            shutil.rmtree(folder)
        plan.pool.write(cell, order[:needed], folder)


def tuned_rates(plan: Plan) -> dict[tuple[str, int, bool], float]:
    """For each model and size the learning rate that is best on dev, printed; none where none ran to its end.

    Raises ValueError where cells that choose one have not run yet.
    """
    found: dict[tuple[str, int, bool], list[tuple[float, float]]] = {}
    for cell in plan.tuning:
        scores = found.setdefault((cell.model, cell.size, cell.random_init), [])
        record = read_cell(plan, cell)
        if record is None:
            raise ValueError(f"learning rates are still to be tuned: {cell.name} has not run yet")
        if record["status"] == "done":
            scores.append((record["accuracy"]["all"], -(cell.learning_rate or 0)))
    best = {}
    for (model, size, random_init), scores in found.items():
        if not scores:
            print(f"tuned      {model}, size {size:,}: no learning rate ran to its end", flush=True)
            continue
        accuracy, rate = max(scores)
        best[model, size, random_init] = -rate
        print(f"tuned      {model}, size {size:,}: learning rate {-rate:g} ({100 * accuracy:.1f} % on dev)", flush=True)
    return best


def records_of(plan: Plan, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One record for each of these cells; those that have not run yet with the status `missing`."""
    return [
        read_cell(plan, cell) or {**cell.as_dict(), "status": "missing", "fault": plan.faults.get(cell.name)}
        for cell in cells
    ]
