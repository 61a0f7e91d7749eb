"""Rewards of completions, in the form that TRL's trainers call them: functions of the completions and of the columns of
the dataset, that return a number for each, or None where it cannot be told.

https://huggingface.co/docs/trl/main/en/grpo_trainer#using-a-custom-reward-function. TRL logs each by its `__name__`.
Beside these use TRL's own for what is too long or repeats itself (`get_soft_overlong_punishment`,
`get_repetition_penalty_reward`). All are bounded: an outcome and a format from 0 to 1, penalties from -1 to 0.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from data_prep.answers import AnswerChecker, last_boxed
from data_prep.formats import END_THINK, THINK
from data_prep.sandbox.judging import CodeJudge

Completions = Sequence[str] | Sequence[Sequence[dict[str, Any]]]
NOTATION = re.compile(r"```.*?```|\$\$.*?\$\$|\$.*?\$|\\\(.*?\\\)|\\\[.*?\\\]|\\[a-zA-Z]+", re.DOTALL)


def texts(completions: Completions) -> list[str]:
    """Of completions as TRL gives them: texts, or conversations of one message."""
    return [one if isinstance(one, str) else str(one[0]["content"]) for one in completions]


class Outcome:
    """1 for a right answer, 0 for a wrong one (also where checking takes too long: nothing is gained by that), None
    where the gold cannot be verified.

    Columns: `answer`, or `tests` of a program (see `data_prep.sandbox.forms`; needs `code`); `choices` of a
    multiple-choice problem. `fraction`: a program earns the share of the tests that it passes, instead of 1 for all of
    them. `thought_open`: the prompt has opened the thought.
    """

    __name__ = "outcome"

    def __init__(
        self, checker: AnswerChecker, code: CodeJudge | None = None, thought_open: bool = False, fraction: bool = False
    ):  # fmt: skip
        self.checker, self.code, self.thought_open, self.fraction = checker, code, thought_open, fraction

    def __call__(
        self, completions: Completions, answer: Sequence[str | None], choices: Sequence[Any] | None = None,
        tests: Sequence[Any] | None = None, **columns: Any,
    ) -> list[float | None]:  # fmt: skip
        responses = texts(completions)
        programs = [i for i in range(len(responses)) if tests is not None and tests[i] is not None]
        if programs and self.code is None:
            raise ValueError("the problems have tests for programs, and there is no sandbox to run them in")
        found: dict[int, str] = {}
        shares: dict[int, float | None] = {}
        if self.code is not None and tests is not None:
            pairs = [(tests[i], responses[i]) for i in programs]
            if self.fraction:
                shares = dict(zip(programs, self.code.share_all(pairs, self.thought_open), strict=True))
                verdicts = {None: "unverifiable", 1.0: "right"}
                found |= {i: verdicts.get(share, "wrong") for i, share in shares.items()}
            else:
                judged = self.code.judge_all(pairs, self.thought_open)
                found |= {i: one.verdict for i, one in zip(programs, judged, strict=True)}
        plain = [i for i in range(len(responses)) if i not in found and not (choices and choices[i])]
        golds = [answer[i] or "" for i in plain]
        judged = self.checker.judge_all(golds, [responses[i] for i in plain], self.thought_open)
        found |= {i: one.verdict for i, one in zip(plain, judged, strict=True)}
        for i, response in enumerate(responses):
            if i not in found and choices:
                own = choices[i]
                found[i] = self.checker.judge(answer[i] or "", response, self.thought_open, choices=own).verdict
        rewards = {i: None if verdict == "unverifiable" else float(verdict == "right") for i, verdict in found.items()}
        rewards |= shares
        return [rewards[i] for i in range(len(responses))]


class Format:
    """1 for a thought that is opened and closed once, before everything else, and an answer in a box behind it; else 0.

    `thought_open`: as for `Outcome`.
    """

    __name__ = "format"

    def __init__(self, thought_open: bool = False):
        self.thought_open = thought_open

    def __call__(self, completions: Completions, **columns: Any) -> list[float]:
        return [float(self.holds(text)) for text in texts(completions)]

    def holds(self, text: str) -> bool:
        text = (THINK if self.thought_open else "") + text.lstrip()
        thought, closed, rest = text.partition(END_THINK)
        return (
            thought.startswith(THINK) and text.count(THINK) == text.count(END_THINK) == 1
            and bool(closed) and bool(thought.removeprefix(THINK).strip()) and last_boxed(rest) is not None
        )  # fmt: skip


def language(completions: Completions, problem: Sequence[str], **columns: Any) -> list[float]:
    """Minus the share of letters in a script that the problem is not written in (DeepSeek-R1, arXiv 2501.12948, section
    2.3.2, rewards words of the problem's language). Formulas and code do not count. From -1 to 0.
    """
    found = []
    for text, own in zip(texts(completions), problem, strict=True):
        used, known = scripts(text), scripts(own)
        n = used.total()
        found.append(sum(known[script] > 0 for script in used.elements()) / n - 1.0 if n and known else 0.0)
    return found


def scripts(text: str) -> Counter[str]:
    """The scripts of a text's letters: LATIN, CJK, CYRILLIC, ..."""
    return Counter(script for script in map(script_of, NOTATION.sub(" ", text)) if script)


@lru_cache(100_000)
def script_of(character: str) -> str:
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""
