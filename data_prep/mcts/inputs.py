"""What a search begins with: problems whose answers can be judged, the policy, and a tree for each problem."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from data_prep.benchmarks import content_hash, read_problems, unique_problems
from data_prep.curation.golds import unverifiable
from data_prep.engines import TransformersEngine
from data_prep.mcts.prompts import PromptStyle, search_prompt
from data_prep.mcts.steps import END_OF_STEP
from data_prep.mcts.tree import Tree
from data_prep.responses import open_engine
from data_prep.servers import ServerEngine
from data_prep.sources import DatasetConfig


class Inputs(NamedTuple):
    """Problem rows, each problem once; content hashes by source; what was left out, by reason; rows read."""

    problems: list[dict[str, Any]]
    hashes: dict[str, str]
    dropped: Counter[str]
    n_read: int


def read_verifiable(
    sources: Sequence[DatasetConfig], gold_needed: bool = True, tests_too: bool = False, figures: bool = False
) -> Inputs:  # fmt: skip
    """The problems of all sources; if `gold_needed` only those with an answer that can be judged, or with `tests_too`
    tests of a program. With `figures` only those that have one, else those that have none. Raises ValueError.
    """
    if not sources:
        raise ValueError("no problems given: --problems takes artefact folders, files, Hub names, small-world")
    read = {source.path: list(read_problems(source, figures)) for source in sources}
    problems, dropped = unique_problems((row for rows in read.values() for row in rows), figures)
    kept = []
    for problem in problems:
        if figures and not problem["images"]:
            dropped["no figure"] += 1
            continue
        known = tests_too and problem.get("tests")
        reason = unverifiable(problem["answer"], problem["problem"]) if gold_needed and not known else None
        if reason:
            dropped[f"no answer that can be judged: {reason}"] += 1
        else:
            kept.append(problem)
    if not kept:
        raise ValueError(
            f"{', '.join(read)}: no problem is left of {sum(map(len, read.values()))} rows {dict(dropped) or ''}"
        )
    hashes = {path: content_hash(rows) for path, rows in read.items()}
    return Inputs(kept, hashes, dropped, sum(map(len, read.values())))


class Policy(NamedTuple):
    """`context`: tokens of a text at most, None if not known; `capacity`: texts at once."""

    engine: TransformersEngine | ServerEngine
    tokenizer: Any
    hash: str
    context: int | None
    capacity: int

    @property
    def config(self) -> Any:
        """The model's config. Behind servers that of the folder or name of the tokenizer; None if there is none."""
        if isinstance(self.engine, TransformersEngine):
            return self.engine.model.config
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.tokenizer.name_or_path)
        except (OSError, ValueError):
            return None

    @property
    def delimiter(self) -> str:
        """What is put between two code-augmented steps for the policy.

        Nothing where markers are tokens of their own: the policy writes the line break. Elsewhere the break often
        belongs to the marker's last token (`>\\n`), and behind a marker without it the policy knows no way on.
        """
        return "" if self.n_tokens(END_OF_STEP) == 1 else "\n"

    def n_tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def open_policy(
    model: str, tokenizer: str | None, server_urls: Sequence[str], concurrency: int, timeout: float, batch_size: int,
    dtype: str,
) -> Policy:  # fmt: skip
    """The policy, in this process or behind servers. Prompts are texts for both, so that steps can continue them."""
    engine, model_hash, _ = open_engine(
        model, server_urls=server_urls, concurrency=concurrency, timeout=timeout, batch_size=batch_size, dtype=dtype
    )
    if isinstance(engine, TransformersEngine):
        context = engine.model.config.get_text_config().max_position_embeddings
        return Policy(engine, engine.tokenizer, model_hash, context, batch_size)
    from transformers import AutoTokenizer

    try:
        own = AutoTokenizer.from_pretrained(tokenizer or model)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{tokenizer or model}: no tokenizer there ({str(error).splitlines()[0]}); prompts for servers are made "
            "here: give --tokenizer with a folder or Hub name"
        ) from None
    # Markers that are special tokens of the policy have to come back.
    engine.extra.setdefault("skip_special_tokens", False)
    told = [length for names in engine.models().values() if (length := names.get(model)) is not None]
    return Policy(engine, own, model_hash, min(told, default=None), concurrency * len(server_urls))


def trees_for(
    tokenizer: Any, problems: Sequence[dict[str, Any]], style: PromptStyle, instruction: str, n_trees: int, seed: int
) -> list[Tree]:
    """`n_trees` trees of each problem, all first ones first."""
    trees = []
    for number in range(n_trees):
        for problem in problems:
            tree = Tree(problem, number, seed, "")
            tree.prompt = search_prompt(style, tokenizer, problem, instruction, tree.rng("prompt"))
            trees.append(tree)
    return trees
