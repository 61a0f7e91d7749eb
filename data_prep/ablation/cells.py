"""From the settings of a study to its cells, and from a question's terms to the cells that it means."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from math import isfinite
from typing import Any

from data_prep.ablation.settings import Cell, GridConfig, QuestionConfig, RunArguments, StudyArguments, label
from data_prep.bands import BANDS, check_bounds
from data_prep.config import nearest

TUNING_SEED = 1_000_003  # no seed of a grid, so that the learning rate is not chosen on a cell's own run
# What a term of a question may say; all but the weight are values of a grid's axes.
TERM = ("weight", "band", "size", "model", "response", "where", "length", "match_length", "epochs", "per_problem",
        "random_init")  # fmt: skip


def check(study: StudyArguments, run: RunArguments) -> None:
    """Raises ValueError for settings that contradict each other or mean nothing."""
    if not study.grids:
        raise ValueError("grids: no cell; give at least one block with sizes")
    if not study.test:
        raise ValueError("test: no benchmark; give what every cell is measured on")
    for i, grid in enumerate(study.grids):
        check_grid(f"grids[{i}]", grid)
    check_bounds(study.bands)
    models = {model for grid in study.grids for model in grid.models} | {study.model_name_or_path}
    if twice := [name for name, n in Counter(map(label, models)).items() if n > 1]:
        raise ValueError(f"two models are called {twice[0]!r} by the last part of their paths: rename a folder")
    if bool(study.tune_lr) != bool(study.dev):
        raise ValueError("tune_lr and dev belong together: rates to try, and benchmarks on which the best is chosen")
    if study.tune_lr and set(study.dev) & set(study.test):
        raise ValueError(f"dev: {min(set(study.dev) & set(study.test))} is a test benchmark too: take another one")
    for option, setting in (("learning_rate", "tune_lr"), ("num_train_epochs", "epochs"), ("seed", "seeds")):
        if option in study.sft_options and (option != "learning_rate" or study.tune_lr):
            raise ValueError(f"sft_options.{option}: it is set for each cell: use {setting}")
    names = [question.name for question in study.questions]
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise ValueError(f"questions: two are called {twice[0]!r}")
    for question in study.questions:
        if question.smallest_effect == 0 or not isfinite(question.smallest_effect):
            raise ValueError(
                f"questions.{question.name}.smallest_effect: {question.smallest_effect:g}: it needs a size and, by its "
                "sign, the direction claimed"
            )
    if run.gpus_per_cell > 1 and not run.accelerate_config:
        raise ValueError(f"gpus_per_cell {run.gpus_per_cell}: say how they work together with --accelerate_config")
    if run.serve is not None and not ("{model}" in run.serve and "{port}" in run.serve):
        raise ValueError(f"serve {run.serve!r}: a command with {{model}} and {{port}} where they belong")
    for name in ("cells_at_once", "gpus_per_cell", "throughput", "evaluate_throughput", "max_hours"):
        value = getattr(run, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name} {value}: above 0")


def check_grid(where: str, grid: GridConfig) -> None:
    for name in ("sizes", "bands", "seeds", "models", "responses", "lengths", "epochs", "per_problem", "random_init"):
        values = getattr(grid, name)
        if not values and name != "models":
            raise ValueError(f"{where}.{name}: empty")
        if twice := [value for value, n in Counter(values).items() if n > 1]:
            raise ValueError(f"{where}.{name}: {twice[0]} stands there twice: a run counted twice is no second run")
    for name in ("sizes", "seeds", "per_problem"):
        if low := [value for value in getattr(grid, name) if value < 0]:
            raise ValueError(f"{where}.{name}: {low[0]}: 0 or more")
    if bad := [epochs for epochs in grid.epochs if not 0 < epochs < float("inf")]:
        raise ValueError(f"{where}.epochs: {bad[0]}: above 0, and a number")
    for column, value in [item for filters in grid.where for item in filters.items()]:
        if not isinstance(value, str | int | float):
            raise ValueError(f"{where}.where: {column}: {value!r}: a text, a number, true or false")
    known = ["all", *BANDS]
    if unknown := [band for band in grid.bands if band not in known]:
        raise ValueError(f"{where}.bands: {unknown[0]!r}{nearest(unknown[0], known)}; known: {', '.join(known)}")
    for length in grid.lengths:
        token_range(length, f"{where}.lengths")
    if grid.match_length and not [band for band in grid.bands if band != "all"]:
        raise ValueError(f"{where}.match_length: needs bands whose samples are to be equally long")


def token_range(length: str, where: str = "length") -> tuple[float, float]:
    """Lowest and highest number of tokens of `any` or `LOW-HIGH`. Raises ValueError."""
    if length == "any":
        return 0, float("inf")
    low, dash, high = length.partition("-")
    if not dash or not low.isdigit() or not high.isdigit() or int(low) >= int(high):
        raise ValueError(f"{where}: {length!r}: any, or two rising numbers of tokens as 0-2000")
    return int(low), int(high)


def cells_of(study: StudyArguments) -> list[Cell]:
    """All cells of the grids, each once, large ones first: the last to finish should be short."""
    cells: dict[str, Cell] = {}
    for grid in study.grids:
        matched = tuple(band for band in BANDS if band in grid.bands) if grid.match_length else ()
        axes = (grid.models or [study.model_name_or_path], grid.sizes, grid.seeds, grid.bands, grid.responses,
                grid.where, grid.lengths, grid.epochs, grid.per_problem, grid.random_init)  # fmt: skip
        for model, size, seed, band, response, where, length, epochs, per_problem, random_init in product(*axes):
            cell = Cell(model, size, seed, band, response, tuple(sorted(where.items())), length, matched, float(epochs),
                        per_problem, random_init)  # fmt: skip
            cell = cell if size else Cell(model, 0)
            known = cells.setdefault(cell.name, cell)
            if known != cell:
                raise ValueError(f"two cells are called {cell.name!r}: {known} and {cell}")
    return sorted(cells.values(), key=lambda cell: (-cell.size, cell.seed, cell.name))


def tuning_cells(study: StudyArguments, cells: Sequence[Cell]) -> list[Cell]:
    """Cells by which the learning rate of each model and size is chosen: all bands, a seed of their own."""
    wanted = dict.fromkeys((cell.model, cell.size, cell.random_init) for cell in cells if cell.size)
    return [
        Cell(model, size, TUNING_SEED, random_init=random_init, learning_rate=rate)
        for model, size, random_init in wanted
        for rate in study.tune_lr
    ]


def terms_of(question: QuestionConfig, study: StudyArguments, cells: Sequence[Cell]) -> list[tuple[float, list[Cell]]]:
    """(weight, cells over seeds) of each term. Raises ValueError where the grids have no such cell."""
    found = []
    if not any(term.get("size") and term.get("weight", 1) for term in question.terms):
        raise ValueError(
            f"questions.{question.name}.terms: no term with a size and a weight: nothing trained is asked for"
        )
    for i, term in enumerate(question.terms):
        where = f"questions.{question.name}.terms[{i}]"
        if unknown := [key for key in term if key not in TERM]:
            raise ValueError(f"{where}: unknown key {unknown[0]!r}{nearest(unknown[0], TERM)}")
        if "size" not in term:
            raise ValueError(f"{where}: no size (0: the untrained model)")
        for key in ("weight", "size", "epochs", "per_problem"):
            value = term.get(key, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
                raise ValueError(f"{where}.{key}: {value!r}: a number (without quotes)")
        some = [cell for cell in cells if means(term, cell, study)]
        if not some:
            raise ValueError(f"{where}: no cell of the grids is like {dict(term)}")
        if len({cell.seed for cell in some}) < len(some):
            bands = sorted({", ".join(cell.matched) for cell in some})
            raise ValueError(
                f"{where}: cells matched among different bands are meant alike ({'; '.join(bands)}): match only once"
            )
        found.append((float(term.get("weight", 1.0)), sorted(some, key=lambda cell: cell.seed)))
    return found


def means(term: Mapping[str, Any], cell: Cell, study: StudyArguments) -> bool:
    if not term["size"]:
        return cell.size == 0 and cell.model == term.get("model", study.model_name_or_path)
    return (
        cell.model == term.get("model", study.model_name_or_path)
        and cell.size == term["size"]
        and cell.band == term.get("band", "all")
        and cell.response == term.get("response", "long")
        and dict(cell.where) == term.get("where", {})
        and cell.length == term.get("length", "any")
        and bool(cell.matched) == term.get("match_length", False)
        and cell.epochs == float(term.get("epochs", 1.0))
        and cell.per_problem == term.get("per_problem", 0)
        and cell.random_init == term.get("random_init", False)
    )
