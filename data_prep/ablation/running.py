"""Runs the cells of a plan side by side, and goes on where a killed run stopped.

A cell is two processes, one of sft_longcot.py and one of evaluate.py. Warm ones are forked from a process that has
imported the libraries, which saves seconds each; nothing has been computed in it, so the results are the same bit for
bit. cell.json is written last: a cell's folder that has one is finished, well or with a fault.
"""

import ctypes
import json
import multiprocessing
import os
import queue
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from math import isfinite
from multiprocessing.connection import wait
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from data_prep.ablation.plan import Plan, evaluate_command, evaluated_model, key_of, train_command
from data_prep.ablation.settings import Cell, RunArguments
from data_prep.artefacts import MANIFEST, now, write_json
from data_prep.config import REPOSITORY

RESULT, BEGUN = "cell.json", "begun"
PR_SET_PDEATHSIG = 1


class CellFailed(Exception):
    """A stage of a cell ended with a fault, which is recorded; the rest of the grid goes on."""


class CellStopped(Exception):
    """A stage was killed, or someone else runs the cell: nothing is recorded, the next start goes on with it."""


def devices(run: RunArguments) -> list[str]:
    """Names of what cells run on side by side: GPU numbers, or `cpu` once for each cell at once."""
    import torch

    if torch.cuda.is_available():
        ids = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))).split(
            ","
        )
        groups = [ids[i : i + run.gpus_per_cell] for i in range(0, len(ids), run.gpus_per_cell)]
        found = [",".join(group) for group in groups if len(group) == run.gpus_per_cell]
        if not found:
            raise ValueError(f"gpus_per_cell {run.gpus_per_cell}: this machine has {len(ids)}")
        return found[: run.cells_at_once] if run.cells_at_once else found
    return ["cpu"] * (run.cells_at_once or os.cpu_count() or 1)


class Runner:
    """Processes for stages: warm ones forked, others started anew."""

    def __init__(self, run: RunArguments, n_at_once: int, preload: Sequence[str]):
        self.run = run
        self.n_threads = max(1, (os.cpu_count() or 1) // n_at_once)
        self.context = multiprocessing.get_context("forkserver")
        self.stopped = False
        # To start a process, or to list them, multiprocessing asks all others for their exit status, which can be read
        # once: a second thread that asks meanwhile is told 255.
        self.asking = Lock()
        self.processes: set[subprocess.Popen[bytes]] = set()
        if run.warm:
            self.context.set_forkserver_preload([__name__, *preload])
            # Libraries read the first two once, when they are imported; the others keep the working directory, where
            # anything may lie, from being searched for modules before ours.
            for_server = {"OMP_NUM_THREADS": str(self.n_threads), "TOKENIZERS_PARALLELISM": "false",
                          "PYTHONSAFEPATH": "1", "PYTHONPATH": str(REPOSITORY)}  # fmt: skip
            before = dict(os.environ)
            os.environ.update(for_server)
            ensure_running()
            os.environ.clear()
            os.environ.update(before)

    def stop(self) -> None:
        """Kills what is running; nothing of it is recorded."""
        self.stopped = True
        with self.asking:
            for child in multiprocessing.active_children():
                child.kill()
        for own in list(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(own.pid, signal.SIGKILL)

    def stage(self, command: list[str], log: Path, device: str) -> None:
        """Runs one stage to its end; what it prints goes to `log`.

        Raises CellFailed with what the log says last, and CellStopped where the stage was killed.
        """
        if self.stopped:
            raise CellStopped("the grid is stopping")
        variables = {"OMP_NUM_THREADS": str(self.n_threads), "TOKENIZERS_PARALLELISM": "false"}
        if "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        if device != "cpu":
            variables["CUDA_VISIBLE_DEVICES"] = device
        if self.run.warm and not command[0].startswith("-"):
            process = self.context.Process(target=run_forked, args=(command, str(log), variables))
            with self.asking:
                process.start()
            wait([process.sentinel])
            with self.asking:
                process.join()
                code = process.exitcode
        else:
            with log.open("ab") as output:
                own = subprocess.Popen(
                    [sys.executable, *command], stdout=output, stderr=output, env={**os.environ, **variables},
                    preexec_fn=die_with_parent, start_new_session=True,
                )  # fmt: skip
                self.processes.add(own)
                code = own.wait()
                self.processes.discard(own)
        if code and (code < 0 or self.stopped):
            raise CellStopped(f"killed by signal {-code}" if code < 0 else "the grid is stopping")
        if code:
            raise CellFailed(f"{last_words(log)} (exit status {code}; {log})")


def die_with_parent() -> None:
    """On Linux a killed grid takes its cells along: what they hold is free when it is started again."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run_forked(command: list[str], log: str, variables: dict[str, str]) -> None:
    """Becomes the program that `python *command` would be, with its output in a file."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grid, which stops its cells itself
    with open(log, "ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    for name in ("PYTHONSAFEPATH", "PYTHONPATH"):  # the server's own
        os.environ.pop(name, None)
    os.environ.update(variables)
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)  # as Python does for a script
    runpy.run_path(command[0], run_name="__main__")


@contextmanager
def served(model: str, run: RunArguments, device: str, log: Path) -> Iterator[str | None]:
    """Address of a server of the model, started for this and stopped afterwards; None where none is asked for.

    Raises CellFailed if it ends or does not answer in time.
    """
    if run.serve is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {} if device == "cpu" else {"CUDA_VISIBLE_DEVICES": device}
    command = [word.format(model=model, port=port) for word in shlex.split(run.serve)]
    with log.open("ab") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **variables}, preexec_fn=die_with_parent,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = monotonic() + 60 * run.serve_minutes
        while not answers(port):
            if server.poll() is not None:
                raise CellFailed(f"the server ended: {last_words(log)} ({log})")
            if monotonic() > deadline:
                raise CellFailed(f"the server has not answered for {run.serve_minutes:g} minutes: see {log}")
            sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def last_words(log: Path) -> str:
    """The last error that a log tells of, else its last line that is no progress bar."""
    text = (log.read_text(errors="replace") if log.exists() else "").replace("\r", "\n").strip()
    lines = [line for line in text.splitlines() if line.strip() and "%|" not in line]
    errors = [line for line in lines if line.startswith("error: ") or "Error" in line.partition(":")[0]]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")


def run_cell(plan: Plan, cell: Cell, runner: Runner, device: str, learning_rate: float | None) -> dict[str, Any]:
    """Trains and evaluates a cell, whatever of it is not there yet, and writes its record, which is returned."""
    folder = plan.folder / "cells" / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    key = key_of(cell, plan)
    record: dict[str, Any] = {"key": key, **cell.as_dict(), "started": now(), "device": device}
    clock = monotonic()
    try:
        if cell.size:
            selection = plan.selections[cell.name]
            if selection.fault:
                raise CellFailed(selection.fault)
            if plan.tuning and learning_rate is None:
                raise CellFailed("no learning rate: no tuning cell of its model and size ran to its end")
        begin(folder, key)
        if cell.size:
            train(plan, cell, runner, device, learning_rate, record)
        record["seconds_training"] = round(monotonic() - clock, 1)
        evaluation = folder / "evaluation"
        if not (evaluation / MANIFEST).exists():
            with served(evaluated_model(plan, cell), runner.run, device, folder / "server.log") as server:
                runner.stage(evaluate_command(plan, cell, server), folder / "evaluate.log", device)
        result = json.loads((evaluation / "result.json").read_text())
        record["accuracy"], record["response_tokens"] = scores(result)
        record["status"], record["fault"] = "done", None
    except CellFailed as error:
        record["status"], record["fault"] = "failed", str(error)
    except (OSError, ValueError, LookupError) as error:  # a full disk, a folder removed under us: the rest goes on
        record["status"], record["fault"] = "failed", f"{type(error).__name__}: {error}"
    record["seconds"] = round(monotonic() - clock, 1)
    record["ended"] = now()
    if record["status"] == "done" and not runner.run.keep_models:
        shutil.rmtree(folder / "model", ignore_errors=True)
    write_json(folder / RESULT, record)
    return record


def begin(folder: Path, key: str) -> None:
    """Marks the folder as of these settings; what a cell of others has left there unfinished is removed."""
    path = folder / BEGUN
    if path.is_file() and path.read_text() == key:
        return
    for name in ("model", "evaluation", "evaluation.partial"):
        shutil.rmtree(folder / name, ignore_errors=True)
    path.write_text(key)


def train(
    plan: Plan, cell: Cell, runner: Runner, device: str, learning_rate: float | None, record: dict[str, Any]
) -> None:
    """Trains a cell if that is not done, and puts what it was into the record. Raises CellFailed if it diverged."""
    folder = plan.folder / "cells" / cell.name
    if not (folder / "model" / MANIFEST).exists():
        runner.stage(train_command(plan, cell, runner.run, learning_rate), folder / "train.log", device)
    manifest = json.loads((folder / "model" / MANIFEST).read_text())
    state = json.loads((folder / "model" / "trainer_state.json").read_text())
    metrics, selection = manifest["metrics"], plan.selections[cell.name]
    record |= {
        "tokens": round(selection.tokens * cell.epochs),
        "unique_tokens": selection.tokens,
        "trained_tokens": round(selection.trained_tokens * cell.epochs),
        "samples": round(selection.n_rows * cell.epochs),
        "unique_samples": selection.n_rows,
        "problems": selection.n_problems,
        "tokens_per_sample": round(selection.tokens / selection.n_rows, 1),
        "steps": state["global_step"],
        "learning_rate": manifest["config"]["learning_rate"],
        "train_loss": metrics["train_loss"],
        "train_tokens_per_second": round(metrics["train_tokens_per_second"]),
    }
    if (manifest["rows_in"], manifest["rows_out"]) != (selection.n_rows, selection.n_rows):
        raise CellFailed(
            f"trained on {manifest['rows_out']:,} of {manifest['rows_in']:,} samples, {selection.n_rows:,} were planned"
        )
    if fault := diverged(state["log_history"], metrics["train_loss"]):
        raise CellFailed(fault)


def diverged(history: Sequence[dict[str, Any]], train_loss: float) -> str | None:
    """Why a training is taken to have diverged: a loss or gradient that is no number, or a loss that has doubled.

    The latter from the first tenth of the logged losses to the last one, in the mean: noise is no divergence.
    """
    losses = [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]
    norms = [(entry["step"], entry["grad_norm"]) for entry in history if entry.get("grad_norm") is not None]
    for what, values in (("loss", losses), ("gradient norm", norms), ("mean loss", [(0, train_loss)])):
        for step, value in values:
            if not isfinite(float(value)):
                return f"training diverged: {what} {value} at step {step}"
    n = max(1, len(losses) // 10)
    before, after = (sum(loss for _, loss in part) / n for part in (losses[:n], losses[-n:]))
    if losses and after > 2 * before:
        return f"training diverged: loss {before:.3g} at its beginning, {after:.3g} at its end: lower the learning rate"
    return None


def scores(result: dict[str, Any]) -> tuple[dict[str, float], float]:
    """Greedy (else first sampled) pass@1 by group, `all` first, over all benchmarks; and the mean response length."""
    chosen = [s for s in result["scores"] if s["metric"] == "pass@1"]
    decoding = chosen[0]["decoding"]
    chosen = [s for s in chosen if s["decoding"] == decoding]
    totals: dict[str, list[float]] = {}
    for score in chosen:
        name = score["group"]
        right, n = totals.setdefault(name, [0.0, 0])
        totals[name] = [right + score["mean"] * score["n_problems"], n + score["n_problems"]]
    n_all = sum(s["n_problems"] for s in chosen if s["group"] == "all")
    length = sum(s["mean_tokens"] * s["n_problems"] for s in chosen if s["group"] == "all") / n_all
    return {name: right / n for name, (right, n) in totals.items()}, round(length, 1)


def read_cell(plan: Plan, cell: Cell) -> dict[str, Any] | None:
    """The record of a finished cell. Raises ValueError if the folder holds a cell of other settings."""
    path = plan.folder / "cells" / cell.name / RESULT
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: broken ({error}): remove it, and the cell is run again") from None
    if not isinstance(record, dict) or record.get("key") != key_of(cell, plan):
        raise ValueError(
            f"{path.parent}: a cell of other settings or samples: choose another --output_dir or remove it"
        )
    return record


def run_cells(
    plan: Plan, cells: Sequence[Cell], run: RunArguments, runner: Runner, places: Sequence[str],
    rates: Mapping[tuple[str, int, bool], float] = {},
) -> None:  # fmt: skip
    """Runs what is not finished of these cells, each on a free place, with a line for each and a bar for all.

    `rates`: tuned learning rates by model, size and whether the weights are fresh.
    """
    waiting = []
    for cell in cells:
        record = read_cell(plan, cell)
        if record is None or (record["status"] == "failed" and run.retry_failed):
            waiting.append(cell)
    n_there = len(cells) - len(waiting)
    if n_there:
        print(f"resume     {n_there:,} of {len(cells):,} cells are finished already", flush=True)
    free: queue.Queue[str] = queue.Queue()
    for place in places:
        free.put(place)

    def one(cell: Cell) -> str:
        """Runs the cell when a place is free; what is to be said of it."""
        device = free.get()
        try:
            with FileLock(plan.folder / "cells" / f".{cell.name}.lock", blocking=False):
                rate = cell.learning_rate or rates.get((cell.model, cell.size, cell.random_init))
                record = run_cell(plan, cell, runner, device, rate)
            return record["fault"] or f"{100 * record['accuracy']['all']:.1f} %, {record['seconds']:.0f} s"
        except Timeout:
            return "left to another process, which runs it"
        except CellStopped as error:
            return f"not finished: {error}"
        finally:
            free.put(device)

    total = sum(weight(plan, cell) for cell in waiting)
    with (
        ThreadPoolExecutor(len(places)) as pool,
        tqdm(total=total, unit="tok", unit_scale=True, desc="cells", disable=None, smoothing=0) as bar,
    ):
        futures = {pool.submit(one, cell): cell for cell in waiting}
        try:
            for n, future in enumerate(as_completed(futures), n_there + 1):
                cell = futures[future]
                bar.write(f"[{n:,}/{len(cells):,}] {cell.name}: {future.result()}")
                sys.stdout.flush()
                bar.update(weight(plan, cell))
        except BaseException:
            runner.stop()
            for future in futures:
                future.cancel()
            raise


def weight(plan: Plan, cell: Cell) -> int:
    """Share of a cell in the whole, for the bar: the tokens that it trains on and some for its evaluation."""
    selection = plan.selections.get(cell.name)
    return round(
        (selection.tokens * cell.epochs if selection else 0) + 100_000 * bool(not (selection and selection.fault))
    )
