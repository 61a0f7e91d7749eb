"""Training: losses, the batch of a step, the trainer, and what a model is worth on held-out problems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

from data_prep.mcts.pairs import PairRule
from rl.ppm.attention import TREE, TreeLayout, block_mask, no_mask
from rl.ppm.data import PpmRows, Rules, leaf_paths, ppm_rows
from rl.ppm.format import Objective, StepFormat
from rl.ppm.metrics import PairRecord, ValueRecord, ppm_metrics
from rl.ppm.model import load_ppm, new_ppm
from rl.ppm.trees import forest
from rl.runs import check_training, end_together, save_finished, write_model_manifest

FLEX_LENGTHS = 1024  # rows for FlexAttention are multiples of so many tokens long

Packing = Literal["tree", "paths"]


@dataclass
class PpmConfig(TrainingArguments):
    """transformers' `TrainingArguments` with defaults for process preference models.

    > NOTE: these defaults differ: `learning_rate` 7e-6 (was 5e-5) and `num_train_epochs` 1 (3), as in rStar-Math
    > (appendix A.1; its published code: 2 epochs), `lr_scheduler_type` cosine (linear), `warmup_steps` 0.05 (0),
    > `logging_steps` 10 (500), `per_device_train_batch_size` and `per_device_eval_batch_size` 1 (8): a tree is a batch
    > by itself, `gradient_checkpointing` True (False).
    """

    output_dir: str | None = field(default="outputs/ppm", metadata={"help": "Where checkpoints and the model go."})
    learning_rate: float = field(default=7e-6, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the data."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up: steps, or a share of all steps below 1."})
    logging_steps: float = field(default=10, metadata={"help": "Optimizer steps between two lines of the log."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Trees per device and forward pass."})
    per_device_eval_batch_size: int = field(default=1, metadata={"help": "The same for held-out trees."})
    gradient_checkpointing: bool = field(default=True, metadata={"help": "Recompute activations: less memory."})


def pair_loss(chosen_P: torch.Tensor, rejected_P: torch.Tensor, weight_P: torch.Tensor) -> torch.Tensor:
    """Sum of -log sigmoid(chosen - rejected), each weighted by 1 / (n_pos n_neg) of its group (paper, equation 4).

    Bradley and Terry's model of preferences; divided by the number of groups it is the mean over groups.
    """
    return -(weight_P * F.logsigmoid(chosen_P - rejected_P)).sum()


class TreeBatches:
    """Makes a batch of rows of `rl.ppm.data.ROW`, with what the objective learns from them.

    `packing`: `tree` puts all trees into one row of tokens, each node once; `paths` makes one padded sequence per
    distinct leaf path, the reference. `attention`: "tree" or "flex_attention", for trees.

    A batch: what the model reads; `*_place`: for each target the index of its score in the flattened logits; the
    targets; `labels`: as many as there are groups of pairs, or values, by which the loss is divided; the rows.
    """

    def __init__(self, objective: Objective, packing: Packing, attention: str = "tree", pad: int = 0):
        self.objective, self.packing, self.attention, self.pad = objective, packing, attention, pad

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        lengths = [length for row in rows for length in row["length"]]
        parents: list[int] = []
        for row in rows:
            first = len(parents)
            parents += [first + parent if parent >= 0 else -1 for parent in row["parent"]]
        ids = [token for row in rows for token in row["ids"]]
        grown = forest(ids, lengths, parents)
        if self.packing == "tree":
            read: dict[str, Any] = {
                "input_ids": torch.tensor(ids)[None], "position_ids": torch.tensor(grown.position)[None]
            }  # fmt: skip
            if self.attention == "flex_attention":
                # Compiled anew for each length: rows are filled up with tokens that see themselves alone.
                n, n_all = len(ids), -(-len(ids) // FLEX_LENGTHS) * FLEX_LENGTHS
                read = {name: F.pad(x, (0, n_all - n)) for name, x in read.items()}
                read["subtree_end_T"] = torch.tensor([*grown.subtree_end, *range(n + 1, n_all + 1)])
            else:
                read |= {"attention_mask": no_mask(), "tree": TreeLayout(grown.runs)}
            place = grown.end
        else:
            read, place = self.paths(rows, ids, grown.end)
        columns: dict[str, list[Any]] = {name: [] for name in ("chosen", "rejected", "q_node", "outcome_node")}
        first = 0
        n_groups = 0
        for row in rows:
            for name, found in columns.items():
                found += [place[first + node] for node in row[name]]
            n_groups += len(set(row["group"]))
            first += len(row["length"])
        targets = {f"{name}_place": torch.tensor(found, dtype=torch.long) for name, found in columns.items()}
        for name in ("weight", "q", "outcome"):
            targets[name] = torch.tensor([x for row in rows for x in row[name]], dtype=torch.float32)
        n_units = {"pairs": n_groups, "q": len(targets["q"]), "outcome": len(targets["outcome"])}[self.objective]
        # transformers' Trainer counts what is not -100 in `labels`, over all batches and processes of a step.
        return {**read, **targets, "labels": torch.zeros(n_units, dtype=torch.long), "rows": list(rows)}

    def paths(
        self, rows: Sequence[Mapping[str, Any]], ids: Sequence[int], end: Sequence[int]
    ) -> tuple[dict[str, Any], list[int]]:
        """One padded sequence per leaf path, and for each node the place of its last token in one that holds it."""
        sequences: list[list[int]] = []
        offset = 0
        for row in rows:
            sequences += [[offset + token for token in path] for path in leaf_paths(row)]
            offset += len(row["ids"])
        sequences.sort(key=len, reverse=True)
        width = len(sequences[0])
        input_ids = torch.full((len(sequences), width), self.pad)
        mask = torch.zeros(len(sequences), width, dtype=torch.long)
        where: dict[int, int] = {}
        for i, path in enumerate(sequences):
            input_ids[i, : len(path)] = torch.tensor([ids[token] for token in path])
            mask[i, : len(path)] = 1
            for j, token in enumerate(path):
                where.setdefault(token, i * width + j)
        return {"input_ids": input_ids, "attention_mask": mask}, [where[token] for token in end]


def logits_of(model: torch.nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
    """The logits of all tokens of a batch, flattened, float32."""
    read = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask", "tree") if name in batch}
    if "subtree_end_T" in batch:
        read["attention_mask"] = block_mask(batch["subtree_end_T"])
    return model(**read, use_cache=False).logits.flatten().float()


def ppm_loss(logits: torch.Tensor, batch: Mapping[str, Any], step_format: StepFormat) -> torch.Tensor:
    """The objective's loss, summed over groups of pairs, or over values. `logits`: see `logits_of`.

    `pairs`: `pair_loss` of logits, or of scores if they are bounded in training. The baselines of the paper's ablation
    (section 4.3, which gives no details): `outcome` is binary cross-entropy on the last step of a solution (ORM),
    `q` squared error of a step's score against its Q (PQM).
    """
    if step_format.objective == "outcome":
        return F.binary_cross_entropy_with_logits(
            logits[batch["outcome_node_place"]], batch["outcome"], reduction="sum"
        )
    scores = torch.tanh(logits / step_format.scale)
    if step_format.objective == "q":
        return F.mse_loss(scores[batch["q_node_place"]], batch["q"], reduction="sum")
    rewards = scores if step_format.bounded_in_training else logits
    return pair_loss(rewards[batch["chosen_place"]], rewards[batch["rejected_place"]], batch["weight"])


class PpmTrainer(Trainer):
    """transformers' trainer over trees. Its data collator is `TreeBatches`; rows are those of `rl.ppm.data`."""

    loss_is_scaled_for_ga = True  # over all batches and processes of a step, whatever is accumulated

    def __init__(self, model: PreTrainedModel, step_format: StepFormat, **kwargs: Any):
        super().__init__(model=model, **kwargs)
        self.step_format = step_format
        self.model_accepts_loss_kwargs = True  # so that targets are counted over the whole step

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # fmt: skip
        """The loss of a batch as its part of the mean over all groups (or values) of the optimizer step."""
        logits = logits_of(model, inputs)
        n_units = len(inputs["labels"]) if num_items_in_batch is None else num_items_in_batch
        loss = ppm_loss(logits, inputs, self.step_format) / n_units
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        return (loss, {"logits": logits}) if return_outputs else loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and `ppm_metrics` on the held-out rows, each row counted once on however many processes."""
        model = self.model_wrapped
        model.eval()
        pairs: list[PairRecord] = []
        values: list[ValueRecord] = []
        losses: list[tuple[int, float, int]] = []
        for batch in self.get_eval_dataloader(eval_dataset):
            with torch.no_grad(), self.compute_loss_context_manager():
                logits = logits_of(model, batch)
            scores = torch.tanh(logits / self.step_format.scale)
            rows = batch["rows"]
            row_numbers = [row["number"] for row in rows]
            losses.append((row_numbers[0], float(ppm_loss(logits, batch, self.step_format)), len(batch["labels"])))
            pairs += PairRecord.of(rows, scores[batch["chosen_place"]], scores[batch["rejected_place"]])
            values += ValueRecord.of(rows, scores[batch["q_node_place"]])
        model.train()
        # The last batch is filled up with rows that other processes have: they come once.
        summed = {number: (loss, n) for number, loss, n in gather_object(losses)}
        n_units = sum(n for _, n in summed.values())
        metrics = {"loss": sum(loss for loss, _ in summed.values()) / max(1, n_units)}
        metrics |= ppm_metrics(list(dict.fromkeys(gather_object(pairs))), list(dict.fromkeys(gather_object(values))))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


# Other data preparation, resuming, which goes by the output folder, and what trees have no use for.
WITHOUT_EFFECT = (
    "resume_from_checkpoint", "ignore_data_skip", "label_names", "label_smoothing_factor", "train_sampling_strategy",
    "prediction_loss_only", "torch_compile", "use_liger_kernel", "remove_unused_columns",
)  # fmt: skip


def check_settings(args: Any, training: PpmConfig) -> None:
    """Raises ValueError for settings out of range, or that would have no effect here."""
    check_training(training, WITHOUT_EFFECT)
    for name, ok, wanted in (
        ("per_device_eval_batch_size", training.per_device_eval_batch_size == 1, "a tree is a batch by itself: 1"),
        ("fp16", not training.fp16, "scores need more range: leave it out, or give --bf16"),
    ):
        if not ok:
            raise ValueError(f"--{name} {getattr(training, name)}: {wanted}")
    for name, ok, wanted in (
        ("max_length", args.max_length > 1, "at least 2"),
        ("max_tokens", args.max_tokens >= args.max_length, f"at least --max_length {args.max_length}"),
        ("eval_share", 0 <= args.eval_share < 1, "a share, from 0 to below 1"),
        ("instruction", not (args.instruction and args.prompt != "chat"), "is part of chat prompts"),
        ("bound", args.bound == "tanh/5" or args.objective == "pairs", "is for --objective pairs"),
    ):
        if not ok:
            raise ValueError(f"--{name} {getattr(args, name)}: {wanted}")


def make_trainer(
    model: str, revision: str, training: PpmConfig, tokenizer: PreTrainedTokenizerBase, step_format: StepFormat,
    rows: PpmRows, eval_rows: PpmRows | None, packing: Packing,
) -> PpmTrainer:  # fmt: skip
    attention = "flex_attention" if torch.cuda.is_available() and not training.use_cpu else TREE
    network = new_ppm(model, step_format, len(tokenizer), "float32", attention, revision)
    training.remove_unused_columns = False  # the collator uses them
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return PpmTrainer(
        network,
        step_format,
        args=training,
        data_collator=TreeBatches(step_format.objective, packing, attention, pad),
        train_dataset=rows.dataset,
        eval_dataset=eval_rows.dataset if eval_rows else None,
        processing_class=tokenizer,
    )


def finish(
    trainer: PpmTrainer, result: Any, rows: PpmRows, config: Mapping[str, Any], started: str, first_step: int = 0
) -> dict[str, float]:
    """Measures, saves and signs the model folder; returns the metrics, which stand in all_results.json too.

    The manifest is written last, beside the ids of all problems that the weights have seen. `first_step`: where this
    process went on from; the training loss and time are those since then.
    """
    folder = Path(str(trainer.args.output_dir))
    metrics = dict(result.metrics)
    if first_step:
        metrics["resumed_at_step"] = first_step
    metrics |= {f"data_{name.replace(' ', '_')}": n for name, n in rows.counts.items()}
    if trainer.eval_dataset is not None:
        metrics |= trainer.evaluate()
    save_finished(trainer, metrics)
    if trainer.is_world_process_zero():
        base = str(config["model"])
        (folder / "README.md").write_text(card(folder.name, base, trainer.step_format, metrics))
        left_out = {name: n for name, n in rows.counts.items() if "left out" in name or "without" in name}
        write_model_manifest(
            trainer, base, rows.trained_on, started, stage="train_ppm", config=config, content=rows.content,
            rows_in=rows.counts["pairs"] + rows.counts["values"], rows_out=rows.counts["rows"], rows_dropped=left_out,
            metrics=metrics,
        )  # fmt: skip
    end_together(trainer)
    return metrics


def card(name: str, base: str, step_format: StepFormat, metrics: Mapping[str, float]) -> str:
    """The model card."""
    measured = "\n".join(f"| {key.removeprefix('eval_').replace('_', ' ')} | {value:.4g} |"
                         for key, value in metrics.items() if key.startswith("eval_"))  # fmt: skip
    return f"""---
base_model: {base}
library_name: transformers
pipeline_tag: token-classification
tags: [process-reward-model, rstar-math]
---

# {name}

Grades the steps of solutions to math problems from -1 to 1: {step_format.describe()}. A transformers
token-classification model with one label, begun from `{base}`; a step's score is read at its last token. `step_scores`
in `config.json` says what it reads.

```python
from rl.ppm.scoring import open_scorer

scores = open_scorer("PATH/TO/{name}").score(["What is 2 + 3?"], [["<code>\\n# Add\\nx = 2 + 3\\n<end_of_step>"]])
```

| on held-out problems | |
|---|---:|
{measured or "| (none were held out) | |"}
"""


def measure(model: str, data: Sequence[str], pair_rule: PairRule = "paper") -> dict[str, float]:
    """`ppm_metrics` of a trained model on other trees or pairs, in this process. Raises ValueError."""
    network, tokenizer, step_format = load_ppm(model, "float32")
    context = network.config.get_text_config().max_position_embeddings
    rows = ppm_rows(data, tokenizer, step_format, Rules(("pairs", "q", "outcome"), pair_rule, context, 4 * context))
    batches, pairs, values = TreeBatches(step_format.objective, "tree"), [], []
    for row in rows.dataset:
        batch = batches([row])
        with torch.inference_mode():
            scores = torch.tanh(logits_of(network.eval(), batch) / step_format.scale)
        pairs += PairRecord.of([row], scores[batch["chosen_place"]], scores[batch["rejected_place"]])
        values += ValueRecord.of([row], scores[batch["q_node_place"]])
    return ppm_metrics(pairs, values)
