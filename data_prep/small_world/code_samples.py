"""Problems of the small world with code-augmented steps, for policies that a tree search can start from.

python -m data_prep.small_world.code_samples --n_rows 2000 --output_dir outputs/code_samples
"""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.artefacts import write_artefact
from data_prep.small_world import VERSION
from data_prep.small_world.problems import problems
from data_prep.small_world.samples import content_hash, sample_row
from data_prep.small_world.traces import code_steps


def code_sample_rows(n_rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """Training problems of all bands in turn, each with its program, output and answer as the response."""
    for problem in islice(problems("train", seed), n_rows):
        yield sample_row(problem, "".join(code_steps(problem)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/code_samples"), help="default: %(default)s")
    parser.add_argument("--n_rows", type=int, default=2000, help="problems (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the problems (%(default)s)")
    args = parser.parse_args()
    config = {"n_rows": args.n_rows, "version": VERSION, "content": content_hash()}
    manifest = write_artefact(
        args.output_dir, "sample", code_sample_rows(args.n_rows, args.seed), stage="small_world_code", config=config,
        seed=args.seed, inputs={},
    )  # fmt: skip
    print(f"{args.output_dir}: {manifest['rows_out']:,} rows")


if __name__ == "__main__":
    main()
