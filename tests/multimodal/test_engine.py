"""Continuations of prompts with figures: those of the model, whatever is asked for beside them."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from data_prep.journal import Journal
from data_prep.small_world import CHECKPOINTS
from multimodal.engine import FigureEngine, FigurePrompt
from multimodal.samples import rows


@pytest.fixture(scope="module")
def engine(figure_base: Path) -> FigureEngine:
    return FigureEngine(str(figure_base), dtype="float32", batch_size=4)


def prompts(engine: FigureEngine) -> list[FigurePrompt]:
    figures = [engine.chat_prompt(row["problem"], None, row["images"]) for row in rows("dev", 5, thought=None)]
    return [*figures, engine.chat_prompt("14+5=?"), engine.chat_prompt("What is 7 times 8, and what is it for?")]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_continuation_does_not_depend_on_its_batch(engine: FigureEngine, temperature: float) -> None:
    asked = prompts(engine)
    settings: dict[str, Any] = {"max_new_tokens": 12, "temperature": temperature, "top_p": 0.95, "seed": 3}
    together = engine.sample(asked, 2, **settings)
    assert [engine.sample([one], 2, **settings)[0] for one in asked] == together
    if temperature:
        assert any(a.text != b.text for a, b in together)
        other = engine.sample(asked, 2, **{**settings, "seed": 4})
        assert other != together
    else:
        assert all(a == b for a, b in together)


def test_figures_matter(engine: FigureEngine) -> None:
    """Equal texts with different figures are different prompts, and the model sees them."""
    first, second = islice(rows("dev", 2, thought=None), 2)
    asked = [engine.chat_prompt("Find x.", None, row["images"]) for row in (first, second)]
    assert asked[0].text == asked[1].text
    assert asked[0].known_by != asked[1].known_by
    inputs = [engine._inputs([one]) for one in asked]
    logits = [engine.model(**one).logits[0, -1] for one in inputs]
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_what_is_finished_is_not_made_again(
    engine: FigureEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = prompts(engine)[:3]
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = engine.sample(asked, 1, max_new_tokens=5, journal=journal)
        monkeypatch.setattr(engine, "_generate", None)
        assert engine.sample(asked, 1, max_new_tokens=5, journal=journal) == first


def test_what_does_not_fit_is_said(engine: FigureEngine) -> None:
    asked = prompts(engine)
    assert 800 < engine.room(asked) < 980
    with pytest.raises(ValueError, match="the model has 1024 positions: give at most"):
        engine.sample(asked[:1], 1, max_new_tokens=1020)
    with pytest.raises(ValueError, match="reads no images"):
        FigureEngine(str(CHECKPOINTS / "small"))
