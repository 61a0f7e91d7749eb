"""PPO with a critic, on the rollouts of `rl.rollouts`: advantages by GAE, a clipped value loss beside the policy's.

arXiv 1707.06347; separate lambdas of actor and critic and a value warm-up as in VC-PPO (arXiv 2503.01491). The critic
is a submodule of the policy, so that one engine trains both, and is read in the policy's own forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from trl import GRPOConfig

from data_prep.sources import is_local
from rl.advantages import gae, gated, normalised
from rl.ppm.format import KEY
from rl.ppm.model import load_ppm, scalar_model
from rl.rollouts import RolloutTrainer, loss_mask, unpacked

Tensor = torch.Tensor
CRITIC = "critic"  # its name in the policy, and its folder beside it


@dataclass(frozen=True)
class PpoSettings:
    """`gamma` and `actor_lambda` make advantages (Schulman et al. 2016), `critic_lambda` the critic's targets.

    `whiten`: advantages of a generation get mean 0 and deviation 1. `value_clip`: how far a value is pulled from what
    it was when the rollouts were made. `warmup_steps`: first optimizer steps, in which the critic alone learns.
    """

    gamma: float = 1.0
    actor_lambda: float = 1.0
    critic_lambda: float = 1.0
    whiten: bool = True
    value_clip: float = 0.2
    value_weight: float = 0.5
    warmup_steps: int = 0
    critic_learning_rate: float = 1e-5


class PpoTrainer(RolloutTrainer):
    """`model`: with a critic, see `add_critic`. The KL (`beta`) is in the reward of each token (`kl_in_reward`) or in
    the loss. Steps are paid at their last tokens, an outcome and other rewards at the last token of a rollout. Rollouts
    without a reward (nothing can be said of them) teach nothing.
    """

    def __init__(
        self, model: PreTrainedModel, reward_funcs: Any, args: GRPOConfig, *, ppo: PpoSettings, **kwargs: Any
    ):  # fmt: skip
        self.ppo = ppo
        self._values_1N: Tensor | None = None
        model.register_forward_hook(self._read_critic, with_kwargs=True)
        # Every parameter has a gradient, but DDP would look for the critic's in what the forward pass returns.
        args.ddp_find_unused_parameters = False
        super().__init__(model, reward_funcs, args, advantage="gae", padding_free=True, **kwargs)

    def _read_critic(self, policy: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Values of a packed row of an update, in the forward of the policy: an engine sees one call."""
        critic = policy._modules.get(CRITIC)
        if critic is not None and torch.is_grad_enabled() and "fused_lm_head" in kwargs:
            row = {name: kwargs[name] for name in ("input_ids", "position_ids")}
            self._values_1N = values_of(critic, row)

    # ------------------------------------------------------------------------------------------------- the rollouts

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        if not self.use_vllm:
            return super()._generate_single_turn(*args, **kwargs)
        with critic_aside(self.accelerator.unwrap_model(self.model)):  # vLLM has no such weights
            return super()._generate_single_turn(*args, **kwargs)

    def _advantages(self, found: dict[str, Any]) -> Tensor:
        """(B, T); `found` gets the values and what the critic is to learn, both (B, T)."""
        rewards_B = self._own(self._total_rewards())
        mask_BT = loss_mask(found).bool() & ~rewards_B.isnan()[:, None]
        rewards_BT = self._token_rewards(found, rewards_B.nan_to_num(0.0), mask_BT)
        values_BT = self._values(found).where(mask_BT, 0.0)
        advantages_BT = gae(rewards_BT, values_BT, mask_BT, self.ppo.gamma, self.ppo.actor_lambda)
        found["values"], found["rewarded"] = values_BT, ~rewards_B.isnan()
        found["returns"] = values_BT + gae(rewards_BT, values_BT, mask_BT, self.ppo.gamma, self.ppo.critic_lambda)
        self._log("critic/explained_variance", self._explained(found["returns"], values_BT, mask_BT))
        if self.ppo.whiten:
            everything_RT = normalised(self._gathered(advantages_BT), self._gathered(mask_BT))
            advantages_BT = self._own(everything_RT)[:, : mask_BT.shape[1]]
        return advantages_BT

    def _token_rewards(self, found: dict[str, Any], rewards_B: Tensor, mask_BT: Tensor) -> Tensor:
        """What each token earns: the KL, a step at its last token, the outcome at the last one of all. (B, T)."""
        rewards_BT = -self.kl_in_reward * self._kl(found, mask_BT)
        places_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
        last_B = places_T.expand_as(mask_BT).where(mask_BT, 0).amax(1)
        rewards_BT = rewards_BT.scatter_add(1, last_B[:, None], rewards_B[:, None].to(rewards_BT))
        if self.process is not None and self._steps is not None:
            paid_RS, mask_RS = self._paid_steps()
            if self.process.gate:
                paid_RS = gated(paid_RS, self._right())
            n = self._steps.ends_BS.shape[1]
            paid_BS = (self.process.weight * self._own(paid_RS)[:, :n]).where(self._own(mask_RS)[:, :n], 0.0)
            # A step that ends with what its program prints is paid at the last token that the policy wrote.
            own_BT = places_T.expand_as(mask_BT).where(mask_BT, 0).cummax(1).values
            ends_BS = own_BT.gather(1, self._steps.ends_BS.to(rewards_BT.device))
            rewards_BT = rewards_BT.scatter_add(1, ends_BS, paid_BS.to(rewards_BT))
        return rewards_BT.where(mask_BT, 0.0)

    @torch.no_grad()
    def _values(self, found: dict[str, Any]) -> Tensor:
        """Of the states in which the tokens of the completions were chosen, (B, T) float32."""
        ids_BT = torch.cat([found["prompt_ids"], found["completion_ids"]], dim=1)
        there_BT = torch.cat([found["prompt_mask"], found["completion_mask"]], dim=1).bool()
        positions_BT = (there_BT.cumsum(1) - 1).clamp(min=0)
        critic = getattr(self.accelerator.unwrap_model(self.model), CRITIC)
        values, n = [], self.args.per_device_train_batch_size
        for start in range(0, len(ids_BT), n):
            some = slice(start, start + n)
            there = there_BT[some]
            with self.accelerator.autocast():
                row = {"input_ids": ids_BT[some][there][None], "position_ids": positions_BT[some][there][None]}
                found_1N = values_of(critic, row)
            values.append(unpacked(found_1N[:, :-1].float(), there, there))
        return torch.cat(values)[:, -found["completion_ids"].shape[1] :]

    def _explained(self, returns_BT: Tensor, values_BT: Tensor, mask_BT: Tensor) -> float:
        """1 - var(return - value) / var(return) over the tokens of all processes; NaN where returns do not vary."""
        returns, values, mask = (self._gathered(one) for one in (returns_BT, values_BT, mask_BT))
        variance = returns[mask].var(correction=0)
        return (1 - (returns - values)[mask].var(correction=0) / variance).item() if variance > 1e-12 else float("nan")

    # --------------------------------------------------------------------------------------------------- the update

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """TRL's of the policy, and the value loss: a mean over the tokens of a step, as `dapo`'s is."""
        loss = super()._compute_loss(model, inputs)
        if "returns" not in inputs:
            return loss
        assert self._values_1N is not None
        there_BT = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1).bool()
        values_BT = unpacked(self._values_1N[:, :-1].float(), there_BT, there_BT)[:, -inputs["returns"].shape[1] :]
        self._values_1N = None
        mask_BT = loss_mask(inputs).bool() & inputs["rewarded"][:, None]
        errors_BT = value_errors(values_BT, inputs["values"], inputs["returns"], self.ppo.value_clip).where(
            mask_BT, 0.0
        )
        share = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        n_tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes * share
        value_loss = errors_BT.sum() / n_tokens
        moved_BT = (values_BT.detach() - inputs["values"]).abs() > self.ppo.value_clip
        self._log("critic/loss", (errors_BT.detach().sum() / mask_BT.sum().clamp(min=1)).item())
        self._log("critic/clipped", ((moved_BT & mask_BT).sum() / mask_BT.sum().clamp(min=1)).item())
        learns = float(self.state.global_step >= self.ppo.warmup_steps)
        return learns * loss + self.ppo.value_weight * value_loss

    def create_optimizer(self, model: Any = None) -> Any:
        """TRL's; the critic has a learning rate of its own."""
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        own = {id(parameter) for parameter in getattr(self.model, CRITIC).parameters()}
        for group in list(optimizer.param_groups):
            critic = [parameter for parameter in group["params"] if id(parameter) in own]
            if critic:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]
                optimizer.add_param_group({**group, "params": critic, "lr": self.ppo.critic_learning_rate})
        return optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """A checkpoint holds both as one; the finished folder the policy, and the critic in a folder of its own."""
        if output_dir is None or Path(output_dir) != Path(self.args.output_dir):
            super()._save(output_dir, state_dict)
            return
        policy = self.accelerator.unwrap_model(self.model)
        critic = getattr(policy, CRITIC)
        everything = policy.state_dict() if state_dict is None else state_dict
        mine = {name.removeprefix(f"{CRITIC}."): w for name, w in everything.items() if name.startswith(f"{CRITIC}.")}
        rest = {name: weights for name, weights in everything.items() if not name.startswith(f"{CRITIC}.")}
        if self.args.should_save:
            critic.save_pretrained(Path(output_dir) / CRITIC, state_dict=mine)
            self.processing_class.save_pretrained(Path(output_dir) / CRITIC)
        with critic_aside(policy):
            super()._save(output_dir, rest)


def values_of(critic: Any, row: dict[str, Tensor]) -> Tensor:
    """Of the states behind the tokens of a packed row, (1, N)."""
    return critic(**row, use_cache=False).logits[..., 0] / critic.config.value_scale + critic.config.value_offset


def value_errors(values_BT: Tensor, old_BT: Tensor, returns_BT: Tensor, clip: float) -> Tensor:
    """Half the squared error of a value, or of that kept within `clip` of the old one if it is larger. (B, T)."""
    kept_BT = old_BT + (values_BT - old_BT).clamp(-clip, clip)
    return 0.5 * torch.maximum((values_BT - returns_BT) ** 2, (kept_BT - returns_BT) ** 2)


def reads_alike(folder: str, tokenizer: Any) -> bool:
    """Whether a critic of this tokenizer can start from what is named: a folder that train_ppm.py has written."""
    if not (Path(folder) / "config.json").is_file() or not hasattr(AutoConfig.from_pretrained(folder), KEY):
        return False
    return AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()


def add_critic(policy: PreTrainedModel, tokenizer: Any, name: str | None, revision: str = "main") -> None:
    """Gives the policy a critic: from a process reward model, or if there is none from the policy itself, with values
    near 0. A score s from -1 to 1 stands for an outcome of (1 + s) / 2, which is the first value; near 0 a score is its
    logit / scale, and so is the value everywhere, since returns have no bounds. Raises ValueError for a model that
    reads other tokens.
    """
    source, attention = name or policy.config.name_or_path, policy.config._attn_implementation
    if name is None:
        critic = scalar_model(source, True, "float32", attention, revision)
        critic.config.value_scale, critic.config.value_offset = 1.0, 0.0
    else:
        if is_local(source) and not Path(source).exists():
            raise FileNotFoundError(f"--critic {source}: no such folder; recipes/train_ppm.py writes one")
        critic, own, step_format = load_ppm(source, "float32", attention)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"--critic {source}: its tokenizer is not the policy's, so it cannot say what each token is worth: "
                "give a model that was trained from this policy, or none"
            )
        critic.config.value_scale, critic.config.value_offset = 2 * step_format.scale, 0.5
    policy.add_module(CRITIC, critic)


@contextmanager
def critic_aside(policy: Any) -> Iterator[None]:
    """The policy as if it had no critic."""
    critic = policy._modules.pop(CRITIC)
    try:
        yield
    finally:
        policy._modules[CRITIC] = critic
