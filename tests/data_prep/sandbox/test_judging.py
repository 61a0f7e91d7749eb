"""Programs of responses on tests: every form, every way to fail, and programs that want to be right without being "
"so."""

import base64
import json
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sandbox import client
from data_prep.sandbox.client import Sandbox
from data_prep.sandbox.forms import raw_tests, read_tests
from data_prep.sandbox.inside import decode, encode
from data_prep.sandbox.judging import (
    LIMITS,
    CodeJudge,
    extract_program,
    open_judge,
    read_result,
    same_output,
    same_value,
)
from tests.data_prep.sandbox.test_hostile import WEAKER


@pytest.fixture(scope="module")
def judge() -> Iterator[CodeJudge]:
    with CodeJudge(Sandbox(workers=2, limits=replace(LIMITS, timeout=2.0))) as judge:
        yield judge


def response(program: str) -> str:
    thought = "<think>Let me see.\n```python\nprint('a draft')\n```\n</think>\n"
    return f"{thought}The program:\n```python\n{program}\n```\nDone."


def verdict(judge: CodeJudge, tests: Any, program: str) -> tuple[str, str]:
    found = judge.judge(tests, response(program))
    assert found.detail is not None
    return found.verdict, found.detail


# ---------------------------------------------------------------------------------------------------------- extraction


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```py\nx = 1\n```", "x = 1\n"),
        ("```Python3 \nx = 1\n``` ", "x = 1\n"),
        ("```python\n1\n```\nbetter:\n```python\n2\n```\nOutput:\n```\n2\n```", "2\n"),
        ("```\n1\n```", "1\n"),
        ("```cpp\n1\n```", None),
        ("```python\n1\n```\n```cpp\n2\n```", "1\n"),
        ("1. So:\n   ```python\n   def f():\n       return 1\n   ```", "def f():\n    return 1\n"),
        ("```python title=x\n1\n```", "1\n"),
        ("```python\n1", None),
        ("```python\n\n```", None),
        ("print(1)", None),
        ("<think>```python\n1\n```", None),
        ("<think>\n```python\n1\n```\n</think>\nno code", None),
        ("<think>\n```python\n1\n```\n</think>\n```python\n2\n```", "2\n"),
        ('```python\ns = """\n``` not an end\n"""\n```', 's = """\n``` not an end\n"""\n'),
        ("```python\r\nx = 1\r\n```", "x = 1\r\n"),
    ],
)
def test_extraction(text: str, program: str | None) -> None:
    assert extract_program(text) == program


def test_extraction_where_the_prompt_opens_the_thought() -> None:
    assert extract_program("```python\n1\n```", thought_open=True) is None
    assert extract_program("hm\n</think>\n```python\n1\n```", thought_open=True) == "1\n"


@given(st.text(alphabet="`python \n<think>/x1"))
def test_extraction_never_raises(text: str) -> None:
    extract_program(text)


# ------------------------------------------------------------------------------------------------------ standard input

SUMS = {"inputs": ["1 2\n", "10 -3\n", "0 0"], "outputs": ["3\n", "7\n", "0"]}
ADD = "a, b = map(int, input().split())\nprint(a + b)"


def test_right(judge: CodeJudge) -> None:
    found = judge.judge(SUMS, response(ADD))
    assert (found.verdict, found.rule, found.extracted) == ("right", "program", ADD + "\n")
    assert found.detail == "3 tests"
    assert judge.judge(json.dumps(SUMS), response(ADD)).verdict == "right"


@pytest.mark.parametrize(
    ("program", "expected", "detail"),
    [
        ("print(3)", "wrong", "test 2 of 3: another output"),
        ("print(int(input()))", "wrong", "test 1 of 3: error: ValueError"),
        ("def f(:", "wrong", "test 1 of 3: error: SyntaxError"),
        ("while True: pass", "timed out", "test 1 of 3: timed out"),
        ("while True: print('x' * 1000)", "wrong", "test 1 of 3: output"),
        ("x = bytearray(1 << 33)", "wrong", "test 1 of 3: memory"),
        (f"{ADD}\nimport os\nos._exit(0)", "wrong", "test 1 of 3: died"),
        (f"{ADD}\nimport sys\nsys.exit(0)", "right", "3 tests"),
        (f"{ADD}\nimport sys\nsys.exit(1)", "wrong", "test 1 of 3: error: SystemExit: 1"),
        ("import ctypes\nctypes.string_at(0)", "wrong", "test 1 of 3: died"),
        ("", "wrong", "no program"),
        (f"import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\ndef main():\n"
         f"    {ADD.replace(chr(10), chr(10) + '    ')}\nt = threading.Thread(target=main)\nt.start()\nt.join()",
         "right", "3 tests"),
        (f"def main():\n    {ADD.replace(chr(10), chr(10) + '    ')}\nif __name__ == '__main__':\n    main()",
         "right", "3 tests"),
        (f"{ADD}\nprint()\nprint('  ')", "right", "3 tests"),
        (f"{ADD}\na + b", "right", "3 tests"),  # what was printed, not the last value
    ],
)  # fmt: skip
def test_programs(judge: CodeJudge, program: str, expected: str, detail: str) -> None:
    found = verdict(judge, SUMS, program)
    assert found[0] == expected
    assert found[1].startswith(detail)


def test_no_program(judge: CodeJudge) -> None:
    for text in ("I give up.", f"<think>{response(ADD).removeprefix('<think>').replace('</think>', '')}"):
        found = judge.judge(SUMS, text)
        assert (found.verdict, found.extracted, found.rule, found.detail) == ("wrong", None, None, "no program")


def test_the_first_failing_test_ends_it(judge: CodeJudge) -> None:
    before = judge.counts["tests"]
    verdict(judge, {"inputs": ["x"] * 50, "outputs": ["1"] * 50}, "print(2)")
    assert judge.counts["tests"] == before + 1


def test_all_tests_together_have_a_limit(judge: CodeJudge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.sandbox.judging.MAX_SECONDS", 0.5)
    tests = {"inputs": ["x"] * 9, "outputs": ["1"] * 9}
    assert verdict(judge, tests, "import time\ntime.sleep(0.2)\nprint(1)")[0] == "timed out"


def test_large_input_and_output(judge: CodeJudge) -> None:
    numbers = " ".join(map(str, range(150_000)))
    tests = {"inputs": [numbers], "outputs": [numbers.replace(" ", "\n")]}
    assert verdict(judge, tests, "print('\\n'.join(input().split()))") == ("right", "1 tests")
    assert verdict(judge, tests, "print('\\n'.join(input().split()[:-1]))")[0] == "wrong"
    huge = {"inputs": ["x"], "outputs": ["x" * (5 << 20)]}
    assert verdict(judge, huge, "print('x' * (5 << 20))")[0] == "unverifiable"


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("1 2\n3\n", "1  2 \n3", True),
        ("1 2 3", "1\n2\n3", False),
        ("1\n\n2", "1\n2\n\n", True),
        ("1", "1.0", True),
        ("1", "1.0000001", False),
        ("0.5", "0.50000049", True),
        ("0.5", "0.51", False),
        ("1000000.0", "1000000.9", True),
        ("1000000.0", "1000001.1", False),
        ("1e-3", "0.001", True),
        ("12345678901234567890", "12345678901234567891", False),
        ("1.0", "nan", False),
        ("nan", "nan", True),
        ("YES", "yes", False),
        ("1", "", False),
        ("1", "1 1", False),
        ("0x10", "16", False),
        ("1e999999999", "1e999999998", False),
        ("1.5" + "0" * 500, "1.5", False),
        ("a\tb", "a b", True),
        ("٣", "3", False),
    ],
)
def test_outputs_are_compared(expected: str, output: str, same: bool) -> None:
    assert same_output(expected, output) == same


@given(st.text(alphabet="0123456789.eE+-nainf \n"), st.text(alphabet="0123456789.eE+-nainf \n"))
def test_comparison_never_raises(a: str, b: str) -> None:
    assert same_output(a, a)
    same_output(a, b)


# ----------------------------------------------------------------------------------------------------------- functions

LARGEST = {"fn_name": "largest", "inputs": [[[3, 9, 2]], [[-1]]], "outputs": [9, [-1]]}


@pytest.mark.parametrize(
    ("program", "expected", "detail"),
    [
        ("def largest(xs):\n    return max(xs)", "right", "2 tests"),
        ("class Solution:\n    def largest(self, xs: List[int]) -> int:\n        return max(xs)", "right", "2 tests"),
        ("largest = max", "right", "2 tests"),
        ("def largest(xs):\n    print('debug', xs)\n    return max(xs)\nprint(largest([1]))", "right", "2 tests"),
        ("def largest(xs):\n    return max(xs)\nif __name__ == '__main__':\n    print(largest(input()))", "right", ""),
        ("def biggest(xs):\n    return max(xs)", "wrong", "test 1 of 2: error: NameError: no function largest"),
        ("class Solution:\n    def big(self, xs):\n"
        "        return max(xs)", "wrong", "test 1 of 2: error: AttributeError"),
        ("def largest(xs):\n    return 9", "wrong", "test 2 of 2: another value"),
        ("def largest(xs):\n    print(max(xs))", "wrong", "test 1 of 2: another value"),
        ("def largest(xs, ys):\n    return 1", "wrong", "test 1 of 2: TypeError"),
        ("def largest(xs):\n    raise SystemExit(0)", "wrong", "test 1 of 2: no result"),
        ("def largest(xs):\n    import os\n    os._exit(0)", "wrong", "test 1 of 2: died"),
        ("def largest(xs):\n    while True: pass", "timed out", "test 1 of 2: timed out"),
        ("def largest(xs):\n    return largest(xs)", "wrong", "test 1 of 2: RecursionError"),
        ("class A:\n    def __eq__(self, o): return True\ndef largest(xs):\n    return A()", "wrong", "test 1 of 2"),
        ("class A(int):\n    def __eq__(self, o): return True\ndef largest(xs):\n"
        "    return A(1)", "wrong", "test 1 of 2"),
        ("import os\nfor i in range(3, 10):\n    try: os.write(i, b'{\"value\": {\"list\": [[]]}}\\n')\n"
        "    except OSError: "
         "pass\nos._exit(0)", "wrong", "test 1 of 2"),
        ("x = []\nfor _ in range(400): x = [x]\ndef largest(xs):\n    return x", "wrong", "test 1 of 2"),
        ("x = []\nx.append(x)\ndef largest(xs):\n    return x", "wrong", "test 1 of 2: RecursionError"),
        ("def largest(xs):\n    return 'x' * (9 << 20)", "wrong", "test 1 of 2: output"),
        ("import json, builtins\njson.dumps = lambda *a: '9'\nbuiltins.max = lambda x: 9\n"
         "def largest(xs):\n    return max(xs)", "wrong", "test 1 of 2"),
    ],
)  # fmt: skip
def test_functions(judge: CodeJudge, program: str, expected: str, detail: str) -> None:
    found = verdict(judge, LARGEST, program)
    assert found[0] == expected, found
    assert found[1].startswith(detail)


@pytest.mark.parametrize(
    ("expected", "value", "same"),
    [
        ([1, 2], (1, 2), True),
        ([[1, 2]], [(1, 2)], True),
        ([1, 2], {1, 2}, False),
        ({"1": [2]}, {1: (2,)}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        (0.1 + 0.2, 0.3, True),
        (1, 1.0, True),
        (1, 1.5, False),
        (10**20, 10**20 + 1, False),
        (True, True, True),
        (None, None, True),
        (None, 0, False),
        ("1", 1, False),
        ([], [], True),
        (1e308, 10**400, False),
        ({}, {(1, 2): 3}, False),
    ],
)
def test_values_are_compared(expected: Any, value: Any, same: bool) -> None:
    assert same_value(expected, json.loads(json.dumps(encode(value)))) == same


def test_a_value_may_stand_in_a_list_where_the_form_has_it_so() -> None:
    assert same_value([5], encode(5), wrapped=True)
    assert not same_value([5], encode(5))
    assert not same_value([5, 6], encode(5), wrapped=True)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
    | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3),
)  # fmt: skip


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    text = json.dumps({"value": encode(value)})
    result = read_result(text)
    assert result is not None
    back = decode(result["value"])
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "line",
    ["", "1", "[]", "{}", '{"error": 1}', '{"value": [1]}', '{"value": {}}', '{"value": {"list": 1}}',
     '{"value": {"dict": [[1]]}}', '{"value": {"a": 1, "b": 2}}', "[" * 100_000,
     '{"value": ' + "1" * 5000 + "}"],
)  # fmt: skip
def test_results_that_are_made_up(line: str) -> None:
    assert read_result(line) is None


@pytest.mark.parametrize("depth", [100, 300, 450, 700, 5000])
def test_a_result_that_nests(depth: int) -> None:
    result = read_result('{"value": ' + '{"list": [' * depth + "]}" * depth + "}")
    assert result is None or not same_value([[1]], result["value"])


# ------------------------------------------------------------------------------------------------------------- a check

HEAD = (
    "from typing import List\n\ndef helper(x):\n    return x + 1\n\n"
    'def spread(xs: List[int]) -> int:\n    """Largest minus smallest; 0 of nothing."""\n'
)
CHECK = (
    "METADATA = {}\n\ndef check(candidate):\n    assert candidate([1, 5, 3]) == 4\n    assert candidate([]) == 0\n"
    "    assert abs(candidate([helper(1)]) - 0) < 1e-6\n    for i in range(5):\n"
    "        assert candidate(list(range(i + 1))) == i, 'message'\n    assert not candidate([2, 2])\n"
)
SPREAD = {"prompt": HEAD, "test": CHECK, "entry_point": "spread"}
GOOD = "def spread(xs: List[int]) -> int:\n    return max(xs) - min(xs) if xs else 0"


@pytest.mark.parametrize(
    ("program", "expected", "detail"),
    [
        (GOOD, "right", "9 calls"),
        (HEAD + "    return max(xs) - min(xs) if xs else 0", "right", "9 calls"),
        ("return max(xs) - min(xs) if xs else 0", "right", "9 calls"),  # the body alone
        ("if not xs:\n    return 0\nreturn max(xs) - min(xs)", "right", "9 calls"),
        (GOOD + "\nprint(spread([1]))\nassert spread([1]) == 0", "right", "9 calls"),
        ("def spread(xs):\n    return max(xs) - min(xs)", "wrong", "after call 2: ValueError"),
        ("def spread(xs):\n    return 4", "wrong", "after call 2: AssertionError"),
        ("def spread(xs):\n    return (max(xs) - min(xs), ) if xs else 0", "wrong", "after call 1: AssertionError"),
        ("def other(xs):\n    return 4", "wrong", "after call 1"),
        ("import sys\nsys.exit(0)", "wrong", "no result"),
        ("import os\nos._exit(0)\n" + GOOD, "wrong", "died"),
        ("def spread(xs):\n    raise SystemExit(0)", "wrong", "no result"),
        ("import atexit, os\natexit.register(os._exit, 0)\ndef spread(xs): return 4", "wrong", ""),
        ("class A:\n    def __eq__(self, o): return True\n    def __sub__(self, o): return 0\n"
         "    def __bool__(self): return False\ndef spread(xs):\n    return A()", "wrong", "after call 1"),
        ("class A(int):\n    __eq__ = lambda a, b: True\n    __hash__ = int.__hash__\ndef spread(xs):\n"
         "    return A(7)", "wrong", "after call 1"),
        ("import builtins\nbuiltins.AssertionError = KeyError\nbuiltins.abs = lambda x: 0\ndef spread(xs):\n"
         "    raise AssertionError", "wrong", "after call 1"),
        ("import sys, gc\ndef spread(xs):\n    f = sys._getframe()\n    while f:\n        if 'check' in f.f_globals: "
         "return 4\n        f = f.f_back\n    return 0 if not any('candidate' in str(o) for o in gc.get_objects() if "
         "isinstance(o, str) and 'METADATA' in o) else 4", "wrong", "after call 1"),
        ("def check(candidate): pass\ndef spread(xs): return 1", "wrong", "after call 1"),
        ("def spread(xs):\n    while True: pass", "timed out", "timed out"),
        ("def spread(xs):\n    return (x for x in xs)", "wrong", "after call 1"),
        ("def spread(xs:", "wrong", ""),
    ],
)  # fmt: skip
def test_checks(judge: CodeJudge, program: str, expected: str, detail: str) -> None:
    found = verdict(judge, SPREAD, program)
    assert found[0] == expected, found
    assert found[1].startswith(detail), found


@pytest.mark.parametrize(
    ("test", "program", "expected"),
    [  # checks that need real results to go on, one by one
        ("def check(candidate):\n    x = candidate(10)\n    while x > 1:\n        x = candidate(x)\n    assert x == 1",
         "def f(n): return n // 2", "right"),
        ("def check(candidate):\n    assert candidate(candidate(3)) == 12", "def f(n): return 2 * n", "right"),
        ("def check(candidate):\n    assert candidate(2)['a'] == 1", "def f(n): return {'a': 1}", "right"),
        ("def check(candidate):\n    try:\n        candidate(-1)\n        assert False\n    except ValueError:\n"
         "        pass", "def f(n):\n    raise ValueError('no')", "right"),
        ("def check(candidate):\n    try:\n        candidate(-1)\n        assert False\n    except ValueError:\n"
         "        pass", "def f(n):\n    return 1", "wrong"),
        ("import random\ndef check(candidate):\n    for _ in range(40):\n        n = random.randint(0, 99)\n"
         "        assert abs(candidate(n) - n / 2) < 1e-9 and float(candidate(n)) < 60", "def f(n): return n / 2",
         "right"),
        ("def check(candidate):\n    assert candidate(1) == (1, 2)", "def f(n): return [1, 2]", "wrong"),
        ("def check(candidate):\n    assert candidate(n=4) == 4", "def f(n): return n", "right"),
        ("def check(candidate):\n    assert f(2) == 2\n    assert candidate(1) == 1", "def f(n): return n", "right"),
        # broken
        ("def check(candidate):\n    pass", "def f(n): return n", "unverifiable"),
        ("def check(candidate", "def f(n): return n", "unverifiable"),
        ("check = 1 / 0", "def f(n): return n", "unverifiable"),
        ("def check(candidate):\n    assert candidate(lambda x: x) == 1", "def f(n): return 1", "unverifiable"),
        ("def check(candidate):\n    while True: pass", "def f(n): return n", "unverifiable"),
    ],
)  # fmt: skip
def test_kinds_of_checks(judge: CodeJudge, test: str, program: str, expected: str) -> None:
    tests = {"prompt": 'def f(n):\n    """..."""\n', "test": test, "entry_point": "f"}
    assert verdict(judge, tests, program)[0] == expected


# --------------------------------------------------------------------------------------------------------- other forms


def packed(cases: list[dict[str, str]]) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def test_livecodebench(judge: CodeJudge) -> None:
    public = [{"input": "1 2\n", "output": "3", "testtype": "stdin"}]
    row = {
        "public_test_cases": json.dumps(public),
        "private_test_cases": packed([{"input": "2 2", "output": "4", "testtype": "stdin"}]),
        "metadata": "{}",
    }
    assert verdict(judge, raw_tests(row), ADD) == ("right", "2 tests")
    assert verdict(judge, raw_tests(row), "print(3)")[1] == "test 2 of 2: another output"
    row = {
        "public_test_cases": json.dumps([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]),
        "private_test_cases": json.dumps([{"input": "[]\n0", "output": "0", "testtype": "functional"}]),
        "metadata": json.dumps({"func_name": "addAll"}),
    }
    solution = "class Solution:\n    def addAll(self, xs: List[int], y: int) -> int:\n        return sum(xs) + y"
    assert verdict(judge, raw_tests(row), solution) == ("right", "2 tests")
    assert verdict(judge, raw_tests(row), solution.replace("addAll", "add_all"))[0] == "wrong"


@pytest.mark.parametrize(
    "tests",
    [
        *("", "no JSON", "[", "[]", "{}", "3", "null", "[1]", '"text"', "[" * 100_000),
        {"inputs": ["1"], "outputs": []},
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": [""]},
        {"inputs": [None], "outputs": ["1"]},
        {"inputs": 1, "outputs": 1},
        {"inputs": ["1"], "outputs": ["1"], "fn_name": "a b"},
        {"inputs": ["1"], "outputs": ["1"], "fn_name": 3},
        [{"input": "1", "output": "1", "testtype": "other"}],
        [{"input": "1", "output": "1", "testtype": "functional"}],
        [{"input": "1"}],
        [{"output": "1"}],
        {"cases": [{"input": "x", "output": "1"}], "fn_name": "f"},
        {"prompt": "def f():", "test": "x = 1", "entry_point": "f"},
        {"prompt": "def f():", "test": "check", "entry_point": "f("},
        {"prompt": 1, "test": "check", "entry_point": "f"},
        {"prompt": "def f(", "test": "def check(c): c()", "entry_point": "f"},
        raw_tests({"public_test_cases": "@@"}),
        raw_tests({"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(print))).decode()}),
    ],
    ids=lambda tests: str(tests)[:40],
)
def test_broken_tests_are_unverifiable(judge: CodeJudge, tests: Any) -> None:
    before = judge.counts["unverifiable"]
    found = judge.judge(tests, response("def f():\n    return 1"))
    assert found.verdict == "unverifiable"
    assert (found.detail or "").startswith("tests: ")
    assert judge.counts["unverifiable"] == before + 1


def test_tests_of_rows() -> None:
    assert raw_tests({"problem": "x", "answer": "1"}) is None
    assert raw_tests({"tests": None, "prompt": "a prompt", "test": None}) is None
    assert raw_tests({"tests": float("nan")}) is None
    assert raw_tests({"input_output": "{}"}) == "{}"
    assert raw_tests({"tests": SUMS}) == SUMS
    assert raw_tests({"prompt": "a", "test": "b", "entry_point": "c", "task_id": 1}) == {
        "prompt": "a", "test": "b", "entry_point": "c",
    }  # fmt: skip


def test_lines_and_dictionaries_as_data_sets_have_them(judge: CodeJudge) -> None:
    assert verdict(judge, {"inputs": [["1 2", "x"]], "outputs": [["3"]]}, ADD)[0] == "right"
    tests = read_tests({"inputs": [[{"1": "a"}]], "outputs": [["a"]], "fn_name": "f"})
    assert tests.cases[0].given == [{1: "a"}]
    assert (
        verdict(judge, {"inputs": [[{"1": "a"}]], "outputs": [["a"]], "fn_name": "f"}, "def f(d): return d[1]")[0]
        == "right"
    )


def test_many_at_once(judge: CodeJudge) -> None:
    pairs = [(SUMS, response(ADD)), (SUMS, response("print(3)")), (LARGEST, response("largest = max"))] * 5
    assert [found.verdict for found in judge.judge_all(pairs)] == ["right", "wrong", "right"] * 5


def test_a_weaker_isolation_is_said_and_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SERVER", [*WEAKER, "namespaces,landlock"])
    with open_judge("auto", 2.0, 1) as judge:
        assert "WARNING" in judge.sandbox.describe()
        assert verdict(judge, LARGEST, "largest = max")[0] == "right"
        assert verdict(judge, SPREAD, GOOD)[0] == "right"
    with pytest.raises(client.SandboxError, match="no namespaces"):
        open_judge("strict", 2.0, 1)
    monkeypatch.setattr(client, "SERVER", [*WEAKER, "namespaces,landlock,seccomp"])
    with pytest.raises(client.SandboxError, match="nothing would close"):
        open_judge("auto", 2.0, 1)
