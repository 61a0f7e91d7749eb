"""What the recipes of reinforcement learning share: settings, problems as prompts, rewards, the finished folder."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image, List
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from trl import GRPOConfig, ModelConfig
from trl.import_utils import is_vllm_available
from trl.rewards import get_repetition_penalty_reward, get_soft_overlong_punishment

from data_prep.answers import AnswerChecker
from data_prep.artefacts import hash_model, now
from data_prep.benchmarks import as_asked, content_hash
from data_prep.formats import opens_thought
from data_prep.images import as_rgb, open_image, size_of, with_places
from data_prep.mcts.inputs import Inputs, read_verifiable
from data_prep.sandbox.client import Sandbox
from data_prep.sandbox.forms import read_tests
from data_prep.sandbox.judging import open_judge
from rl.arguments import RolloutArguments
from rl.code_rollouts import CodeRollouts
from rl.monitor import first_warnings, plot
from rl.options import DECISIVE, ROLLOUTS
from rl.records import FOLDER, write_page
from rl.rewards import Format, Outcome, language
from rl.rollouts import ProcessCredit, RolloutTrainer
from rl.runs import check_training, end_together, refuse, resume_point, save_finished, say, write_model_manifest
from rl.sft import load_model, small_tiles_on_cpu, stop_at_turn_ends


@dataclass
class RlConfig(GRPOConfig):
    """TRL's `GRPOConfig` with defaults for Long-CoT.

    > NOTE: these defaults differ from TRL's: `max_completion_length` 8192 (was 256), `gradient_accumulation_steps` 8
    > (1), `num_generations_eval` 1 (8): what is measured on held-out problems is pass@1.
    """

    output_dir: str | None = field(default="outputs/grpo", metadata={"help": "Where checkpoints and the model go."})
    max_completion_length: int | None = field(default=8192, metadata={"help": "Longest rollout, in tokens."})
    gradient_accumulation_steps: int = field(default=8, metadata={"help": "Forward passes per optimizer step."})
    num_generations_eval: int | None = field(default=1, metadata={"help": "Rollouts of a held-out problem."})


TEST_TIMEOUT = 6.0  # seconds of a program on one test, as evaluate.py's

BOUNDS = {
    "process_temperature": (1e-3, 100), "process_weight": (0, 1000), "overlong_tokens": (0, math.inf),
    "repetition_ngram": (1, 10_000), "max_replacements": (0, 100), "rollouts_every": (0, math.inf),
    "max_prompt_length": (1, math.inf), "max_completion_length": (1, math.inf), "gamma": (0, 1),
    "actor_lambda": (0, 1), "critic_lambda": (0, 1), "value_warmup_steps": (0, math.inf), "value_weight": (0, 1000),
    "value_clip": (1e-6, math.inf), "critic_learning_rate": (0, 1), "beta": (0, 1000),
}  # fmt: skip

# What the recipe decides itself: rewards, prompts, resuming, and code from model folders, which is never run.
WITHOUT_EFFECT = (
    "reward_weights", "remove_unused_columns", "trust_remote_code", "model_init_kwargs", "resume_from_checkpoint",
    "ignore_data_skip", "shuffle_dataset",
)  # fmt: skip


def check_settings(args: RolloutArguments, training: RlConfig) -> None:
    """Raises ValueError for settings that would have no effect, a wrong one, or make a run that cannot be resumed."""
    check_training(training, WITHOUT_EFFECT)
    if training.max_completion_length is None:
        raise ValueError("--max_completion_length null: give the longest rollout, in tokens")
    if args.steps == "code" and training.use_vllm:
        raise ValueError("--steps code: programs run between steps, which TRL's vLLM generation cannot: use_vllm false")
    if args.pass_rate and not (len(args.pass_rate) == 2 and 0 <= args.pass_rate[0] <= args.pass_rate[1] <= 1):
        raise ValueError(f"--pass_rate {args.pass_rate}: the least and the most, from 0 to 1")
    for name, (least, most) in BOUNDS.items():
        value = getattr(args, name, getattr(training, name, least))
        if not least <= value <= most:
            raise ValueError(f"--{name} {value:g}: from {least:g} to {most:g}")
    if args.overlong_tokens > training.max_completion_length:
        raise ValueError(
            f"--overlong_tokens {args.overlong_tokens}: more than the {training.max_completion_length} tokens of a "
            "rollout: every one would cost"
        )
    if not args.scorer:
        credit = {f.name: f.default for f in fields(args) if f.name.startswith("process_")}
        if given := [name for name, default in credit.items() if getattr(args, name) != default]:
            raise ValueError(f"--{given[0]} has no effect without --scorer: give one, or leave it out")
    if training.use_vllm and not (torch.cuda.is_available() and is_vllm_available()):
        raise ValueError(
            "--use_vllm: needs vllm (constraints-vllm.txt) and a CUDA GPU, which this machine does not have both: "
            "leave it out, and rollouts are made in this process"
        )
    every = Fraction(training.steps_per_generation * training.num_iterations, training.gradient_accumulation_steps)
    steps = training.save_steps
    if training.save_strategy == "steps" and (steps != int(steps) or int(steps) % every):
        raise ValueError(
            f"--save_steps {steps:g}: rollouts are made every {float(every):g} optimizer steps, and only there a run "
            f"can be resumed as if it had not stopped: give a multiple of {every.numerator}"
        )


def load_policy(
    model: ModelConfig, training: TrainingArguments, packed: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """The policy, its tokenizer, and a line that says how it attends; `packed`: updates go without padding."""
    refuse(model, ("trust_remote_code",))
    name, revision = model.model_name_or_path, model.model_revision
    if not name:
        raise ValueError("no policy to begin from: give --model_name_or_path")
    if (Path(name) / "adapter_config.json").is_file() and not (Path(name) / "config.json").is_file():
        raise ValueError(
            f"{name}: an adapter, and RL begins from whole weights: merge it first "
            f"(peft: AutoPeftModelForCausalLM.from_pretrained({name!r}).merge_and_unload().save_pretrained(...))"
        )
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, padding_side="left")
    if tokenizer.chat_template is None:
        raise ValueError(f"{name}: no chat template: train it with recipes/sft_longcot.py first, or give another model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = AutoConfig.from_pretrained(name, revision=revision)
    network, attention = load_model(model, config, training, len(tokenizer), packed)
    small_tiles_on_cpu()
    return network, tokenizer, attention


def prompts_of(
    inputs: Inputs, reader: Any, instruction: str, longest: int,
    pass_rate: tuple[float, float] | None, curriculum: bool, dropped: Counter[str], max_pixels: int = 0,
) -> Dataset:  # fmt: skip
    """A dataset of prompts with the columns that rewards need; what is left out is counted in `dropped`.

    `reader`: tokenizer, or the processor where problems have `images`. `longest`: tokens of a prompt. `pass_rate`:
    problems with one from the first to the second number are kept (those that were never tried are left out).
    `curriculum`: those that are solved most often come first. `max_pixels`: larger images are made smaller, counted.
    """
    rows, n_smaller = [], 0
    for problem in inputs.problems:
        if problem.get("tests"):
            try:
                read_tests(problem["tests"])
            except ValueError as error:
                dropped[f"tests that cannot be read: {error}"] += 1
                continue
        rate = problem.get("pass_rate")
        if pass_rate is not None and (rate is None or not pass_rate[0] <= rate <= pass_rate[1]):
            dropped["no pass rate" if rate is None else "pass rate out of the band"] += 1
            continue
        text = as_asked(problem)
        prompt = [{"role": "user", "content": f"{text}\n{instruction}" if instruction else text}]
        images = [as_rgb(image, max_pixels, problem["source"]) for image in problem.get("images") or []]
        if images:
            prompt = with_places(prompt, len(images), problem["source"])
        n_tokens = prompt_tokens(reader, prompt, images)
        if n_tokens > longest:
            dropped[f"prompt longer than {longest:,} tokens"] += 1
            continue
        n_smaller += sum(size_of(image) > max_pixels for image in problem.get("images") or [])
        rows.append(
            {"prompt": prompt, "problem": text, "problem_id": problem["problem_id"], "answer": problem["answer"],
             "choices": problem.get("choices"), "tests": problem.get("tests"), "pass_rate": rate,
             "prompt_tokens": n_tokens, **({"images": images} if images else {})}
        )  # fmt: skip
    if not rows:
        raise ValueError(f"no problem is left of {len(inputs.problems):,}: {dict(dropped)}")
    if curriculum:
        if any(row["pass_rate"] is None for row in rows):
            raise ValueError("--curriculum orders problems by pass_rate, which some of them do not have")
        rows.sort(key=lambda row: -row["pass_rate"])
    if n_smaller:
        say(f"figures    {n_smaller:,} of more than {max_pixels:,} pixels are made smaller")
    found = Dataset.from_list(rows)
    return found.cast_column("images", List(Image())) if "images" in found.column_names else found


def prompt_tokens(reader: Any, prompt: Sequence[Mapping[str, Any]], images: Sequence[bytes]) -> int:
    """Tokens of a prompt, with what the processor makes of its images."""
    if not images:
        return len(reader.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
    text = reader.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    shown = [open_image(image, text[:80]) for image in images]
    return len(reader(text=[text], images=[shown], add_special_tokens=False)["input_ids"][0])


def rewards_of(
    args: RolloutArguments, longest: int, thought_open: bool, with_tests: bool, stack: ExitStack
) -> tuple[list[Any], list[float], CodeRollouts | None]:  # fmt: skip
    """The reward functions that the settings ask for, their weights, and what writes the rollouts if TRL does not.

    `longest`: tokens of a rollout. `with_tests`: problems have tests of programs. Workers and sandboxes are closed with
    `stack`.
    """
    checker = stack.enter_context(AnswerChecker())
    judge = stack.enter_context(open_judge("auto", TEST_TIMEOUT)) if with_tests else None
    rollouts = CodeRollouts(stack.enter_context(Sandbox()), longest) if args.steps == "code" else None
    found = [
        (Outcome(checker, judge, thought_open, args.tests_passed == "fraction"), 1.0),
        (Format(thought_open), args.format_weight),
        (language, args.language_weight),
        (get_repetition_penalty_reward(args.repetition_ngram), args.repetition_weight),
        (get_soft_overlong_punishment(longest, args.overlong_tokens), float(args.overlong_tokens > 0)),
    ]
    return [reward for reward, weight in found if weight], [weight for _, weight in found if weight], rollouts


@dataclass
class Run:
    """A run before its first step: what it reads, and what decides its weights."""

    stage: str
    model: str
    args: RolloutArguments
    training: RlConfig
    data: Dataset
    held_out: Dataset | None
    n_read: int
    dropped: Counter[str]
    thought_open: bool
    process: ProcessCredit | None
    decisive: dict[str, Any]
    checkpoint: Path | None
    started: str

    @property
    def first_step(self) -> int:
        return int(self.checkpoint.name.removeprefix("checkpoint-")) if self.checkpoint else 0

    @property
    def described(self) -> str:
        left_out = "".join(f"; {n:,} left out: {reason}" for reason, n in self.dropped.items())
        held_out = f"; {len(self.held_out):,} held out" if self.held_out else ""
        return f"{len(self.data):,} of {self.n_read:,} rows{left_out}{held_out}"

    @property
    def batch_described(self) -> str:
        group = self.training.num_generations
        return (
            f"{self.decisive['rollouts_per_step'] // group:,} problems x {group} rollouts of up to "
            f"{self.training.max_completion_length:,} tokens a step"
        )

    def rewards_described(self, rewards: Sequence[Any], weights: Sequence[float]) -> str:
        steps = (
            f"; steps paid by {self.args.scorer}: {self.args.process_credit} x {self.args.process_weight:g}"
            if self.process
            else ""
        )
        return ", ".join(f"{r.__name__} x {w:g}" for r, w in zip(rewards, weights, strict=True)) + steps


def prepare(
    stage: str, args: RolloutArguments, training: RlConfig, model: ModelConfig, reader: Any, folder: Path,
    max_pixels: int = 0,
) -> Run:  # fmt: skip
    """Reads the problems, opens the scorer, and finds the checkpoint to go on from. Raises ValueError.

    `reader`: tokenizer, or the processor where `max_pixels` says that problems have figures, of at most so many.
    """
    started, figures = now(), max_pixels > 0
    inputs = read_verifiable(args.problems, tests_too=not figures, figures=figures)
    dropped = Counter(inputs.dropped)
    band = (args.pass_rate[0], args.pass_rate[1]) if args.pass_rate else None
    longest = args.max_prompt_length
    data = prompts_of(inputs, reader, args.instruction, longest, band, args.curriculum, dropped, max_pixels)
    check_lengths(model, training, data)
    training.shuffle_dataset = not args.curriculum
    held_out = None
    if args.eval_problems:
        measured = read_verifiable(args.eval_problems, tests_too=not figures, figures=figures)
        not_measured = Counter(measured.dropped)
        held_out = prompts_of(measured, reader, args.instruction, longest, None, False, not_measured, max_pixels)
        if both := set(held_out["problem_id"]) & set(data["problem_id"]):
            raise ValueError(f"--eval_problems: {len(both):,} of them are in --problems too: give others")
        if not_measured:
            say("held out   left out: " + ", ".join(f"{n:,} {reason}" for reason, n in not_measured.items()))
    first = reader.apply_chat_template(data["prompt"][0], tokenize=False, add_generation_prompt=True)
    per_step = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.world_size
    decisive = {
        "model": model.model_name_or_path,
        "data": content_hash(data.select_columns(["problem_id", "answer", "tests"]).to_list()),
        "weights": {k: v for k, v in asdict(model).items() if k != "attn_implementation"},
        "rollouts_per_step": per_step, "seed": training.seed,
        "hashes": {name: hash_model(name, None) for name in (args.scorer, getattr(args, "critic", None))
                   if name and Path(name).is_dir()},
        **{k: v for k, v in asdict(args).items() if k not in ("problems", "eval_problems")},
        **{name: getattr(training, name) for name in (*DECISIVE, *ROLLOUTS) if hasattr(training, name)},
    }  # fmt: skip
    checkpoint = resume_point(folder, decisive)
    process = None
    if args.scorer:
        from rl.ppm.scoring import open_scorer

        process = ProcessCredit(
            open_scorer(args.scorer), args.process_credit, args.process_weight, args.process_gate,
            args.process_temperature, args.steps,
        )  # fmt: skip
    return Run(
        stage, str(model.model_name_or_path), args, training, data, held_out, inputs.n_read, dropped,
        opens_thought(first, []), process, decisive, checkpoint, started,
    )  # fmt: skip


def check_lengths(model: ModelConfig, training: RlConfig, data: Dataset) -> None:
    """Raises ValueError for rollouts longer than the policy's positions, and for too few problems for a generation."""
    text = AutoConfig.from_pretrained(model.model_name_or_path, revision=model.model_revision).get_text_config()
    positions, longest = getattr(text, "max_position_embeddings", None), max(data["prompt_tokens"])
    if positions and longest + training.max_completion_length > positions:
        raise ValueError(
            f"--max_completion_length {training.max_completion_length} and the longest prompt ({longest:,} tokens) are "
            f"more than the {positions:,} positions of {model.model_name_or_path}: lower it, leave out long prompts "
            "with --max_prompt_length, or stretch the positions in SFT (--rope_theta, --rope_scaling)"
        )
    needed = training.generation_batch_size // training.num_generations
    if len(data) < needed:
        raise ValueError(
            f"{len(data):,} problems, and each generation takes {needed:,} different ones ({needed:,} x "
            f"{training.num_generations} rollouts): give more problems or a smaller batch"
        )


def finish(trainer: RolloutTrainer, result: Any, run: Run) -> dict[str, float]:
    """Measures, saves and signs the model folder; returns the metrics, which stand in all_results.json too."""
    folder = Path(trainer.args.output_dir)
    metrics = dict(result.metrics)
    if run.first_step:
        metrics["resumed_at_step"] = run.first_step
    if trainer.eval_dataset is not None:
        last = [line for line in trainer.state.log_history if line["step"] == trainer.state.global_step]
        known = {key: value for line in last for key, value in line.items() if key.startswith("eval_")}
        metrics |= known or trainer.evaluate()
    stop_at_turn_ends(trainer)
    save_finished(trainer, metrics)
    if trainer.is_world_process_zero():
        plot(trainer.state.log_history, folder / "curves.svg")
        if (folder / FOLDER).is_dir():
            write_page(folder)
        trainer.create_model_card(model_name=folder.name, tags=[run.stage.removeprefix("rl_"), "long-cot"])
        problem_ids = run.data["problem_id"]
        write_model_manifest(
            trainer, run.model, problem_ids, run.started, stage=run.stage,
            config={**asdict(run.args), **run.decisive}, content=run.decisive["data"],
            rows_in=len(problem_ids) + sum(run.dropped.values()), rows_out=len(problem_ids),
            rows_dropped=dict(run.dropped),
            metrics=metrics | {"warned_at_step": first_warnings(trainer.state.log_history)},
        )  # fmt: skip
    end_together(trainer)
    return metrics


def seen(folder: Path, history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines that say where to look, and what there was to warn of."""
    page = f"; rollouts in {folder / 'rollouts.html'}" if (folder / "rollouts.html").is_file() else ""
    warned = ", ".join(f"{name} from step {step:,}" for name, step in first_warnings(history).items())
    return [f"look at    curves in {folder / 'curves.svg'}{page}", *([f"warned of  {warned}"] if warned else [])]
