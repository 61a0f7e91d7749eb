"""Samples Long-CoT responses from a teacher (QwQ-32B-Preview, R1, any), checks each, keeps all with their verdicts.

Reads problems (artefact folders, JSONL, Parquet, Hub names, `small-world`) with the columns `problem` (or `question`)
and `answer`; where that is null, "proof" or the like, responses are `unverifiable`. The teacher is a model folder or
Hub name, or the name of a model behind OpenAI-compatible servers. With `--adaptive true` a problem gets `min_samples`
responses, then `round_samples` at a time up to `n_samples`, until its band of difficulty is settled (the rule and its
error: `data_prep/bands.py`). Response j to a problem is the same one in any case. Writes an artefact folder of response
rows, with the columns of their problems, for recipes/curate.py. A killed run goes on when it is started again.
Problems with a figure are left out, unless the teacher is shown it (`--figures show`: a vision-language model) or is
told what it shows (`--figures describe`, as RedStar-Geo's text-only teacher): by the column `description`, else by
Geometry3K's logic forms, else in the words of a vision-language model (`--describer`). Responses carry the figure.

    python recipes/distill.py                                                # the shipped base on the small world
    python recipes/distill.py --model_name_or_path Qwen/QwQ-32B-Preview --problems problems.jsonl --n_samples 8
    vllm serve Qwen/QwQ-32B-Preview --port 8000 &                            # 8 GPUs: several servers, all named below
    python recipes/distill.py --model_name_or_path Qwen/QwQ-32B-Preview --problems problems.jsonl --adaptive true \\
        --n_samples 16 --server_urls http://localhost:8000 http://localhost:8001
    python recipes/distill.py --model_name_or_path Qwen/QwQ-32B-Preview --problems geoqa.jsonl --figures describe \\
        --server_urls http://localhost:8000 --describer Qwen/Qwen2.5-VL-7B-Instruct
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.distillation import PlanArguments


@dataclass
class DistillArguments:
    model_name_or_path: str = field(metadata={"help": "the teacher: model folder, Hub name, or the name servers know"})
    problems: list[str] = field(metadata={"help": "artefact folders, files, Hub names, small-world"})
    split: str = field(default="train", metadata={"help": "split of Hub data sets and of the small world"})
    config_name: str | None = field(default=None, metadata={"help": "configuration of a Hub data set"})
    n_problems: int | None = field(default=None, metadata={"help": "only the first n rows of each (small-world: 3000)"})
    output_dir: str = field(default="outputs/distill", metadata={"help": "folder for the responses, new"})
    temperature: float = field(default=0.6, metadata={"help": "0 is greedy, with --n_samples 1"})
    top_p: float = field(default=0.95, metadata={"help": "probability mass of the tokens that are drawn from"})
    max_new_tokens: int | None = field(
        default=None,
        metadata={"help": "limit of a response; longer ones are cut (default: what fits, 32768 at most)"},
    )
    system_prompt: str | None = field(default=None, metadata={"help": "system message before each problem"})
    instruction: str | None = field(
        default=None, metadata={"help": "text after each problem (default: to reason and to box the answer)"}
    )
    server_urls: list[str] = field(
        default_factory=list, metadata={"help": "OpenAI-compatible servers instead of a model in this process"}
    )
    concurrency: int = field(default=64, metadata={"help": "requests under way at each server"})
    timeout: float = field(default=3600.0, metadata={"help": "seconds for a server's response, its queue included"})
    batch_size: int = field(default=32, metadata={"help": "responses generated at once in this process"})
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "precision of the weights in this process; auto: as they are stored"}
    )
    seed: int = field(default=0, metadata={"help": "of the responses"})
    figures: Literal["leave_out", "show", "describe"] = field(
        default="leave_out", metadata={"help": "what to do with problems that have a figure"}
    )
    describer: str | None = field(
        default=None, metadata={"help": "vision-language model that describes figures of which nothing else says it"}
    )
    describer_urls: list[str] = field(
        default_factory=list, metadata={"help": "servers of the describer, instead of it in this process"}
    )


def main() -> None:
    args, plan = parse_config("distill", __doc__, [DistillArguments, PlanArguments])
    from rl.runs import user_errors

    with user_errors():
        distill(args, plan)


def check(args: DistillArguments, plan: PlanArguments) -> None:
    """Raises ValueError for settings out of range, FileExistsError for results that are there."""
    from data_prep.rows import is_unicode

    plan.check()
    for name, ok, wanted in (
        ("n_problems", args.n_problems is None or args.n_problems > 0, "at least 1"),
        ("temperature", args.temperature >= 1e-3 or args.temperature == 0, "0.001 or more, or 0 for greedy"),
        ("temperature", args.temperature > 0 or plan.n_samples == 1, "all responses would be equal: --n_samples 1"),
        ("top_p", 0 < args.top_p <= 1, "above 0, at most 1"),
        ("max_new_tokens", args.max_new_tokens is None or args.max_new_tokens > 0, "at least 1"),
        ("system_prompt", is_unicode(args.system_prompt or ""), "holds half a character"),
        ("instruction", is_unicode(args.instruction or ""), "holds half a character"),
        ("batch_size", args.batch_size > 0, "at least 1"),
        ("concurrency", args.concurrency > 0, "at least 1"),
        ("timeout", args.timeout > 0, "above 0"),
        ("describer", not args.describer or args.figures == "describe", "has no effect without --figures describe"),
        ("describer_urls", not args.describer_urls or args.describer, "needs the name that they serve: --describer"),
    ):
        if not ok:
            raise ValueError(f"--{name} {getattr(args, name)}: {wanted}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("distill.py is one process: for several GPUs start a server on each and give --server_urls")
    if Path(args.output_dir).exists():
        raise FileExistsError(f"{args.output_dir} exists already: choose another --output_dir or remove it")


def distill(args: DistillArguments, plan: PlanArguments) -> None:
    import pyarrow as pa

    from data_prep.answers import AnswerChecker
    from data_prep.artefacts import now, write_artefact
    from data_prep.benchmarks import BOXED, content_hash, read_problems, unique_problems
    from data_prep.distillation import requests_for, sample, summarise, table
    from data_prep.journal import Journal
    from data_prep.responses import open_engine, prompt_of, response_row, travelling
    from data_prep.sources import DatasetConfig
    from multimodal.descriptions import answerable, told, with_descriptions
    from multimodal.engine import open_figure_engine
    from multimodal.samples import generated

    started = now()
    check(args, plan)
    figures = args.figures != "leave_out"
    output = Path(args.output_dir)
    unfinished = output.with_name(f"{output.name}.partial")
    # The problems, each once.
    read = {
        path: list(
            read_problems(generated(DatasetConfig(path, args.split, args.config_name, n_rows=args.n_problems)), figures)
        )
        for path in args.problems
    }
    inputs = {path: content_hash(rows) for path, rows in read.items()}
    n_read = sum(map(len, read.values()))
    problems, dropped = unique_problems((row for rows in read.values() for row in rows), figures)
    if args.figures == "describe":
        problems = with_descriptions(problems, args, unfinished, dropped)
    if not problems:
        raise ValueError(f"{', '.join(read)}: no problem to ask in {n_read} rows {dict(dropped) or ''}")
    columns, further = travelling(problems)
    if figures:  # the response is to them, whatever the teacher was told
        columns = columns.append(pa.field("images", pa.list_(pa.binary())))
        further = [own | {"images": problem["images"]} for own, problem in zip(further, problems)]

    # The teacher, and what it is asked.
    engine: Any
    if args.figures == "show" and not args.server_urls:
        engine, model_hash, run_name = open_figure_engine(args.model_name_or_path, args.batch_size, args.dtype)
    else:
        engine, model_hash, run_name = open_engine(
            args.model_name_or_path, server_urls=args.server_urls, concurrency=args.concurrency, timeout=args.timeout,
            batch_size=args.batch_size, dtype=args.dtype,
        )  # fmt: skip
    instruction = BOXED if args.instruction is None else args.instruction
    asked = [told(problem) for problem in problems] if args.figures == "describe" else problems
    prompts = [prompt_of(engine, problem, instruction, args.system_prompt) for problem in asked]
    args.max_new_tokens = args.max_new_tokens or min(32768, engine.room(prompts))
    least = f"{plan.min_samples} to " if plan.in_rounds else ""
    print(
        f"distill    {len(problems):,} problems of {', '.join(read)}; {least}{plan.n_samples} responses each, "
        f"at most {args.max_new_tokens:,} tokens",
        *(f"left out   {n:,} problems: {reason}" for reason, n in dropped.items()),
        sep="\n", flush=True,
    )  # fmt: skip

    # The responses. Their texts are beside the output folder until that is whole; what is in memory are verdicts.
    with AnswerChecker() as checker, Journal(unfinished / f"{run_name}.jsonl") as journal:
        if n_before := len(journal):
            print(f"resume     {n_before:,} responses of an earlier start are in {journal.path}", flush=True)
        stream = partial(
            engine.stream, max_new_tokens=args.max_new_tokens, temperature=args.temperature, top_p=args.top_p,
            seed=args.seed, journal=journal,
        )  # fmt: skip
        begin = time.monotonic()
        judged = sample(stream, problems, prompts, plan, checker)
        speed = (len(journal) - n_before) / (time.monotonic() - begin)

        def rows() -> Iterator[dict[str, Any]]:
            """All of them once more, out of the journal, in the order of problems and samples."""
            for (i, _, j), completion, _ in stream(requests_for(prompts, map(len, judged))):
                judgement = judged[i][j].judgement
                row = response_row(problems[i], j, completion, judgement, args.model_name_or_path, args.seed)
                yield row | further[i]

        summary = summarise(plan, judged)
        write_artefact(
            output, "response", rows(), stage="distill", config=asdict(args) | asdict(plan), seed=args.seed,
            n_read=n_read, dropped=dropped, inputs={args.model_name_or_path: model_hash, **inputs}, columns=columns,
            extra={"rows_in_of": "problems", **summary, "first_prompt": getattr(prompts[0], "text", prompts[0]),
                   "started": started},
        )  # fmt: skip
    journal.path.unlink()
    for file in unfinished.glob("describe-*.jsonl"):
        file.unlink()
    with suppress(OSError):  # not empty: another model's responses
        unfinished.rmdir()
    if args.figures == "describe":
        print(answerable(problems, [[one.judgement.verdict for one in own] for own in judged]))
    print(table(summary), f"{speed:.2f} responses/s; responses in {args.output_dir}", sep="\n")
    print(f"next       python recipes/curate.py --inputs '{{path: {args.output_dir}}}' --output_dir outputs/curate")


if __name__ == "__main__":
    main()
