"""Losses by hand, trees against paths, and the trainer's mean over groups."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.ppm.data import Rules, ppm_rows
from rl.ppm.format import Objective
from rl.ppm.metrics import PairRecord, ValueRecord, calibration_error, pair_accuracy, ppm_metrics
from rl.ppm.training import Packing, PpmConfig, PpmTrainer, TreeBatches, logits_of, pair_loss, ppm_loss
from tests.data_prep.mcts.test_pairs import make_tree
from tests.rl.ppm.conftest import ppm_of
from tests.rl.ppm.test_data import write_trees


@pytest.fixture(scope="module")
def rows(ppm: Any, tmp_path_factory: pytest.TempPathFactory, cache_of_tests: Path) -> list[dict[str, Any]]:
    """Six problems with all three kinds of targets."""
    trees = [make_tree() for _ in range(6)]
    for i, tree in enumerate(trees):
        tree.problem |= {"problem_id": f"p1-{i}", "problem": f"What is {i * 37} + 1?"}
    folder = write_trees(tmp_path_factory.mktemp("trees") / "mcts", trees)
    rules = Rules(("pairs", "q", "outcome"), "paper", 1000, 4000)
    return ppm_rows([folder], ppm[1], ppm[2], rules).dataset.to_list()


def test_pair_loss_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    expected = 0.25 * math.log(1 + math.exp(-1)) + 0.5 * math.log(1 + math.exp(2))
    assert float(pair_loss(chosen, rejected, torch.tensor([0.25, 0.5]))) == pytest.approx(expected)
    assert float(pair_loss(torch.tensor([0.0]), torch.tensor([500.0]), torch.ones(1))) == pytest.approx(500.0)


@pytest.mark.parametrize("objective", ["pairs", "outcome", "q"])
@pytest.mark.parametrize("bounded", [False, True])
def test_a_tree_has_the_loss_and_gradient_of_its_paths(rows: Any, objective: Objective, bounded: bool) -> None:
    model, _, step_format = ppm_of(objective, bounded_in_training=bounded)
    found = {}
    packings: tuple[Packing, Packing] = ("tree", "paths")
    for packing in packings:
        model.zero_grad()
        batch = TreeBatches(objective, packing)(rows[:3])
        loss = ppm_loss(logits_of(model, batch), batch, step_format)
        loss.backward()
        found[packing] = float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters()])
        n_units = {"pairs": 6, "outcome": 36, "q": 48}[objective]
        assert len(batch["labels"]) == n_units
    assert found["tree"][0] == pytest.approx(found["paths"][0], rel=1e-5)
    assert (found["tree"][1] - found["paths"][1]).norm() / found["paths"][1].norm() < 1e-4


def test_a_row_for_flex_attention_is_filled_up_and_has_the_same_loss(rows: Any) -> None:
    model, _, step_format = ppm_of()
    expected = TreeBatches("pairs", "tree")(rows[:2])
    batch = TreeBatches("pairs", "tree", "flex_attention")(rows[:2])
    assert batch["input_ids"].shape == (1, 1024)
    losses = []
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        losses.append(ppm_loss(logits_of(model, expected), expected, step_format))
        model.set_attn_implementation("flex_attention")
        losses.append(ppm_loss(logits_of(model.eval(), batch), batch, step_format))
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)


def test_losses_by_hand(rows: Any) -> None:
    cases: list[tuple[Objective, bool]] = [("pairs", False), ("pairs", True), ("outcome", False), ("q", True)]
    for objective, bounded in cases:
        model, _, step_format = ppm_of(objective, scale=2.0, bounded_in_training=bounded)
        batch = TreeBatches(objective, "tree")(rows[:1])
        with torch.no_grad():
            logits = logits_of(model, batch)
        if objective == "pairs":
            given = [logits[batch[f"{name}_place"]] for name in ("chosen", "rejected")]
            a, b = (torch.tanh(x / 2) if bounded else x for x in given)
            expected = sum(w * math.log(1 + math.exp(-(x - y))) for w, x, y in zip(batch["weight"], a, b, strict=True))
        elif objective == "outcome":
            p = torch.sigmoid(logits[batch["outcome_node_place"]])
            expected = -sum(math.log(x if y else 1 - x) for x, y in zip(p, batch["outcome"], strict=True))
        else:
            s = torch.tanh(logits[batch["q_node_place"]] / 2)
            expected = sum((x - y) ** 2 for x, y in zip(s, batch["q"], strict=True))
        assert float(ppm_loss(logits, batch, step_format)) == pytest.approx(float(expected), rel=1e-4)


def trainer_of(rows: Any, folder: Path, **options: Any) -> PpmTrainer:
    model, _, step_format = ppm_of()
    settings: dict[str, Any] = {"output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": [],
                                "remove_unused_columns": False, "gradient_checkpointing": False, "max_steps": 2,
                                "learning_rate": 1e-3, "save_strategy": "no", "disable_tqdm": True,
                                "warmup_steps": 0}  # fmt: skip
    return PpmTrainer(model, step_format, args=PpmConfig(**settings | options),
                      data_collator=TreeBatches("pairs", "tree"), train_dataset=rows, eval_dataset=rows)  # fmt: skip


def test_accumulated_trees_are_one_batch(rows: Any, tmp_path: Path) -> None:
    weights = []
    for batch, accumulated in ((6, 1), (2, 3), (1, 6)):
        trainer = trainer_of(rows, tmp_path, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated,
                             optim="sgd", learning_rate=0.1)  # fmt: skip
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert (weights[0] - weights[1]).abs().max() < 1e-6
    assert (weights[0] - weights[2]).abs().max() < 1e-6


def test_training_puts_better_steps_above_worse_ones(rows: Any, tmp_path: Path) -> None:
    trainer = trainer_of(rows, tmp_path, max_steps=20, per_device_train_batch_size=6)
    before, _, after = trainer.evaluate(), trainer.train(), trainer.evaluate()
    assert after["eval_pair_accuracy"] == 1.0
    assert after["eval_loss"] < 0.5 * before["eval_loss"]
    assert after["eval_n_pairs"] == sum(len(row["chosen"]) for row in rows) == 48
    assert after["eval_n_values"] == sum(len(row["q"]) for row in rows)
    assert after["eval_q_correlation"] > 0.5


def test_metrics_by_hand() -> None:
    pairs = [
        PairRecord(0, 0, 0.5, -0.5, final=False, position=0, clear=True),
        PairRecord(0, 1, 0.1, 0.3, final=False, position=2, clear=False),
        PairRecord(1, 0, 0.2, 0.2, final=True, position=0, clear=True),
    ]
    values = [ValueRecord(0, 0, 0.9, 1.0), ValueRecord(0, 1, -0.9, 0.5)]
    found = ppm_metrics(pairs, values)
    assert pair_accuracy(pairs) == found["pair_accuracy"] == 0.5
    assert found["pair_accuracy_filtered"] == 0.75
    assert found["pair_accuracy_final"] == 0.5
    assert (found["pair_accuracy_steps_first"], found["pair_accuracy_steps_1_to_3"]) == (1.0, 0.0)
    assert "pair_accuracy_steps_4_on" not in found
    assert found["calibration_error"] == pytest.approx((0.1 + 1.4) / 2)
    assert found["q_mse"] == pytest.approx((0.01 + 1.96) / 2)
    assert ppm_metrics([], []) == {}


def test_calibrated_scores_have_no_error() -> None:
    import numpy as np

    q = np.linspace(-1, 1, 50)
    assert calibration_error(q, q) == pytest.approx(0.0)
    assert calibration_error(np.ones(4), np.array([1.0, 1.0, -1.0, -1.0])) == pytest.approx(1.0)
