"""The main job in minutes on a laptop: does Long-CoT SFT teach the small base to think, and is it the base or the data?

Measures the shipped small-world base, fine-tunes it on Long-CoT traces, does the same from random weights as a
control, and measures both on held-out problems in wordings that the traces do not use. Each part is a recipe run as
you would run it; the commands are printed. Offline. Writes outputs/quickstart/report.json, and starts afresh if run
again.

    python recipes/quickstart.py
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import REPOSITORY, parse_config

MARKER = ".quickstart"  # in a folder that a quickstart may remove
ARMS = {"before": "base", "after": "Long-CoT SFT", "from_random": "same SFT from random weights"}


@dataclass
class QuickstartArguments:
    output_dir: str = field(default="outputs/quickstart", metadata={"help": "an earlier quickstart there is removed"})
    n_train_samples: int = field(default=2200, metadata={"help": "Long-CoT traces to train on"})
    n_problems: int = field(default=300, metadata={"help": "held-out problems to measure on"})
    num_train_epochs: float = field(default=1, metadata={"help": "passes over the traces"})


def start(arguments: list[str], log: Path, n_threads: int) -> subprocess.Popen[bytes]:
    """Starts a recipe with its output in a log file."""
    print(f"$ python {shlex.join(arguments)}\n  (log: {log})", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(n_threads)}
    environment.setdefault("CUDA_VISIBLE_DEVICES", "0")  # several GPUs would want `accelerate launch`
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT)


def finish(runs: dict[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """Waits for runs side by side, with a line of progress; stops all with the end of the log if one fails."""
    begun = time.monotonic()
    running = True
    while running:
        time.sleep(0.5)
        running = any(run.poll() is None for run in runs.values())
        for name, run in runs.items():
            if run.returncode:
                for other in runs.values():
                    other.kill()
                log = (folder / "logs" / f"{name}.log").read_text(errors="replace")
                raise SystemExit(f"{log[-3000:]}\nerror: {name} failed, see the end of its log above")
        if sys.stdout.isatty():
            tail = (folder / "logs" / f"{next(iter(runs))}.log").read_text(errors="replace")
            line = tail.replace("\n", "\r").rstrip("\r").rpartition("\r")[2]
            print(f"\r  {time.monotonic() - begun:4.0f} s  {line[:100]:100}", end="", flush=True)
    print(f"\r  done in {time.monotonic() - begun:.0f} s{'':100}", flush=True)


def main() -> None:
    (args,) = parse_config("quickstart", __doc__, [QuickstartArguments])
    from data_prep.benchmarks import score

    begun = time.monotonic()
    folder = REPOSITORY / args.output_dir
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise SystemExit(f"error: {folder} holds something else than a quickstart: choose another --output_dir")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    n_cores = os.cpu_count() or 1

    def sft(name: str, *more: str) -> subprocess.Popen[bytes]:
        arguments = ["recipes/sft_longcot.py", "--config", "recipes/configs/tiny/sft_longcot.yaml"]
        arguments += ["--output_dir", str(folder / name), "--num_train_epochs", str(args.num_train_epochs)]
        dataset = f"{{path: small-world, n_rows: {args.n_train_samples}}}"
        arguments += ["--datasets", dataset, *more]
        return start(arguments, folder / "logs" / f"sft_{name}.log", max(1, n_cores // 2))

    def evaluate(name: str, model: Path | str, n_threads: int) -> subprocess.Popen[bytes]:
        arguments = ["recipes/evaluate.py", "--config", "recipes/configs/tiny/evaluate.yaml"]
        arguments += ["--model_name_or_path", str(model), "--output_dir", str(folder / f"evaluate_{name}")]
        arguments += ["--n_problems", str(args.n_problems)]
        return start(arguments, folder / "logs" / f"evaluate_{name}.log", n_threads)

    print("1. Long-CoT SFT from the base, and from random weights, side by side")
    finish({"sft_after": sft("after"), "sft_from_random": sft("from_random", "--random_init", "true")}, folder)
    print("2. Measuring")
    finish({"evaluate_before": evaluate("before", "data_prep/small_world/checkpoints/small", n_cores)}, folder)
    half = max(1, n_cores // 2)
    finish(
        {f"evaluate_{name}": evaluate(name, folder / name, half) for name in ("after", "from_random")},
        folder,
    )

    results = {name: json.loads((folder / f"evaluate_{name}" / "result.json").read_text()) for name in ARMS}
    groups = list(dict.fromkeys(s["group"] for s in results["before"]["scores"]))
    report = {
        **{f"pass@1_{name}": score(results[name]) for name in ARMS},
        "by_difficulty": {name: {g: score(results[name], group=g) for g in groups} for name in ARMS},
        "n_train_samples": args.n_train_samples,
        "n_problems": args.n_problems,
        "seconds": round(time.monotonic() - begun, 1),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\npass@1 on {args.n_problems} held-out problems of the small world, greedy, in %\n")
    print(f"{'':30}" + "".join(f"{group:>9}" for group in groups))
    for name, title in ARMS.items():
        print(f"{title:30}" + "".join(f"{100 * report['by_difficulty'][name][group]:9.1f}" for group in groups))
    print(f"\n{report['seconds']:.0f} s; report: {folder / 'report.json'}; responses: {folder}/evaluate_*")


if __name__ == "__main__":
    main()
