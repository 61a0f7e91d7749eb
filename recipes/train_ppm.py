"""Trains a process preference model: it learns from search trees which steps lead to right answers (rStar-Math, 3.3).

Reads folders of recipes/generate_mcts.py (whole trees), step pairs, or rStar-Math's pair files, and writes a model
folder (a transformers token-classification model with one label, begun from the policy) with tokenizer, model card,
all_results.json and manifest.json. The loss prefers better steps to worse ones behind the same prefix; every tree is
one sequence in which each prefix is read once. Held-out problems tell how often the better step has the higher score.
`--objective outcome` and `q` are the paper's baselines, an outcome reward model and Q regression (PQM).
Started again with the same settings, it goes on from the last checkpoint.

    python recipes/generate_mcts.py && python recipes/train_ppm.py         # the small world on a laptop
    accelerate launch recipes/train_ppm.py --model_name_or_path outputs/sft --data outputs/mcts \\
        --output_dir outputs/ppm                                                             # one GPU
    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/train_ppm.py \\
        --config recipes/configs/rstar-math/train_ppm_8x80gb.yaml                            # eight GPUs
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not recipes/: evaluate.py would hide the library `evaluate`

from data_prep.config import parse_config
from rl.options import DECISIVE, PPM_COMMON


@dataclass
class PpmArguments:
    model_name_or_path: str = field(metadata={"help": "the policy to begin from: model folder or Hub name"})
    data: list[str] = field(
        default_factory=list,
        metadata={"help": "folders of generate_mcts.py (trees), or folders and files of step pairs, rStar's too"},
    )
    objective: Literal["pairs", "outcome", "q"] = field(
        default="pairs", metadata={"help": "pairs: a PPM; outcome: an ORM, on whole solutions; q: a PQM, on Q of steps"}
    )
    bound: Literal["tanh/5", "tanh"] = field(
        default="tanh/5",
        metadata={"help": "scores of pairs: tanh(logit / 5) at inference alone (official code), tanh always (paper)"},
    )
    pairs: Literal["paper", "official-code"] = field(
        default="paper", metadata={"help": "rule by which pairs are made of trees"}
    )
    prompt: Literal["chat", "rstar"] = field(
        default="chat", metadata={"help": "before the steps: chat template, or the prompt of rStar's SFT"}
    )
    instruction: str = field(default="", metadata={"help": "text after each problem of a chat prompt"})
    added_tokens: list[str] = field(
        default_factory=list, metadata={"help": "markers to become single tokens, e.g. '<end_of_step>'"}
    )
    model_revision: str = field(default="main", metadata={"help": "revision of a Hub model"})
    packing: Literal["tree", "paths"] = field(
        default="tree", metadata={"help": "tree: each prefix is read once; paths: one sequence per path, the reference"}
    )
    max_length: int = field(default=4096, metadata={"help": "tokens of the longest solution; longer ones are left out"})
    max_tokens: int = field(default=16384, metadata={"help": "tokens of a tree; a larger one becomes several"})
    eval_share: float = field(default=0.05, metadata={"help": "share of the problems held out, by their hash"})
    eval_data: list[str] = field(default_factory=list, metadata={"help": "held-out data instead"})


def trainer_classes() -> list[type]:
    from rl.ppm.training import PpmConfig

    return [PpmConfig]


def hardware() -> dict[str, Any]:
    from rl.runs import hardware_defaults

    return hardware_defaults()


def train(args: PpmArguments, training: Any, folder: Path) -> None:
    from data_prep.artefacts import now
    from rl.ppm.data import Rules, ppm_rows
    from rl.ppm.model import step_format_for, tokenizer_for
    from rl.ppm.training import check_settings, finish, make_trainer
    from rl.runs import disk_errors_explained, n_parameters, n_steps, resume_point, say

    started = now()
    # Trees of token ids, with what is to be learnt from them.
    check_settings(args, training)
    tokenizer = tokenizer_for(args.model_name_or_path, args.model_revision, args.added_tokens)
    step_format = step_format_for(tokenizer, args.objective, args.bound, args.prompt, args.instruction)
    held_out = args.eval_share if not args.eval_data else 0.0
    rules = Rules(
        (args.objective,), args.pairs, args.max_length, args.max_tokens, "train" if held_out else "all", held_out
    )
    measured = rules._replace(learnt=("pairs", "q", "outcome"), part="eval" if held_out else "all")
    with training.main_process_first(local=False), training.main_process_first(local=True):
        rows = ppm_rows(args.data, tokenizer, step_format, rules)
        eval_rows = ppm_rows(args.eval_data or args.data, tokenizer, step_format, measured) if (
            held_out or args.eval_data
        ) else None  # fmt: skip

    if eval_rows and (both := rows.trained_on & eval_rows.trained_on):
        raise ValueError(
            f"--eval_data: {len(both):,} of its {len(eval_rows.trained_on):,} problems are in --data too, so nothing "
            "would be held out: give other problems, or --eval_share"
        )

    # The run: whether it has begun already, and what it is going to do.
    trees_per_step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    decisive = {
        "model": args.model_name_or_path, "revision": args.model_revision,
        "data": rows.content, "format": step_format.as_dict(),
        "trees_per_step": trees_per_step, "seed": training.seed, "packing": args.packing,
        **{name: getattr(training, name) for name in DECISIVE if hasattr(training, name)},
    }  # fmt: skip
    checkpoint = resume_point(folder, decisive)
    trainer = make_trainer(args.model_name_or_path, args.model_revision, training, tokenizer, step_format, rows,
                           eval_rows, args.packing)  # fmt: skip
    of = "groups of pairs" if args.objective == "pairs" else "values"
    per_tree = rows.counts["groups" if args.objective == "pairs" else "values"] / len(rows.dataset)
    say(
        f"model      {args.model_name_or_path}, {n_parameters(trainer.model) / 1e6:,.1f} M parameters, "
        f"{'bf16' if training.bf16 else 'float32'}; score {step_format.describe()}",
        f"data       {rows.summary()}",
        *([f"held out   {eval_rows.summary()}"] if eval_rows else []),
        f"batch      {training.train_batch_size} trees x {training.gradient_accumulation_steps} accumulated x "
        f"{training.world_size} processes = {trees_per_step} trees a step, about {trees_per_step * per_tree:,.0f} "
        f"{of}; read {'as trees' if args.packing == 'tree' else 'path by path'}",
        f"steps      {n_steps(trainer):,}, learning rate {training.learning_rate:g}",
        f"resuming   {checkpoint}" if checkpoint else f"output     {folder}",
    )

    # Train, and leave a folder that search, evaluation and RL can use.
    with disk_errors_explained(folder):
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        first_step = int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
        metrics = finish(trainer, result, rows, {**asdict(args), **decisive}, started, first_step)
    accuracy = metrics.get("eval_pair_accuracy")
    say(
        f"result     loss {metrics['train_loss']:.4f}"
        + (f" since step {first_step}" if first_step else "")
        + (
            ""
            if accuracy is None
            else f"; held-out pairs in the right order {accuracy:.1%} of {metrics['eval_n_pairs']:,}"
        ),
        f"model      {folder}",
        f"next       python recipes/generate_mcts.py --scorer {folder}, or "
        f"python recipes/evaluate.py --strategy best_of_n mcts --scorer {folder} (and policy, problems, --config)",
    )


def main() -> None:
    args, training = parse_config("train_ppm", __doc__, [PpmArguments], trainer_classes, PPM_COMMON, hardware)
    from rl.runs import check_launch, run_folder, user_errors

    with user_errors(), run_folder(training.output_dir) as folder:
        check_launch(training)
        train(args, training, folder)


if __name__ == "__main__":
    main()
