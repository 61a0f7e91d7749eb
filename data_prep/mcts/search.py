"""Grows many trees side by side, without barriers between them.

Each tree is a coroutine: it waits for its own candidates, programs, verdicts and scores and for nothing else. The
requests of all trees go to one engine as they come, so that it always has enough to do; programs run meanwhile.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from data_prep.answers import AnswerChecker
from data_prep.benchmarks import as_asked
from data_prep.engines import Completion, Request
from data_prep.equivalence.comparing import same
from data_prep.mcts.scoring import StepScorer, check_range
from data_prep.mcts.settings import SearchArguments
from data_prep.mcts.steps import Step, output_block, read_step, shown
from data_prep.mcts.tree import ANSWER, Node, Tree, back_up, finish, select
from data_prep.sandbox.client import Execution, Program, Sandbox

Stream = Callable[[deque[Request]], Iterator[tuple[Request, Completion, bool]]]
# Request.sample of candidate i of a node of a tree: the engine's random numbers depend on it, on the prompt and the
# seed, and on nothing else.
TREE, NODE = 1 << 40, 1 << 16


class Generation:
    """The engine in a thread of its own, asked from an event loop."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.requests: deque[Request] = deque()
        self.wake = threading.Event()
        self.closed = False
        self.error: BaseException | None = None
        self.pending: set[Expansion] = set()
        self.loop = asyncio.get_running_loop()
        self.thread = threading.Thread(target=self.work, name="engine", daemon=True)
        self.thread.start()

    async def complete(self, prompt: str, samples: Sequence[int]) -> list[Completion | None]:
        """The completions of a prompt with these numbers; None where the engine has none to give."""
        if self.error:
            raise self.error
        expansion = Expansion(self.loop.create_future(), len(samples))
        self.pending.add(expansion)
        self.requests.extend(Request((expansion, i), prompt, sample) for i, sample in enumerate(samples))
        self.wake.set()
        try:
            return await expansion.future
        finally:
            self.pending.discard(expansion)

    def work(self) -> None:
        try:
            while not self.closed:
                self.wake.wait()
                self.wake.clear()
                for request, completion, _ in self.stream(self.requests):
                    if self.closed:
                        return
                    self.come(request, completion)
        except BaseException as error:
            self.error = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self.loop.call_soon_threadsafe(self.fail)

    def come(self, request: Request, completion: Completion | None) -> None:
        """Takes a completion, or that there will be none; called in the engine's thread."""
        expansion, i = request.name
        expansion.completions[i] = completion
        expansion.left -= 1
        if not expansion.left:
            self.loop.call_soon_threadsafe(expansion.finish)

    def failed(self, request: Request) -> None:
        self.come(request, None)

    def fail(self) -> None:
        for expansion in self.pending:
            if not expansion.future.done():
                expansion.future.set_exception(self.error or RuntimeError("the engine has ended"))

    def close(self) -> None:
        """Ends the thread, behind what the engine has under way: one that computes must not be cut off."""
        self.closed = True
        self.requests.clear()
        self.wake.set()
        self.thread.join(timeout=60.0)


class Expansion:
    """The candidates of one node, on their way."""

    def __init__(self, future: "asyncio.Future[list[Completion | None]]", n: int):
        self.future, self.left = future, n
        self.completions: list[Completion | None] = [None] * n

    def finish(self) -> None:
        if not self.future.done():
            self.future.set_result(self.completions)


class Search:
    """Grows trees by `settings` (resolved). `context`: tokens of prompt and solution at most, None: no matter.

    `n_tokens`: the length of a text in tokens, asked where a path comes near the context. `delimiter`: what stands
    between two steps of code, see `Policy.delimiter`. `counts`: candidates by what became of them.
    """

    def __init__(
        self,
        settings: SearchArguments,
        checker: AnswerChecker,
        sandbox: Sandbox | None,
        scorer: StepScorer | None = None,
        context: int | None = None,
        n_tokens: Callable[[str], int] = len,
        delimiter: str = "",
    ):
        if settings.terminal_value == "scorer" and scorer is None:
            raise ValueError("--terminal_value scorer needs a scorer")
        if settings.steps == "code" and sandbox is None:
            raise ValueError("--steps code needs a sandbox")
        self.settings, self.checker, self.sandbox, self.scorer = settings, checker, sandbox, scorer
        self.context, self.n_tokens = context, n_tokens
        self.delimiter = delimiter if settings.steps == "code" else ""
        self.counts: Counter[str] = Counter()
        self.judges = ThreadPoolExecutor(4, "judge")
        self.scoring = ThreadPoolExecutor(1, "scorer")
        self.to_score: list[tuple[str, list[str], asyncio.Future[float]]] = []
        self.scorer_busy = False

    def run(self, trees: Iterable[Tree], stream: Stream, at_once: int, finished: Callable[[Tree], None]) -> None:
        """Grows all trees, at most `at_once` side by side, and hands each to `finished` as soon as it is done.

        Raises what the engine raises; the trees that were finished before have been handed over.
        """
        asyncio.run(self.grow_all(trees, stream, at_once, finished))

    async def grow_all(
        self, trees: Iterable[Tree], stream: Stream, at_once: int, finished: Callable[[Tree], None]
    ) -> None:
        waiting = iter(trees)
        self.generation = Generation(stream)

        async def work() -> None:
            for tree in waiting:
                begin = time.monotonic()
                await self.grow(tree)
                tree.waited["search"] = time.monotonic() - begin - sum(tree.waited.values())
                finished(tree)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self.generation.close()

    async def grow(self, tree: Tree) -> None:
        """All rollouts of a tree: descents from the root that expand what they come to and end at an answer."""
        settings = self.settings
        assert settings.rollouts is not None
        assert settings.rollouts_if_unsolved is not None
        rng = tree.rng("select")
        for limit in (settings.rollouts, *settings.rollouts_if_unsolved):
            while len(tree.ended_at) < limit:
                node = tree.root
                while node.terminal is None:
                    if node.children is None:
                        await self.expand(tree, node)
                    child = select(node, settings, rng)
                    if child is None:
                        break
                    node = child
                tree.ended_at.append(node.number)
                if node.terminal == ANSWER and settings.back_up == "reached":
                    back_up(node, self.value(tree, node))
                    finish(node)
                if tree.root.done:
                    tree.stopped = "explored"
                    return
                if settings.stop_after_right is not None and tree.n_right >= settings.stop_after_right:
                    tree.stopped = "settled"
                    return
            if tree.n_right:
                break
        tree.stopped = "rollouts"

    async def waiting_for(self, what: str, tree: Tree, work: Awaitable[Any]) -> Any:
        begin = time.monotonic()
        result = await work
        tree.waited[what] = tree.waited.get(what, 0.0) + time.monotonic() - begin
        return result

    async def expand(self, tree: Tree, node: Node) -> None:
        """Gives a node its children: candidates of the policy, run, judged and scored."""
        settings = self.settings
        assert settings.candidates is not None
        before = node.text()
        between = self.delimiter if before else ""
        if not self.fits(tree.prompt + before + between):
            self.end(node, "too long")
            return
        first = tree.number * TREE + node.number * NODE
        completions = await self.waiting_for(
            "model", tree,
            self.generation.complete(tree.prompt + before + between, range(first, first + settings.candidates)),
        )  # fmt: skip
        kept: list[tuple[Step, Completion]] = []
        for step, completion, reason in self.cleaned(before, between, completions):
            if reason:
                self.drop(tree, node, step, completion, reason)
            else:
                kept.append((step, completion))
        programs = [Program(step.program) for step, _ in kept if step.program is not None]
        executions: Iterator[Execution] = iter(())
        if programs:
            assert self.sandbox is not None
            tree.n_executions += len(programs)
            future = asyncio.wrap_future(self.sandbox.submit_all(programs))
            executions = iter(await self.waiting_for("sandbox", tree, future))

        children = []
        for step, completion in kept:
            execution = next(executions) if step.program is not None else None
            fails = execution is not None and self.fails(execution)
            if fails and settings.failing_code == "dropped":
                self.drop(tree, node, step, completion, "code fails", execution)
                continue
            child = tree.add(node, step=step.text, n_tokens=completion.n_tokens, extracted=step.extracted)
            if execution is not None and (fails or step.shows_output):
                child.output = output_block(shown(told(execution)), step.text)
            child.errors = node.errors + 1 if fails else 0
            if completion.finish_reason == "length":
                child.terminal, child.extracted = "too long", None
            elif step.ends:
                child.terminal = ANSWER if step.extracted is not None else "no answer"
            elif child.errors >= settings.max_errors:
                child.terminal = "errors"
            elif child.depth >= settings.max_depth:
                child.terminal = "depth"
            self.counts[child.terminal or "steps"] += 1
            children.append(child)
        await self.judge(tree, [child for child in children if child.terminal == ANSWER])
        await self.score(tree, children)
        node.children = children
        if not children:
            self.end(node, "no candidates")
        for child in children:
            if child.terminal == ANSWER:
                if settings.back_up == "created":
                    back_up(child, self.value(tree, child))
                    finish(child)
            elif child.terminal is not None:
                self.give_up(child)

    def cleaned(
        self, before: str, between: str, completions: Sequence[Completion | None]
    ) -> Iterator[tuple[Step, Completion, str | None]]:
        """Each candidate as a step, with the reason why it is left out, if there is one."""
        settings = self.settings
        none = Completion("", 0, "stop")
        texts = [completion.text if completion else "" for completion in completions]
        if between:
            texts = [between + text.removeprefix(between) for text in texts]
        steps = [read_step(settings.steps, before, text) for text in texts]
        answers = [i for i, step in enumerate(steps) if step.ends and step.extracted is not None]
        seen: set[str] = set()
        for i, (step, completion) in enumerate(zip(steps, completions, strict=True)):
            reason = None
            if completion is None:
                reason = "no response"
            elif settings.clean_up != "nothing" and step.text in seen:
                reason = "duplicate"
            elif settings.clean_up == "first answer" and answers and i != answers[0]:
                reason = "beside an answer"
            seen.add(step.text)
            yield step, completion or none, reason

    def fits(self, text: str) -> bool:
        """Whether another step fits into the context behind this text."""
        if self.context is None:
            return True
        room = self.context - self.settings.max_step_tokens
        # A token is at least one byte, a character at most four.
        return len(text) <= room // 4 or self.n_tokens(text) <= room

    def fails(self, execution: Execution) -> bool:
        """Whether a program has failed, by the settings' rule."""
        if self.settings.error_means == "word" and "error" in execution.output.lower():
            return True
        return execution.status != "ok"

    def drop(
        self, tree: Tree, node: Node, step: Step, completion: Completion, reason: str, run: Execution | None = None
    ) -> None:
        """Keeps a candidate for the record alone."""
        self.counts[f"dropped: {reason}"] += 1
        dropped = tree.add(node, step=step.text, n_tokens=completion.n_tokens, terminal=f"dropped: {reason}")
        dropped.output = shown(told(run)) if run else ""
        node.dropped.append(dropped)

    def end(self, node: Node, reason: str) -> None:
        node.terminal = reason
        self.counts[reason] += 1
        self.give_up(node)

    def give_up(self, node: Node) -> None:
        """A path that ends without an answer."""
        if self.settings.invalid == "itself":
            node.visits, node.value_sum = node.visits + 1, node.value_sum - 1.0
        elif self.settings.invalid == "path":
            back_up(node, -1.0)
        finish(node)

    async def judge(self, tree: Tree, nodes: Sequence[Node]) -> None:
        """Gives answers their verdicts, beside the event loop: some comparisons take a second."""
        if not nodes:
            return
        gold, choices = tree.problem["answer"] or "", tree.problem.get("choices")

        def compare() -> list[str]:
            return [self.checker.compare(gold, node.extracted or "", choices) for node in nodes]

        verdicts = await self.waiting_for("checker", tree, self.generation.loop.run_in_executor(self.judges, compare))
        for node, verdict in zip(nodes, verdicts, strict=True):
            node.verdict = verdict
            tree.n_right += verdict == "right"
            self.counts[f"answers {verdict}"] += 1

    def value(self, tree: Tree, node: Node) -> float:
        """What an answer is worth, from -1 to 1."""
        if self.settings.terminal_value == "gold":
            return 1.0 if node.verdict == "right" else -1.0
        if self.settings.terminal_value == "scorer":
            assert node.prior_score is not None
            return node.prior_score
        answers = [other.extracted or "" for other in tree.answers()]
        equal = sum(same_answer(node.extracted or "", other) for other in answers)
        return 2 * equal / len(answers) - 1

    async def score(self, tree: Tree, nodes: Sequence[Node]) -> None:
        """The scorer's value of new steps: their first Q (paper, equation 3). Answers count by their value instead."""
        of_answers = self.settings.terminal_value == "scorer"
        nodes = [node for node in nodes if node.terminal is None or (of_answers and node.terminal == ANSWER)]
        if self.scorer is None or not nodes:
            return
        futures = []
        for node in nodes:
            future: asyncio.Future[float] = self.generation.loop.create_future()
            self.to_score.append((as_asked(tree.problem), [step.step + step.output for step in node.path()], future))
            futures.append(future)
        if not self.scorer_busy:
            self.scorer_busy = True
            self.scoring_task = asyncio.ensure_future(self.score_all())
        for node, score in zip(nodes, await self.waiting_for("scorer", tree, asyncio.gather(*futures)), strict=True):
            node.prior_score = float(score)
            if node.terminal is None:
                node.visits, node.value_sum = 1, node.prior_score

    async def score_all(self) -> None:
        """Scores what has come together while the scorer was busy, until nothing is left."""
        assert self.scorer is not None
        try:
            while self.to_score:
                batch, self.to_score = self.to_score, []
                problems, paths = [problem for problem, _, _ in batch], [path for _, path, _ in batch]
                try:
                    scores = await self.generation.loop.run_in_executor(
                        self.scoring, self.scorer.score, problems, paths
                    )
                    check_range(scores)
                except Exception as error:
                    for _, _, future in batch:
                        future.set_exception(error)
                    continue
                for (_, _, future), score in zip(batch, scores, strict=True):
                    if not future.done():
                        future.set_result(score[-1])
        finally:
            self.scorer_busy = False

    def failed(self, request: Request) -> None:
        """Tells that the engine has given up a request: its tree goes on without that candidate."""
        self.generation.failed(request)

    def close(self) -> None:
        self.judges.shutdown(cancel_futures=True)
        self.scoring.shutdown(cancel_futures=True)

    def __enter__(self) -> "Search":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def told(execution: Execution) -> str:
    """What the policy is told of a program: what it printed, or how it failed."""
    if execution.status == "ok":
        return execution.output
    limits = {"timed out": "TimeoutError: the time limit is exceeded", "memory": "MemoryError",
              "output": "OSError: the output is too long"}  # fmt: skip
    return limits.get(execution.status) or (
        execution.error if execution.status == "error" else f"Error: {execution.error}"
    )


def same_answer(a: str, b: str) -> bool:
    """Whether two answers are equal, as far as the quick comparison can tell."""
    return a.strip() == b.strip() or bool(same(a, b))
