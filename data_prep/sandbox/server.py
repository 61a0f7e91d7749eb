"""The fork server: imports once, isolates itself once, then runs each program in a process forked from it.

Started by `data_prep.sandbox.client` as `python -m data_prep.sandbox.server SOCKET SETTINGS`. Messages on the socket
are JSON behind their length (4 bytes, big-endian).
"""

import ast
import atexit
import gc
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from data_prep.sandbox import isolation

# What a program may read of the Python that runs it.
PYTHON = sorted({sys.prefix, sys.base_prefix, sys.exec_prefix})
FOLDER = isolation.folder_beside(PYTHON)
REPORT = 3  # the descriptor on which a program's process tells how it ended
CONFINED = b"+"  # begins its report, written before the program runs: what follows may be the program's own words
LONGEST_ERROR = 2000  # characters
LONGEST_REPORT = 1 << 16  # bytes beyond the value of the last line


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    content = json.dumps(message).encode()
    connection.sendall(struct.pack(">I", len(content)) + content)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message, None at the end."""
    if (header := receive_exactly(connection, 4)) is None:
        return None
    content = receive_exactly(connection, struct.unpack(">I", header)[0])
    return None if content is None else json.loads(content)


def receive_exactly(connection: socket.socket, n_bytes: int) -> bytes | None:
    parts = []
    while n_bytes:
        if not (part := connection.recv(min(n_bytes, 1 << 20))):
            return None
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


# -------------------------------------------------------------------------------------------------------------- warm up


def warm_up(kind: str) -> None:
    """Imports what programs of a kind (`plain`, `sympy`, `scientific`) use, and calls what is slow the first time.

    No more than that: every megabyte makes each fork slower.
    """
    import bisect  # noqa: F401
    import collections  # noqa: F401
    import decimal
    import fractions
    import functools  # noqa: F401
    import heapq  # noqa: F401
    import itertools  # noqa: F401
    import re  # noqa: F401
    import typing  # noqa: F401

    import data_prep.sandbox.inside  # noqa: F401

    str(fractions.Fraction(1, 3) + 1), str(decimal.Decimal("0.1"))
    if kind == "plain":
        return
    import sympy
    from sympy.parsing.sympy_parser import parse_expr  # noqa: F401

    x, y, n = sympy.symbols("x y n")
    sympy.solve(x**2 - 3 * x + 1, x), sympy.solve([x + y - 3, x - y - 1], [x, y])
    sympy.simplify(sympy.sqrt(x**2 + 2 * x + 1)), sympy.factor(x**2 - 1), sympy.Rational(1, 3).evalf()
    sympy.diff(sympy.sin(x) * x, x), sympy.integrate(x**2, (x, 0, 1)), sympy.summation(n, (n, 1, 9))
    sympy.factorint(360), sympy.latex(x / 2), sympy.nsimplify(0.5)
    if kind == "sympy":
        return
    import numpy

    numpy.linalg.solve(numpy.eye(2), numpy.ones(2))
    with suppress(ImportError):
        import scipy.optimize
        import scipy.special  # noqa: F401
    numpy.random.seed(0)


# ------------------------------------------------------------------------------------------------------------ isolation


class Isolation:
    """What holds of this server's programs."""

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self.problems: list[str] = []
        self.user = isolation.unused_user()
        with open("/proc/self/statm") as file:
            self.mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")  # bytes, of this process
        try:
            isolation.enter_namespaces(PYTHON)
            self.namespaces = True
        except OSError as error:
            self.namespaces = False
            self.problems.append(f"no namespaces ({error})")
        landlock = 0 if self.namespaces else isolation.landlock_version()
        self.landlock = landlock > 0
        if not self.namespaces and not self.landlock:
            self.problems.append("no Landlock")
        if not self.namespaces and not all(map(isolation.is_open_to_all, PYTHON)):
            self.user = 0  # without capabilities: another user could import nothing
        # Whether a program's threads are the only ones of its user.
        self.counts_threads = self.namespaces if os.geteuid() else self.user not in (0, isolation.NOBODY)
        writing = self.namespaces or landlock >= isolation.LANDLOCK_WITH_TRUNCATE
        try:
            self.filter: bytes | None = isolation.seccomp_filter(writing, marking=self.namespaces)
        except OSError as error:
            self.filter = None
            self.problems.append(str(error))

        self.nothing = os.open(os.devnull, os.O_RDONLY)
        self.nowhere = os.open(os.devnull, os.O_WRONLY)
        # Made here, so that no program need make them.
        self.streams = [
            open(0, encoding="utf-8", errors="replace", closefd=False),  # noqa: SIM115
            *(open(i, "w", encoding="utf-8", errors="replace", closefd=False) for i in (1, 2)),  # noqa: SIM115
        ]

    def take_streams(self) -> None:
        """The standard streams of this process are from now on those for its children."""
        for name, stream in zip(("stdin", "stdout", "stderr"), self.streams):
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        sys.argv = [""]

    def make_folder(self) -> str | None:
        """An empty folder for a program, where Landlock has to keep it there."""
        if not self.landlock:
            return None
        import tempfile

        folder = tempfile.mkdtemp(prefix="redstar-")
        if os.geteuid() == 0:
            with suppress(PermissionError):  # then the program stays root, too
                os.chown(folder, self.user, self.user)
        return folder

    def report(self) -> dict[str, Any]:
        return {
            "namespaces": self.namespaces, "seccomp": self.filter is not None, "landlock": self.landlock,
            "problems": self.problems,
        }  # fmt: skip

    def confine(self, server: int, timeout: float, folder: str | None) -> None:
        """Takes everything from this process that a program must not have. Raises OSError if that fails."""
        settings = self.settings
        if self.namespaces:
            isolation.private_folder(FOLDER, settings["folder_size"])
            os.chdir(FOLDER)
        elif folder is not None:
            os.chdir(folder)
        threads = settings["threads"] if self.counts_threads else None
        isolation.limit(self.mapped + settings["memory"], settings["folder_size"], math.ceil(timeout) + 1, threads)
        isolation.give_up_privileges(self.user)
        isolation.die_with_parent(server)  # forgotten where a process changes its user
        if folder is not None:
            devices = [f"/dev/{name}" for name in isolation.DEVICES]
            isolation.restrict_files([*isolation.SYSTEM, *PYTHON, *devices], folder)
        if self.filter is not None:
            isolation.install_seccomp(self.filter)


# ---------------------------------------------------------------------------------------------------------- one program


def execute(code: str) -> dict[str, Any]:
    """Runs the code as `__main__`: how it ended, and the value of its last line if that is an expression."""
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    if "random" in code or "random" in sys.modules:  # a fork takes new random numbers: the same ones for every program
        import random

        random.seed(0)

    def run_main() -> str | None:
        tree = ast.parse(code, "<program>")
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, "<program>", "exec"), main.__dict__)
        if not isinstance(last, ast.Expr):
            return None
        result = eval(compile(ast.Expression(last.value), "<program>", "eval"), main.__dict__)
        return None if result is None else str(result)

    report = attempt(run_main)
    ended = attempt(end_as_python_does)
    return ended if report["status"] == "ok" and ended["status"] != "ok" else report


def end_as_python_does() -> None:
    """Waits for the program's threads and calls what it has left for its end, such as the printing of a buffer."""
    if threading := sys.modules.get("threading"):
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    atexit._run_exitfuncs()


def attempt(function: Callable[[], str | None]) -> dict[str, Any]:
    """The report on a call of a program's code."""
    try:
        return {"status": "ok", "value": function()}
    except SystemExit as end:
        return {"status": "ok"} if end.code in (None, 0) else {"status": "error", "error": f"SystemExit: {end.code}"}
    except MemoryError:
        return {"status": "memory", "error": "MemoryError"}
    except BaseException as error:
        return {"status": "error", "error": describe(error)}


def describe(error: BaseException) -> str:
    """The last line of a traceback, with the number of the program's line."""
    name = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name}: {error.msg} (line {error.lineno})"
    lines = []
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<program>":
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    try:
        message = str(error)
    except BaseException:  # a class of the program's own
        message = ""
    return f"{name}: {message}" + (f" (line {lines[-1]})" if lines else "")


def child(held: Isolation, server: int, request: dict[str, Any], fds: tuple[int, int, int], folder: str | None) -> None:
    """What the process of a program does: never returns."""
    code = 1
    try:
        for wanted, descriptor in enumerate((*fds[:2], held.nowhere, fds[2])):  # all of them above 3
            os.dup2(descriptor, wanted)
        isolation.libc.syscall(isolation.CLOSE_RANGE, 4, 0xFFFFFFFF, 0)
        try:
            held.confine(server, request["timeout"], folder)
        except OSError as error:
            report = {"status": "unconfined", "error": str(error)}
        else:
            os.write(REPORT, CONFINED)
            report = execute(request["code"])
            report["error"] = report.get("error", "")[:LONGEST_ERROR]
        with suppress(BaseException):
            held.streams[1].flush()
            sys.stdout.flush()
        text = json.dumps(report, ensure_ascii=False).encode("utf-8", "replace")
        if len(text) > held.settings["output"] + LONGEST_REPORT:
            text = json.dumps({"status": "output", "error": ""}).encode()
        os.write(REPORT, text)
        code = 0
    finally:
        os._exit(code)


def run(held: Isolation, request: dict[str, Any]) -> dict[str, Any]:
    """Runs one program to its end or its limit and tells what came of it."""
    begin = time.monotonic()
    out_read, out_write = os.pipe()
    report_read, report_write = os.pipe()
    standard_in = held.nothing
    if request["stdin"]:
        standard_in = os.memfd_create("stdin")
        os.write(standard_in, request["stdin"].encode("utf-8", "replace"))
        os.lseek(standard_in, 0, os.SEEK_SET)
    folder = held.make_folder()
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        child(held, server, request, (standard_in, out_write, report_write), folder)
    os.close(out_write)
    os.close(report_write)
    if standard_in != held.nothing:
        os.close(standard_in)
    try:
        return watch(held, request, pid, out_read, report_read, begin)
    finally:
        os.close(out_read)
        os.close(report_read)
        if folder is not None:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


def watch(held: Isolation, request: dict[str, Any], pid: int, out: int, report: int, begin: float) -> dict[str, Any]:
    handle = os.pidfd_open(pid)
    poll = select.poll()
    for descriptor in (handle, out, report):
        poll.register(descriptor, select.POLLIN)
    found: dict[int, bytes] = {out: b"", report: b""}
    most = {out: held.settings["output"], report: held.settings["output"] + 2 * LONGEST_REPORT}
    status = ""
    ended = False
    while not status:
        left = begin + request["timeout"] - time.monotonic()
        if left <= 0:
            status = "timed out"
            break
        for descriptor, _ in poll.poll(0 if ended else left * 1000 + 1):
            if descriptor == handle:
                ended = True
                poll.unregister(handle)
            elif part := os.read(descriptor, 1 << 16):
                found[descriptor] += part
                if len(found[descriptor]) > most[descriptor]:
                    status = "output"
            else:
                poll.unregister(descriptor)
                del most[descriptor]
        if ended and not status and not (most and poll.poll(0)):
            break
    if status:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, code, usage = os.wait4(pid, 0)
    os.close(handle)
    if held.filter is None and held.namespaces:
        os.kill(-1, signal.SIGKILL)  # what the program has started: everything in this process namespace but this
    confined = found[report].startswith(CONFINED)
    answer = read_report(found[report].removeprefix(CONFINED)) if not status else {}
    error = ""
    if not confined and not status:
        status, error = "unconfined", answer.get("error") or f"its process ended with {code}"
    elif not status and os.WIFSIGNALED(code):
        number = os.WTERMSIG(code)
        status, error = "timed out" if number == signal.SIGXCPU else "died", f"ended by signal {number}"
    elif not status and answer.get("status") in ("ok", "error", "memory", "output"):
        status, error = answer["status"], answer.get("error") or ""
    elif not status:
        status, error = "died", "the program ended its process"
    output = found[out][: held.settings["output"]].decode("utf-8", "replace")
    value = answer.get("value") if status == "ok" and not output else None
    if value and len(value) > held.settings["output"]:
        status = "output"
    return {
        "status": status,
        "output": value[: held.settings["output"]] if value else output,
        "error": error[:LONGEST_ERROR],
        "seconds": time.monotonic() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }


def read_report(content: bytes) -> dict[str, str]:
    """The texts of a report; of one that a program has made up, whatever is a text with characters in it."""
    try:
        report = json.loads(content.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(report, dict):
        return {}
    return {k: v.encode("utf-8", "replace").decode() for k, v in report.items() if isinstance(v, str)}


# ----------------------------------------------------------------------------------------------------------- the server


def serve(connection: socket.socket, held: Isolation) -> None:
    """Answers one request after the other until the socket is closed."""
    atexit._clear()  # a program calls what it has left there itself, and nothing of ours
    sys.set_int_max_str_digits(0)  # number theory prints long ones; time and output are bounded
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection in a forked process would copy its memory
    held.take_streams()
    if held.namespaces:
        os.environ |= {"HOME": FOLDER, "TMPDIR": FOLDER}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    send(connection, held.report())
    while (request := receive(connection)) is not None:
        send(connection, run(held, request))


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    isolation.die_with_parent(settings["parent"])
    os.umask(0o022)  # programs of another user have to read the folders that are made here
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    warm_up(settings["kind"])
    held = Isolation(settings)
    if held.namespaces:  # only children are in the new process namespace
        if inner := os.fork():
            connection.close()
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 0xFF)
        isolation.die_with_parent(0)  # of a parent outside the namespace it sees the number 0
    serve(connection, held)


if __name__ == "__main__":
    main()
