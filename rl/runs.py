"""A training run's folder: one run at a time, the newest whole checkpoint, resuming as what was begun, the manifest.

The folder of a finished model holds `manifest.json`, which is written last: a folder without it is unfinished.
"""

import importlib.util
import json
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep.artefacts import (
    MANIFEST,
    hash_model,
    library_versions,
    now,
    read_trained_on,
    write_json,
    write_trained_on,
)

# TRL sets this alias itself, recipes use it, and transformers warns of it at each start.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)

RUN = "run.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors", "pytorch_model_fsdp_0")


def hardware_defaults() -> dict[str, Any]:
    """Trainer settings that depend on the machine: `use_cpu`, and `bf16` where the hardware multiplies in it."""
    import torch

    warn_of_builds()
    if torch.accelerator.is_available():
        return {"use_cpu": False, "bf16": not torch.cuda.is_available() or torch.cuda.is_bf16_supported()}
    return {"use_cpu": True, "bf16": bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())}


def warn_of_builds() -> None:
    """Names the lock files of C++ extensions under construction (DeepSpeed's): a killed build leaves one for good.

    Whoever needs the extension waits for the lock to go, without a word.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch_extensions"
    for lock in Path(os.environ.get("TORCH_EXTENSIONS_DIR", default)).glob("**/lock"):
        say(f"note       {lock}: something is being compiled; if no other run is (it was killed), remove this file")


def check_training(training: Any, without_effect: Sequence[str]) -> None:
    """Raises ValueError for trainer settings that no recipe can run with, and for those that would have no effect."""
    refuse(training, without_effect)
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
        if getattr(training, name) < 1:
            raise ValueError(f"--{name} {getattr(training, name)}: at least 1")
    if training.num_train_epochs <= 0 and training.max_steps <= 0:
        raise ValueError(f"--num_train_epochs {training.num_train_epochs}: nothing to train; give more than 0")
    if training.fp16 and training.use_cpu:
        raise ValueError("--fp16 has no effect on a CPU: leave it out")
    if training.save_only_model:
        raise ValueError(
            "--save_only_model makes checkpoints that cannot be resumed; to save disk give --save_total_limit 1"
        )
    for name in training.report_to:
        if name in ("trackio", "wandb", "tensorboard") and importlib.util.find_spec(name) is None:
            raise ValueError(f"--report_to {name}: not installed: pip install {name}, or leave it out")


def refuse(settings: Any, without_effect: Sequence[str]) -> None:
    """Raises ValueError for a setting of these names that is not at its default."""
    for known in fields(settings):
        value = getattr(settings, known.name)
        if known.name in without_effect and value not in (known.default, None):
            raise ValueError(f"--{known.name} {value} has no effect in this recipe: leave it out (see --help)")


def n_parameters(model: Any) -> int:
    """Of the whole model, also where ZeRO-3 has shared its weights out."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())


def n_steps(trainer: Any) -> int:
    """Optimizer steps of a trainer's whole run."""
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps
    per_epoch = max(1, -(-len(trainer.get_train_dataloader()) // args.gradient_accumulation_steps))
    return math.ceil(per_epoch * args.num_train_epochs)


def write_model_manifest(trainer: Any, base: str, trained_on: Iterable[str], started: str, **of_the_stage: Any) -> None:
    """Writes the ids of the problems that the weights have seen, those of `base` too, and the manifest, which is last.

    `of_the_stage`: stage, config, content of the rows, rows_in, rows_out, rows_dropped, metrics.
    """
    folder = Path(trainer.args.output_dir)
    config, content = of_the_stage.pop("config"), of_the_stage.pop("content")
    manifest = {
        **of_the_stage,
        "kind": "model",
        "config": {**config, "trainer": trainer.args.to_dict()},
        "seed": trainer.args.seed,
        "inputs": {base: hash_model(base, trainer.model.config), "rows": content},
        "n_problems_trained_on": write_trained_on(folder, set(trained_on) | read_trained_on(base)),
        "n_processes": trainer.accelerator.num_processes,
        "backend": trainer.accelerator.distributed_type.value,
        "started": started,
        "ended": now(),
        "libraries": library_versions(),
    }
    write_json(folder / MANIFEST, manifest)


def save_finished(trainer: Any, metrics: Mapping[str, Any]) -> None:
    """Writes model, all_results.json and trainer_state.json into the output folder."""
    folder = Path(trainer.args.output_dir)
    trainer.save_model(str(folder))
    trainer.save_metrics("all", dict(metrics), combined=False)
    trainer.save_state()
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; the manifest says the same


def end_together(trainer: Any) -> None:
    """No process ends while another one still writes: the launcher would stop the rest."""
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def n_sharing() -> int:
    """Processes that share one sequence: the launcher's `parallelism_config_sp_size`, else 1."""
    return int(os.environ.get("PARALLELISM_CONFIG_SP_SIZE", "1"))


def check_launch(training: Any) -> None:
    """Raises ValueError where the launcher and the settings disagree in a way that would go unnoticed.

    Processes that were launched together and train alone, each on all data; and a launcher that asks for bf16 where the
    settings say float32 (DDP and FSDP2 would train in bf16).
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != training.world_size:
        raise ValueError(
            f"{launched} processes were launched and {training.world_size} train together: "
            "on CPU processes give --use_cpu true"
        )
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") == "bf16" and not training.bf16:
        raise ValueError(
            "the accelerate configuration says mixed_precision: bf16 and the recipe --bf16 false: "
            "leave mixed_precision out of the accelerate configuration"
        )


def is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def say(*lines: str) -> None:
    """Prints lines on the main process."""
    if is_main_process():
        print(*lines, sep="\n", flush=True)


@contextmanager
def run_folder(path: str | Path) -> Iterator[Path]:
    """Holds an output folder for this run; the lock goes with the process, however it ends.

    Raises FileExistsError if another run holds it or a finished model lies in it.
    """
    folder = Path(path)
    if not is_main_process():
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f"{folder}: another run is writing here: wait for it or choose another --output_dir"
        ) from None
    try:
        if (folder / MANIFEST).exists():
            raise FileExistsError(f"{folder}: a finished run lies here: choose another --output_dir or remove it")
        yield folder
    finally:
        lock.release()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; broken ones are named on stderr and left out."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")), reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text())  # the trainer writes it last
            return path
        except (OSError, json.JSONDecodeError):
            if is_main_process():
                print(f"{path}: unfinished checkpoint, not used", file=sys.stderr)
    return None


def resume_point(folder: Path, settings: Mapping[str, Any]) -> Path | None:
    """The checkpoint to go on from, after making sure that this run is the one that was begun in the folder.

    `settings`: what decides the weights and the data. They are written at the first start; later starts with others
    are refused with a ValueError that names the differences.
    """
    checkpoint = last_checkpoint(folder)
    settings = json.loads(json.dumps(settings, default=str))
    path = folder / RUN
    if checkpoint is not None:
        try:
            begun = flat(json.loads(path.read_text()) if path.is_file() else {})
        except ValueError as error:
            raise ValueError(f"{path}: broken ({error}): choose another --output_dir or remove this one") from None
        here = flat(settings)
        changed = [key for key in here if begun.get(key) != here[key]]
        if changed:
            key = changed[0]
            raise ValueError(
                f"{folder}: holds checkpoints of another run ({key}: {begun.get(key)!r} there, {here[key]!r} here"
                f"{f', and {len(changed) - 1} more' if len(changed) > 1 else ''}): choose another --output_dir "
                "or remove it"
            )
    elif is_main_process():
        write_json(path, settings)
    return checkpoint


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, with names such as `shape.hidden_size`."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return result


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Turns a full disk during training into one line, and removes the checkpoint that was cut off by it.

    Writers name the cause in many ways (torch speaks of an unexpected position in a file), so where one of them has
    failed, what counts is whether there is room for another checkpoint.
    """
    try:
        yield
    except Exception as error:
        good = last_checkpoint(folder)
        needed = sum(file.stat().st_size for file in good.rglob("*")) if good else 2**20
        writing = isinstance(error, OSError) or any(word in str(error) for word in ("StreamWriter", "unexpected pos"))
        full = writing and shutil.disk_usage(folder).free <= needed
        if "No space left" not in str(error) and not full:
            raise
        for path in folder.glob("checkpoint-*"):
            if is_main_process() and not (path / "trainer_state.json").exists():
                shutil.rmtree(path, ignore_errors=True)
        last = f"the last good checkpoint is {good}" if good else "no checkpoint was written yet"
        raise OSError(
            f"{folder}: the disk is full; {last}. Make room and start the same command again ({error})"
        ) from error


@contextmanager
def user_errors() -> Iterator[None]:
    """Prints what the user has to mend as one line on stderr, without a traceback, and exits with 1."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("REDSTAR_TRACEBACK"):
            raise
        rank = "" if is_main_process() else f"[rank {os.environ['RANK']}] "
        print(f"{rank}error: {' '.join(str(error).split())}", file=sys.stderr)  # REDSTAR_TRACEBACK=1 shows where
        raise SystemExit(1) from error
