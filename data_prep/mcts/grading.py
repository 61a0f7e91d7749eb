"""Grades the steps of existing Long-CoT responses: Q of a step is the share of its continuations that ends right.

Each response becomes a tree with one long path, its own steps; from the end of each graded step continuations branch
off. So the same code makes step pairs of it, and the same page shows it.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from data_prep.answers import AnswerChecker
from data_prep.artefacts import hash_path
from data_prep.benchmarks import as_problem
from data_prep.curation.golds import unverifiable
from data_prep.engines import Completion, Request, TransformersEngine
from data_prep.formats import THINK, convert_markers
from data_prep.mcts.inputs import Inputs, Policy
from data_prep.mcts.search import TREE
from data_prep.mcts.settings import GradingArguments
from data_prep.mcts.steps import thought_steps
from data_prep.mcts.tree import ANSWER, Node, Tree
from data_prep.responses import judge, whole_characters
from data_prep.sources import DatasetConfig, is_local, open_blocks, read_block


def read_responses(paths: Sequence[str], n_rows: int | None) -> tuple[Inputs, dict[str, list[str]]]:
    """Problems, and for each the texts of its responses, thought markers converted. Raises ValueError, RowError."""
    problems: dict[str, dict[str, Any]] = {}
    responses: dict[str, list[str]] = {}
    dropped: Counter[str] = Counter()
    n_read = 0
    for path in paths:
        for block in open_blocks(DatasetConfig(path, n_rows=n_rows), kinds=("response", "sample")):
            for where, row in read_block(block):
                n_read += 1
                messages = row.get("messages") or [{}]
                text = row.get("response") if isinstance(row.get("response"), str) else messages[-1].get("content")
                problem = as_problem(row, where, answer_needed=False)
                problem |= {"source": str(row.get("source") or path), "images": list(row.get("images") or [])}
                reason = unverifiable(problem["answer"], problem["problem"])
                if not isinstance(text, str) or not text.strip():
                    dropped["no response"] += 1
                elif reason:
                    dropped[f"no answer that can be judged: {reason}"] += 1
                elif problem["images"]:
                    dropped["has an image"] += 1
                else:
                    problems.setdefault(problem["problem_id"], problem)
                    own = responses.setdefault(problem["problem_id"], [])
                    text = whole_characters(convert_markers(text))
                    if text in own:
                        dropped["the same response stood before"] += 1
                    else:
                        own.append(text)
    if not responses:
        raise ValueError(f"{', '.join(paths)}: no response to grade in {n_read} rows {dict(dropped)}")
    hashes = {path: hash_path(path) if is_local(path) else "Hub" for path in paths}
    return Inputs(list(problems.values()), hashes, dropped, n_read), responses


def response_trees(
    policy: Policy, trees: Sequence[Tree], responses: Mapping[str, Sequence[str]], checker: AnswerChecker
) -> list[Tree]:
    """A tree for each response: its steps one below the other, the last one with its verdict.

    `trees`: one for each problem, of which problem, prompt and seed are taken.
    """
    made = []
    for given in trees:
        thought_open = given.prompt.rstrip().endswith(THINK)
        for number, text in enumerate(responses[given.problem["problem_id"]]):
            if thought_open:
                text = text.removeprefix(THINK).removeprefix("\n")
            tree = Tree(given.problem, number, given.seed, given.prompt, response=text)
            node = tree.root
            for step in thought_steps(text, policy.n_tokens):
                child = tree.add(node, step=step, n_tokens=policy.n_tokens(step))
                node.children = [child]
                node = child
            judgement = judge(checker, given.problem, text, thought_open)
            node.terminal = "no answer"
            if judgement.extracted is not None:
                node.terminal, node.extracted, node.verdict = ANSWER, judgement.extracted, judgement.verdict
                tree.n_right += judgement.verdict == "right"
            made.append(tree)
    return made


def grade_responses(
    trees: Sequence[Tree],
    policy: Policy,
    stream: Callable[..., Iterator[tuple[Request, Completion, bool]]],
    grading: GradingArguments,
    checker: AnswerChecker,
    finished: Callable[[Tree], None],
) -> Counter[str]:
    """Samples the continuations of all trees and grades their steps; `finished` gets each tree when it is done.

    Returns how many steps had no room for a continuation in the policy's context, and how many continuations a server
    gave up. Raises ValueError if no step had room.
    """

    def fits(text: str) -> bool:
        return policy.context is None or policy.n_tokens(text) + grading.max_new_tokens <= policy.context

    first = [tree.prompt + step.text() for tree in trees for step in graded_steps(tree, grading.every)[:1]]
    if first and not any(map(fits, first)):
        raise ValueError(
            f"no step has room for a continuation of {grading.max_new_tokens} tokens in the policy's {policy.context} "
            "positions: give a smaller --max_new_tokens"
        )
    counts: Counter[str] = Counter()
    requests: deque[Request] = deque()
    left: dict[int, int] = {}
    texts: dict[tuple[int, int, int], tuple[str, int, str]] = {}
    waiting = iter(enumerate(trees))

    def ask() -> None:
        """Requests of the next trees, as many as keep the policy busy."""
        while len(requests) < 2 * policy.capacity and (following := next(waiting, None)) is not None:
            t, tree = following
            steps = graded_steps(tree, grading.every)
            new = []
            for node in steps:
                text = tree.prompt + node.text()
                if not fits(text):
                    counts["steps without room"] += 1
                    continue
                counts["steps graded"] += 1
                of_step = range(grading.continuations)
                new += [Request((t, node.number, i), text, tree.number * TREE + i) for i in of_step]
            left[t] = len(new)
            requests.extend(new)
            if not new:
                complete(tree, {}, checker)
                finished(tree)

    def come(t: int) -> None:
        left[t] -= 1
        if not left[t]:
            own = {key[1:]: texts.pop(key) for key in [key for key in texts if key[0] == t]}
            complete(trees[t], own, checker)
            finished(trees[t])
        ask()

    def failed(request: Request) -> None:
        counts["continuations given up"] += 1
        come(request.name[0])

    more = {} if isinstance(policy.engine, TransformersEngine) else {"failed": failed}
    ask()
    while requests:
        for request, completion, _ in stream(requests, **more):
            t, number, i = request.name
            texts[t, number, i] = (whole_characters(completion.text), completion.n_tokens, completion.finish_reason)
            come(t)
    return counts


def graded_steps(tree: Tree, every: int) -> list[Node]:
    """The steps from whose ends continuations are sampled: not the last one, which ends the response."""
    steps = [node for node in tree.root.subtree() if node.parent is not None and node.terminal is None]
    return steps[every - 1 :: every]


def complete(tree: Tree, texts: Mapping[tuple[int, int], tuple[str, int, str]], checker: AnswerChecker) -> None:
    """Puts continuations into the tree, each as its first step and the rest, and counts their answers for all steps.

    The response's own answer counts for its last step alone, so that Q of the others is the share of continuations.
    """
    thought_open = tree.prompt.rstrip().endswith(THINK)
    chain = {node.number: node for node in tree.root.subtree()}
    for (number, _), (text, n_tokens, finish_reason) in sorted(texts.items()):
        node = chain[number]
        judgement = judge(checker, tree.problem, node.text() + text, thought_open)
        first = next(continued(text), text)
        share = len(first) / max(1, len(text))
        branch = tree.add(node, step=first, n_tokens=round(share * n_tokens))
        end = branch
        if len(first) < len(text):
            end = tree.add(branch, step=text[len(first) :], n_tokens=n_tokens - branch.n_tokens)
            branch.children = [end]
        node.children = [*(node.children or ()), branch]
        has_answer = judgement.extracted is not None and finish_reason != "length"
        end.terminal = ANSWER if has_answer else "too long" if finish_reason == "length" else "no answer"
        if has_answer:
            end.extracted, end.verdict = judgement.extracted, judgement.verdict
            tree.n_right += judgement.verdict == "right"
        value = 1.0 if has_answer and judgement.verdict == "right" else -1.0
        # For the step where it branches off, not for those before it: they have continuations of their own.
        for graded in (end, branch, node) if end is not branch else (branch, node):
            graded.visits += 1
            graded.value_sum += value
        tree.ended_at.append(end.number)
    last = max(chain.values(), key=lambda node: node.depth)
    last.visits, last.value_sum = 1, 1.0 if last.verdict == "right" else -1.0
    tree.stopped = "graded"


def continued(text: str) -> Iterator[str]:
    """The steps of a continuation, by its characters: about four make a token."""
    yield from thought_steps(text, lambda piece: len(piece) // 4 + 1)
