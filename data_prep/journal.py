"""A file of finished completions, so that a run that was killed goes on with the requests that are missing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the engines import this module
    from data_prep.engines import Completion

try:
    import fcntl
except ImportError:  # no POSIX: nothing keeps a second process from the file
    fcntl = None  # type: ignore[assignment]


def completion_key(**determined_by: Any) -> str:
    """A hash of everything that determines a completion: model, prompt, settings, seed, index of the sample.

    The values are anything that JSON holds. A model's name does not tell its weights: one journal, one output folder.
    """
    text = json.dumps(determined_by, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Journal:
    """Finished completions by key, appended to a JSONL file, one line each; any thread may use it.

    A line is with the operating system before `put` returns: it survives the death of the process, not that of the
    machine. Texts stay in the file, an index of positions is in memory. `cut`: the number (0 or 1) of half-written last
    lines that opening removed. Raises ValueError on opening, naming file and line, if another line is broken, and if
    another process has the file open.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.cut = 0
        self._index: dict[str, tuple[int, int]] = {}  # key -> position and length of its line, bytes
        self._lock = threading.Lock()
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        try:
            self._claim()
            self._end = self._read()
        except BaseException:
            self._file.close()
            raise

    def _claim(self) -> None:
        if fcntl is None:
            return
        try:
            # Not flock: forked children would inherit that lock, and keep it when this process is killed.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise ValueError(f"{self.path}: another process writes this journal: wait until it is done") from None
            # A file system without locks.

    def _read(self) -> int:
        """Fills the index, removes a half-written last line, and returns the length of the file."""
        self._file.seek(0)
        end = 0
        with open(self._file.fileno(), "rb", closefd=False) as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    self._file.truncate(end)
                    self.cut = 1
                    break
                try:
                    self._index.setdefault(_parse(line)[0], (end, len(line)))
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(
                        f"{self.path}, line {number}: not a finished completion ({error!r}): remove this line"
                    ) from None
                end += len(line)
        return end

    def __len__(self) -> int:
        return len(self._index)

    def __bool__(self) -> bool:
        return True  # `if journal` is meant to ask whether there is one, also while it is empty

    def get(self, key: str) -> Completion | None:
        """The completion that was put under this key."""
        with self._lock:
            place = self._index.get(key)
            line = os.pread(self._file.fileno(), place[1], place[0]) if place else None
        return _parse(line)[1] if line else None

    def put(self, key: str, completion: Completion) -> None:
        """Writes a completion. What is there already under this key stays. Raises OSError if the disk is full."""
        line = (json.dumps({"key": key, **asdict(completion)}) + "\n").encode()
        with self._lock:
            if key in self._index:
                return
            try:
                rest = line
                while rest:
                    rest = rest[self._file.write(rest) :]
            except BaseException:
                self._file.truncate(self._end)  # the next line must not continue a half-written one
                raise
            self._index[key] = (self._end, len(line))
            self._end += len(line)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _parse(line: bytes) -> tuple[str, Completion]:
    """Key and completion of a line. Raises ValueError, KeyError or TypeError."""
    from data_prep.engines import Completion

    record = json.loads(line)
    completion = Completion(record["text"], record["n_tokens"], record["finish_reason"])
    if not (isinstance(record["key"], str) and isinstance(completion.text, str) and type(completion.n_tokens) is int):
        raise ValueError("a field has the wrong type")
    return record["key"], completion
