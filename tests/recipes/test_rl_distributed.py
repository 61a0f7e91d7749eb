"""GRPO and PPO on two processes under each backend give what one process gives; groups lie across both processes."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from data_prep.small_world.search_study import SHIPPED
from rl.advantages import group_relative
from rl.broken import random_ppm
from tests.recipes.conftest import Run
from tests.recipes.test_sft_distributed import CONFIGS, TWO, compare

RECIPES = {
    "rl_grpo": ["--advantage", "reinforce++", "--beta", 0.05],
    "rl_ppo": ["--critic_learning_rate", 1e-3, "--beta", 0.05],
}


def arguments(recipe: str, out: Path, n_processes: int, *more: object) -> list[object]:
    """Three groups of four rollouts a step: of two processes with six each, the second group lies on both."""
    return [
        f"recipes/{recipe}.py", "--model_name_or_path", SHIPPED, "--problems", "{path: small-world, n_rows: 40}",
        "--output_dir", out, "--max_completion_length", 24, "--num_generations", 4, "--per_device_train_batch_size", 3,
        "--gradient_accumulation_steps", 4 // n_processes, "--learning_rate", 1e-3, "--bf16", "false", "--use_cpu",
        "true", "--logging_steps", 1, "--gradient_checkpointing", "false", "--repetition_weight", 1,
        "--repetition_ngram", 1, "--max_steps", 3, "--save_steps", 3, "--rollouts_every", 1, *more,
    ]  # fmt: skip


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [line["loss"] for line in history if "loss" in line]


@pytest.fixture(scope="module")
def one_process(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Greedy rollouts, which no process draws otherwise than another; so rollouts differ between problems alone."""
    folders = {recipe: tmp_path_factory.mktemp("one") / recipe for recipe in RECIPES}
    for recipe, folder in folders.items():
        run(*arguments(recipe, folder, 1, "--top_k", 1, *RECIPES[recipe]))
    return folders


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("backend", ["ddp", "zero2", "zero3"])
def test_two_processes_equal_one(
    run: Run, one_process: dict[str, Path], tmp_path: Path, backend: str, recipe: str
) -> None:
    if backend.startswith("zero") and shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its CPU communication and there is no c++")
    out, reference = tmp_path / "out", one_process[recipe]
    launcher = ("--config_file", str(CONFIGS / f"{backend}.yaml"), *TWO)
    done = run(*arguments(recipe, out, 2, "--top_k", 1, *RECIPES[recipe]), launcher=launcher)
    assert "3 problems x 4 rollouts" in done.stdout
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["n_processes"] == 2
    assert manifest["backend"] == {"ddp": "MULTI_CPU"}.get(backend, "DEEPSPEED")
    assert losses(out) == pytest.approx(losses(reference), abs=2e-5)
    before, after = (load_file(folder / "model.safetensors") for folder in (SHIPPED, reference))
    assert max((before[name] - after[name]).abs().max().item() for name in before) > 1e-3
    # Adam's step divides by the root of a square: rounding in the gradient of tiny entries shows in the weights.
    compare(out, reference, 2e-4)
    if recipe == "rl_ppo":
        compare(out / "critic", reference / "critic", 2e-4)


def test_a_process_reward_model_is_whole_under_zero3(run: Run, tmp_path: Path) -> None:
    """Beside a policy whose weights are shared out; its scores are those of one process."""
    if shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its CPU communication and there is no c++")
    ppm = random_ppm(SHIPPED, tmp_path / "ppm")
    more = ["--top_k", 1, "--scorer", ppm, "--steps", "code", "--max_steps", 1, "--save_steps", 1]
    run(*arguments("rl_grpo", tmp_path / "one", 1, *more))
    launcher = ("--config_file", str(CONFIGS / "zero3.yaml"), *TWO)
    done = run(*arguments("rl_grpo", tmp_path / "two", 2, *more), launcher=launcher)
    assert " 0.0 M parameters" not in done.stdout
    scores = [
        [row["step_scores"] for row in pq.read_table(tmp_path / name / "rollouts" / "step-000000.parquet").to_pylist()]
        for name in ("one", "two")
    ]
    assert any(any(row) for row in scores[0])
    for a, b in zip(*scores, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_processes_whose_solutions_have_more_steps_wait_for_nobody(run: Run, tmp_path: Path) -> None:
    launcher = ("--config_file", str(CONFIGS / "ddp.yaml"), *TWO)
    more = ["--steps", "code", "--max_completion_length", 120, "--max_steps", 1, "--save_steps", 1]
    run(*arguments("rl_grpo", tmp_path / "out", 2, *more), launcher=launcher)
    assert len(pq.read_table(tmp_path / "out" / "rollouts" / "step-000000.parquet")) == 12


def test_the_advantages_of_a_group_on_both_processes_are_those_of_the_whole_group(run: Run, tmp_path: Path) -> None:
    launcher = ("--config_file", str(CONFIGS / "ddp.yaml"), *TWO)
    run(*arguments("rl_grpo", tmp_path / "out", 2, "--temperature", 1.5), launcher=launcher)
    for step in range(3):
        rows = pq.read_table(tmp_path / "out" / "rollouts" / f"step-{step:06d}.parquet").to_pylist()
        assert [row["problem_id"] for row in rows[4:8]] == [rows[4]["problem_id"]] * 4
        rewards = torch.tensor([sum(value or 0.0 for _, value in row["rewards"]) for row in rows])
        assert rewards[4:8].std() > 0
        wanted = group_relative(rewards, 4)
        assert torch.allclose(torch.tensor([row["advantage"] for row in rows], dtype=torch.float32), wanted, atol=1e-4)
