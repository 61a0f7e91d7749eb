"""Settings that the recipes of reinforcement learning share. Imports nothing heavy, so that `--help` is quick."""

from dataclasses import dataclass, field
from typing import Literal

from data_prep.sources import DatasetConfig


@dataclass
class RolloutArguments:
    problems: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "problems with answers (YAML: a list of path, split, n_rows)"}
    )
    eval_problems: list[DatasetConfig] = field(
        default_factory=list, metadata={"help": "held-out problems, measured every eval_steps: pass@1"}
    )
    instruction: str = field(default="", metadata={"help": "text after each problem"})
    max_prompt_length: int = field(default=2048, metadata={"help": "tokens; problems with longer prompts are left out"})
    pass_rate: list[float] = field(
        default_factory=list, metadata={"help": "least and most pass_rate of the problems, e.g. 0.1 0.9"}
    )
    curriculum: bool = field(default=False, metadata={"help": "problems in the order of their pass_rate, easy first"})
    steps: Literal["text", "code"] = field(
        default="text",
        metadata={"help": "thoughts, or code-augmented steps, whose programs run in a sandbox while they are written"},
    )
    scorer: str | None = field(
        default=None, metadata={"help": "process reward model: folder, Hub name, or URL of a scoring server"}
    )
    process_credit: Literal["min", "recovery", "delta", "sum"] = field(
        default="recovery", metadata={"help": "how scores pay steps (see docs); sum is for comparison: it is exploited"}
    )
    process_weight: float = field(default=0.5, metadata={"help": "of the pay of steps beside the outcome's"})
    process_gate: bool = field(
        default=True, metadata={"help": "scores of steps praise nothing in solutions that are not right"}
    )
    process_temperature: float = field(default=0.1, metadata={"help": "of the soft minimum (credit min)"})
    tests_passed: Literal["all", "fraction"] = field(
        default="all", metadata={"help": "a program earns 1 for passing all its tests, or the share that it passes"}
    )
    format_weight: float = field(default=0.0, metadata={"help": "of the format: one thought, then a box"})
    language_weight: float = field(default=0.0, metadata={"help": "of the penalty for letters of other scripts"})
    repetition_weight: float = field(default=0.0, metadata={"help": "of the penalty for repeated n-grams"})
    repetition_ngram: int = field(default=20, metadata={"help": "tokens of such an n-gram"})
    overlong_tokens: int = field(
        default=0, metadata={"help": "the last tokens before max_completion_length cost up to 1 (DAPO; 0: nothing)"}
    )
    max_replacements: int = field(
        default=0, metadata={"help": "generations at most to replace groups without a signal (DAPO's dynamic sampling)"}
    )
    rollouts_every: int = field(
        default=20, metadata={"help": "steps between those whose rollouts are kept, for rollouts.html (0: none)"}
    )
