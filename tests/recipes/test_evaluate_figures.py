"""recipes/evaluate.py on problems with figures: also with white ones and with other problems' figures."""

import json
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep.servers import ServerEngine
from multimodal.samples import rows
from tests.recipes.conftest import Run, one_error_line


def test_own_white_and_exchanged_figures_and_texts_beside_them(run: Run, figure_base: Path, tmp_path: Path) -> None:
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", figure_base, "--benchmarks", "small-geometry", "small-world",
        "--n_problems", 5, "--max_new_tokens", 8, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert "10 problems of small-geometry, small-world" in done.stdout
    assert "10 problems with white and exchanged figures" in done.stdout
    assert done.stdout.count("it is not seen that they are used") == 2  # a model that was never trained
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    asked = {(s["benchmark"], s["decoding"]): s["n_problems"] for s in result["scores"] if s["group"] == "all"}
    assert asked == {
        ("small-geometry", "greedy"): 5, ("small-world", "greedy"): 5, ("small-geometry", "blank"): 5,
        ("small-geometry", "swapped"): 5,
    }  # fmt: skip
    assert [one["control"] for one in result["figure_use"]] == ["blank", "swapped"]
    assert {s["group"] for s in result["scores"] if s["benchmark"] == "small-geometry"} > {"all", "easy"}
    (file,) = (tmp_path / "out").glob("data-*.parquet")
    table = pq.read_table(file)
    assert "images" not in table.column_names  # a picture for each response would be a picture too many
    texts: dict[str, set[str]] = {}
    for row in table.to_pylist():
        texts.setdefault(row["decoding"], set()).add(row["response"])
    assert texts["blank"] != texts["greedy"]


def test_a_model_that_reads_no_images_says_so(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", tiny_model, "--benchmarks", "small-geometry", "--n_problems", 2,
        "--output_dir", tmp_path / "out", check=False,
    )  # fmt: skip
    assert "reads no images" in one_error_line(done)


def test_servers_are_shown_the_images() -> None:
    engine = ServerEngine("http://localhost:1", "m")
    (row,) = islice(rows("dev", 1, thought=None), 1)
    (system, user) = engine.chat_prompt("Find x.", "Be short.", row["images"])
    assert system == {"role": "system", "content": [{"type": "text", "text": "Be short."}]}
    assert [part["type"] for part in user["content"]] == ["image_url", "text"]
    assert user["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    with pytest.raises(ValueError, match="give --max_new_tokens"):
        engine.room([[system, user]])
