"""`Sandbox`: programs in, executions out, from any thread."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal

from data_prep.sandbox.server import receive, send

Status = Literal["ok", "error", "timed out", "memory", "output", "died"]
# Programs that name one of these are forked from a server that has imported them.
IMPORTED = re.compile(r"\b(?:(numpy|scipy)|sympy|mpmath)\b")
START = 120.0  # seconds that a server may take for its imports
SERVER = [sys.executable, "-s", "-m", "data_prep.sandbox.server"]


def kind_of(code: str) -> str:
    """Which server a program is forked from. A wrong guess costs an import and changes nothing else."""
    found = [bool(match[1]) for match in IMPORTED.finditer(code)]
    return "scientific" if any(found) else "sympy" if found else "plain"


@dataclass(frozen=True)
class Program:
    """Python source, and what it reads from its standard input. `timeout`: seconds, by default the sandbox's."""

    code: str
    stdin: str = ""
    timeout: float | None = None


@dataclass(frozen=True)
class Execution:
    """How a program ended.

    `status`: `ok`; `error` (an exception); at a limit `timed out`, `memory`, `output`; `died` (it ended its process
    otherwise). `output`: what it printed, or the value of its last line if it printed nothing. `error`: the exception
    as in the last line of a traceback. `seconds` of wall time, `cpu_seconds` in its process.
    """

    status: Status
    output: str
    error: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class SandboxError(RuntimeError, OSError):
    """Programs cannot be run here, or not as isolated as was asked for; the message says what is missing."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one program: seconds; MB of memory beyond the server's, of its folder and of its output; threads."""

    timeout: float = 5.0
    memory_mb: int = 512
    folder_mb: int = 16
    output_kb: int = 64
    threads: int = 32


class Server:
    """One fork server process, started when it is first asked."""

    def __init__(self, limits: Limits, kind: str):
        self.limits, self.kind = limits, kind
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: socket.socket
        self.isolation: dict[str, Any] = {}

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        settings = {
            "parent": os.getpid(), "kind": self.kind, "memory": self.limits.memory_mb << 20,
            "folder_size": self.limits.folder_mb << 20, "output": self.limits.output_kb << 10,
            "threads": self.limits.threads,
        }  # fmt: skip
        # Nothing of our environment is there to be read; hashes and sums are the same in every process.
        env = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        env["MALLOC_ARENA_MAX"] = "1"  # each further one takes 64 MB of a program's addresses, one for a thread
        env |= {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
        self.process = subprocess.Popen(
            [*SERVER, str(theirs.fileno()), json.dumps(settings)],
            pass_fds=[theirs.fileno()], env=env, cwd=Path(__file__).parents[2], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self.connection = ours
        ours.settimeout(START)
        try:
            hello = receive(ours)
        except TimeoutError:
            hello = None
        if hello is None:
            self.stop()
            raise SandboxError(
                "the sandbox does not start: see what `python -c 'import data_prep.sandbox.server as s; "
                's.warm_up("plain"); print(s.Isolation({}).report())\'` says'
            )
        self.isolation = hello

    def run(self, program: Program) -> Execution:
        """Runs a program; a server that was killed meanwhile is replaced, and the program tried once more."""
        timeout = program.timeout or self.limits.timeout
        request = {"code": program.code, "stdin": program.stdin, "timeout": timeout}
        for _ in range(2):
            if self.process is None:
                self.start()
            try:
                self.connection.settimeout(timeout + START)
                send(self.connection, request)
                answer = receive(self.connection)
            except OSError:  # a broken pipe, no answer in time
                answer = None
            if answer is not None and answer["status"] != "unconfined":
                return Execution(**answer)
            self.stop()
        if answer is not None:
            raise SandboxError(f"a program could not be isolated, and was not run: {answer['error']}")
        return Execution("died", "", "the sandbox's server was ended, twice")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.connection.close()
            self.process = None


class Sandbox:
    """Runs programs side by side, each in a fresh process that is forked from a warm server; a context manager.

    `workers`: programs at once, by default one per core. Programs that name sympy, numpy, scipy or mpmath are forked
    from a server that has imported them (fork takes 0.4 ms without and 1.6 ms with them); nothing of one program is
    seen by another. SandboxError where nothing closes network and processes, and with `strict` where files, network
    and processes are not all closed off. `counts`: executions by status.

    Covered on Linux: CPU and wall time, memory, size of output, files and folder, number of threads (rlimits); no other
    process, program, network or signal (seccomp, a network and a process namespace); no file but Python and the system
    libraries, read-only, and an empty folder that is gone afterwards (a mount namespace, or Landlock); no environment.
    Not covered: attacks on the kernel itself, side channels, and what is told by the time that a program takes. With
    Landlock instead of namespaces a program sees whether a file is there, its folder is bounded by the size of a file
    only, and threads by memory only, unless root runs this with a Python that is open to all. Without Landlock too, all
    files and /proc can be read with the rights of this process's user, not changed. Elsewhere than on Linux it does not
    start.
    """

    def __init__(self, workers: int | None = None, limits: Limits = Limits(), strict: bool = False):
        if sys.platform != "linux":
            raise SandboxError("the sandbox needs Linux: run it in a container or a virtual machine")
        self.workers = workers or len(os.sched_getaffinity(0))
        for name, value in asdict(limits).items():
            if value <= 0:
                raise ValueError(f"sandbox: {name} {value}: above 0")
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self.busy_seconds = 0.0
        self._closed = False
        self.isolation: dict[str, Any] = {}
        self._queue: SimpleQueue[tuple[Program, Future[Execution]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        first = Server(limits, "plain")
        first.start()
        self.isolation = first.isolation
        if not self.is_closed and (strict or not (self.isolation["seccomp"] or self.isolation["namespaces"])):
            first.stop()
            missing = ", ".join(self.isolation["problems"])
            raise SandboxError(
                f"programs of a model are not run here ({missing}): "
                + ("--sandbox auto takes a weaker isolation" if strict else "nothing would close network and processes")
            )
        self._threads = [
            threading.Thread(target=self._work, args=(first if i == 0 else None,), name="sandbox", daemon=True)
            for i in range(self.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether files, network and processes are all closed off."""
        held = self.isolation
        return bool(held["seccomp"] and (held["namespaces"] or held["landlock"]))

    def describe(self) -> str:
        """One line: which isolation holds, which does not, and a warning where it is not all there."""
        held = [name for name in ("namespaces", "seccomp", "landlock") if self.isolation[name]]
        weaker = [] if self.is_closed else ["WARNING: weaker than asked for by --sandbox strict"]
        return "; ".join([", ".join([*held, "resource limits"]), *self.isolation["problems"], *weaker])

    def submit(self, program: Program) -> "Future[Execution]":
        if self._closed:
            raise RuntimeError("this Sandbox is closed: use it inside its `with` block")
        future: Future[Execution] = Future()
        self._queue.put((program, future))
        return future

    def submit_all(self, programs: Sequence[Program]) -> "Future[list[Execution]]":
        """One future for all of them, in their order."""
        together: Future[list[Execution]] = Future()
        futures = [self.submit(program) for program in programs]
        left = len(futures)
        lock = threading.Lock()

        def ended(_: "Future[Execution]") -> None:
            nonlocal left
            with lock:
                left -= 1
                if left:
                    return
            try:
                together.set_result([future.result() for future in futures])
            except Exception as error:
                together.set_exception(error)

        for future in futures:
            future.add_done_callback(ended)
        return together

    def run_all(self, programs: Iterable[Program]) -> list[Execution]:
        """Executions in the programs' order."""
        return [future.result() for future in [self.submit(program) for program in programs]]

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        if exception[0] is not None:  # what is waiting is not wanted any more
            with suppress(Empty):
                while task := self._queue.get_nowait():
                    task[1].cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, first: Server | None) -> None:
        servers = {kind: Server(self.limits, kind) for kind in ("plain", "sympy", "scientific")}
        servers["plain"] = first or servers["plain"]
        try:
            while (task := self._queue.get()) is not None:
                program, future = task
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    execution = servers[kind_of(program.code)].run(program)
                except Exception as error:
                    future.set_exception(error)
                    continue
                with self._lock:
                    self.counts[execution.status] += 1
                    self.busy_seconds += execution.seconds
                future.set_result(execution)
        finally:
            for server in servers.values():
                server.stop()
