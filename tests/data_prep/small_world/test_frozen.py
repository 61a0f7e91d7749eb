"""The small world is frozen: studies that name its version mean these very problems, traces and checkpoints.

A change that is meant gets a new `VERSION` in data_prep/small_world/__init__.py, new checkpoints and new hashes here.
"""

import hashlib
import json
from itertools import islice

import pytest

from data_prep.small_world import CHECKPOINTS, VERSION
from data_prep.small_world.base_corpus import documents
from data_prep.small_world.problems import problems
from data_prep.small_world.samples import content_hash
from data_prep.small_world.traces import code_steps

FROZEN = {
    "version": "1",
    "problems and traces": "fcaff78b7cf9f87ec9e52b70d520e19bb20dc4a4454e5c487232c037597eeb02",
    "code steps": "88d27ba2faad832914351ce00f39fbfa8dbad4205923138c22cc59e390c97dbd",
    "base corpus": "4a8c9f0aff3be7e9dd06bd5d24f1553a2f205a65f00785ad756937c29e35250f",
    "small": "32793903686e3a0b6a51025c53c9332a9560aa5bc9bfe064034f81792b30d2bd",
    "large": "eb1a3799496868d8e248f56416edf85ea48786aec58c949872db2bafaadea146",
}


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def test_the_version():
    assert FROZEN["version"] == VERSION


def test_problems_and_traces():
    assert content_hash() == FROZEN["problems and traces"]


def test_code_steps():
    chosen = [p for split in ("train", "test") for p in islice(problems(split), 300)]
    assert digest([code_steps(p) for p in chosen]) == FROZEN["code steps"]


def test_base_corpus():
    assert digest(list(islice(documents(0, n_growing=300), 600))) == FROZEN["base corpus"]


@pytest.mark.parametrize("size", ["small", "large"])
def test_checkpoints(size):
    weights = (CHECKPOINTS / size / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == FROZEN[size]
