"""Sky-T1 style response files to Long-CoT samples: right answers with a closed thought, markers converted.

    python -m data_prep.skythought responses.jsonl.xz problems.jsonl.xz outputs/skythought

Responses have the columns `dataset`, `problem_id` and `response`, problems `dataset`, `problem_id`, `problem` and
`gold` (https://github.com/NovaSky-AI/SkyThought, Apache-2.0). What is left out is counted by reason in the manifest.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tqdm.auto import tqdm

from data_prep.answers import AnswerChecker
from data_prep.artefacts import hash_path, write_artefact
from data_prep.formats import END_THINK, THINK, convert_markers, is_unclosed
from data_prep.rows import problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block


def read(path: str) -> Iterator[dict[str, Any]]:
    return (row for block in open_blocks(DatasetConfig(path)) for _, row in read_block(block))


def convert(responses: str, problems: str, folder: str) -> dict[str, Any]:
    """Writes the artefact folder of samples and returns its manifest."""
    by_id = {(row["dataset"], row["problem_id"]): row for row in read(problems)}
    dropped: Counter[str] = Counter()
    samples: dict[tuple[str, str], dict[str, Any]] = {}
    n_read = 0
    with AnswerChecker() as checker:
        for row in tqdm(read(responses), desc="converting", unit=" responses", disable=None):
            n_read += 1
            response = convert_markers(row["response"])
            problem = by_id.get((row["dataset"], row["problem_id"]))
            if problem is None:
                dropped["unknown problem"] += 1
            elif THINK not in response:
                dropped["no thought"] += 1
            elif is_unclosed(response):
                dropped["unclosed thought"] += 1
            elif not response.rpartition(END_THINK)[2].strip():
                dropped["no solution after the thought"] += 1
            elif (verdict := checker.judge(problem["gold"], response).verdict) != "right":
                dropped[verdict] += 1
            elif (problem["problem"], response) in samples:
                dropped["duplicate"] += 1
            else:
                samples[problem["problem"], response] = {
                    "problem_id": problem_id(problem["problem"]),
                    "source": row["dataset"],
                    "problem": problem["problem"],
                    "answer": problem["gold"],
                    "images": [],
                    "messages": [
                        {"role": "user", "content": problem["problem"]},
                        {"role": "assistant", "content": response},
                    ],
                    "verdict": "right",
                }
    return write_artefact(
        folder,
        "sample",
        samples.values(),
        stage="skythought",
        config={"responses": responses, "problems": problems},
        seed=0,
        inputs={responses: hash_path(responses), problems: hash_path(problems)},
        n_read=n_read,
        dropped=dropped,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("responses", help=".jsonl, .jsonl.gz, .jsonl.xz or .parquet file of responses")
    parser.add_argument("problems", help="file of problems with their golds")
    parser.add_argument("folder", help="new artefact folder")
    args = parser.parse_args()
    manifest = convert(args.responses, args.problems, args.folder)
    print(f"{manifest['rows_in']:,} responses read, {manifest['rows_out']:,} samples in {args.folder}")
    for reason, n in sorted(manifest["rows_dropped"].items()):
        print(f"  {n:6,} dropped: {reason}")


if __name__ == "__main__":
    main()
