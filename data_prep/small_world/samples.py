"""The small world as rows: problems and Long-CoT samples, made on demand and kept in the cache."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from data_prep.artefacts import cache_folder, write_artefact
from data_prep.rows import problem_id
from data_prep.small_world import VERSION
from data_prep.small_world.problems import BANDS, Problem, Split, problems
from data_prep.small_world.traces import long_cot

# What the rows are made by is part of their name in the cache: a changed generator never finds old rows.
GENERATOR = hashlib.sha256(
    b"".join((Path(__file__).parent / name).read_bytes() for name in ("problems.py", "traces.py", "samples.py"))
).hexdigest()[:12]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
LEVELS = {band: float(i + 1) for i, band in enumerate(BANDS)}


def problem_row(problem: Problem) -> dict[str, Any]:
    """A problem row; `level` 1, 2, 3 for the bands, `band` and the knobs beside it, `truth` the steps as JSON."""
    return {
        "problem_id": problem_id(problem.text),
        "source": f"small-world-{VERSION}",
        "problem": problem.text,
        "answer": problem.answer,
        "images": [],
        "level": LEVELS.get(problem.band),
        "band": problem.band,
        "family": problem.family,
        **asdict(problem.knobs),
        "truth": json.dumps(asdict(problem)),
    }


def sample_row(problem: Problem, response: str) -> dict[str, Any]:
    """A Long-CoT sample row with the given response, known to be right."""
    return {
        **problem_row(problem),
        "messages": [{"role": "user", "content": problem.text}, {"role": "assistant", "content": response}],
        "verdict": "right",
    }


def problem_rows(split: Split, n_rows: int, seed: int = 0, **knobs: Any) -> Iterator[dict[str, Any]]:
    return (problem_row(problem) for problem in islice(problems(split, seed, **knobs), n_rows))


def sample_rows(split: Split, n_rows: int, seed: int = 0, **knobs: Any) -> Iterator[dict[str, Any]]:
    """Problems with one Long-CoT trace each; the trace depends on (seed, split, index) alone."""
    for i, problem in enumerate(islice(problems(split, seed, **knobs), n_rows)):
        yield sample_row(problem, long_cot(problem, Random(f"trace/{seed}/{split}/{i}")))


def content_hash(n_rows: int = 300) -> str:
    """SHA-256 of the first rows of each split: what a version of the small world stands for."""
    rows = [row for split in SPLITS for row in sample_rows(split, n_rows)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def small_world_folder(split: Split, n_rows: int, seed: int = 0) -> Path:
    """Artefact folder of Long-CoT samples of a split, made in the cache at the first call."""
    if split not in SPLITS:
        raise ValueError(f"small-world has no split {split!r}: {', '.join(SPLITS)}")
    path = cache_folder() / "small-world" / f"v{VERSION}-{GENERATOR}-{split}-{n_rows}-seed{seed}"
    if not path.exists():
        config = {"split": split, "n_rows": n_rows, "version": VERSION, "content": content_hash()}
        with suppress(FileExistsError):  # another process has made it meanwhile
            write_artefact(
                path,
                "sample",
                sample_rows(split, n_rows, seed),
                stage="small_world",
                config=config,
                seed=seed,
                inputs={},
            )
    return path
