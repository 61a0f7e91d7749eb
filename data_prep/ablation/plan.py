"""The plan of a study: what each cell will do, as commands, and what it costs, before anything runs."""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep.ablation.cells import cells_of, terms_of, tuning_cells
from data_prep.ablation.selection import Pool, Selection, read_test
from data_prep.ablation.settings import Cell, RunArguments, StudyArguments
from data_prep.artefacts import hash_path
from data_prep.config import REPOSITORY, nearest
from data_prep.tokenization import Rules

RECIPES = REPOSITORY / "recipes"
SFT, EVALUATE = "sft.yaml", "evaluate.yaml"
# What a YAML file of sft_longcot.py may say, and each cell says for itself.
OF_A_CELL = ("dataset_name", "dataset_config", "dataset_train_split", "datasets", "model_name_or_path", "output_dir",
             "seed", "num_train_epochs", "random_init")  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Cells with their selections. `tuning`: cells that come first and choose learning rates."""

    study: StudyArguments
    cells: list[Cell]
    tuning: list[Cell]
    selections: dict[str, Selection]  # by the cell's name
    orders: dict[str, tuple[Cell, np.ndarray, int]]  # by the data's name: a cell, rows in order, how many are needed
    shares: dict[str, float]  # by the cell's name: of the samples that fit, how many it draws
    n_test: int
    groups: dict[str, int]  # of test problems, and how many are in each; `all` among them
    test_hash: str
    left_out: dict[str, int]
    pool: Pool

    @property
    def folder(self) -> Path:
        return Path(self.study.output_dir)

    @property
    def everything(self) -> list[Cell]:
        return [*self.tuning, *self.cells]

    @property
    def faults(self) -> dict[str, str]:
        return {name: s.fault for name, s in self.selections.items() if s.fault}


def make_plan(study: StudyArguments, workers: int, may_estimate: bool = False) -> Plan:
    """Reads the samples, counts their tokens and selects for every cell.

    `may_estimate`: where a tokenizer cannot be loaded, estimate tokens from characters, and say so.
    Raises ValueError, FileNotFoundError, OSError.
    """
    from datasets import disable_progress_bars

    cells = cells_of(study)
    for question in study.questions:
        terms_of(question, study, cells)  # refuses what no cell answers
    tuning = tuning_cells(study, cells) if study.tune_lr else []
    n_problems = evaluate_settings(study).get("n_problems")
    test_ids, groups = read_test(study.test, n_problems, study.group_by)
    dev_ids, _ = read_test(study.dev, n_problems, study.group_by)
    if both := test_ids & dev_ids:
        raise ValueError(f"dev: {len(both):,} of its problems are test problems too: choose the rates on others")
    for question in study.questions:
        if unknown := [group for group in question.tested if group not in groups]:
            raise ValueError(
                f"questions.{question.name}.tested: no test problem is in the group {unknown[0]!r}"
                f"{nearest(unknown[0], groups)}; there are {', '.join(sorted(groups))}"
            )
    test_hash = hashlib.sha256(json.dumps([sorted(test_ids), sorted(dev_ids)]).encode()).hexdigest()
    if not sys.stderr.isatty():  # a log is no place for the bars of `datasets`, which do not look
        disable_progress_bars()
    pool = Pool(study)
    rules = rules_of(study)
    trained = [cell for cell in [*tuning, *cells] if cell.size]
    for model, response in dict.fromkeys((cell.model, cell.response) for cell in trained):
        try:
            tokenizer = load_tokenizer(model)
        except OSError as error:
            if not may_estimate:
                raise ValueError(f"{model}: no tokenizer here, and the Hub gave none: {error}") from None
            print(f"note       {model}: no tokenizer here: tokens are estimated from characters", flush=True)
            pool.estimate_tokens(model, response)
            continue
        pool.count_tokens(model, response, tokenizer, rules, workers)
    selections: dict[str, Selection] = {}
    orders: dict[str, tuple[Cell, np.ndarray, int]] = {}
    shares: dict[str, float] = {}
    known: dict[str, np.ndarray] = {}
    for cell in trained:
        if cell.data not in known:
            known[cell.data] = pool.order(cell)
        selection = pool.select(cell, known[cell.data], study.budget, test_ids | dev_ids)
        selections[cell.name] = selection
        if not selection.fault:
            needed = max(selection.n_rows, orders[cell.data][2] if cell.data in orders else 0)
            orders[cell.data] = (cell, known[cell.data], needed)
            shares[cell.name] = selection.n_rows / len(known[cell.data])
    return Plan(
        study,
        cells,
        tuning,
        selections,
        orders,
        shares,
        len(test_ids),
        dict(groups),
        test_hash,
        dict(pool.left_out),
        pool,
    )


def load_tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    if tokenizer.chat_template is None:
        raise ValueError(f"{model}: no chat template: save the model with one")
    return tokenizer


def rules_of(study: StudyArguments) -> Rules:
    """What the SFT of every cell does with samples that it cannot use: they are left out here, before the budget."""
    settings = sft_settings(study)
    for name, unset in (("max_steps", -1), ("eval_share", 0), ("streaming", False), ("eval_datasets", [])):
        if settings.get(name, unset) != unset:
            raise ValueError(f"sft: {name}: a cell would not train on what is counted for it: leave it out")
    if settings.get("chat_template_path") or settings.get("added_tokens"):
        raise ValueError("chat_template_path and added_tokens change what is counted: save them with the model instead")
    return Rules(settings.get("max_length", 16384), unclosed_thought=settings.get("unclosed_thought", "drop"),
                 fully_masked="drop", bad_row="drop")  # fmt: skip


def sft_settings(study: StudyArguments) -> dict[str, Any]:
    return {**read_yaml("sft", study.sft), **study.sft_options}


def evaluate_settings(study: StudyArguments) -> dict[str, Any]:
    return {**read_yaml("evaluate", study.evaluate), **study.evaluate_options}


def read_yaml(option: str, path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{option}: {path}: cannot be read: {' '.join(str(error).split())}") from None


# --- Commands


def train_command(plan: Plan, cell: Cell, run: RunArguments, learning_rate: float | None) -> list[str]:
    """Arguments of Python, or of `accelerate launch`, that train the cell."""
    arguments = [str(RECIPES / "sft_longcot.py")]
    if run.accelerate_config:
        # Port 0 is any free one: cells side by side would all want the same.
        n = ["--num_processes", str(run.gpus_per_cell), "--main_process_port", "0"]
        arguments = ["-m", "accelerate.commands.launch", "--config_file", run.accelerate_config, *n, *arguments]
    selection = plan.selections[cell.name]
    options: dict[str, Any] = {
        "config": plan.folder / SFT,
        "model_name_or_path": cell.model,
        "datasets": {"path": str(plan.folder / "data" / cell.data), "n_rows": selection.n_rows},
        "output_dir": plan.folder / "cells" / cell.name / "model",
        "seed": cell.seed,
        "num_train_epochs": f"{cell.epochs:g}",
    }
    if learning_rate is not None:
        options["learning_rate"] = f"{learning_rate:g}"
    if cell.random_init:
        options["random_init"] = True
    return arguments + as_flags(options)


def evaluated_model(plan: Plan, cell: Cell) -> str:
    return str(plan.folder / "cells" / cell.name / "model") if cell.size else cell.model


def evaluate_command(plan: Plan, cell: Cell, server: str | None = None) -> list[str]:
    """Arguments of Python that measure the cell, with the model behind a server if there is one."""
    study, folder = plan.study, plan.folder / "cells" / cell.name
    options = {
        "config": plan.folder / EVALUATE,
        "model_name_or_path": evaluated_model(plan, cell),
        **({"server_urls": server} if server else {}),
        "benchmarks": study.dev if cell in plan.tuning else study.test,
        **({"group_by": study.group_by} if study.group_by else {}),
        "output_dir": folder / "evaluation",
    }
    return [str(RECIPES / "evaluate.py"), *as_flags(options)]


def write_settings(plan: Plan) -> None:
    """Writes what all cells have in common as the two YAML files that their commands name."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    sft = {name: value for name, value in sft_settings(plan.study).items() if name not in OF_A_CELL}
    for name, settings in ((SFT, sft), (EVALUATE, evaluate_settings(plan.study))):
        temporary = plan.folder / f".{name}.tmp-{os.getpid()}"  # jobs of an array write the same, side by side
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
        os.replace(temporary, plan.folder / name)


def as_flags(options: Mapping[str, Any]) -> list[str]:
    flags = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        text = [json.dumps(v) if isinstance(v, dict | bool) or v is None else str(v) for v in values]
        flags += [f"--{name}", *text]
    return flags


def as_shell(command: Sequence[str]) -> str:
    """A command as one would type it from the repository's folder."""
    words = [word.removeprefix(f"{REPOSITORY}/") for word in command]
    if words[:2] == ["-m", "accelerate.commands.launch"]:
        return f"accelerate launch {shlex.join(words[2:])}"
    return f"python {shlex.join(words)}"


def key_of(cell: Cell, plan: Plan) -> str:
    """Hash of all that decides a cell's result: a folder with another one is not taken for it. Paths are not in it."""
    selection = plan.selections.get(cell.name)
    study = plan.study
    deciding = [
        {**cell.as_dict(), "model": model_hash(cell.model)},
        selection and asdict(selection),
        plan.pool.hash,
        plan.test_hash,
        [study.budget, study.group_by, study.tune_lr, sft_settings(study)],
        evaluate_settings(study),
    ]
    return hashlib.sha256(json.dumps(deciding, default=str, sort_keys=True).encode()).hexdigest()


@cache
def model_hash(model: str) -> str:
    """Hash of a model folder's weights and settings, or the Hub name."""
    if not Path(model).is_dir():
        return model
    files = sorted([*Path(model).glob("*.safetensors"), *Path(model).glob("*.json")])
    return hashlib.sha256("".join(f"{file.name} {hash_path(file)}\n" for file in files).encode()).hexdigest()


def resolved(study: StudyArguments) -> StudyArguments:
    """The study with models and files of the repository found from other folders too."""

    def find(path: str) -> str:
        return str(REPOSITORY / path) if not Path(path).exists() and (REPOSITORY / path).exists() else path

    grids = [replace(grid, models=[find(model) for model in grid.models]) for grid in study.grids]
    questions = [
        replace(q, terms=[{**t, "model": find(t["model"])} if "model" in t else t for t in q.terms])
        for q in study.questions
    ]
    return replace(
        study, grids=grids, questions=questions, model_name_or_path=find(study.model_name_or_path),
        sft=find(study.sft) if study.sft else None, evaluate=find(study.evaluate) if study.evaluate else None,
    )  # fmt: skip
