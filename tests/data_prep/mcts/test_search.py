"""The search with a policy without a model: the same trees however it is run, every option, and what goes wrong."""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from data_prep.answers import AnswerChecker
from data_prep.engines import Completion, Request
from data_prep.mcts.records import node_rows, run_row, tree_of
from data_prep.mcts.search import Search
from data_prep.mcts.settings import SearchArguments
from data_prep.mcts.tree import ANSWER, Tree
from data_prep.sandbox.client import Limits, Sandbox
from data_prep.servers import ServerEngine, ServerError
from tests.data_prep.bad_server import BadServer
from tests.data_prep.mcts.stub import StubPolicy, number, trees


@pytest.fixture(scope="module")
def checker() -> Iterator[AnswerChecker]:
    with AnswerChecker() as checker:
        yield checker


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, limits=Limits(timeout=1.0)) as sandbox:
        yield sandbox


def grow(
    policy: Any, checker: AnswerChecker, sandbox: Sandbox | None = None, n: int = 4, at_once: int = 4,
    scorer: Any = None, context: int | None = None, of: list[Tree] | None = None, **values: Any,
) -> list[Tree]:  # fmt: skip
    settings = SearchArguments(steps="code" if sandbox else "text", **values).resolve()
    done: list[Tree] = []
    with Search(settings, checker, sandbox, scorer, context) as search:
        search.run(trees(n) if of is None else of, policy.stream, at_once, done.append)
    return sorted(done, key=lambda tree: tree.problem["problem"])


def rows(done: Sequence[Tree]) -> str:
    return json.dumps([[node_rows(tree), tree.ended_at, tree.stopped] for tree in done])


class OutOfOrder(StubPolicy):
    """Answers `batch_size` requests at a time, in any order."""

    def __init__(self, batch_size: int, order: int, **values: Any):
        super().__init__(**values)
        self.batch_size, self.order = batch_size, random.Random(order)

    def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
        while requests:
            batch = [requests.popleft() for _ in range(min(self.batch_size, len(requests)))]
            self.order.shuffle(batch)
            for request in batch:
                yield from super().stream(deque([request]))


@pytest.mark.parametrize("preset", ["paper", "official-code"])
@pytest.mark.parametrize("code", [False, True])
def test_same_seed_same_trees_at_any_batch_size_and_number_of_workers(
    checker: AnswerChecker, sandbox: Sandbox, preset: str, code: bool
) -> None:
    values: dict[str, Any] = {"preset": preset, "rollouts": 6, "candidates": 4}
    of: dict[str, Any] = {"code": code, "p_error": 0.2}
    expected = rows(grow(StubPolicy(**of), checker, sandbox if code else None, **values))
    for batch_size, at_once, workers in ((1, 1, 1), (3, 2, 3), (100, 4, 2)):
        if code:
            with Sandbox(workers=workers) as other:
                found = grow(OutOfOrder(batch_size, workers, **of), checker, other, at_once=at_once, **values)
        else:
            found = grow(OutOfOrder(batch_size, workers, **of), checker, at_once=at_once, **values)
        assert rows(found) == expected
    assert rows(grow(StubPolicy(seed=1, **of), checker, sandbox if code else None, **values)) != expected


def test_one_problem_has_different_trees(checker: AnswerChecker) -> None:
    both = trees(1) + [Tree(tree.problem, 1, 0, tree.prompt) for tree in trees(1)]
    first, second = grow(StubPolicy(code=False), checker, of=both, rollouts=4, candidates=4)
    assert [node.step for node in first.nodes()] != [node.step for node in second.nodes()]


def test_trees_do_not_wait_for_each_other(checker: AnswerChecker) -> None:
    """One tree's requests take long: the others are finished before its first expansion is."""

    class Slow(StubPolicy):
        def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
            held: list[Request] = []
            while requests or held:
                if not requests:
                    time.sleep(0.05)  # nobody asks for more
                    if not requests:
                        requests.extend(held)
                        held = []
                        yield from super().stream(requests)
                        continue
                request = requests.popleft()
                if "What is 0 " in request.prompt:
                    held.append(request)
                else:
                    yield from super().stream(deque([request]))

    order: list[str] = []
    settings = SearchArguments(steps="text", rollouts=3, rollouts_if_unsolved=[], candidates=3).resolve()
    with Search(settings, checker, None) as search:
        search.run(trees(5), Slow(code=False).stream, 5, lambda tree: order.append(tree.problem["answer"]))
    assert order[-1] == "1"
    assert len(order) == 5


def test_answers_are_backed_up_when_reached_or_when_made(checker: AnswerChecker) -> None:
    (reached,) = grow(StubPolicy(code=False), checker, n=1, rollouts=5, rollouts_if_unsolved=[], candidates=3)
    assert reached.root.visits == 5  # one answer a rollout
    assert [node.visits for node in reached.answers() if node.number in reached.ended_at] == [1] * 5
    assert {node.visits for node in reached.answers() if node.number not in reached.ended_at} <= {0}
    (created,) = grow(StubPolicy(code=False), checker, n=1, preset="official-code", rollouts=5, candidates=3,
                      clean_up="duplicates")  # fmt: skip
    assert created.root.visits == len(created.answers())
    assert all(node.visits == 1 for node in created.answers())
    for tree in (reached, created):
        for node in tree.answers():
            if node.visits:
                assert node.value_sum == (1.0 if node.verdict == "right" else -1.0)


def test_a_tree_goes_on_while_nothing_is_right_and_stops_when_it_is_settled(checker: AnswerChecker) -> None:
    never = grow(StubPolicy(code=False, p_right=0.0), checker, rollouts=4, rollouts_if_unsolved=[6, 9], candidates=2)
    for tree in never:
        assert (len(tree.ended_at), tree.stopped) == ((4, "rollouts") if tree.n_right else (9, "rollouts"))
    often = grow(StubPolicy(code=False, p_right=1.0), checker, rollouts=9, candidates=3, stop_after_right=2)
    assert {tree.stopped for tree in often} == {"settled"}
    assert all(2 <= tree.n_right <= 4 for tree in often)
    small = grow(StubPolicy(code=False), checker, rollouts=30, rollouts_if_unsolved=[], candidates=1)
    assert {(tree.stopped, len(tree.ended_at)) for tree in small} == {("explored", 1)}


def test_clean_up_of_candidates(checker: AnswerChecker) -> None:
    class Twice(StubPolicy):
        def write(self, prompt: str, sample: int) -> str:
            return super().write(prompt, sample // 2)  # each text twice

    def dropped(clean_up: str) -> tuple[int, int, list[int]]:
        (tree,) = grow(Twice(code=False), checker, n=1, rollouts=3, rollouts_if_unsolved=[], candidates=6,
                       clean_up=clean_up)  # fmt: skip
        reasons = [node.terminal for node in tree.nodes() if (node.terminal or "").startswith("dropped")]
        answers = [sum(c.terminal == ANSWER for c in node.children or ()) for node in tree.root.subtree()]
        assert tree.n_tokens() == sum(node.n_tokens for node in tree.nodes()) > 0
        return reasons.count("dropped: duplicate"), reasons.count("dropped: beside an answer"), answers

    assert dropped("nothing")[:2] == (0, 0)
    n_duplicates, n_beside, _ = dropped("duplicates")
    assert n_duplicates >= 3
    assert n_beside == 0
    _, n_beside, answers = dropped("first answer")
    assert n_beside > 0
    assert max(answers) == 1


def test_steps_whose_code_fails_are_dropped_or_stay(checker: AnswerChecker, sandbox: Sandbox) -> None:
    values: dict[str, Any] = {"n": 2, "rollouts": 4, "rollouts_if_unsolved": [], "candidates": 6}
    for tree in grow(StubPolicy(p_error=0.5), checker, sandbox, **values):
        failed = [node for node in tree.nodes() if node.terminal == "dropped: code fails"]
        assert failed
        assert all("ZeroDivisionError" in node.output for node in failed)
        assert not any(node.errors for node in tree.root.subtree())
    for tree in grow(StubPolicy(p_error=0.5), checker, sandbox, failing_code="kept", max_errors=2, **values):
        failing = [node for node in tree.root.subtree() if node.errors]
        assert failing
        for node in failing:
            assert node.output.startswith("<end_of_code>\n<output>ZeroDivisionError")
            assert node.parent is not None
            assert node.errors == node.parent.errors + 1
            assert (node.terminal == "errors") == (node.errors == 2)


def test_the_word_error_counts_as_one_only_by_the_official_rule(checker: AnswerChecker, sandbox: Sandbox) -> None:
    class Says(StubPolicy):
        def write(self, prompt: str, sample: int) -> str:
            return f"<code>\nprint('no error', {sample})\n<end_of_code>" if "<code>" not in prompt else "\\boxed{1}"

    values: dict[str, Any] = {"n": 1, "rollouts": 1, "rollouts_if_unsolved": [], "candidates": 2}
    (paper,) = grow(Says(), checker, sandbox, **values)
    assert [child.errors for child in paper.root.children or ()] == [0, 0]
    (official,) = grow(Says(), checker, sandbox, failing_code="kept", error_means="word", **values)
    assert [child.errors for child in official.root.children or ()] == [1, 1]


@pytest.mark.parametrize(("invalid", "itself", "above"), [("nothing", 0, 0), ("itself", 1, 0), ("path", 1, 1)])
def test_ends_without_an_answer(checker: AnswerChecker, invalid: str, itself: int, above: int) -> None:
    class Silent(StubPolicy):
        def write(self, prompt: str, sample: int) -> str:
            return f"Step {sample}.\n\n" if "Step" not in prompt else f"I do not know {sample}"

    (tree,) = grow(Silent(), checker, n=1, rollouts=9, rollouts_if_unsolved=[], candidates=2, invalid=invalid)
    assert tree.stopped == "explored"
    ends = [node for node in tree.root.subtree() if node.terminal]
    assert [node.terminal for node in ends] == ["no answer"] * 4
    assert all(node.visits == itself and node.value_sum == -itself for node in ends)
    assert tree.root.visits == 4 * above


def test_a_delimiter_stands_between_steps_once(checker: AnswerChecker, sandbox: Sandbox) -> None:
    class Careless(StubPolicy):
        """Begins every second candidate with the line break that stands there already."""

        def write(self, prompt: str, sample: int) -> str:
            assert prompt.endswith(("?\n", "<end_of_step>\n", "<end_of_output>\n"))
            text = super().write(prompt, sample)
            return text if sample % 2 else text.lstrip("\n")

    settings = SearchArguments(rollouts=3, candidates=4).resolve()
    done: list[Tree] = []
    with Search(settings, checker, sandbox, delimiter="\n") as search:
        search.run(trees(2), Careless().stream, 2, done.append)
    answers = [node.text() for tree in done for node in tree.answers()]
    assert answers
    for text in answers:
        assert text.count("<end_of_step>\n#") == 3
        assert "<end_of_output>\n<answer>" in text


def test_depth_length_and_context_end_paths(checker: AnswerChecker) -> None:
    class Endless(StubPolicy):
        def write(self, prompt: str, sample: int) -> str:
            return f"Step {number(prompt, sample)}.\n\n"

        def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
            for request, completion, known in super().stream(requests):
                cut = request.sample % 2 == 1
                yield request, Completion(completion.text, 9, "length" if cut else "stop"), known

    (tree,) = grow(Endless(), checker, n=1, rollouts=3, rollouts_if_unsolved=[], candidates=2, max_depth=4)
    terminals = {node.terminal for node in tree.root.subtree()}
    assert terminals == {None, "too long", "depth"}
    assert max(node.depth for node in tree.nodes()) == 4
    (tree,) = grow(Endless(), checker, n=1, rollouts=9, rollouts_if_unsolved=[], candidates=2, context=120,
                   max_step_tokens=40)  # fmt: skip
    assert tree.stopped == "explored"
    deepest = max(tree.nodes(), key=lambda node: node.depth)
    assert deepest.terminal == "too long"
    assert all(len(tree.prompt + node.text()) <= 80 for node in tree.nodes() if node.children)


class ByLength:
    """A scorer: longer steps are better; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        self.calls.append(len(paths))
        assert all(problem.startswith("What is") for problem in problems)
        return [[number(step) % 200 / 100 - 1 for step in path] for path in paths]


def test_a_scorer_gives_new_steps_their_first_q(checker: AnswerChecker) -> None:
    scorer = ByLength()
    done = grow(StubPolicy(code=False), checker, rollouts=4, candidates=4, scorer=scorer)
    assert sum(scorer.calls) > len(scorer.calls)  # steps of several nodes at once
    for tree in done:
        for node in tree.root.subtree():
            if node.parent is None or node.terminal is not None:
                continue
            assert node.prior_score == number(node.step) % 200 / 100 - 1
            below = [answer for answer in node.subtree() if answer.terminal == ANSWER and answer.visits]
            assert node.visits == 1 + len(below)
            assert node.value_sum == pytest.approx(node.prior_score + sum(answer.value_sum for answer in below))


def test_a_scorer_that_fails_ends_the_search(checker: AnswerChecker) -> None:
    class NoNumbers:
        def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
            return [[float("nan"), *(0.0 for _ in path[1:])] for path in paths]

    with pytest.raises(ValueError, match="scores that are not from -1 to 1"):
        grow(StubPolicy(code=False), checker, rollouts=4, candidates=4, scorer=NoNumbers())

    class Broken:
        def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
            raise ValueError("1 of 2 scores is no number")

    with pytest.raises(ValueError, match="1 of 2 scores is no number"):
        grow(StubPolicy(code=False), checker, rollouts=4, candidates=4, scorer=Broken())


@pytest.mark.parametrize("terminal_value", ["agreement", "scorer"])
def test_without_golds_trees_do_not_depend_on_them(checker: AnswerChecker, terminal_value: str) -> None:
    def searched(golds: Sequence[str]) -> list[list[Any]]:
        of = trees(4)
        for tree, gold in zip(of, golds, strict=True):
            tree.problem |= {"answer": gold}
        scorer = ByLength() if terminal_value == "scorer" else None
        done = grow(StubPolicy(code=False), checker, of=of, rollouts=5, rollouts_if_unsolved=[], candidates=4,
                    terminal_value=terminal_value, scorer=scorer)  # fmt: skip
        done.sort(key=lambda tree: tree.problem["problem"])
        return [[(n.step, n.visits, n.value_sum, n.extracted) for n in tree.nodes()] + [tree.ended_at] for tree in done]

    assert searched(["1", "2", "3", "4"]) == searched(["4", "1", "2", "3"]) == searched(["x", "x", "x", "x"])


def test_rows_are_the_tree_again(checker: AnswerChecker, sandbox: Sandbox) -> None:
    for tree in grow(StubPolicy(p_error=0.3), checker, sandbox, rollouts=5, candidates=4):
        again = tree_of(run_row(tree, "policy", "hash", None), node_rows(tree))
        assert node_rows(again) == node_rows(tree)
        assert [node.text() for node in again.answers()] == [node.text() for node in tree.answers()]


def test_an_engine_that_fails_ends_the_search_and_finished_trees_are_there(checker: AnswerChecker) -> None:
    class Dies(StubPolicy):
        def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
            for item in super().stream(requests):
                if self.n_requests > 150:
                    raise ServerError("the server is gone")
                yield item

    done: list[Tree] = []
    settings = SearchArguments(steps="text", rollouts=3, candidates=3).resolve()
    with Search(settings, checker, None) as search, pytest.raises(ServerError, match="the server is gone"):
        search.run(trees(20), Dies(code=False).stream, 2, done.append)
    assert 0 < len(done) < 20
    done.sort(key=lambda tree: tree.problem["problem"])
    names = {tree.problem["problem"] for tree in done}
    whole = grow(StubPolicy(code=False), checker, n=20, rollouts=3, candidates=3)
    assert rows(done) == rows([tree for tree in whole if tree.problem["problem"] in names])


class PolicyServer(BadServer):
    """Serves the stub policy."""

    def complete(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        answer = super().complete(body, chat)
        text = StubPolicy(code=False).write(body["prompt"], body["seed"])
        stopped = text.endswith("\n\n")
        answer["choices"][0] |= {"text": text, "finish_reason": "stop", "stop_reason": "\n\n" if stopped else None}
        return answer


def served(server: BadServer, checker: AnswerChecker, **values: Any) -> tuple[list[Tree], Search]:
    settings = SearchArguments(steps="text", rollouts=3, rollouts_if_unsolved=[], candidates=3).resolve()
    done: list[Tree] = []
    with ServerEngine(server.url, "policy", backoff=0.01, max_backoff=0.05, **values) as engine:
        with Search(settings, checker, None) as search:

            def stream(requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
                return engine.stream(
                    requests,
                    max_new_tokens=50,
                    temperature=1.0,
                    stop=("\n\n",),
                    include_stop=True,
                    failed=search.failed,
                )

            search.run(trees(4), stream, 4, done.append)
    return sorted(done, key=lambda tree: tree.problem["problem"]), search


def test_a_server_that_drops_and_delays_gives_the_same_trees(checker: AnswerChecker) -> None:
    with PolicyServer() as server:
        expected, _ = served(server, checker)
        server.script = ["drop", "500", "hang up", "503", "text", "no choices", "429", "no usage"] * 3
        # On a busy machine one request may meet most of them: it must not be given up for that.
        found, _ = served(server, checker, retries=len(server.script))
    assert rows(found) == rows(expected)


def test_requests_that_a_server_never_answers_are_counted_and_the_trees_go_on(checker: AnswerChecker) -> None:
    with PolicyServer() as server:
        server.behave = lambda body: "500" if body["seed"] % 7 == 0 else "ok"
        found, search = served(server, checker, retries=6)
    assert len(found) == 4
    n_missing = sum(node.terminal == "dropped: no response" for tree in found for node in tree.nodes())
    assert n_missing == search.counts["dropped: no response"] > 0
    assert all(tree.stopped in ("rollouts", "explored") for tree in found)


def test_nothing_is_left_running(checker: AnswerChecker) -> None:
    before = {thread.name for thread in threading.enumerate()}
    grow(StubPolicy(code=False), checker, rollouts=2, candidates=2)
    time.sleep(0.1)
    assert {thread.name for thread in threading.enumerate()} <= before | {"engine"}
