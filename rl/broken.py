"""Runs that are broken on purpose, each in one way: does the monitor say so, and say nothing of a healthy one?

    python recipes/sft_longcot.py                                      # the policy, three minutes
    python -m rl.broken --policy outputs/tiny/sft_longcot --output_dir outputs/broken

Each is recipes/rl_grpo.py on the medium band of the small world with one setting that is wrong. What is finished is
kept. Writes report.json and README.md, and curves.svg of every run.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.artefacts import library_versions
from data_prep.small_world import VERSION
from data_prep.small_world.studies import write_report
from rl.monitor import first_warnings
from rl.study import CONFIGS, curve, flags, recipe, write_problems

STEPS = 40
# Name: what is wrong, the warning that is expected (None: none), and the options.
RUNS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "healthy": ("nothing", None, {}),
    "cold": ("temperature 0.05: all rollouts of a problem are alike", "no signal", {"temperature": 0.05}),
    "short": ("rollouts of 100 tokens, where thoughts take 200", "endless", {"max_completion_length": 100}),
    "hasty": ("a learning rate 30 times too high", "worse", {"learning_rate": 3e-3}),
    "hot": ("temperature 2", "endless", {"temperature": 2.0}),
    "hackable": (
        "steps paid by a model of random weights, five times as heavy as the outcome, summed, no gate", "gap",
        {"scorer": "RANDOM", "process_credit": "sum", "process_gate": "false", "process_weight": 5.0},
    ),
    "blind": ("a process reward model of random weights, watched only", "unrelated",
              {"scorer": "RANDOM", "process_weight": 0.0}),
}  # fmt: skip


def random_ppm(policy: Path, folder: Path) -> Path:
    """A process reward model of the policy's shape whose head is random: its scores mean nothing."""
    if not (folder / "model.safetensors").exists():
        import torch

        from rl.ppm.model import new_ppm, step_format_for, tokenizer_for

        tokenizer = tokenizer_for(str(policy), "main", [])
        step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
        ppm = new_ppm(str(policy), step_format, len(tokenizer), "float32", "tree")
        with torch.no_grad():
            ppm.score.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
        ppm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def run(name: str, policy: Path, steps: int, folder: Path) -> dict[str, Any]:
    told, expected, options = RUNS[name]
    out = folder / name
    if not (out / "manifest.json").exists():
        options = {
            key: random_ppm(policy, folder / "random_ppm") if value == "RANDOM" else value
            for key, value in options.items()
        }
        problems = write_problems(folder / "problems.jsonl", 1000, 6000)
        recipe(
            ["recipes/rl_grpo.py", "--config", f"{CONFIGS}/rl_grpo.yaml", "--model_name_or_path", policy, "--problems",
             f"{{path: {problems}}}", "--eval_strategy", "no", "--save_strategy", "no", "--max_steps", steps,
             "--output_dir", out, *flags(options)],
            folder / f"{name}.log",
        )  # fmt: skip
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    warned = first_warnings(history)
    shown = ("rewards/outcome/mean", "process/reward", "completions/clipped_ratio", "frac_reward_zero_std", "entropy")
    return {"name": name, "told": told, "expected": expected, "warned_at_step": warned,
            "as_expected": expected in warned if expected else not warned,
            "curves": {key: curve(history, key) for key in shown if curve(history, key)}}  # fmt: skip


def page(found: Mapping[str, Any]) -> str:
    lines = [
        "# Runs that are broken on purpose",
        "",
        f"{found['steps']} steps each, small world; made by `python -m rl.broken`.",
        "",
        "| run | what is wrong | expected warning | warned of (step) | right answers | cut | no signal | entropy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found["runs"]:
        warned = ", ".join(f"{name} ({step})" for name, step in one["warned_at_step"].items()) or "-"
        cells = [
            " to ".join(f"{own[i][1]:.2f}" for i in (0, -1)) if (own := one["curves"].get(key)) else "-"
            for key in ("rewards/outcome/mean", "completions/clipped_ratio", "frac_reward_zero_std", "entropy")
        ]
        lines.append(f"| {one['name']} | {one['told']} | {one['expected'] or '-'} | {warned} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "From the mean of the first ten steps to that of the last ten."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, default=Path("outputs/tiny/sft_longcot"), help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each run (%(default)s)")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS), help="(all)")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/broken"), help="(%(default)s)")
    parser.add_argument("--report_dir", type=Path, help="where report.json and README.md go (default: output_dir)")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    folder = args.output_dir.resolve()
    found = {
        "runs": [run(name, args.policy.resolve(), args.steps, folder) for name in args.runs], "steps": args.steps,
        "small_world": VERSION, "libraries": library_versions(),
    }  # fmt: skip
    write_report(found, page(found), args.report_dir or args.output_dir)


if __name__ == "__main__":
    main()
