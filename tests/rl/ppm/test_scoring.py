"""Scores of paths: one forward for all steps, cached prefixes, the same as a plain forward of each path's text."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from data_prep.mcts.steps import segments
from rl.ppm.model import load_ppm, new_ppm
from rl.ppm.scoring import LOWEST, Head, Scorer, open_scorer
from tests.rl.ppm.conftest import PROMPT, SHIPPED, ppm_of

STEPS = ["<code>\n# Ann has 4 coins.\nann = 4\n<end_of_step>",
         "\n# Bob has 2 more coins.\nbob = ann + 2\n<end_of_step>",
         "\n# Bob has 3 more coins.\nbob = ann + 3\n<end_of_step>",
         "\n# Now print the final answer\nprint(bob)\n<end_of_code>\n<output>6<end_of_output>",
         "\n<answer>The answer is \\boxed{6}.<end_of_answer>"]  # fmt: skip


def scorer_of(ppm: Any, **options: Any) -> Scorer:
    model, tokenizer, step_format = ppm
    return Scorer(model.base_model, Head(model.score), tokenizer, step_format, **options)


def plain(ppm: Any, problem: str, path: list[str]) -> list[float]:
    """The definition: one forward for every step, over prompt and path as one list of ids."""
    model, tokenizer, step_format = ppm
    ids = tokenizer(PROMPT.replace("{problem}", problem), add_special_tokens=False)["input_ids"]
    scores = []
    for step in path:
        for segment in segments(step):
            ids = ids + tokenizer(segment, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            scores.append(float(torch.tanh(model(torch.tensor([ids])).logits[0, -1, 0] / step_format.scale)))
    return scores


def random_paths(n: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    rng = Random(seed)
    problems = [f"Problem {rng.randrange(3)}: Ann has 4 coins." for _ in range(n)]
    return problems, [[rng.choice(STEPS) for _ in range(rng.randint(1, 5))] for _ in range(n)]


@pytest.mark.parametrize("options", [{}, {"batch_tokens": 64}, {"batch_tokens": 64, "cache_tokens": 200}])
def test_all_steps_at_once_are_what_each_step_is_alone(ppm: Any, options: dict[str, int]) -> None:
    scorer = scorer_of(ppm, **options)
    problems, paths = random_paths(12)
    found = scorer.score(problems, paths)
    assert len({score for scores in found for score in scores}) > 5
    for problem, path, scores in zip(problems, paths, found, strict=True):
        assert scores == pytest.approx(plain(ppm, problem, path), abs=1e-5)


def test_growing_paths_read_new_steps_alone(ppm: Any) -> None:
    scorer, problem = scorer_of(ppm), "Ann has 4 coins. How many has Bob?"
    path: list[str] = []
    for step in [STEPS[0], STEPS[1], STEPS[3], STEPS[4]]:
        before = scorer.counts["tokens read"]
        others = [*path, STEPS[2]]
        path = [*path, step]
        scores = scorer.score([problem, problem], [path, others])
        new = sum(len(scorer.encoder.step(text, False)) for text in {step, STEPS[2]})
        prompt = len(scorer.encoder.prompt(problem)) if len(path) == 1 else 0
        assert scorer.counts["tokens read"] - before == new + prompt
    assert scores[0] == pytest.approx(plain(ppm, problem, path), abs=1e-5)
    assert scorer.score([problem], [path])[0] == scores[0]  # nothing is read again
    assert scorer.counts["forwards"] == 4


def test_steps_beyond_the_context_get_the_lowest_score_and_are_counted(ppm: Any) -> None:
    scorer = scorer_of(ppm)
    long = STEPS[1] * 80
    scores = scorer.score(["A problem"], [[STEPS[0], long, STEPS[3]]])[0]
    assert scores[1:] == [LOWEST, LOWEST]
    assert scores[0] == pytest.approx(plain(ppm, "A problem", [STEPS[0]])[0], abs=1e-5)
    assert scorer.counts["steps beyond the scorer's context"] == 2
    assert scorer.score([long], [[STEPS[0]]]) == [[LOWEST]]


def test_a_step_without_text_is_worth_what_came_before(ppm: Any) -> None:
    scores = scorer_of(ppm).score(["A problem"], [[STEPS[0], "", STEPS[1]]])[0]
    assert scores[0] == scores[1]
    assert scores[2] == pytest.approx(plain(ppm, "A problem", [STEPS[0], STEPS[1]])[1], abs=1e-5)


def test_half_a_character_is_read(ppm: Any) -> None:
    (scores,) = scorer_of(ppm).score(["A problem \ud800"], [[STEPS[0], "\ud800 x"]])
    assert all(-1 < score < 1 for score in scores)


def test_no_paths_have_no_scores(ppm: Any) -> None:
    assert scorer_of(ppm).score([], []) == []
    assert scorer_of(ppm).score(["A problem"], [[]]) == [[]]


def test_scores_that_are_no_numbers_are_an_error_with_their_number() -> None:
    model, tokenizer, step_format = ppm_of()
    with torch.no_grad():
        model.score.weight.fill_(float("nan"))
    scorer = scorer_of((model, tokenizer, step_format), name="outputs/ppm")
    with pytest.raises(ValueError, match="outputs/ppm: 2 of 2 scores are no numbers"):
        scorer.score(["A problem"], [[STEPS[0]]])
    assert scorer.known == {}


def test_a_saved_model_says_how_it_is_read(ppm: Any, tmp_path: Any) -> None:
    model, tokenizer, step_format = ppm
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = load_ppm(str(tmp_path))
    assert found[2] == step_format
    assert found[0].dropout.p == 0
    problems, paths = random_paths(4)
    opened = open_scorer(str(tmp_path))
    for mine, theirs in zip(scorer_of(ppm).score(problems, paths), opened.score(problems, paths), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)


def test_a_new_model_knows_nothing_yet() -> None:
    model = new_ppm(SHIPPED, ppm_of()[2], 768, "float32", "tree")
    assert model.score.weight.abs().max() < 1e-20
    assert model.config.initializer_range == 0.08


def test_a_model_with_another_tokenizer_or_without_format_is_refused(ppm: Any, tmp_path: Any) -> None:
    ppm[0].save_pretrained(tmp_path / "a")
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(SHIPPED)
    backend = other.backend_tokenizer.to_str().replace("<end_of_step>", "<other_step>")
    other.save_pretrained(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text(backend)
    with pytest.raises(ValueError, match="its tokenizer reads the marker <end_of_step> as"):
        load_ppm(str(tmp_path / "a"))
    # Markers as they were, another text otherwise.
    vocabulary = json.loads((Path(SHIPPED) / "tokenizer.json").read_text())
    merges = vocabulary["model"].get("merges")
    assert merges, "a tokenizer that merges"
    vocabulary["model"]["merges"] = merges[: len(merges) // 2]
    (tmp_path / "a" / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ValueError, match="this is not the tokenizer that was saved with the model"):
        load_ppm(str(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"no process preference model: its config\.json has no 'step_scores'"):
        load_ppm(SHIPPED)
