"""Figures in words, for a teacher that reads text alone (RedStar-Geo's way)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.images import PLACE
from data_prep.journal import Journal
from data_prep.responses import open_engine
from multimodal.geometry3k import described, forms_of

ASK = (
    "Describe this figure of a geometry problem so that one can solve the problem without seeing it: name the points, "
    "lines and circles, say which points lie on which of them, and give every length, angle, right angle, equal mark "
    "and parallel mark that is written or drawn. Say nothing that the figure does not show, and do not solve anything."
)
MAX_TOKENS = 1024  # of a description by a model


def with_descriptions(
    problems: Sequence[dict[str, Any]], args: Any, folder: Path, dropped: Counter[str]
) -> list[dict[str, Any]]:  # fmt: skip
    """The problems with a `description` where they have a figure, and `described_by`; those that have none are left out
    and counted.

    The column itself goes first, then logic forms, then the model `args.describer`, here or at `args.describer_urls`,
    whose texts are kept in `folder` until all is done. Raises ValueError.
    """
    found: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    for problem in problems:
        if not problem["images"]:
            found.append(problem)
            continue
        known = problem.get("description")
        if isinstance(known, str) and known.strip():
            found.append(problem | {"described_by": "given"})
        elif forms := forms_of(problem, "diagram"):
            found.append(problem | {"description": described(forms), "described_by": "logic forms"})
        elif args.describer:
            found.append(problem | {"described_by": args.describer})
            asked.append(found[-1])
        else:
            dropped["figure that nothing describes (see --describer)"] += 1
    if asked:
        for problem, text in zip(asked, in_words(asked, args, folder), strict=True):
            problem["description"] = text
    left = [problem for problem in found if not problem["images"] or problem["description"].strip()]
    if n_empty := len(found) - len(left):
        dropped["figure of which the describer says nothing"] += n_empty
    return left


def in_words(problems: Sequence[Mapping[str, Any]], args: Any, folder: Path) -> list[str]:
    """Greedy descriptions by the model."""
    engine: Any
    if args.describer_urls:
        engine, _, name = open_engine(args.describer, server_urls=args.describer_urls, concurrency=args.concurrency)
    else:
        from multimodal.engine import open_figure_engine

        engine, _, name = open_figure_engine(args.describer, args.batch_size, args.dtype)
    print(f"describe   {len(problems):,} figures by {args.describer}", flush=True)
    prompts = [engine.chat_prompt(ASK, None, problem["images"]) for problem in problems]
    with Journal(folder / f"describe-{name}.jsonl") as journal:
        limit = MAX_TOKENS if args.describer_urls else min(MAX_TOKENS, engine.room(prompts))
        completions = engine.sample(prompts, max_new_tokens=limit, seed=args.seed, journal=journal)
    return [own[0].text.strip() for own in completions]


def told(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The problem as a teacher is asked it who does not see: what the figure shows stands below."""
    if not problem["images"]:
        return dict(problem)
    text = f"{PLACE.sub('', problem['problem']).strip()}\n\nThe figure shows: {problem['description']}"
    return {**problem, "problem": text, "images": []}


def answerable(problems: Sequence[Mapping[str, Any]], verdicts: Sequence[Sequence[str]]) -> str:
    """Lines that say, by who described, of how many problems some response is right: the description was enough."""
    counts: dict[str, list[int]] = {}
    for problem, own in zip(problems, verdicts, strict=True):
        if problem["images"]:
            enough = counts.setdefault(str(problem["described_by"]), [0, 0])
            enough[0] += "right" in own
            enough[1] += 1
    return "\n".join(
        f"described  {n:,} figures ({by}): {right:,} of the problems were solved from the description"
        for by, (right, n) in counts.items()
    )
