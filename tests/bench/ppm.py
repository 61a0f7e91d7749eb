"""What a process preference model costs when each prefix of a search tree is read once, against path by path.

    python -m tests.bench.ppm                                  # searches trees of the small world first
    python -m tests.bench.ppm --trees outputs/mcts --model_name_or_path MODEL --dtype bfloat16

Training: one forward and backward pass over a tree with all its pairs, as `train_ppm.py` does it, against one sequence
per distinct leaf path that any pair uses, all its steps scored in one forward, in length-sorted padded batches. Same
model, pairs and loss; both sides in turn, several rounds, medians; the small, the median and the largest tree, and all
trees together. `token_ratio`: tokens path by path over tokens of the tree, the median over trees.

Scoring: all steps of every distinct solution of the trees, with `rl.ppm.scoring.Scorer` (from an empty cache), against
one forward per step over everything before it (length-sorted batches), as the official code does; `score_wall_ratio` is
their quotient, `score_pass_ratio` that of one plain forward per solution.

`max_score_difference`: of the scores of a tree and of its paths, float32. `max_gradient_difference`: norm of the
difference of their gradients over the norm, float32.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import torch

from data_prep.benchmarks import as_asked
from data_prep.mcts.records import read_trees
from rl.ppm.data import Rules, leaf_paths, read_problems, rows_of
from rl.ppm.format import Encoder, StepFormat
from rl.ppm.model import new_ppm, step_format_for, tokenizer_for
from rl.ppm.scoring import Head, Scorer
from rl.ppm.training import TreeBatches, logits_of, pair_loss, ppm_loss
from tests.bench.common import ROOT, in_turn, machine, print_result, print_table

SHIPPED = str(ROOT / "data_prep" / "small_world" / "checkpoints" / "code")


def searched(folder: Path, n_problems: int, rollouts: int, candidates: int) -> Path:
    """Trees of the hardest problems of the small world, with the settings of the paper's later rounds."""
    command = [sys.executable, "recipes/generate_mcts.py", "--config", "recipes/configs/tiny/generate_mcts.yaml",
               "--n_problems", str(n_problems), "--rollouts", str(rollouts), "--candidates", str(candidates),
               "--rollouts_if_unsolved", "0", "--n_page_trees", "0", "--output_dir", str(folder)]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return folder


def plain_logits(model: Any, sequences: Sequence[Sequence[int]], batch_tokens: int) -> list[torch.Tensor]:
    """The logits (T,) of each sequence, in length-sorted padded batches."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    found: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    while order:
        batch = [order.pop()]
        width = len(sequences[batch[0]])
        while order and width * (len(batch) + 1) <= batch_tokens:
            batch.append(order.pop())
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for row, i in enumerate(batch):
            ids[row, : len(sequences[i])] = torch.tensor(sequences[i])
            mask[row, : len(sequences[i])] = 1
        out = model(ids, attention_mask=mask, use_cache=False).logits[..., 0].float()
        for row, i in enumerate(batch):
            found[i] = out[row, : len(sequences[i])]
    return found


def by_tree(model: Any, row: dict[str, Any], step_format: StepFormat) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss, and the scores at the ends of the pairs' steps."""
    batch = TreeBatches("pairs", "tree")([row])
    logits = logits_of(model, batch)
    return ppm_loss(logits, batch, step_format), logits[torch.cat([batch["chosen_place"], batch["rejected_place"]])]


def by_paths(model: Any, row: dict[str, Any], batch_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, path by path."""
    paths = leaf_paths(row)
    logits = plain_logits(model, [[row["ids"][token] for token in path] for path in paths], batch_tokens)
    where: dict[int, torch.Tensor] = {}
    for path, own in zip(paths, logits, strict=True):
        for token, logit in zip(path, own, strict=True):
            if token not in where:
                where[token] = logit
    ends, t = [], 0
    for length in row["length"]:
        t += length
        ends.append(t - 1)
    chosen = torch.stack([where[ends[node]] for node in row["chosen"]])
    rejected = torch.stack([where[ends[node]] for node in row["rejected"]])
    return pair_loss(chosen, rejected, torch.tensor(row["weight"])), torch.cat([chosen, rejected])


def gradient(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def score_sides(
    model: Any, scorer: Scorer, solutions: Sequence[tuple[str, list[str]]], batch_tokens: int
) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """All steps of the solutions: by the scorer, by one forward per solution, by one forward per step."""
    encoder = scorer.encoder
    whole, prefixes = [], []
    for problem, steps in solutions:
        ids = encoder.prompt(problem)
        for i, step in enumerate(steps):
            ids = ids + encoder.step(step, i == 0)
            prefixes.append(ids)
        whole.append(ids)

    def by_scorer() -> None:
        scorer.forget()
        scorer.score([problem for problem, _ in solutions], [steps for _, steps in solutions])

    @torch.inference_mode()
    def plain(sequences: list[list[int]]) -> None:
        plain_logits(model, sequences, batch_tokens)

    return {"scorer": by_scorer, "per_solution": lambda: plain(whole), "per_step": lambda: plain(prefixes)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--trees", type=Path, help="folder of generate_mcts.py (default: searched first)")
    parser.add_argument("--model_name_or_path", default=SHIPPED, help="the policy (default: the shipped one)")
    parser.add_argument("--dtype", default="float32", help="of the timed passes (%(default)s)")
    parser.add_argument("--n_problems", type=int, default=40, help="problems to search (%(default)s)")
    parser.add_argument("--rollouts", type=int, default=16, help="of the search (%(default)s)")
    parser.add_argument("--candidates", type=int, default=8, help="of the search (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (%(default)s)")
    parser.add_argument("--max_trees", type=int, default=20, help="trees of the joint measurement (%(default)s)")
    parser.add_argument("--batch_tokens", type=int, default=4096, help="tokens of a padded batch (%(default)s)")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.trees or searched(Path(temporary) / "mcts", args.n_problems, args.rollouts, args.candidates)
        trees = list(read_trees(folder))
        tokenizer = tokenizer_for(args.model_name_or_path, "main", [])
        step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
        model = new_ppm(args.model_name_or_path, step_format, len(tokenizer), "float32", "tree").eval()
        context = model.config.get_text_config().max_position_embeddings
        counts: Counter[str] = Counter()
        rules = Rules(("pairs",), "paper", context, 10**9)
        rows = [
            row for problem in read_problems(str(folder), Encoder(tokenizer, step_format), rules, counts)
            for row in rows_of(problem, rules, counts)
        ]  # fmt: skip
    with torch.no_grad():  # a head that is not zero, so that there is a gradient
        model.score.weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    rows.sort(key=lambda row: len(row["ids"]))
    picks = {"small": rows[0], "median": rows[len(rows) // 2], "largest": rows[-1]}
    tokens = [(len(row["ids"]), sum(map(len, leaf_paths(row)))) for row in rows]

    # The same numbers, float32.
    score_difference = gradient_difference = 0.0
    for row in picks.values():
        found = []
        for as_tree in (True, False):
            model.zero_grad()
            loss, scores = by_tree(model, row, step_format) if as_tree else by_paths(model, row, args.batch_tokens)
            loss.backward()
            found.append((torch.tanh(scores.detach() / step_format.scale), gradient(model)))
        score_difference = max(score_difference, float((found[0][0] - found[1][0]).abs().max()))
        difference = float((found[0][1] - found[1][1]).norm() / found[1][1].norm())
        gradient_difference = max(gradient_difference, difference)
    model.zero_grad()

    # What both cost.
    model.to(getattr(torch, args.dtype))

    def passes(some: Sequence[dict[str, Any]], as_tree: bool) -> None:
        for row in some:
            loss, _ = by_tree(model, row, step_format) if as_tree else by_paths(model, row, args.batch_tokens)
            loss.backward()
            model.zero_grad()

    def sides(some: Sequence[dict[str, Any]]) -> dict[str, Callable[[], Any]]:
        return {"tree": lambda: passes(some, True), "paths": lambda: passes(some, False)}

    stride = max(1, -(-len(rows) // args.max_trees))
    together = rows[stride // 2 :: stride]
    measured = {name: in_turn(sides([row]), args.rounds) for name, row in picks.items()}
    measured["together"] = in_turn(sides(together), max(1, args.rounds // 2))

    solutions: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for tree in trees[:: max(1, -(-len(trees) // args.max_trees))]:
        for node in tree.answers():
            steps = [n.step + n.output for n in node.path()]
            solutions[tree.problem["problem_id"], "".join(steps)] = (as_asked(tree.problem), steps)
    head = Head(deepcopy(model.score))  # Head keeps its weights in float32
    scorer = Scorer(model.base_model, head, tokenizer, step_format, batch_tokens=args.batch_tokens)
    scoring = in_turn(score_sides(model, scorer, list(solutions.values()), args.batch_tokens), max(1, args.rounds // 2))

    ratios = {name: seconds["paths"] / seconds["tree"] for name, seconds in measured.items()}
    lines = []
    for name, seconds in measured.items():
        some = [picks[name]] if name in picks else together
        n_tree, n_paths = sum(len(row["ids"]) for row in some), sum(len(p) for row in some for p in leaf_paths(row))
        lines.append(
            [name, f"{n_tree:,}", f"{n_paths:,}", f"{n_paths / n_tree:.2f}", f"{1e3 * seconds['tree']:.0f}",
             f"{1e3 * seconds['paths']:.0f}", f"{ratios[name]:.2f}"]
        )  # fmt: skip
    print_table(["tree", "tokens", "path by path", "ratio", "tree, ms", "paths, ms", "paths / tree"], lines)
    print_table(
        ["scoring", "seconds", "per step / this"],
        [[name, f"{seconds:.3f}", f"{scoring['per_step'] / seconds:.2f}"] for name, seconds in scoring.items()],
    )
    print_result(
        {
            "tokens_tree": len(picks["median"]["ids"]),
            "tokens_paths": sum(map(len, leaf_paths(picks["median"]))),
            "token_ratio": median(paths / tree for tree, paths in tokens),
            "token_ratio_by_tree": {
                name: sum(map(len, leaf_paths(row))) / len(row["ids"]) for name, row in picks.items()
            },
            "train_wall_ratio": ratios["together"],
            "train_wall_ratio_by_tree": {name: ratios[name] for name in picks},
            "score_wall_ratio": scoring["per_step"] / scoring["scorer"],
            "score_pass_ratio": scoring["per_step"] / scoring["per_solution"],
            "max_score_difference": score_difference,
            "max_gradient_difference": gradient_difference,
            "n_trees": len(rows), "n_trees_together": len(together), "n_solutions": len(solutions),
            "pairs": counts["pairs"],
            "left_out": {k: n for k, n in counts.items() if "left out" in k or "without" in k},
            "dtype": args.dtype, "model": Path(args.model_name_or_path).name, "rounds": args.rounds, **machine(),
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
