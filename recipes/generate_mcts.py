"""Tree search with a policy: verified solutions for SFT and step pairs for a PPM (rStar-Math, sections 3.2 and 3.3).

The policy writes code-augmented steps (`--steps text`: paragraphs), their code is run in a sandbox, and the answers
below a step grade it. Reads problems with answers (artefact folders, JSONL, Parquet, Hub names, `small-world`). Writes
a folder with `trees` and `runs` (everything), `samples` (the best verified solutions, for recipes/sft_longcot.py),
`pairs` (for train_ppm) and `trees.html` (some trees to look at). `--preset paper` and `official-code` differ
where the paper and its code do; every such option can be set by itself. A few trees are grown first, and the cost of
all is estimated from them. A killed run goes on, tree by tree, when it is started again.

    python recipes/generate_mcts.py                                          # a tiny policy on the small world
    python recipes/generate_mcts.py --model_name_or_path Qwen/Qwen2.5-Coder-7B-Instruct --prompt bootstrap \\
        --problems openai/gsm8k --config_name main --rollouts 8 --candidates 5 --estimate_only true
    vllm serve MODEL --port 8000 --enable-prefix-caching &                   # 8 GPUs: several servers, all named below
    python recipes/generate_mcts.py --model_name_or_path MODEL --problems problems.jsonl \\
        --server_urls http://localhost:8000 http://localhost:8001

With `--from_responses responses` existing Long-CoT responses are graded instead: their thoughts are cut into steps,
continuations are sampled from the step ends, and Q is the share of them that ends right.
"""

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.mcts.settings import GradingArguments, SearchArguments

if TYPE_CHECKING:
    from data_prep.answers import AnswerChecker
    from data_prep.mcts.inputs import Policy
    from data_prep.mcts.running import Totals
    from data_prep.mcts.tree import Tree


PAGE_OF_FIRST = 2000  # trees among which those of the page are chosen


@dataclass
class GenerateArguments:
    model_name_or_path: str = field(metadata={"help": "the policy: model folder, Hub name, or the name servers know"})
    problems: list[str] = field(
        default_factory=list, metadata={"help": "artefact folders, files, Hub names, small-world"}
    )
    split: str = field(default="train", metadata={"help": "split of Hub data sets and of the small world"})
    config_name: str | None = field(default=None, metadata={"help": "configuration of a Hub data set"})
    n_problems: int | None = field(default=None, metadata={"help": "only the first n rows of each (small-world: 3000)"})
    output_dir: str = field(default="outputs/mcts", metadata={"help": "folder for trees, samples and pairs, new"})
    prompt: Literal["chat", "rstar", "bootstrap"] = field(
        default="chat",
        metadata={"help": "chat: chat template; rstar: prompt of its SFT; bootstrap: instruction and examples"},
    )
    instruction: str = field(default="", metadata={"help": "text after each problem of a chat prompt"})
    scorer: str | None = field(
        default=None,
        metadata={"help": "process reward model that gives new steps their first Q: folder, Hub name, URL"},
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "folder or Hub name (default: the policy's), for prompts sent to servers"}
    )
    server_urls: list[str] = field(
        default_factory=list, metadata={"help": "OpenAI-compatible servers instead of a model in this process"}
    )
    concurrency: int = field(default=64, metadata={"help": "requests under way at each server"})
    timeout: float = field(default=600.0, metadata={"help": "seconds for a server's response, its queue included"})
    batch_size: int = field(default=64, metadata={"help": "steps generated at once in this process"})
    trees_at_once: int | None = field(
        default=None, metadata={"help": "trees side by side (default: enough to keep the policy busy)"}
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "precision of the weights in this process; auto: as they are stored"}
    )
    probe: int = field(default=16, metadata={"help": "trees that are grown first, to estimate the cost of all"})
    estimate_only: bool = field(default=False, metadata={"help": "stop after the estimate; the probe's trees are kept"})
    top_k: int = field(default=2, metadata={"help": "verified solutions of a problem in `samples`, by mean Q"})
    drop_errors: bool = field(
        default=True, metadata={"help": "no sample in which a program failed on the way, as the official code"}
    )
    pairs: Literal["paper", "official-code"] | None = field(
        default=None, metadata={"help": "rule for step pairs (default: that of the preset)"}
    )
    n_page_trees: int = field(default=20, metadata={"help": "trees in trees.html (0: no page)"})
    sandbox: Literal["auto", "strict"] = field(
        default="auto", metadata={"help": "strict: refuse to run code where isolation is missing"}
    )
    code_timeout: float = field(default=5.0, metadata={"help": "seconds that a program may run"})
    code_memory_mb: int = field(default=512, metadata={"help": "memory of a program"})
    code_workers: int | None = field(default=None, metadata={"help": "programs at once (default: one per core)"})
    seed: int = field(default=0, metadata={"help": "of prompts, samples and ties"})


def main() -> None:
    args, settings, grading = parse_config(
        "generate_mcts", __doc__, [GenerateArguments, SearchArguments, GradingArguments]
    )
    from rl.runs import user_errors

    with user_errors():
        check(args, settings, grading)
        settings.resolve()
        grading.check()
        try:
            generate(args, settings, grading)
        except KeyboardInterrupt:
            sys.exit(f"\ninterrupted: finished trees are kept in {args.output_dir}.partial: the same command goes on")


def check(args: GenerateArguments, settings: SearchArguments, grading: GradingArguments) -> None:
    """Raises ValueError for settings out of range, FileExistsError for results that are there."""
    from data_prep.rows import is_unicode

    for name in ("n_problems", "trees_at_once", "code_workers", "concurrency", "batch_size", "top_k", "probe",
                 "timeout", "code_timeout", "code_memory_mb"):  # fmt: skip
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise ValueError(f"--{name} {value}: above 0")
    if args.n_page_trees < 0:
        raise ValueError(f"--n_page_trees {args.n_page_trees}: 0 or more")
    if not is_unicode(args.instruction):
        raise ValueError("--instruction holds half a character")
    if args.instruction and args.prompt != "chat":
        raise ValueError(f"--instruction is part of chat prompts, not of --prompt {args.prompt}")
    if grading.from_responses and args.problems:
        raise ValueError("--from_responses brings its own problems: give no --problems")
    for name, option in GradingArguments.__dataclass_fields__.items():
        if not grading.from_responses and name != "from_responses" and getattr(grading, name) != option.default:
            raise ValueError(f"--{name} is for --from_responses")
    if settings.terminal_value == "scorer" and not args.scorer:
        raise ValueError("--terminal_value scorer needs a --scorer")
    if grading.from_responses and args.scorer:
        raise ValueError("--scorer is for a search: with --from_responses answers alone grade steps")
    if args.tokenizer and not args.server_urls:
        raise ValueError("--tokenizer is for --server_urls: a model in this process has its own")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("generate_mcts.py is one process: for several GPUs start a server on each, give --server_urls")
    if Path(args.output_dir).exists():
        raise FileExistsError(f"{args.output_dir} exists already: choose another --output_dir or remove it")


def generate(args: GenerateArguments, settings: SearchArguments, grading: GradingArguments) -> None:
    from data_prep.answers import AnswerChecker
    from data_prep.artefacts import now
    from data_prep.mcts.grading import read_responses
    from data_prep.mcts.inputs import open_policy, read_verifiable, trees_for
    from data_prep.mcts.page import choose, write_page
    from data_prep.mcts.records import read_trees
    from data_prep.mcts.running import FinishedTrees, Totals, table, write_results
    from data_prep.sources import DatasetConfig

    # The problems, the policy, and what each tree begins with.
    started = now()
    if grading.from_responses:
        inputs, responses = read_responses(grading.from_responses, args.n_problems)
    else:
        sources = [DatasetConfig(path, args.split, args.config_name, n_rows=args.n_problems) for path in args.problems]
        inputs, responses = read_verifiable(sources, gold_needed=settings.terminal_value == "gold"), {}
    for reason, n in inputs.dropped.items():
        print(f"left out   {n:,} of {inputs.n_read:,} rows: {reason}")
    policy = open_policy(
        args.model_name_or_path, args.tokenizer, args.server_urls, args.concurrency, args.timeout, args.batch_size,
        args.dtype,
    )  # fmt: skip
    trees = trees_for(policy.tokenizer, inputs.problems, args.prompt, args.instruction, settings.trees, args.seed)

    scorer: Any = None
    if args.scorer:
        from rl.ppm.scoring import open_scorer

        scorer = open_scorer(args.scorer, dtype=args.dtype)

    # The trees. What is finished lies beside the output folder until that is whole.
    output = Path(args.output_dir)
    named = ("model_name_or_path", "dtype", "tokenizer", "seed", "code_timeout", "code_memory_mb")
    scorer_hash = scorer.hash if args.scorer else None
    depend_on = {"policy": policy.hash, "scorer": scorer_hash, **{name: getattr(args, name) for name in named}}
    depend_on |= asdict(grading if responses else settings)
    depend_on.pop("trees", None)  # more of them can be added
    with FinishedTrees(output.with_name(f"{output.name}.partial") / "trees.jsonl", depend_on) as finished:
        totals = Totals(finished)
        with AnswerChecker() as checker:
            if responses:
                trees = grade(args, grading, policy, trees, responses, checker, totals)
            elif not search(args, settings, policy, scorer, trees, checker, totals):
                print(f"kept       {len(finished):,} trees in {finished.path}: the same command goes on from there")
                return

        # What comes of them.
        manifest = write_results(
            output, inputs.problems, finished, top_k=args.top_k, drop_errors=args.drop_errors,
            rule=args.pairs or settings.preset, policy=args.model_name_or_path, policy_hash=policy.hash,
            scorer_hash=scorer_hash,
            stage={
                "stage": "generate_mcts", "config": asdict(args) | asdict(settings) | asdict(grading),
                "seed": args.seed, "inputs": {args.model_name_or_path: policy.hash, **inputs.hashes},
                "extra": {"rows_left_out": dict(inputs.dropped), "first_prompt": trees[0].prompt, "started": started,
                          **totals.summary()},
            },
        )  # fmt: skip
        finished.remove(trees)
    if args.n_page_trees:
        some, which = choose(islice(read_trees(output), PAGE_OF_FIRST), args.n_page_trees)
        which += f" (of the first of {len(trees):,})" if len(trees) > PAGE_OF_FIRST else ""
        write_page(some, output / "trees.html", f"Search trees of {output}", which)
    print(table(manifest), totals.line(), f"results    {output}/: {', '.join(manifest['rows_out'])}", sep="\n")
    if args.n_page_trees:
        print(f"look       {output}/trees.html")
    if manifest["rows_out"]["samples"]:
        print(f"next       python recipes/sft_longcot.py --datasets '{{path: {output}/samples}}' (and model, --config)")


def search(
    args: GenerateArguments, settings: SearchArguments, policy: "Policy", scorer: Any, trees: "list[Tree]",
    checker: "AnswerChecker", totals: "Totals",
) -> bool:  # fmt: skip
    """Grows the trees, those of the probe first. False if that was to be all."""
    from data_prep.mcts.running import estimate, grow, probe
    from data_prep.mcts.search import Search
    from data_prep.mcts.steps import stop_strings
    from data_prep.sandbox.client import Limits, Sandbox

    print(
        f"search     {len(trees):,} trees, {settings.trees} a problem; preset {settings.preset}: {settings.rollouts} "
        f"rollouts, {settings.candidates} candidates; changed: {settings.differences() or 'nothing'}"
        + (f"; steps scored by {args.scorer}" if args.scorer else "")
    )
    with ExitStack() as stack:
        sandbox = None
        if settings.steps == "code":
            limits = Limits(args.code_timeout, args.code_memory_mb)
            sandbox = stack.enter_context(Sandbox(args.code_workers, limits, strict=args.sandbox == "strict"))
            print(f"sandbox    {sandbox.describe()}; {sandbox.workers} programs at once", flush=True)
        given_up: dict[str, Any] = {}
        grower = stack.enter_context(
            Search(settings, checker, sandbox, scorer, policy.context, policy.n_tokens, policy.delimiter)
        )
        if args.server_urls:
            given_up["failed"] = grower.failed
        stream = partial(
            policy.engine.stream, max_new_tokens=settings.max_step_tokens, temperature=settings.temperature,
            top_p=settings.top_p, stop=stop_strings(settings.steps), include_stop=True, seed=args.seed,
            **given_up,
        )  # fmt: skip
        at_once = args.trees_at_once or 8 + 4 * policy.capacity // (settings.candidates or 1)
        totals.start(trees)
        grow(grower, probe(totals.missing(trees), args.probe), stream, at_once, totals)
        if totals.n_trees and (n_left := len(totals.missing(trees))):
            print(estimate(totals, n_left), flush=True)
        if args.estimate_only:
            return False
        grow(grower, totals.missing(trees), stream, at_once, totals)
        totals.end(grower.counts, sandbox.counts if sandbox else {})
    for what, n in getattr(scorer, "counts", {}).items():
        print(f"scorer     {n:,} {what}")
    return True


def grade(
    args: GenerateArguments, grading: GradingArguments, policy: "Policy", trees: "list[Tree]",
    responses: dict[str, list[str]], checker: "AnswerChecker", totals: "Totals",
) -> "list[Tree]":  # fmt: skip
    """Grades the steps of the responses; `trees` have the prompts of their problems. The trees of the responses."""
    from data_prep.mcts.grading import grade_responses, response_trees

    graded = response_trees(policy, trees, responses, checker)
    print(f"grading    {len(graded):,} responses: {grading.continuations} continuations from the ends of steps")
    stream = partial(policy.engine.stream, max_new_tokens=grading.max_new_tokens, temperature=1.0, seed=args.seed)
    totals.start(graded)
    counts = grade_responses(totals.missing(graded), policy, stream, grading, checker, totals.add)
    totals.end(counts, {})
    print("steps      " + ", ".join(f"{n:,} {what}" for what, n in counts.items()))
    return graded


if __name__ == "__main__":
    main()
