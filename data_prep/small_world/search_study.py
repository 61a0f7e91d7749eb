"""Does search find more than independent samples of as many tokens? The study of the small world.

    python -m data_prep.small_world.search_study --setting decide --output_dir outputs/search_study

What is claimed, expected and done is in search_study.yaml. For each seed a policy is trained and every problem gets:

- a tree that is graded by its gold: is there a verified solution?
- a tree that is graded by how many of its answers agree, no gold read: the vote over its answers, by visits;
- independent samples (a tree of one path each: code that fails ends it) until they have as many tokens as either tree,
  candidates that were dropped counted: is one of them right, and is their majority?

Seeds are the unit. What is finished is kept: the same command goes on.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from data_prep.artefacts import library_versions, write_json
from data_prep.mcts.inputs import trees_for
from data_prep.mcts.search import same_answer
from data_prep.mcts.settings import SearchArguments
from data_prep.mcts.trajectories import votes
from data_prep.mcts.tree import Tree
from data_prep.small_world import VERSION
from data_prep.small_world.studies import run_study
from data_prep.statistics import Estimate, difference_over_seeds, mean_over_seeds, verdict

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHIPPED = HERE / "checkpoints" / "code"
PROBLEM_SEED = 5  # of the held-out problems
FIRST_SAMPLE = 1000  # number of the tree that is the first sample: no random number is that of a search
BATCH = 200


# ------------------------------------------------------------------------------------------------------------ one seed


def train(seed: int, n_rows: int, folder: Path) -> Path:
    """The policy of a seed, trained as a user would."""
    policy = folder / f"policy-{seed}"
    if n_rows == 0:
        return SHIPPED
    samples = folder / f"samples-{seed}"
    log = folder / f"policy-{seed}.log"
    if not samples.exists():
        command = [sys.executable, "-m", "data_prep.small_world.code_samples", "--output_dir", str(samples)]
        subprocess.run([*command, "--n_rows", str(n_rows), "--seed", str(seed)], check=True, cwd=ROOT)
    if not (policy / "model.safetensors").exists():
        command = [sys.executable, "recipes/sft_longcot.py", "--config", "recipes/configs/tiny/sft_longcot_code.yaml"]
        command += ["--datasets", f"{{path: {samples}}}", "--output_dir", str(policy), "--seed", str(seed)]
        with log.open("w") as file:
            subprocess.run(command, check=True, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    return policy


def run_seed(seed: int, setting: Mapping[str, Any], plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """All arms of a seed, with a row per problem; kept in `folder`."""
    path = folder / f"seed-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    import torch

    from data_prep.engines import TransformersEngine
    from data_prep.small_world.samples import problem_rows

    search = plan["search"]
    torch.set_num_threads(1)  # seeds run side by side
    engine = TransformersEngine(str(train(seed, setting["n_rows"], folder)), "float32", batch_size=BATCH)
    problems = list(problem_rows("dev", setting["n_problems"], PROBLEM_SEED, bands=("hard",)))
    by_gold = grow(engine, problems, seed, search)
    by_agreement = grow(engine, problems, seed, {**search, "terminal_value": "agreement"})
    needed = {
        key: max(by_gold[key].n_tokens(), by_agreement[key].n_tokens()) for key in by_gold
    }  # fmt: skip
    samples = sample(engine, problems, needed, seed, search)
    rows = []
    for problem in problems:
        key = problem["problem_id"]
        gold_tree, agreement_tree, own = by_gold[key], by_agreement[key], samples[key]
        covering, voting = first_of(own, gold_tree.n_tokens()), first_of(own, agreement_tree.n_tokens())
        rows.append(
            {
                "problem_id": key,
                "coverage_search": float(gold_tree.n_right > 0),
                "coverage_sampling": float(any(tree.n_right for tree in covering)),
                "coverage_search_tokens": gold_tree.n_tokens(),
                "coverage_sampling_tokens": sum(tree.n_tokens() for tree in covering),
                "answer_search": share_right(votes([agreement_tree]), problem["answer"]),
                "answer_majority": share_right(votes(voting), problem["answer"]),
                "answer_search_tokens": agreement_tree.n_tokens(),
                "answer_majority_tokens": sum(tree.n_tokens() for tree in voting),
                "n_samples": len(covering),
                "pass_at_1": sum(tree.n_right > 0 for tree in own) / len(own),
            }
        )
    ends = Counter(end_of(tree) for own in samples.values() for tree in own)
    result = {"seed": seed, "rows": rows, "ends_of_samples": dict(ends.most_common())}
    write_json(path, result)
    return result


def grow(engine: Any, problems: Sequence[dict[str, Any]], seed: int, search: Mapping[str, Any]) -> dict[str, Tree]:
    """A tree for each problem, by its id."""
    trees = trees_for(engine.tokenizer, problems, "chat", "", 1, seed)
    return {key: own[0] for key, own in grow_trees(engine, trees, seed, search).items()}


def grow_trees(engine: Any, trees: Sequence[Tree], seed: int, search: Mapping[str, Any]) -> dict[str, list[Tree]]:
    """Grows the trees and sorts them by problem, then number."""
    from data_prep.answers import AnswerChecker
    from data_prep.mcts.search import Search
    from data_prep.mcts.steps import stop_strings
    from data_prep.sandbox.client import Sandbox

    settings = SearchArguments(**search).resolve()
    stream = partial(
        engine.stream, max_new_tokens=settings.max_step_tokens, temperature=settings.temperature, seed=seed,
        stop=stop_strings(settings.steps), include_stop=True,
    )  # fmt: skip
    done: list[Tree] = []
    context = engine.model.config.max_position_embeddings
    with Sandbox(workers=1) as sandbox, AnswerChecker() as checker:
        with Search(settings, checker, sandbox, None, context) as grower:
            grower.run(trees, stream, 4 * BATCH // (settings.candidates or 1), done.append)
    found: dict[str, list[Tree]] = {tree.problem["problem_id"]: [] for tree in trees}
    for tree in sorted(done, key=lambda tree: tree.number):
        found[tree.problem["problem_id"]].append(tree)
    return found


def sample(
    engine: Any, problems: Sequence[dict[str, Any]], needed: Mapping[str, int], seed: int, search: Mapping[str, Any]
) -> dict[str, list[Tree]]:
    """Independent samples of each problem, until they have as many tokens as needed."""
    one_path = {**search, "rollouts": 1, "candidates": 1}
    found: dict[str, list[Tree]] = {problem["problem_id"]: [] for problem in problems}
    while True:
        missing = []
        for problem in problems:
            own = found[problem["problem_id"]]
            n_tokens = sum(tree.n_tokens() for tree in own)
            left = needed[problem["problem_id"]] - n_tokens
            if left > 0:
                n = 1 + left * len(own) // max(1, n_tokens) if own else 8
                missing += [(problem, FIRST_SAMPLE + len(own) + i) for i in range(n)]
        if not missing:
            return found
        trees = trees_for(engine.tokenizer, [problem for problem, _ in missing], "chat", "", 1, seed)
        for tree, (_, number) in zip(trees, missing, strict=True):
            tree.number = number
        for key, own in grow_trees(engine, trees, seed, one_path).items():
            found[key] += own


def first_of(samples: Sequence[Tree], n_tokens: int) -> list[Tree]:
    """The first samples that together have at least so many tokens: never fewer than the search."""
    sums = accumulate(tree.n_tokens() for tree in samples)
    n = next((i for i, total in enumerate(sums, 1) if total >= n_tokens), len(samples))
    return list(samples[:n])


def share_right(counted: Sequence[tuple[str, float]], gold: str) -> float:
    """The share of the answers with the most votes that are right: 0 or 1 unless several have as many."""
    top = [answer for answer, n in counted if n == counted[0][1]]
    return sum(same_answer(gold, answer) for answer in top) / len(top) if top else 0.0


def end_of(tree: Tree) -> str:
    """How the one path of a sample ended."""
    last = max(tree.nodes(), key=lambda node: (node.depth, node.number))
    return f"answer {last.verdict}" if last.terminal == "answer" else last.terminal or "nothing"


# ---------------------------------------------------------------------------------------------------------- the report


def report(results: Sequence[Mapping[str, Any]], plan: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Means with their intervals over seeds and problems, differences, verdicts."""

    def values(name: str) -> list[list[float]]:
        return [[row[name] for row in result["rows"]] for result in results]

    def told(estimate: Estimate) -> dict[str, Any]:
        return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}

    def arm(name: str) -> dict[str, Any]:
        tokens = values(f"{name}_tokens")
        mean = sum(map(sum, tokens)) / sum(map(len, tokens))
        return told(mean_over_seeds(values(name), problems="sampled")) | {"tokens": mean}

    found: dict[str, Any] = {
        name: arm(name) for name in ("coverage_search", "coverage_sampling", "answer_search", "answer_majority")
    }
    for question, a, b in (
        ("coverage", "coverage_search", "coverage_sampling"),
        ("answer", "answer_search", "answer_majority"),
    ):
        difference = difference_over_seeds(values(a), values(b), problems="sampled", seeds="shared")
        found[f"{question}_difference"] = told(difference) | {
            "verdict": verdict(difference, plan["questions"][question]["smallest_effect"] / 100),
            "by_seed": [sum(x) / len(x) - sum(y) / len(y) for x, y in zip(values(a), values(b), strict=True)],
            "method": difference.method,
        }
    ends: Counter[str] = Counter()
    for result in results:
        ends.update(result["ends_of_samples"])
    return {
        "setting": setting,
        **found,
        "policy_pass_at_1": told(mean_over_seeds(values("pass_at_1"), problems="sampled")),
        "samples_per_problem": sum(map(sum, values("n_samples"))) / sum(map(len, values("n_samples"))),
        "ends_of_samples": {name: n / ends.total() for name, n in ends.most_common()},
        "n_seeds": len(results),
        "n_problems": len(results[0]["rows"]),
        "unit": "seeds (policy, samples and search), problems sampled; tokens per problem, dropped candidates included",
        "plan": dict(plan),
        "small_world": VERSION,
        "libraries": library_versions(),
    }


def page(found: Mapping[str, Any]) -> str:
    """The report as a page."""
    plan = found["plan"]
    lines = [
        "# Search against independent samples, on the small world",
        "",
        f"{found['n_seeds']} seeds, {found['n_problems']} held-out problems of the hard band; setting "
        f"`{found['setting']}`. Made by `make study-search`; a result on the small world, and no more than that.",
        "",
        "| arm | share | 95 % interval | tokens a problem |",
        "|---|---:|---|---:|",
    ]
    names = {
        "coverage_search": "search: a verified solution", "coverage_sampling": "samples: a verified solution",
        "answer_search": "search, no gold: vote by visits is right", "answer_majority": "samples: majority is right",
    }  # fmt: skip
    for key, name in names.items():
        arm = found[key]
        shown = f"{arm['low']:.1%} to {arm['high']:.1%}"
        lines.append(f"| {name} | {arm['mean']:.1%} | {shown} | {arm['tokens']:,.0f} |")
    lines.append("")
    for question in ("coverage", "answer"):
        stated, difference = plan["questions"][question], found[f"{question}_difference"]
        shown = f"{100 * difference['low']:+.1f} to {100 * difference['high']:+.1f}"
        by_seed = ", ".join(f"{100 * value:+.0f}" for value in difference["by_seed"])
        lines += [
            f"**{stated['claim']}** Expected before the run: {stated['expected']}. Found: "
            f"{100 * difference['mean']:+.1f} points ({shown}; by seed {by_seed}): *{difference['verdict']}* for an "
            f"effect of {stated['smallest_effect']} points.",
            "",
        ]
    ends = ", ".join(f"{share:.0%} {name}" for name, share in found["ends_of_samples"].items())
    single = found["policy_pass_at_1"]
    lines += [
        f"The policy ({found['n_rows']:,} rows): {plan['policy'].strip()}",
        "",
        f"Its pass@1 at temperature 1 on these problems is {single['mean']:.1%} "
        f"({single['low']:.1%} to {single['high']:.1%}); {found['samples_per_problem']:.0f} samples have as many "
        f"tokens as a tree. Samples end so: {ends}.",
        "",
        f"Problems: {plan['problems']}. Intervals: {plan['test']}. Search: `{plan['search']}`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_study(__doc__, HERE / "search_study.yaml", "outputs/search_study", run_seed, report, page)
