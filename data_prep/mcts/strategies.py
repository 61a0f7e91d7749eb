"""Search at test time: which of many solutions is the answer. No gold is read; golds only judge what was chosen.

`greedy`: one solution of the most likely tokens. `best_of_n`: independent solutions, from which a vote or the scorer
chooses. `beam`: step beam search (official sft_eval_bs.yaml). `mcts`: tree search in which the scorer's value of an
answer is backed up (official sft_eval_mcts.yaml), and rStar-Math's final rule over several runs: the best solution of
each run, the `top_k` best of these, then their majority (eval_maj.py).
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_prep.answers import AnswerChecker
from data_prep.benchmarks import as_asked
from data_prep.mcts.costs import Cost, cost_of, counted, flops, prompt_cost
from data_prep.mcts.inputs import Policy, trees_for
from data_prep.mcts.running import FinishedTrees, Totals, grow
from data_prep.mcts.scoring import StepScorer, check_range
from data_prep.mcts.search import Search, same_answer
from data_prep.mcts.settings import Strategy, StrategyArguments
from data_prep.mcts.steps import Steps, stop_strings, thought_steps
from data_prep.mcts.tree import ANSWER, Node, Tree, finish
from data_prep.sandbox.client import Sandbox
from data_prep.servers import ServerEngine
from data_prep.statistics import mean_over_problems, paired_difference

Rule = Literal["majority", "weighted majority", "best by last score", "best by least score", "best by mean score",
               "majority of top k"]  # fmt: skip
NO_SCORER: tuple[Rule, ...] = ("majority",)
OF_SAMPLES: tuple[Rule, ...] = ("majority", "weighted majority", "best by last score", "best by least score",
                                "best by mean score")  # fmt: skip
OF_RUNS: tuple[Rule, ...] = ("best by last score", "majority of top k", "weighted majority")


class BeamSearch(Search):
    """Goes down all paths at once, level by level, and keeps the `beam_size` best by their last score.

    A solution that has its answer stays among them, with the score of its answer. What ends without one is left.
    """

    beam_size = 1

    async def grow(self, tree: Tree) -> None:
        beam = [tree.root]
        while any(node.terminal is None for node in beam):
            found = [node for node in beam if node.terminal == ANSWER]
            for node in beam:
                if node.terminal is None:
                    await self.expand(tree, node)  # one by one: the numbers of nodes decide their random numbers
                    found += [c for c in node.children or () if c.terminal in (None, ANSWER)]
            beam = sorted(found, key=lambda node: -(node.prior_score or 0.0))[: self.beam_size]
        for node in beam:
            finish(node)
        tree.ended_at = [node.number for node in beam]
        tree.stopped = "explored"


Scores = dict[tuple[str, int], tuple[float, ...]]  # by problem and number of the tree


def score_answers(trees: Sequence[Tree], scorer: StepScorer, steps: Steps, n_tokens: Callable[[str], int]) -> Scores:
    """The scores of the steps of all solutions with an answer, which are trees of one path: all steps at once.

    `steps`: of a text they are those of `thought_steps`, as scorers of thoughts were trained on them.
    """
    answers = [(tree, node) for tree in trees for node in tree.answers()]
    paths = [
        thought_steps(node.text(), n_tokens) if steps == "text" else [step.step + step.output for step in node.path()]
        for _, node in answers
    ]
    scores = scorer.score([as_asked(tree.problem) for tree, _ in answers], paths)
    check_range(scores)
    keys = [(tree.problem["problem_id"], tree.number) for tree, _ in answers]
    return {key: tuple(own) for key, own in zip(keys, scores, strict=True)}


class Solution(NamedTuple):
    """A solution and what it has cost beside the prompt; `answer` is None if it has none. `scores`: of its steps, if it
    was scored. `prompt`: what the prompt has cost.
    """

    answer: str | None
    right: bool
    scores: tuple[float, ...]
    cost: Cost
    text: str
    prompt: Cost


def solution(tree: Tree, node: Node | None, cost: Cost, prompt: Cost) -> Solution:
    """The solution that ends at a node."""
    if node is None:
        return Solution(None, False, (), cost, "", prompt)
    path = node.path()
    scores = tuple(step.prior_score for step in path if step.prior_score is not None)
    answer = node.extracted if node.terminal == ANSWER else None
    return Solution(answer, node.verdict == "right", scores, cost, node.text(), prompt)


def samples_of(trees: Sequence[Tree], n_tokens: Callable[[str], int], scores: Scores) -> list[Solution]:
    """The one solution of each tree of one path, with or without an answer."""
    found = []
    for tree in trees:
        own = scores.get((tree.problem["problem_id"], tree.number), ())
        last = max(tree.root.subtree(), key=lambda node: node.depth)
        cost = cost_of(tree, tree.nodes(), n_tokens, bool(own))
        prompt = prompt_cost(tree, n_tokens, bool(scores))
        found.append(solution(tree, last, cost, prompt)._replace(scores=own))
    return found


def best_of_run(tree: Tree, n_tokens: Callable[[str], int], n_rollouts: int | None = None) -> Solution:
    """The answer of the highest score among those that rollouts have reached, with what the search cost; `n_rollouts`:
    after its first ones, if not after all. (The official code looks at all that were made, reached or not.)
    """
    ended = set(tree.ended_at[:n_rollouts])
    nodes = {node.number: node for node in tree.nodes()}
    made = list(nodes.values())
    if n_rollouts is not None:
        expanded = {id(above) for number in ended for above in [tree.root, *nodes[number].path()]}
        made = [node for node in made if id(node.parent) in expanded]
    answers = [nodes[number] for number in ended if nodes[number].terminal == ANSWER]
    best = max(answers, key=lambda node: (node.prior_score or 0.0, -node.number), default=None)
    return solution(tree, best, cost_of(tree, made, n_tokens, True), prompt_cost(tree, n_tokens, True))


def chosen(solutions: Sequence[Solution], rule: Rule, top_k: int = 4) -> float:
    """Whether a rule's choice among solutions is right: 0 or 1, or the share of right ones where several are equal.

    Solutions without an answer take no part. A vote is weighted by the score of its last step, as (score + 1) / 2.
    """
    some = [solution for solution in solutions if solution.answer is not None]
    if not some:
        return 0.0
    if rule.startswith("best"):
        value = {"last": lambda s: s.scores[-1], "least": lambda s: min(s.scores),
                 "mean": lambda s: sum(s.scores) / len(s.scores)}[rule.split()[2]]  # fmt: skip
        best = max(map(value, some))
        top = [solution.right for solution in some if value(solution) == best]
        return sum(top) / len(top)
    if rule == "majority of top k":
        some = sorted(some, key=lambda solution: -solution.scores[-1])[:top_k]
    groups: list[list[Any]] = []  # answer, right, weight
    for one in some:
        assert one.answer is not None
        weight = (one.scores[-1] + 1) / 2 if rule == "weighted majority" else 1.0
        group = next((g for g in groups if g[0] == one.answer or same_answer(g[0], one.answer)), None)
        if group is None:
            groups.append([one.answer, one.right, weight])
        else:
            group[2] += weight
    most = max(group[2] for group in groups)
    top = [group[1] for group in groups if group[2] == most]
    return sum(top) / len(top)


def blocks(solutions: Sequence[Solution], n: int) -> list[Sequence[Solution]]:
    """As many disjoint groups of `n` neighbours as there are."""
    return [solutions[i : i + n] for i in range(0, len(solutions) - n + 1, n)]


class Arm(NamedTuple):
    """A strategy with its rule and number of solutions: for each problem whether it is right (0 to 1), and its cost."""

    strategy: Strategy
    rule: str
    n: int
    right: list[float]
    costs: list[Cost]
    n_draws: int = 1


def arms(
    strategy: Strategy, by_problem: Sequence[Sequence[Solution]], rules: Iterable[Rule], ns: Iterable[int], top_k: int
) -> list[Arm]:
    """The curves of rules over the number of solutions, each problem's value a mean over disjoint groups of them."""
    found = []
    for rule in rules:
        for n in ns:
            if rule == "majority of top k" and n == 1:
                continue
            groups = [blocks(solutions, n) for solutions in by_problem]
            right = [sum(chosen(group, rule, top_k) for group in own) / len(own) for own in groups]
            costs = [mean_cost([paid_for(group, rule) for group in own]) for own in groups]
            found.append(Arm(strategy, rule, n, right, costs, min(len(own) for own in groups)))
    return found


def paid_for(group: Sequence[Solution], rule: str) -> Cost:
    """What a choice among solutions costs: the prompt once, the scorer if the rule needs it."""
    cost = sum((solution.cost for solution in group), group[0].prompt)
    return cost._replace(scored=0.0) if rule in NO_SCORER else cost


def mean_cost(costs: Sequence[Cost]) -> Cost:
    total = sum(costs, Cost())
    return Cost(*(value / len(costs) for value in total))


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4, ... and n itself."""
    return [*(2**i for i in range(n.bit_length()) if 2**i < n), n]


def arms_of(
    args: StrategyArguments, strategy: Strategy, trees: Sequence[Sequence[Tree]], n_tokens: Callable[[str], int],
    scores: Scores,
) -> list[Arm]:  # fmt: skip
    """All arms of a strategy from its trees, given by problem. `scores`: of the solutions of best_of_n, if any."""
    if strategy in ("greedy", "best_of_n"):
        scores = scores if strategy == "best_of_n" else {}
        samples = [samples_of(own, n_tokens, scores) for own in trees]
        rules = OF_SAMPLES if scores else NO_SCORER
        return arms(strategy, samples, rules, powers_of_two(args.n_trees(strategy)), args.top_k)
    runs = [[best_of_run(tree, n_tokens) for tree in own] for own in trees]
    if strategy == "beam":
        return arms(strategy, runs, ("best by last score",), [1], args.top_k)
    found = arms(strategy, runs, OF_RUNS, powers_of_two(args.n_trees(strategy)), args.top_k)
    if strategy == "mcts":
        for k in powers_of_two(args.rollouts)[:-1]:
            first = [[best_of_run(tree, n_tokens, k) for tree in own] for own in trees]
            for arm in arms(strategy, first, ("best by last score",), [1], args.top_k):
                found.append(arm._replace(rule=f"{arm.rule}, {k} rollouts"))
    return found


def at_equal_cost(
    arm: Arm, by_problem: Sequence[Sequence[Solution]], rule: Rule, price: Callable[[Cost], float]
) -> dict[str, Any]:
    """An arm against a rule over so many independent solutions that they cost at least as much: never less.

    `by_problem`: all solutions of each problem, in order; `price` of a cost, as FLOPs. The mean price counts. Returns
    N, both means and the paired difference with its 95 % interval over problems; if all of them cost less, N is None
    and `n_needed` how many it would take, about.
    """
    asked = sum(map(price, arm.costs))
    most = min(map(len, by_problem))

    def paid(n: int) -> float:
        return sum(price(paid_for(own[:n], rule)) for own in by_problem)

    if paid(most) < asked:
        each = (paid(most) - paid(1)) / max(1, most - 1) or paid(1)
        needed = most + math.ceil((asked - paid(most)) / each)
        return {"against": rule, "n": None, "n_needed": needed, "price_ratio": paid(most) / asked}
    n = next(n for n in range(1, most + 1) if paid(n) >= asked)
    right = [chosen(own[:n], rule) for own in by_problem]
    difference = paired_difference(arm.right, right)
    return {
        "against": rule, "n": n, "mean": sum(arm.right) / len(arm.right), "mean_against": sum(right) / len(right),
        "price_ratio": paid(n) / asked, "difference": difference.mean, "low": difference.low, "high": difference.high,
        "method": difference.method,
    }  # fmt: skip


def report(
    found: Sequence[Arm], by_problem: Sequence[Sequence[Solution]], policy: Any, scorer: Any, wall: dict[str, float]
) -> list[dict[str, Any]]:
    """A line per arm: mean with its interval over problems, its cost, and the comparison at equal cost for searches.

    `by_problem`: the solutions of best_of_n, empty if it was not asked for. `policy`, `scorer`: configs, None if they
    are not known (behind servers): then there are no FLOPs, and generated tokens are the price. `wall`: seconds of this
    start by strategy.
    """
    lines = []
    for arm in found:
        cost = mean_cost(arm.costs)
        price: Callable[[Cost], float] = lambda c: c.generated  # noqa: E731
        n_flops = None
        if policy is not None and (scorer is not None or not cost.scored):
            price = lambda c: flops(c, policy, scorer)  # noqa: E731
            n_flops = price(cost)
        estimate = mean_over_problems(arm.right, arm.n_draws)
        line: dict[str, Any] = {
            "strategy": arm.strategy, "rule": arm.rule, "n": arm.n, "mean": estimate.mean, "low": estimate.low,
            "high": estimate.high, "n_problems": estimate.n, "cost": {**asdict_cost(cost), "flops": n_flops},
            "wall_seconds_of_all": wall.get(arm.strategy),
        }  # fmt: skip
        if arm.strategy in ("beam", "mcts") and by_problem:
            rules: tuple[Rule, ...] = ("best by last score", "majority")
            line["at_equal_cost"] = [at_equal_cost(arm, by_problem, rule, price) for rule in rules]
            line["priced_by"] = "flops" if n_flops is not None else "generated tokens"
        lines.append(line)
    return lines


def asdict_cost(cost: Cost) -> dict[str, float]:
    return {"generated": cost.generated, "prefilled": cost.prefilled, "scored": cost.scored}


# -------------------------------------------------------------------------------------------------------- growing them


def grow_strategy(
    args: StrategyArguments, strategy: Strategy, policy: Policy, problems: Sequence[dict[str, Any]],
    scorer: StepScorer | None, checker: AnswerChecker, sandbox: Sandbox | None, folder: Path,
    depend_on: Mapping[str, Any], instruction: str, seed: int,
) -> tuple[list[list[Tree]], float]:  # fmt: skip
    """The trees of a strategy, by problem, and the seconds that this start has taken for them.

    Finished ones are kept in `folder`; `depend_on`: what they depend on beside the strategy's settings.
    """
    settings = args.settings(strategy)
    trees = trees_for(policy.tokenizer, problems, args.prompt, instruction, args.n_trees(strategy), seed)
    searches = strategy in ("beam", "mcts")
    known = {**depend_on, **vars(settings), "scorer": getattr(scorer, "hash", None) if searches else None}
    known |= {"beam_size": args.beam_size} if strategy == "beam" else {}
    kind = BeamSearch if strategy == "beam" else Search
    with (
        FinishedTrees(folder / f"{strategy}.jsonl", known) as finished,
        kind(settings, checker, sandbox, scorer if searches else None, policy.context, policy.n_tokens,
             policy.delimiter) as grower,
    ):  # fmt: skip
        if isinstance(grower, BeamSearch):
            grower.beam_size = args.beam_size
        failed: dict[str, Any] = {"failed": grower.failed} if isinstance(policy.engine, ServerEngine) else {}
        stream = partial(
            policy.engine.stream, max_new_tokens=settings.max_step_tokens, stop=stop_strings(settings.steps),
            temperature=0.0 if strategy == "greedy" else settings.temperature, include_stop=True, seed=seed, **failed,
        )  # fmt: skip
        totals = Totals(finished)
        totals.start(trees, strategy)
        at_once = 8 + 4 * policy.capacity // (settings.candidates or 1)
        grow(grower, totals.missing(trees), stream, at_once, totals)
        totals.end(grower.counts, sandbox.counts if sandbox else {})
        return [finished.of_problem(problem)[: args.n_trees(strategy)] for problem in problems], totals.seconds


def answers_of(
    args: StrategyArguments, policy: Policy, problems: Mapping[str, Sequence[dict[str, Any]]], scorer: Any,
    checker: AnswerChecker, sandbox: Sandbox | None, folder: Path, depend_on: Mapping[str, Any],
    instructions: Mapping[str, str], seed: int, model: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:  # fmt: skip
    """All strategies on all benchmarks: rows of solutions, lines of the report, the first prompt of each benchmark."""
    rows: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    prompts: dict[str, str] = {}
    body = getattr(scorer, "body", None)  # none behind a server
    configs = counted(policy.config, model), counted(getattr(body, "config", None), "the scorer")
    for name, own in problems.items():
        found: list[Arm] = []
        samples: list[list[Solution]] = []
        seconds: dict[str, float] = {}
        for strategy in dict.fromkeys(args.strategy):
            trees, wall = grow_strategy(args, strategy, policy, own, scorer, checker, sandbox, folder / name,
                                        depend_on, instructions[name], seed)  # fmt: skip
            begin = time.monotonic()
            scores: Scores = {}
            if scorer is not None and strategy == "best_of_n":
                flat = [tree for some in trees for tree in some]
                scores = score_answers(flat, scorer, args.steps, policy.n_tokens)
            seconds[strategy] = wall + time.monotonic() - begin
            prompts[name] = trees[0][0].prompt
            if strategy == "best_of_n":
                samples = [samples_of(some, policy.n_tokens, scores) for some in trees]
            found += arms_of(args, strategy, trees, policy.n_tokens, scores)
            for problem, some in zip(own, trees, strict=True):
                where = {"benchmark": name, "model": model, "prompt_format": args.prompt}
                rows += [row for tree in some for row in trajectory_rows(strategy, problem, tree, scores, where)]
        lines += [{"benchmark": name, **line} for line in report(found, samples, *configs, seconds)]
    return rows, lines, prompts


def trajectory_rows(
    strategy: Strategy, problem: Mapping[str, Any], tree: Tree, scores: Scores, where: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A response row for each answer of a tree, or for its longest path if it has none. `where`: further columns."""
    nodes = tree.answers() or [max(tree.root.subtree(), key=lambda node: node.depth)]
    for i, node in enumerate(nodes):
        path = node.path()
        yield {
            "problem_id": problem["problem_id"], "sample": tree.number * 2**20 + i, "response": node.text(),
            "finish_reason": "length" if node.terminal in ("too long", "depth") else "stop",
            "n_tokens": sum(step.n_tokens for step in path), "extracted": node.extracted, "verdict": node.verdict,
            "seed": tree.seed, "rule": "box" if node.extracted is not None else None, "problem": problem["problem"],
            "answer": problem["answer"], **where, "decoding": strategy, "group": "all",
            "run": tree.number, "end": node.terminal or "", "reached": node.number in tree.ended_at,
            "scores": list(scores.get((problem["problem_id"], tree.number), ())) if strategy == "best_of_n" else
                      [step.prior_score for step in path if step.prior_score is not None],
        }  # fmt: skip


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """The report as text."""
    shown = [f"{'strategy':10} {'rule':34} {'N':>4} {'%':>6}  {'95 % interval':14} {'generated':>10} {'read':>8} "
             f"{'scored':>8} {'GFLOPs':>9}"]  # fmt: skip
    single: set[tuple[str, str]] = set()
    for line in lines:
        cost = line["cost"]
        if line["n"] == 1 and "rollouts" not in line["rule"]:  # one solution: the same by every rule
            if (line["benchmark"], line["strategy"]) in single:
                continue
            single.add((line["benchmark"], line["strategy"]))
        flops_shown = f"{cost['flops'] / 1e9:9,.2f}" if cost["flops"] is not None else f"{'-':>9}"
        interval = f"{100 * line['low']:.1f} to {100 * line['high']:.1f}"
        shown.append(
            f"{line['strategy']:10} {line['rule']:34} {line['n']:4} {100 * line['mean']:6.1f}  {interval:14} "
            f"{cost['generated']:10,.0f} {cost['prefilled']:8,.0f} {cost['scored']:8,.0f} {flops_shown}"
        )
    for line in lines:
        for one in line.get("at_equal_cost", []):
            if one["n"] is None:
                shown.append(
                    f"{line['strategy']} ({line['rule']}, N = {line['n']}) against {one['against']}: not compared, all "
                    f"solutions cost {one['price_ratio']:.2f} times as much; it would take about {one['n_needed']:,}"
                )
                continue
            shown.append(
                f"{line['strategy']} ({line['rule']}, N = {line['n']}) against {one['against']} of {one['n']} "
                f"solutions that cost {one['price_ratio']:.2f} times as much ({line['priced_by']}): "
                f"{100 * one['difference']:+.1f} points ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
            )
    return "\n".join(shown)


def plot(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy over the number of solutions and over what they cost, each curve with its 95 % band."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
                  "figure.constrained_layout.use": True}  # fmt: skip
    priced = all(line["cost"]["flops"] for line in lines)  # one unit for all

    def price_of(line: Mapping[str, Any]) -> float:
        return line["cost"]["flops" if priced else "generated"]

    curves: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        curves.setdefault((line["strategy"], line["rule"].partition(",")[0]), []).append(line)
    with plt.rc_context(style):
        figure, (by_n, by_cost) = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
        colours = plt.colormaps["tab20"].colors  # type: ignore[attr-defined]
        for i, ((strategy, rule), found) in enumerate(curves.items()):
            own = [line for line in found if "rollouts" not in line["rule"]]
            look: Any = {
                "color": colours[(2 * i + i // 10) % 20],
                "marker": "os^Dvp*"[i % 7],
                "ms": 5,
                "elinewidth": 0.6,
            }
            label = f"{strategy}: {rule}" if strategy in ("best_of_n", "mcts") else strategy
            for axis, along in ((by_n, lambda line: line["n"]), (by_cost, price_of)):
                points = sorted((along(line), *(100 * line[name] for name in ("mean", "low", "high"))) for line in own)
                x, mean, low, high = (list(column) for column in zip(*points, strict=True))
                ends = [[m - y for m, y in zip(mean, low)], [y - m for m, y in zip(mean, high)]]
                axis.errorbar(x, mean, ends, label=label, **look)
            fewer = [line for line in found if line not in own] + own[:1]
            less = sorted((price_of(line), 100 * line["mean"]) for line in fewer)  # rollouts of one run
            by_cost.plot([x for x, _ in less], [y for _, y in less], ":", color=look["color"])
        by_n.set(xlabel="solutions (mcts: runs)", ylabel="right, %", ylim=(0, None))
        by_n.set_xscale("log", base=2)
        by_n.xaxis.set_major_formatter("{x:.0f}")
        by_cost.set(xscale="log", xlabel=f"{'floating-point operations' if priced else 'generated tokens'} a problem")
        by_cost.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        figure.savefig(path, dpi=150)
        plt.close(figure)
