"""`data_prep.rows`: what a row must hold, and what names a problem."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.rows import SCHEMAS, RowError, problem_id, validate, validate_messages

SAMPLE = {
    "problem_id": "p1-0", "source": "s", "problem": "What is 1+1?", "answer": "2", "images": [], "level": 1,
    "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "2"}],
    "verdict": "right", "pass_rate": 0.5, "n_attempts": 4, "n_tokens": None,
}  # fmt: skip
RESPONSE = {
    "problem_id": "p1-0", "sample": 0, "model": "m", "prompt_format": "chat", "response": "", "finish_reason": "stop",
    "n_tokens": 3,
}  # fmt: skip


def test_good_rows_pass():
    validate(SAMPLE, "sample", "row 0")
    validate({**SAMPLE, "anything": object()}, "problem", "row 0")
    validate(RESPONSE, "response", "row 0")


@pytest.mark.parametrize(("kind", "row"), [("problem", SAMPLE), ("sample", SAMPLE), ("response", RESPONSE)])
def test_required_columns(kind: str, row: dict[str, Any]):
    for field in SCHEMAS[kind]:
        for missing in ({k: v for k, v in row.items() if k != field.name}, {**row, field.name: None}):
            if field.nullable:
                validate(missing, kind, "f, row 3")
            else:
                with pytest.raises(
                    RowError, match=f"^f, row 3: column '{field.name}' is missing; a {kind} row needs it$"
                ):
                    validate(missing, kind, "f, row 3")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("problem", 7, "column 'problem' holds int, expected text"),
        ("answer", 2.0, "column 'answer' holds float, expected text"),
        ("level", "5", "column 'level' holds str, expected a number"),
        ("pass_rate", True, "column 'pass_rate' holds bool, expected a number"),
        ("n_attempts", 1.5, "column 'n_attempts' holds 1.5, expected a whole number"),
        ("n_tokens", math.nan, "column 'n_tokens' holds nan, expected a whole number"),
        ("n_tokens", math.inf, "column 'n_tokens' holds inf, expected a whole number"),
        ("verdict", "correct", "verdict 'correct' is none of right, wrong, unverifiable, timed out"),
        ("problem", "a\ud800", "column 'problem' holds half a character"),
        ("messages", "[]", "'messages' is str; expected a list"),
    ],
)
def test_wrong_values_are_named(column: str, value: Any, message: str):
    with pytest.raises(RowError) as caught:
        validate({**SAMPLE, column: value}, "sample", "file.jsonl, line 3")
    assert str(caught.value).startswith(f"file.jsonl, line 3: {message}")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "'messages' is empty"),
        (None, "'messages' is NoneType"),
        (["hello"], "message 0 has no 'role'"),
        ([{"content": "x"}], "message 0 has no 'role'"),
        ([{"role": None, "content": "x"}], "message 0 has no 'role'"),
        (
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}],
            "message 1 (assistant) has no text",
        ),
        ([{"role": "user", "content": ["x"]}], "message 0 (user) has no text"),
        ([{"role": "user", "content": "x"}], "no assistant turn with text"),
        ([{"role": "assistant", "content": " \n"}], "no assistant turn with text"),
    ],
)
def test_conversations_that_teach_nothing(messages: Any, message: str):
    with pytest.raises(RowError) as caught:
        validate_messages(messages, "f, row 1")
    assert str(caught.value).startswith(f"f, row 1: {message}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*SAMPLE, "other"]), JSON, max_size=8), st.sampled_from(list(SCHEMAS)))
def test_any_row_passes_or_raises_a_row_error(row: dict[str, Any], kind: str):
    try:
        validate(row, kind, "here")
    except RowError as error:
        assert str(error).startswith("here: ")  # noqa: PT017
    else:
        assert all(row.get(field.name) is not None for field in SCHEMAS[kind] if not field.nullable)


def test_problem_ids_are_stable_and_versioned():
    """The hash is written into manifests of models: it may change with its version only."""
    assert problem_id("What is 1+1?") == "p1-85a0ef1999483954fa4a2f6c"
    assert len(problem_id("")) == 27


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from([" ", "\n", "\t", "\u00a0"]))
def test_case_and_white_space_do_not_count(text: str, space: str):
    assert problem_id(f"{space}{text}{space}") == problem_id(text)
    assert problem_id(text.replace(" ", "  ")) == problem_id(text)
    assert problem_id(text + "x") != problem_id(text)


def test_images_count_and_answers_do_not():
    assert len({problem_id("Find x."), problem_id("Find x.", [b"a"]), problem_id("Find x.", [b"b"])}) == 3
    assert problem_id("Find x.", [b"a", b"b"]) != problem_id("Find x.", [b"b", b"a"])
    assert problem_id("FIND  x.") == problem_id("Find x.")
    assert problem_id("a\ud800b").startswith("p1-")
