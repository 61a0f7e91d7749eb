"""Steps of rollouts: where they end among the tokens, and what a process reward model thinks of them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from tokenizers.decoders import DecodeStream

from data_prep.mcts.scoring import StepScorer, check_range
from data_prep.mcts.steps import OUTPUT, segments, thought_steps
from data_prep.responses import whole_characters


class StepScores(NamedTuple):
    """Of B completions with up to S steps: `scores_BS` float32 from -1 to 1, `ends_BS` the place of each step's last
    token within the completion, `mask_BS` whether there is such a step.
    """

    scores_BS: torch.Tensor
    ends_BS: torch.Tensor
    mask_BS: torch.Tensor


def characters_read(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    """How many characters of the text (special tokens skipped) are known once each token is read.

    A character of several tokens counts with the last of them.
    """
    stream, backend = DecodeStream(skip_special_tokens=True), tokenizer.backend_tokenizer
    found, n = [], 0
    for token in ids:
        n += len(stream.step(backend, token) or "")
        found.append(n)
    return found


def step_ends(tokenizer: Any, ids: Sequence[int], steps: Sequence[str]) -> list[int]:
    """The place of the last token of each step, whose texts joined are the text of `ids`. Tokens behind the text (the
    end of the turn) belong to the last step.
    """
    read = characters_read(tokenizer, ids)
    ends, n, place = [], 0, 0
    for step in steps:
        n += len(step)
        while place < len(read) - 1 and read[place] < n:
            place += 1
        ends.append(place)
    if ends:
        ends[-1] = len(ids) - 1
    return ends


def code_steps(solution: str) -> list[str]:
    """A code-augmented solution cut behind its step ends, what a program prints with the step that it belongs to."""
    found: list[str] = []
    for segment in segments(solution):
        if found and segment.lstrip().startswith(OUTPUT):
            found[-1] += segment
        else:
            found.append(segment)
    return found


def step_texts(tokenizer: Any, ids: Sequence[int], ends: Sequence[int]) -> list[str]:
    """The texts of the steps that end at these places, special tokens skipped."""
    return [
        whole_characters(tokenizer.decode(ids[before + 1 : end + 1], skip_special_tokens=True))
        for before, end in pairwise([-1, *ends])
    ]


def score_steps(
    scorer: StepScorer, tokenizer: Any, problems: Sequence[str], completion_ids: Sequence[Sequence[int]],
    kind: Literal["text", "code"],
) -> StepScores:  # fmt: skip
    """Cuts completions into steps, of a thought (`text`) or behind step ends (`code`), and scores all of them at once.

    Raises ValueError for a score that is no number from -1 to 1.
    """
    n_tokens = lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    texts = tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
    steps = [code_steps(text) if kind == "code" else thought_steps(text, n_tokens) for text in texts]
    scores = scorer.score(problems, steps)
    check_range(scores)
    width = max((len(own) for own in steps), default=0) or 1  # gathering needs a place, also where all are empty
    found = StepScores(
        torch.zeros(len(steps), width), torch.zeros(len(steps), width, dtype=torch.long),
        torch.zeros(len(steps), width, dtype=torch.bool),
    )  # fmt: skip
    for i, (ids, own) in enumerate(zip(completion_ids, steps, strict=True)):
        found.scores_BS[i, : len(own)] = torch.tensor(scores[i])
        found.ends_BS[i, : len(own)] = torch.tensor(step_ends(tokenizer, ids, own), dtype=torch.long)
        found.mask_BS[i, : len(own)] = True
    return found
