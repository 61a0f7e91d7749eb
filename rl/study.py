"""What do ways of paying rollouts bring after SFT, and which of them are exploited? On the small world.

    python -m rl.study --setting decide --output_dir outputs/rl_study --report_dir reports/rl

What is claimed, expected and done is in study.yaml. For each seed a policy is trained, and a process reward model on
its own responses; then each arm starts from that policy, and is measured on held-out problems before, during and
after. All with the recipes. What is finished is kept, a file for each arm and seed, in `arms` of the report's folder:
the same command goes on, on another machine too as long as seeds are whole there.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq

from data_prep.artefacts import hash_path, library_versions, write_json
from data_prep.mcts.steps import corrects_itself, thought_steps
from data_prep.small_world import VERSION
from data_prep.small_world.problems import problems
from data_prep.small_world.samples import problem_row, problem_rows, small_world_folder
from data_prep.small_world.studies import read_plan, write_report
from data_prep.small_world.traces import long_cot, mistakes
from data_prep.statistics import difference_over_seeds, mean_over_seeds, paired_difference, verdict
from rl.advantages import Credit, step_rewards
from rl.monitor import first_warnings
from rl.runs import user_errors

HERE = Path(__file__).parent
ROOT = HERE.parent
CONFIGS = "recipes/configs/tiny"
HELD_OUT_SEED, TREES_SEED, PROBLEMS_SEED = 5, 3000, 4000
LAST = 3  # measurements whose mean is a level
SAMPLES = 4

Setting = Mapping[str, Any]


def recipe(command: Sequence[object], log: Path) -> None:
    """Runs a recipe as a user would, on one core: runs go side by side."""
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if done.returncode:
        raise ValueError(f"{log.stem} has failed: see {log}")


def flags(options: Mapping[str, Any]) -> list[object]:
    return [part for name, value in options.items() for part in (f"--{name}", value)]


# ---------------------------------------------------------------------------------------------- what a seed begins with


def write_problems(path: Path, n: int, seed: int) -> Path:
    if not path.exists():
        rows = problem_rows("dev", n, seed, bands=("medium",))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def respond(model: Path, problems: Path, samples: int, seed: int, longest: int, greedy: bool, out: Path) -> Path:
    """Responses of a model, kept."""
    if not (out / "manifest.json").exists():
        recipe(
            ["recipes/evaluate.py", "--model_name_or_path", model, "--benchmarks", problems, "--greedy",
             str(greedy).lower(), "--n_samples", samples, "--temperature", 1.0, "--max_new_tokens", longest,
             "--batch_size", 150, "--dtype", "float32", "--instruction", "", "--seed", seed, "--output_dir", out],
            out.with_name(f"{out.name}.log"),
        )  # fmt: skip
    return out


def traces(n: int, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Problems of the medium band, each with a clean trace, one with a slip that is put right, and one with a slip that
    goes unnoticed and makes the answer wrong.
    """
    found = 0
    for i, problem in enumerate(problems("dev", seed, bands=("medium",))):
        if found == n:
            return
        own = {"clean": long_cot(problem, Random(f"{seed}/{i}"), slip_rate=0.0)}
        for attempt in range(50):
            rng = Random(f"{seed}/{i}/{attempt}")
            text = long_cot(problem, rng, slip_rate=0.3)
            if text.count("Again:") == 1:
                own.setdefault("corrected", text)
            text = long_cot(problem, rng, slip_rate=0.3, correct_slips=False)
            if len(mistakes(problem, text) or []) == 1:
                own.setdefault("uncorrected", text)
        if len(own) == 3:
            found += 1
            yield problem_row(problem), own


def write_traces(path: Path, n: int, seed: int) -> Path:
    if not path.exists():
        rows = (
            {**row, "messages": [{"role": "user", "content": row["problem"]}, {"role": "assistant", "content": text}]}
            for row, own in traces(n, seed)
            for text in own.values()
        )
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def graded(responses: Path, policy: Path, longest: int, out: Path) -> Path:
    """Trees of responses, their steps graded by the policy's continuations."""
    if not (out / "trees" / "manifest.json").exists():
        recipe(
            ["recipes/generate_mcts.py", "--from_responses", responses, "--model_name_or_path", policy,
             "--continuations", 4, "--max_new_tokens", longest, "--batch_size", 200, "--dtype", "float32",
             "--n_page_trees", 0, "--output_dir", out],
            out.with_name(f"{out.name}.log"),
        )  # fmt: skip
    return out


def begin(seed: int, setting: Setting, longest: int, folder: Path) -> dict[str, Path]:
    """The policy of a seed, its process reward model, and the problems."""
    policy, ppm = folder / "policy", folder / "ppm"
    if not (policy / "manifest.json").exists():
        samples = small_world_folder("train", setting["n_rows"], seed)
        recipe(
            ["recipes/sft_longcot.py", "--config", f"{CONFIGS}/sft_longcot.yaml", "--datasets",
             f"{{path: {samples}}}", "--seed", seed, "--output_dir", policy],
            folder / "policy.log",
        )  # fmt: skip
    found = {
        "policy": policy,
        "ppm": ppm,
        "problems": write_problems(folder / "problems.jsonl", setting["n_problems"], PROBLEMS_SEED + seed),
        "held_out": write_problems(folder / "held_out.jsonl", setting["n_held_out"], HELD_OUT_SEED),
    }
    if not (ppm / "manifest.json").exists():
        problems = write_problems(folder / "of_trees.jsonl", setting["n_trees"], TREES_SEED + seed)
        responses = respond(policy, problems, 4, seed, longest, False, folder / "responses")
        made = write_traces(folder / "traces.jsonl", setting["n_traces"], TREES_SEED + 50 + seed)
        trees = [graded(rows, policy, longest, folder / f"trees-{rows.stem}") for rows in (responses, made)]
        recipe(
            ["recipes/train_ppm.py", "--config", f"{CONFIGS}/train_ppm.yaml", "--model_name_or_path", policy, "--data",
             *trees, "--objective", "q", "--num_train_epochs", 2, "--seed", seed, "--save_strategy", "no",
             "--output_dir", ppm],
            folder / "ppm.log",
        )  # fmt: skip
    return found


# ------------------------------------------------------------------------------------- what a corrected slip is paid

RANGE: dict[Credit, tuple[float, float]] = {
    "recovery": (-2.0, 0.0),
    "min": (-1.0, 1.0),
    "delta": (-1.0, 1.0),
}  # of a solution's pay


def planted(ppm: Path, n: int, seed: int, kept: Path) -> dict[str, Any]:
    """What each credit pays for such traces, by the seed's process reward model, and the differences to clean ones."""
    path = kept / f"credit-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    import torch
    from transformers import AutoTokenizer

    from rl.ppm.scoring import open_scorer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(ppm)
    scorer = open_scorer(str(ppm))
    made = list(traces(n, TREES_SEED + 100 + seed))
    asked = [row["problem"] for row, _ in made]
    result: dict[str, Any] = {"seed": seed, "n": len(made)}
    pay: dict[Credit, dict[str, list[float]]] = {credit: {} for credit in RANGE}
    for kind in ("clean", "corrected", "uncorrected"):
        count = lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
        scores = scorer.score(asked, [thought_steps(own[kind], count) for _, own in made])
        for credit, by_kind in pay.items():
            by_kind[kind] = [
                float(step_rewards(torch.tensor([one]), torch.ones(1, len(one), dtype=torch.bool), credit).sum())
                for one in scores
            ]
    for credit, (least, most) in RANGE.items():
        unit = {kind: [(x - least) / (most - least) for x in own] for kind, own in pay[credit].items()}
        result[credit] = {kind: fmean(own) for kind, own in pay[credit].items()}
        for a, b in (("clean", "corrected"), ("corrected", "uncorrected")):
            found = paired_difference(unit[a], unit[b])
            result[credit][f"{a} - {b}"] = [(most - least) * x for x in (found.mean, found.low, found.high)]
    kept.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    return result


# ---------------------------------------------------------------------------------------------------------- one arm


def measured(model: Path, problems: Path, seed: int, longest: int, out: Path) -> dict[str, Any]:
    """Per held-out problem the share of right samples and the greedy answer; how often answers take something back."""
    respond(model, problems, SAMPLES, seed, longest, True, out)
    rows = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    sampled: dict[str, list[bool]] = {}
    greedy: dict[str, bool] = {}
    for row in rows:
        if row["decoding"] == "greedy":
            greedy[row["problem_id"]] = row["verdict"] == "right"
        else:
            sampled.setdefault(row["problem_id"], []).append(row["verdict"] == "right")
    some = [row for row in rows if row["decoding"] != "greedy"]
    return {
        "pass@1": [fmean(sampled[key]) for key in sorted(sampled)],
        "greedy": [float(greedy[key]) for key in sorted(greedy)],
        "self_correction": fmean(corrects_itself(row["response"]) for row in some),
        "tokens": fmean(row["n_tokens"] for row in some),
        "cut": fmean(row["finish_reason"] == "length" for row in some),
    }


def run_arm(
    name: str, seed: int, arm: Mapping[str, Any], setting: Setting, plan: Mapping[str, Any],
    start: Mapping[str, Path], folder: Path, kept: Path,
) -> dict[str, Any]:  # fmt: skip
    """Trains and measures; what came out stays in `kept`."""
    path = kept / f"{name}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    common = {**plan["common"], **setting.get("common", {})}
    longest = common["max_completion_length"]
    own = folder / name
    before = measured(start["policy"], start["held_out"], seed, longest, folder / "before")
    options = {key: start["ppm"] if value == "PPM" else value for key, value in arm["options"].items()}
    if arm["recipe"] == "dpo":
        asked = write_problems(folder / "of_pairs.jsonl", setting["n_dpo"], PROBLEMS_SEED + seed)
        responses = respond(start["policy"], asked, 8, seed + 1, longest, False, folder / "of_pairs")
        options |= {"data": responses}
    else:
        options = {
            "problems": f"{{path: {start['problems']}}}",
            "eval_problems": f"{{path: {start['held_out']}, n_rows: {setting['n_measured']}}}",
            "per_device_eval_batch_size": 100,
            **common,
            **options,
        }
    if not (own / "manifest.json").exists():
        recipe(
            ["recipes/" + arm["recipe"] + ".py", "--config", f"{CONFIGS}/{arm['recipe']}.yaml", "--model_name_or_path",
             start["policy"], "--seed", seed, "--output_dir", own, *flags(options)],
            folder / f"{name}.log",
        )  # fmt: skip
    after = measured(own, start["held_out"], seed, longest, folder / f"after-{name}")
    history = json.loads((own / "trainer_state.json").read_text())["log_history"]
    metrics = json.loads((own / "all_results.json").read_text())
    result = {
        "arm": name, "seed": seed, "before": before, "after": after, "steps": history[-1]["step"],
        "curve": [[line["step"], line["eval_rewards/outcome/mean"]] for line in history
                  if "eval_rewards/outcome/mean" in line],
        "warned_at_step": first_warnings(history), "seconds": metrics["train_runtime"],
        "ppm": ppm_metrics(start["ppm"]),
        "watched": {key: curve(history, key) for key in WATCHED if curve(history, key)},
    }  # fmt: skip
    kept.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    return result


WATCHED = (
    "rewards/outcome/mean", "process/reward", "process/score_last", "process/correlation_with_outcome", "process/steps",
    "completions/mean_length", "completions/clipped_ratio", "text/self_correction", "text/loops", "entropy",
    "frac_reward_zero_std", "critic/explained_variance",
)  # fmt: skip


def curve(history: Sequence[Mapping[str, Any]], name: str) -> list[list[float]]:
    """Means of a logged value over 10 steps each."""
    some = [(line["step"], line[name]) for line in history if line.get(name) is not None]
    parts = [some[i : i + 10] for i in range(0, len(some), 10)]
    return [[part[-1][0], round(fmean(value for _, value in part), 4)] for part in parts]


def ppm_metrics(ppm: Path) -> dict[str, float]:
    metrics = json.loads((ppm / "all_results.json").read_text())
    return {key.removeprefix("eval_"): value for key, value in metrics.items() if key.startswith("eval_")}


def check_start(seed: int, start: Mapping[str, Path], kept: Path) -> None:
    """Arms of a seed begin from the same weights, on whatever machine: training repeats itself on equal hardware only.

    Raises ValueError if the arms that are finished have begun from others.
    """
    path = kept / f"start-{seed}.json"
    here = {name: hash_path(start[name] / "model.safetensors") for name in ("policy", "ppm")}
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        write_json(path, here)
    elif json.loads(path.read_text()) != here:
        raise ValueError(
            f"{path}: finished arms of seed {seed} began from other weights than this machine makes of it: go on where "
            f"they were made, or remove {kept}/*-{seed}.json and begin the seed anew"
        )


def run_seed(seed: int, setting: Setting, plan: Mapping[str, Any], folder: Path, kept: Path, processes: int) -> None:
    arms = plan["arms"]
    if all((kept / f"{name}-{seed}.json").exists() for name in (*arms, "credit")):
        return
    folder = folder / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    longest = {**plan["common"], **setting.get("common", {})}["max_completion_length"]
    start = begin(seed, setting, longest, folder)
    check_start(seed, start, kept)
    planted(start["ppm"], setting["n_planted"], seed, kept)
    measured(start["policy"], start["held_out"], seed, longest, folder / "before")
    with ThreadPoolExecutor(processes) as pool:
        jobs = [pool.submit(run_arm, name, seed, arm, setting, plan, start, folder, kept) for name, arm in arms.items()]
        for job in jobs:
            job.result()


# ---------------------------------------------------------------------------------------------------------- the report


def steps_to(level: float, points: Sequence[Sequence[float]]) -> float | None:
    """The first step at which the mean of the last measurements reaches the level; None if none does."""
    for i in range(LAST - 1, len(points)):
        if fmean(value for _, value in points[i - LAST + 1 : i + 1]) >= level:
            return points[i][0]
    return None


def report(
    runs: Sequence[dict[str, Any]], credit: Sequence[dict[str, Any]], plan: Mapping[str, Any], setting: str
) -> dict[str, Any]:  # fmt: skip
    """Of the seeds in which every arm is finished; the others are named."""
    names = list(plan["arms"])
    by = {(run["arm"], run["seed"]): run for run in runs}
    seeds = sorted({seed for _, seed in by})
    whole = [seed for seed in seeds if all((name, seed) in by for name in names)]
    lines = []
    for (name, seed), run in by.items():
        outcome = by.get(("outcome", seed))
        level = fmean(value for _, value in outcome["curve"][-LAST:]) if outcome and outcome["curve"] else None
        lines.append(
            {
                "arm": name, "seed": seed, "pass@1_before": fmean(run["before"]["pass@1"]),
                "pass@1_after": fmean(run["after"]["pass@1"]), "greedy_before": fmean(run["before"]["greedy"]),
                "greedy_after": fmean(run["after"]["greedy"]), "steps": run["steps"],
                "steps_to_outcome_level": steps_to(level, run["curve"]) if level is not None else None,
                "self_correction_before": run["before"]["self_correction"],
                "self_correction_after": run["after"]["self_correction"], "tokens_before": run["before"]["tokens"],
                "tokens_after": run["after"]["tokens"], "cut_after": run["after"]["cut"],
                "monitor_warned": run["warned_at_step"], "seconds": run["seconds"],
            }
        )  # fmt: skip
    found: dict[str, Any] = {"setting": setting, "seeds": whole, "unfinished": sorted(set(seeds) - set(whole))}
    found["runs"] = sorted(lines, key=lambda line: (names.index(line["arm"]), line["seed"]))
    if len(whole) > 1:
        found["arms"] = {name: over_seeds([by[name, seed] for seed in whole]) for name in names}
        found["questions"] = {
            key: answer(key, stated, by, whole) for key, stated in plan["questions"].items()
        }  # fmt: skip
    found["credit"] = list(credit)
    found["speed"] = [speed(found["runs"], seed) for seed in whole]
    found["monitor"] = {
        name: [bool(by[name, seed]["warned_at_step"]) for seed in whole] for name in ("outcome", "sum_unbounded")
    }
    found["ppm"] = {str(seed): by["outcome", seed]["ppm"] for seed in whole}
    found["curves"] = {name: {str(seed): by[name, seed]["curve"] for seed in seeds if (name, seed) in by}
                       for name in names}  # fmt: skip
    return found | {"plan": dict(plan), "small_world": VERSION, "libraries": library_versions()}


def over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    result = {}
    for when in ("before", "after"):
        estimate = mean_over_seeds([run[when]["pass@1"] for run in runs], problems="sampled", n_draws=SAMPLES)
        result[when] = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    return result


def answer(key: str, stated: Mapping[str, Any], by: Mapping[Any, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """The difference that a question is about, with its interval and verdict."""

    def shares(arm: str, when: str = "after") -> list[list[float]]:
        return [by[arm, seed][when]["pass@1"] for seed in seeds]

    sides: dict[str, tuple[list[list[float]], list[list[float]]]] = {
        "outcome_gain": (shares("outcome"), shares("outcome", "before")),
        "min_against_outcome": (shares("min"), shares("outcome")),
        "recovery_against_outcome": (shares("recovery"), shares("outcome")),
        "sum_collapses": (shares("outcome"), shares("sum_unbounded")),
        "sum_bounded_against_unbounded": (shares("sum_bounded"), shares("sum_unbounded")),
        "ppo_against_outcome": (shares("ppo"), shares("outcome")),
        "dpo_against_outcome": (shares("outcome"), shares("dpo")),
    }
    if key == "recovery_against_min_self_correction":
        a, b = ([[by[arm, seed]["after"]["self_correction"]] for seed in seeds] for arm in ("recovery", "min"))
        estimate = difference_over_seeds(a, b, problems="fixed", seeds="shared", n_draws=10**6)
    else:
        a, b = sides[key]
        estimate = difference_over_seeds(a, b, problems="sampled", seeds="shared", n_draws=SAMPLES)
    return {
        **stated, "difference": estimate.mean, "low": estimate.low, "high": estimate.high, "method": estimate.method,
        "by_seed": [fmean(x) - fmean(y) for x, y in zip(a, b, strict=True)],
        "verdict": verdict(estimate, stated["smallest_effect"] / 100),
    }  # fmt: skip


def speed(lines: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Steps to the outcome level of the arms that are paid for steps, and of the outcome arm itself."""
    steps = {line["arm"]: line["steps_to_outcome_level"] for line in lines if line["seed"] == seed}
    paid = [steps[name] for name in ("min", "recovery") if steps[name] is not None]
    ratio = min(paid) / steps["outcome"] if paid and steps["outcome"] else None
    return {"seed": seed, "ratio": ratio, **{name: steps[name] for name in ("outcome", "min", "recovery")}}


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def page(found: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    plan = found["plan"]
    seeds = ", ".join(map(str, found["seeds"])) or "(none is whole yet)"
    unfinished = f" Seeds that are not finished: {found['unfinished']}." if found["unfinished"] else ""
    lines = [
        "# Reinforcement learning on the small world",
        "",
        f"Setting `{found['setting']}`, seeds {seeds}.{unfinished} "
        "Made by `make study-rl`; results on the small world, and no more than that.",
        "",
        "| arm | seed | pass@1 before | after | greedy | after | steps to the outcome level | self-correction | "
        "after | tokens | after | warned of (step) | minutes |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for run in found["runs"]:
        warned = ", ".join(f"{name} ({step})" for name, step in run["monitor_warned"].items()) or "-"
        lines.append(
            f"| {run['arm']} | {run['seed']} | {percent(run['pass@1_before'])} | {percent(run['pass@1_after'])} | "
            f"{percent(run['greedy_before'])} | {percent(run['greedy_after'])} | "
            f"{run['steps_to_outcome_level'] or '-'} | {percent(run['self_correction_before'])} | "
            f"{percent(run['self_correction_after'])} | {run['tokens_before']:.0f} | {run['tokens_after']:.0f} | "
            f"{warned} | {run['seconds'] / 60:.0f} |"
        )
    lines += ["", "![held-out pass@1 over steps](curves.svg)", ""]
    if "arms" in found:
        lines += ["| arm | what is paid | pass@1 after (95 % interval) |", "|---|---|---:|"]
        for name, own in found["arms"].items():
            after = own["after"]
            lines.append(
                f"| {name} | {plan['arms'][name]['told']} | {percent(after['mean'])} ({percent(after['low'])} to "
                f"{percent(after['high'])}) |"
            )
        lines.append("")
    for question in found.get("questions", {}).values():
        by_seed = ", ".join(f"{100 * value:+.1f}" for value in question["by_seed"])
        told = f"{100 * question['difference']:+.1f} points"
        told += f" ({100 * question['low']:+.1f} to {100 * question['high']:+.1f}; by seed {by_seed})"
        lines += [
            f"**{question['claim']}** Expected before the run: {question['expected']}. Found: {told}: "
            f"*{question['verdict']}* for an effect of {question['smallest_effect']} points.",
            "",
        ]
    for one in found["speed"]:
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.2f}"
        lines.append(
            f"Seed {one['seed']}: steps to the outcome level: outcome {one['outcome'] or '-'}, "
            f"min {one['min'] or '-'}, recovery {one['recovery'] or '-'}; ratio of the faster of both {ratio}."
        )
    lines += ["", plan["planted"].strip(), "", "| seed | credit | clean | put right | unnoticed | clean - put right | "
              "put right - unnoticed |", "|---:|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for one in found["credit"]:
        for credit in RANGE:
            own = one[credit]
            differences = [
                "{:+.3f} ({:+.3f} to {:+.3f})".format(*own[f"{a} - {b}"])
                for a, b in (("clean", "corrected"), ("corrected", "uncorrected"))
            ]
            means = [f"{own[kind]:.3f}" for kind in ("clean", "corrected", "uncorrected")]
            lines.append(f"| {one['seed']} | {credit} | {' | '.join(means + differences)} |")
    lines += [
        "",
        *(
            f"{key.capitalize()}: {plan[key].strip()}\n"
            for key in ("policy", "problems", "ppm", "measure", "more", "changed")
        ),
        f"Intervals: {plan['test']}. Every run: `{plan['common']}`.",
    ]
    return "\n".join(lines) + "\n"


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Held-out pass@1 over steps, a panel for each arm beside the outcome arm's mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arms = {name: own for name, own in found["curves"].items() if any(own.values())}
    if not arms:
        return
    n_columns = 3
    n_rows = -(-len(arms) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(10, 2.6 * n_rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    for axis, (name, own) in zip(axes.flat, arms.items(), strict=False):
        for points in arms.get("outcome", {}).values():
            axis.plot(*zip(*points, strict=True), color="0.75", linewidth=1)
        for seed, points in own.items():
            axis.plot(*zip(*points, strict=True), linewidth=1.4, label=f"seed {seed}")
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    axes.flat[0].legend(fontsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("held-out pass@1 (grey: outcome)", fontsize=9)
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    args, setting, plan = read_plan(__doc__, HERE / "study.yaml", "outputs/rl_study")
    folder = args.output_dir.resolve() / args.setting
    target = (args.report_dir or folder).resolve()
    kept = target / "arms"
    with user_errors():
        for seed in setting["seeds"]:
            run_seed(seed, setting, plan, folder, kept, args.processes)
            tell(kept, plan, args.setting, target)


def tell(kept: Path, plan: Mapping[str, Any], setting: str, target: Path) -> None:
    """Writes the report of what is finished."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))}
    credit = [one for name, one in files.items() if name.startswith("credit-")]
    found = report([one for one in files.values() if "arm" in one], credit, plan, setting)
    write_report(found, page(found), target)
    plot(found, target / "curves.svg")


if __name__ == "__main__":
    main()
