"""What an ablation is told: the grid of cells, the questions that it is to answer, how and where cells run."""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Response = Literal["long", "short", "shuffled"]
Scale = Literal["points", "log_odds"]
LONGEST_NAME = 120


@dataclass(frozen=True)
class GridConfig:
    """A block of cells: all combinations of its axes. A cell that stands in several blocks runs once."""

    sizes: list[int] = field(metadata={"help": "tokens or samples trained on (see budget); 0: the untrained model"})
    bands: list[str] = field(
        default_factory=lambda: ["all"], metadata={"help": "bands of difficulty; all: rows of all bands"}
    )
    seeds: list[int] = field(
        default_factory=lambda: [0], metadata={"help": "of the selection and of the training; size 0 runs once"}
    )
    models: list[str] = field(default_factory=list, metadata={"help": "bases (default: model_name_or_path)"})
    responses: list[Response] = field(
        default_factory=lambda: ["long"],
        metadata={"help": "long: as they are; short: without the thought; shuffled: its paragraphs in random order"},
    )
    where: list[dict[str, Any]] = field(
        default_factory=lambda: [{}],
        metadata={"help": "column: value; only such rows, as {kind: math}, {verdict: right} or {source: NAME}"},
    )
    lengths: list[str] = field(
        default_factory=lambda: ["any"], metadata={"help": "any, or LOW-HIGH: only samples of so many tokens"}
    )
    match_length: bool = field(
        default=False, metadata={"help": "draw the block's bands so that their samples are equally long"}
    )
    epochs: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "passes; at an equal size, so fewer samples"}
    )
    per_problem: list[int] = field(
        default_factory=lambda: [0], metadata={"help": "responses of a problem at most; 0: any number"}
    )
    random_init: list[bool] = field(
        default_factory=lambda: [False], metadata={"help": "from fresh weights: the control for pretraining"}
    )


@dataclass(frozen=True)
class QuestionConfig:
    """A claim as a sum of cells' accuracies, each with a weight, over seeds: `terms` of 1 and -1 are a difference.

    A term names what is not the default of a cell: {weight: -1, band: easy, size: 800000}. Its values are those of a
    grid, in the singular: band, size, model, response, where, length, match_length, epochs, per_problem, random_init.
    """

    name: str = field(metadata={"help": "short name"})
    claim: str = field(metadata={"help": "one sentence, which the result supports or contradicts"})
    terms: list[dict[str, Any]] = field(metadata={"help": "cells with their weights (default 1)"})
    smallest_effect: float = field(metadata={"help": "smallest effect of interest, in points or log-odds; the sign is "
                                                     "the direction claimed"})  # fmt: skip
    scale: Scale = field(default="points", metadata={"help": "points, or log_odds, in which ceilings do not decide"})
    tested: list[str] = field(default_factory=list, metadata={"help": "groups of test problems (default: all)"})
    family: str = field(default="all", metadata={"help": "questions that are corrected together"})
    expected: str = field(default="", metadata={"help": "what is expected, and why; written before the run"})


@dataclass
class StudyArguments:
    samples: str = field(
        metadata={"help": "artefact folder of samples with difficulty, as curate.py makes it; small-world"}
    )
    test: list[str] = field(metadata={"help": "benchmarks, as for evaluate.py: names, files, folders, name=path"})
    model_name_or_path: str = field(metadata={"help": "the base of every cell that names no other"})
    grids: list[GridConfig] = field(metadata={"help": "blocks of cells (YAML)"})
    questions: list[QuestionConfig] = field(
        default_factory=list, metadata={"help": "claims with their tests (YAML); fixed when the first cell runs"}
    )
    budget: Literal["tokens", "samples"] = field(
        default="tokens", metadata={"help": "what a size counts; the other is in the result too"}
    )
    sft: str | None = field(default=None, metadata={"help": "YAML of sft_longcot.py for every cell"})
    sft_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "option: value, on top of it"})
    evaluate: str | None = field(default=None, metadata={"help": "YAML of evaluate.py for every cell"})
    evaluate_options: dict[str, Any] = field(default_factory=dict, metadata={"help": "option: value, on top of it"})
    group_by: str | None = field(
        default=None,
        metadata={"help": "column of the test problems by which results are shown (default: band or level)"},
    )
    pass_rates: str | None = field(
        default=None, metadata={"help": "responses of this model (distill.py, evaluate.py): bands by its own pass rate"}
    )
    bands: list[float] = field(
        default_factory=lambda: [0.8, 0.4], metadata={"help": "pass rates from which a problem is easy, medium"}
    )
    tune_lr: list[float] = field(
        default_factory=list,
        metadata={"help": "learning rates, of which the best on dev is taken for each size, by cells of all bands"},
    )
    dev: list[str] = field(default_factory=list, metadata={"help": "benchmarks on which it is chosen"})
    output_dir: str = field(default="outputs/ablate", metadata={"help": "folder of cells and report; resumed if there"})
    report_dir: str | None = field(default=None, metadata={"help": "where the report goes (default: output_dir)"})


@dataclass
class RunArguments:
    cells_at_once: int | None = field(
        default=None, metadata={"help": "cells side by side (default: GPUs / gpus_per_cell, or one for each core)"}
    )
    gpus_per_cell: int = field(default=1, metadata={"help": "GPUs of one cell; more than one needs accelerate_config"})
    accelerate_config: str | None = field(
        default=None, metadata={"help": "train cells by `accelerate launch --config_file THIS`"}
    )
    warm: bool = field(
        default=True, metadata={"help": "fork cells from a process that has imported the libraries: same result"}
    )
    serve: str | None = field(
        default=None,
        metadata={"help": "server for evaluations, as 'vllm serve {model} --host 127.0.0.1 --port {port} "
                          "--data-parallel-size 8'; else the model runs in evaluate.py's own process"},
    )  # fmt: skip
    serve_minutes: float = field(default=30.0, metadata={"help": "how long it may take to start"})
    keep_models: bool = field(default=False, metadata={"help": "keep the weights of each cell"})
    retry_failed: bool = field(default=False, metadata={"help": "run cells again that have failed"})
    only: list[str] = field(default_factory=list, metadata={"help": "run only these cells, by their names"})
    report_only: bool = field(
        default=False, metadata={"help": "run nothing: the report of the cells that are finished"}
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "print plan, cost and commands (with their YAML files in output_dir); run nothing"},
    )
    launcher: Literal["local", "slurm"] = field(
        default="local", metadata={"help": "slurm: write a job array for sbatch instead of running"}
    )
    probe: bool = field(
        default=False, metadata={"help": "run the cheapest cell first, and estimate the cost of the others by it"}
    )
    throughput: float | None = field(
        default=None, metadata={"help": "tokens a second at which one cell trains (default: as finished cells have)"}
    )
    evaluate_throughput: float | None = field(
        default=None, metadata={"help": "tokens a second that one cell's evaluation generates (default: the same way)"}
    )
    response_tokens: int | None = field(
        default=None, metadata={"help": "expected length of a response (default: as in finished cells, else 4,000)"}
    )
    max_hours: float | None = field(default=None, metadata={"help": "refuse a grid that would take longer"})


@dataclass
class PowerArguments:
    seed_sd: float = field(
        default=2.0, metadata={"help": "expected standard deviation between seeds, in points, for the power"}
    )
    interaction_sd: float = field(
        default=25.0, metadata={"help": "between problems, of the difference of two ways of training, in points"}
    )
    residual_sd: float = field(default=35.0, metadata={"help": "of one answer about what is expected of it, in points"})


@dataclass(frozen=True)
class Cell:
    """One training with its evaluation; size 0 is the evaluation of the untrained model alone."""

    model: str
    size: int
    seed: int = 0
    band: str = "all"
    response: Response = "long"
    where: tuple[tuple[str, Any], ...] = ()
    length: str = "any"
    matched: tuple[str, ...] = ()  # bands whose samples are drawn equally long
    epochs: float = 1.0
    per_problem: int = 0
    random_init: bool = False
    learning_rate: float | None = None  # of a tuning cell; others have the study's or the tuned one

    @property
    def data(self) -> str:
        """Name of what is selected, but for how much of it: cells of the same name train on beginnings of each other.

        The model is in it, since its tokenizer counts.
        """
        parts = [label(self.model), self.band]
        parts += [] if self.response == "long" else [self.response]
        parts += [slug(f"{column}-{value}") for column, value in self.where]
        parts += [] if self.length == "any" else [f"tokens-{self.length}"]
        parts += [f"matched-{'-'.join(self.matched)}"] if self.matched else []
        parts += [f"upto{self.per_problem}"] if self.per_problem else []
        return short("_".join([*parts, f"s{self.seed}"]))

    @property
    def name(self) -> str:
        """Readable, unique in a study, and a folder's name."""
        if not self.size:
            return f"{label(self.model)}_untrained"
        parts = [f"{self.size}"]
        parts += [] if self.epochs == 1 else [f"{self.epochs:g}epochs"]
        parts += ["random-init"] if self.random_init else []
        parts += [] if self.learning_rate is None else [f"lr{self.learning_rate:g}"]
        return short("_".join([self.data, *parts]))

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, **asdict(self), "where": dict(self.where)}


def slug(text: str) -> str:
    """The text as part of a folder's name; with a hash where that leaves something out."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text).replace("..", ".")
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def short(name: str) -> str:
    """The name, or its beginning and a hash of it where it is too long for a folder."""
    return (
        name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    )


def label(model: str) -> str:
    """The last part of a model's path or Hub name."""
    return model.rstrip("/").rpartition("/")[2]
