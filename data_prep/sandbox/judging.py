"""Is a program right? It is taken from a response and run on tests, whose expected outputs it never sees.

Three forms of tests are known, see `data_prep.sandbox.forms`: those of TACO and APPS (standard input and output, or a
function), HumanEval's `check(candidate)`, and LiveCodeBench's. Every test is a process of its own in the sandbox, and
outputs are compared out here. A `check` is Python that asks and compares in one, so it runs in a process without the
program: what it asks for is answered by the program in another one, and the check runs again with the answers. So
`sys.exit`, `os._exit`, changed builtins, objects that equal everything or a search of the process for what is expected
bring nothing: a program is right if it gives the right outputs. What remains is what tests cannot tell: a program that
knows the inputs beforehand, and one that does well by luck where tests are few.
"""

import ast
import json
import re
import textwrap
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from data_prep.answers import Judgement, Verdict
from data_prep.formats import END_THINK, THINK, is_unclosed
from data_prep.sandbox.client import Execution, Limits, Program, Sandbox
from data_prep.sandbox.forms import INTEGER, Case, Suite, read_tests
from data_prep.sandbox.inside import encode

Strictness = Literal["auto", "strict"]
LIMITS = Limits(timeout=6.0, memory_mb=1024, output_kb=4096)  # of one test
MAX_SECONDS = 60.0  # for all tests of one response
TOLERANCE = 1e-6  # of a float, absolute or relative
MAX_DIGITS = 400  # of a number that is compared as one
# What answers to problems with a function take for granted: the problems' sites import it.
PRELUDE = (
    "import bisect, collections, functools, heapq, itertools, math, operator, random, re, string\n"
    "from bisect import *\nfrom collections import *\nfrom functools import *\nfrom heapq import *\n"
    "from itertools import *\nfrom math import inf\nfrom typing import *\n"
)
FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+#-]*)[^\n`]*\n(?P<content>.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL
)
PYTHON = ("python", "python3", "py")
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


# ---------------------------------------------------------------------------------------------------------- extraction


def extract_program(response: str, thought_open: bool = False) -> str | None:
    """The last closed ```python block after the thought, else the last block without a language; None if none.

    A response that never closes its thought has given none. `thought_open`: as for `find_answer`.
    """
    if is_unclosed(THINK + response if thought_open else response):
        return None
    blocks = [
        (match["language"].lower(), match["content"]) for match in FENCE.finditer(response.rpartition(END_THINK)[2])
    ]
    for languages in (PYTHON, ("",)):
        for language, content in reversed(blocks):
            if language in languages and content.strip():
                return textwrap.dedent(content)
    return None


# ---------------------------------------------------------------------------------------------------------- comparison


def same_output(expected: str, output: str) -> bool:
    """Whether two outputs are the same in each line but for white space; lines without anything else do not count.

    Words are the same as text or as numbers; where the expected one has a point or an exponent, within TOLERANCE.
    """
    ours, theirs = ([line.split() for line in text.split("\n") if line.strip()] for text in (expected, output))
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(same_word(x, y) for x, y in zip(a, b)) for a, b in zip(ours, theirs)
    )


def same_word(expected: str, word: str) -> bool:
    if expected == word:
        return True
    if max(len(expected), len(word)) > MAX_DIGITS or not (NUMBER.fullmatch(expected) and NUMBER.fullmatch(word)):
        return False
    try:
        a, b = Decimal(expected), Decimal(word)
        if INTEGER.fullmatch(expected):
            return a == b
        return abs(a - b) <= Decimal(TOLERANCE) * max(Decimal(1), abs(a))
    except ArithmeticError:  # an exponent of millions
        return False


def same_value(expected: Any, value: Any, wrapped: bool = False) -> bool:
    """Whether an encoded value is the expected one of JSON: tuples are lists, keys are texts, floats as in an output.

    `wrapped`: the expected value may be in a list of its own.
    """
    if wrapped and isinstance(expected, list) and len(expected) == 1 and same_value(expected[0], value):
        return True
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind in ("list", "tuple"):
            return (
                isinstance(expected, list)
                and len(expected) == len(content)
                and all(same_value(a, b) for a, b in zip(expected, content))
            )
        if kind != "dict" or not isinstance(expected, dict) or len(expected) != len(content):
            return False
        return all(
            not isinstance(key, dict) and str(key) in expected and same_value(expected[str(key)], each)
            for key, each in content
        )
    if isinstance(expected, float) or (isinstance(value, float) and isinstance(expected, int)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        try:
            return value == expected or abs(value - expected) <= TOLERANCE * max(1.0, abs(expected))
        except OverflowError:
            return False
    return not isinstance(expected, list | dict) and expected == value


# ------------------------------------------------------------------------------------------------------------- judging


def open_judge(sandbox: Strictness, test_timeout: float, workers: int | None = None) -> "CodeJudge":
    """A judge with a sandbox of its own. Raises SandboxError where programs cannot be isolated as `sandbox` asks."""
    return CodeJudge(Sandbox(workers, replace(LIMITS, timeout=test_timeout), strict=sandbox == "strict"))


class CodeJudge:
    """Judges responses by tests in a sandbox, which it closes; a context manager. May be used from any thread.

    The sandbox's limits are those of one test, MAX_SECONDS is that of all tests of a response. The first test that
    fails decides. `counts`: by verdict, `tests` that ran, and for what is unverifiable why.
    """

    def __init__(self, sandbox: Sandbox):
        self.sandbox = sandbox
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __enter__(self) -> "CodeJudge":
        return self

    def __exit__(self, *exception: object) -> None:
        self.sandbox.__exit__(*exception)

    def judge_all(self, pairs: Iterable[tuple[Any, str]], thought_open: bool = False) -> list[Judgement]:
        """Judgements of (tests, response), as many at once as the sandbox has workers."""
        with ThreadPoolExecutor(self.sandbox.workers, "code") as threads:
            return list(threads.map(lambda pair: self.judge(pair[0], pair[1], thought_open), pairs))

    def judge(self, tests: Any, response: str, thought_open: bool = False) -> Judgement:
        """Runs the program of a response on tests (see `read_tests`). No program is wrong; broken tests are nobody's
        fault, and unverifiable. `detail` of the judgement: which test failed, and how, or what is wrong with them."""
        program = extract_program(response, thought_open)
        verdict: Verdict
        try:
            read = read_tests(tests)
        except ValueError as error:
            verdict, detail, n = "unverifiable", f"tests: {error}", 0
        else:
            if program is None:
                verdict, detail, n = "wrong", "no program", 0
            else:
                verdict, detail, n = Attempt(self.sandbox, program).judge(read)
        with self.lock:
            self.counts.update({verdict: 1, "tests": n})
            self.counts[f"unverifiable, {detail}"] += verdict == "unverifiable"
        return Judgement(program, verdict, None if program is None else "program", detail)

    def share_all(self, pairs: Iterable[tuple[Any, str]], thought_open: bool = False) -> list[float | None]:
        """Of (tests, response) the share of tests that the program passes, all of which run; None where they cannot be
        judged. A check (HumanEval's form) is one test."""

        def share(pair: tuple[Any, str]) -> float | None:
            program = extract_program(pair[1], thought_open)
            try:
                read = read_tests(pair[0])
            except ValueError:
                return None
            return 0.0 if program is None else Attempt(self.sandbox, program).share(read)

        with ThreadPoolExecutor(self.sandbox.workers, "code") as threads:
            return list(threads.map(share, pairs))


Found = tuple[Verdict, str, int]  # with a detail, and how many tests ran


class Attempt:
    """One program on its tests."""

    def __init__(self, sandbox: Sandbox, program: str):
        self.sandbox, self.program = sandbox, program
        self.left = MAX_SECONDS

    def run(self, code: str, stdin: str) -> Execution:
        timeout = min(self.sandbox.limits.timeout, max(self.left, 0.1))
        execution = self.sandbox.submit(Program(code, stdin, timeout)).result()
        self.left -= execution.seconds  # not what it has waited for its turn
        return execution

    def judge(self, tests: Suite) -> Found:
        if tests.form == "check":
            return self.judge_by_check(tests)
        most = self.sandbox.limits.output_kb << 10
        n = 0
        for number, case in enumerate(tests.cases, 1):
            if isinstance(case.expected, str) and len(case.expected.encode("utf-8", "replace")) > most:
                continue
            if self.left <= 0:
                return "timed out", f"test {number} of {len(tests.cases)}: {MAX_SECONDS:g} s are over", n
            n += 1
            failed = self.on_stdin(case) if tests.form == "stdin" else self.on_function(tests, case)
            if failed:
                return failed[0], f"test {number} of {len(tests.cases)}: {failed[1]}", n
        if not n:
            return "unverifiable", "tests: all outputs are larger than the sandbox's limit", 0
        return "right", f"{n} tests", n

    def share(self, tests: Suite) -> float | None:
        """Share of the tests that are passed; those behind the time limit of all are not. None: none can be judged."""
        if tests.form == "check":
            verdict = self.judge_by_check(tests)[0]
            return None if verdict == "unverifiable" else float(verdict == "right")
        most = self.sandbox.limits.output_kb << 10
        cases = [
            case for case in tests.cases
            if not (isinstance(case.expected, str) and len(case.expected.encode("utf-8", "replace")) > most)
        ]  # fmt: skip
        passed = 0
        for case in cases:
            if self.left <= 0:
                break
            passed += (self.on_stdin(case) if tests.form == "stdin" else self.on_function(tests, case)) is None
        return passed / len(cases) if cases else None

    def on_stdin(self, case: Case) -> tuple[Verdict, str] | None:
        """How the program fails a test; None if it does not."""
        execution = self.run(self.program, case.given)
        if execution.status != "ok":
            return failure(execution)
        return None if same_output(case.expected, execution.output) else ("wrong", "another output")

    def on_function(self, tests: Suite, case: Case) -> tuple[Verdict, str] | None:
        execution, results = self.call(PRELUDE, tests.name, [[encode(case.given), encode({})]])
        if not results:
            return failure(execution)
        if "error" in results[0]:
            return "wrong", f"{results[0]['error']}: {results[0].get('message')}"
        return None if same_value(case.expected, results[0]["value"], tests.wrapped) else ("wrong", "another value")

    def call(self, context: str, name: str, calls: list[Any]) -> tuple[Execution, list[dict[str, Any]]]:
        """The results of calls up to the first that has none."""
        code = f"from data_prep.sandbox.inside import call_all\ncall_all({context!r}, {self.program!r}, {name!r})"
        execution = self.run(code, json.dumps(calls))
        results: list[dict[str, Any]] = []
        for line in execution.output.split("\n")[:-1][: len(calls)]:
            result = read_result(line)
            if result is None:
                break
            results.append(result)
        return execution, results

    def judge_by_check(self, tests: Suite) -> Found:
        """Rounds of the check, which asks, and of the program, which answers, until the check knows all it asks for."""
        context = stub(tests.prompt)
        if context is None:
            return "unverifiable", "tests: the prompt is no Python", 0
        if not re.search(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{tests.name}\b", self.program, re.MULTILINE):
            self.program = f"{tests.prompt.rstrip()}\n{textwrap.indent(textwrap.dedent(self.program), '    ')}"
        known: list[dict[str, Any]] = []
        ahead = True
        while self.left > 0:
            code = (
                "from data_prep.sandbox.inside import run_check\n"
                f"run_check({context!r}, {tests.test!r}, {tests.name!r}, {ahead})"
            )
            execution = self.run(code, json.dumps(known))
            try:
                report = json.loads(execution.output)
            except ValueError:  # what passes everything may well end nowhere
                if ahead:
                    ahead = False
                    continue
                return "unverifiable", f"tests: the check does not run ({execution.status})", len(known)
            calls = report["calls"]
            if report["ended"] == "broken" or not calls or None in calls:
                return "unverifiable", f"tests: the check does not run ({report['detail'] or 'no call'})", len(known)
            if len(calls) <= len(known):
                if report["ended"] == "passed":
                    return "right", f"{len(calls)} calls", len(calls)
                return "wrong", f"after call {len(calls)}: {report['detail']}", len(calls)
            execution, results = self.call(context, tests.name, calls)
            if len(results) <= len(known):
                return *failure(execution), len(calls)
            known = results
        return "timed out", f"{MAX_SECONDS:g} s are over", len(known)


def failure(execution: Execution) -> tuple[Verdict, str]:
    if execution.status == "timed out":
        return "timed out", "timed out"
    return "wrong", f"{execution.status}: {execution.error}" if execution.status != "ok" else "no result"


def read_result(line: str) -> dict[str, Any] | None:
    """A result as `call_all` writes it; None of what a program has made up instead."""
    try:
        result = json.loads(line)
        if not isinstance(result, dict) or not is_encoded(result.get("value")):
            return None
    except (ValueError, RecursionError):
        return None
    return result if "value" in result or isinstance(result.get("error"), str) else None


def is_encoded(value: Any) -> bool:
    if isinstance(value, dict):
        if len(value) != 1:
            return False
        ((kind, content),) = value.items()
        if kind == "other":
            return True
        if kind == "dict":
            return isinstance(content, list) and all(
                isinstance(pair, list) and len(pair) == 2 and all(map(is_encoded, pair)) for pair in content
            )
        return kind in ("list", "tuple", "set") and isinstance(content, list) and all(map(is_encoded, content))
    return not isinstance(value, list)


def stub(prompt: str) -> str | None:
    """The head of a function as a whole one that does nothing; None if it is no Python."""
    for text in (prompt, f"{prompt.rstrip()}\n    pass\n"):
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return text
    return None
