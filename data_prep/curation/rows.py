"""What the per-shard work hands on, as Arrow tables."""

import pyarrow as pa

from data_prep.rows import PROBLEM, SAMPLE

TEXT = pa.string()
# One line for each candidate, kept or not: all that is needed to decide about it together with the others.
INDEX = pa.schema(
    {
        "row": pa.int64(),  # shard << 32 | number in the shard: the order of the input
        "line": pa.int64(),  # number of its line or row in the shard; -1: the file as a whole
        "reason": TEXT,  # why it is left out; null: it is in so far
        "detail": TEXT,
        "group": pa.int64(),  # hash of the normalised problem
        "response_hash": pa.int64(),
        "sample": pa.int64(),  # number among the responses of one model, where known
        "key": pa.int64(),  # random, from the seed and the content
        "source": TEXT,
        "kind": TEXT,
        "gold": TEXT,
        "extracted": TEXT,
        "verdict": TEXT,
        "level": pa.float64(),
        "score": pa.float64(),
        "given_rate": pa.float64(),
        "given_attempts": pa.int64(),
        "n_chars": pa.int64(),  # of the response, or of the problem where there is none
    }
)
# One line for each problem of a shard.
PROBLEMS = pa.schema(
    {
        "row": pa.int64(),
        "group": pa.int64(),
        "problem": TEXT,
        "gold": TEXT,
        "masked": pa.int64(),
        "numbers": pa.int64(),
        "sketch": pa.binary(),
        "bands": pa.list_(pa.int64()),
    }
)
MATCHES = pa.schema(
    {
        "row": pa.int64(),
        "benchmark": TEXT,
        "item": pa.int64(),
        "kind": TEXT,
        "strength": pa.float64(),
        "problem": TEXT,
        "benchmark_problem": TEXT,
    }
)
EXAMPLES = pa.schema(
    {
        "row": pa.int64(),
        "key": pa.int64(),
        "reason": TEXT,
        "detail": TEXT,
        "source": TEXT,
        "problem": TEXT,
        "answer": TEXT,
        "extracted": TEXT,
        "verdict": TEXT,
        "response": TEXT,
    }
)


def kept_schema(rows: str, keep_columns: list[str]) -> pa.Schema:
    """Of the rows themselves, as they go on: what of a `samples` or `problems` row is known before all are seen."""
    if rows == "problems":
        known = list(PROBLEM)
    else:
        known = [field for field in SAMPLE if field.name not in ("pass_rate", "n_attempts", "n_tokens")]
    return pa.schema(
        [pa.field("row", pa.int64()), *known, pa.field("kind", TEXT), *(pa.field(name, TEXT) for name in keep_columns)]
    )
