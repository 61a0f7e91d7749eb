"""Figures in words: who describes, what a teacher is told, and of whom the words were enough."""

from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from multimodal.descriptions import answerable, told, with_descriptions
from multimodal.samples import rows

FIGURES: list[dict[str, Any]] = list(islice(rows("dev", 3, thought=None), 3))


def problems() -> list[dict[str, Any]]:
    given, by_forms, unknown = ({**row, "description": None} for row in FIGURES)
    given["description"] = "AB is 3."
    by_forms["diagram_logic_forms"] = ["Equals(LengthOf(Line(A, B)), 4)"]
    return [given, by_forms, unknown, {"problem": "1+1?", "images": []}]


def test_what_is_known_goes_first_and_what_nothing_describes_is_counted(tmp_path: Path) -> None:
    dropped: Counter[str] = Counter()
    found = with_descriptions(problems(), SimpleNamespace(describer=None), tmp_path, dropped)
    assert [(row.get("description"), row.get("described_by")) for row in found] == [
        ("AB is 3.", "given"), ("AB equals 4.", "logic forms"), (None, None),
    ]  # fmt: skip
    assert dropped == {"figure that nothing describes (see --describer)": 1}


def test_a_model_describes_the_others(figure_base: Path, tmp_path: Path) -> None:
    args = SimpleNamespace(describer=str(figure_base), describer_urls=[], batch_size=4, dtype="float32", seed=0)
    dropped: Counter[str] = Counter()
    found = with_descriptions(problems(), args, tmp_path, dropped)
    described = [row for row in found if row.get("described_by") == str(figure_base)]
    assert len(described) + dropped["figure of which the describer says nothing"] == 1
    assert list(tmp_path.glob("describe-*.jsonl"))


def test_a_teacher_is_told_what_the_figure_shows_and_sees_none() -> None:
    found = told({"problem": "<image>Find x.", "images": [b"png"], "description": "AB is 3.", "choices": ["1", "2"]})
    assert (found["problem"], found["images"]) == ("Find x.\n\nThe figure shows: AB is 3.", [])
    text = {"problem": "1+1?", "images": []}
    assert told(text) == text


def test_of_how_many_figures_the_words_were_enough() -> None:
    asked = [{"images": [b"a"], "described_by": by} for by in ("given", "m", "m")] + [{"images": []}]
    said = answerable(asked, [["wrong", "right"], ["wrong"], ["right"], ["right"]])
    assert "1 figures (given): 1 of the problems" in said
    assert "2 figures (m): 1 of the problems" in said
