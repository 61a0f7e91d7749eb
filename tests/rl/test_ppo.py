"""PPO: its gradient where theory knows it, values in one forward with the policy, the critic saved beside it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import GRPOConfig

from data_prep.small_world.search_study import SHIPPED
from rl.ppm.model import new_ppm, step_format_for, tokenizer_for
from rl.ppo import CRITIC, PpoSettings, PpoTrainer, add_critic, value_errors, values_of
from rl.rollouts import ProcessCredit, loss_mask
from tests.rl.test_rollouts import Lengths, dataset, evens


def trainer(
    folder: Path, ppo: PpoSettings, settings: dict[str, Any] | None = None, head: float = 0.0, rewards: Any = evens,
    **options: Any,
) -> PpoTrainer:  # fmt: skip
    """`head`: deviation of the weights of the critic's head; 0: every value is 0."""
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, attn_implementation="packed", dtype=torch.float32)
    add_critic(model, tokenizer, None)
    critic = getattr(model, CRITIC)
    with torch.no_grad():
        critic.score.weight.normal_(0, head or 1.0, generator=torch.Generator().manual_seed(1)).mul_(float(head > 0))
    chosen = {"learning_rate": 1e-3, "max_steps": 2, "temperature": 1.5, **(settings or {})}
    config = GRPOConfig(
        str(folder), use_cpu=True, bf16=False, per_device_train_batch_size=4, num_generations=4,
        gradient_accumulation_steps=2, max_completion_length=24, report_to="none", save_strategy="no",
        logging_steps=1, gradient_checkpointing=False, disable_tqdm=True, seed=0, **chosen,
    )  # fmt: skip
    return PpoTrainer(
        model, rewards, config, train_dataset=dataset(), processing_class=tokenizer, ppo=ppo, **options
    )  # fmt: skip


def batches_of(one: PpoTrainer) -> list[dict[str, Any]]:
    """The forward passes of a run's updates."""
    seen: list[dict[str, Any]] = []
    compute_loss = one._compute_loss

    def watched(model: Any, inputs: dict[str, Any]) -> Any:
        seen.append(inputs)
        return compute_loss(model, inputs)

    one._compute_loss = watched  # type: ignore[method-assign]
    one.train()
    return seen


def test_lambda_and_gamma_1_with_a_critic_of_0_is_reinforce(tmp_path: Path) -> None:
    """The gradient is that of -sum over tokens of R log p, over the number of tokens; the temperature included."""
    ppo = PpoSettings(gamma=1.0, actor_lambda=1.0, whiten=False, value_weight=0.0)
    settings = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    one = trainer(tmp_path, ppo, settings)
    before = {name: value.clone() for name, value in one.model.named_parameters()}
    batches = batches_of(one)
    moved = {name: before[name] - value for name, value in one.model.named_parameters()}

    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    n_tokens = sum(loss_mask(batch).sum() for batch in batches)
    for batch in batches:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        there = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        positions = (there.cumsum(1) - 1).clamp(min=0)
        logits = model(input_ids=ids, attention_mask=there, position_ids=positions).logits[:, :-1] / 1.5
        n = batch["completion_ids"].shape[1]
        chosen = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0][:, -n:]
        mask = loss_mask(batch)
        rewards = torch.tensor(
            evens([row[m.bool()].tolist() for row, m in zip(batch["completion_ids"], mask, strict=True)])
        )
        assert rewards.std() > 0
        assert torch.allclose(batch["advantages"], rewards[:, None] * mask, atol=1e-6)
        (-(rewards[:, None] * chosen * mask).sum() / n_tokens).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(moved[name], parameter.grad, atol=1e-6), name
    assert max(parameter.grad.abs().max() for parameter in model.parameters() if parameter.grad is not None) > 1e-3


def test_values_of_an_update_are_those_of_the_rollouts_and_of_each_sequence_alone(tmp_path: Path) -> None:
    one = trainer(tmp_path, PpoSettings(critic_learning_rate=0.0), {"max_steps": 1, "learning_rate": 0.0}, head=0.1)
    read: list[torch.Tensor] = []
    hook = one._read_critic

    def watched(policy: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        hook(policy, args, kwargs, output)
        if one._values_1N is not None:
            read.append(one._values_1N.detach())

    one.model._forward_hooks.clear()
    one.model.register_forward_hook(watched, with_kwargs=True)
    batches = batches_of(one)
    critic = getattr(one.model, CRITIC)
    for batch, values_1N in zip(batches, read, strict=True):
        start = 0
        for i in range(len(batch["values"])):
            prompt = batch["prompt_ids"][i][batch["prompt_mask"][i].bool()]
            answer = batch["completion_ids"][i][batch["completion_mask"][i].bool()]
            ids = torch.cat([prompt, answer])[None]
            with torch.no_grad():
                alone = critic(input_ids=ids, position_ids=torch.arange(ids.shape[1])[None]).logits[0, :, 0]
            wanted = alone[len(prompt) - 1 : -1]  # of the state before each token
            assert torch.allclose(batch["values"][i][: len(answer)], wanted, atol=1e-5)
            mine = values_1N[0, start : start + ids.shape[1]]
            assert torch.allclose(mine[len(prompt) - 1 : -1], wanted, atol=1e-5)
            assert not batch["values"][i][len(answer) :].any()
            start += ids.shape[1]
    assert max(batch["values"].std() for batch in batches) > 1e-3


def test_in_warm_up_the_critic_learns_alone_and_with_its_own_rate(tmp_path: Path) -> None:
    ppo = PpoSettings(warmup_steps=2, critic_learning_rate=1e-2)
    one = trainer(tmp_path, ppo, {"lr_scheduler_type": "constant"})
    before = {name: value.clone() for name, value in one.model.named_parameters()}
    one.train()
    moved = {name: (value - before[name]).abs().max().item() for name, value in one.model.named_parameters()}
    assert max(change for name, change in moved.items() if not name.startswith(CRITIC)) == 0
    assert max(change for name, change in moved.items() if name.startswith(CRITIC)) > 5e-3
    assert sorted({group["lr"] for group in one.optimizer.param_groups}) == [1e-3, 1e-2]
    n = sum(len(group["params"]) for group in one.optimizer.param_groups)
    assert n == len(list(one.model.parameters()))
    log = one.state.log_history[0]
    assert {"critic/loss", "critic/clipped", "critic/explained_variance"} <= set(log)


def test_a_critic_learns_what_comes_out(tmp_path: Path) -> None:
    """The same reward for every rollout: values go there, and nothing is left to explain."""
    ppo = PpoSettings(warmup_steps=30, critic_learning_rate=3e-3, value_clip=10.0)
    settings = {"max_steps": 30, "lr_scheduler_type": "constant"}
    one = trainer(tmp_path, ppo, settings, rewards=lambda completions, **columns: [0.7] * len(completions))
    one.train()
    losses = [line["critic/loss"] for line in one.state.log_history if "critic/loss" in line]
    assert losses[0] == pytest.approx(0.5 * 0.7**2, rel=0.05)
    assert losses[-1] < losses[0] / 10


def test_steps_are_paid_where_they_end_and_the_outcome_at_the_end(tmp_path: Path) -> None:
    process = ProcessCredit(Lengths(), "delta", weight=0.5, gate=False, steps="code")
    one = trainer(tmp_path, PpoSettings(whiten=False), process=process)
    one._rewards_RF = torch.tensor([[1.0], [0.0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    one._steps = SimpleNamespace(
        scores_BS=torch.tensor([[0.2, 0.8], [-0.4, 0.0]]), ends_BS=torch.tensor([[1, 4], [2, 0]]),
        mask_BS=torch.tensor([[True, True], [True, False]]),
    )  # type: ignore[assignment]  # fmt: skip
    found = {"completion_ids": mask, "completion_mask": mask, "prompt_ids": mask, "prompt_mask": mask}
    rewards = one._token_rewards(found, one._own(one._total_rewards()), mask.bool())
    wanted = torch.tensor([[0.0, 0.1, 0.0, 0.0, 0.3 + 1.0], [0.0, 0.0, -0.2, 0.0, 0.0]])
    assert torch.allclose(rewards, wanted)


@pytest.mark.parametrize("in_reward", [True, False])
def test_the_kl_is_in_the_reward_or_in_the_loss(tmp_path: Path, in_reward: bool) -> None:
    one = trainer(tmp_path, PpoSettings(), {"beta": 0.1}, kl_in_reward=in_reward)
    one.train()
    log = one.state.log_history[1]
    assert ("kl_in_reward" in log) == in_reward
    assert ("kl" in log) == (not in_reward)


def test_rollouts_without_a_reward_teach_nothing(tmp_path: Path) -> None:
    def some(completion_ids: Any, **columns: Any) -> list[float | None]:
        return [None if i % 2 else float(i % 4 > 0) for i in range(len(completion_ids))]

    for batch in batches_of(trainer(tmp_path / "some", PpoSettings(), {"max_steps": 1}, rewards=some)):
        given = batch["advantages"].abs().sum(1) > 0
        assert given.any()
        assert given.sum() == len(given) / 2
        assert given.tolist() == batch["rewarded"].tolist()

    def nothing(completion_ids: Any, **columns: Any) -> list[float | None]:
        return [None for _ in completion_ids]

    one = trainer(tmp_path / "nothing", PpoSettings(), {"max_steps": 1}, head=0.3, rewards=nothing)
    before = {name: value.clone() for name, value in one.model.named_parameters()}
    batches = batches_of(one)
    assert all(torch.equal(value, before[name]) for name, value in one.model.named_parameters()), "nor the critic"
    assert not any(batch["advantages"].any() for batch in batches)


def test_the_value_loss_is_clipped() -> None:
    values = torch.tensor([[0.0, 0.9, -0.9]])
    errors = value_errors(values, torch.zeros(1, 3), torch.ones(1, 3), 0.2)
    assert torch.allclose(errors, 0.5 * torch.tensor([[1.0, 0.8**2, 1.9**2]]))


def test_policy_and_critic_are_saved_apart(tmp_path: Path) -> None:
    one = trainer(tmp_path / "out", PpoSettings(critic_learning_rate=1e-2), {"max_steps": 1})
    one.train()
    one.save_model(str(tmp_path / "out"))
    policy, critic = (load_file(tmp_path / "out" / part / "model.safetensors") for part in ("", CRITIC))
    assert set(policy) == set(load_file(SHIPPED / "model.safetensors"))
    whole = one.model.state_dict()
    assert all(torch.equal(policy[name], whole[name]) for name in policy)
    assert all(torch.equal(critic[name], whole[f"{CRITIC}.{name}"]) for name in critic)
    assert "score.weight" in critic
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_a_critic_from_a_ppm_begins_with_what_its_scores_say_of_the_outcome(tmp_path: Path) -> None:
    tokenizer = tokenizer_for(str(SHIPPED), "main", [])
    step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
    ppm = new_ppm(str(SHIPPED), step_format, len(tokenizer), "float32", "tree")
    with torch.no_grad():
        ppm.score.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    ppm.save_pretrained(tmp_path / "ppm")
    tokenizer.save_pretrained(tmp_path / "ppm")
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, attn_implementation="packed", dtype=torch.float32)
    add_critic(model, AutoTokenizer.from_pretrained(SHIPPED), str(tmp_path / "ppm"))
    critic = getattr(model, CRITIC)
    assert torch.equal(critic.score.weight, ppm.score.weight)
    ids = torch.arange(20)[None]
    row = {"input_ids": ids, "position_ids": ids}
    with torch.no_grad():
        logits, values = ppm(**row).logits[..., 0], values_of(critic, row)
    assert logits.std() > 0.1
    assert torch.allclose(values, (1 + logits / 5) / 2, atol=1e-5), "a score of 0 is an even chance"
    other = AutoTokenizer.from_pretrained(SHIPPED)
    other.add_tokens(["<more>"])
    with pytest.raises(ValueError, match="its tokenizer is not the policy's"):
        add_critic(model, other, str(tmp_path / "ppm"))
