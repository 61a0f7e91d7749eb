"""Steps of rollouts: each token belongs to the step whose text it writes."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from data_prep.small_world.problems import problems
from data_prep.small_world.search_study import SHIPPED
from data_prep.small_world.traces import code_steps, long_cot
from rl.process import characters_read, score_steps, step_ends

TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)


class Lengths:
    """Scores a step by the length of its text."""

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[len(step) / 1e4 for step in path] for path in paths]


@given(st.text(max_size=40))
def test_all_characters_are_read_by_the_last_token(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    whole = TOKENIZER.decode(ids, skip_special_tokens=True)
    read = characters_read(TOKENIZER, ids)
    assert read == sorted(read)
    for k in range(len(ids)):  # what is known after k tokens is a beginning of the text
        known = TOKENIZER.decode(ids[: k + 1], skip_special_tokens=True)
        assert known[: read[k]] == whole[: read[k]]
    if "\ufffd" not in whole and ids:
        assert read[-1] == len(whole)


@pytest.mark.parametrize("kind", ["text", "code"])
def test_each_token_belongs_to_the_step_that_it_writes(kind: str) -> None:
    rng = Random(0)
    some = [next(problems("train", seed=seed)) for seed in range(6)]
    texts = [long_cot(p, rng) if kind == "text" else "".join(code_steps(p)) for p in some]
    ids = [TOKENIZER(text, add_special_tokens=False)["input_ids"] + [TOKENIZER.eos_token_id] for text in texts]
    found = score_steps(Lengths(), TOKENIZER, [p.text for p in some], ids, kind)  # type: ignore[arg-type]
    assert found.mask_BS.sum() > 12
    for i, text in enumerate(texts):
        ends = found.ends_BS[i][found.mask_BS[i]].tolist()
        assert ends == sorted(ends)
        assert ends[-1] == len(ids[i]) - 1
        written = [
            TOKENIZER.decode(ids[i][a + 1 : b + 1], skip_special_tokens=True)
            for a, b in zip([-1, *ends], ends, strict=False)
        ]
        assert "".join(written) == text
        wanted = (found.scores_BS[i][found.mask_BS[i]] * 1e4).round().long().tolist()
        # a token may hold the end of one step and the beginning of the next (white space)
        assert all(abs(len(a) - n) <= 2 for a, n in zip(written, wanted, strict=True)), (written, wanted)
        assert sum(wanted) == len(text)


def test_a_completion_of_nothing_has_no_step() -> None:
    found = score_steps(Lengths(), TOKENIZER, ["p", "p"], [[TOKENIZER.eos_token_id], []], "code")
    assert not found.mask_BS.any()
    assert found.mask_BS.shape == (2, 1), "gathering needs a place"
    assert step_ends(TOKENIZER, [TOKENIZER.eos_token_id], []) == []


def test_a_score_that_is_no_number_is_named() -> None:
    class Broken(Lengths):
        def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
            return [[float("nan") for _ in path] for path in paths]

    ids = TOKENIZER("<code>\nann = 1\n<end_of_step>", add_special_tokens=False)["input_ids"]
    with pytest.raises(ValueError, match="1 of 1 scores"):
        score_steps(Broken(), TOKENIZER, ["p"], [ids], "code")
