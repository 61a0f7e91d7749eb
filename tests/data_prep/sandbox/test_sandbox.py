"""What programs do in the sandbox when they mean no harm, and what it does when its own processes are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from data_prep.sandbox import client, isolation
from data_prep.sandbox.client import Execution, Limits, Program, Sandbox, kind_of
from tests.data_prep.sandbox.test_hostile import ROOT, WEAKER


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as sandbox:
        yield sandbox


def run(sandbox: Sandbox, code: str, stdin: str = "", timeout: float | None = None) -> Execution:
    return sandbox.submit(Program(code, stdin, timeout)).result()


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("print(1 + 1)", "2\n"),
        ("1 + 1", "2"),
        ("x = 3\nx ** 2", "9"),
        ("print('a')\n5", "a\n"),
        ("None", ""),
        ("", ""),
        ("'text'", "text"),
        ("def f(n):\n    return n\nf(4)", "4"),
        ("if __name__ == '__main__':\n    print('main')", "main\n"),
        ("import sys\nprint('x', file=sys.stderr)\nprint(sys.argv)", "['']\n"),
        ("print('größer ✓ 🙂')", "größer ✓ 🙂\n"),
        ("print('\\ud800!')", "?!\n"),
        ("'\\ud800!'", "?!"),
        ("import os\nos.write(1, b'raw\\n')\nprint('then')", "raw\nthen\n"),
        ("import os\nos.write(1, b'\\xff')", "\ufffd"),
        ("import io, sys\nsys.stdout = b = io.StringIO()\nprint(1)\nsys.__stdout__.write(b.getvalue())\nNone", "1\n"),
        ("import atexit, sys\natexit.register(lambda: print('last'))\nprint('first')", "first\nlast\n"),
        ("import atexit, sys\natexit.register(lambda: print('last'))\nsys.exit()", "last\n"),
        ("import sys\nprint(1)\nsys.exit(0)", "1\n"),
        ("open('note', 'w').write('kept')\nprint(open('note').read())", "kept\n"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))", "A(x=1)\n"),
        ("import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))).__name__)", "A\n"),
        ("import collections, heapq, bisect, itertools, functools, math, re, string, statistics, datetime\nprint(1)",
         "1\n"),
    ],
)  # fmt: skip
def test_outputs(sandbox: Sandbox, code: str, output: str) -> None:
    execution = run(sandbox, code)
    assert (execution.status, execution.output, execution.error) == ("ok", output, "")
    assert 0 < execution.seconds < 5
    assert execution.cpu_seconds > 0


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = 1\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("def f():\n    raise ValueError('no')\n\nf()", "ValueError: no (line 2)"),
        ("x = (", "SyntaxError: '(' was never closed (line 1)"),
        ("a\0b", "SyntaxError: source code string cannot contain null bytes (line None)"),
        ("x = '\ud800'", "UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800'"),
        ("import sys\nsys.exit('bad')", "SystemExit: bad"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("input()", "EOFError: EOF when reading a line (line 1)"),
        ("class E(Exception):\n    def __str__(self): raise OSError\nraise E", "E:  (line 3)"),
        ("raise ValueError('\\ud800')", "ValueError: ? (line 1)"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 1)"),
    ],
)
def test_errors(sandbox: Sandbox, code: str, error: str) -> None:
    execution = run(sandbox, code)
    assert execution.status == "error"
    assert execution.error.startswith(error)


def test_what_was_printed_before_an_error_is_kept(sandbox: Sandbox) -> None:
    assert run(sandbox, "print('so far')\n1 / 0").output == "so far\n"
    assert run(sandbox, "print('so far', flush=True)\nwhile True: pass", timeout=0.3).output == "so far\n"


@pytest.mark.parametrize(
    "code",
    [
        "a, b = map(int, input().split())\nprint(a + b, input())",
        "import sys\nlines = sys.stdin.read().split('\\n')\nprint(sum(map(int, lines[0].split())), lines[1])",
        "import sys\na, b = sys.stdin.buffer.readlines()\nprint(sum(map(int, a.split())), b.decode().strip())",
        "import os\nlines = os.read(0, 1000).decode().split('\\n')\nprint(sum(map(int, lines[0].split())), lines[1])",
        "lines = open(0).read().split('\\n')\nprint(sum(map(int, lines[0].split())), lines[1])",
        "import sys\ninput = sys.stdin.readline\nprint(sum(map(int, input().split())), input().strip())",
        "import io, os\nr = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n"
        "print(sum(map(int, r().split())), r().decode().strip())",
    ],
)  # fmt: skip
def test_standard_input(sandbox: Sandbox, code: str) -> None:
    assert run(sandbox, code, "3 4\nñ\n").output == "7 ñ\n"


def test_large_input_and_output(sandbox: Sandbox) -> None:
    text = "7 " * 2_000_000
    assert run(sandbox, "import sys\nprint(len(sys.stdin.read().split()))", text).output == "2000000\n"
    with Sandbox(workers=1, limits=Limits(output_kb=4096)) as roomy:
        assert len(run(roomy, "print('x' * 3_000_000)").output) == 3_000_001
        assert len(run(roomy, "'x' * 3_000_000").output) == 3_000_000
    for code in ("print('x' * 100_000)", "'x' * 100_000"):
        execution = run(sandbox, code)
        assert (execution.status, len(execution.output)) == ("output", 64 << 10)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("import numpy as np\nprint(np.linalg.det(np.array([[1., 2.], [3., 4.]])).round(3))", "-2.0\n"),
        ("import sympy\nx = sympy.symbols('x')\nprint(sympy.solve(x**2 - 5*x + 6, x))", "[2, 3]\n"),
        ("from sympy import *\nx = symbols('x')\nintegrate(sin(x), x)", "-cos(x)"),
        ("from scipy.optimize import brentq\nprint(round(brentq(lambda x: x * x - 2, 0, 2), 6))", "1.414214\n"),
        ("from mpmath import mp\nmp.dps = 30\nprint(mp.pi)", "3.14159265358979323846264338328\n"),
        ("m = __import__('sym' + 'py')\nprint(m.factorint(12))", "{2: 2, 3: 1}\n"),  # not seen beforehand: imported
    ],
)
def test_libraries(sandbox: Sandbox, code: str, output: str) -> None:
    execution = run(sandbox, code, timeout=30)
    assert (execution.status, execution.output) == ("ok", output)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("print(1)", "plain"), ("import sympy", "sympy"), ("from mpmath import mp", "sympy"),
     ("import numpy as np, sympy", "scientific"), ("from scipy import x", "scientific"), ("numpydoc", "plain")],
)  # fmt: skip
def test_kind(code: str, kind: str) -> None:
    assert kind_of(code) == kind


def test_deep_recursion_in_a_thread_with_a_large_stack(sandbox: Sandbox) -> None:
    code = (
        "import sys, threading\nsys.setrecursionlimit(1 << 25)\nthreading.stack_size(1 << 27)\n"
        "def depth(n): return 0 if n == 0 else 1 + depth(n - 1)\n"
        "def main(): print(depth(int(input())))\nthreading.Thread(target=main).start()"
    )
    assert run(sandbox, code, "50000\n").output == "50000\n"


def test_threads_of_one_program_do_not_count_for_another() -> None:
    code = (
        "import threading, time\nthreads = [threading.Thread(target=time.sleep, args=(0.5,)) for _ in range(25)]\n"
        "for t in threads: t.start()\nfor t in threads: t.join()\nprint('all')"
    )
    with Sandbox(workers=4) as sandbox:
        assert [e.output for e in sandbox.run_all([Program(code)] * 4)] == ["all\n"] * 4


def test_a_program_of_100_kb(sandbox: Sandbox) -> None:
    code = "".join(f"x{i} = {i}\n" for i in range(8000)) + "print(x7999)"
    assert len(code) > 100_000
    assert run(sandbox, code).output == "7999\n"


def test_the_same_program_gives_the_same_output(sandbox: Sandbox) -> None:
    code = (
        "import random, numpy\nprint({str(i) for i in range(50)}, hash('a'), random.random(), numpy.random.rand())\n"
        "print(id(random) and sorted({'b', 'a'}), random.sample(range(99), 5))"
    )
    assert len({e.output for e in sandbox.run_all([Program(code)] * 6)}) == 1
    assert len({e.output for e in sandbox.run_all([Program("import random\nprint(random.random())")] * 6)}) == 1


def test_many_threads_may_submit(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: run(sandbox, f"print({i} * 2)").output, range(200)))
    assert found == [f"{2 * i}\n" for i in range(200)]


def test_counts(sandbox: Sandbox) -> None:
    with Sandbox(workers=1) as counting:
        counting.run_all([Program("1"), Program("1 / 0"), Program("2")])
        assert counting.counts == {"ok": 2, "error": 1}
        assert counting.busy_seconds > 0
        assert counting.describe()


@pytest.mark.parametrize("limits", [Limits(timeout=0), Limits(memory_mb=-1), Limits(threads=0)])
def test_limits_out_of_range(limits: Limits) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Sandbox(limits=limits)


def test_closed() -> None:
    with Sandbox(workers=1) as sandbox:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.submit(Program("1"))


def test_what_waits_is_not_run_after_an_error() -> None:
    sandbox = Sandbox(workers=1)
    futures = [sandbox.submit(Program("import time\ntime.sleep(0.3)")) for _ in range(20)]
    began = time.monotonic()
    sandbox.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert time.monotonic() - began < 3
    with pytest.raises(CancelledError):
        futures[-1].result()


def test_folders_can_be_read_whatever_the_users_umask() -> None:
    before = os.umask(0o077)
    try:
        with Sandbox(workers=1) as sandbox:
            assert run(sandbox, "import statistics\nprint(statistics.mean([1, 3]))").output == "2\n"
    finally:
        os.umask(before)


# ----------------------------------------------------------------------------------------------------- killed processes


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(rest[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        waiting += (children := parents.get(waiting.pop(), []))
        found += children
    return found


def gone(pids: list[int]) -> bool:
    def ended(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    for _ in range(100):
        if all(map(ended, pids)):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("which", [0, -1], ids=["the server", "the process of the program"])
def test_a_killed_process_is_replaced(which: int) -> None:
    before = set(descendants(os.getpid()))
    with Sandbox(workers=1) as sandbox:
        future = sandbox.submit(Program("import time\ntime.sleep(1)\nprint('done')"))
        time.sleep(0.4)
        ours = [pid for pid in descendants(os.getpid()) if pid not in before]
        os.kill(ours[which], signal.SIGKILL)
        assert future.result().status == ("ok" if which == 0 else "died")
        assert run(sandbox, "print(1)").output == "1\n"
    assert gone(ours)


@pytest.mark.parametrize("lacks", ["", "namespaces"])
def test_nothing_is_left_of_a_killed_client(lacks: str) -> None:
    code = (
        "import sys, time\nfrom data_prep.sandbox import client\n"
        + (f"client.SERVER = {[*WEAKER, lacks]!r}\n" if lacks else "")
        + "s = client.Sandbox(workers=2)\n"
        "for _ in range(2): s.submit(client.Program('import time\\ntime.sleep(60)', timeout=90))\n"
        "time.sleep(0.7)\nprint('running', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "running\n"
    started = descendants(process.pid)
    assert len(started) >= 4
    process.kill()
    process.communicate()
    assert gone(started)


# ------------------------------------------------------------------------------------------------ what is not there


def test_strict_refuses_where_files_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SERVER", [*WEAKER, "namespaces,landlock"])
    with pytest.raises(RuntimeError, match=r"no namespaces.*no Landlock.*auto"):
        Sandbox(workers=1, strict=True)
    with Sandbox(workers=1) as sandbox:
        assert not sandbox.is_closed
        assert sandbox.describe().startswith("seccomp, resource limits; no namespaces")


def test_refused_where_nothing_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SERVER", [*WEAKER, "namespaces,landlock,seccomp"])
    with pytest.raises(RuntimeError, match="nothing would close network"):
        Sandbox(workers=1)


def test_without_seccomp_nothing_that_a_program_starts_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SERVER", [*WEAKER, "seccomp"])
    before = set(descendants(os.getpid()))
    with Sandbox(workers=1) as sandbox:
        if not sandbox.isolation["namespaces"]:
            pytest.skip("no namespaces on this system")
        assert not sandbox.is_closed
        servers = set(descendants(os.getpid())) - before
        code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\nprint('parent')"
        assert run(sandbox, code).output == "parent\n"
        assert gone([pid for pid in descendants(os.getpid()) if pid not in before | servers])


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SERVER", [sys.executable, "-c", "raise SystemExit"])
    with pytest.raises(RuntimeError, match="does not start"):
        Sandbox(workers=1)


def test_marks_of_files_are_closed_behind_landlock() -> None:
    assert isolation.seccomp_filter(True, marking=False) != isolation.seccomp_filter(True, marking=True)
    assert isolation.seccomp_filter(False, marking=False) != isolation.seccomp_filter(True, marking=False)


def test_users_of_sandboxes_differ() -> None:
    users = {isolation.unused_user() for _ in range(20)}
    assert len(users) == 20 or users == {isolation.NOBODY}
    assert all(user == isolation.NOBODY or 0x70000000 <= user < 0x80000000 for user in users)
