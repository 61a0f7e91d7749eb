"""rStar-Math's two data formats, there and back without loss.

SFT: `{query, response}`. Pairs: `{prompt, pos, neg, pos_count, neg_count}`, where the prompt holds the steps so far and
the assistant's opening belongs to the first step (https://github.com/microsoft/rStar, branch rStar-math).

    python -m data_prep.mcts.rstar outputs/mcts/samples rstar_sft.json       # from our rows to their file
    python -m data_prep.mcts.rstar rm_data.json outputs/rstar_pairs          # from their file to our rows
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_prep.artefacts import hash_path, read_manifest, write_artefact
from data_prep.mcts.prompts import RSTAR
from data_prep.mcts.records import read_rows
from data_prep.mcts.steps import CODE, segments
from data_prep.rows import RowError, problem_id

USER, OPENING = RSTAR.partition("{problem}")[::2]


def sample_from_rstar(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A sample row of `{query, response}`."""
    query, response = texts(record, ("query", "response"), where)
    return {
        "problem_id": problem_id(query),
        "source": "rstar",
        "problem": query,
        "answer": None,
        "images": [],
        "messages": [{"role": "user", "content": query}, {"role": "assistant", "content": response}],
    }


def sample_to_rstar(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    messages = row["messages"]
    if [message["role"] for message in messages] != ["user", "assistant"]:
        raise RowError(f"{where}: rStar's format holds one question and one response, this conversation has more")
    return {"query": messages[0]["content"], "response": messages[1]["content"]}


def pair_from_rstar(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A step pair row of `{prompt, pos, neg, pos_count, neg_count}`. Raises RowError."""
    prompt, pos, neg = texts(record, ("prompt", "pos", "neg"), where)
    for name in ("pos_count", "neg_count"):
        if type(record.get(name)) is not int:
            raise RowError(f"{where}: {name!r} is no whole number")
    prefix, first = "", []
    if OPENING in prompt:
        prompt, opening, prefix = prompt.partition(OPENING)
        prompt += opening
        first = segments(prefix) or [""]  # not empty: the opening stands in the prompt already
    elif pos.startswith(OPENING) and neg.startswith(OPENING):
        prompt, pos, neg = prompt + OPENING, pos.removeprefix(OPENING), neg.removeprefix(OPENING)
    problem = prompt.removeprefix(USER).removesuffix(OPENING)
    ended = all("<end_of_answer>" in text for text in (pos, neg)) or (pos + neg).count(CODE) == 2
    return {
        "pair_group": f"{problem_id(problem)}/0/{problem_id(prefix)}",
        "kind": "final" if not prefix and ended else "step",
        "problem_id": problem_id(problem),
        "problem": problem,
        "prompt": prompt,
        "prefix": first,
        "chosen": segments(pos),
        "rejected": segments(neg),
        "n_pos": record["pos_count"],
        "n_neg": record["neg_count"],
        "q_chosen": None,
        "q_rejected": None,
    }


def pair_to_rstar(row: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    prompt, prefix = row["prompt"], "".join(row["prefix"])
    opening = OPENING if not row["prefix"] and prompt.endswith(OPENING) else ""
    return {
        "prompt": prompt.removesuffix(opening) + prefix if opening else prompt + prefix,
        "pos": opening + "".join(row["chosen"]),
        "neg": opening + "".join(row["rejected"]),
        "pos_count": row["n_pos"],
        "neg_count": row["n_neg"],
    }


def texts(record: Mapping[str, Any], names: Iterable[str], where: str) -> list[str]:
    for name in names:
        if not isinstance(record.get(name), str):
            raise RowError(f"{where}: {name!r} is no text; rStar's records hold {', '.join(names)}")
    return [record[name] for name in names]


def convert(source: Path, target: Path) -> tuple[str, int]:
    """Converts a file of theirs into an artefact folder, or such a folder into a file; kind and number of rows."""
    if source.is_dir():
        kind = (read_manifest(source) or {}).get("kind")
        if kind not in ("sample", "step_pair"):
            raise ValueError(f"{source} holds no samples or step pairs, but {kind or 'no manifest'}")
        to = sample_to_rstar if kind == "sample" else pair_to_rstar
        if target.exists():
            raise FileExistsError(f"{target} exists already: choose another file or remove it")
        rows = list(read_rows(source))
        if other := [row["prompt"] for row in rows if kind == "step_pair" and not row["prompt"].startswith(USER)]:
            raise ValueError(
                f"{source}: {len(other):,} of {len(rows):,} pairs have another prompt than rStar's "
                f"({other[0][:40]!r}...): search with --prompt rstar for its format"
            )
        records = [to(row, f"{source}, row {i}") for i, row in enumerate(rows)]
        target.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return kind, len(records)
    try:
        records = json.loads(source.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: broken JSON in line {error.lineno}: {error.msg}") from None
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{source}: expected a list of records, as in rStar's files")
    kind = "sample" if "query" in records[0] else "step_pair"
    of = sample_from_rstar if kind == "sample" else pair_from_rstar
    rows = [of(record, f"{source}, record {i}") for i, record in enumerate(records)]
    write_artefact(target, kind, rows, stage="rstar", config={}, seed=0, inputs={str(source): hash_path(source)})
    return kind, len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("source", type=Path, help="rStar's JSON file, or an artefact folder of samples or step pairs")
    parser.add_argument("target", type=Path, help="the other one, new")
    args = parser.parse_args()
    try:
        kind, n = convert(args.source, args.target)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    print(f"{n:,} {kind.replace('_', ' ')} rows: {args.target}")


if __name__ == "__main__":
    main()
