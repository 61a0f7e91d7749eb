"""The rows that stages hand to one another, and their validation. One definition for every reader and writer.

A row is a plain dict. Columns beyond the ones named here are allowed and travel along.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
MESSAGE_ROLES = ("system", "user", "assistant", "tool", "developer")
VERDICTS = ("right", "wrong", "unverifiable", "timed out")

PROBLEM = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("images", pa.list_(pa.binary()), nullable=False),
        pa.field("level", pa.float64()),
    ]
)
SAMPLE = pa.schema(
    [
        *PROBLEM,
        pa.field("messages", MESSAGES, nullable=False),
        pa.field("verdict", pa.string()),
        pa.field("pass_rate", pa.float64()),
        pa.field("n_attempts", pa.int64()),
        pa.field("n_tokens", pa.int64()),
    ]
)
RESPONSE = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_format", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("extracted", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("logprob", pa.float64()),
    ]
)
# A search tree, one row per node, in the order in which they were made; q is value_sum / visits, from -1 to 1.
TREE = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("tree", pa.int64(), nullable=False),
        pa.field("node", pa.int64(), nullable=False),
        pa.field("parent", pa.int64()),
        pa.field("step", pa.string(), nullable=False),
        pa.field("output", pa.string(), nullable=False),
        pa.field("visits", pa.int64(), nullable=False),
        pa.field("value_sum", pa.float64(), nullable=False),
        pa.field("prior_score", pa.float64()),
        pa.field("terminal", pa.string()),
        pa.field("extracted", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("errors", pa.int64(), nullable=False),  # programs that failed in a row, this one the last
    ]
)
# Beside it, one row per tree: its problem, what the policy continued, and how the search went.
SEARCH_RUN = pa.schema(
    [
        *PROBLEM,
        pa.field("choices", pa.list_(pa.string())),
        pa.field("tree", pa.int64(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("policy_hash", pa.string(), nullable=False),
        pa.field("scorer_hash", pa.string()),
        pa.field("ended_at", pa.list_(pa.int64()), nullable=False),
        pa.field("stopped", pa.string(), nullable=False),
        pa.field("n_nodes", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("n_executions", pa.int64(), nullable=False),
        pa.field("n_right", pa.int64(), nullable=False),
    ]
)
# Segments are the texts of steps; joined they are the text. n_pos, n_neg: how many different chosen and rejected ones
# the pairs of the group have. `problem` is the text as it is asked, `prompt` what the policy was given.
STEP_PAIR = pa.schema(
    [
        pa.field("pair_group", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("problem", pa.string()),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prefix", pa.list_(pa.string()), nullable=False),
        pa.field("chosen", pa.list_(pa.string()), nullable=False),
        pa.field("rejected", pa.list_(pa.string()), nullable=False),
        pa.field("n_pos", pa.int64(), nullable=False),
        pa.field("n_neg", pa.int64(), nullable=False),
        pa.field("q_chosen", pa.float64()),
        pa.field("q_rejected", pa.float64()),
    ]
)
# A solution whose first wrong step is known; `first_error` is its index, null where all steps are right.
STEP_LABEL = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("problem", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string()), nullable=False),
        pa.field("first_error", pa.int64()),
    ]
)
SCHEMAS = {
    "problem": PROBLEM, "sample": SAMPLE, "response": RESPONSE, "tree": TREE, "search_run": SEARCH_RUN,
    "step_pair": STEP_PAIR, "step_label": STEP_LABEL,
}  # fmt: skip


ID_VERSION = "p1-"


class RowError(ValueError):
    """A row that breaks its contract; the message names file, row and column."""


def problem_id(problem: str, images: Iterable[bytes] = ()) -> str:
    """Versioned hash of a problem's normalised text and of the pixels of each image (see `images.pixel_hash`).

    Case, white space and Unicode form do not count. The answer is no part of it. The version changes with the rule.
    """
    text = re.sub(r"\s+", "", unicodedata.normalize("NFKC", problem).casefold())
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for image in images:
        digest.update(image)
    return f"{ID_VERSION}{digest.hexdigest()[:24]}"


def validate(row: Mapping[str, Any], kind: str, where: str) -> None:
    """Checks that required columns are there and of the right type.

    `kind`: a key of SCHEMAS. `where`: file and row, for the message. Raises RowError.
    """
    schema = SCHEMAS[kind]
    for field in schema:
        value = row.get(field.name)
        if value is None:
            if not field.nullable:
                raise RowError(f"{where}: column {field.name!r} is missing; a {kind} row needs it")
        elif pa.types.is_string(field.type):
            if not isinstance(value, str):
                raise RowError(f"{where}: column {field.name!r} holds {type(value).__name__}, expected text")
            if not is_unicode(value):
                raise RowError(f"{where}: column {field.name!r} holds half a character (a lone surrogate)")
        elif pa.types.is_floating(field.type) or pa.types.is_integer(field.type):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise RowError(f"{where}: column {field.name!r} holds {type(value).__name__}, expected a number")
            if pa.types.is_integer(field.type) and value != value // 1:
                raise RowError(f"{where}: column {field.name!r} holds {value}, expected a whole number")
        elif field.name == "messages":
            validate_messages(value, where)
    if (verdict := row.get("verdict")) is not None and verdict not in VERDICTS:
        raise RowError(f"{where}: verdict {verdict!r} is none of {', '.join(VERDICTS)}")


def is_unicode(text: str) -> bool:
    """Whether the text can be written. JSON can hold half a surrogate pair, which no tokenizer or file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def validate_messages(messages: Any, where: str) -> None:
    """Checks a conversation: `[{role, content}, ...]` with text contents and an assistant turn that is not empty."""
    if not isinstance(messages, list) or not messages:
        found = "empty" if isinstance(messages, list) else type(messages).__name__
        raise RowError(f"{where}: 'messages' is {found}; expected a list [{{role, content}}, ...]")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise RowError(f"{where}: message {i} has no 'role'")
        if message["role"] not in MESSAGE_ROLES:
            raise RowError(f"{where}: message {i} has the role {message['role']!r}; known: {', '.join(MESSAGE_ROLES)}")
        if not isinstance(message.get("content"), str):
            raise RowError(f"{where}: message {i} ({message['role']}) has no text in 'content'")
        if not is_unicode(message["content"]):
            raise RowError(f"{where}: message {i} ({message['role']}) holds half a character (a lone surrogate)")
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise RowError(f"{where}: no assistant turn with text: there is nothing to learn from this row")
