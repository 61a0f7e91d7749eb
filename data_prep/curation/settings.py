"""What a curation can be told: its inputs, filters and their bounds, how duplicates, bands and shares are chosen."""

from dataclasses import dataclass, field
from typing import Literal

from data_prep.bands import BANDS

# The filters of single rows, cheap before dear; then comes what needs all rows.
ROW_FILTERS = ("length", "thought", "answer", "loop", "language", "gold", "verify", "contamination")
# Filters that look at the response. Where problems are wanted, they say nothing about the problem.
OF_RESPONSES = ("thought", "answer", "loop", "language", "verify")
FILTERS = (*ROW_FILTERS, "duplicates")


@dataclass(frozen=True)
class InputConfig:
    """One source of rows."""

    path: str = field(
        metadata={"help": "artefact folder, .jsonl(.gz/.xz/.zst)/.parquet/.json file or folder, Hub name"}
    )
    reader: str | None = field(default=None, metadata={"help": "form of the rows; by default their columns tell"})
    fields: dict[str, str] = field(default_factory=dict, metadata={"help": "our column: theirs"})
    source: str | None = field(default=None, metadata={"help": "name of the source (the rows' own, or the path's)"})
    kind: str | None = field(default=None, metadata={"help": "math or code, where the reader does not know"})
    split: str = field(default="train", metadata={"help": "split of a Hub data set"})
    config: str | None = field(default=None, metadata={"help": "configuration of a Hub data set"})
    problems: str | None = field(default=None, metadata={"help": "file of problems, where the rows are responses only"})
    join_on: list[str] = field(default_factory=lambda: ["problem_id"], metadata={"help": "columns of both"})


@dataclass
class InputArguments:
    inputs: list[InputConfig] = field(
        default_factory=list,
        metadata={"help": "sources: path, reader, fields, source, kind, split, config, problems, join_on"},
    )
    rows: Literal["samples", "problems"] = field(
        default="samples",
        metadata={"help": "samples: a problem with one response each; problems: each once, responses only rate it"},
    )
    system_prompt: str | None = field(default=None, metadata={"help": "system turn (default: the row's own, if any)"})
    output_dir: str = field(default="outputs/curate", metadata={"help": "artefact folder, new"})
    keep_columns: list[str] = field(default_factory=list, metadata={"help": "further columns that travel along"})
    max_row_mb: float = field(default=32.0, metadata={"help": "a longer row is counted and left out, unread"})


@dataclass
class FilterArguments:
    filters: list[str] = field(
        default_factory=lambda: list(FILTERS),
        metadata={"help": "filters, in this order: " + ", ".join(FILTERS), "choices": FILTERS},
    )
    min_problem_chars: int = field(default=10, metadata={"help": "length: a shorter problem is left out"})
    max_problem_chars: int = field(default=20_000, metadata={"help": "length: a longer problem is left out"})
    min_response_chars: int = field(default=1, metadata={"help": "length: a shorter response is left out"})
    max_response_chars: int = field(default=200_000, metadata={"help": "length: a longer response is left out"})
    need_thought: bool = field(default=False, metadata={"help": "thought: a response without one is left out"})
    max_foreign_letters: int = field(
        default=5, metadata={"help": "language: letters of a script that the problem does not use"}
    )
    extraction: Literal["strict", "lenient"] = field(
        default="strict", metadata={"help": "verify: strict takes a boxed answer only; lenient also what is stated"}
    )
    unverifiable: Literal["drop", "keep"] = field(
        default="drop", metadata={"help": "gold, verify: rows whose gold no checker can judge, and code without tests"}
    )
    sandbox: Literal["auto", "strict"] = field(
        default="auto",
        metadata={"help": "verify: of programs; strict: only where files, network and processes are closed off"},
    )
    test_timeout: float = field(default=6.0, metadata={"help": "verify: seconds of a program on one test"})
    verify_timeout: float = field(default=1.5, metadata={"help": "verify: seconds for one comparison by Math-Verify"})


@dataclass
class ContaminationArguments:
    benchmarks: list[str] = field(
        default_factory=list, metadata={"help": "suites, benchmarks, files, folders, Hub names, name=path"}
    )
    ngram: int = field(default=8, metadata={"help": "tokens of an n-gram"})
    ngram_threshold: float = field(
        default=0.6, metadata={"help": "share of a benchmark problem's n-grams, rare ones counting more"}
    )
    contamination_similarity: float = field(default=0.75, metadata={"help": "of characters, numbers masked"})
    renumbered_benchmark: Literal["keep", "drop"] = field(
        default="keep", metadata={"help": "a benchmark's problem with other numbers; reported in any case"}
    )


@dataclass
class DuplicateArguments:
    duplicates: Literal["exact", "near"] = field(
        default="near", metadata={"help": "which problems are one: equal as normalised, or also nearly equal"}
    )
    similarity: float = field(default=0.75, metadata={"help": "of near-duplicates, with the same numbers and answers"})
    renumbered: Literal["keep", "drop"] = field(
        default="keep", metadata={"help": "the same words with other numbers; counted in any case"}
    )
    per_problem: int | None = field(default=None, metadata={"help": "rows kept of one problem (default: all)"})
    prefer: Literal["any", "shortest", "longest"] = field(
        default="any", metadata={"help": "of the rows of a problem, after right ones; any: by the seed"}
    )
    mislabelled: Literal["report", "drop"] = field(
        default="report", metadata={"help": "problems whose attempts agree with each other against the gold"}
    )
    mislabelled_attempts: int = field(default=4, metadata={"help": "fewer attempts say nothing"})
    mislabelled_share: float = field(default=0.5, metadata={"help": "share of attempts with the same other answer"})


@dataclass
class DifficultyArguments:
    difficulty: Literal["pass_rate", "level", "scorer", "none"] = field(
        default="pass_rate", metadata={"help": "share of right responses, annotated level, or a learned scorer"}
    )
    scorer: str | None = field(default=None, metadata={"help": "folder made by data_prep.curation.scorer"})
    bands: list[float] = field(
        default_factory=lambda: [0.8, 0.4],
        metadata={"help": "pass rate from which a problem is easy, medium (above 0: hard); or the level or score from "
                          "which it is medium, hard"},
    )  # fmt: skip


@dataclass
class SelectionArguments:
    select_bands: list[str] = field(default_factory=list, metadata={"help": "only these bands", "choices": BANDS})
    select_sources: list[str] = field(default_factory=list, metadata={"help": "only these sources"})
    min_difficulty: float | None = field(default=None, metadata={"help": "only from this level or score"})
    max_difficulty: float | None = field(default=None, metadata={"help": "only up to this level or score"})
    size: int | None = field(default=None, metadata={"help": "rows; a smaller size is a part of a larger one"})
    weight_by: Literal["source", "band", "kind"] = field(default="source", metadata={"help": "what is weighted"})
    weights: dict[str, float] = field(
        default_factory=dict, metadata={"help": "relative shares; what is not named has 1, 0 leaves out"}
    )
    seed: int = field(default=0, metadata={"help": "of which rows, where there are more than wanted"})


@dataclass
class RunArguments:
    engine: Literal["local", "ray"] = field(default="local", metadata={"help": "ray: many machines, see docs"})
    workers: int | None = field(default=None, metadata={"help": "processes (default: one for each core)"})
    shard_mb: int = field(default=32, metadata={"help": "input read at once by a worker: memory grows with it"})
    partition_rows: int = field(default=100_000, metadata={"help": "rows looked at together where all are needed"})
    count_tokens: Literal["none", "estimate", "exact"] = field(
        default="none", metadata={"help": "of the kept rows; estimate: from 1 row in 50, with its error"}
    )
    tokenizer: str | None = field(default=None, metadata={"help": "model folder or Hub name, for count_tokens"})
    n_examples: int = field(default=10, metadata={"help": "dropped rows kept for each reason, to look at"})


@dataclass(frozen=True)
class Settings:
    """All of them; they go to every worker."""

    input: InputArguments
    filter: FilterArguments
    contamination: ContaminationArguments
    duplicates: DuplicateArguments
    difficulty: DifficultyArguments
    selection: SelectionArguments
    run: RunArguments

    @property
    def filters(self) -> list[str]:
        """Names of the filters that apply: where problems are wanted, their responses leave nothing out."""
        if self.input.rows == "samples":
            return self.filter.filters
        return [name for name in self.filter.filters if name not in OF_RESPONSES]
