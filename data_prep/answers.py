"""Is an answer right? Extraction from a response, exact comparison, and Math-Verify behind it in a killable process."""

import json
import re
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_prep.formats import END_THINK, THINK, is_unclosed

BRACE = re.compile(r"\\boxed\{|\\[\\{}]|[{}]")
Verdict = Literal["right", "wrong", "unverifiable", "timed out"]


@dataclass(frozen=True)
class Judgement:
    """`extracted`: the answer found in the response, None if there is none (the verdict is then wrong)."""

    extracted: str | None
    verdict: Verdict


def last_boxed(text: str) -> str | None:
    """Content of the last `\\boxed{...}` with balanced braces, or None; escaped braces do not count."""
    # One pass with a stack: looking for the end of each box by itself takes minutes when a model repeats "\\boxed{".
    opened: list[int | None] = []  # for each open brace where its box's content starts, None for other braces
    last: tuple[int, int] | None = None
    for brace in BRACE.finditer(text):
        if brace[0].endswith("}") and len(brace[0]) == 1:
            start = opened.pop() if opened else None
            if start is not None and (last is None or start > last[0]):
                last = (start, brace.start())
        elif brace[0] == "{":
            opened.append(None)
        elif brace[0] == "\\boxed{":
            opened.append(brace.end())
    return text[slice(*last)].strip() if last else None


def extract_answer(response: str, thought_open: bool = False) -> str | None:
    """The last boxed answer after the thought; a box inside the thought does not count once the thought is closed.

    A response that never closes its thought has given no answer. `thought_open`: the prompt has opened the thought
    already, as some chat templates do.
    """
    if is_unclosed(THINK + response if thought_open else response):
        return None
    return last_boxed(response.rpartition(END_THINK)[2])


class AnswerChecker:
    """Compares answers with golds; a context manager that owns a worker process.

    `timeout`: seconds for one comparison, after which the worker is killed and replaced.
    """

    def __init__(self, timeout: float = 10.0):
        self.timeout = timeout
        self.cache: dict[tuple[str, str], Verdict] = {}
        self._worker: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()  # one question at a time: answers come back in order, without a name

    def __enter__(self) -> "AnswerChecker":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def judge(self, gold: str, response: str, thought_open: bool = False) -> Judgement:
        """Extracts the answer of a response (see `extract_answer`) and compares it with the gold."""
        extracted = extract_answer(response, thought_open)
        return Judgement(extracted, "wrong" if extracted is None else self.compare(gold, extracted))

    def judge_all(self, golds: Sequence[str], responses: Sequence[str]) -> list[Judgement]:
        return [self.judge(gold, response) for gold, response in zip(golds, responses, strict=True)]

    def compare(self, gold: str, answer: str) -> Verdict:
        """Compares two answers: as text, as integers, then by Math-Verify."""
        gold, answer = gold.strip(), answer.strip()
        if not gold:
            return "unverifiable"
        if gold == answer:
            return "right"
        if is_integer(gold) and is_integer(answer):
            return "right" if int(gold) == int(answer) else "wrong"
        key = (gold, answer)
        with self._lock:
            if key not in self.cache:
                self.cache[key] = self._ask(gold, answer)
            return self.cache[key]

    def _ask(self, gold: str, answer: str) -> Verdict:
        if self._worker is None:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "data_prep.math_verify_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            # The imports take seconds and are nobody's time-out.
            if self._exchange("1", "1", timeout=120.0) != "right":
                raise RuntimeError("Math-Verify does not start: see what `python -m data_prep.math_verify_worker` says")
        return self._exchange(gold, answer, self.timeout)

    def _exchange(self, gold: str, answer: str, timeout: float) -> Verdict:
        assert self._worker
        assert self._worker.stdin
        assert self._worker.stdout
        try:
            self._worker.stdin.write(json.dumps([gold, answer]) + "\n")
            self._worker.stdin.flush()
            ready, _, _ = select.select([self._worker.stdout], [], [], timeout)
            line = self._worker.stdout.readline().strip() if ready else ""
        except BrokenPipeError:
            line = ""
        if line in ("right", "wrong", "unverifiable"):
            return line  # type: ignore[return-value]
        self._stop()
        return "timed out"

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None


def is_integer(text: str) -> bool:
    return text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) < 100
