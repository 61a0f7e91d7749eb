"""Geometry3K's logic forms (Inter-GPS, https://arxiv.org/abs/2105.04165): to words, and to figures drawn anew.

A form is a predicate of terms, as `Equals(LengthOf(Line(T, R)), x+21)`. The authors' files have, per problem,
`diagram_logic_form(s)` and `text_logic_form(s)`, positions of the points in pixels (y downwards), and the lines.

    python -m multimodal.geometry3k geometry3k_vector.jsonl.gz --output_dir outputs/geometry3k_redrawn
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from data_prep.artefacts import write_artefact
from data_prep.images import encoded, pixel_hash
from data_prep.rows import problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block
from multimodal.figures import LARGE, AngleLabel, Crowded, Figure, LengthLabel, Style, draw
from rl.runs import user_errors

SHEET = Style(896, 20, 2)
Term = tuple[str, list["Term"]] | str
SHAPES = (
    "Triangle", "Quadrilateral", "Parallelogram", "Rectangle", "Square", "Rhombus", "Kite", "Trapezoid", "Pentagon",
    "Hexagon", "Polygon",
)  # fmt: skip
OF = {
    "LengthOf": "the length of", "MeasureOf": "the measure of", "AreaOf": "the area of", "PerimeterOf":
    "the perimeter of", "HeightOf": "the height of", "RadiusOf": "the radius of", "DiameterOf": "the diameter of",
    "CircumferenceOf": "the circumference of", "BaseOf": "the base of", "Major": "the major", "Minor": "the minor",
    "SumOf": "the sum of", "RatioOf": "the ratio of", "ScaleFactorOf": "the scale factor of", "HalfOf": "half of",
    "SinOf": "the sine of", "CosOf": "the cosine of", "TanOf": "the tangent of",
}  # fmt: skip
BETWEEN = {
    "Equals": "equals", "Perpendicular": "is perpendicular to", "Parallel": "is parallel to", "PointLiesOnLine":
    "lies on", "PointLiesOnCircle": "lies on", "Congruent": "is congruent to", "Similar": "is similar to", "Tangent":
    "is tangent to", "BisectsAngle": "bisects", "IsMidpointOf": "is the midpoint of", "IsMedianOf":
    "is the median of", "IsCentroidOf": "is the centroid of", "IsIncenterOf": "is the incentre of", "IsDiameterOf":
    "is a diameter of", "IsRadiusOf": "is a radius of", "IsChordOf": "is a chord of", "IsAltitudeOf":
    "is an altitude of", "InscribedIn": "is inscribed in", "CircumscribedTo": "is circumscribed about",
    "IsMidsegmentOf": "is the midsegment of", "IsPerpendicularBisectorOf": "is the perpendicular bisector of",
}  # fmt: skip


def parse(form: str) -> Term:
    """`Equals(LengthOf(Line(T, R)), x+21)` to ("Equals", [("LengthOf", [("Line", ["T", "R"])]), "x+21"]).

    Brackets that belong to no predicate stay in the text. Raises ValueError for brackets that do not close.
    """
    form = form.strip()
    match = re.fullmatch(r"([A-Z][A-Za-z]*)\((.*)\)", form, re.DOTALL)
    if not match:
        if form.count("(") != form.count(")"):
            raise ValueError(f"a logic form with brackets that do not close: {form}")
        return form
    parts, depth, start = [], 0, 0
    for i, character in enumerate(match[2]):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            raise ValueError(f"a logic form with brackets that do not close: {form}")
        if character == "," and depth == 0:
            parts.append(match[2][start:i])
            start = i + 1
    return match[1], [parse(part) for part in [*parts, match[2][start:]]]


def in_words(term: Term) -> str:
    """A term as people write it; a predicate without words of its own stays as it is, so that nothing is lost."""
    if isinstance(term, str):
        return re.sub(r"^angle (\w+)$", r"∠\1", term)
    name, terms = term
    words = [in_words(one) for one in terms if not (isinstance(one, str) and one.startswith("radius_"))]
    if name == "Line":
        return "".join(words)
    if name == "Angle":
        return "∠" + "".join(words)
    if name == "Arc":
        return "arc " + "".join(words)
    if name in ("Circle", *SHAPES):
        return f"{name.lower()} {''.join(words)}"
    if name in ("LengthOf", "MeasureOf") and len(words) == 1:
        return words[0]
    if name in OF:
        return f"{OF[name]} {' and '.join(words)}"
    if name == "Find":
        return f"find {' and '.join(words)}"
    if name in BETWEEN and len(words) == 2:
        is_angle = name == "Equals" and words[0].startswith(("∠", "arc")) and re.fullmatch(r"[\d.]+", words[1])
        return f"{words[0]} {BETWEEN[name]} {words[1]}{'°' if is_angle else ''}"
    return f"{name}({', '.join(words)})"


def described(forms: Sequence[str]) -> str:
    """Sentences that say what the forms say, each once. Raises ValueError."""
    sentences = dict.fromkeys(in_words(parse(form)) for form in forms)
    return " ".join(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in sentences)


def forms_of(row: Mapping[str, Any], kind: str) -> list[str]:
    """The forms of a `kind`, diagram or text, [] where there are none: of Inter-GPS's files or of their vector form."""
    inner = row.get("logic_form")
    found = row.get(f"{kind}_logic_forms") or (inner.get(f"{kind}_logic_form") if isinstance(inner, Mapping) else None)
    return [form for form in found or () if isinstance(form, str) and form.strip(" .")]


def figure_of(row: Mapping[str, Any]) -> Figure:
    """The figure of a row's points, lines and diagram forms. Raises ValueError where a point has no position."""
    inner = row.get("logic_form") or row
    points = {name: complex(x, -y) for name, (x, y) in inner["point_positions"].items() if (x, y) != (-1, -1)}
    lines = [(name[0], name[1]) for name in inner["line_instances"] if len(name) == 2]
    circles: dict[str, str] = {}
    lengths: dict[tuple[str, str], str] = {}
    angles: dict[tuple[str, str, str], str] = {}
    right, parallel, equal = [], [], []
    for form in forms_of(row, "diagram"):
        match parse(form):
            case ("Equals", [("LengthOf", [("Line", [str(a), str(b)])]), str(text)]):
                lengths.setdefault((a, b), text)
            case ("Equals", [("LengthOf", [("Line", [str(a), str(b)])]), ("LengthOf", [str(text)])]):
                lengths.setdefault((a, b), text)
            case (
                "Equals",
                [("LengthOf", [("Line", [str(a), str(b)])]), ("LengthOf", [("Line", [str(c), str(d)])])],
            ) | ("Equals", [("Line", [str(a), str(b)]), ("Line", [str(c), str(d)])]):
                equal.append([(a, b), (c, d)])
            case ("Equals", [("MeasureOf", [("Angle", [str(a), str(b), str(c)])]), str(text)]):
                angles[a, b, c] = text
            case ("Equals", [("MeasureOf", [("Angle", [str(a), str(b), str(c)])]), ("MeasureOf", [str(text)])]):
                angles.setdefault((a, b, c), in_words(text))
            case ("Perpendicular", [("Line", [str(a), str(b)]), ("Line", [str(c), str(d)])]):
                if common := {a, b} & {c, d}:
                    vertex = common.pop()
                    right.append((a if b == vertex else b, vertex, c if d == vertex else d))
            case ("Parallel", [("Line", [str(a), str(b)]), ("Line", [str(c), str(d)])]):
                parallel.append([(a, b), (c, d)])
            case ("PointLiesOnCircle", [str(point), ("Circle", [str(centre), *_])]):
                circles.setdefault(centre, point)
    drawn = [*lines, *circles.items(), *lengths, *(line for group in (*equal, *parallel) for line in group)]
    drawn += [line for a, b, c in (*angles, *right) for line in ((a, b), (b, c))]
    named = {point for line in drawn for point in line}
    if unknown := sorted(named - set(points)):
        raise ValueError(f"points without a position: {', '.join(unknown)}")
    if together := [f"{a}, {b}" for a, b in drawn if points[a] == points[b]]:
        raise ValueError(f"two points in one place: {together[0]}")
    if len(named) < 2:
        raise ValueError("fewer than two points")
    return Figure(
        points={name: point for name, point in points.items() if name in named}, lines=lines,
        labels=[
            *(LengthLabel(a, b, as_drawn(text)) for (a, b), text in lengths.items()),
            *(AngleLabel(a, b, c, as_drawn(text)) for (a, b, c), text in angles.items()),
        ],
        circles=list(circles.items()), equal=equal, parallel=parallel, right=right,
    )  # fmt: skip


def as_drawn(text: str) -> str:
    """A label without LaTeX: 7√2, 4/7, 2π."""
    text = re.sub(r"\\sqrt\{?(\w+)\}?", r"√\1", text.replace(" ", ""))
    text = re.sub(r"\\frac\{(.+?)\}\{(.+?)\}", r"\1/\2", text)
    return re.sub(r"[\\{}$]", "", text.replace("\\pi", "π").replace("\\angle", "∠").replace("\\circ", "°"))


def redrawn(row: Mapping[str, Any]) -> Image.Image:
    """In the style LARGE, on a larger sheet where labels find no place on that. Raises ValueError where the figure
    cannot be drawn from what the row says, Crowded among them.
    """
    figure = figure_of(row)
    try:
        return draw(figure, LARGE)
    except Crowded:
        return draw(figure, SHEET)


def problem_rows(path: str, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Problem rows with redrawn figures, from the authors' files or their vector form; left-out rows are counted.

    A row without a text gets one from its text forms; its `description` is from the diagram forms.
    """
    for block in open_blocks(DatasetConfig(path)):
        for where, row in read_block(block):
            counts["read"] += 1
            try:
                text = row.get("problem_text") or described(forms_of(row, "text"))
                image = redrawn(row)
                description = described(forms_of(row, "diagram"))
            except Crowded:
                counts["labels find no free place"] += 1
                continue
            except ValueError as error:
                counts[str(error).partition(":")[0]] += 1
                continue
            answer = row.get("answer", row.get("answer_numeric"))
            if answer is None:
                counts["no answer"] += 1
                continue
            answer = f"{answer:g}" if isinstance(answer, float) else str(answer)
            choices = {"choices": row["choices"]} if row.get("choices") else {}
            yield {
                "problem_id": problem_id(text, [pixel_hash(image, where)]), "source": "geometry3k", "problem": text,
                "answer": answer, "images": [encoded(image)], "description": description, **choices,
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="Geometry3K as .jsonl, .jsonl.gz or .json")
    parser.add_argument("--output_dir", required=True, help="folder for the problems, new")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with user_errors():
        rows = list(tqdm(problem_rows(args.path, counts), unit=" figures", disable=None))
    n_read = counts.pop("read")
    write_artefact(
        Path(args.output_dir), "problem", rows, stage="geometry3k", config={"path": args.path}, seed=0,
        inputs={}, n_read=n_read, dropped=counts,
    )  # fmt: skip
    print(f"{len(rows):,} of {n_read:,} problems in {args.output_dir}")
    print(*(f"left out   {n:,}: {reason}" for reason, n in counts.most_common()), sep="\n")


if __name__ == "__main__":
    main()
