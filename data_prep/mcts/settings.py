"""Settings of a search, with two presets: what the paper says, and what the official code does."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from data_prep.mcts.steps import Steps

# Where paper (sections 3.2 to 3.4, appendix A.1) and official code (config/sft_sample_mcts.yaml, agents/mcts.py)
# differ; where the paper is silent, what is usual for UCT. Everything else is the same in both.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "rollouts": 16,
        "candidates": 8,
        "unvisited": "first",
        "tie_break": "random",
        "back_up": "reached",
        "invalid": "nothing",
        "clean_up": "duplicates",
        "failing_code": "dropped",
        "error_means": "exception",
    },
    "official-code": {
        "rollouts": 48,
        "candidates": 12,
        "unvisited": "zero",
        "tie_break": "first",
        "back_up": "created",
        "invalid": "itself",
        "clean_up": "first answer",
        "failing_code": "kept",
        "error_means": "word",
    },
}


@dataclass
class SearchArguments:
    """Options whose default is that of the preset say so; the others are the same in both presets."""

    preset: Literal["paper", "official-code"] = field(
        default="paper", metadata={"help": "defaults of the options below: rStar-Math's paper or its official code"}
    )
    rollouts: int | None = field(
        default=None, metadata={"help": "descents from the root (paper: 16, official-code: 48; first round: 8)"}
    )
    rollouts_if_unsolved: list[int] | None = field(
        default=None,
        metadata={
            "help": "go on to so many while no answer is right (paper: twice as many, its 4th round: 64 128; "
            "official-code, or 0: no more)"
        },
    )
    candidates: int | None = field(
        default=None, metadata={"help": "steps sampled where a node is expanded (paper: 8, official-code: 12)"}
    )
    trees: int = field(default=1, metadata={"help": "trees per problem, each with its own random numbers"})
    c: float = field(default=2.0, metadata={"help": "weight of exploration in UCT = Q + c sqrt(ln N_parent / N)"})
    max_depth: int = field(default=16, metadata={"help": "steps of a path at most"})
    unvisited: Literal["first", "zero"] | None = field(
        default=None,
        metadata={"help": "unvisited steps are tried first (paper), or have UCT 0 (official-code)"},
    )
    tie_break: Literal["random", "first"] | None = field(
        default=None, metadata={"help": "among equals one at random (paper), or the first (official-code)"}
    )
    back_up: Literal["reached", "created"] | None = field(
        default=None,
        metadata={"help": "answers count when a rollout reaches them (paper), or as they are made (official-code)"},
    )
    invalid: Literal["nothing", "itself", "path"] | None = field(
        default=None,
        metadata={"help": "an end without answer: no value (paper), -1 for itself (official-code), or for its path"},
    )
    clean_up: Literal["nothing", "duplicates", "first answer"] | None = field(
        default=None,
        metadata={"help": "equal steps become one (paper); of those with an answer only the first (official-code)"},
    )
    failing_code: Literal["dropped", "kept"] | None = field(
        default=None, metadata={"help": "steps whose code fails are no candidates (paper), or stay (official-code)"}
    )
    max_errors: int = field(default=2, metadata={"help": "where they stay: as many failing steps in a row end a path"})
    error_means: Literal["exception", "word"] | None = field(
        default=None,
        metadata={"help": "failing: an exception (paper), or the word `error` in the output too (official-code)"},
    )
    terminal_value: Literal["gold", "agreement", "scorer"] = field(
        default="gold",
        metadata={"help": "value of an answer: right +1, wrong -1; share of equal answers in the tree; the scorer's"},
    )
    stop_after_right: int | None = field(
        default=None, metadata={"help": "a tree with so many right answers is settled and ends (default: never)"}
    )
    steps: Steps = field(
        default="code", metadata={"help": "code: rStar's code-augmented steps; text: paragraphs, thoughts too"}
    )
    temperature: float = field(default=1.0, metadata={"help": "of the candidates (official first round: 0.7)"})
    top_p: float = field(default=1.0, metadata={"help": "probability mass of the tokens that are drawn from"})
    max_step_tokens: int = field(default=512, metadata={"help": "a step that is longer is cut and ends its path"})

    def resolve(self) -> "SearchArguments":
        """Fills in the preset's values; raises ValueError for what is out of range or without effect."""
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        assert self.rollouts is not None
        assert self.candidates is not None
        if self.rollouts_if_unsolved is None:
            again = self.preset == "paper" and self.terminal_value == "gold"
            self.rollouts_if_unsolved = [2 * self.rollouts] if again else []
        elif self.rollouts_if_unsolved == [0]:
            self.rollouts_if_unsolved = []
        growing = [self.rollouts, *self.rollouts_if_unsolved]
        for name, ok, wanted in (
            ("rollouts", self.rollouts > 0, "at least 1"),
            ("candidates", self.candidates > 0, "at least 1"),
            ("rollouts_if_unsolved", growing == sorted(set(growing)), f"growing numbers above {self.rollouts}"),
            ("trees", self.trees > 0, "at least 1"),
            ("c", self.c >= 0, "0 or more"),
            ("max_depth", self.max_depth > 0, "at least 1"),
            ("max_errors", self.max_errors > 0, "at least 1"),
            ("stop_after_right", self.stop_after_right is None or self.stop_after_right > 0, "at least 1"),
            (
                "stop_after_right",
                self.stop_after_right is None or self.terminal_value == "gold",
                "needs --terminal_value gold",
            ),
            (
                "rollouts_if_unsolved",
                not self.rollouts_if_unsolved or self.terminal_value == "gold",
                "which answers are right is only known with --terminal_value gold: give 0",
            ),
            ("temperature", self.temperature > 0, "above 0: candidates of one step would all be equal"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("max_step_tokens", self.max_step_tokens > 0, "at least 1"),
        ):
            if not ok:
                raise ValueError(f"--{name} {getattr(self, name)}: {wanted}")
        return self

    def differences(self) -> dict[str, Any]:
        """Options of the preset that have another value here."""
        preset = PRESETS[self.preset]
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != preset.get(f.name, ...)
                and f.name in preset}  # fmt: skip


@dataclass
class GradingArguments:
    from_responses: list[str] = field(
        default_factory=list,
        metadata={"help": "grade the steps of these responses (artefact folders, files) instead of searching"},
    )
    continuations: int = field(
        default=4, metadata={"help": "sampled from a step's end; Q is the share that ends right"}
    )
    every: int = field(default=1, metadata={"help": "grade each so many-th step"})
    max_new_tokens: int = field(default=4096, metadata={"help": "limit of a continuation; a longer one is wrong"})

    def check(self) -> None:
        """Raises ValueError for values out of range."""
        for name in ("continuations", "every", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: at least 1")


Strategy = Literal["greedy", "best_of_n", "beam", "mcts"]


@dataclass
class StrategyArguments:
    strategy: list[Strategy] = field(
        default_factory=list,
        metadata={"help": "search for the answer step by step: greedy, best_of_n, beam, mcts (one or several)"},
    )
    scorer: str | None = field(
        default=None, metadata={"help": "process reward model: folder, Hub name, or URL of a scoring server"}
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "with servers: folder or Hub name (default: the model's), for search prompts"}
    )
    steps: Steps = field(default="code", metadata={"help": "code: rStar's code-augmented steps; text: paragraphs"})
    prompt: Literal["chat", "rstar", "bootstrap"] = field(
        default="chat", metadata={"help": "what the policy continues in a search, see generate_mcts.py"}
    )
    trajectories: int = field(default=16, metadata={"help": "best_of_n: solutions of a problem"})
    runs: int = field(default=8, metadata={"help": "mcts: searches of a problem"})
    rollouts: int = field(default=8, metadata={"help": "mcts: rollouts of a search (official README: 8; paper: 12)"})
    candidates: int = field(default=8, metadata={"help": "mcts, beam: steps sampled at a node (official: 16 to 32)"})
    beam_size: int = field(default=8, metadata={"help": "beam: solutions that are followed"})
    top_k: int = field(default=4, metadata={"help": "mcts: best solutions of the runs that vote (official: 4 to 8)"})
    max_depth: int = field(default=16, metadata={"help": "steps of a solution at most"})
    max_step_tokens: int = field(default=512, metadata={"help": "a step that is longer is cut and ends its solution"})
    search_temperature: float = field(default=1.0, metadata={"help": "of the steps"})

    def check(self) -> None:
        """Raises ValueError for values out of range, or without a scorer where one is needed."""
        for name in ("trajectories", "runs", "rollouts", "candidates", "beam_size", "top_k", "max_depth",
                     "max_step_tokens", "search_temperature"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name} {getattr(self, name)}: above 0")
        needs = [strategy for strategy in self.strategy if strategy in ("beam", "mcts")]
        if needs and self.scorer is None:
            raise ValueError(f"--strategy {needs[0]} needs a --scorer, which says what steps are worth")
        for name, option in self.__dataclass_fields__.items():
            if not self.strategy and name != "strategy" and getattr(self, name) != option.default:
                also = " (or --step_labels)" if name == "scorer" else ""
                raise ValueError(f"--{name} is for --strategy{also}: say what is to be done with it")

    def settings(self, strategy: Strategy) -> SearchArguments:
        """Of the trees of a strategy; the solutions of best_of_n are trees of one path."""
        one_path = strategy in ("greedy", "best_of_n")
        return SearchArguments(
            preset="paper", rollouts=1 if one_path else self.rollouts, candidates=1 if one_path else self.candidates,
            rollouts_if_unsolved=[], terminal_value="agreement" if one_path else "scorer", steps=self.steps,
            temperature=self.search_temperature, max_depth=self.max_depth, max_step_tokens=self.max_step_tokens,
        ).resolve()  # fmt: skip

    def n_trees(self, strategy: Strategy) -> int:
        """Trees of a problem."""
        return {"best_of_n": self.trajectories, "mcts": self.runs}.get(strategy, 1)
