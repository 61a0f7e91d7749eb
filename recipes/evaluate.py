"""Measures a model on problems: greedy pass@1, sampled pass@1 and pass@k, overall and by difficulty, with intervals.

Reads a model folder (or Hub name) and a benchmark: `small-world`, or a .jsonl/.parquet file or Hub data set with the
columns `problem` (or `question`) and `answer`. Writes every response (Parquet) and result.json, prints a table. A
benchmark with problems that the model was trained on, as its folder records, is refused.

    python recipes/evaluate.py                                              # the shipped base on the small world
    python recipes/evaluate.py --model_name_or_path outputs/sft --benchmark aime24.jsonl --n_samples 16 \\
        --temperature 0.6 --max_new_tokens 16384
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: this file would hide the library `evaluate`

from data_prep.config import parse_config


@dataclass
class EvaluateArguments:
    model_name_or_path: str = field(metadata={"help": "model folder or Hub name"})
    benchmark: str = field(metadata={"help": "small-world, a .jsonl/.parquet file, or a Hub data set"})
    split: str = field(default="test", metadata={"help": "split of the small world or of a Hub data set"})
    n_problems: int | None = field(default=None, metadata={"help": "only the first n problems (small-world: 300)"})
    output_dir: str = field(default="outputs/evaluate", metadata={"help": "folder for responses and result, new"})
    greedy: bool = field(default=True, metadata={"help": "one greedy response per problem"})
    n_samples: int = field(default=0, metadata={"help": "sampled responses per problem, for pass@k"})
    temperature: float = field(default=0.6, metadata={"help": "of the sampled responses"})
    top_p: float = field(default=1.0, metadata={"help": "of the sampled responses"})
    max_new_tokens: int | None = field(
        default=None,
        metadata={"help": "limit of a response; longer ones are cut and wrong (default: what fits, 16384 at most)"},
    )
    system_prompt: str | None = field(default=None, metadata={"help": "system message before each problem"})
    group_by: str | None = field(default=None, metadata={"help": "column of difficulty (default: band or level)"})
    batch_size: int = field(default=32, metadata={"help": "responses generated at once"})
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "precision of the weights; auto: as they are stored"}
    )
    seed: int = field(default=0, metadata={"help": "of the sampled responses"})


def main() -> None:
    (args,) = parse_config("evaluate", __doc__, [EvaluateArguments])
    from rl.runs import user_errors

    with user_errors():
        evaluate(args)


def check(args: EvaluateArguments) -> None:
    """Raises ValueError for numbers out of range, and if nothing is asked for."""
    for name, ok, wanted in (
        ("n_problems", args.n_problems is None or args.n_problems > 0, "at least 1"),
        ("n_samples", args.n_samples >= 0, "0 or more"),
        ("temperature", args.temperature > 0, "above 0 (--greedy true is temperature 0)"),
        ("top_p", 0 < args.top_p <= 1, "above 0, at most 1"),
        ("batch_size", args.batch_size > 0, "at least 1"),
        ("max_new_tokens", args.max_new_tokens is None or args.max_new_tokens > 0, "at least 1"),
        ("greedy", args.greedy or args.n_samples > 0, "true, or give --n_samples"),
    ):
        if not ok:
            raise ValueError(f"--{name} {getattr(args, name)}: {wanted}")


def evaluate(args: EvaluateArguments) -> dict[str, Any]:
    from data_prep.answers import AnswerChecker
    from data_prep.artefacts import hash_model, now, write_artefact, write_json
    from data_prep.benchmarks import content_hash, read_benchmark, refuse_trained_on, summarise, table
    from data_prep.engines import TransformersEngine

    started = now()
    check(args)
    # The problems, which the model must not have seen.
    problems = read_benchmark(args.benchmark, args.split, args.n_problems)
    refuse_trained_on(args.model_name_or_path, args.benchmark, problems)
    group_by = args.group_by or next((c for c in ("band", "level") if problems[0].get(c) is not None), None)
    if group_by and all(row.get(group_by) is None for row in problems):
        raise ValueError(f"--group_by {group_by}: {args.benchmark} has the columns {', '.join(sorted(problems[0]))}")
    if Path(args.output_dir).exists():
        raise FileExistsError(f"{args.output_dir} exists already: choose another --output_dir or remove it")

    # The responses.
    engine = TransformersEngine(args.model_name_or_path, args.dtype, batch_size=args.batch_size)
    prompts = [engine.chat_prompt(row["problem"], args.system_prompt) for row in problems]
    args.max_new_tokens = args.max_new_tokens or min(16384, engine.room(prompts))
    decodings = [("greedy", 1, 0.0, 1.0)] if args.greedy else []
    decodings += [("sampled", args.n_samples, args.temperature, args.top_p)] if args.n_samples else []
    rows: list[dict[str, Any]] = []
    with AnswerChecker() as checker:
        for decoding, n, temperature, top_p in decodings:
            completions = engine.sample(
                prompts, n, max_new_tokens=args.max_new_tokens, temperature=temperature, top_p=top_p, seed=args.seed
            )
            for problem, prompt, responses in zip(problems, prompts, completions, strict=True):
                thought_open = prompt.rstrip().endswith("<think>")
                for sample, completion in enumerate(responses):
                    judgement = checker.judge(problem["answer"], completion.text, thought_open=thought_open)
                    rows.append(
                        {
                            "problem_id": problem["problem_id"],
                            "sample": sample,
                            "model": args.model_name_or_path,
                            "prompt_format": "chat template",
                            "response": completion.text,
                            "finish_reason": completion.finish_reason,
                            "n_tokens": completion.n_tokens,
                            "extracted": judgement.extracted,
                            "verdict": judgement.verdict,
                            "seed": args.seed,
                            "decoding": decoding,
                            "problem": problem["problem"],
                            "answer": problem["answer"],
                            "group": str(problem.get(group_by)) if group_by else "all",
                        }
                    )

    # The result.
    result = summarise(rows) | {"settings": asdict(args), "n_problems": len(problems), "grouped_by": group_by}
    write_artefact(
        args.output_dir,
        "response",
        rows,
        stage="evaluate",
        config=asdict(args),
        seed=args.seed,
        inputs={
            args.model_name_or_path: hash_model(args.model_name_or_path, engine.model.config),
            args.benchmark: content_hash(problems),
        },
        extra={**result, "started": started},
    )
    write_json(Path(args.output_dir) / "result.json", result)
    print(table(result))
    print(f"responses and result in {args.output_dir}")
    return result


if __name__ == "__main__":
    main()
