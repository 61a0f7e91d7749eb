"""Rows in the forms of public data sets, made up here, and real ones."""

import gzip
import io
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.curation.readers import COLUMNS, READERS, read_candidates
from data_prep.formats import convert_markers
from data_prep.rows import RowError

KEYS = {
    "problem", "answer", "response", "system", "level", "source", "kind", "pass_rate", "n_attempts", "images",
    "pixels", "choices", "tests", "starter_code",
}  # fmt: skip
SKY = (
    "<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n"
    "<|begin_of_solution|>\n\nIt is \\boxed{4}.\n\n<|end_of_solution|>"
)
CONVERTED = "<think>\nTwo and two.\n</think>\n\nIt is \\boxed{4}."


def read(row: dict[str, Any], reader: str | None = None, folder: Path | None = None, **fields: str) -> list:
    found = read_candidates(row, reader, fields, folder)
    assert found
    for candidate in found:
        assert set(candidate) == KEYS
        assert candidate["problem"].strip()
        assert candidate["kind"] in ("math", "code")
        assert candidate["response"] is None or convert_markers(candidate["response"]) == candidate["response"]
    return found


def single(row: dict[str, Any], reader: str | None = None, folder: Path | None = None, **fields: str) -> dict[str, Any]:
    found = read(row, reader, folder, **fields)
    assert len(found) == 1
    return found[0]


def fails(row: dict[str, Any], reader: str | None = None, folder: Path | None = None, **fields: str) -> str:
    with pytest.raises(RowError) as error:
        read_candidates(row, reader, fields, folder)
    message = str(error.value)
    assert "\n" not in message
    return message


# ----------------------------------------------------------------------------------------------------- by their columns


@pytest.mark.parametrize("column", ["problem", "question", "query", "prompt", "instruction"])
@pytest.mark.parametrize("gold", ["answer", "gold", "final_answer", "ground_truth", "expected_answer", "target"])
def test_problem_and_gold_by_their_usual_columns(column: str, gold: str) -> None:
    found = single({column: "What is 2 + 2?", gold: "4", "id": 9})
    assert (found["problem"], found["answer"], found["response"]) == ("What is 2 + 2?", "4", None)
    assert found["images"] == []
    assert all(found[name] is None for name in ("system", "level", "source", "pass_rate", "n_attempts", "choices"))


@pytest.mark.parametrize("column", ["response", "generation", "output", "completion"])
def test_response_by_its_usual_columns(column: str) -> None:
    assert single({"problem": "2 + 2?", column: SKY})["response"] == CONVERTED
    assert single({"problem": "2 + 2?", column: None})["response"] is None
    assert "holds dict" in fails({"problem": "2 + 2?", column: {"text": "4"}})


@pytest.mark.parametrize("column", ["responses", "generations", "outputs", "completions"])
def test_lists_of_responses_are_candidates_of_one_problem(column: str) -> None:
    found = read({"problem": "2 + 2?", "answer": 4, column: ["It is 4.", None, "It is 5."]})
    assert [candidate["response"] for candidate in found] == ["It is 4.", "It is 5."]
    assert {candidate["answer"] for candidate in found} == {"4"}
    assert single({"problem": "2 + 2?", column: []})["response"] is None
    assert "holds int" in fails({"problem": "2 + 2?", column: ["It is 4.", 4]})


def test_alpaca_has_an_input() -> None:
    row = {"instruction": "Add the numbers.", "input": "2, 2", "output": "4"}
    assert single(row)["problem"] == "Add the numbers.\n\n2, 2"
    assert single({**row, "input": ""})["problem"] == "Add the numbers."
    assert single({**row, "input": None})["problem"] == "Add the numbers."


def test_a_solution_is_a_reference_and_no_response() -> None:
    found = single({"problem": "2 + 2?", "solution": "We add: $\\boxed{4}$."})
    assert (found["answer"], found["response"]) == ("4", None)
    assert single({"problem": "2 + 2?", "solution": "We add: $\\boxed{4}$.", "answer": "5"})["answer"] == "5"
    assert single({"problem": "2 + 2?", "solution": ["We add."]})["answer"] is None
    # As a response it is none of its own gold.
    found = single({"problem": "2 + 2?", "solution": "We add: $\\boxed{4}$."}, response="solution")
    assert (found["answer"], found["response"]) == (None, "We add: $\\boxed{4}$.")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (3.0, "3"), (0.25, "0.25"), (7, "7"), (-2.0, "-2"), (float("nan"), None), (None, None), ("", None),
        (" 3/4 ", "3/4"), (["2"], "2"), ([1, 2.0], "1, 2"), ([], None), ("It is $\\boxed{12}$.", "12"),
        ("2 + 2 = 4\n#### 1,234,567", "1234567"), ("(1,234)", "(1,234)"), ("proof", "proof"),
    ],
)  # fmt: skip
def test_golds_become_text(answer: Any, text: str | None) -> None:
    assert single({"problem": "How many?", "answer": answer})["answer"] == text


def test_golds_of_other_types_are_refused() -> None:
    assert "column 'answer' holds dict" in fails({"problem": "How many?", "answer": {"value": 3}})
    assert "column 'answer' holds bool" in fails({"problem": "How many?", "answer": True})


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("Level 5", 5.0), ("level 2", 2.0), ("3", 3.0), ("7.5", 7.5), (4, 4.0), (2.5, 2.5), ("Level ?", None),
        ("hard", None), (float("nan"), None), (float("inf"), None), (True, None), (None, None), (10**400, None),
        ([1], None), ("9" * 50, None), ("Lv. 3", 3.0),
    ],
)  # fmt: skip
def test_levels(level: Any, number: float | None) -> None:
    assert single({"problem": "How many?", "level": level})["level"] == number
    assert single({"problem": "How many?", "difficulty": level})["level"] == number


def test_pass_rates() -> None:
    found = single({"problem": "How many?", "pass_rate": 0.5, "n_attempts": 8.0})
    assert (found["pass_rate"], found["n_attempts"]) == (0.5, 8)
    assert isinstance(found["n_attempts"], int)
    assert single({"problem": "How many?", "pass_rate": math.nan})["pass_rate"] is None
    assert "share from 0 to 1" in fails({"problem": "How many?", "pass_rate": 87.5})
    assert "expected a number" in fails({"problem": "How many?", "pass_rate": "0.5"})
    assert "whole number" in fails({"problem": "How many?", "n_attempts": 0.5})
    assert "whole number" in fails({"problem": "How many?", "n_attempts": math.inf})
    found = single(
        {"problem": "How many?", "llama_solve_rate": 0.25, "n": 64}, pass_rate="llama_solve_rate", n_attempts="n"
    )
    assert (found["pass_rate"], found["n_attempts"]) == (0.25, 64)


@pytest.mark.parametrize("problem", [None, "", "  \n", 7, ["text"], math.nan])
def test_problems_that_are_none(problem: Any) -> None:
    assert "'problem'" in fails({"problem": problem, "answer": "4"})


def test_rows_without_a_problem_name_their_columns() -> None:
    message = fails({"uid": 1, "text": "What is 2 + 2?"})
    assert "text, uid" in message
    assert "messages" in message
    assert "no columns" in fails({})


@pytest.mark.parametrize("column", ["problem", "answer", "response", "source"])
def test_half_characters_are_refused(column: str) -> None:
    row = {"problem": "2 + 2?", "answer": "4", "response": "4", "source": "made up"}
    assert f"column {column!r} holds half a character" in fails({**row, column: "4 \ud800"})
    assert "half a character" in fails({"messages": [{"role": "user", "content": "4 \ud800"}]})


def test_columns_that_mean_something_else_are_no_values() -> None:
    """As Geometry3K and others have them; nobody can rename the columns of a data set."""
    row = {"problem": "Find x.", "system": "linux", "source": 5, "domain": ["algebra"], "choices": 4, "thinking": "hm"}
    found = single(row)
    assert [found[name] for name in ("system", "source", "choices", "response", "kind")] == [None] * 4 + ["math"]
    assert single({**row, "response": "4", "system": "Think."})["system"] == "Think."
    assert single(row, source="source")["source"] == "5"


def test_thought_and_answer_in_two_columns() -> None:
    for column in ("reasoning_content", "thinking", "reasoning"):
        row = {"problem": "2 + 2?", column: "\nTwo and two.\n", "response": "It is \\boxed{4}."}
        assert single(row)["response"] == CONVERTED
        assert single({**row, "response": CONVERTED})["response"] == CONVERTED
        assert single({**row, column: None})["response"] == "It is \\boxed{4}."
        assert single({**row, column: " "})["response"] == "It is \\boxed{4}."
    found = read({"problem": "2 + 2?", "reasoning": "Two and two.", "responses": ["4", "5"]})
    assert [candidate["response"] for candidate in found] == ["4", "5"]
    row = {"problem": "2 + 2?", "cot": "<think>Two and two.</think>", "text": "It is \\boxed{4}."}
    assert single(row, thought="cot", response="text")["response"] == CONVERTED


def test_the_source_and_the_kind_of_the_row() -> None:
    found = single({"problem": "Sum them up.", "source": "olympiads", "domain": "code"})
    assert (found["source"], found["kind"]) == ("olympiads", "code")
    assert single({"problem": "Sum them up.", "data_source": "math_dapo", "ability": "MATH"})["source"] == "math_dapo"


def test_tests_make_a_problem_of_code() -> None:
    cases = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
    found = single({"question": "Add.", "input_output": json.dumps(cases), "starter_code": ""})
    assert (found["kind"], found["tests"], found["starter_code"]) == ("code", cases, None)
    assert single({"question": "Add.", "tests": "assert add(1, 2) == 3"})["tests"] == "assert add(1, 2) == 3"
    assert single({"question": "Add.", "tests": None, "starter_code": "def add(a, b):"})["kind"] == "math"
    assert "broken JSON" in fails({"question": "Add.", "input_output": '{"inputs": ['})
    assert "broken JSON" in fails({"question": "Add.", "input_output": "[" * 100_000})


def test_the_form_of_joined_responses_and_problems() -> None:
    """A row of responses with the columns of its problem: a list in `solution`, a gold in `gold`."""
    row = {
        "dataset": "aime24", "problem_id": "x1", "problem": "2 + 2?", "gold": "4", "solution": ["One.", "Two."],
        "level": None, "subject": None, "model": "m", "response": SKY, "pred": "4", "correct": True,
    }  # fmt: skip
    found = single(row)
    assert (found["answer"], found["response"], found["source"]) == ("4", CONVERTED, "aime24")


# ------------------------------------------------------------------------------------------------------- conversations


@pytest.mark.parametrize(
    "row",
    [
        {
            "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": SKY}],
            "system": "Think.",
        },
        {
            "messages": [
                {"role": "system", "content": "Think."},
                {"role": "user", "content": "2 + 2?"},
                {"role": "assistant", "content": SKY},
            ]
        },
        {
            "conversations": [
                {"from": "system", "value": "Think."},
                {"from": "human", "value": "2 + 2?"},
                {"from": "gpt", "value": SKY},
            ]
        },
        {
            "system": "Think.",
            "conversations": [{"from": "user", "value": "2 + 2?"}, {"from": "assistant", "value": SKY}],
        },
        {
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "2 + 2?"}],
            "completion": [{"role": "assistant", "content": SKY}],
        },
        {
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "2 + 2?"}],
            "response": SKY,
        },
        {"prompt": "2 + 2?", "completion": [{"role": "assistant", "content": SKY}], "system": "Think."},
        {
            "messages": [
                {"role": "system", "content": "Think."},
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "2 + 2?"}]},
                {"role": "assistant", "content": "It is \\boxed{4}.", "reasoning_content": "Two and two."},
            ]
        },
    ],
)
def test_conversations(row: dict[str, Any]) -> None:
    found = single(row)
    assert (found["problem"], found["response"], found["system"]) == ("2 + 2?", CONVERTED, "Think.")


def test_prompts_without_a_reply_are_problems() -> None:
    found = single({"prompt": [{"role": "user", "content": "2 + 2?"}], "reward_model": {"ground_truth": "4"}})
    assert (found["problem"], found["answer"], found["response"]) == ("2 + 2?", "4", None)


def test_the_last_reply_is_the_response() -> None:
    turns = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "5"},
        {"role": "assistant", "content": "4"},
    ]
    assert single({"messages": turns})["response"] == "4"


def test_a_column_goes_before_the_conversation() -> None:
    turns = [{"role": "user", "content": "Box it. 2 + 2?"}, {"role": "assistant", "content": "4"}]
    found = single({"problem": "2 + 2?", "messages": turns})
    assert (found["problem"], found["response"]) == ("2 + 2?", "4")
    both = read({"problem": "2 + 2?", "messages": turns, "generations": ["a", "b"]})
    assert [candidate["response"] for candidate in both] == ["a", "b"]
    assert single({"problem": "2 + 2?", "messages": turns}, problem="messages")["problem"] == "Box it. 2 + 2?"


def test_conversations_that_are_not_read() -> None:
    user, reply = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
    assert "2 user turns" in fails({"messages": [user, reply, user, reply]})
    assert "unknown speaker 'tool'" in fails({"messages": [user, {"role": "tool", "content": "4"}]})
    assert "unknown speaker None" in fails({"messages": [user, {"role": None, "content": "4"}]})
    assert "no user turn" in fails({"messages": [reply]})
    assert "is str" in fails({"messages": [user, "4"]})
    assert "neither text nor image" in fails({"messages": [{"role": "user", "content": [{"type": "audio"}]}]})
    assert "holds int" in fails({"messages": [{"role": "user", "content": 4}]})
    assert "null" in fails({"messages": [{"role": "user", "content": None}, reply]})


# -------------------------------------------------------------------------------------------------------------- fields


def test_fields_win_over_the_columns() -> None:
    row = {"problem": "wrong", "question": "2 + 2?", "answer": "5", "gold": 4.0, "metadata": {"answer": "four"}}
    found = single(row, problem="question", answer="gold")
    assert (found["problem"], found["answer"]) == ("2 + 2?", "4")
    assert single(row, answer="metadata.answer")["answer"] == "four"
    assert single({**row, "metadata.answer": "flat"}, answer="metadata.answer")["answer"] == "flat"
    chat = {"prompt": [{"role": "user", "content": "2 + 2?"}], "golds": [{"text": "4"}]}
    found = single(chat, problem="prompt.0.content", answer="golds.0.text")
    assert (found["problem"], found["answer"]) == ("2 + 2?", "4")


def test_mapped_columns_are_taken_as_they_are() -> None:
    assert single({"problem": "2 + 2?", "answer": "4", "g": None}, answer="g")["answer"] is None
    assert single({"problem": "2 + 2?", "g": "a\n#### 4"}, answer="g")["answer"] == "a\n#### 4"
    assert "column 'q' holds no problem (null)" in fails({"problem": "2 + 2?", "q": None}, problem="q")
    assert "column 's' holds int" in fails({"problem": "2 + 2?", "s": 5}, system="s")
    assert "expected a list of choices" in fails({"problem": "2 + 2?", "c": "4"}, choices="c")


def test_a_mapped_column_has_to_be_there() -> None:
    message = fails({"problem": "2 + 2?", "meta": {"gold": "4"}}, answer="meta.answer")
    assert "no column 'meta.answer'" in message
    assert "meta, problem" in message
    assert fails({"problem": "2 + 2?"}, answer="gold") == "no column 'gold'; the row has problem"
    many = {f"column_{i}": i for i in range(1000)}
    for reader in (None, "deepscaler"):
        message = fails({"problem": "2 + 2?", "answer": "4", **many}, reader, answer="gold")
        assert message.startswith("no column 'gold'; the row has answer, column_0, ")
        assert message.endswith(" ...")
        assert len(message) < 300


def test_fields_win_over_what_a_reader_finds() -> None:
    row = {"question": "2 + 2?", "answer": "Add.\n#### 4", "final": 5, "texts": ["a", "b"], "split": "train"}
    found = read(row, "gsm8k", answer="final", response="texts", source="split")
    assert [(c["answer"], c["response"], c["source"]) for c in found] == [("5", "a", "train"), ("5", "b", "train")]
    assert "no column 'texts'" in fails({"question": "2 + 2?", "answer": "#### 4"}, "gsm8k", response="texts")


def test_a_mapped_response_takes_the_place_of_the_readers_thought() -> None:
    row = {
        "problem": "2 + 2?",
        "deepseek_reasoning": "Two and two.",
        "deepseek_solution": "It is 4.",
        "other": "It is 5.",
    }
    assert single(row, "openthoughts", response="other")["response"] == "It is 5."
    found = single(row, "openthoughts", response="other", thought="deepseek_reasoning")
    assert found["response"] == "<think>\nTwo and two.\n</think>\n\nIt is 5."


# -------------------------------------------------------------------------------------------------- images and choices


def picture(form: str, mode: str = "RGB") -> bytes:
    encoded = io.BytesIO()
    Image.new(mode, (5, 4)).save(encoded, format=form)
    return encoded.getvalue()


PNG, JPG = picture("PNG"), picture("JPEG")


def test_images(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(PNG)
    for image, found in (
        (PNG, [PNG]),
        ({"bytes": PNG, "path": None}, [PNG]),
        ({"bytes": None, "path": str(path)}, [PNG]),
        ([{"bytes": PNG, "path": "gone.png"}, JPG], [PNG, JPG]),
        (str(path), [PNG]),
        ([None, PNG], [PNG]),
        (None, []),
        ([], []),
    ):
        assert single({"problem": "Find x.", "image": image})["images"] == found
        assert single({"problem": "Find x.", "images": image})["images"] == found
    for image in ("gone.png", "x" * 10_000, "a\0b", "", "\ud800", {"bytes": None, "path": "gone.png"}):
        message = fails({"problem": "Find x.", "image": image}, folder=tmp_path)
        assert message.startswith("column 'image': image '")
        assert f"; looked for '{tmp_path}" in message
        assert len(message) < 800
    assert "holds no image, but nothing" in fails({"problem": "Find x.", "image": {"bytes": b"", "path": None}})
    assert "holds no image, but int" in fails({"problem": "Find x.", "image": 7})


def test_paths_of_images_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set" / "figures").mkdir(parents=True)
    (tmp_path / "set" / "figures" / "a.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path / "set")  # where the file would be found by chance
    row = {"problem": "Find x.", "figure": ["figures/a.png", {"bytes": None, "path": "figures/a.png"}]}
    found = read({**row, "responses": ["4", "5"]}, folder=tmp_path / "set", images="figure")
    assert [candidate["images"] for candidate in found] == [[PNG, PNG]] * 2
    found = read({**row, "answer": "4"}, "deepscaler", tmp_path / "set", images="figure")
    assert [candidate["images"] for candidate in found] == [[PNG, PNG]]
    message = fails(row, None, tmp_path, images="figure")
    assert "image 'figures/a.png' cannot be read (No such file or directory)" in message
    assert f"looked for '{tmp_path}/figures/a.png'" in message
    assert "is a relative path, and this data set is no file" in fails(row, images="figure")
    assert single({"problem": "Find x.", "image": str(tmp_path / "set/figures/a.png")})["images"] == [PNG]


def test_decoded_images_are_encoded_again() -> None:
    for decoded in (
        Image.open(io.BytesIO(PNG)),
        Image.open(io.BytesIO(picture("JPEG", "CMYK"))),
        Image.new("F", (5, 4)),
    ):
        found = single({"problem": "Find x.", "image": decoded})["images"]
        again = Image.open(io.BytesIO(found[0]))
        assert (again.mode, again.tobytes()) == (decoded.mode, decoded.tobytes())


def test_what_is_no_image_is_an_unusable_row() -> None:
    for image, said in ((b"no picture", "of no kind that is known"), (PNG[:40], "no image that can be read")):
        message = fails({"problem": "Find x.", "image": image})
        assert message.startswith("column 'image': ")
        assert said in message


def test_the_same_picture_in_two_forms_is_one() -> None:
    found = [single({"problem": "Find x.", "image": image})["pixels"] for image in (PNG, picture("BMP"), JPG)]
    assert found[0] == found[1]


def test_choices() -> None:
    for choices, found in (
        (["6.93", 7.5, 8.0], ["6.93", "7.5", "8"]),
        ({"A": "6", "B": "7"}, ["6", "7"]),
        ({"label": ["A", "B"], "text": ["6", "7"]}, ["6", "7"]),
        (["A", "B", "C"], None),
        ([], None),
        (None, None),
    ):
        assert single({"problem": "Find x.", "choices": choices})["choices"] == found
        assert single({"problem": "Find x.", "options": choices})["choices"] == found
    assert "null" in fails({"problem": "Find x.", "choices": ["6", None]})


# ------------------------------------------------------------------------------------------------------------- readers


def test_gsm8k() -> None:
    found = single({"question": "How many eggs?", "answer": "He buys 30 <<15*2=30>>.\n#### 1,030"}, "gsm8k")
    assert (found["problem"], found["answer"], found["response"]) == ("How many eggs?", "1030", None)
    assert "####" in fails({"question": "How many eggs?", "answer": "30"}, "gsm8k")
    assert "no column 'question'" in fails({"problem": "How many eggs?", "answer": "#### 30"}, "gsm8k")
    assert "no line '#### ...'" in fails({"question": "How many eggs?", "answer": None}, "gsm8k")


def test_math() -> None:
    row = {"problem": "Compute.", "solution": "So $\\boxed{\\frac{1}{2}}$.", "level": "Level 3", "type": "Algebra"}
    found = single(row, "math")
    assert (found["answer"], found["level"], found["response"]) == ("\\frac{1}{2}", 3.0, None)
    assert single({**row, "level": "Level ?"}, "math")["level"] is None
    found = single({"problem": "Compute.", "answer": "7", "difficulty": 0.0, "type": "Algebra"}, "math")
    assert (found["answer"], found["level"]) == ("7", None)
    assert single({"question": "Compute.", "answer": "7", "index": 3}, "math")["answer"] == "7"
    assert single({**row, "solution": "No box."}, "math")["answer"] is None
    assert "no column 'answer' or 'solution'" in fails({"problem": "Compute."}, "math")
    assert "no column 'problem' or 'question'" in fails({"answer": "7"}, "math")


def test_omni_math() -> None:
    row = {"domain": ["Algebra"], "difficulty": 7.5, "problem": "Find n.", "solution": "It is 3.", "answer": "3"}
    found = single({**row, "source": "imo"}, "omni-math")
    assert (found["answer"], found["level"], found["source"], found["kind"]) == ("3", 7.5, "imo", "math")
    copy = {"index": 0, "question": "Find n.", "answer": "3", "human_type": "omni_8.0_china_team_selection_test"}
    found = single(copy, "omni-math")
    assert (found["level"], found["source"]) == (8.0, "china_team_selection_test")
    assert single({**copy, "human_type": "other"}, "omni-math")["level"] is None


def test_numinamath() -> None:
    row = {
        "problem": "Find n.", "solution": "It is $\\boxed{3}$.", "answer": "3", "problem_type": "Algebra",
        "question_type": "math-word-problem", "problem_is_valid": "Yes", "solution_is_valid": "Yes",
        "source": "olympiads", "synthetic": False,
    }  # fmt: skip
    found = single(row, "numinamath")
    assert (found["answer"], found["source"], found["response"]) == ("3", "olympiads", None)
    for answer in ("proof", "notfound"):
        assert single({**row, "answer": answer}, "numinamath")["answer"] == answer
    turns = [{"role": "user", "content": "Find n."}, {"role": "assistant", "content": "It is $\\boxed{3}$."}]
    row = {"source": "aops_forum", "problem": "Find n.", "solution": "It is $\\boxed{3}$.", "messages": turns}
    assert single(row, "numinamath")["answer"] == "3"
    assert single(row, "numinamath")["response"] is None
    assert single(row)["response"] == "It is $\\boxed{3}$."


def test_metamath() -> None:
    row = {
        "type": "GSM_Rephrased", "query": "How many?", "original_question": "How many eggs?",
        "response": "We get 2 + 2 = 4.\n#### 4\nThe answer is: 4",
    }  # fmt: skip
    found = single(row, "metamath")
    assert (found["answer"], found["source"], found["response"]) == ("4", "GSM_Rephrased", row["response"])
    assert single({**row, "response": "Four."}, "metamath")["answer"] is None


def test_sky_t1() -> None:
    row = {
        "system": "Your role is to think.",
        "conversations": [
            {"from": "user", "value": "Return your final response within \\boxed{}. 2 + 2?"},
            {"from": "assistant", "value": SKY},
        ],
    }
    found = single(row, "sky-t1")
    assert (found["problem"], found["response"], found["kind"]) == ("2 + 2?", CONVERTED, "math")
    assert (found["system"], found["answer"]) == ("Your role is to think.", None)
    for prompt in (
        "Generate an executable Python function generated from the given prompt. The function should take stdin as "
        "input and print the output. Simply call the function after the definition.",
        "Generate an executable Python function generated from the given prompt. Return the function body without "
        "invoking it at the final solution.",
    ):
        turns = [{"from": "user", "value": prompt + "Add two numbers."}, {"from": "assistant", "value": SKY}]
        found = single({"system": None, "conversations": turns}, "sky-t1")
        assert (found["problem"], found["kind"]) == ("Add two numbers.", "code")
    assert "no list of turns" in fails({"conversations": "text"}, "sky-t1")


def test_openthoughts() -> None:
    row = {
        "problem": "2 + 2?", "deepseek_reasoning": "Two and two.", "deepseek_solution": "It is \\boxed{4}.",
        "ground_truth_solution": "Add: $\\boxed{4}$", "domain": "math", "source": "numina_math",
        "test_cases": None, "starter_code": None,
    }  # fmt: skip
    found = single(row, "openthoughts")
    assert (found["answer"], found["response"], found["source"]) == ("4", CONVERTED, "numina_math")
    cases = {"inputs": ["1"], "outputs": ["2"]}
    code = {**row, "domain": "code", "test_cases": json.dumps(cases), "starter_code": "def f(x):"}
    found = single(code, "openthoughts")
    assert (found["kind"], found["tests"], found["starter_code"], found["answer"]) == ("code", cases, "def f(x):", None)
    found = single({**row, "ground_truth_solution": None, "domain": "chemistry"}, "openthoughts")
    assert (found["answer"], found["kind"]) == (None, "math")
    turns = [{"from": "user", "value": "2 + 2?"}, {"from": "assistant", "value": SKY}]
    assert single({"system": "Think.", "conversations": turns}, "openthoughts")["response"] == CONVERTED


def test_openr1_math() -> None:
    row = {
        "problem": "2 + 2?", "solution": "Add.", "answer": "4", "problem_type": "Algebra", "source": "olympiads",
        "uuid": "1", "generations": [CONVERTED, "<think>\nNever ends."], "correctness_math_verify": [True, False],
        "is_reasoning_complete": [True, False], "finish_reasons": None, "correctness_count": 1,
        "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": CONVERTED}],
    }  # fmt: skip
    for reader in ("openr1-math", None):
        found = read(row, reader)
        assert [candidate["response"] for candidate in found] == [CONVERTED, "<think>\nNever ends."]
        assert {(c["answer"], c["source"], c["pass_rate"]) for c in found} == {("4", "olympiads", None)}


def test_limo() -> None:
    row = {"question": "2 + 2?", "solution": "Let me think.\n\n**Final Answer**\n\n\\boxed{4}", "answer": "4"}
    found = single(row, "limo")
    assert (found["problem"], found["answer"], found["response"]) == ("2 + 2?", "4", row["solution"])


def test_s1() -> None:
    row = {
        "solution": "Adding gives $\\boxed{4}$.", "question": "2 + 2?", "cot_type": "math", "source_type": "aops",
        "metadata": "{'index': 1}", "cot": None, "thinking_trajectories": ["Two and two."],
        "attempt": "It is \\boxed{4}.",
    }  # fmt: skip
    found = single(row, "s1")
    assert (found["answer"], found["response"], found["source"]) == ("4", CONVERTED, "aops")
    newer = {
        "solution": "4", "question": "2 + 2?", "source_type": "aops", "gemini_thinking_trajectory": "No.",
        "gemini_attempt": "5", "deepseek_thinking_trajectory": "Two and two.", "deepseek_attempt": "It is \\boxed{4}.",
    }  # fmt: skip
    found = single(newer, "s1")
    assert (found["answer"], found["response"]) == ("4", CONVERTED)
    assert single({**newer, "solution": "A proof.\n\nIt ends."}, "s1")["answer"] is None
    assert "Two" not in str(single({**newer, "deepseek_attempt": None}, "s1")["response"])
    assert "2 entries" in fails({**row, "thinking_trajectories": ["a", "b"]}, "s1")
    assert "neither" in fails({"question": "2 + 2?"}, "s1")


def test_taco() -> None:
    cases = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
    row = {
        "question": "Add two numbers.", "solutions": '["print(sum(map(int, input().split())))"]', "starter_code": "",
        "input_output": json.dumps(cases), "difficulty": "MEDIUM_HARD", "raw_tags": "[]", "name": None,
        "source": "codeforces", "tags": "[]", "skill_types": "[]", "url": None, "time_limit": None,
    }  # fmt: skip
    found = single(row, "taco")
    assert (found["kind"], found["tests"], found["level"]) == ("code", cases, 3.0)
    assert (found["source"], found["response"], found["answer"]) == ("codeforces", None, None)
    assert single({**row, "difficulty": "UNKNOWN_DIFFICULTY"}, "taco")["level"] is None
    assert single({**row, "input_output": ""}, "taco")["tests"] is None
    assert "broken JSON" in fails({**row, "input_output": '{"inputs": [' + "1" * 5_000 + "]}"}, "taco")


def test_rstar_sft() -> None:
    response = "<code>\nx = 4\n<end_of_step>\nprint(x)\n<end_of_code>\n<output>4<end_of_output>\n<answer>\\boxed{4}"
    found = single({"query": "2 + 2?", "response": response}, "rstar-sft")
    assert (found["problem"], found["response"], found["answer"]) == ("2 + 2?", response, None)


def test_deepscaler() -> None:
    found = single({"problem": "2 + 2?", "answer": "4", "solution": ""}, "deepscaler")
    assert (found["answer"], found["response"]) == ("4", None)


def test_dapo() -> None:
    prompt = (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        "$Answer (without quotes) where $Answer is the answer to the problem.\n\n2 + 2?\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    )
    row = {
        "data_source": "math_dapo", "prompt": [{"content": prompt, "role": "user"}], "ability": "MATH",
        "reward_model": {"ground_truth": "4", "style": "rule-lighteval/MATH_v2"}, "extra_info": {"index": "1"},
    }  # fmt: skip
    found = single(row, "dapo")
    assert (found["problem"], found["answer"], found["source"]) == ("2 + 2?", "4", "math_dapo")
    assert single({**row, "prompt": [{"role": "user", "content": "2 + 2?"}]}, "dapo")["problem"] == "2 + 2?"
    assert "no column 'reward_model.ground_truth'" in fails({**row, "reward_model": {}}, "dapo")


def test_redstar_reads_what_is_usual_and_says_what_it_does_not_know() -> None:
    assert single({"problem": "2 + 2?", "answer": "4", "level": 7}, "redstar")["level"] == 7.0
    found = read({"question": "2 + 2?", "answer": "4", "merged_responses": [SKY, "4"]}, "redstar")
    assert [candidate["response"] for candidate in found] == [CONVERTED, "4"]
    assert {candidate["answer"] for candidate in found} == {"4"}
    assert len(read({"question": "2 + 2?", "responses": ["a", "b"], "solutions": ["c"]}, "redstar")) == 2
    message = fails({"text": "2 + 2?", "qwq": ["4"]}, "redstar")
    assert "never seen" in message
    assert "qwq, text" in message
    message = fails({"problem": "2 + 2?", "answer": "4", "long_form": ["word " * 500]}, "redstar")
    assert "long texts in long_form" in message
    assert single({"problem": "2 + 2?", "solution": "It is $\\boxed{4}$."}, "redstar")["response"] is None


# ---------------------------------------------------------------------------------------------------------- properties

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner),
    max_leaves=6,
)
NAMES = sorted(
    {column for columns in COLUMNS.values() for column in columns}
    | set(
        "messages conversations solution human_type type deepseek_reasoning deepseek_solution ground_truth_solution "
        "deepseek_thinking_trajectory deepseek_attempt thinking_trajectories attempt source_type reward_model "
        "metadata input solutions".split()
    )
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8), st.sampled_from([None, *READERS]))
def test_any_row_is_read_or_refused_in_one_line(row: dict[str, Any], reader: str | None) -> None:
    try:
        found = read(row, reader)
    except RowError as error:
        message: str | None = str(error)
        found = []
    else:
        message = None
    assert message is None or "\n" not in message
    for candidate in found:
        for name in ("problem", "answer", "response", "system", "source"):
            assert candidate[name] is None or isinstance(candidate[name], str)
        assert all(isinstance(image, bytes) for image in candidate["images"])


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1).filter(str.strip), st.text())
def test_texts_without_markers_come_back_as_they_are(problem: str, response: str) -> None:
    if "think" not in response and "thought" not in response:
        found = single({"problem": problem, "response": response})
        assert (found["problem"], found["response"]) == (problem, response)


# ----------------------------------------------------------------------------------------------------------- real data

REAL = pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs data below the folder named by $REDSTAR_DATA")


def real_rows(name: str) -> list[dict[str, Any]]:
    path = Path(os.environ["REDSTAR_DATA"]) / name
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return json.loads(data) if ".jsonl" not in path.name else [json.loads(line) for line in data.splitlines()]


@pytest.mark.real_data
@REAL
def test_gsm8k_train() -> None:
    rows = real_rows("gsm8k/train.jsonl.gz")
    found = [single(row, "gsm8k") for row in rows]
    assert len(found) == 7_473
    assert all(candidate["answer"].lstrip("-").replace(".", "").isdecimal() for candidate in found)
    assert sum("," in row["answer"].rpartition("####")[2] for row in rows) == 79
    assert [single(row) for row in rows] == found


@pytest.mark.real_data
@REAL
def test_math_train() -> None:
    found = [single(row, "math") for row in real_rows("benchmarks/math_train_7474.jsonl.gz")]
    levels = Counter(candidate["level"] for candidate in found)
    assert len(found) == 7_474
    assert set(levels) == {1.0, 2.0, 3.0, 4.0, 5.0, None}
    assert levels[None] == 2
    assert sum(candidate["answer"] is None for candidate in found) == 4  # null in the file


@pytest.mark.real_data
@REAL
def test_omni_math_real() -> None:
    rows = real_rows("benchmarks/omni_math_4428.jsonl.gz")
    found = [single(row, "omni-math") for row in rows]
    assert len(found) == 4_428
    assert min(candidate["level"] for candidate in found) == 1.0
    assert max(candidate["level"] for candidate in found) == 9.5
    assert all(candidate["source"] for candidate in found)
    # The level and the source are in `human_type` too.
    alone = [{key: row[key] for key in ("question", "answer", "human_type")} for row in rows]
    assert [single(row, "omni-math") for row in alone] == found


@pytest.mark.real_data
@REAL
def test_rstar_examples() -> None:
    rows = real_rows("rstar_examples/sft_data_examples.json")
    found = [single(row, "rstar-sft") for row in rows]
    assert len(found) == 8
    assert all("<end_of_step>" in candidate["response"] for candidate in found)
    assert [single(row) for row in rows] == found


@pytest.mark.real_data
@REAL
def test_problems_and_pass_rates_by_columns() -> None:
    rows = real_rows("pass_rates/skythought.jsonl.gz")
    found = [single(row, n_attempts="n") for row in rows]
    assert len(found) == 1_517
    assert all(0 <= candidate["pass_rate"] <= 1 and candidate["n_attempts"] >= 4 for candidate in found)
    assert [candidate["answer"] is None for candidate in found] == [not row["gold"] for row in rows]


@pytest.mark.real_data
@REAL
def test_geometry_with_figures_by_columns() -> None:
    """Paths of figures are relative to the folder of the file."""
    folder, rows = Path(os.environ["REDSTAR_DATA"]) / "geometry3k", real_rows("geometry3k/geometry3k_sample.jsonl")
    found = [single(row, None, folder, problem="problem_text") for row in rows]
    assert len(found) == 47
    assert all(len(candidate["choices"]) == 4 and len(candidate["answer"]) == 1 for candidate in found)
    assert all(image.startswith(b"\x89PNG") for candidate in found for image in candidate["images"])
    found = [single(row, None, folder.parent / "mathvision") for row in real_rows("mathvision/geometry.jsonl")]
    assert len(found) == 374
    assert all(len(candidate["images"]) == 1 for candidate in found)
    assert {candidate["level"] for candidate in found} == {1.0, 2.0, 3.0, 4.0, 5.0}
