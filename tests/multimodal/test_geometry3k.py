"""Logic forms in words, and figures drawn from them."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multimodal.figures import AngleLabel, LengthLabel
from multimodal.geometry3k import as_drawn, described, figure_of, forms_of, parse, problem_rows, redrawn

ROW: dict[str, Any] = {
    "text_logic_forms": ["Find(x)"],
    "diagram_logic_forms": [
        "Equals(LengthOf(Line(A, B)), 10)", "Equals(MeasureOf(Angle(A, B, C)), 60)", "PointLiesOnLine(D, Line(A, B))",
        "Perpendicular(Line(A, C), Line(B, C))", "Equals(LengthOf(Line(A, C)), x+1)", " . ",
    ],
    "point_positions": {"A": [100.0, 0.0], "B": [0.0, 170.0], "C": [100.0, 170.0], "D": [50.0, 85.0]},
    "line_instances": ["AB", "AC", "BC", "AD"], "answer_numeric": 7.5,
}  # fmt: skip


def test_terms_are_read_as_deep_as_they_are() -> None:
    assert parse("Equals(LengthOf(Line(T, R)), x+21)") == ("Equals", [("LengthOf", [("Line", ["T", "R"])]), "x+21"])
    assert parse("Equals(LengthOf(Line(A,B)),2(x+1))") == ("Equals", [("LengthOf", [("Line", ["A", "B"])]), "2(x+1)"])
    for broken in ("Equals(LengthOf(Line(A,B),3", "PointLiesOnLine(Y, Line(Z, I"):
        with pytest.raises(ValueError, match="brackets that do not close"):
            parse(broken)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("Equals(LengthOf(Line(A, B)), 10)", "AB equals 10."),
        ("Equals(MeasureOf(Angle(A, B, C)), 60)", "∠ABC equals 60°."),
        ("Equals(MeasureOf(Angle(A, B, C)), 4y-10)", "∠ABC equals 4y-10."),
        ("Equals(MeasureOf(Angle(F, E, I)), MeasureOf(angle 4))", "∠FEI equals ∠4."),
        ("PointLiesOnCircle(M, Circle(K, radius_7_0))", "M lies on circle K."),
        ("Perpendicular(Line(A, C), Line(D, C))", "AC is perpendicular to DC."),
        ("Equals(AreaOf(Triangle(A, B, C)), 875)", "The area of triangle ABC equals 875."),
        ("Find(MeasureOf(Arc(A,B)))", "Find arc AB."),
        ("Strange(A, B)", "Strange(A, B)."),
    ],
)
def test_words(form: str, words: str) -> None:
    assert described([form, form]) == words


def test_a_figure_has_what_its_forms_say_upright() -> None:
    figure = figure_of(ROW)
    assert figure.points["A"].imag > figure.points["B"].imag  # pixels are counted downwards
    assert list(figure.labels) == [
        LengthLabel("A", "B", "10"), LengthLabel("A", "C", "x+1"), AngleLabel("A", "B", "C", "60"),
    ]  # fmt: skip
    assert figure.right == [("A", "C", "B")]
    drawn = np.asarray(redrawn(ROW))
    assert drawn.shape == (448, 448, 3)
    assert 1000 < (drawn < 128).sum() < 60_000


def test_labels_are_drawn_as_people_write_them() -> None:
    written = {"7 \\sqrt { 2 }": "7√2", "\\frac{4}{7}": "4/7", "2 \\pi": "2π", "x + 1": "x+1", "∠4": "∠4"}
    assert {text: as_drawn(text) for text in written} == written


def test_a_point_without_a_position_is_said() -> None:
    row = {**ROW, "point_positions": {**ROW["point_positions"], "D": [-1, -1]}}
    with pytest.raises(ValueError, match="points without a position: D"):
        figure_of(row)


def test_rows_and_what_is_left_out(tmp_path: Path) -> None:
    rows = [
        ROW, {**ROW, "answer_numeric": None}, {**ROW, "point_positions": {"A": [0, 0], "B": [1, 1]}},
        {**ROW, "diagram_logic_forms": ["Equals(A, (B"]},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts: Counter[str] = Counter()
    (row,) = problem_rows(str(path), counts)
    assert (row["problem"], row["answer"], len(row["images"])) == ("Find x.", "7.5", 1)
    assert row["description"].startswith("AB equals 10. ∠ABC equals 60°. D lies on AB.")
    assert counts == {
        "read": 4, "no answer": 1, "points without a position": 1, "a logic form with brackets that do not close": 1,
    }  # fmt: skip


@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs $REDSTAR_DATA")
def test_real_forms_are_put_into_words_and_most_figures_drawn() -> None:
    path = Path(os.environ["REDSTAR_DATA"]) / "geometry3k_vector" / "geometry3k_vector.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    unreadable, left = 0, Counter[str]()
    for i, row in enumerate(rows):
        try:
            assert "  " not in described(forms_of(row, "diagram"))
            if i % 10 == 0:
                redrawn(row)
                left["drawn"] += 1
        except ValueError as error:
            unreadable += "brackets" in str(error)
            left["not drawn"] += i % 10 == 0
    assert unreadable < 20  # of 3,002 problems
    assert left["drawn"] > 2 * left["not drawn"]
