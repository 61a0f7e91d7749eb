"""Problems with figures, in the forms that public data sets have them; letter, text and value of a choice are one."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_prep.answers import AnswerChecker
from data_prep.benchmarks import ALL_IN_THE_FIGURE, Benchmark, as_asked, as_problem, find_benchmarks, read_benchmark
from data_prep.benchmarks import read_problems as read_rows
from data_prep.rows import RowError
from data_prep.sources import DatasetConfig
from tests.data_prep.test_sources import write

REAL = pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs $REDSTAR_DATA")


def png(colour: str = "red") -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (9, 8), colour).save(encoded, format="PNG")
    return encoded.getvalue()


def problem(row: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    return as_problem(row, "f.jsonl, line 1", figures=True, folder=folder)


def test_geometry3k_of_the_authors_and_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    found = problem({"problem_text": "Find x.", "choices": ["1", "2"], "answer": "B", "image": "a.png"}, tmp_path)
    assert (found["images"], found["choices"], found["answer"]) == ([png()], ["1", "2"], "B")
    assert as_asked(found) == "Find x.\n(A) 1\n(B) 2"
    assert "image" not in found  # it would travel along with every response
    hub = problem({"problem": "<image>Find x.", "answer": "2", "images": [{"bytes": png(), "path": None}]})
    assert (hub["problem"], hub["answer"], hub["images"]) == ("<image>Find x.", "2", [png()])


def test_the_picture_is_part_of_the_id(tmp_path: Path) -> None:
    row: dict[str, Any] = {"question": "Find x.", "answer": "2"}
    ids = {problem({**row, "image": png(colour)})["problem_id"] for colour in ("red", "blue", "red")}
    assert len(ids) == 2
    other = io.BytesIO()
    Image.open(io.BytesIO(png())).save(other, format="BMP")
    assert problem({**row, "image": other.getvalue()})["problem_id"] in ids


def test_math_vision() -> None:
    row = {"question": "Which one?\n<image1>", "options": list("ABCDE"), "answer": "B", "level": 3, "id": "7",
           "image": "images/7.jpg", "decoded_image": Image.open(io.BytesIO(png()))}  # fmt: skip
    found = problem(row)  # the path is one in an archive; the choices are pictures
    assert (found["choices"], found["answer"], found["level"]) == (None, "B", 3)
    assert as_asked(found) == "Which one?\n<image1>"
    several = problem({**row, "question": "Tulips <image1> and roses <image2> as here?\n<image3>"})
    assert several["problem"] == "Tulips (image 1) and roses (image 2) as here?\n(image 3)"  # names in the one picture
    assert problem({**row, "options": []})["choices"] is None


def test_mathvista() -> None:
    row = {"pid": "1", "question": "Find x.", "answer": "4.8", "unit": "cm", "precision": 1.0, "answer_type": "float",
           "choices": None, "decoded_image": png(), "image": "images/1.jpg"}  # fmt: skip
    assert problem(row)["problem"] == "Find x. (Unit: cm) Give the answer with 1 decimal place."
    chosen = problem({**row, "choices": ["4°", "5°"], "answer": "5°", "unit": None, "answer_type": "text"})
    assert as_asked(chosen) == "Find x.\n(A) 4°\n(B) 5°"
    with AnswerChecker() as checker:
        assert [checker.compare(chosen["answer"], a, chosen["choices"]) for a in ("B", "5", "A", "4")] == [
            "right", "right", "wrong", "wrong",
        ]  # fmt: skip


def test_mathverse_has_its_choices_in_the_question_and_problems_in_the_figure() -> None:
    row = {"question": "Find x.\nChoices:\nA:40°\nB:50°\nC:140°", "answer": "A", "image": png()}
    found = problem(row)
    assert found["choices"] == ["40°", "50°", "140°"]
    assert as_asked(found) == row["question"]
    only = problem({"question": "", "answer": "A", "image": png(), "problem_version": "Vision Only"})
    assert only["problem"] == ALL_IN_THE_FIGURE


def test_r1_v() -> None:
    row = {"image": png(), "problem": "How large is ∠A?", "solution": "<answer> 145° </answer>"}
    assert problem(row)["answer"] == "145°"


def test_benchmarks_are_chosen_by_a_column_and_grouped(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    rows = [
        {"question": f"q{i}", "answer": "1", "image": "a.png", "metadata": {"task": task}}
        for i, task in enumerate(["geometry problem solving", "figure question answering"])
    ]
    path = write(tmp_path / "vista.jsonl", rows)
    (benchmark,) = find_benchmarks([f"mathvista-geo={path}"])
    assert [row["problem"] for row in read_benchmark(benchmark)[0]] == ["q0"]
    bad = write(tmp_path / "bad.jsonl", [{"question": "q", "answer": "1"}])
    with pytest.raises(RowError, match=r"bad.jsonl, line 1: no column 'metadata.task'"):
        read_benchmark(find_benchmarks([f"mathvista-geo={bad}"])[0])
    with pytest.raises(ValueError, match="no home on the Hub is known: give geoqa=FILE"):
        read_benchmark(find_benchmarks(["geoqa"])[0])
    assert find_benchmarks(["mathverse"])[0].group == "problem_version"


def test_a_missing_and_a_broken_figure_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name, said in (("gone.png", "cannot be read"), ("broken.png", "no image that can be read")):
        path = write(tmp_path / "b.jsonl", [{"question": "q", "answer": "1", "image": name}])
        with pytest.raises(RowError, match=f"b.jsonl, line 1: .*{said}"):
            read_benchmark(Benchmark("b", str(path)))
        assert next(iter(read_rows(DatasetConfig(str(path)))))["problem"] == "q"  # who asks in text alone reads none


def real(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, problem row) of the real problems."""
    root = Path(os.environ["REDSTAR_DATA"])
    files = {
        "geometry3k": ["geometry3k/geometry3k_sample.jsonl", "geometry3k/geometry3k_intergps_examples.jsonl"],
        "mathvision": ["mathvision/geometry.jsonl"],
    }
    for file in files[name]:
        for line in (root / file).read_text().splitlines():
            row = json.loads(line)
            yield str(row["id"]), problem(row, (root / file).parent)


@pytest.mark.real_data
@REAL
def test_letter_text_and_value_of_the_57_geometry3k_problems() -> None:
    """Every other choice, and values beside the right one, are wrong."""
    failed, n = [], 0
    with AnswerChecker() as checker:
        for name, row in real("geometry3k"):
            n += 1
            choices, gold = row["choices"], "ABCD".index(row["answer"])
            forms = [
                (letter, text, repr(v)) for letter, text, v in zip("ABCD", choices, row["precise_value"], strict=True)
            ]
            value = row["precise_value"][gold]
            wrong = [form for i, some in enumerate(forms) if i != gold for form in some]
            wrong += [repr(value * 1.01), repr(value + 1), repr(value - 1)]
            for as_gold in forms[gold]:
                found = [checker.compare(as_gold, form, choices) for form in (*forms[gold], *wrong)]
                if found != ["right"] * 3 + ["wrong"] * len(wrong):
                    failed.append((name, as_gold, found))
    assert n == 57
    assert failed == []


@pytest.mark.real_data
@REAL
def test_golds_of_the_374_math_vision_problems() -> None:
    failed, n = [], 0
    with AnswerChecker() as checker:
        for name, row in real("mathvision"):
            n += 1
            assert len(row["images"]) == 1
            choices, answer = row["choices"], row["answer"]
            right, wrong = [answer], []
            if choices:
                gold = "ABCDE".index(answer)
                right.append(choices[gold])
                wrong = [form for i, text in enumerate(choices) if i != gold for form in ("ABCDE"[i], text)]
            elif len(answer) == 1 and answer in "ABCDE":  # the choices are pictures
                wrong = [letter for letter in "ABCDE" if letter != answer]
            elif answer.replace(".", "").isdigit():
                value = float(answer)
                wrong = [repr(value * 1.01), repr(value + 1), repr(value - 1)]
            for as_gold in right:
                found = [checker.compare(as_gold, form, choices) for form in (*right, *wrong)]
                if found != ["right"] * len(right) + ["wrong"] * len(wrong):
                    failed.append((name, as_gold, found))
    assert n == 374
    assert failed == []
