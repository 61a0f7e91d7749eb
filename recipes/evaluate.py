"""Measures a model on benchmarks: greedy pass@1, sampled pass@1, pass@k and maj@k, by difficulty, with intervals.

Reads a model folder (or Hub name), or the name of a model behind OpenAI-compatible servers, and benchmarks: the suites
`rstar-math` and `redstar`, single ones (`math500`, `aime24`, ...), `small-world`, or a file, folder or Hub data set
with the columns `problem` (or `question`) and `answer`; `aime24=FILE` takes a known benchmark's problems from a file.
Problems with tests instead of answers (HumanEval, LiveCodeBench, TACO) are judged by running the responses' programs in
a sandbox. Problems with figures (`redstar-geo`, `mathvision`, `mathverse`) are also asked with a white figure and with
another problem's, which shows whether the model uses them.
With `--strategy` answers are searched for step by step, with a process reward model (`--scorer`): best of n, step beam
search, tree search with rStar-Math's final rule; the cost of each stands beside its result. With `--step_labels` the
scorer itself is measured, by how well it finds the first wrong step of solutions: `processbench`, or files in the
format of ProcessBench or PRM800K.
Writes every response (Parquet) and result.json with settings, prompts and versions, prints a table. A benchmark with
problems that the model was trained on, as its folder records, is refused. A killed run goes on when started again.

    python recipes/evaluate.py                                              # the shipped base on the small world
    python recipes/evaluate.py --model_name_or_path outputs/sft --benchmarks redstar --n_samples 16 --temperature 0.6
    vllm serve outputs/sft --port 8000 &                                    # several GPUs: one server each
    python recipes/evaluate.py --model_name_or_path outputs/sft --server_urls http://localhost:8000 \\
        --benchmarks rstar-math --max_new_tokens 16384
    python recipes/evaluate.py --model_name_or_path outputs/sft --benchmarks math500 --strategy best_of_n mcts \\
        --scorer outputs/ppm --trajectories 64
    python recipes/evaluate.py --step_labels processbench --scorer outputs/ppm --calibrate_on processbench-gsm8k
    python recipes/evaluate.py --model_name_or_path outputs/sft_geometry --benchmarks redstar-geo geoqa=geoqa.jsonl
    python recipes/compare.py --a outputs/a --b outputs/b                   # which problems changed, side by side
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: this file would hide the library `evaluate`

from data_prep.config import parse_config
from data_prep.mcts.settings import StrategyArguments


@dataclass
class EvaluateArguments:
    model_name_or_path: str = field(
        default="", metadata={"help": "model folder or Hub name; with servers, the name they serve (required)"}
    )
    benchmarks: list[str] = field(
        default_factory=list, metadata={"help": "suites, benchmarks, files, folders, Hub names, name=path (required)"}
    )
    split: str | None = field(default=None, metadata={"help": "split of the small world or a Hub data set (test)"})
    n_problems: int | None = field(
        default=None, metadata={"help": "only the first n of each (small-world, small-geometry: 300)"}
    )
    output_dir: str = field(default="outputs/evaluate", metadata={"help": "folder for responses and result, new"})
    greedy: bool = field(default=True, metadata={"help": "one greedy response per problem"})
    n_samples: int = field(default=0, metadata={"help": "sampled responses per problem, for pass@k and maj@k"})
    temperature: float = field(default=0.6, metadata={"help": "of the sampled responses"})
    top_p: float = field(default=1.0, metadata={"help": "of the sampled responses"})
    max_new_tokens: int | None = field(
        default=None,
        metadata={"help": "limit of a response; longer ones are cut (default: what fits, 16384 at most)"},
    )
    system_prompt: str | None = field(default=None, metadata={"help": "system message before each problem"})
    instruction: str | None = field(
        default=None,
        metadata={"help": "text after each problem (default: to reason, and to box the answer or give a program)"},
    )
    extraction: Literal["strict", "lenient"] = field(
        default="strict",
        metadata={"help": "strict: only a box; lenient: else what is stated, else the last number. Scores differ"},
    )
    sandbox: Literal["auto", "strict"] = field(
        default="auto", metadata={"help": "of programs; strict: only where files, network and processes are closed off"}
    )
    test_timeout: float = field(default=6.0, metadata={"help": "seconds of a program on one test"})
    group_by: str | None = field(default=None, metadata={"help": "column of difficulty (default: band or level)"})
    server_urls: list[str] = field(
        default_factory=list, metadata={"help": "OpenAI-compatible servers instead of a model in this process"}
    )
    concurrency: int = field(default=64, metadata={"help": "requests under way at each server"})
    batch_size: int = field(default=32, metadata={"help": "responses generated at once in this process"})
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "precision of the weights in this process; auto: as they are stored"}
    )
    figure_controls: bool = field(
        default=True, metadata={"help": "problems with figures also with white ones and with other problems' figures"}
    )
    general: list[str] = field(
        default_factory=list,
        metadata={"help": 'general ability by lm-eval, as "ifeval mmlu_pro": pip install -e ".[general]"'},
    )
    seed: int = field(default=0, metadata={"help": "of the sampled responses"})
    step_labels: list[str] = field(
        default_factory=list,
        metadata={"help": "measure the scorer on these: processbench, files, folders, Hub names. No model is needed"},
    )
    threshold: float | None = field(
        default=None, metadata={"help": "a step with a lower score is taken for wrong (0), with --step_labels"}
    )
    calibrate_on: str | None = field(
        default=None, metadata={"help": "other step labels: the threshold is the one with the best F1 on them"}
    )


OF_STEP_LABELS = ("threshold", "calibrate_on")
OF_RESPONSES = (
    "greedy",
    "n_samples",
    "temperature",
    "top_p",
    "max_new_tokens",
    "system_prompt",
    "extraction",
    "group_by",
    "figure_controls",
)


def main() -> None:
    args, strategies = parse_config("evaluate", __doc__, [EvaluateArguments, StrategyArguments])
    from rl.runs import user_errors

    with user_errors():
        check(args, strategies)
        if args.step_labels:
            find_errors(args, strategies.scorer or "")
        elif strategies.strategy:
            search(args, strategies)
        else:
            evaluate(args)


def check(args: EvaluateArguments, strategies: StrategyArguments) -> None:
    """Raises ValueError for numbers out of range, and if nothing is asked for."""
    from data_prep.rows import is_unicode

    for name, ok, wanted in (
        ("model_name_or_path", args.model_name_or_path or args.step_labels, "required"),
        ("benchmarks", args.benchmarks or args.step_labels, "required"),
        ("benchmarks", not (args.benchmarks and args.step_labels), "not with --step_labels, which measures a scorer"),
        ("step_labels", strategies.scorer or not args.step_labels, "needs --scorer, the model to measure"),
        ("threshold", args.threshold is None or not args.calibrate_on, "give it or --calibrate_on, not both"),
        ("n_problems", args.n_problems is None or args.n_problems > 0, "at least 1"),
        ("n_samples", args.n_samples >= 0, "0 or more"),
        ("temperature", args.temperature >= 1e-3, "0.001 or more (--greedy true is temperature 0)"),
        ("top_p", 0 < args.top_p <= 1, "above 0, at most 1"),
        ("batch_size", args.batch_size > 0, "at least 1"),
        ("test_timeout", args.test_timeout > 0, "above 0"),
        ("concurrency", args.concurrency > 0, "at least 1"),
        ("system_prompt", is_unicode(args.system_prompt or ""), "holds half a character"),
        ("max_new_tokens", args.max_new_tokens is None or args.max_new_tokens > 0, "at least 1"),
        ("greedy", args.greedy or args.n_samples > 0, "true, or give --n_samples"),
        ("general", not (args.general and args.server_urls), "needs the model in this process, not --server_urls"),
    ):
        if not ok:
            raise ValueError(f"--{name} {getattr(args, name)}: {wanted}")
    if args.step_labels and strategies.strategy:
        raise ValueError("give --strategy or --step_labels, not both: one measures answers, the other a scorer")
    for names, of, is_given in (
        (OF_STEP_LABELS, "--step_labels", args.step_labels),
        (OF_RESPONSES, "responses in one go, not for --strategy (see --search_temperature)", not strategies.strategy),
    ):
        changed = [name for name in names if getattr(args, name) != getattr(EvaluateArguments, name)]
        if changed and not is_given:
            raise ValueError(f"--{changed[0]} is for {of}")
    if not args.step_labels:
        strategies.check()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("evaluate.py is one process: for several GPUs start a server on each and give --server_urls")
    if args.general and find_spec("lm_eval") is None:
        raise ValueError('--general needs lm-eval: pip install -e ".[general]"')
    if Path(args.output_dir).exists():
        raise FileExistsError(f"{args.output_dir} exists already: choose another --output_dir or remove it")


def read_problems(args: EvaluateArguments) -> tuple[list[Any], dict[str, list], int]:
    """The benchmarks, the problems of each, which the model must not have seen, and how many stood there twice."""
    from data_prep.benchmarks import N_SMALL_WORLD, find_benchmarks, read_benchmark, refuse_trained_on

    benchmarks = find_benchmarks(args.benchmarks, args.split)
    problems, n_twice = {}, 0
    for benchmark in benchmarks:
        if benchmark.path == "small-geometry":
            from multimodal.samples import geometry_folder

            folder = geometry_folder(benchmark.split, args.n_problems or N_SMALL_WORLD)  # type: ignore[arg-type]
            problems[benchmark.name], n = read_benchmark(replace(benchmark, path=str(folder)))
        else:
            problems[benchmark.name], n = read_benchmark(benchmark, args.n_problems)
        n_twice += n
    for name, rows in problems.items():
        refuse_trained_on(args.model_name_or_path, name, rows)
        if args.group_by and all(row.get(args.group_by) is None for row in rows):
            raise ValueError(f"--group_by {args.group_by}: {name} has the columns {', '.join(sorted(rows[0]))}")
    return benchmarks, problems, n_twice


def evaluate(args: EvaluateArguments) -> dict[str, Any]:
    from data_prep.artefacts import now, write_artefact, write_json
    from data_prep.benchmarks import PROGRAM, content_hash, summarise, table
    from data_prep.responses import open_engine, prompt_of
    from multimodal.controls import described, figure_use

    started = now()
    benchmarks, problems, n_twice = read_problems(args)

    # The responses. Finished ones are kept beside the output folder until it is whole.
    with_figures = any(row.get("images") for rows in problems.values() for row in rows)
    if not args.server_urls and (with_figures or sees(args.model_name_or_path)):
        from multimodal.engine import open_figure_engine

        engine: Any
        engine, model_hash, run_name = open_figure_engine(args.model_name_or_path, args.batch_size, args.dtype)
    else:
        engine, model_hash, run_name = open_engine(
            args.model_name_or_path, server_urls=args.server_urls, concurrency=args.concurrency,
            batch_size=args.batch_size, dtype=args.dtype,
        )  # fmt: skip
    output = Path(args.output_dir)
    partial = output.with_name(f"{output.name}.partial")
    journal_path = partial / f"{run_name}.jsonl"

    def prompts_of(benchmark: Any, rows: list[Any]) -> list[Any]:
        asked = [PROGRAM if row.get("tests") is not None else benchmark.instruction for row in rows]
        asked = asked if args.instruction is None else [args.instruction] * len(rows)
        return [prompt_of(engine, row, instruction, args.system_prompt) for row, instruction in zip(rows, asked)]

    prompts = {benchmark.name: prompts_of(benchmark, problems[benchmark.name]) for benchmark in benchmarks}
    questions = questions_of(args, benchmarks, problems, prompts, prompts_of)
    everything = [prompt for some in prompts.values() for prompt in some]
    args.max_new_tokens = args.max_new_tokens or min(16384, engine.room(everything))
    n_controls = sum(len(rows) for q in questions if q.is_control for rows in q.problems.values())
    print(
        f"evaluate   {len(everything):,} problems of {', '.join(problems)}; {int(args.greedy)} greedy and "
        f"{args.n_samples} sampled responses each, at most {args.max_new_tokens:,} tokens"
        + (f"; {n_controls:,} problems with white and exchanged figures" if n_controls else ""),
        flush=True,
    )
    groups = {benchmark.name: args.group_by or benchmark.group for benchmark in benchmarks}
    rows = list(responses(args, engine, questions, groups, journal_path))

    # The result.
    n_left_out = n_twice * (args.greedy + args.n_samples)
    use = figure_use(rows, questions[0].decoding) if n_controls else []
    general = general_ability(args, engine) if args.general else {}
    result = summarise(rows) | {
        "general": general,
        "settings": asdict(args),
        "benchmarks": {b.name: asdict(b) | {"n_problems": len(problems[b.name])} for b in benchmarks},
        "first_prompts": {name: getattr(some[0], "text", some[0]) for name, some in prompts.items()},
        "figure_use": use,
        "found_by": {
            rule: sum(row["rule"] == rule for row in rows) for rule in ("box", "stated", "last", "program", None)
        },
    }
    manifest = write_artefact(
        output,
        "response",
        rows,
        stage="evaluate",
        config=asdict(args),
        seed=args.seed,
        n_read=len(rows) + n_left_out,
        dropped={"problem stood before": n_left_out},
        inputs={args.model_name_or_path: model_hash, **{name: content_hash(rows) for name, rows in problems.items()}},
        extra={**result, "started": started},
    )
    result |= {key: manifest[key] for key in ("libraries", "inputs", "rows_dropped")}
    write_json(output / "result.json", result)
    journal_path.unlink()
    with suppress(OSError):  # not empty: another model's responses
        partial.rmdir()
    print("\n".join([table(result), *described(use)]))
    print(f"responses and result in {args.output_dir}")
    return result


def search(args: EvaluateArguments, strategies: StrategyArguments) -> dict[str, Any]:
    """Answers by search at test time; golds judge them and are used for nothing else."""
    from data_prep.answers import AnswerChecker
    from data_prep.artefacts import now, write_artefact, write_json
    from data_prep.benchmarks import content_hash
    from data_prep.mcts.inputs import open_policy
    from data_prep.mcts.strategies import answers_of, plot, table
    from data_prep.sandbox.client import Sandbox

    started = now()
    benchmarks, problems, n_twice = read_problems(args)
    if odd := [name for name, rows in problems.items() if any(row.get("tests") or row.get("images") for row in rows)]:
        raise ValueError(f"--strategy is for problems with answers in text: {odd[0]} has tests or figures")
    policy = open_policy(
        args.model_name_or_path, strategies.tokenizer, args.server_urls, args.concurrency, 1800.0, args.batch_size,
        args.dtype,
    )  # fmt: skip
    scorer: Any = None
    if strategies.scorer:
        from rl.ppm.scoring import open_scorer

        scorer = open_scorer(strategies.scorer, dtype=args.dtype)
        refuse_known_to(scorer, strategies.scorer, problems)
    print(
        f"search     {sum(map(len, problems.values())):,} problems of {', '.join(problems)}: "
        f"{', '.join(strategies.strategy)}; scorer {strategies.scorer or 'none'}",
        flush=True,
    )

    # The trees. Finished ones are kept beside the output folder until it is whole.
    output = Path(args.output_dir)
    partial = output.with_name(f"{output.name}.partial")
    # Code-augmented steps say themselves where the answer is; text has to be asked for a box.
    asked = {benchmark.name: benchmark.instruction if strategies.steps == "text" else "" for benchmark in benchmarks}
    instructions = {name: text if args.instruction is None else args.instruction for name, text in asked.items()}
    depend_on = {"policy": policy.hash, "model": args.model_name_or_path, "dtype": args.dtype, "seed": args.seed,
                 "instruction": args.instruction}  # fmt: skip
    with AnswerChecker() as checker, ExitStack() as stack:
        sandbox = None
        if strategies.steps == "code":
            sandbox = stack.enter_context(Sandbox(strict=args.sandbox == "strict"))
            print(f"sandbox    {sandbox.describe()}", flush=True)
        rows, lines, prompts = answers_of(
            strategies, policy, problems, scorer, checker, sandbox, partial, depend_on, instructions,
            args.seed, args.model_name_or_path,
        )  # fmt: skip

    # The result.
    result: dict[str, Any] = {
        "strategies": lines, "settings": asdict(args) | asdict(strategies), "first_prompts": prompts,
        "scorer_counts": dict(getattr(scorer, "counts", {})),
    }  # fmt: skip
    manifest = write_artefact(
        output, "response", rows, stage="evaluate", config=result["settings"], seed=args.seed,
        n_read=len(rows) + n_twice, dropped={"problem stood before": n_twice},
        inputs={args.model_name_or_path: policy.hash, **({strategies.scorer: scorer.hash} if strategies.scorer else {}),
                **{name: content_hash(rows) for name, rows in problems.items()}},
        extra={**result, "started": started},
    )  # fmt: skip
    result |= {key: manifest[key] for key in ("libraries", "inputs", "rows_dropped")}
    write_json(output / "result.json", result)
    for name in problems:
        plot([line for line in lines if line["benchmark"] == name], output / f"{name}.png")
    for name in problems:
        for strategy in strategies.strategy:
            (partial / name / f"{strategy}.jsonl").unlink(missing_ok=True)
        with suppress(OSError):  # not empty: trees of another strategy, for a run that asks for it
            (partial / name).rmdir()
    with suppress(OSError):
        partial.rmdir()
    print(table(lines))
    print(f"solutions, result and plots in {args.output_dir}")
    return result


def refuse_known_to(scorer: Any, name: str, problems: dict[str, Any]) -> None:
    """Raises ValueError if the scorer, here or behind a server, was trained on any of the problems."""
    from data_prep.benchmarks import refuse_trained_on

    seen = scorer.trained_on() if hasattr(scorer, "trained_on") else None
    for part, rows in problems.items():
        refuse_trained_on(name, part, rows, seen)


def find_errors(args: EvaluateArguments, name: str) -> dict[str, Any]:
    """How well the scorer `name` finds the first wrong steps of solutions. Raises ValueError, OSError."""
    from data_prep.step_labels import find_step_labels, measure, read_step_labels
    from rl.ppm.scoring import open_scorer

    sets = {
        part: read_step_labels(dataset, args.n_problems)
        for part, dataset in find_step_labels(args.step_labels, args.split).items()
    }
    calibration = None
    if args.calibrate_on:
        datasets = find_step_labels([args.calibrate_on], args.split).values()
        calibration = (args.calibrate_on, [row for dataset in datasets for row in read_step_labels(dataset)[0]])
    scorer = open_scorer(name, dtype=args.dtype)
    refuse_known_to(scorer, name, {part: rows for part, (rows, _) in sets.items()})
    print(f"evaluate   {name} on {sum(len(rows) for rows, _ in sets.values()):,} solutions of {', '.join(sets)}")
    result = measure(
        scorer, name, sets, Path(args.output_dir), threshold=args.threshold,
        calibration=calibration, config=asdict(args) | {"scorer": name}, seed=args.seed,
    )  # fmt: skip
    print(f"scores and result in {args.output_dir}")
    return result


class Questions(NamedTuple):
    """What is asked by one decoding: by benchmark the problems and their prompts. `is_control`: with other figures."""

    decoding: str
    n_samples: int
    temperature: float
    top_p: float
    problems: dict[str, list]
    prompts: dict[str, list]
    is_control: bool = False


def questions_of(
    args: EvaluateArguments, benchmarks: list[Any], problems: dict[str, list], prompts: dict[str, list], prompts_of: Any
) -> list[Questions]:  # fmt: skip
    """Both decodings of all problems, and the first of them once more with white and with exchanged figures."""
    from multimodal.controls import CONTROLS, other_figures

    found = [Questions("greedy", 1, 0.0, 1.0, problems, prompts)] if args.greedy else []
    if args.n_samples:
        found.append(Questions("sampled", args.n_samples, args.temperature, args.top_p, problems, prompts))
    first = found[0]
    shown = {b: own for b in benchmarks if (own := [row for row in problems[b.name] if row.get("images")])}
    for control in CONTROLS if args.figure_controls and shown else ():
        rows: dict[str, list] = {}
        asked: dict[str, list] = {}
        for benchmark, own in shown.items():
            others = other_figures([row["images"] for row in own], control)
            rows[benchmark.name] = own
            asked[benchmark.name] = prompts_of(
                benchmark, [row | {"images": images} for row, images in zip(own, others, strict=True)]
            )
        found.append(Questions(control, first.n_samples, first.temperature, first.top_p, rows, asked, True))
    return found


def sees(model: str) -> bool:
    """Whether the model reads images. Raises OSError, ValueError."""
    from transformers import AutoConfig

    return hasattr(AutoConfig.from_pretrained(model), "vision_config")


def responses(
    args: EvaluateArguments, engine: Any, questions: list[Questions], groups: dict[str, str | None], journal_path: Path
) -> Iterator[dict[str, Any]]:
    """Response rows of all questions, judged. `groups`: the columns of the benchmarks' results, if not the default."""
    from data_prep.answers import AnswerChecker
    from data_prep.benchmarks import group_column
    from data_prep.formats import opens_thought
    from data_prep.journal import Journal
    from data_prep.responses import judge, response_row

    with AnswerChecker() as checker, Journal(journal_path) as journal, ExitStack() as stack:
        if any(row.get("tests") is not None for rows in questions[0].problems.values() for row in rows):
            from data_prep.sandbox.judging import open_judge

            code = stack.enter_context(open_judge(args.sandbox, args.test_timeout))
            print(f"sandbox    {code.sandbox.describe()}", flush=True)
        if len(journal):
            print(f"resume     {len(journal):,} responses of an earlier start are in {journal_path}", flush=True)
        for decoding, n, temperature, top_p, problems, prompts, _ in questions:
            everything = [prompt for some in prompts.values() for prompt in some]
            found = engine.sample(
                everything, n, max_new_tokens=args.max_new_tokens, temperature=temperature, top_p=top_p,
                seed=args.seed, journal=journal,
            )  # fmt: skip
            ended = [c.text for some in found for c in some if c.finish_reason == "stop"]
            thought_open = opens_thought(getattr(everything[0], "text", everything[0]), ended)
            if thought_open:
                print(f"{decoding:10} the prompt opens the thought: a response that never closes it has no answer")
            completions = iter(found)
            programs = [
                (problem["tests"], completion.text)
                for problem, some in zip(chain(*problems.values()), found)
                for completion in some
                if problem.get("tests") is not None
            ]
            judged = iter(code.judge_all(programs, thought_open) if programs else ())
            for benchmark, rows in problems.items():
                group_by = group_column(rows, groups[benchmark])
                for problem in rows:
                    for sample, completion in enumerate(next(completions)):
                        lenient = args.extraction == "lenient"
                        if problem.get("tests") is not None:
                            judgement = next(judged)
                        else:
                            judgement = judge(checker, problem, completion.text, thought_open, lenient)
                        yield {
                            **response_row(problem, sample, completion, judgement, args.model_name_or_path, args.seed),
                            "benchmark": benchmark,
                            "decoding": decoding,
                            "group": str(problem.get(group_by)) if group_by else "all",
                        }


def general_ability(args: EvaluateArguments, engine: Any) -> dict[str, Any]:
    """Scores of lm-eval's tasks (https://github.com/EleutherAI/lm-evaluation-harness), with the chat template."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    found = simple_evaluate(
        model=HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=args.batch_size),
        tasks=args.general,
        apply_chat_template=True,
        limit=args.n_problems,
        random_seed=args.seed,
    )
    return {"results": found["results"], "versions": found["versions"], "n-samples": found["n-samples"]}


if __name__ == "__main__":
    main()
