"""How a process reward model reads a solution, and what the numbers mean that it gives."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from data_prep.mcts.steps import MARKERS, segments
from data_prep.responses import whole_characters

KEY = "step_scores"  # of config.json
PROBE = "Wait, 3/4 of the 12.5 apples\n# that Ann has are \\boxed{9.375}.\nprint(apples - 3)\n\n"
Objective = Literal["pairs", "outcome", "q", "labels"]  # labels of steps: models of others, see rl/ppm/public.py


@dataclass(frozen=True)
class StepFormat:
    """What a scorer has to know of a model; saved in its config.json under `step_scores`.

    The model reads `prompt` with the problem in the place of `{problem}`, then the steps, each tokenised by itself
    (ids are joined, never texts, so that a step has the same ids in training, in scoring and in a search). A step's
    score is tanh(logit / scale), from -1 to 1, where the logit is that of the step's last token, or of the last token
    of `mark`, which stands behind every step if it is given. A probability p = sigmoid(logit) is
    2 p - 1 = tanh(logit / 2). `separator`: text between two steps. `strip`: white space around a step is left out.

    `bounded_in_training`: the loss sees the score (paper), not the logit (official code: tanh(logit / 5) only at
    inference). `objective`: what the model was trained on. `markers`: ids of the step markers that are single tokens;
    `probe`: those of `PROBE`, by which another tokenizer is known.
    """

    prompt: str
    mark: str = ""
    separator: str = ""
    strip: bool = False
    scale: float = 5.0
    bounded_in_training: bool = False
    objective: Objective = "pairs"
    markers: Mapping[str, int] = field(default_factory=dict)
    probe: tuple[int, ...] = ()

    def describe(self) -> str:
        """What a score is, in a few words."""
        bounded = ", in training too" if self.bounded_in_training else ""
        learnt = {
            "pairs": "preferences of steps",
            "outcome": "outcomes of solutions",
            "q": "Q of steps",
            "labels": "labels of steps",
        }
        return f"tanh(logit / {self.scale:g}){bounded}, learnt from {learnt[self.objective]}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "StepFormat":
        """From what `as_dict` has become in JSON. Raises TypeError for other names."""
        return cls(**{**found, "probe": tuple(found.get("probe", ()))})


def markers_of(tokenizer: Any) -> dict[str, int]:
    """The step markers that the tokenizer knows as single tokens, with their ids."""
    ids = {marker: tokenizer(marker, add_special_tokens=False)["input_ids"] for marker in MARKERS}
    return {marker: tokens[0] for marker, tokens in ids.items() if len(tokens) == 1}


def check_tokenizer(name: str, tokenizer: Any, step_format: StepFormat) -> None:
    """Raises ValueError if the tokenizer reads a marker or the probe otherwise than the model was trained with."""
    if step_format.probe and list(step_format.probe) != tokenizer(PROBE, add_special_tokens=False)["input_ids"]:
        raise ValueError(f"{name}: this is not the tokenizer that was saved with the model: it reads a text otherwise")
    for marker, token in step_format.markers.items():
        found = tokenizer(marker, add_special_tokens=False)["input_ids"]
        if found != [token]:
            raise ValueError(
                f"{name}: its tokenizer reads the marker {marker} as {found}, the model was trained with [{token}]: "
                "this is not the tokenizer that was saved with the model"
            )


class Encoder:
    """Token ids of prompts and steps."""

    def __init__(self, tokenizer: Any, step_format: StepFormat):
        self.tokenizer, self.format = tokenizer, step_format
        self.mark = self.ids(step_format.mark)
        self.separator = self.ids(step_format.separator)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(whole_characters(text), add_special_tokens=False)["input_ids"] if text else []

    def prompt(self, problem: str) -> list[int]:
        return self.ids(self.format.prompt.replace("{problem}", problem))

    def step(self, text: str, is_first: bool) -> list[int]:
        """The ids of a step: those of its segments, cut behind the step markers, and of separator and mark."""
        if self.format.strip:
            text = text.strip()
        own = [token for segment in segments(text) for token in self.ids(segment)]
        return [*([] if is_first else self.separator), *own, *self.mark]
