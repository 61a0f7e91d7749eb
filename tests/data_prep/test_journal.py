"""`data_prep.journal`: what was put is found again, also after the process was killed in the middle of a line."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data_prep.engines import Completion
from data_prep.journal import Journal, completion_key

ODD = Completion('two\nlines,   a "quote", \ud800 and 😀', 7, "length")


def test_put_and_get(tmp_path):
    path = tmp_path / "new" / "folder" / "journal.jsonl"
    with Journal(path) as journal:
        assert journal.get("a") is None
        journal.put("a", ODD)
        journal.put("b", Completion("", 1, "stop"))
        assert journal.get("a") == ODD
        assert len(journal) == 2
    assert path.read_text().count("\n") == 2
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("b"), journal.cut) == (ODD, Completion("", 1, "stop"), 0)


def test_the_first_of_two_stays(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("a", ODD)
        journal.put("a", Completion("other", 1, "stop"))
        assert journal.get("a") == ODD
    assert len((tmp_path / "j").read_text().splitlines()) == 1


def test_a_line_is_written_when_put_returns(tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.put("a", ODD)
        # Read by another process: the lock would end if this one opened the file again and closed it.
        text = subprocess.run(["cat", str(tmp_path / "j")], capture_output=True, text=True, check=True).stdout
    assert json.loads(text)["n_tokens"] == 7


@pytest.mark.parametrize("lost", [1, 2, 20, 10**6])
def test_a_half_written_last_line_is_cut_off(tmp_path, lost):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.put("a", ODD)
        whole = path.stat().st_size
        journal.put("b", ODD)
    content = path.read_bytes()
    path.write_bytes(content[: max(whole + 1, len(content) - lost)])
    with Journal(path) as journal:
        assert (journal.cut, journal.get("a"), journal.get("b"), path.stat().st_size) == (1, ODD, None, whole)
        journal.put("b", ODD)
    assert path.read_bytes() == content
    with Journal(path) as journal:
        assert (journal.cut, journal.get("b")) == (0, ODD)


@pytest.mark.parametrize(
    "line", ["{", "null", "[]", "\0\0\0", '{"key": "x"}', '{"key": "x", "text": 5, "n_tokens": 1, "finish_reason": ""}']
)
def test_a_broken_line_elsewhere_is_an_error(tmp_path, line):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.put("a", ODD)
        journal.put("b", ODD)
    first, last = path.read_text().splitlines()
    path.write_text(f"{first}\n{line}\n{last}\n")
    with pytest.raises(ValueError, match=r"j, line 2: not a finished completion .*remove this line"):
        Journal(path)
    path.write_text(f"{first}\n{last}\n")
    Journal(path).close()


def test_many_threads(tmp_path):
    with Journal(tmp_path / "j") as journal:

        def work(name: int) -> None:
            for i in range(100):
                journal.put(f"{name} {i}", Completion("x" * (name * 100 + i), i, "stop"))
                assert journal.get(f"{name} {i // 2}") is not None

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(journal) == 800
    with Journal(tmp_path / "j") as journal:
        found = [journal.get(f"{name} {i}") for name in range(8) for i in range(100)]
        assert found == [Completion("x" * (name * 100 + i), i, "stop") for name in range(8) for i in range(100)]


def test_a_full_disk_leaves_whole_lines(tmp_path):
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.put("a", ODD)

        class Full:
            """Takes three bytes and then none."""

            def __init__(self, file):
                self.file, self.left = file, 1

            def write(self, content: bytes) -> int:
                if not self.left:
                    raise OSError(28, "No space left on device")
                self.left = 0
                return self.file.write(content[:3])

            def __getattr__(self, name: str):
                return getattr(self.file, name)

        file = journal._file
        journal._file = Full(file)  # type: ignore[assignment]
        with pytest.raises(OSError, match="No space"):
            journal.put("b", ODD)
        journal._file = file
        assert journal.get("b") is None
        journal.put("c", ODD)
    with Journal(path) as journal:
        assert (len(journal), journal.cut, journal.get("c")) == (2, 0, ODD)


HOLDER = """
import os, sys, time
from data_prep.engines import Completion
from data_prep.journal import Journal
journal = Journal(sys.argv[1])
journal.put("a", Completion("x", 1, "stop"))
if os.fork() == 0:  # a worker that outlives its parent does not hold the journal
    time.sleep(30)
    os._exit(0)
print("open", flush=True)
time.sleep(60)
"""


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "j"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        start_new_session=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="another process writes this journal"):
            Journal(path)
        holder.kill()
        holder.wait()
        holder.stdout.close()
        with Journal(path) as journal:
            assert journal.get("a") == Completion("x", 1, "stop")
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_keys_depend_on_everything():
    parts = {"model": "m", "prompt": "p", "seed": 0, "sample": 0, "stop": ["a", "b"]}
    keys = {completion_key(**parts)}
    for changed in ({"model": "n"}, {"prompt": ["p"]}, {"seed": 1}, {"sample": 1}, {"stop": ["ab"]}, {"more": None}):
        keys.add(completion_key(**parts | changed))
    assert len(keys) == 7
    assert completion_key(**dict(reversed(parts.items()))) in keys
