"""What does a process preference model bring on the small world, and what does it cost?

    python -m rl.ppm.study --setting decide --output_dir outputs/ppm_study

What is claimed, expected and done is in study.yaml. For each seed a policy is trained, trees are grown with it, and a
PPM, an ORM and a PQM are trained on them, all with the recipes. Then, on held-out problems: the order of pairs, the
first wrong step of solutions (its truth is known), and answers by each strategy over the number of solutions, with its
cost.
Seeds are the unit. What is finished is kept: the same command goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.artefacts import library_versions, write_artefact, write_json
from data_prep.mcts.records import node_rows, read_trees, run_row
from data_prep.mcts.settings import Strategy, StrategyArguments
from data_prep.mcts.tree import ANSWER, Tree, back_up
from data_prep.small_world import VERSION
from data_prep.small_world.search_study import PROBLEM_SEED, SHIPPED, train
from data_prep.small_world.studies import run_study
from data_prep.statistics import difference_over_seeds, mean_over_seeds, verdict
from data_prep.tokenization import part_of

if TYPE_CHECKING:
    from data_prep.mcts.inputs import Policy

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODELS = {"ppm": "pairs", "orm": "outcome", "pqm": "q"}
HELD_OUT = 0.2
STRATEGIES: tuple[Strategy, ...] = ("greedy", "best_of_n", "beam", "mcts")


def recipe(*command: object, log: Path) -> None:
    """Runs a recipe as a user would, on one core: seeds run side by side."""
    with log.open("w") as file:
        subprocess.run(
            [sys.executable, *map(str, command)], check=True, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the data


def trees_of(policy: Path, n_problems: int, problem_seed: int, folder: Path) -> Path:
    """Trees of problems of all bands, grown with the policy."""
    from data_prep.small_world.samples import problem_rows

    if not (folder / "manifest.json").exists():
        problems = folder.with_name(f"{folder.name}-problems.jsonl")
        rows = problem_rows("dev", n_problems, problem_seed)
        problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe(
            "recipes/generate_mcts.py", "--model_name_or_path", policy, "--problems", problems, "--rollouts", 8,
            "--candidates", 5, "--rollouts_if_unsolved", 0, "--max_step_tokens", 96, "--batch_size", 200,
            "--dtype", "float32", "--n_page_trees", 0, "--code_workers", 1, "--output_dir", folder,
            log=folder.with_name(f"{folder.name}.log"),
        )  # fmt: skip
    return folder


def first_rollouts(tree: Tree, n: int) -> Tree:
    """The tree as it was after its first `n` rollouts (paper's preset: answers count when they are reached)."""
    tree = deepcopy(tree)
    tree.ended_at = tree.ended_at[:n]
    nodes = {node.number: node for node in tree.nodes()}
    expanded = {above.number for number in tree.ended_at for above in [tree.root, *nodes[number].path()]}
    for node in nodes.values():
        node.visits, node.value_sum = 0, 0.0
        if node.number not in expanded:
            node.children, node.dropped = None, []
    for number in tree.ended_at:
        if nodes[number].terminal == ANSWER:
            back_up(nodes[number], 1.0 if nodes[number].verdict == "right" else -1.0)
    tree.n_right = sum(node.verdict == "right" for node in tree.answers())
    tree.n_nodes = 1 + max(node.number for node in tree.nodes())
    return tree


def write_trees(trees: Sequence[Tree], folder: Path) -> Path:
    """Trees as generate_mcts.py leaves them, as far as train_ppm.py reads them."""
    shutil.rmtree(folder, ignore_errors=True)
    stage: dict[str, Any] = {"stage": "ppm_study", "config": {}, "seed": 0, "inputs": {}}
    write_artefact(folder / "trees", "tree", (row for tree in trees for row in node_rows(tree)), **stage)
    runs = (run_row(tree, tree.problem["policy"], tree.problem["policy_hash"], None) for tree in trees)
    write_artefact(folder / "runs", "search_run", runs, **stage)
    return folder


def train_model(
    name: str, objective: str, policy: Path, data: Sequence[Path], held_out: Path, seed: int, folder: Path
) -> Path:
    model = folder / name
    if not (model / "manifest.json").exists():
        recipe(
            "recipes/train_ppm.py", "--config", "recipes/configs/tiny/train_ppm.yaml", "--model_name_or_path", policy,
            "--data", *data, "--eval_data", held_out, "--eval_share", 0, "--objective", objective, "--seed", seed,
            "--save_strategy", "no", "--output_dir", model, log=folder / f"{name}.log",
        )  # fmt: skip
    return model


# ------------------------------------------------------------------------------------------------------------ one seed


def run_seed(seed: int, setting: Mapping[str, Any], plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Everything of a seed; kept in `folder`."""
    path = folder / f"seed-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    import torch

    from rl.ppm.training import measure

    torch.set_num_threads(1)
    folder = folder / str(seed)
    folder.mkdir(exist_ok=True)
    policy = train(seed, setting["n_rows"], folder)
    grown = list(read_trees(trees_of(policy, setting["n_trees"], 1000 + seed, folder / "trees")))
    parts = {
        part: [t for t in grown if part_of(t.problem["problem_id"], HELD_OUT) == part] for part in ("train", "eval")
    }
    held_out = write_trees(parts["eval"], folder / "held_out")
    by_rollouts: dict[str, Any] = {}
    for n in plan["data_rollouts"]:
        cut = [first_rollouts(tree, n) for tree in parts["train"]]
        data = write_trees(cut, folder / f"data-{n}")
        model = train_model(f"ppm-{n}", "pairs", policy, [data], held_out, seed, folder)
        by_rollouts[str(n)] = metrics_of(model)
    models = {"ppm": model}
    for name in ("orm", "pqm"):
        models[name] = train_model(name, MODELS[name], policy, [data], held_out, seed, folder)
    better = trees_of(SHIPPED, setting["n_better"], 2000 + seed, folder / "better")
    result = {
        "seed": seed,
        "pairs": {name: metrics_of(model) for name, model in models.items()},
        "by_rollouts": by_rollouts,
        "on_better_policy": {name: measure(str(model), [str(better)]) for name, model in models.items()},
        **answers(seed, setting, plan, policy, models, folder),
    }
    write_json(path, result)
    return result


def metrics_of(model: Path) -> dict[str, float]:
    """What train_ppm.py has measured on the held-out trees, and the number of pairs that it has trained on."""
    metrics = json.loads((model / "all_results.json").read_text())
    found = {name.removeprefix("eval_"): value for name, value in metrics.items() if name.startswith("eval_")}
    return found | {"n_pairs_trained_on": metrics.get("data_pairs", 0)}


def strategy_arguments(setting: Mapping[str, Any], plan: Mapping[str, Any]) -> StrategyArguments:
    return StrategyArguments(scorer="ppm", **{**plan["search"], **setting.get("search", {})})


def answer_trees(
    args: StrategyArguments, strategies: Sequence[Strategy], seed: int, n_problems: int, policy: Path, scorer: Any,
    folder: Path,
) -> tuple["Policy", dict[str, list[list[Tree]]], dict[str, float]]:  # fmt: skip
    """The policy, and by strategy the trees of each problem of the hard band and the seconds. Grown ones are kept."""
    from data_prep.answers import AnswerChecker
    from data_prep.mcts.inputs import open_policy
    from data_prep.mcts.strategies import grow_strategy
    from data_prep.sandbox.client import Sandbox
    from data_prep.small_world.samples import problem_rows

    problems = list(problem_rows("dev", n_problems, PROBLEM_SEED, bands=("hard",)))
    opened = open_policy(str(policy), None, [], 1, 600.0, 200, "float32")
    grown: dict[str, list[list[Tree]]] = {}
    wall: dict[str, float] = {}
    with AnswerChecker() as checker, Sandbox(workers=1) as sandbox:
        for name in strategies:
            grown[name], wall[name] = grow_strategy(
                args, name, opened, problems, scorer, checker, sandbox, folder / "answers", {}, "", seed
            )
    return opened, grown, wall


def answers(
    seed: int, setting: Mapping[str, Any], plan: Mapping[str, Any], policy: Path, models: Mapping[str, Path],
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Answers by every strategy, per problem, with costs; and the first wrong steps of the samples."""
    from data_prep.mcts.strategies import Arm, arms_of, report, samples_of, score_answers
    from data_prep.small_world.step_labels import step_label_rows
    from rl.ppm.scoring import Scorer, open_scorer

    args = strategy_arguments(setting, plan)
    scorers = {name: open_scorer(str(model), dtype="float32") for name, model in models.items()}
    ppm = scorers["ppm"]
    opened, grown, wall = answer_trees(args, STRATEGIES, seed, setting["n_problems"], policy, ppm, folder)
    assert isinstance(ppm, Scorer)
    configs = (opened.engine.model.config, ppm.body.config)  # type: ignore[union-attr]
    arms: list[Arm] = []
    for name, scorer in scorers.items():
        flat = [tree for some in grown["best_of_n"] for tree in some]
        scores = score_answers(flat, scorer, args.steps, opened.n_tokens)
        found = arms_of(args, "best_of_n", grown["best_of_n"], opened.n_tokens, scores)
        arms += [arm._replace(rule=f"{arm.rule} ({name})") for arm in found if name == "ppm" or arm.rule != "majority"]
        if name == "ppm":
            samples = [samples_of(some, opened.n_tokens, scores) for some in grown["best_of_n"]]
    for strategy in STRATEGIES:
        if strategy != "best_of_n":
            arms += arms_of(args, strategy, grown[strategy], opened.n_tokens, {})
    lines = report(arms, samples, *configs, wall)
    for arm, line in zip(arms, lines, strict=True):
        line["right"] = arm.right
    for tree in flat:
        tree.problem["policy"] = str(seed)
    rows, left_out = step_label_rows(flat, 2, seed)
    return {"lines": lines, "equal": equal_cost(args, samples, grown, arms, configs),
            "first_error": {name: first_errors(scorer, rows) for name, scorer in scorers.items()},
            "step_labels": {"n_right": sum(row["label"] < 0 for row in rows), "n": len(rows), **left_out}}  # fmt: skip


def equal_cost(
    args: StrategyArguments, samples: Any, grown: Any, arms: Any, configs: tuple[Any, Any]
) -> dict[str, Any]:  # fmt: skip
    """Per problem, for the questions at equal FLOPs: both sides, and how many solutions the other side had."""
    from data_prep.mcts.costs import flops
    from data_prep.mcts.strategies import at_equal_cost, chosen

    def price(cost: Any) -> float:
        return flops(cost, *configs)

    n = min(8, args.trajectories)
    found: dict[str, Any] = {}
    for question, rule, arm_name in (
        ("ppm_against_majority", "majority", ("best_of_n", "best by last score (ppm)", n)),
        ("mcts_against_best_of_n", "best by last score", ("mcts", "best by last score", 1)),
    ):
        arm = next(a for a in arms if (a.strategy, a.rule, a.n) == arm_name)
        if question == "ppm_against_majority":  # the very solutions that both choose from, and no mean over groups
            arm = arm._replace(right=[chosen(own[:n], "best by last score") for own in samples])
        compared = at_equal_cost(arm, samples, rule, price)  # type: ignore[arg-type]
        if compared["n"] is not None:
            other = [chosen(own[: compared["n"]], rule) for own in samples]  # type: ignore[arg-type]
            found[question] = {"a": arm.right, "b": other, "n": compared["n"], "price_ratio": compared["price_ratio"]}
    return found


def first_errors(scorer: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """F1 of finding the first wrong step; the threshold comes from the other half of the problems."""
    from data_prep.step_labels import choose_threshold, localisation, scored

    labelled = [{**row, "first_error": None if row["label"] < 0 else row["label"]} for row in rows]
    with_scores = list(scored(scorer, labelled))
    groups = [list(own) for _, own in groupby(with_scores, key=lambda row: row["problem"])]
    halves = [[row for own in groups[i::2] for row in own] for i in (0, 1)]
    found = []
    for mine, other in (halves, halves[::-1]):
        try:
            found.append(localisation(mine, choose_threshold(other)))
        except ValueError:  # all of one kind
            continue
    names = ("f1", "error_accuracy", "correct_accuracy", "lowest_at_error", "lowest_by_chance")
    values = {name: [one[name]["mean"] if isinstance(one[name], dict) else one[name] for one in found if name in one]
              for name in names}  # fmt: skip
    return {name: sum(own) / len(own) if own else None for name, own in values.items()} | {"n": len(rows)}


# ---------------------------------------------------------------------------------------------------------- the report


def over_seeds(values: Sequence[float | None], most: float = 1.0) -> dict[str, Any]:
    """Mean of one number a seed, from 0 to `most`, with t over the seeds."""
    some = [value for value in values if value is not None]
    if len(some) < 2:
        return {"mean": some[0] if some else None, "low": None, "high": None, "by_seed": list(values)}
    found = mean_over_seeds([[value / most] for value in some], problems="fixed", n_draws=10**6)
    return {"mean": most * found.mean, "low": most * found.low, "high": most * found.high, "by_seed": list(values)}


def report(results: Sequence[Mapping[str, Any]], plan: Mapping[str, Any], setting: str) -> dict[str, Any]:
    def per_model(get: Any, most: float = 1.0) -> dict[str, Any]:
        return {name: over_seeds([get(result, name) for result in results], most) for name in MODELS}

    strategies = []
    for i, line in enumerate(results[0]["lines"]):
        same = [result["lines"][i] for result in results]
        found = mean_over_seeds([one["right"] for one in same], problems="sampled")
        costs = {name: sum(one["cost"][name] for one in same) / len(same) for name in line["cost"]}
        strategies.append(
            {"strategy": line["strategy"], "rule": line["rule"], "n": line["n"], "mean": found.mean, "low": found.low,
             "high": found.high, "cost": costs, "wall_seconds_of_all": sum(one["wall_seconds_of_all"] for one in same)}
        )  # fmt: skip

    def right(strategy: str, rule: str, n: int) -> list[list[float]]:
        return [next(line["right"] for line in result["lines"] if (line["strategy"], line["rule"], line["n"]) ==
                     (strategy, rule, n)) for result in results]  # fmt: skip

    most = max(line["n"] for line in strategies if line["strategy"] == "mcts")
    n = min(8, max(line["n"] for line in strategies if line["strategy"] == "best_of_n"))
    sides = {
        "ppm_against_orm": (right("best_of_n", "best by last score (ppm)", n),
                            right("best_of_n", "best by last score (orm)", n)),
        "mcts_against_greedy": (right("mcts", "majority of top k", most), right("greedy", "majority", 1)),
    }  # fmt: skip
    for question in ("ppm_against_majority", "mcts_against_best_of_n"):
        if all(question in result["equal"] for result in results):
            sides[question] = tuple([result["equal"][question][side] for result in results] for side in "ab")  # type: ignore[assignment]
    questions = {}
    for question, stated in plan["questions"].items():
        if question not in sides:
            questions[question] = {**stated, "verdict": "not answered: the samples cost less than the search"}
            continue
        a, b = sides[question]
        found = difference_over_seeds(a, b, problems="sampled", seeds="shared")
        equal = [result["equal"].get(question, {}) for result in results]
        questions[question] = {
            **stated, "difference": found.mean, "low": found.low, "high": found.high, "method": found.method,
            "verdict": verdict(found, stated["smallest_effect"] / 100),
            "mean": sum(map(sum, a)) / sum(map(len, a)), "mean_against": sum(map(sum, b)) / sum(map(len, b)),
            "n_against": [one.get("n") for one in equal], "price_ratio": [one.get("price_ratio") for one in equal],
            "by_seed": [sum(x) / len(x) - sum(y) / len(y) for x, y in zip(a, b, strict=True)],
        }  # fmt: skip
    return {
        "setting": setting,
        "pair_accuracy_unfiltered": per_model(lambda result, name: result["pairs"][name].get("pair_accuracy")),
        "pair_accuracy_filtered": per_model(lambda result, name: result["pairs"][name].get("pair_accuracy_filtered")),
        "pair_accuracy_final": per_model(lambda result, name: result["pairs"][name].get("pair_accuracy_final")),
        "pair_accuracy_steps": per_model(lambda result, name: result["pairs"][name].get("pair_accuracy_steps")),
        "calibration_error": per_model(lambda result, name: result["pairs"][name].get("calibration_error"), 2.0),
        "on_better_policy": per_model(lambda result, name: result["on_better_policy"][name].get("pair_accuracy")),
        "first_error_f1": per_model(lambda result, name: result["first_error"][name]["f1"]),
        "lowest_at_error": per_model(lambda result, name: result["first_error"][name]["lowest_at_error"]),
        "lowest_by_chance": per_model(lambda result, name: result["first_error"][name]["lowest_by_chance"]),
        "by_rollouts": {n: over_seeds([result["by_rollouts"][n].get("pair_accuracy") for result in results])
                        for n in results[0]["by_rollouts"]},
        "n_pairs_trained_on": {n: [result["by_rollouts"][n]["n_pairs_trained_on"] for result in results]
                               for n in results[0]["by_rollouts"]},
        "n_pairs_held_out": [result["pairs"]["ppm"].get("n_pairs", 0) for result in results],
        "n_step_labels": [result["step_labels"]["n"] for result in results],
        "questions": questions,
        "strategies": strategies,
        "n_seeds": len(results),
        "n_problems": len(results[0]["lines"][0]["right"]),
        "plan": dict(plan),
        "small_world": VERSION,
        "libraries": library_versions(),
    }  # fmt: skip


def percent(found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return "-"
    if found["low"] is None:
        return f"{100 * found['mean']:.1f} %"
    return f"{100 * found['mean']:.1f} % ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def page(found: Mapping[str, Any]) -> str:
    """The report as a page."""
    plan = found["plan"]
    lines = [
        "# Process preference models on the small world",
        "",
        f"{found['n_seeds']} seeds, {found['n_problems']} held-out problems of the hard band; setting "
        f"`{found['setting']}`. Made by `make study-ppm`; results on the small world, and no more than that. Brackets: "
        "95 % intervals, seeds are the unit.",
        "",
        "| | PPM | ORM | PQM |",
        "|---|---:|---:|---:|",
    ]
    for key, name in (
        ("pair_accuracy_unfiltered", "held-out pairs in the right order"),
        ("pair_accuracy_steps", "of these, steps"),
        ("pair_accuracy_final", "of these, whole solutions"),
        ("pair_accuracy_filtered", "pairs that the official filter keeps"),
        ("on_better_policy", "pairs of a better policy's trees"),
        ("calibration_error", "calibration error against Q (both from -100 to 100 %)"),
        ("first_error_f1", "first wrong step found, F1"),
        ("lowest_at_error", "the lowest score is at the first wrong step"),
        ("lowest_by_chance", "(by chance)"),
    ):  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(percent(found[key][model]) for model in MODELS) + " |")
    lines += [
        "",
        "| rollouts of the data | pairs trained on, by seed | held-out pairs in the right order |",
        "|---:|---|---:|",
    ]
    for n, accuracy in found["by_rollouts"].items():
        pairs = ", ".join(f"{x:,}" for x in found["n_pairs_trained_on"][n])
        lines.append(f"| {n} | {pairs} | {percent(accuracy)} |")
    lines.append("")
    for question in found["questions"].values():
        told = ""
        if "difference" in question:
            by_seed = ", ".join(f"{100 * value:+.0f}" for value in question["by_seed"])
            told = (
                f"{100 * question['mean']:.1f} against {100 * question['mean_against']:.1f} %: "
                f"{100 * question['difference']:+.1f} points ({100 * question['low']:+.1f} to "
                f"{100 * question['high']:+.1f}; by seed {by_seed}), "
            )
            if any(question["n_against"]):
                told += f"the other side with {', '.join(map(str, question['n_against']))} solutions; "
        lines += [
            f"**{question['claim']}** Expected before the run: {question['expected']}. Found: {told}"
            f"*{question['verdict']}* for an effect of {question['smallest_effect']} points.",
            "",
        ]
    lines += ["![accuracy over solutions and cost](answers.svg)", "",
              "| strategy | rule | solutions | right | generated | read | scored | MFLOPs |",
              "|---|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for line in found["strategies"]:
        cost = line["cost"]
        lines.append(
            f"| {line['strategy']} | {line['rule']} | {line['n']} | {percent(line)} | {cost['generated']:,.0f} | "
            f"{cost['prefilled']:,.0f} | {cost['scored']:,.0f} | {cost['flops'] / 1e6:,.0f} |"
        )
    lines += [
        "",
        "Tokens and operations are per problem, each token once (as with prefix caching), dropped candidates too.",
        "",
        f"The policy: {plan['policy'].strip()}",
        "",
        f"The data: {plan['data'].strip()}",
        "",
        f"First wrong steps: {plan['first_error'].strip()} Solutions by seed: "
        f"{', '.join(map(str, found['n_step_labels']))}.",
        "",
        f"Problems: {plan['problems']}. Intervals: {plan['test']}. Search: `{plan['search']}`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    found, folder = run_study(__doc__, HERE / "study.yaml", "outputs/ppm_study", run_seed, report, page)
    from data_prep.mcts.strategies import plot

    shown = [line for line in found["strategies"] if "least" not in line["rule"] and "mean" not in line["rule"]]
    plot(shown, folder / "answers.svg")


if __name__ == "__main__":
    main()
