"""Generated geometry problems as rows with their figures: problems and samples, made on demand, kept in the cache."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Literal

from PIL import Image

from data_prep.artefacts import cache_folder, write_artefact
from data_prep.images import encoded, pixel_hash
from data_prep.rows import problem_id
from data_prep.sources import DatasetConfig
from multimodal.figures import LARGE, TINY, Style
from multimodal.problems import BANDS, GeometryProblem, Split, problems
from multimodal.traces import long_cot, short_answer

SMALL_GEOMETRY = "small-geometry"
VERSION = "1"  # names the generator; changes with it once it is frozen
STYLES: dict[str, Style] = {"tiny": TINY, "large": LARGE}
LEVELS = {band: float(i + 1) for i, band in enumerate(BANDS)}
Thought = Literal["long", "short"]
# What the rows are made by is part of their name in the cache: a changed generator never finds old rows.
GENERATOR = hashlib.sha256(
    b"".join(
        (Path(__file__).parent / name).read_bytes() for name in ("figures.py", "problems.py", "traces.py", "samples.py")
    )
).hexdigest()[:12]


def problem_row(problem: GeometryProblem, image: Image.Image) -> dict[str, Any]:
    """A problem row with its figure as PNG; `level` 1, 2, 3 for the bands, `description` the figure in words, `truth`
    the steps as JSON.
    """
    return {
        "problem_id": problem_id(problem.question, [pixel_hash(image, "")]),
        "source": f"small-geometry-{VERSION}",
        "problem": problem.question,
        "answer": problem.answer,
        "images": [encoded(image)],
        "level": LEVELS[problem.band],
        "band": problem.band,
        "family": problem.family,
        "depth": problem.depth,
        "description": problem.description,
        "truth": json.dumps([asdict(step) for step in problem.steps]),
    }


def rows(
    split: Split, n_rows: int, seed: int = 0, style: Style = TINY, thought: Thought | None = "long", **more: Any
) -> Iterator[dict[str, Any]]:
    """Problem rows, with a response (`messages`) if a `thought` is asked for: a Long-CoT trace or a short answer; the
    trace depends on (seed, split, place) alone. `more`: as for `problems`.
    """
    for i, (problem, image) in enumerate(islice(problems(split, seed, style, **more), n_rows)):
        row = problem_row(problem, image)
        if thought is not None:
            long = thought == "long"
            text = long_cot(problem, Random(f"trace/{seed}/{split}/{i}")) if long else short_answer(problem)
            messages = [{"role": "user", "content": problem.question}, {"role": "assistant", "content": text}]
            row |= {"messages": messages, "verdict": "right"}
        yield row


def content_hash(n_rows: int = 200) -> str:
    """SHA-256 of what the first rows of each split say: what a version stands for. Pixels are left out, since the
    library that draws letters may change them.
    """
    found = [
        {key: value for key, value in row.items() if key not in ("images", "problem_id")}
        for split in ("train", "dev", "test")
        for row in rows(split, n_rows)
    ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def generated(dataset: DatasetConfig) -> DatasetConfig:
    """The data set, with the folder of generated samples in the place of the name `small-geometry`."""
    if dataset.path != SMALL_GEOMETRY:
        return dataset
    return replace(dataset, path=str(geometry_folder(dataset.split, dataset.n_rows or 2000)))  # type: ignore[arg-type]


def geometry_folder(
    split: Split, n_rows: int, seed: int = 0, style: str = "tiny", thought: Thought = "long"
) -> Path:  # fmt: skip
    """Artefact folder of samples of a split, made in the cache at the first call. Raises ValueError."""
    if style not in STYLES:
        raise ValueError(f"small-geometry has no style {style!r}: {', '.join(STYLES)}")
    name = f"v{VERSION}-{GENERATOR}-{split}-{n_rows}-seed{seed}-{style}-{thought}"
    path = cache_folder() / "small-geometry" / name
    if not path.exists():
        with suppress(FileExistsError):  # another process has made it meanwhile
            write_artefact(
                path, "sample", rows(split, n_rows, seed, STYLES[style], thought), stage="small_geometry",
                config={"split": split, "n_rows": n_rows, "style": style, "thought": thought, "version": VERSION},
                seed=seed, inputs={},
            )  # fmt: skip
    return path
