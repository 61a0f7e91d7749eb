"""Answers by search: rules by hand, no gold in any choice, and the ends that are known: an oracle and its opposite."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from data_prep.answers import AnswerChecker
from data_prep.mcts.costs import Cost
from data_prep.mcts.inputs import Policy
from data_prep.mcts.settings import StrategyArguments
from data_prep.mcts.strategies import (
    Arm,
    Rule,
    Scores,
    Solution,
    arms,
    arms_of,
    at_equal_cost,
    best_of_run,
    blocks,
    chosen,
    grow_strategy,
    powers_of_two,
    report,
    samples_of,
    score_answers,
    table,
    trajectory_rows,
)
from data_prep.mcts.tree import ANSWER, Tree
from tests.data_prep.mcts.stub import StubPolicy, problems

STRATEGIES = ("greedy", "best_of_n", "beam", "mcts")


class Words:
    """A tokenizer whose tokens are words."""

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[str]]:
        return {"input_ids": text.split()}


class Engine(StubPolicy):
    def stream(self, requests: deque[Any], **settings: Any) -> Iterator[Any]:
        yield from super().stream(requests)


class Oracle:
    """Knows the answers: +0.9 for a step that gives the right one, -0.9 for a wrong one; `sign` -1: the opposite."""

    def __init__(self, sign: int = 1):
        self.sign = sign

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        found = []
        for problem, path in zip(problems, paths, strict=True):
            gold = int(problem.split()[2]) + 1
            found.append([self.sign * (0.9 if f"boxed{{{gold}}}" in step else -0.9 if "boxed" in step else 0.0)
                          for step in path])  # fmt: skip
        return found


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker() as checker:
        yield checker


def settings(**values: Any) -> StrategyArguments:
    given: dict[str, Any] = {"strategy": list(STRATEGIES), "scorer": "oracle", "steps": "text", "prompt": "rstar",
                             "trajectories": 8, "runs": 3, "rollouts": 4, "candidates": 3, "beam_size": 2}  # fmt: skip
    return StrategyArguments(**given | values)


def grown(
    strategy: Any, checker: AnswerChecker, folder: Path, scorer: Any, rows: Any = None, policy: Any = None,
    **values: Any,
) -> list[list[Tree]]:  # fmt: skip
    args = settings(**values)
    opened = Policy(policy or Engine(code=False), Words(), "hash", None, 8)  # type: ignore[arg-type]
    rows = problems(10) if rows is None else rows
    return grow_strategy(args, strategy, opened, rows, scorer, checker, None, folder, {}, "", 0)[0]


def scores_of(trees: Sequence[Sequence[Tree]], scorer: Any) -> Scores:
    return score_answers([tree for own in trees for tree in own], scorer, "text", n_words)


def n_words(text: str) -> int:
    return len(text.split())


def made(answer: str | None, right: bool, *scores: float, cost: float = 1.0) -> Solution:
    return Solution(answer, right, scores, Cost(generated=cost), "", Cost(prefilled=3.0))


def test_rules_by_hand() -> None:
    solutions = [
        made("1", True, 0.9, -0.8, 0.1), made("2", False, 0.2, 0.2, 0.2), made("2.0", False, -0.5, -0.9),
        made(None, False), made("3", False, -0.9, 0.9),
    ]  # fmt: skip
    expected: dict[Rule, float] = {
        "majority": 0.0,  # 2 and 2.0 are one answer
        "weighted majority": 0.0,  # 0.55, 0.6 + 0.05, 0.95
        "best by last score": 0.0,  # 3
        "best by least score": 0.0,  # 2
        "best by mean score": 0.0,  # 2
        "majority of top k": 1 / 3,  # of 3, 2 and 1
    }
    for rule, share in expected.items():
        assert chosen(solutions, rule, 3) == pytest.approx(share), rule
    assert chosen(solutions[:1], "best by last score") == 1.0
    assert chosen([*solutions[:2], solutions[4]], "majority") == pytest.approx(1 / 3)
    assert chosen([made("1", True, 0.5), made("2", False, 0.5)], "best by last score") == 0.5
    assert chosen([made(None, False)], "majority") == chosen([], "majority") == 0.0


def test_numbers_of_solutions() -> None:
    assert powers_of_two(1) == [1]
    assert powers_of_two(12) == [1, 2, 4, 8, 12]
    assert [list(block) for block in blocks(list("abcdefg"), 3)] == [["a", "b", "c"], ["d", "e", "f"]]  # type: ignore[arg-type]


def test_a_curve_is_a_mean_over_groups_and_pays_for_what_it_uses() -> None:
    own = [made("1", True, 0.1), made("2", False, 0.9), made("1", True, 0.3), made("1", True, 0.2)]
    found = {
        (arm.rule, arm.n): arm for arm in arms("best_of_n", [own], ("best by last score", "majority"), [1, 2, 4], 4)
    }
    assert found["best by last score", 1].right == [0.75]
    assert found["best by last score", 2].right == [0.5]
    assert found["best by last score", 4].right == [0.0]
    assert found["majority", 4].right == [1.0]
    assert found["majority", 2].costs == [Cost(generated=2.0, prefilled=3.0)]  # the prompt once a group
    assert found["majority", 2].n_draws == 2


def test_an_oracle_finds_what_is_there_and_its_opposite_nothing(checker: AnswerChecker, tmp_path: Path) -> None:
    for sign in (1, -1):
        folder = tmp_path / str(sign)
        trees = grown("best_of_n", checker, folder, Oracle(sign))
        scores = scores_of(trees, Oracle(sign))
        solutions = [samples_of(own, n_words, scores) for own in trees]
        some_right = [float(any(s.right for s in own)) for own in solutions]
        all_right = [float(all(s.right for s in own if s.answer is not None)) for own in solutions]
        assert 0 < sum(some_right) > sum(all_right)
        rules: tuple[Rule, ...] = ("best by last score", "best by least score" if sign < 0 else "best by mean score")
        for rule in rules:
            (arm,) = arms("best_of_n", solutions, (rule,), [8], 4)
            assert arm.right == (some_right if sign > 0 else all_right)
        runs = [[best_of_run(tree, n_words) for tree in own] for own in grown("mcts", checker, folder, Oracle(sign))]
        for own, tree in zip(runs, grown("mcts", checker, folder, Oracle(sign)), strict=True):
            reached = [{n.number: n for n in t.nodes()}[i] for t in tree for i in t.ended_at]
            verdicts = [node.verdict == "right" for node in reached if node.terminal == ANSWER]
            best = chosen(own, "best by last score")
            assert best == (float(any(verdicts)) if sign > 0 else float(all(verdicts)))


def test_the_first_of_n_is_the_only_one_of_one(checker: AnswerChecker, tmp_path: Path) -> None:
    one = grown("best_of_n", checker, tmp_path / "one", Oracle(), trajectories=1)
    many = grown("best_of_n", checker, tmp_path / "many", Oracle(), trajectories=8)
    for (single,), several in zip(one, many, strict=True):
        assert [node.step for node in single.nodes()] == [node.step for node in several[0].nodes()]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_choice_depends_on_golds(checker: AnswerChecker, tmp_path: Path, strategy: Any) -> None:
    """Other golds change verdicts alone: the same trees, and the same solution is chosen."""
    texts = []
    for golds in (None, "7"):
        rows = problems(6)
        for row in rows:
            row["answer"] = golds or row["answer"]
        trees = grown(strategy, checker, tmp_path / f"{golds}", Oracle(), rows)
        steps = [
            [(n.step, n.visits, n.value_sum, n.prior_score) for n in tree.nodes()] for own in trees for tree in own
        ]
        runs = strategy in ("beam", "mcts")
        best = [best_of_run(tree, n_words).text for own in trees for tree in own] if runs else []
        texts.append((steps, best))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupted_search_goes_on_to_the_same_trees(checker: AnswerChecker, tmp_path: Path, strategy: Any) -> None:
    whole = grown(strategy, checker, tmp_path / "whole", Oracle())
    part = tmp_path / "part" / f"{strategy}.jsonl"
    grown(strategy, checker, part.parent, Oracle())
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:20])
    policy = Engine(code=False)
    again = grown(strategy, checker, part.parent, Oracle(), policy=policy)
    assert policy.n_requests > 0
    assert [[[n.step for n in t.nodes()] for t in own] for own in again] == [
        [[n.step for n in t.nodes()] for t in own] for own in whole
    ]
    with pytest.raises(ValueError, match="now it is"):
        grown(strategy, checker, part.parent, Oracle(), max_depth=5)


def test_a_beam_follows_the_best_steps(checker: AnswerChecker, tmp_path: Path) -> None:
    trees = [tree for own in grown("beam", checker, tmp_path, Oracle()) for tree in own]
    for tree in trees:
        assert 1 <= len(tree.ended_at) <= 2
        expanded = [node for node in tree.nodes() if node.children is not None]
        for depth in range(1, max(node.depth for node in expanded) + 1):
            at = [node for node in expanded if node.depth == depth]
            others = [n for n in tree.root.subtree() if n.depth == depth and n.children is None and n.terminal is None]
            assert len(at) <= 2
            assert all(a.prior_score >= o.prior_score for a in at for o in others)  # type: ignore[operator]
        best = best_of_run(tree, n_words)
        assert best.answer is not None
        assert best.cost.generated == tree.n_tokens()  # what was left behind on the way is paid for


def test_fewer_rollouts_cost_less_and_see_less(checker: AnswerChecker, tmp_path: Path) -> None:
    for own in grown("mcts", checker, tmp_path, Oracle()):
        for tree in own:
            costs = [best_of_run(tree, n_words, k).cost for k in range(1, 5)]
            assert all(a.generated <= b.generated for a, b in pairwise(costs))
            assert costs[-1].generated == sum(node.n_tokens for node in tree.nodes())
            assert costs[0].generated < costs[-1].generated


def test_equal_cost_never_gives_the_search_more() -> None:
    samples = [[made(str(i % 3), i % 3 == 1, 0.1 * i, cost=2.0) for i in range(9)] for _ in range(4)]
    arm = Arm("mcts", "best by last score", 1, [1.0, 0.0, 1.0, 1.0], [Cost(generated=c) for c in (5, 7, 9, 8)])
    found = at_equal_cost(arm, samples, "best by last score", lambda cost: cost.generated)
    assert found["n"] == 4  # 4 x 4 x 2 = 32 >= 29
    assert found["price_ratio"] == pytest.approx(32 / 29)
    assert found["mean_against"] == 0.0  # the fourth has the highest score and answers 0
    assert (found["difference"], found["low"] < 0.75 < found["high"]) == (0.75, True)
    too_few = at_equal_cost(arm, [own[:3] for own in samples], "majority", lambda cost: cost.generated)
    assert (too_few["n"], too_few["n_needed"], too_few["price_ratio"]) == (None, 4, pytest.approx(24 / 29))


def test_a_report_has_all_arms_and_shows_them(checker: AnswerChecker, tmp_path: Path) -> None:
    args = settings()
    found: list[Arm] = []
    samples: list[list[Solution]] = []
    for strategy in STRATEGIES:
        trees = grown(strategy, checker, tmp_path, Oracle())
        scores = scores_of(trees, Oracle()) if strategy == "best_of_n" else {}
        found += arms_of(args, strategy, trees, n_words, scores)  # type: ignore[arg-type]
        if strategy == "best_of_n":
            samples = [samples_of(own, n_words, scores) for own in trees]
            rows = [
                row
                for own in trees
                for tree in own
                for row in trajectory_rows("best_of_n", tree.problem, tree, scores, {"benchmark": "b"})
            ]
            assert len(rows) == 80
            assert all(row["scores"] for row in rows if row["extracted"] is not None)
    lines = [{"benchmark": "b", **line} for line in report(found, samples, None, None, dict.fromkeys(STRATEGIES, 1.0))]
    assert len(lines) == len(found)
    by = {(line["strategy"], line["rule"], line["n"]): line for line in lines}
    assert (
        by["best_of_n", "majority", 8]["cost"]["scored"]
        == 0
        < by["best_of_n", "best by last score", 8]["cost"]["scored"]
    )
    assert by["mcts", "majority of top k", 3]["priced_by"] == "generated tokens"
    assert by["mcts", "best by last score, 2 rollouts", 1]["mean"] <= by["mcts", "best by last score", 1]["mean"]
    printed = table(lines)
    for strategy in STRATEGIES:
        assert f"\n{strategy} " in printed
    assert "solutions that cost" in printed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scorer": None}, "--strategy beam needs a --scorer"),
        ({"strategy": []}, "--scorer is for --strategy"),
        ({"runs": 0}, "--runs 0: above 0"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**values).check()


def test_scores_out_of_range_choose_nothing(checker: AnswerChecker, tmp_path: Path) -> None:
    class Logits:
        def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
            return [[2.5] + [0.0] * (len(path) - 1) for path in paths]

    trees = [tree for own in grown("best_of_n", checker, tmp_path, None, problems(2)) for tree in own]
    n = len([tree for tree in trees if tree.answers()])
    with pytest.raises(ValueError, match=rf"the scorer gave {n} of [0-9]+ scores that are not from -1 to 1"):
        score_answers(trees, Logits(), "code", n_words)
