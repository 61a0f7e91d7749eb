"""Rows of public data sets to candidates: one problem each, with its gold and, if there is one, a response.

A candidate is a dict with the keys `problem`, `answer` (the gold, None where the row has none), `response` (None: a
problem alone), `system`, `level` (annotated difficulty, on the data set's own scale), `source` (what the row says about
it), `kind` (`math` or `code`), `pass_rate`, `n_attempts`, `images` (encoded, as bytes), `choices`, and for code `tests`
and `starter_code`. Thoughts come in `<think>` markers.

Without a reader the columns tell: see `by_columns`. A reader is needed where a column means something else than its
name says (a `solution` that is the response), or a text carries more than the problem (a template around it). What
makes a row useless for training but is no mistake in it (a gold that says "proof", a response that is cut) is left to
whoever filters.

Readers tried on real rows: gsm8k, math, omni-math and rstar-sft. The forms of the others are from the cards of the data
sets and from code that reads them, not seen.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from data_prep.answers import last_boxed
from data_prep.formats import END_THINK, ROLES, THINK, convert_markers
from data_prep.rows import RowError, is_unicode

Row = Mapping[str, Any]
Candidate = dict[str, Any]

# Where each part of a candidate is looked for, the likeliest column first. `thought` goes in front of the response.
COLUMNS = {
    "problem": ("problem", "question", "query", "prompt", "instruction"),
    "answer": (
        "answer", "gold", "gold_answer", "final_answer", "ground_truth", "expected_answer", "target",
        "reward_model.ground_truth",
    ),
    "response": (
        "response", "generation", "output", "completion", "responses", "generations", "outputs", "completions",
    ),
    "thought": ("reasoning_content", "thinking", "reasoning"),
    "system": ("system", "system_prompt"),
    "level": ("level", "difficulty"),
    "source": ("source", "data_source", "dataset"),
    "kind": ("kind", "domain", "ability"),
    "pass_rate": ("pass_rate",),
    "n_attempts": ("n_attempts",),
    "images": ("images", "image"),
    "choices": ("choices", "options"),
    "tests": ("tests", "test_cases", "input_output"),
    "starter_code": ("starter_code",),
}  # fmt: skip
CHATS = ("messages", "conversations")
# A user cannot map a column away that has the name of one of these and means something else: unless it is text, it is
# no value.
SIDE_TEXTS = ("thought", "system", "source", "kind", "starter_code")
MISSING = object()

LEVEL = re.compile(r"\s*(?:level|lv\.?|l)?\s*(\d{1,9}(?:\.\d+)?)\s*", re.IGNORECASE)
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
FINAL = re.compile(r"^####", re.MULTILINE)


# ------------------------------------------------------------------------------------------------------------- reading


def read_candidates(row: Row, where: str, reader: str | None, fields: Mapping[str, str]) -> list[Candidate]:
    """The candidates of a row, one for each of its responses.

    `reader`: a name in READERS, or None: the columns tell. `fields`: our names to columns or dotted paths of the row
    (`{"answer": "reward_model.ground_truth"}`); they win over what a reader finds. `where`: file and row.
    Raises RowError.
    """
    for name in fields:
        if name not in COLUMNS:
            raise RowError(f"{where}: fields names {name!r}; known: {', '.join(COLUMNS)}")
    if reader is None:
        return by_columns(row, where, fields)
    if reader not in READERS:
        raise RowError(f"{where}: no reader {reader!r}; known: {', '.join(READERS)}")
    found = READERS[reader](row, where)
    given = {name: convert(name, pick(row, column, where), column, where) for name, column in fields.items()}
    responses = given.pop("response", None)
    thought = given.pop("thought", None)
    found = [{**candidate, **given} for candidate in found]
    if "response" in fields:
        found = [{**found[0], "response": response} for response in responses or [None]]
    if thought is not None:
        for candidate in found:
            candidate["response"] = with_thought(thought, candidate["response"])
    return found


def by_columns(row: Row, where: str, fields: Mapping[str, str] | None = None) -> list[Candidate]:
    """A row that is known by its columns, see COLUMNS; a list of responses gives one candidate each.

    Conversations are in `messages`, `conversations` (ShareGPT) or, with or without the reply, in `prompt` and
    `completion`; they hold one exchange. Columns go before conversations. `instruction` may have an `input`. A gold
    may be the end of a GSM8K solution or in a box; without a column for it, it is the box of a text `solution`, which
    is a reference and not a response.
    """
    fields = fields or {}
    values: dict[str, Any] = {}
    columns: dict[str, str] = {}
    for name in COLUMNS:
        columns[name], value = find(row, name, where, fields)
        if name == "problem" and columns[name] == "instruction" and isinstance(row.get("input"), str):
            value = f"{value}\n\n{row['input']}" if isinstance(value, str) and row["input"].strip() else value
        values[name] = value

    chat: dict[str, Any] = {}
    asked, replied = values["problem"], values["response"]
    if is_chat(asked) or is_chat(replied):  # verl's and TRL's prompts, TRL's completions
        if not is_chat(asked):
            asked = [] if asked is None else [{"role": "user", "content": asked}]
        elif not is_chat(replied):
            replied = []
        chat = exchange([*asked, *replied], columns["problem"], where)
        values.update({name: None for name in ("problem", "response") if is_chat(values[name])})
    else:
        for column in CHATS:
            if is_chat(row.get(column)):
                chat = exchange(row[column], column, where)
                break
    for name in ("problem", "response", "system"):
        if values[name] is None and chat:
            values[name], columns[name] = chat[name], chat["column"]

    if values["problem"] is None and not chat and columns["problem"] not in row and "problem" not in fields:
        expected = ", ".join((*COLUMNS["problem"], *CHATS))
        raise RowError(f"{where}: no problem in the columns {listed(row)}; expected one of {expected}, or `fields`")
    if values["answer"] is None and isinstance(row.get("solution"), str) and "solution" not in fields.values():
        values["answer"] = last_boxed(row["solution"]) if "answer" not in fields else None
    elif isinstance(values["answer"], str) and "answer" not in fields:
        values["answer"] = gold_in(values["answer"])
    for name in SIDE_TEXTS:
        if name not in fields and not isinstance(values[name], str):
            values[name] = None
    if "choices" not in fields and not isinstance(values["choices"], list | Mapping):
        values["choices"] = None
    if values["response"] is None:  # then these columns mean something else: Geometry3K's operating system
        values.update({name: None for name in ("thought", "system") if name not in fields and not chat})
    elif isinstance(values["response"], list) and "thought" not in fields:
        values["thought"] = None  # whose thought it is, nobody knows
    if values["kind"] is None and values["tests"] is not None:
        values["kind"] = "code"
    return build(where, columns, **values)


def find(row: Row, name: str, where: str, fields: Mapping[str, str]) -> tuple[str, Any]:
    """The column that holds a part of a candidate, and its value; null and NaN are no value."""
    if name in fields:
        return fields[name], known(pick(row, fields[name], where))
    first = name
    for column in COLUMNS[name]:
        value = known(at(row, column))
        if value is not MISSING and value is not None:
            return column, value
        if column in row and first == name:
            first = column
    return first, None


def at(row: Row, column: str) -> Any:
    """The value of a column or, where there is none of that name, of a dotted path; MISSING if it leads nowhere."""
    if column in row:
        return row[column]
    if "." not in column:
        return MISSING
    value: Any = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) < 9 and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def pick(row: Row, column: str, where: str) -> Any:
    """The value of a column that has to be there. Raises RowError."""
    value = at(row, column)
    if value is MISSING:
        raise RowError(f"{where}: no column {column!r}; the row has {listed(row)}")
    return value


def known(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def listed(row: Row) -> str:
    return ", ".join(str(name) for name in sorted(row, key=str)) or "no columns"


def build(where: str, columns: Mapping[str, str] | None = None, **values: Any) -> list[Candidate]:
    """One candidate for each response. `columns`: where the values are from, for the messages of RowError."""
    columns = columns or {}
    converted = {name: convert(name, values.get(name), columns.get(name, name), where) for name in COLUMNS}
    responses, thought = converted.pop("response"), converted.pop("thought")
    if thought is not None:
        responses = [with_thought(thought, response) for response in responses or [None]]
    return [{**converted, "response": response} for response in responses or [None]]


# ---------------------------------------------------------------------------------------------------------- conversion


def convert(name: str, value: Any, column: str, where: str) -> Any:
    """A value in the type of its place in a candidate; of `response` a list. Raises RowError."""
    value = known(value)
    if name == "problem":
        text = text_of(value, column, where)
        if text is None or not text.strip():
            raise RowError(f"{where}: column {column!r} holds no problem ({'null' if text is None else 'blank'})")
        return text
    if name == "response":
        values = value if isinstance(value, list) else [value]
        texts = [text_of(each, column, where) for each in values]
        return [convert_markers(text) for text in texts if text is not None]
    if name == "answer":
        return answer_of(value, column, where)
    if name in ("system", "thought", "starter_code"):
        text = text_of(value, column, where)
        return text if text and text.strip() else None
    if name == "source":
        return None if value is None else text_of(scalar(value), column, where)
    if name == "kind":
        return "code" if isinstance(value, str) and value.strip().lower() in ("code", "coding") else "math"
    if name == "level":
        return level_of(value)
    if name in ("pass_rate", "n_attempts"):
        return number_of(value, name, column, where)
    if name == "images":
        images = value if isinstance(value, list) else [value]
        return [image_of(image, column, where) for image in images if image is not None]
    if name == "choices":
        return choices_of(value, column, where)
    assert name == "tests", name
    return tests_of(value, column, where)


def text_of(value: Any, column: str, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError(f"{where}: column {column!r} holds {type(value).__name__}, expected text")
    if not value.isascii() and not is_unicode(value):
        raise RowError(f"{where}: column {column!r} holds half a character (a lone surrogate)")
    return value


def scalar(value: Any) -> Any:
    """Numbers as people write them: 3.0 is 3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def answer_of(value: Any, column: str, where: str) -> str | None:
    """A gold as text; several of them with commas."""
    if isinstance(value, list):
        parts = [answer_of(each, column, where) for each in value]
        return ", ".join(part for part in parts if part is not None) or None
    text = text_of(scalar(value), column, where)
    return text.strip() or None if text is not None else None


def gold_in(text: str) -> str:
    """The gold in a text that may be a whole solution: what stands behind GSM8K's "####", or in the last box."""
    if FINAL.search(text):
        return THOUSANDS.sub("", text.rpartition("####")[2].strip())
    return (last_boxed(text) if "\\boxed" in text else None) or text


def level_of(value: Any) -> float | None:
    """5 of 5, "5" and "Level 5"; None of every other text."""
    if isinstance(value, str):
        match = LEVEL.fullmatch(value)
        return float(match[1]) if match else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else None


def number_of(value: Any, name: str, column: str, where: str) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(f"{where}: column {column!r} holds {type(value).__name__}, expected a number")
    if name == "pass_rate":
        if not 0 <= value <= 1:
            raise RowError(f"{where}: column {column!r} holds {value}, expected a share from 0 to 1")
        return float(value)
    if not 0 <= value < 2**63 or value != int(value):
        raise RowError(f"{where}: column {column!r} holds {value}, expected a whole number")
    return int(value)


def image_of(value: Any, column: str, where: str) -> bytes:
    """The encoded image of bytes, the Hub's `{bytes, path}`, a path, or an image that `datasets` has decoded."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | bytearray) and value:
        return bytes(value)
    if isinstance(value, str):
        try:
            return Path(value).read_bytes()
        except (OSError, ValueError):
            raise RowError(f"{where}: column {column!r} names an image that is not there: {value[:200]!r}") from None
    if hasattr(value, "save"):
        encoded = io.BytesIO()
        try:
            value.save(encoded, format="PNG")
        except (OSError, ValueError) as error:  # a broken file, or colours that PNG does not have
            message = " ".join(str(error).split())
            raise RowError(f"{where}: column {column!r} holds an unusable image ({message})") from None
        return encoded.getvalue()
    found = "nothing" if not value else type(value).__name__
    raise RowError(f"{where}: column {column!r} holds no image, but {found}")


def choices_of(value: Any, column: str, where: str) -> list[str] | None:
    """The texts of the choices in order; None where they are no more than their own letters."""
    if isinstance(value, Mapping):  # {"A": ...}, or labels and texts side by side
        value = value["text"] if isinstance(value.get("text"), list) else list(value.values())
    if value is not None and not isinstance(value, list):
        raise RowError(f"{where}: column {column!r} holds {type(value).__name__}, expected a list of choices")
    texts = []
    for each in value or []:
        text = text_of(scalar(each), column, where)
        if text is None:
            raise RowError(f"{where}: column {column!r} has a choice that is null")
        texts.append(text)
    letters = [chr(ord("A") + i) for i in range(len(texts))]
    return texts if texts and texts != letters else None


def tests_of(value: Any, column: str, where: str) -> Any:
    """Test cases as they are; read, where they are JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:  # a ValueError too: an integer of 5,000 digits
        message = " ".join(str(error).split())
        raise RowError(f"{where}: column {column!r} holds broken JSON: {message}") from None


def with_thought(thought: str, response: str | None) -> str | None:
    """Thought and response from two columns as one text. A response that has its thought already stays as it is."""
    if response is not None and (THINK in response or END_THINK in response):
        return response
    inner = thought.strip().removeprefix(THINK).removesuffix(END_THINK).strip()
    if not inner:
        return response
    if response is None or not response.strip():
        return f"{THINK}\n{inner}\n{END_THINK}"
    return f"{THINK}\n{inner}\n{END_THINK}\n\n{response.strip()}"


def is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], Mapping)
        and bool({"role", "from"} & set(value[0]))
    )


def exchange(turns: Iterable[Any], column: str, where: str) -> dict[str, Any]:
    """Problem, response and system prompt of a conversation of one exchange; the response is the last reply.

    Turns are `{role, content}` or `{from, value}`. Raises RowError.
    """
    found: dict[str, Any] = {"column": column, "problem": None, "response": None, "system": None}
    n_problems = 0
    for i, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise RowError(
                f"{where}: turn {i} of column {column!r} is {type(turn).__name__}, expected role and content"
            )
        speaker = turn.get("role", turn.get("from"))
        role = ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise RowError(f"{where}: unknown speaker {speaker!r} in column {column!r}; known: {', '.join(ROLES)}")
        content = content_of(turn.get("content", turn.get("value")), f"{column}, turn {i}", where)
        if role == "user":
            n_problems += 1
            found["problem"] = content
        elif role == "system":
            found["system"] = content
        else:
            thought = next((turn[key] for key in COLUMNS["thought"] if isinstance(turn.get(key), str)), None)
            found["response"] = with_thought(thought, content) if thought else content
    if n_problems > 1:
        raise RowError(f"{where}: column {column!r} has {n_problems} user turns: only conversations of one are read")
    if n_problems == 0:
        raise RowError(f"{where}: column {column!r} has no user turn")
    return found


def content_of(value: Any, column: str, where: str) -> str | None:
    """The text of a turn, which may be a list of parts; images among them are in a column of their own."""
    if not isinstance(value, list):
        return text_of(value, column, where)
    texts = []
    for part in value:
        if isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
            continue
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise RowError(f"{where}: column {column!r} has a part that is neither text nor image")
        texts.append(text_of(part["text"], column, where) or "")
    return "\n".join(texts)


# ------------------------------------------------------------------------------------------------------------- readers


def require(row: Row, column: str, where: str) -> str:
    """The text of a column that the reader's data set always has. Raises RowError."""
    text = text_of(known(pick(row, column, where)), column, where)
    if text is None or not text.strip():
        raise RowError(f"{where}: column {column!r} is {'null' if text is None else 'blank'}")
    return text


def first_of(row: Row, columns: Iterable[str], where: str) -> str:
    """The first of the columns that the row has. Raises RowError if it has none of them."""
    columns = tuple(columns)
    for column in columns:
        if column in row:
            return column
    raise RowError(f"{where}: no column {' or '.join(map(repr, columns))}; the row has {listed(row)}")


def boxed_in(row: Row, column: str, where: str) -> str | None:
    text = text_of(known(row.get(column)), column, where)
    return None if text is None else last_boxed(text)


def gsm8k(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/openai/gsm8k: `question`; `answer` is a solution that ends in "#### 1,234"."""
    solution = require(row, "answer", where)
    if not FINAL.search(solution):
        raise RowError(f"{where}: column 'answer' has no line '#### ...' with the gold")
    return build(where, {"problem": "question"}, problem=require(row, "question", where), answer=gold_in(solution))


def math(row: Row, where: str) -> list[Candidate]:
    """https://github.com/hendrycks/math: `problem`, `solution` with a box, `level` "Level 1" to "Level 5", `type`.

    Copies have the gold in `answer`, the level in `difficulty`, the problem in `question`. Level 0 is "Level ?".
    """
    column = first_of(row, ("problem", "question"), where)
    answer = known(row.get("answer"))
    if answer is None:
        answer = boxed_in(row, first_of(row, ("solution", "answer"), where), where)
    level = level_of(known(row.get("level", row.get("difficulty"))))
    return build(where, {"problem": column}, problem=require(row, column, where), answer=answer, level=level or None)


def numinamath(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/AI-MO/NuminaMath-1.5 and NuminaMath-CoT: `problem`, `answer`, `source`.

    NuminaMath-CoT has no `answer`: it is the box of `solution`. Answers "proof" and "notfound" stay as they are, and so
    do problems whose `problem_is_valid` is not "Yes". Solutions are references; who wants to train on them reads the
    `messages` of NuminaMath-CoT without a reader.
    """
    answer = known(row.get("answer"))
    if answer is None:
        answer = boxed_in(row, "solution", where)
    return build(where, problem=require(row, "problem", where), answer=answer, source=row.get("source"))


def metamath(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/meta-math/MetaMathQA: `query`, `response` that ends in "The answer is: ...".

    Its `type` is the source: GSM_Rephrased, MATH_SV and so on.
    """
    response = require(row, "response", where)
    answer = response.rpartition("The answer is:")[2].strip() if "The answer is:" in response else None
    source, problem = row.get("type"), require(row, "query", where)
    return build(where, {"problem": "query"}, problem=problem, answer=answer, response=response, source=source)


# In front of the problems of Sky-T1 and of those who took over its prompts.
BOX_PROMPT = "Return your final response within \\boxed{}."
CODE_PROMPT = re.compile(
    r"\s*Generate an executable Python function generated from the given prompt\.\s*(?:"
    r"The function should take stdin as input and print the output\.(?:\s*Simply call the function after the "
    r"definition\s*\.)?|Return the function body without invoking it at the final solution\s*\.)?\s*"
)


def without_prompt(text: str) -> tuple[str, str]:
    """A problem of Sky-T1 without the instruction in front of it, and its kind."""
    if match := CODE_PROMPT.match(text):
        return text[match.end() :], "code"
    return text.lstrip().removeprefix(BOX_PROMPT).lstrip(), "math"


def sky_t1(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/NovaSky-AI/Sky-T1_data_17k: `system`, `conversations` with `from` and `value`.

    The user's turn begins with an instruction, which is taken away; an instruction to write code tells the kind. The
    reply has Sky-T1's markers. There is no gold.
    """
    turns = pick(row, "conversations", where)
    if not is_chat(turns):
        raise RowError(f"{where}: column 'conversations' is no list of turns with 'from' and 'value'")
    chat = exchange(turns, "conversations", where)
    problem, kind = without_prompt(chat["problem"] or "")
    system = known(row.get("system")) or chat["system"]
    columns = dict.fromkeys(("problem", "response"), "conversations")
    return build(where, columns, problem=problem, response=chat["response"], system=system, kind=kind)


def openthoughts(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/open-thoughts/OpenThoughts-114k, both of its configurations.

    `metadata`: `problem`, `deepseek_reasoning`, `deepseek_solution`, `ground_truth_solution` with a box, `domain`,
    `source`, `test_cases`, `starter_code`. `default`: the form of Sky-T1, without gold.
    """
    if "problem" not in row:
        return sky_t1(row, where)
    code = row.get("domain") == "code"
    return build(
        where,
        {"thought": "deepseek_reasoning", "response": "deepseek_solution", "tests": "test_cases"},
        problem=require(row, "problem", where),
        answer=None if code else boxed_in(row, "ground_truth_solution", where),
        thought=pick(row, "deepseek_reasoning", where),
        response=pick(row, "deepseek_solution", where),
        kind="code" if code else "math",
        source=row.get("source"),
        tests=row.get("test_cases") if code else None,
        starter_code=row.get("starter_code") if code else None,
    )


def openr1_math(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/open-r1/OpenR1-Math-220k: `problem`, `answer`, `source`, list `generations`.

    Each generation is a candidate, also those that `correctness_math_verify` and `is_reasoning_complete` find wrong or
    cut. Problems with no right generation are not in the set, so no pass rate is taken from it.
    """
    generations = pick(row, "generations", where)
    if not isinstance(generations, list):
        raise RowError(f"{where}: column 'generations' holds {type(generations).__name__}, expected a list of texts")
    problem, answer, source = require(row, "problem", where), row.get("answer"), row.get("source")
    columns = {"response": "generations"}
    return build(where, columns, problem=problem, answer=answer, response=generations, source=source)


def limo(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/GAIR/LIMO: `question`, `answer`; `solution` is the long response."""
    problem, response = require(row, "question", where), require(row, "solution", where)
    columns = {"problem": "question", "response": "solution"}
    return build(where, columns, problem=problem, answer=row.get("answer"), response=response)


def s1(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/simplescaling/s1K and s1K-1.1: `question`, `solution`, thought and attempt.

    s1K: list `thinking_trajectories` of one, `attempt`. s1K-1.1: `deepseek_thinking_trajectory`, `deepseek_attempt`;
    Gemini's, which is s1K's, is read where there is no DeepSeek's. The gold is the box of `solution`, or all of a
    `solution` of one short line; proofs and texts of science have none. `source_type` is the source.
    """
    for thought, response in (
        ("deepseek_thinking_trajectory", "deepseek_attempt"),
        ("thinking_trajectories", "attempt"),
        ("gemini_thinking_trajectory", "gemini_attempt"),
    ):
        if known(row.get(thought)) is not None and known(row.get(response)) is not None:
            break
    else:
        raise RowError(
            f"{where}: neither 'deepseek_thinking_trajectory' and 'deepseek_attempt' nor 'thinking_trajectories' and "
            f"'attempt'; the row has {listed(row)}"
        )

    def single(column: str) -> Any:
        value = row[column]
        if isinstance(value, list):
            if len(value) != 1:
                raise RowError(f"{where}: column {column!r} has {len(value)} entries, expected 1")
            return value[0]
        return value

    solution = text_of(known(row.get("solution")), "solution", where)
    answer = last_boxed(solution) if solution else None
    if answer is None and solution and len(solution) <= 100 and "\n" not in solution.strip():
        answer = solution
    return build(
        where,
        {"problem": "question", "thought": thought, "response": response},
        problem=require(row, "question", where),
        answer=answer,
        thought=single(thought),
        response=single(response),
        source=row.get("source_type"),
    )


TACO_LEVELS = {"EASY": 1, "MEDIUM": 2, "MEDIUM_HARD": 3, "HARD": 4, "VERY_HARD": 5}


def taco(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/BAAI/TACO: `question`, `input_output` as JSON text, `difficulty`, `source`.

    Problems of code, with their tests; EASY to VERY_HARD are the levels 1 to 5. `solutions` are references.
    """
    difficulty = row.get("difficulty")
    return build(
        where,
        {"problem": "question", "tests": "input_output"},
        problem=require(row, "question", where),
        level=TACO_LEVELS.get(difficulty) if isinstance(difficulty, str) else None,
        source=row.get("source"),
        kind="code",
        tests=pick(row, "input_output", where),
        starter_code=row.get("starter_code"),
    )


def rstar_sft(row: Row, where: str) -> list[Candidate]:
    """SFT examples of https://github.com/microsoft/rStar, rStar-Math: `query`, `response` in steps of code; no gold."""
    problem, response = require(row, "query", where), require(row, "response", where)
    return build(where, {"problem": "query"}, problem=problem, response=response)


def omni_math(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/KbsdJames/Omni-MATH: `problem`, `answer`, `difficulty` 1 to 9.5, `source`.

    rStar's copy has `question`, and `human_type` "omni_8.0_source", where copies of it have no more than that.
    """
    column = first_of(row, ("problem", "question"), where)
    level, source = known(row.get("difficulty")), row.get("source")
    match = re.match(r"omni_(\d{1,9}(?:\.\d+)?)_(.*)", str(row.get("human_type")))
    if match:
        level, source = match[1] if level is None else level, match[2] if source is None else source
    problem, answer = require(row, column, where), pick(row, "answer", where)
    return build(where, {"problem": column}, problem=problem, answer=answer, level=level, source=source)


def deepscaler(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/agentica-org/DeepScaleR-Preview-Dataset: `problem`, `answer`, `solution`.

    The solution is a reference, and often blank.
    """
    return build(where, problem=require(row, "problem", where), answer=pick(row, "answer", where))


DAPO_PROMPT = re.compile(
    r"\s*Solve the following math problem step by step\. The last line of your response should be of the form "
    r"Answer: \$?Answer \(without quotes\) where \$?Answer is the answer to the problem\.\s*",
    re.IGNORECASE,
)
DAPO_REMINDER = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*\Z", re.IGNORECASE)


def dapo(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/datasets/BytedTsinghua-SIA/DAPO-Math-17k, and what else has verl's form.

    `prompt` is a list of messages, from whose user turn DAPO's template is taken away; `reward_model.ground_truth` is
    the gold, `data_source` the source.
    """
    turns = pick(row, "prompt", where)
    if not is_chat(turns):
        raise RowError(f"{where}: column 'prompt' is no list of messages")
    chat = exchange(turns, "prompt", where)
    problem = DAPO_REMINDER.sub("", DAPO_PROMPT.sub("", chat["problem"] or "", count=1))
    return build(
        where,
        {"problem": "prompt", "answer": "reward_model.ground_truth"},
        problem=problem,
        answer=pick(row, "reward_model.ground_truth", where),
        system=chat["system"],
        source=row.get("data_source"),
    )


MERGED = ("merged_responses", "merged", "merge", "solutions", "qwq_responses", "qwq_response", "qwq")


def redstar(row: Row, where: str) -> list[Candidate]:
    """https://huggingface.co/RedStar-Reasoning: math_dataset, code_dataset, rl_dataset and multimodal_dataset.

    The rows of these sets were never seen; their size says that one of math_dataset holds several responses. The common
    columns are tried, and some whose names the files suggest. A row with long texts in other columns is refused: what
    they are, `fields` has to say.
    """
    unseen = f"the form of RedStar's sets was never seen, and this row has {listed(row)}: name its columns in `fields`"
    try:
        found = by_columns(row, where)
        column = next((name for name in MERGED if isinstance(row.get(name), str | list) and row[name]), None)
        if found[0]["response"] is None and column is not None:
            found = by_columns(row, where, {"response": column})
    except RowError as error:
        raise RowError(f"{error} ({unseen}, without a reader)") from None
    if found[0]["response"] is None:
        read = {column for columns in COLUMNS.values() for column in columns}
        texts = {name: value if isinstance(value, list) else [value] for name, value in row.items() if name not in read}
        long = [name for name, values in texts.items() if any(isinstance(v, str) and len(v) > 1000 for v in values)]
        if long:
            raise RowError(f"{where}: no response, but long texts in {', '.join(long)} ({unseen}, without a reader)")
    return found


READERS: dict[str, Callable[[Row, str], list[Candidate]]] = {
    "gsm8k": gsm8k,
    "math": math,
    "omni-math": omni_math,
    "numinamath": numinamath,
    "metamath": metamath,
    "openthoughts": openthoughts,
    "openr1-math": openr1_math,
    "sky-t1": sky_t1,
    "limo": limo,
    "s1": s1,
    "taco": taco,
    "rstar-sft": rstar_sft,
    "deepscaler": deepscaler,
    "dapo": dapo,
    "redstar": redstar,
}
