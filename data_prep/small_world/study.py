"""Samples and test problems for studies of difficulty: bands that differ in difficulty and not in depth.

The bands of the small world differ in depth too, so a model that is trained on easy ones has never seen a long chain.
Here every band has the same depths, in training and in the test, and the frozen bands' other knobs: distractors, size
of the operands, and rarity. Every training problem comes with two traces: `natural`, and `padded` by repeated checks of
earlier steps. Test problems are in wordings that no training problem uses; `far` ones are hard and deeper than any.

    python -m data_prep.small_world.study --n_problems 3600 --n_test 100 --output_dir outputs/study
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from data_prep.artefacts import write_artefact
from data_prep.small_world import VERSION
from data_prep.small_world.problems import BANDS, Problem, draw_knobs, draw_problem
from data_prep.small_world.samples import content_hash, problem_row, sample_row
from data_prep.small_world.traces import long_cot

DEPTHS = (2, 3, 4, 5)  # of every band
FAR_DEPTHS = (6, 7, 8)  # beyond all training problems
PADDED = 12  # paragraphs of a padded trace


def problem(split: str, band: str, number: int, seed: int) -> Problem:
    """Problem `number` of a band, `far` among them; depths in turn."""
    rng = Random(f"study/{seed}/{split}/{band}/{number}")
    depths = FAR_DEPTHS if band == "far" else DEPTHS
    knobs = replace(draw_knobs("hard" if band == "far" else band, rng), depth=depths[number % len(depths)])
    return draw_problem(knobs, "test" if split == "test" else "train", rng, band, split)


def samples(n_problems: int, seed: int) -> Iterator[dict[str, Any]]:
    """Sample rows of `n_problems` problems of each band, two traces each; none of a problem that came before."""
    seen = set()
    for number in range(n_problems):
        for band in BANDS:
            given = problem("train", band, number, seed)
            for trace, n_paragraphs in (("natural", None), ("padded", PADDED)):
                rng = Random(f"study-trace/{seed}/{band}/{number}/{trace}")
                row = sample_row(given, long_cot(given, rng, n_paragraphs=n_paragraphs)) | {"trace": trace}
                if (row["problem_id"], trace) not in seen:
                    seen.add((row["problem_id"], trace))
                    yield row


def heldout_problems(n_test: int, seed: int, split: str) -> Iterator[dict[str, Any]]:
    """Problem rows: `n_test` of each band and of `far`, each problem once."""
    seen = set()
    for band in (*BANDS, "far"):
        number = n_found = 0
        while n_found < n_test:
            row = problem_row(problem(split, band, number, seed))
            number += 1
            if row["problem_id"] not in seen:
                seen.add(row["problem_id"])
                n_found += 1
                yield row


def write_study(output: Path, n_problems: int, n_test: int, seed: int) -> None:
    """Writes `samples`, `test` and `dev` (the training wordings) below `output`; what is there already stays."""
    for name, kind, rows in (
        ("samples", "sample", samples(n_problems, seed)),
        ("test", "problem", heldout_problems(n_test, seed, "test")),
        ("dev", "problem", heldout_problems(n_test, seed, "dev")),
    ):
        if (output / name).exists():
            print(f"{output / name} is there already")
            continue
        config = {"n_problems": n_problems, "n_test": n_test, "version": VERSION, "content": content_hash()}
        manifest = write_artefact(
            output / name, kind, rows, stage="small_world_study", config=config, seed=seed, inputs={}
        )
        print(f"{output / name}: {manifest['rows_out']:,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/study"), help="default: %(default)s")
    parser.add_argument("--n_problems", type=int, default=3600, help="training problems of each band (%(default)s)")
    parser.add_argument("--n_test", type=int, default=100, help="test problems of each band and of far (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of problems and traces (%(default)s)")
    args = parser.parse_args()
    write_study(args.output_dir, args.n_problems, args.n_test, args.seed)


if __name__ == "__main__":
    main()
