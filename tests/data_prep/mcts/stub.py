"""A policy without a model: writes steps that depend on prompt, number of the sample and seed alone, at once."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from data_prep.engines import Completion, Request
from data_prep.mcts.tree import Tree
from data_prep.rows import problem_id

N_STEPS = 3  # before the answer is printed


def number(*what: Any) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(what).encode()).digest()[:6], "big")


def problems(n: int) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": problem_id(f"What is {i} + 1?"), "source": "stub", "problem": f"What is {i} + 1?",
            "answer": str(i + 1), "images": [],
        }
        for i in range(n)
    ]  # fmt: skip


def trees(n: int, seed: int = 0) -> list[Tree]:
    return [Tree(problem, 0, seed, f"Question: {problem['problem']}\n") for problem in problems(n)]


class StubPolicy:
    """Candidates with code are distinct programs; an answer is right with chance `p_right`, code fails with `p_error`.

    `code=False`: the same without programs, paragraphs.
    """

    def __init__(self, seed: int = 0, code: bool = True, p_right: float = 0.3, p_error: float = 0.0):
        self.seed, self.code, self.p_right, self.p_error = seed, code, p_right, p_error
        self.n_requests = 0

    def write(self, prompt: str, sample: int) -> str:
        n = number(self.seed, prompt, sample)
        gold = int(prompt.split()[3]) + 1
        if not self.code:
            if prompt.count("\n\n") <= N_STEPS:
                return f"Step {n}.\n\n"
            return f"The answer is \\boxed{{{gold if n % 1000 < 1000 * self.p_right else n % 97}}}."
        if "<end_of_output>" in prompt:
            return f"\n<answer>It is \\boxed{{{prompt.rpartition('<output>')[2].partition('<')[0]}}}.<end_of_answer>"
        done = prompt.count("<end_of_step>")
        begin = "<code>" if done == 0 else ""
        if n % 1009 < 1009 * self.p_error:
            return f"{begin}\n# Wrong {n}\nx{n % 100} = 1 / 0\n<end_of_step>"
        if done < N_STEPS:
            return f"{begin}\n# Number {n}\nx{done} = {n} + {done}\n<end_of_step>"
        result = gold if n % 1000 < 1000 * self.p_right else n % 97
        return f"\n# Now print the final answer\ny{n} = {n}\nprint(y{n} - {n - result})\n<end_of_code>"

    def stream(self, requests: deque[Request]) -> Iterator[tuple[Request, Completion, bool]]:
        while requests:
            request = requests.popleft()
            self.n_requests += 1
            text = self.write(request.prompt, request.sample)
            yield request, Completion(text, len(text) // 4, "stop"), False
