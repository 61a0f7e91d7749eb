"""Rows of public data sets to candidates: one problem each, with its gold and, if there is one, a response.

A candidate is a dict with the keys `problem`, `answer` (the gold, None where the row has none), `response` (None: a
problem alone), `system`, `level` (annotated difficulty, on the data set's own scale), `source` (what the row says about
it), `kind` (`math` or `code`), `pass_rate`, `n_attempts`, `images` (encoded, as bytes), `pixels` (a hash of each
image), `choices`, and for code `tests` and `starter_code`. Thoughts come in `<think>` markers.

Without a reader the columns tell: see `by_columns`. A reader is needed where a column means something else than its
name says (a `solution` that is the response), or a text carries more than the problem (a template around it). What
makes a row useless for training but is no mistake in it (a gold that says "proof", a response that is cut) is left to
whoever filters. A RowError says what is wrong with a row; in which file and line it stands, whoever reads it knows.

Readers tried on real rows: gsm8k, math, omni-math and rstar-sft. The forms of the others are from the cards of the data
sets and from code that reads them, not seen.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from data_prep.answers import last_boxed
from data_prep.formats import END_THINK, ROLES, THINK, convert_markers
from data_prep.images import IMAGE_COLUMNS, load_image, pixel_hash
from data_prep.rows import RowError, is_unicode
from data_prep.sources import one_line

Row = Mapping[str, Any]
Candidate = dict[str, Any]
# What a reader finds: for each part of a candidate the column that it is from, for messages, and its value as it is.
Parts = dict[str, tuple[str, Any]]

# Where each part of a candidate is looked for, the likeliest column first. `thought` goes in front of the response.
COLUMNS = {
    "problem": ("problem", "question", "query", "prompt", "instruction", "problem_text"),
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
    "images": IMAGE_COLUMNS,
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


def read_candidates(
    row: Row, reader: str | None = None, fields: Mapping[str, str] | None = None, folder: Path | None = None
) -> list[Candidate]:
    """The candidates of a row, one for each of its responses.

    `reader`: a name in READERS, or None: the columns tell. `fields`: names in COLUMNS to columns or dotted paths of the
    row (`{"answer": "reward_model.ground_truth"}`); they win over what a reader finds. `folder`: that of the row's
    file, from which paths of images start; None for rows from no file. Raises RowError.
    """
    fields = fields or {}
    assert fields.keys() <= COLUMNS.keys(), fields
    if reader is None:
        parts = by_columns(row, fields)
    else:
        parts = READERS[reader](row)
        if "response" in fields:
            parts.pop("thought", None)  # which belongs to another response
        parts |= needed(row, **fields)
    found = {name: convert(name, *parts.get(name, (name, None))) for name in COLUMNS}
    column = parts["images"][0] if found["images"] else ""
    found["images"] = [load_image(image, column, folder) for image in found["images"]]
    found["pixels"] = [pixel_hash(image, f"column {column!r}") for image in found["images"]]
    responses, thought = found.pop("response"), found.pop("thought")
    if thought is not None:
        responses = [with_thought(thought, response) for response in responses or [None]]
    return [{**found, "response": response} for response in responses or [None]]


def by_columns(row: Row, fields: Mapping[str, str] | None = None) -> Parts:
    """A row that is known by its columns, see COLUMNS; a list of responses gives one candidate each.

    Conversations are in `messages`, `conversations` (ShareGPT) or, with or without the reply, in `prompt` and
    `completion`; they hold one exchange. Columns go before conversations. `instruction` may have an `input`. A gold
    may be the end of a GSM8K solution or in a box; without a column for it, it is the box of a text `solution`, which
    is a reference and not a response.
    """
    fields = fields or {}
    columns, values = dict[str, str](), dict[str, Any]()
    for name in COLUMNS:
        columns[name], values[name] = find(row, name, fields)
    more = row.get("input")
    if columns["problem"] == "instruction" and isinstance(values["problem"], str) and isinstance(more, str):
        values["problem"] += f"\n\n{more}" if more.strip() else ""

    chat: dict[str, str | None] = {}
    column, asked, replied = columns["problem"], values["problem"], values["response"]
    if is_chat(asked) or is_chat(replied):  # verl's and TRL's prompts, TRL's completions
        if not is_chat(asked):
            asked = [] if asked is None else [{"role": "user", "content": asked}]
        elif not is_chat(replied):
            replied = []
        chat = exchange([*asked, *replied], column)
        values.update({name: None for name in ("problem", "response") if is_chat(values[name])})
    elif column := next((column for column in CHATS if is_chat(row.get(column))), ""):
        chat = exchange(row[column], column)
    for name, text in chat.items():
        if values[name] is None:
            columns[name], values[name] = column, text

    if values["problem"] is None and not chat and columns["problem"] not in row and "problem" not in fields:
        expected = ", ".join((*COLUMNS["problem"], *CHATS))
        raise RowError(f"no problem in the columns {listed(row)}; expected one of {expected}, or `fields`")
    if "answer" not in fields:
        if isinstance(values["answer"], str):
            values["answer"] = gold_in(values["answer"])
        elif values["answer"] is None and isinstance(row.get("solution"), str) and "solution" not in fields.values():
            values["answer"] = last_boxed(row["solution"])
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
    return {name: (columns[name], values[name]) for name in COLUMNS}


def find(row: Row, name: str, fields: Mapping[str, str]) -> tuple[str, Any]:
    """The column that holds a part of a candidate, and its value."""
    if name in fields:
        return fields[name], pick(row, fields[name])
    for column in COLUMNS[name]:
        if (value := get(row, column)) is not None:
            return column, value
    return next((column for column in COLUMNS[name] if column in row), name), None


def at(row: Row, column: str) -> Any:
    """The value of a column or, where there is none of that name, of a dotted path; MISSING if it leads nowhere.

    NaN, which is how tables show a hole, is None.
    """
    value: Any = row
    for part in [column] if column in row or "." not in column else column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) < 9 and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return None if isinstance(value, float) and value != value else value


def get(row: Row, column: str) -> Any:
    """The value of a column, None where there is no such column."""
    return None if (value := at(row, column)) is MISSING else value


def pick(row: Row, column: str) -> Any:
    """The value of a column that has to be there. Raises RowError."""
    if (value := at(row, column)) is MISSING:
        raise RowError(f"no column {column!r}; the row has {listed(row)}")
    return value


def listed(row: Row) -> str:
    return shorten(", ".join(sorted(map(str, row))), 200, placeholder=" ...") or "no columns"


# ---------------------------------------------------------------------------------------------------------- conversion


def convert(name: str, column: str, value: Any) -> Any:
    """A value in the type of its place in a candidate; lists of `response` and `images`. Raises RowError."""
    if name == "problem":
        text = text_of(value, column)
        if text is None or not text.strip():
            raise RowError(f"column {column!r} holds no problem ({'null' if text is None else 'blank'})")
        return text
    if name == "response":
        texts = [text_of(each, column) for each in (value if isinstance(value, list) else [value])]
        return [convert_markers(text) for text in texts if text is not None]
    if name == "answer":
        return answer_of(value, column)
    if name in ("system", "thought", "starter_code"):
        text = text_of(value, column)
        return text if text and text.strip() else None
    if name == "source":
        return text_of(scalar(value), column)
    if name == "kind":
        return "code" if isinstance(value, str) and value.strip().lower() in ("code", "coding") else "math"
    if name == "level":
        return level_of(value)
    if name in ("pass_rate", "n_attempts"):
        return number_of(value, name, column)
    if name == "images":
        return [image for image in (value if isinstance(value, list) else [value]) if image is not None]
    if name == "choices":
        return choices_of(value, column)
    assert name == "tests", name
    return tests_of(value, column)


def text_of(value: Any, column: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError(f"column {column!r} holds {type(value).__name__}, expected text")
    if not value.isascii() and not is_unicode(value):
        raise RowError(f"column {column!r} holds half a character (a lone surrogate)")
    return value


def scalar(value: Any) -> Any:
    """Numbers as people write them: 3.0 is 3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def answer_of(value: Any, column: str) -> str | None:
    """A gold as text; several of them with commas."""
    if isinstance(value, list):
        parts = [answer_of(each, column) for each in value]
        return ", ".join(part for part in parts if part is not None) or None
    return (text_of(scalar(value), column) or "").strip() or None


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


def number_of(value: Any, name: str, column: str) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(f"column {column!r} holds {type(value).__name__}, expected a number")
    if name == "pass_rate":
        if not 0 <= value <= 1:
            raise RowError(f"column {column!r} holds {value}, expected a share from 0 to 1")
        return float(value)
    if not 0 <= value < 2**63 or value != int(value):
        raise RowError(f"column {column!r} holds {value}, expected a whole number")
    return int(value)


def choices_of(value: Any, column: str) -> list[str] | None:
    """The texts of the choices in order; None where they are no more than their own letters."""
    if isinstance(value, Mapping):  # {"A": ...}, or labels and texts side by side
        value = value["text"] if isinstance(value.get("text"), list) else list(value.values())
    if value is not None and not isinstance(value, list):
        raise RowError(f"column {column!r} holds {type(value).__name__}, expected a list of choices")
    texts = []
    for each in value or []:
        text = text_of(scalar(each), column)
        if text is None:
            raise RowError(f"column {column!r} has a choice that is null")
        texts.append(text)
    letters = [chr(ord("A") + i) for i in range(len(texts))]
    return texts if texts and texts != letters else None


def tests_of(value: Any, column: str) -> Any:
    """Test cases as they are; read, where they are JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:  # a ValueError too: an integer of 5,000 digits
        raise RowError(f"column {column!r} holds broken JSON: {one_line(error)}") from None


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


def exchange(turns: Any, column: str) -> dict[str, str | None]:
    """Problem, response and system prompt of a conversation of one exchange; the response is the last reply.

    Turns are `{role, content}` or `{from, value}`. Raises RowError.
    """
    if not is_chat(turns):
        raise RowError(f"column {column!r} is no list of turns with role and content, or from and value")
    found: dict[str, str | None] = {"problem": None, "response": None, "system": None}
    n_problems = 0
    for i, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise RowError(f"turn {i} of column {column!r} is {type(turn).__name__}, expected role and content")
        speaker = turn.get("role", turn.get("from"))
        role = ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise RowError(f"unknown speaker {speaker!r} in column {column!r}; known: {', '.join(ROLES)}")
        content = content_of(turn.get("content", turn.get("value")), f"{column}, turn {i}")
        if role == "user":
            n_problems += 1
            found["problem"] = content
        elif role == "system":
            found["system"] = content
        else:
            thought = next((turn[key] for key in COLUMNS["thought"] if isinstance(turn.get(key), str)), None)
            found["response"] = with_thought(thought, content) if thought else content
    if n_problems > 1:
        raise RowError(f"column {column!r} has {n_problems} user turns: only conversations of one are read")
    if n_problems == 0:
        raise RowError(f"column {column!r} has no user turn")
    return found


def content_of(value: Any, column: str) -> str | None:
    """The text of a turn, which may be a list of parts; images among them are in a column of their own."""
    if not isinstance(value, list):
        return text_of(value, column)
    texts = []
    for part in value:
        if isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
            continue
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise RowError(f"column {column!r} has a part that is neither text nor image")
        texts.append(text_of(part["text"], column) or "")
    return "\n".join(texts)


# ------------------------------------------------------------------------------------------------------------- readers


def needed(row: Row, **columns: str) -> Parts:
    """Parts from columns that have to be there. Raises RowError."""
    return {name: (column, pick(row, column)) for name, column in columns.items()}


def optional(row: Row, **columns: str) -> Parts:
    return {name: (column, get(row, column)) for name, column in columns.items()}


def given(**values: Any) -> Parts:
    """Parts whose values do not stand in a column as they are."""
    return {name: (name, value) for name, value in values.items()}


def first_of(row: Row, *columns: str) -> str:
    """The first of the columns that the row has. Raises RowError if it has none of them."""
    for column in columns:
        if column in row:
            return column
    raise RowError(f"no column {' or '.join(map(repr, columns))}; the row has {listed(row)}")


def boxed_in(row: Row, column: str) -> str | None:
    text = text_of(get(row, column), column)
    return None if text is None else last_boxed(text)


def answer_or_box(row: Row) -> Parts:
    """The gold: `answer` or, where there is none, the box of `solution`."""
    first_of(row, "answer", "solution")  # with neither it is another data set
    answer = get(row, "answer")
    return given(answer=boxed_in(row, "solution") if answer is None else answer)


def gsm8k(row: Row) -> Parts:
    """https://huggingface.co/datasets/openai/gsm8k: `question`; `answer` is a solution that ends in "#### 1,234"."""
    solution = text_of(pick(row, "answer"), "answer") or ""
    if not FINAL.search(solution):
        raise RowError("column 'answer' has no line '#### ...' with the gold")
    return needed(row, problem="question") | given(answer=gold_in(solution))


def math(row: Row) -> Parts:
    """https://github.com/hendrycks/math: `problem`, `solution` with a box, `level` "Level 1" to "Level 5", `type`.

    Copies have the gold in `answer`, the level in `difficulty`, the problem in `question`. Level 0 is "Level ?".
    """
    problem = needed(row, problem=first_of(row, "problem", "question"))
    return problem | answer_or_box(row) | given(level=level_of(find(row, "level", {})[1]) or None)


def numinamath(row: Row) -> Parts:
    """https://huggingface.co/datasets/AI-MO/NuminaMath-1.5 and NuminaMath-CoT: `problem`, `answer`, `source`.

    NuminaMath-CoT has no `answer`: it is the box of `solution`. Answers "proof" and "notfound" stay as they are, and so
    do problems whose `problem_is_valid` is not "Yes". Solutions are references; who wants to train on them reads the
    `messages` of NuminaMath-CoT without a reader.
    """
    return needed(row, problem="problem") | answer_or_box(row) | optional(row, source="source")


def metamath(row: Row) -> Parts:
    """https://huggingface.co/datasets/meta-math/MetaMathQA: `query`, `response` that ends in "The answer is: ...".

    Its `type` is the source: GSM_Rephrased, MATH_SV and so on.
    """
    parts = needed(row, problem="query", response="response") | optional(row, source="type")
    _, stated, answer = (text_of(parts["response"][1], "response") or "").rpartition("The answer is:")
    return parts | given(answer=answer if stated else None)


# In front of the problems of Sky-T1 and of those who took over its prompts.
BOX_PROMPT = "Return your final response within \\boxed{}."
CODE_PROMPT = re.compile(
    r"\s*Generate an executable Python function generated from the given prompt\.\s*(?:"
    r"The function should take stdin as input and print the output\.(?:\s*Simply call the function after the "
    r"definition\s*\.)?|Return the function body without invoking it at the final solution\s*\.)?\s*"
)


def sky_t1(row: Row) -> Parts:
    """https://huggingface.co/datasets/NovaSky-AI/Sky-T1_data_17k: `system`, `conversations` with `from` and `value`.

    The user's turn begins with an instruction, which is taken away; an instruction to write code tells the kind. The
    reply has Sky-T1's markers. There is no gold.
    """
    chat = exchange(pick(row, "conversations"), "conversations")
    text = chat["problem"] or ""
    if code := CODE_PROMPT.match(text):
        text = text[code.end() :]
    else:
        text = text.lstrip().removeprefix(BOX_PROMPT).lstrip()
    texts = {"problem": text, "response": chat["response"], "system": get(row, "system") or chat["system"]}
    return {name: ("conversations", text) for name, text in texts.items()} | given(kind="code" if code else "math")


def openthoughts(row: Row) -> Parts:
    """https://huggingface.co/datasets/open-thoughts/OpenThoughts-114k, both of its configurations.

    `metadata`: `problem`, `deepseek_reasoning`, `deepseek_solution`, `ground_truth_solution` with a box, `domain`,
    `source`, `test_cases`, `starter_code`. `default`: the form of Sky-T1, without gold.
    """
    if "problem" not in row:
        return sky_t1(row)
    parts = needed(row, problem="problem", thought="deepseek_reasoning", response="deepseek_solution")
    parts |= optional(row, source="source")
    if row.get("domain") == "code":
        return parts | optional(row, tests="test_cases", starter_code="starter_code") | given(kind="code")
    return parts | given(answer=boxed_in(row, "ground_truth_solution"))


def openr1_math(row: Row) -> Parts:
    """https://huggingface.co/datasets/open-r1/OpenR1-Math-220k: `problem`, `answer`, `source`, list `generations`.

    Each generation is a candidate, also those that `correctness_math_verify` and `is_reasoning_complete` find wrong or
    cut. Problems with no right generation are not in the set, so no pass rate is taken from it.
    """
    return needed(row, problem="problem", response="generations") | optional(row, answer="answer", source="source")


def limo(row: Row) -> Parts:
    """https://huggingface.co/datasets/GAIR/LIMO: `question`, `answer`; `solution` is the long response."""
    return needed(row, problem="question", response="solution") | optional(row, answer="answer")


def s1(row: Row) -> Parts:
    """https://huggingface.co/datasets/simplescaling/s1K and s1K-1.1: `question`, `solution`, thought and attempt.

    s1K: list `thinking_trajectories` of one, `attempt`. s1K-1.1: `deepseek_thinking_trajectory`, `deepseek_attempt`;
    Gemini's, which is s1K's, is read where there is no DeepSeek's. The gold is the box of `solution`, or all of a
    `solution` of one short line; proofs and texts of science have none. `source_type` is the source.
    """
    for columns in (
        {"thought": "deepseek_thinking_trajectory", "response": "deepseek_attempt"},
        {"thought": "thinking_trajectories", "response": "attempt"},
        {"thought": "gemini_thinking_trajectory", "response": "gemini_attempt"},
    ):
        if all(get(row, column) is not None for column in columns.values()):
            break
    else:
        raise RowError(
            "neither 'deepseek_thinking_trajectory' and 'deepseek_attempt' nor 'thinking_trajectories' and "
            f"'attempt'; the row has {listed(row)}"
        )
    parts = needed(row, problem="question", **columns) | optional(row, source="source_type")
    for name in columns:
        column, value = parts[name]
        if isinstance(value, list):
            if len(value) != 1:
                raise RowError(f"column {column!r} has {len(value)} entries, expected 1")
            parts[name] = column, value[0]
    solution = text_of(get(row, "solution"), "solution") or ""
    answer = last_boxed(solution)
    if answer is None and len(solution) <= 100 and "\n" not in solution.strip():
        answer = solution
    return parts | given(answer=answer)


TACO_LEVELS = {"EASY": 1, "MEDIUM": 2, "MEDIUM_HARD": 3, "HARD": 4, "VERY_HARD": 5}


def taco(row: Row) -> Parts:
    """https://huggingface.co/datasets/BAAI/TACO: `question`, `input_output` as JSON text, `difficulty`, `source`.

    Problems of code, with their tests; EASY to VERY_HARD are the levels 1 to 5. `solutions` are references.
    """
    parts = needed(row, problem="question", tests="input_output")
    parts |= optional(row, source="source", starter_code="starter_code")
    return parts | given(kind="code", level=TACO_LEVELS.get(str(row.get("difficulty"))))


def rstar_sft(row: Row) -> Parts:
    """SFT examples of https://github.com/microsoft/rStar, rStar-Math: `query`, `response` in steps of code; no gold."""
    return needed(row, problem="query", response="response")


def omni_math(row: Row) -> Parts:
    """https://huggingface.co/datasets/KbsdJames/Omni-MATH: `problem`, `answer`, `difficulty` 1 to 9.5, `source`.

    rStar's copy has `question`, and `human_type` "omni_8.0_source", where copies of it have no more than that.
    """
    parts = needed(row, problem=first_of(row, "problem", "question"), answer="answer")
    level, source = get(row, "difficulty"), get(row, "source")
    if match := re.match(r"omni_(\d{1,9}(?:\.\d+)?)_(.*)", str(row.get("human_type"))):
        level, source = match[1] if level is None else level, match[2] if source is None else source
    return parts | given(level=level, source=source)


def deepscaler(row: Row) -> Parts:
    """https://huggingface.co/datasets/agentica-org/DeepScaleR-Preview-Dataset: `problem`, `answer`, `solution`.

    The solution is a reference, and often blank.
    """
    return needed(row, problem="problem", answer="answer")


DAPO_PROMPT = re.compile(
    r"\s*Solve the following math problem step by step\. The last line of your response should be of the form "
    r"Answer: \$?Answer \(without quotes\) where \$?Answer is the answer to the problem\.\s*",
    re.IGNORECASE,
)
DAPO_REMINDER = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*\Z", re.IGNORECASE)


def dapo(row: Row) -> Parts:
    """https://huggingface.co/datasets/BytedTsinghua-SIA/DAPO-Math-17k, and what else has verl's form.

    `prompt` is a list of messages, from whose user turn DAPO's template is taken away; `reward_model.ground_truth` is
    the gold, `data_source` the source.
    """
    chat = exchange(pick(row, "prompt"), "prompt")
    problem = DAPO_REMINDER.sub("", DAPO_PROMPT.sub("", chat["problem"] or "", count=1))
    parts = needed(row, answer="reward_model.ground_truth") | optional(row, source="data_source")
    return parts | {"problem": ("prompt", problem), "system": ("prompt", chat["system"])}


MERGED = ("merged_responses", "merged", "merge", "solutions", "qwq_responses", "qwq_response", "qwq")


def redstar(row: Row) -> Parts:
    """https://huggingface.co/RedStar-Reasoning: math_dataset, code_dataset, rl_dataset and multimodal_dataset.

    The rows of these sets were never seen; their size says that one of math_dataset holds several responses. The common
    columns are tried, and some whose names the files suggest. A row with long texts in other columns is refused: what
    they are, `fields` has to say.
    """
    try:
        parts = by_columns(row)
        column = next((name for name in MERGED if isinstance(row.get(name), str | list) and row[name]), None)
        if not parts["response"][1] and column is not None:
            parts = by_columns(row, {"response": column})
        if not parts["response"][1]:
            read = {column for columns in COLUMNS.values() for column in columns}
            texts = {name: value if isinstance(value, list) else [value] for name, value in row.items()}
            long = [
                name
                for name, values in texts.items()
                if name not in read and any(isinstance(value, str) and len(value) > 1000 for value in values)
            ]
            if long:
                raise RowError(f"no response, but long texts in {', '.join(long)}")
    except RowError as error:
        raise RowError(
            f"{error} (the form of RedStar's sets was never seen, and this row has {listed(row)}: name its columns in "
            "`fields`, without a reader)"
        ) from None
    return parts


READERS: dict[str, Callable[[Row], Parts]] = {
    reader.__name__.replace("_", "-"): reader
    for reader in (
        gsm8k, math, omni_math, numinamath, metamath, openthoughts, openr1_math, sky_t1, limo, s1, taco, rstar_sft,
        deepscaler, dapo, redstar,
    )
}  # fmt: skip
