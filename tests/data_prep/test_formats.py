"""`data_prep.formats`: other teams' markers and conversations, converted without loss."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.formats import convert_markers, is_unclosed, opens_thought, to_sample
from data_prep.rows import RowError, problem_id

OURS = "<think>\nHm.\n\nSo 7.\n</think>\n\n\\boxed{7}"
T, ET, S, ES = "<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"


@pytest.mark.parametrize(
    "text",
    [
        OURS,
        f"{T}\n\nHm.\n\nSo 7.\n\n{ET}\n\n{S}\n\n\\boxed{{7}}\n\n{ES}",
        f"\n {T}Hm.\n\nSo 7.{ET}{S}\\boxed{{7}}{ES} \n",
        f"{T}\nHm.\n\nSo 7.\n{ET}\n{S}\n\\boxed{{7}}",  # cut before the end of the solution
        f"{T}\nHm.\n\nSo 7.\n{ET}\n\n\\boxed{{7}}",  # a solution without markers
        f"{T}\nHm.\n\nSo 7.\n{S}\n\\boxed{{7}}\n{ES}",  # the end of the thought forgotten
        f"\nHm.\n\nSo 7.\n{ET}\n\n{S}\n\\boxed{{7}}{ES}",  # the opening in the prompt
        "Hm.\n\nSo 7.\n</think>\n\n\\boxed{7}",  # R1's template puts the opening into the prompt
        "\n\nHm.\n\nSo 7.\n</think>\n\n\\boxed{7}",
    ],
)
def test_thoughts_in_any_markers(text: str):
    assert convert_markers(text) == OURS
    assert not is_unclosed(convert_markers(text))


def test_text_without_a_thought_stays_as_it_is():
    for text in ("", "  7 ", "The answer is \\boxed{7}.\n", "a < b and b > c", "about <|begin_of_thought|> markers"):
        assert convert_markers(text) == text
        assert not is_unclosed(text)


@pytest.mark.parametrize("text", [f"{T}\nHm.", "<think>\nHm.", f"  {T}Hm."])
def test_thoughts_that_are_never_closed_stay_open(text: str):
    assert convert_markers(text).lstrip() == "<think>\nHm."
    assert is_unclosed(convert_markers(text))


def test_a_second_thought_that_is_never_closed():
    assert is_unclosed(f"{OURS} <think> or")
    assert not is_unclosed(f"{OURS} <think> or</think>")


MARKED = st.lists(
    st.one_of(st.sampled_from([T, ET, S, ES, "<think>", "</think>", "\n", " ", "\\boxed{7}"]), st.text(max_size=6)),
    max_size=10,
).map("".join)


@given(MARKED)
@settings(max_examples=500, deadline=None)
def test_conversion_is_idempotent_and_keeps_the_words(text: str):
    once = convert_markers(text)
    assert convert_markers(once) == once
    for marker in (T, ET, S, ES, "<think>", "</think>"):
        text, once = text.replace(marker, ""), once.replace(marker, "")
    assert "".join(once.split()) == "".join(text.split())


def test_long_hostile_text_takes_no_time():
    started = time.perf_counter()
    for text in (T + " " * 300_000 + "x", (T + "\n" * 50) * 3000, (S + "a") * 30_000, T + (ET + " ") * 30_000 + "x"):
        convert_markers(text)
    assert time.perf_counter() - started < 1


TURNS = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "7"}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "7"}]},
        {"conversations": [{"from": "user", "value": "x"}, {"from": "assistant", "value": "7"}]},
        {"conversations": TURNS},
        {"messages": None, "query": "x", "response": "7"},
        {"instruction": "x", "input": "", "output": "7"},
        {"instruction": "x", "output": "7", "input": None},
        {"prompt": "x", "completion": "7"},
        {"problem": "x", "response": "7"},
    ],
)
def test_stored_forms(row: dict[str, Any]):
    sample = to_sample({**row, "extra": 1}, "row 0")
    assert sample["messages"] == TURNS
    assert (sample["problem"], sample["problem_id"], sample["extra"]) == ("x", problem_id("x"), 1)


def test_earlier_turns_of_alpaca():
    row = {"instruction": "c", "output": "d", "history": [["a", "b"]]}
    assert [m["content"] for m in to_sample(row, "")["messages"]] == ["a", "b", "c", "d"]
    with pytest.raises(RowError, match="'history' is no list of"):
        to_sample({**row, "history": ["a"]}, "f, row 1")


def test_unknown_roles():
    messages = [{"role": "alien", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(RowError, match="f, row 1: message 0 has the role 'alien'; known: system, user, assistant"):
        to_sample({"messages": messages}, "f, row 1")


def test_system_prompts_and_inputs():
    sample = to_sample({"instruction": "Add.", "input": "3 4", "output": "7", "system": "Be terse."}, "row 0")
    assert sample["messages"] == [
        {"role": "system", "content": "Be terse."}, {"role": "user", "content": "Add.\n\n3 4"},
        {"role": "assistant", "content": "7"},
    ]  # fmt: skip
    share = [{"from": "system", "value": "s"}, {"from": "human", "value": "x"}, {"from": "gpt", "value": "7"}]
    assert [m["role"] for m in to_sample({"conversations": share}, "")["messages"]] == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "7"}]},
        {"conversations": TURNS},
        {"query": "x", "response": "7"},
    ],
)
def test_a_column_with_the_system_prompt(row: dict[str, Any]):
    sample = to_sample({**row, "system": "s"}, "row 0")
    assert sample["messages"] == [{"role": "system", "content": "s"}, *TURNS]
    assert sample["problem"] == "x"
    assert to_sample(sample, "row 0")["messages"] == sample["messages"]
    for absent in ("", None, 3):
        assert to_sample({**row, "system": absent}, "row 0")["messages"] == TURNS
    with pytest.raises(RowError, match=r"row 0: message 0 \(system\) holds half a character"):
        to_sample({**row, "system": "\ud83d"}, "row 0")


def test_a_system_turn_in_the_conversation_counts_more_than_the_column():
    turns = [{"role": "system", "content": "own"}, *TURNS]
    assert to_sample({"messages": turns, "system": "s"}, "")["messages"] == turns
    with pytest.raises(RowError, match="row 0: 'messages' is empty"):
        to_sample({"messages": [], "system": "s"}, "row 0")


def test_only_the_assistants_markers_are_converted():
    row = {"messages": [{"role": "user", "content": "a</think>b"}, {"role": "assistant", "content": "a</think>b"}]}
    assert [m["content"] for m in to_sample(row, "")["messages"]] == ["a</think>b", "<think>\na</think>b"]
    assert row["messages"][1]["content"] == "a</think>b"  # the input is left alone


def test_only_our_own_problem_ids_are_kept():
    """Another team's id would never match that of a benchmark's problem: the guard would be silent."""
    own = problem_id("a geometry problem", [b"pixels"])
    assert to_sample({"query": "x", "response": "7", "problem_id": own}, "")["problem_id"] == own
    for other in ("math-17", 17, "", None):
        assert to_sample({"query": "x", "response": "7", "problem_id": other}, "")["problem_id"] == problem_id("x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "no conversation found in columns []"),
        ({"query": "x", "answer": "7"}, "no conversation found in columns ['answer', 'query']; expected 'messages'"),
        (
            {"conversations": [{"from": "bot", "value": "x"}]},
            "unknown speaker 'bot' in 'conversations'; known: human, ",
        ),
        ({"conversations": [{"from": None, "value": "x"}]}, "unknown speaker 'None'"),
        ({"conversations": [{"from": "human", "value": None}]}, "message 0 (user) has no text"),
        ({"conversations": ["x"]}, "message 0 has no 'role'"),
        ({"conversations": []}, "'messages' is empty"),
        ({"query": "x", "response": 7}, "message 1 (assistant) has no text"),
        ({"query": "x", "response": " "}, "no assistant turn with text"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no assistant turn with text"),
        ({"messages": "[]"}, "'messages' is str"),
    ],
)
def test_rows_without_a_conversation(row: dict[str, Any], message: str):
    with pytest.raises(RowError) as caught:
        to_sample(row, "data.jsonl, line 5")
    assert str(caught.value).startswith(f"data.jsonl, line 5: {message}")


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | MARKED,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner, max_size=3)
    ),
    max_leaves=6,
)
COLUMNS = [
    "messages",
    "conversations",
    "query",
    "response",
    "instruction",
    "input",
    "output",
    "problem",
    "system",
    "problem_id",
]


@given(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_row_is_a_sample_or_a_row_error(row: dict[str, Any]):
    try:
        sample = to_sample(row, "here")
    except RowError as error:
        assert str(error).startswith("here: ")  # noqa: PT017
    else:
        assert any(m["role"] == "assistant" and m["content"].strip() for m in sample["messages"])
        assert sample["problem_id"].startswith("p1-")
        again = to_sample(sample, "here")
        assert again["messages"] == sample["messages"]


def test_who_opens_the_thought():
    assert opens_thought("<|user|>2+2<|assistant|><think>\n", [])
    assert not opens_thought("<|user|>2+2<|assistant|>", ["a</think>b"] * 3)
    messages = [{"role": "user", "content": "2+2"}]
    assert opens_thought(messages, ["a</think> 4"] * 3 + ["4"])
    assert not opens_thought(messages, ["<think>a</think> 4"] * 3)
    assert not opens_thought(messages, ["4"] * 299 + ["hm </think> 4"])  # one response decides nothing
    assert not opens_thought(messages, [])
