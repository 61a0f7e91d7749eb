"""How hard a problem is, from 1 to 10, told from its text by a model that has learned it from annotated problems.

RedStar scored problems by a model trained on the difficulty labels of MATH and Omni-MATH and kept the hard ones.

    python -m data_prep.curation.scorer train OUT --data math=train.jsonl --data omni=omni_math.jsonl
    python -m data_prep.curation.scorer score OUT problems.jsonl scored.jsonl

The scale is Omni-MATH's, which is that of AoPS: 1 for the first problems of a contest for beginners, 4 for the middle
of the AIME, 7 and above for olympiads. MATH has five levels that were given within its contests (AMC to AIME), and says
nothing about where they lie: each level gets a fixed value (--levels). They are set by hand from the contests that
MATH comes from. Learning them from text is no better founded: a model of Omni-MATH draws MATH, which looks different,
towards its own mean, and so levels linked that way lie too close to one another.

By default a linear model of the words and pairs of words, with numbers masked, and of eight measures such as the
length. It reads the normalised text of `data_prep.curation.text`, so how a source typesets its problems does not count.
With --model_name_or_path a transformer with a regression head is trained instead, which reads the text as it stands.

Problems with the same text but for numbers (in all files) are either all trained on or all held out. The table
that `train` prints is of the held-out ones: the model beside one of the length alone, fitted to the same problems or to
those of this data set only, and beside a linear model that has learned from the other data sets.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.artefacts import MANIFEST, read_manifest
from data_prep.curation.scorer_models import CHUNK, Array, Finetuning, Linear, Predict, Regressor
from data_prep.curation.scorer_training import HIGHEST, LEVELS, LOWEST, STAGE, read_texts, table, train
from data_prep.rows import is_unicode, problem_id


class Scorer:
    """A model of difficulty, with the manifest of its folder."""

    def __init__(self, predict: Predict, manifest: Mapping[str, Any]):
        self.predict, self.manifest = predict, manifest

    @classmethod
    def load(cls, folder: str | Path) -> "Scorer":
        """A scorer of either kind. Raises FileNotFoundError, ValueError."""
        manifest = read_manifest(folder)
        if manifest is None:
            raise FileNotFoundError(f"{folder}: no {MANIFEST} there: make a scorer by data_prep.curation.scorer train")
        if manifest.get("stage") != STAGE or manifest.get("model") not in ("linear", "transformer"):
            raise ValueError(f"{folder}: no scorer (its manifest is that of {manifest.get('stage')!r})")
        kind = Regressor if manifest["model"] == "transformer" else Linear
        return cls(kind.load(folder, manifest["settings"]), manifest)

    def score(self, problems: Sequence[str]) -> Array:
        """Difficulties, float64 (n,), between 1 and 10 of the problems' texts. Raises ValueError for what is no text.

        They are expectations, so they vary less than difficulties do: of the problems that are above 6, many score
        between 5 and 6. The manifest's `hard` says what a bound on the score finds.
        """
        if isinstance(problems, str):
            raise ValueError("give a list of problems, not a single text")
        problems = list(problems)
        for i, problem in enumerate(problems):
            if not isinstance(problem, str):
                raise ValueError(f"problem {i} is {type(problem).__name__}, expected text")
            if not is_unicode(problem):
                raise ValueError(f"problem {i}: {problem[:40]!r} holds half a character (a lone surrogate)")
        return np.clip(self.predict(problems), LOWEST, HIGHEST)


# The command line


def score_file(folder: str | Path, path: str, out: str | Path) -> int:
    """Writes problem_id, problem and score of each row of a data file as JSONL; returns their number.

    Raises RowError for rows without a text, FileExistsError if `out` is there already.
    """
    scorer = Scorer.load(folder)
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists already: choose another name or remove it")
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    problems = (text for _, text, _ in read_texts(path))
    n = 0
    try:
        with temporary.open("w", encoding="utf-8") as lines:
            while texts := list(islice(problems, CHUNK)):
                for text, score in zip(texts, scorer.score(texts).tolist()):
                    row = {"problem_id": problem_id(text), "problem": text, "score": round(score, 4)}
                    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                n += len(texts)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return n


def pairs(given: Sequence[str], flag: str, form: str) -> dict[str, str]:
    """name=value arguments as a dict. Raises ValueError."""
    result: dict[str, str] = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{flag} {one}: give {form}")
        if name in result:
            raise ValueError(f"{flag} {one}: {name} is given twice")
        result[name] = value
    return result


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.curation.scorer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("train", help="learn from annotated problems", allow_abbrev=False).add_argument
    math_levels = ",".join(f"{value:g}" for value in LEVELS["math"])
    add("out", help="new folder of the scorer")
    add("--data", action="append", required=True, metavar="NAME=PATH", help="annotated problems; several times")
    add(
        "--levels", action="append", default=[], metavar="NAME=VALUES",
        help=f"values of the levels 1, 2, ... of a data set on the scale (default: math={math_levels})",
    )  # fmt: skip
    add("--held_out", type=float, default=0.2, help="share of the problems that is not trained on (default: 0.2)")
    add("--seed", type=int, default=0, help="of the bootstrap and of a transformer's training (default: 0)")
    add("--model_name_or_path", help="train this transformer with a regression head, instead of the linear model")
    for name, default in asdict(Finetuning()).items():
        add(f"--{name}", type=type(default), help=f"of the transformer (default: {default:g})")
    add = commands.add_parser("score", help="score a file of problems", allow_abbrev=False).add_argument
    add("folder", help="folder of a scorer")
    add("file", help="problems: a file, folder or Hub name")
    add("out", help="new JSONL file with problem_id, problem and score")
    return parser


def run(args: argparse.Namespace) -> None:
    if args.command == "score":
        print(f"{score_file(args.folder, args.file, args.out):,} problems scored in {args.out}")
        return
    data = pairs(args.data, "--data", "NAME=PATH")
    levels: dict[str, Sequence[float]] = dict(LEVELS)
    for name, values in pairs(args.levels, "--levels", "NAME=1,1.5,...").items():
        if name not in data:
            raise ValueError(f"--levels {name}: no data set of this name; there are {', '.join(data)}")
        try:
            levels[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise ValueError(f"--levels {name}={values}: give numbers, as in {name}=1,1.5,2") from None
    given = {name: value for name in asdict(Finetuning()) if (value := getattr(args, name)) is not None}
    manifest = train(
        args.out,
        data,
        levels=levels,
        held_out=args.held_out,
        model_name_or_path=args.model_name_or_path,
        finetuning=Finetuning(**given) if given else None,
        seed=args.seed,
    )
    print(f"{table(manifest)}\n\nThe scorer is in {args.out}")


def main() -> None:
    args = parser().parse_args()
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
