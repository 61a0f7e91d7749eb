"""Does Long-CoT help where figures have to be read, and is the figure used? On the small world.

    python -m multimodal.study --setting decide --output_dir outputs/geometry_study --report_dir reports/geometry

What is claimed, expected and done is in study.yaml. All with the recipes. What is finished is kept, a file for each
cell (arm and seed), in `cells` of the report's folder: the same command goes on. Writes report.json, README.md, a plot,
and a page with ten figures and the model's thoughts.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from data_prep.artefacts import library_versions, write_artefact, write_json
from data_prep.small_world.studies import read_plan, write_report
from data_prep.statistics import Estimate, difference_over_seeds, mean_over_seeds, verdict
from multimodal.controls import CONTROLS
from multimodal.samples import VERSION, geometry_folder, rows
from rl.monitor import first_warnings
from rl.runs import user_errors
from rl.study import flags, recipe

HERE = Path(__file__).parent
CONFIGS = "recipes/configs/tiny"
SEVERAL = ("medium", "hard")
HELD_OUT_SEED, PROBLEMS_SEED = 5, 4000
N_SHOWN = 10  # figures on the page

Setting = Mapping[str, Any]
Cells = Mapping[tuple[str, int], Mapping[str, Any]]


def problems_of(split: Any, n: int, seed: int, path: Path) -> Path:
    """Problems of several steps, with their figures."""
    if not path.exists():
        write_artefact(
            path, "problem", rows(split, n, seed, thought=None, bands=SEVERAL), stage="small_geometry",
            config={"split": split, "bands": SEVERAL, "version": VERSION}, seed=seed, inputs={},
        )  # fmt: skip
    return path


def measured(model: Path, problems: Path, controls: bool, out: Path) -> dict[str, dict[str, float]]:
    """By figures (own, blank, swapped) and problem 1 for a right greedy answer, 0 for a wrong one."""
    if not (out / "manifest.json").exists():
        recipe(
            ["recipes/evaluate.py", "--model_name_or_path", model, "--benchmarks", problems, "--instruction", "",
             "--max_new_tokens", 500, "--batch_size", 100, "--dtype", "float32", "--figure_controls",
             str(controls).lower(), "--output_dir", out],
            out.with_name(f"{out.name}.log"),
        )  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for row in responses(out):
        own = found.setdefault({"greedy": "own"}.get(row["decoding"], row["decoding"]), {})
        own[row["problem_id"]] = float(row["verdict"] == "right")
    return found


def responses(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("data-*.parquet")) for row in pq.read_table(path).to_pylist()]


def supervised(
    name: str, seed: int, thought: Any, n: int, n_all: int, plan: Mapping[str, Any], setting: Setting, held_out: Path,
    controls: bool, folder: Path, kept: Path,
) -> Path:  # fmt: skip
    """SFT on the first `n` of `n_all` samples, and its measurement in `kept`. Returns the model."""
    path, model = kept / f"{name}-{seed}.json", folder / name
    if not (model / "manifest.json").exists():
        samples = geometry_folder("train", n_all, seed, "tiny", thought)
        recipe(
            ["recipes/sft_geometry.py", "--config", f"{CONFIGS}/sft_geometry.yaml", "--datasets",
             f"{{path: {samples}, n_rows: {n}}}", "--eval_strategy", "no", "--save_strategy", "no", "--seed", seed,
             "--output_dir", model, *flags({**plan["common"], **setting.get("common", {})})],
            folder / f"{name}.log",
        )  # fmt: skip
    if not path.exists():
        found = measured(model, held_out, controls, folder / f"after-{name}")
        metrics = json.loads((model / "all_results.json").read_text())
        keep(path, {"arm": name, "seed": seed, "right": found, "n": n, "seconds": metrics["train_runtime"]})
    return model


def reinforced(
    policy: Path, seed: int, plan: Mapping[str, Any], setting: Setting, held_out: Path, folder: Path, kept: Path
) -> None:  # fmt: skip
    """GRPO from the policy, and its measurement in `kept`."""
    path, model = kept / f"grpo-{seed}.json", folder / "grpo"
    if path.exists():
        return
    if not (model / "manifest.json").exists():
        asked = problems_of("train", setting["n_problems"], PROBLEMS_SEED + seed, folder / "problems")
        watched = problems_of("dev", setting["n_measured"], HELD_OUT_SEED, folder / "watched")
        recipe(
            ["recipes/rl_geometry.py", "--config", f"{CONFIGS}/rl_geometry.yaml", "--model_name_or_path", policy,
             "--problems", f"{{path: {asked}}}", "--eval_problems", f"{{path: {watched}}}", "--seed", seed,
             "--per_device_eval_batch_size", 100, "--output_dir", model,
             *flags({**plan["grpo"], **setting.get("grpo", {})})],
            folder / "grpo.log",
        )  # fmt: skip
    history = json.loads((model / "trainer_state.json").read_text())["log_history"]
    watched_lines = [
        {key: line[key] for key in ("step", "eval_rewards/outcome/mean", "eval_figures/blank", "eval_figures/swapped")}
        for line in history
        if "eval_figures/blank" in line
    ]
    found = measured(model, held_out, True, folder / "after-grpo")
    metrics = json.loads((model / "all_results.json").read_text())
    keep(
        path,
        {"arm": "grpo", "seed": seed, "right": found, "watched": watched_lines, "seconds": metrics["train_runtime"],
         "warned_at_step": first_warnings(history)},
    )  # fmt: skip


def keep(path: Path, cell: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, cell)


def run_seed(seed: int, setting: Setting, plan: Mapping[str, Any], folder: Path, kept: Path) -> None:
    sizes = setting["sizes"]
    if all((kept / f"{name}-{seed}.json").exists() for name in ("short", "grpo", *(f"long-{n}" for n in sizes))):
        return
    held_out = problems_of("test", setting["n_held_out"], HELD_OUT_SEED, folder / "held_out")
    folder = folder / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    most = max(sizes)
    policy = supervised(f"long-{most}", seed, "long", most, most, plan, setting, held_out, True, folder, kept)
    reinforced(policy, seed, plan, setting, held_out, folder, kept)
    supervised("short", seed, "short", most, most, plan, setting, held_out, False, folder, kept)
    for n in sizes[:-1]:
        supervised(f"long-{n}", seed, "long", n, most, plan, setting, held_out, False, folder, kept)


# ---------------------------------------------------------------------------------------------------------- the report


def shares(cells: Cells, arm: str, seeds: Sequence[int], figures: str = "own") -> list[list[float]]:
    """Per seed and problem."""
    found = [cells[arm, seed]["right"][figures] for seed in seeds]
    return [[own[key] for key in sorted(own)] for own in found]


def report(found: Sequence[Mapping[str, Any]], plan: Mapping[str, Any], setting: str, sizes: Sequence[int]) -> Any:
    """Of the seeds in which every cell is finished; the others are named."""
    cells = {(cell["arm"], cell["seed"]): cell for cell in found}
    most = f"long-{max(sizes)}"
    arms = ["short", "grpo", *(f"long-{n}" for n in sizes)]
    seeds = sorted({seed for _, seed in cells})
    whole = [seed for seed in seeds if all((arm, seed) in cells for arm in arms)]
    result: dict[str, Any] = {"setting": setting, "seeds": whole, "unfinished": sorted(set(seeds) - set(whole))}
    if len(whole) > 1:
        own = {name: shares(cells, arm, whole) for name, arm in
               {"short_sft": "short", "long_sft": most, "grpo": "grpo"}.items()}  # fmt: skip
        own |= {control: shares(cells, most, whole, control) for control in CONTROLS}
        own |= {f"grpo_{control}": shares(cells, "grpo", whole, control) for control in CONTROLS}
        result |= {name: ends(mean_over_seeds(values, problems="sampled")) for name, values in own.items()}
        result["long_sft_by_samples"] = {
            str(n): ends(mean_over_seeds(shares(cells, f"long-{n}", whole), problems="sampled")) for n in sizes
        }
        sides = {
            "long_against_short": (own["long_sft"], own["short_sft"]),
            "own_against_blank": (own["long_sft"], own["blank"]),
            "own_against_swapped": (own["long_sft"], own["swapped"]),
            "grpo_gain": (own["grpo"], own["long_sft"]),
            "more_samples": (own["long_sft"], shares(cells, f"long-{sizes[-2]}", whole)),
        }
        result["questions"] = {
            key: stated | answered(key, stated, sides, own["long_sft"]) for key, stated in plan["questions"].items()
        }
    result["cells"] = [
        {key: cell[key] for key in ("arm", "seed", "seconds")}
        | {"right": {figures: fmean(values.values()) for figures, values in cell["right"].items()}}
        | {key: cell[key] for key in ("watched", "warned_at_step") if key in cell}
        for cell in sorted(found, key=lambda cell: (arms.index(cell["arm"]), cell["seed"]))
    ]
    return result | {"plan": dict(plan), "small_geometry": VERSION, "libraries": library_versions()}


def ends(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def answered(key: str, stated: Mapping[str, Any], sides: Mapping[str, Any], level: list[list[float]]) -> dict[str, Any]:
    """The difference that a question is about (of `long_level`: to 0), with interval and verdict."""
    if key == "long_level":
        a, b = level, [[0.0] * len(own) for own in level]
    else:
        a, b = sides[key]
    estimate = difference_over_seeds(a, b, problems="sampled", seeds="shared")
    return {
        **ends(estimate), "by_seed": [fmean(x) - fmean(y) for x, y in zip(a, b, strict=True)],
        "verdict": verdict(estimate, stated["smallest_effect"] / 100),
    }  # fmt: skip


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def page(found: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    plan = found["plan"]
    unfinished = f" Seeds that are not finished: {found['unfinished']}." if found["unfinished"] else ""
    lines = [
        "# Geometry with figures on the small world",
        "",
        f"Setting `{found['setting']}`, seeds {', '.join(map(str, found['seeds'])) or '(none is whole yet)'}."
        f"{unfinished} Made by `make study-geometry`; results on the small world, and no more than that. Ten figures "
        "with the model's thoughts: figures.html.",
        "",
    ]
    if "long_sft" in found:
        lines += ["| held-out figures of several steps | right, % (95 % interval) |", "|---|---:|"]
        told = {"short_sft": "short answers", "long_sft": "Long-CoT", "blank": "Long-CoT, white figures",
                "swapped": "Long-CoT, other problems' figures", "grpo": "Long-CoT, then GRPO",
                "grpo_blank": "the same, white figures",
                "grpo_swapped": "the same, other problems' figures"}  # fmt: skip
        rows_ = [(told[name], found[name]) for name in told]
        rows_ += [(f"Long-CoT, {int(n):,} samples", own) for n, own in found["long_sft_by_samples"].items()]
        lines += [
            f"| {name} | {percent(own['mean'])} ({percent(own['low'])} to {percent(own['high'])}) |"
            for name, own in rows_
        ]
        lines += ["", "![share of right answers](right.svg)", ""]
    for question in found.get("questions", {}).values():
        by_seed = ", ".join(f"{100 * value:+.1f}" for value in question["by_seed"])
        interval = f"{100 * question['low']:+.1f} to {100 * question['high']:+.1f}; by seed {by_seed}"
        lines += [
            f"**{question['claim']}** Expected before the run: {question['expected']}. Found: "
            f"{100 * question['mean']:+.1f} points ({interval}): *{question['verdict']}* for an effect of "
            f"{question['smallest_effect']} points.",
            "",
        ]
    lines += [
        "| cell | seed | right | blank | swapped | warned of (step) | minutes |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for cell in found["cells"]:
        right = [percent(cell["right"][kind]) if kind in cell["right"] else "-" for kind in ("own", *CONTROLS)]
        warned = ", ".join(f"{name} ({step})" for name, step in cell.get("warned_at_step", {}).items()) or "-"
        lines.append(
            f"| {cell['arm']} | {cell['seed']} | {' | '.join(right)} | {warned} | {cell['seconds'] / 60:.0f} |"
        )
    lines += ["", *(f"{key.capitalize()}: {plan[key].strip()}\n" for key in ("policy", "arms", "problems", "measure")),
              f"Intervals: {plan['test']}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Right answers by number of samples, beside the other arms."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")

    def bars(axis: Any, own: Mapping[str, Mapping[str, float]], colour: str) -> None:
        means = [100 * one["mean"] for one in own.values()]
        spans = [[100 * (one["mean"] - one["low"]) for one in own.values()],
                 [100 * (one["high"] - one["mean"]) for one in own.values()]]  # fmt: skip
        axis.bar(range(len(own)), means, yerr=spans, color=colour, capsize=4)
        axis.set_xticks(range(len(own)), list(own))
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)

    names = {"short_sft": "short", "long_sft": "long", "blank": "long,\nblank", "swapped": "long,\nswapped",
             "grpo": "long +\nGRPO"}  # fmt: skip
    bars(left, {label: found[name] for name, label in names.items()}, "#4878a8")
    bars(right, {f"{int(n):,}": own for n, own in found["long_sft_by_samples"].items()}, "#a87848")
    left.set_ylabel("right, %")
    left.set_ylim(0, 100)
    left.set_title("SFT and GRPO, with and without the figure", fontsize=10)
    right.set_title("Long-CoT samples", fontsize=10)
    figure.savefig(path)
    plt.close(figure)


HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ten figures, and what the model thinks</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; color: #222 }
section { display: flex; gap: 1.5rem; border-left: 4px solid #aaa; padding-left: 1rem; margin: 1.5rem 0 }
section.right { border-color: #2e8b57 } section.wrong { border-color: #c83c3c }
img { width: 224px; height: 224px; image-rendering: pixelated; border: 1px solid #ccc; flex: none }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; margin: .4rem 0; background: #f6f6f6;
      padding: .5rem .7rem }
@media (max-width: 40rem) { section { display: block } }
</style></head><body>
<h1>Ten figures, and what the model thinks</h1>
"""


def write_figures(held_out: Path, answers: Path, target: Path) -> None:
    """The first figures beside what the policy writes of them; green at the side: right."""
    shown = {
        row["problem_id"]: row
        for path in sorted(held_out.glob("data-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }
    parts = [HEAD, f"<p>The first {N_SHOWN} held-out problems, and the greedy answers of the policy of seed 0. Green: "
                   "right.</p>"]  # fmt: skip
    some = [row for row in responses(answers) if row["decoding"] == "greedy"][:N_SHOWN]
    for row in some:
        problem = shown[row["problem_id"]]
        image = base64.b64encode(problem["images"][0]).decode()
        parts.append(
            f"<section class='{'right' if row['verdict'] == 'right' else 'wrong'}'>"
            f"<img alt='the figure' src='data:image/png;base64,{image}'><div><b>{escape(problem['problem'])}</b> "
            f"Gold: {escape(problem['answer'])}<pre>{escape(row['response'])}</pre>"
            f"<small>What the figure shows: {escape(problem['description'])}</small></div></section>"
        )
    target.write_text("\n".join([*parts, "</body></html>\n"]), encoding="utf-8")


def tell(kept: Path, plan: Mapping[str, Any], name: str, setting: Setting, folder: Path, target: Path) -> None:
    """Writes the report of what is finished."""
    cells = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    found = report(cells, plan, name, setting["sizes"])
    write_report(found, page(found), target)
    if "long_sft" in found:
        plot(found, target / "right.svg")
    answers = folder / str(setting["seeds"][0]) / f"after-long-{max(setting['sizes'])}"
    if answers.exists():
        write_figures(folder / "held_out", answers, target / "figures.html")


def main() -> None:
    args, setting, plan = read_plan(__doc__, HERE / "study.yaml", "outputs/geometry_study")
    folder = args.output_dir.resolve() / args.setting
    target = (args.report_dir or folder).resolve()
    kept = target / "cells"
    with user_errors():
        problems_of("test", setting["n_held_out"], HELD_OUT_SEED, folder / "held_out")
        with ThreadPoolExecutor(args.processes) as pool:
            for job in [pool.submit(run_seed, seed, setting, plan, folder, kept) for seed in setting["seeds"]]:
                job.result()
        tell(kept, plan, args.setting, setting, folder, target)


if __name__ == "__main__":
    main()
