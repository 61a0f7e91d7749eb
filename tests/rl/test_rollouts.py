"""Rollouts, rewards and updates on TRL's trainer: with nothing added they are TRL's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import GRPOConfig, GRPOTrainer

import rl.attention  # noqa: F401  (registers "packed")
from data_prep.small_world.samples import problem_rows
from data_prep.small_world.search_study import SHIPPED
from rl.advantages import group_relative
from rl.rollouts import ProcessCredit, RolloutTrainer, no_signal


def dataset(n: int = 8) -> Dataset:
    rows = list(problem_rows("train", n, seed=3, bands=("easy",)))
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["problem"]}],
                **{name: row[name] for name in ("problem", "problem_id", "answer")},
            }
            for row in rows
        ]
    )


def evens(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
    """A reward that differs between rollouts: the share of even tokens."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


class Lengths:
    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[(len(step) % 7) / 7 for step in path] for path in paths]


def trainer(kind: type, folder: Path, rewards: Any = evens, settings: dict[str, Any] | None = None, **options: Any):
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, attn_implementation="packed", dtype=torch.float32)
    chosen = {
        "learning_rate": 1e-3, "max_steps": 2, "temperature": 1.5, "max_completion_length": 24, **(settings or {})
    }  # fmt: skip
    config = GRPOConfig(
        str(folder), use_cpu=True, bf16=False, per_device_train_batch_size=4, num_generations=4,
        gradient_accumulation_steps=2, report_to="none", save_strategy="no",
        logging_steps=1, gradient_checkpointing=False, disable_tqdm=True, seed=0, **chosen,
    )  # fmt: skip
    return kind(model, rewards, config, train_dataset=dataset(), processing_class=tokenizer, **options)


def weights(trained: Any) -> dict[str, torch.Tensor]:
    trained.train()
    return {name: value.clone() for name, value in trained.model.state_dict().items()}


def test_with_nothing_added_a_run_is_trl_s_bit_for_bit(tmp_path: Path) -> None:
    theirs = weights(trainer(GRPOTrainer, tmp_path / "a", settings={"beta": 0.01}))
    ours = weights(trainer(RolloutTrainer, tmp_path / "b", settings={"beta": 0.01}))
    before = AutoModelForCausalLM.from_pretrained(SHIPPED).state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert any(not torch.equal(theirs[name], before[name]) for name in theirs)


def test_without_padding_the_update_is_the_same(tmp_path: Path) -> None:
    settings = {"beta": 0.01, "optim": "sgd", "learning_rate": 0.05}  # Adam would make rounding as large as the rest
    padded = weights(trainer(RolloutTrainer, tmp_path / "a", settings=settings))
    free = weights(trainer(RolloutTrainer, tmp_path / "b", settings=settings, padding_free=True))
    before = AutoModelForCausalLM.from_pretrained(SHIPPED).state_dict()
    assert max((padded[name] - before[name]).abs().max() for name in padded) > 1e-3
    assert all(torch.allclose(padded[name], free[name], atol=1e-5) for name in padded)


def test_log_probabilities_without_padding_are_the_padded_ones(tmp_path: Path) -> None:
    one = trainer(RolloutTrainer, tmp_path, padding_free=True)
    ids = torch.randint(5, 100, (3, 12))
    mask = torch.ones_like(ids)
    mask[0, :4] = mask[1, 10:] = mask[2, :2] = mask[2, 8:] = 0  # prompts on the right, completions on the left
    with torch.no_grad():
        free = one._get_per_token_logps_and_entropies(one.model, ids, mask, 6, 2, compute_entropy=True)
        padded = GRPOTrainer._get_per_token_logps_and_entropies(one, one.model, ids, mask, 6, 2, compute_entropy=True)
    there = mask[:, -6:].bool()
    for a, b in zip(free[:2], padded[:2], strict=True):
        assert a is not None
        assert torch.allclose(a[there], b[there], atol=1e-5)
        assert not a[~there].any()


@pytest.mark.parametrize("advantage", ["grpo", "rloo", "reinforce++"])
def test_each_advantage_trains_with_process_credit(tmp_path: Path, advantage: str) -> None:
    process = ProcessCredit(Lengths(), "recovery", gate=False, steps="code")
    one = trainer(
        RolloutTrainer,
        tmp_path,
        settings={"beta": 0.01},
        advantage=advantage,
        kl_in_reward=advantage == "reinforce++",
        process=process,
    )
    seen = []
    compute_loss = one._compute_loss

    def watched(model: Any, inputs: Any) -> Any:
        seen.append(inputs["advantages"])
        return compute_loss(model, inputs)

    one._compute_loss = watched
    one.train()
    assert all(advantages.ndim == 2 for advantages in seen)
    assert any((advantages.std(1) > 0).any() for advantages in seen)  # credit differs within a solution
    logs = one.state.log_history
    assert "process/score_last" in logs[0]
    assert ("kl" in logs[0]) == (advantage != "reinforce++")  # in the loss or in the reward, never in both
    assert ("kl_in_reward" in logs[0]) == (advantage == "reinforce++")


def test_completions_of_nothing_are_no_error(tmp_path: Path) -> None:
    process = ProcessCredit(Lengths(), "recovery", gate=False, steps="code")
    one = trainer(RolloutTrainer, tmp_path, settings={"max_steps": 1}, process=process)
    generate = one._generate_single_turn

    def nothing(prompts: Any, *args: Any, **kwargs: Any) -> Any:
        found = list(generate(prompts, *args, **kwargs))
        found[0] = [[one._tokenizer.eos_token_id] for _ in found[0]]
        return tuple(found)

    one._generate_single_turn = nothing
    one.train()
    assert one.state.global_step == 1


def test_process_credit_says_nothing_of_rollouts_without_a_reward(tmp_path: Path) -> None:
    def some(completion_ids: Any, **columns: Any) -> list[float | None]:
        return [None if i % 2 else float(i % 4) for i in range(len(completion_ids))]

    process = ProcessCredit(Lengths(), "delta", gate=False, steps="code")
    one = trainer(RolloutTrainer, tmp_path, some, {"max_steps": 1, "max_completion_length": 60}, process=process)
    seen: list[torch.Tensor] = []
    advantages = one._advantages

    def watched(found: Any) -> torch.Tensor:
        seen.append(advantages(found))
        return seen[-1]

    one._advantages = watched
    one.train()
    assert not seen[0][1::2].any()
    assert seen[0][::2].any()


def test_what_was_cut_is_recorded_whole(tmp_path: Path) -> None:
    """--mask_truncated_completions takes rollouts that were cut from the loss; they are the ones to look at."""
    settings = {"max_steps": 4, "mask_truncated_completions": True, "max_completion_length": 8}
    one = trainer(RolloutTrainer, tmp_path, settings=settings, rollouts_every=3)
    one.train()
    files = sorted((tmp_path / "rollouts").glob("*.parquet"))
    assert [path.stem for path in files] == ["step-000000", "step-000003"]
    rows = pq.read_table(files[0]).to_pylist()
    cut = [row for row in rows if row["finish_reason"] == "length"]
    assert cut
    assert all(row["n_tokens"] == 8 and row["response"] for row in cut)


def test_groups_without_a_signal_give_way_to_other_prompts(tmp_path: Path) -> None:
    calls = []

    def first_all_the_same(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        calls.append(len(completion_ids))
        return [1.0] * 4 + evens(completion_ids)[4:] if len(calls) == 1 else evens(completion_ids)

    one = trainer(RolloutTrainer, tmp_path, first_all_the_same, {"max_steps": 1}, max_replacements=2)
    one.train()
    log = one.state.log_history[0]
    assert calls == [8, 8]
    assert log["replaced/groups_without_signal"] == 0.5
    assert log["replaced/rounds"] == 1
    assert log["replaced/still_without_signal"] == 0.0


def test_a_scale_of_the_batch_is_that_of_the_rollouts_that_are_kept(tmp_path: Path) -> None:
    calls = []

    def first_all_the_same(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        calls.append(1)
        return [1.0] * 4 + evens(completion_ids)[4:] if len(calls) == 1 else evens(completion_ids)

    settings = {"max_steps": 1, "scale_rewards": "batch", "temperature": 2.5}
    one = trainer(RolloutTrainer, tmp_path, first_all_the_same, settings, max_replacements=1)
    found: list[Any] = []
    generate = one._generate_and_score_completions

    def watched(inputs: Any) -> Any:
        found.append(generate(inputs))
        return found[-1]

    one._generate_and_score_completions = watched
    one.train()
    assert len(calls) == 2
    wanted = group_relative(one._total_rewards(), 4, "batch")
    assert torch.allclose(found[0]["advantages"], wanted)
    assert found[0]["advantages"][:4].any()


def test_a_bound_is_kept_where_no_group_has_a_signal(tmp_path: Path) -> None:
    calls = []

    def same(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        calls.append(1)
        return [0.0] * len(completion_ids)

    one = trainer(RolloutTrainer, tmp_path, same, {"max_steps": 1}, max_replacements=2)
    one.train()
    assert len(calls) == 3
    assert one.state.log_history[0]["replaced/still_without_signal"] == 1.0


def raises(completions: Any, **columns: Any) -> list[float]:
    raise RuntimeError("no such judge")


class Nan(Lengths):
    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[float("nan")] * len(path) for path in paths]


@pytest.mark.parametrize(
    ("rewards", "process", "said"),
    [
        (raises, None, "no reward, raises: RuntimeError: no such judge"),
        (evens, ProcessCredit(Nan(), steps="code"), "no reward, process reward: ValueError: the scorer gave"),
    ],
)
def test_what_a_reward_raises_is_named(
    tmp_path: Path, rewards: Callable[..., Any], process: ProcessCredit | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        trainer(RolloutTrainer, tmp_path, rewards, process=process).train()


def test_a_run_that_a_reward_stops_leaves_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    calls = []

    def tires(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        calls.append(1)
        if len(calls) == 3:
            raise OSError("the judge is gone")
        return evens(completion_ids)

    settings = {"max_steps": 4}
    with pytest.raises(ValueError, match="the judge is gone; checkpoint-2 is whole"):
        trainer(RolloutTrainer, tmp_path, tires, settings).train()
    one = trainer(RolloutTrainer, tmp_path, tires, settings)
    one.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert one.state.global_step == 4
    assert len(calls) == 5


def test_a_run_whose_server_goes_away_leaves_a_checkpoint(tmp_path: Path) -> None:
    calls = []

    def of_a_server(prompts: Sequence[Any], one: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError("http://localhost:8000 does not answer")
        ids, _, _ = one._tokenize_prompts(prompts)
        return {"prompt_ids": ids, "completion_ids": [[10 + i, 11] for i in range(len(ids))], "logprobs": None}

    with pytest.raises(ValueError, match="localhost:8000 does not answer; checkpoint-1 is whole"):
        trainer(RolloutTrainer, tmp_path, settings={"max_steps": 3}, rollout_func=of_a_server).train()
    assert (tmp_path / "checkpoint-1" / "trainer_state.json").exists()


def test_groups_have_a_signal_where_two_rewards_differ() -> None:
    nan = float("nan")
    rewards = torch.tensor([1, 1, 0, 1, nan, 1, nan, nan, 0.5, 0.5])
    assert no_signal(rewards, 2).tolist() == [True, False, True, True, True]
