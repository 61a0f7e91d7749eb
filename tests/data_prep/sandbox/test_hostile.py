"""No hostile program gets out or brings the sandbox down: with all there is, and on systems that lack something."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.sandbox import client
from data_prep.sandbox.client import Limits, Program, Sandbox
from tests.data_prep.sandbox.hostile import ATTACKS, ENDS, Attack, Bait, escapes

ROOT = Path(__file__).parents[3]
WEAKER = [sys.executable, "-m", "tests.data_prep.sandbox.weaker"]
SMALL = Limits(timeout=5.0, memory_mb=256)


def timeout_of(attack: Attack) -> float:
    return 0.6 if "timed out" in attack.statuses else 5.0


@pytest.fixture(scope="module")
def bait() -> Iterator[Bait]:
    bait = Bait()
    yield bait
    bait.close()


@pytest.fixture(scope="module")
def sandbox(bait: Bait) -> Iterator[Sandbox]:
    with Sandbox(workers=1, limits=SMALL) as sandbox:
        yield sandbox


def test_attacks_have_names_of_their_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 45


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_held(attack: Attack, sandbox: Sandbox, bait: Bait) -> None:
    if not sandbox.is_closed and attack.reads:
        pytest.skip("neither namespaces nor Landlock on this system")
    assert escapes(attack, sandbox, bait, timeout_of(attack)) == []
    began = time.monotonic()
    assert sandbox.submit(Program("print(6 * 7)")).result().output == "42\n"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("lacks", ["namespaces", "namespaces,landlock"])
def test_held_where_something_is_missing(lacks: str, bait: Bait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SERVER", [*WEAKER, lacks])
    with Sandbox(workers=1, limits=SMALL) as sandbox:
        if "landlock" not in lacks and not sandbox.isolation["landlock"]:
            pytest.skip("no Landlock on this system")
        found = {
            attack.name: escaped
            for attack in ATTACKS
            if attack not in ENDS and not (attack.reads and not sandbox.is_closed)
            if (escaped := escapes(attack, sandbox, bait, timeout_of(attack)))
        }
        assert found == {}
        assert "no namespaces" in sandbox.describe()
        assert sandbox.submit(Program("import threading, statistics\nprint(statistics.mean([1, 3]))")).result().output


@pytest.mark.parametrize(
    "name",
    ["TCP", "UDP", "unix socket", "abstract unix socket", "a secret file", "a file changed", "a file renamed",
     "a file's rights", "a file's times", "the environment", "os.fork", "subprocess", "kill of a process outside",
     "raw memfd_create", "listening"],
)  # fmt: skip
def test_the_bait_catches_what_gets_out(name: str, bait: Bait, tmp_path: Path) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == name)
    done = subprocess.run(
        [sys.executable, "-c", bait.program(attack.code)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "ESCAPED" in done.stdout or bait.token in done.stdout
    if "kill" in name:
        bait.sentinel_process.wait(timeout=20)
    touched = bait.touched()
    assert bool(touched) == (name not in ("a secret file", "the environment", "os.fork", "subprocess", "listening")
                             and not name.startswith("raw"))  # fmt: skip
    if bait.sentinel_process.poll() is not None:
        bait.sentinel_process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        bait.sentinel = bait.sentinel_process.pid
    (bait.folder / "victim.old").unlink(missing_ok=True)
    assert os.listdir(bait.folder)
