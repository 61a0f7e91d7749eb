"""Policy gradients on TRL's `GRPOTrainer`: its rollouts, rewards, loss and logs, with other advantages.

https://huggingface.co/docs/trl/main/en/grpo_trainer. What is added: leave-one-out and REINFORCE++ advantages, credit
for steps from a process reward model, other prompts in the place of groups without a signal, and an update without
padding. With none of these a run is TRL's own, number by number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.trainer.utils import is_async_callable, use_adapter

from data_prep.answers import extract_answer
from data_prep.curation.quality import ends_in_loop
from data_prep.mcts.scoring import StepScorer
from data_prep.mcts.steps import corrects_itself
from data_prep.responses import whole_characters
from rl.advantages import (
    Credit,
    gated,
    group_relative,
    leave_one_out,
    over_tokens,
    process_advantages,
    reinforce_plus_plus,
    step_rewards,
)
from rl.process import StepScores, score_steps, step_texts
from rl.records import write_rollouts
from rl.rewards import texts

Tensor = torch.Tensor
Advantage = Literal["grpo", "rloo", "reinforce++", "gae"]


@dataclass(frozen=True)
class ProcessCredit:
    """How steps are paid: by the scores of `scorer`, see `rl.advantages.step_rewards`.

    `weight`: of the steps beside the outcome. `gate`: they praise nothing in a solution that is not known to be right.
    `steps`: of a thought (`text`) or of code-augmented solutions (`code`).
    """

    scorer: StepScorer
    credit: Credit = "recovery"
    weight: float = 0.5
    gate: bool = True
    temperature: float = 0.1
    steps: Literal["text", "code"] = "text"


class RolloutTrainer(GRPOTrainer):
    """`advantage`: `grpo` as TRL has it, `rloo`, or `reinforce++` (and `gae`, see `rl.ppo`). `kl_in_reward`: `beta`
    weighs the KL to the first policy in the reward of every token, which `reinforce++` and `gae` know, and in no loss;
    else it is in the loss, as TRL has it.

    `process`: see there; the dataset has a column `problem` then. `max_replacements`: how often at most a generation
    is repeated, with other prompts, for groups whose rewards are all the same (DAPO, arXiv 2503.14476, section 3.2);
    all processes generate equally often. `padding_free`: log probabilities are computed without padding, for models
    whose attention keeps packed documents apart (see `rl.attention`). `rollouts_every`: least number of optimizer
    steps between generations whose rollouts are kept in the output folder (see `rl.records`); 0: none are.
    """

    def __init__(
        self, *args: Any, advantage: Advantage = "grpo", kl_in_reward: bool = False,
        process: ProcessCredit | None = None, max_replacements: int = 0, padding_free: bool = False,
        rollouts_every: int = 0, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(*args, **kwargs)
        self.advantage, self.process = advantage, process
        self.max_replacements, self.padding_free = max_replacements, padding_free
        self.rollouts_every, self._next_record = rollouts_every, 0
        self.kl_in_reward = 0.0
        if kl_in_reward:
            self.kl_in_reward, self.beta = self.args.beta, 0.0
        self._rewards_RF = torch.empty(0)  # of the last generation, of all processes
        self._steps: StepScores | None = None  # of this process
        self._failures: list[str] = []
        self.reward_funcs: list[Any] = [
            reward if isinstance(reward, torch.nn.Module) or is_async_callable(reward) else self._guarded(reward, name)
            for reward, name in zip(list(self.reward_funcs), self.reward_func_names, strict=True)
        ]

    # ------------------------------------------------------------------------------------------------- the rollouts

    def _guarded(self, reward: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The reward function. What it raises is kept until all processes know: the others would wait for ever."""

        def guarded(**columns: Any) -> Any:
            try:
                return reward(**columns)
            except Exception as error:
                self._failures.append(f"{name}: {type(error).__name__}: {error}")
                return [None] * len(columns["completions"])

        return guarded

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Sequence[Sequence[int]]
    ) -> Tensor:
        """TRL's, (R, functions), of all processes; kept for the advantages, with the scores of the steps beside them.

        Raises ValueError on all processes for what a reward function or the scorer raises on one.
        """
        if self.process is not None and self.model.training:
            try:
                self._steps = score_steps(
                    self.process.scorer, self._tokenizer, [row["problem"] for row in inputs], completion_ids_list,
                    self.process.steps,
                )  # fmt: skip
            except Exception as error:
                self._failures.append(f"process reward: {type(error).__name__}: {error}")
        found = [(float(corrects_itself(text)), float(ends_in_loop(text) is not None)) for text in texts(completions)]
        of_texts_R2 = self.accelerator.gather(torch.tensor(found, device=self.accelerator.device))
        mode = "train" if self.model.training else "eval"
        for name, share in zip(("text/self_correction", "text/loops"), of_texts_R2.mean(0).tolist(), strict=True):
            self._metrics[mode][name].append(share)
        self._rewards_RF = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if failures := gather_object(self._failures):
            self._stop(f"no reward, {failures[0]}")
        return self._rewards_RF

    def _stop(self, reason: str) -> None:
        """Saves the state, which is that between two optimizer steps, and raises ValueError; on all processes."""
        step = self.state.global_step
        if step > 0 and self.is_in_train:
            self._save_checkpoint(self.model, None)
            reason += f"; checkpoint-{step} is whole: the same command goes on from there"
        raise ValueError(reason)

    def _generate(self, prompts: Any) -> Any:
        """TRL's; where a server or the sandbox is gone the run stops with a checkpoint.

        Of several processes the others cannot know: the launcher ends them, and the last regular checkpoint stands.
        """
        try:
            return super()._generate(prompts)
        except OSError as error:
            if self.accelerator.num_processes > 1:
                raise
            self._stop(f"no rollouts, {type(error).__name__}: {error}")

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        found = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return found
        found, inputs = self._replace_groups(inputs, found)
        if self.advantage != "grpo" or self.process is not None:
            found["advantages"] = self._advantages(found)
        if self.rollouts_every and self.state.global_step >= self._next_record:
            self._next_record = self.state.global_step + self.rollouts_every
            self._record(inputs, found)
        return found

    def _replace_groups(self, inputs: Any, found: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Rollouts of groups whose rewards are all the same give way to those of other prompts, where these differ.

        Also returns the rows of the data set that the rollouts belong to.
        """
        group = self.num_generations
        rewards_R = self._total_rewards()
        dead_N = no_signal(rewards_R, group)
        self._log("replaced/groups_without_signal", dead_N.float().mean().item())
        n_rounds = 0
        while n_rounds < self.max_replacements and dead_N.any():
            n_rounds += 1
            old_rewards_RF, old_steps = self._rewards_RF, self._steps
            # By the place in the run, which a resumed one shares with the one that was begun.
            place = (self.args.seed, self.state.global_step, self._step % self.args.gradient_accumulation_steps)
            chance = torch.Generator().manual_seed(hash((*place, n_rounds)) % 2**63)
            drawn_N = torch.randint(len(self.train_dataset), (len(dead_N),), generator=chance)
            first = self.accelerator.process_index * len(inputs)
            others = [self.train_dataset[int(drawn_N[(first + i) // group])] for i in range(len(inputs))]
            fresh = super()._generate_and_score_completions(others)
            take_N = dead_N & ~no_signal(self._total_rewards(), group)
            take_R = take_N.repeat_interleave(group)
            take_B = take_R[first : first + len(inputs)]
            self._rewards_RF = torch.where(take_R[:, None], self._rewards_RF, old_rewards_RF)
            if self._steps is not None and old_steps is not None:
                self._steps = StepScores(*(_rows(a, b, take_B, 0) for a, b in zip(old_steps, self._steps, strict=True)))
            found = self._merged(found, fresh, take_B)
            inputs = [new if take else old for old, new, take in zip(inputs, others, take_B.tolist(), strict=True)]
            dead_N = dead_N & ~take_N
        self._log("replaced/rounds", n_rounds)
        self._log("replaced/still_without_signal", dead_N.float().mean().item())
        return found, inputs

    def _merged(self, old: dict[str, Any], new: dict[str, Any], take_B: Tensor) -> dict[str, Any]:
        """The rows of `new` where `take_B`, else of `old`; padded to the wider one. Prompts are padded on the left.

        `_rewards_RF` is that of the merged rollouts already: a scale of the whole batch depends on all of them.
        """
        found: dict[str, Any] = {}
        for name, value in old.items():
            if name == "num_items_in_batch":
                continue
            if not isinstance(value, torch.Tensor) or value.ndim == 0:
                raise ValueError(f"groups cannot be replaced where rollouts have {name}: give --max_replacements 0")
            pad = self._tokenizer.pad_token_id if name in ("prompt_ids", "completion_ids") else 0
            found[name] = _rows(value, new[name], take_B, pad, left=name.startswith("prompt"))
        mask_BT = loss_mask(found)
        found["num_items_in_batch"] = self.accelerator.gather(mask_BT.sum()).sum()
        if self.scale_rewards == "batch":
            found["advantages"] = self._own(group_relative(self._total_rewards(), self.num_generations, "batch"))
        return found

    # ----------------------------------------------------------------------------------------------- the advantages

    def _advantages(self, found: dict[str, Any]) -> Tensor:
        """Of this process's rollouts, (B, T) or (B, 1)."""
        rewards_R = self._total_rewards()
        if self.advantage == "grpo":
            advantages_BT = found["advantages"][:, None]
        elif self.advantage == "rloo":
            advantages_BT = self._own(leave_one_out(rewards_R, self.num_generations))[:, None]
        else:
            mask_BT = loss_mask(found).bool()
            kl_BT = self._kl(found, mask_BT)
            advantages_RT = reinforce_plus_plus(
                rewards_R, self._gathered(kl_BT), self._gathered(mask_BT), self.kl_in_reward
            )
            advantages_BT = self._own(advantages_RT)[:, : kl_BT.shape[1]]
        if self.process is None or self._steps is None:
            return advantages_BT
        paid_RS, mask_RS = self._paid_steps()
        process_RS = process_advantages(paid_RS, mask_RS, self.num_generations)
        if self.process.gate:
            process_RS = gated(process_RS, self._right())
        process_RS = process_RS.masked_fill(rewards_R.isnan()[:, None], 0.0)  # nothing can be said of them
        own_BS = self._own(process_RS)[:, : self._steps.ends_BS.shape[1]]
        ends_BS, mask_BS = (part.to(advantages_BT.device) for part in (self._steps.ends_BS, self._steps.mask_BS))
        n_tokens = found["completion_ids"].shape[1]
        return advantages_BT + self.process.weight * over_tokens(own_BS, ends_BS, mask_BS, n_tokens)

    def _paid_steps(self) -> tuple[Tensor, Tensor]:
        """What the steps of all processes earn, (R, S), and where there are steps. Logs what is to be watched."""
        assert self.process is not None
        assert self._steps is not None
        device = self._rewards_RF.device
        scores_RS, mask_RS = (self._gathered(part.to(device)) for part in (self._steps.scores_BS, self._steps.mask_BS))
        paid_RS = step_rewards(scores_RS, mask_RS, self.process.credit, self.process.temperature)
        self._watch(scores_RS, mask_RS, paid_RS, self._right())
        return paid_RS, mask_RS

    def _kl(self, found: dict[str, Any], mask_BT: Tensor) -> Tensor:
        """log p - log p of the first policy of the tokens that were sampled, (B, T); 0 without a KL penalty."""
        if self.kl_in_reward == 0.0:
            return torch.zeros_like(mask_BT, dtype=torch.float32)
        ids = torch.cat([found["prompt_ids"], found["completion_ids"]], dim=1)
        mask = torch.cat([found["prompt_mask"], found["completion_mask"]], dim=1)
        n = found["completion_ids"].shape[1]
        batch = self.args.per_device_train_batch_size
        with torch.no_grad():
            own_BT = found.get("old_per_token_logps")
            if own_BT is None:
                own_BT, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, n, batch)
            if self.ref_model is not None:
                first_BT, _, _ = self._get_per_token_logps_and_entropies(self.ref_model, ids, mask, n, batch)
            else:  # LoRA: the first policy is the model without its adapter
                model = self.accelerator.unwrap_model(self.model)
                with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
                    first_BT, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, n, batch)
        kl_BT = (own_BT - first_BT).float().where(mask_BT, 0.0)
        sums = self.accelerator.gather(torch.stack([kl_BT.sum(), mask_BT.sum()])[None]).sum(0)
        self._log("kl_in_reward", (sums[0] / sums[1].clamp(min=1)).item())
        return kl_BT

    # ------------------------------------------------------------------------------------------- update without padding

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int,
        batch_size: int | None = None, compute_entropy: bool = False, compute_aux_loss: bool = False, **images: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """TRL's, without padding where that is asked for: sequences in one row, kept apart by their positions."""
        if not self.padding_free or any(value is not None for value in images.values()):
            return super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **images,
            )
        batch_size = batch_size or len(input_ids)
        logps, entropies, losses = [], [], []
        for start in range(0, len(input_ids), batch_size):
            ids_BT, there_BT = input_ids[start : start + batch_size], attention_mask[start : start + batch_size].bool()
            positions_BT = (there_BT.cumsum(1) - 1).clamp(min=0)
            scored_BT = there_BT.clone()
            scored_BT[:, :-logits_to_keep] = False
            scored_BT &= positions_BT > 0
            options = {"output_router_logits": True} if compute_aux_loss else {}
            with self.accelerator.autocast():
                out = model(
                    input_ids=ids_BT[there_BT][None], position_ids=positions_BT[there_BT][None],
                    labels=ids_BT.masked_fill(~scored_BT, -100)[there_BT][None], fused_lm_head=True, **options,
                )  # fmt: skip
            logps.append(unpacked(out.log_probs, scored_BT, there_BT)[:, -logits_to_keep:])
            if compute_entropy:
                entropies.append(unpacked(out.entropy, scored_BT, there_BT)[:, -logits_to_keep:])
            if compute_aux_loss:
                losses.append(out.aux_loss)
        return (
            torch.cat(logps), torch.cat(entropies) if compute_entropy else None,
            torch.stack(losses).mean() if compute_aux_loss else None,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------------- the sights

    def _watch(self, scores_RS: Tensor, mask_RS: Tensor, paid_RS: Tensor, right_R: Tensor) -> None:
        """Logs what the process reward model thinks, and whether that has to do with what is right."""
        n_R = mask_RS.sum(1)
        last_R = scores_RS.gather(1, (n_R - 1).clamp(min=0)[:, None])[:, 0]
        self._log("process/score_last", last_R[n_R > 0].mean().item())
        self._log("process/reward", paid_RS.sum(1)[n_R > 0].mean().item())
        self._log("process/reward_std", paid_RS.sum(1)[n_R > 0].std().item())
        self._log("process/steps", n_R.float().mean().item())
        known_R = (n_R > 0) & ~right_R.isnan()
        self._log("process/correlation_with_outcome", correlation(last_R[known_R], right_R[known_R]))

    def _record(self, inputs: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> None:
        """Writes the rollouts of all processes, with what they earned."""
        mask_BT = found["completion_mask"].bool()
        pad = self._tokenizer.pad_token_id
        ids = [  # the mask of a rollout that was cut may be empty (--mask_truncated_completions); no end token is in it
            own[there].tolist() if there.any() else own[own != pad].tolist()
            for own, there in zip(found["completion_ids"], mask_BT, strict=True)
        ]
        rewards_BF = self._own(self._rewards_RF).tolist()
        advantages_BT = found["advantages"].view(len(ids), -1).expand_as(mask_BT)
        means_B = ((advantages_BT * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)).tolist()
        first = self.accelerator.process_index * len(ids)
        verdicts = {1.0: "right", 0.0: "wrong"}
        rows = []
        for i, (row, own) in enumerate(zip(inputs, ids, strict=True)):
            text = whole_characters(self._tokenizer.decode(own, skip_special_tokens=True))
            rewards = dict(zip(self.reward_func_names, rewards_BF[i], strict=True))
            n = int(self._steps.mask_BS[i].sum()) if self._steps is not None else 0
            ends = self._steps.ends_BS[i, :n].tolist() if self._steps is not None else []
            rows.append(
                {
                    "problem_id": row["problem_id"], "sample": (first + i) % self.num_generations, "response": text,
                    "model": f"{Path(self.args.output_dir).name} at step {self.state.global_step}",
                    "prompt_format": "chat template", "n_tokens": len(own), "seed": self.args.seed,
                    "finish_reason": "stop" if own and own[-1] in self.eos_token_ids else "length",
                    "extracted": extract_answer(text), "step": self.state.global_step, "problem": row["problem"],
                    "answer": row["answer"], "advantage": means_B[i], "steps": step_texts(self._tokenizer, own, ends),
                    "verdict": verdicts.get(rewards["outcome"]) if "outcome" in rewards else None,
                    "rewards": [(name, None if value != value else value) for name, value in rewards.items()],
                    "step_scores": self._steps.scores_BS[i, :n].tolist() if self._steps is not None else [],
                }
            )  # fmt: skip
        rows = gather_object(rows)
        if self.accelerator.is_main_process:
            write_rollouts(Path(self.args.output_dir), self.state.global_step, rows)

    # --------------------------------------------------------------------------------------------------------- helpers

    def _total_rewards(self) -> Tensor:
        """The weighted sum of the rewards, (R,), of all processes; NaN where no function has given one."""
        weights_F = self.reward_weights.to(self._rewards_RF.device)
        total_R = (self._rewards_RF * weights_F).nansum(1)
        return total_R.masked_fill(self._rewards_RF.isnan().all(1), torch.nan)

    def _right(self) -> Tensor:
        """1 right, 0 wrong, NaN unknown, (R,)."""
        if "outcome" not in self.reward_func_names:
            return torch.full_like(self._rewards_RF[:, 0], torch.nan)
        return self._rewards_RF[:, self.reward_func_names.index("outcome")]

    def _gathered(self, own: Tensor) -> Tensor:
        """Rows of all processes, padded to the widest with 0."""
        return self.accelerator.gather(self.accelerator.pad_across_processes(own, dim=1))

    def _own(self, everything: Tensor) -> Tensor:
        """The rows of this process."""
        n = len(everything) // self.accelerator.num_processes
        return everything[self.accelerator.process_index * n :][:n]

    def _log(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)


def no_signal(rewards_R: Tensor, group_size: int) -> Tensor:
    """Which groups have rewards that are all the same, or none, (N,)."""
    rewards_NG = rewards_R.view(-1, group_size)
    most_N = rewards_NG.nan_to_num(-torch.inf).amax(1)
    least_N = rewards_NG.nan_to_num(torch.inf).amin(1)
    return (most_N <= least_N) | torch.isclose(most_N, least_N)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's; NaN where one of both does not vary."""
    if len(a) < 2:
        return float("nan")
    return torch.corrcoef(torch.stack([a.float(), b.float()]))[0, 1].item()


def loss_mask(found: dict[str, Any]) -> Tensor:
    mask_BT = found["completion_mask"]
    return mask_BT * found["tool_mask"] if "tool_mask" in found else mask_BT


def _rows(old: Tensor, new: Tensor, take_B: Tensor, pad: float, left: bool = False) -> Tensor:
    if old.ndim > 1:
        width = max(old.shape[1], new.shape[1])
        sides = [(width - one.shape[1], 0) if left else (0, width - one.shape[1]) for one in (old, new)]
        old, new = (F.pad(one, side, value=pad) for one, side in zip((old, new), sides, strict=True))
    return torch.where(take_B.to(old.device).view(-1, *[1] * (old.ndim - 1)), new, old)


def unpacked(values_1N: Tensor, scored_BT: Tensor, there_BT: Tensor) -> Tensor:
    """Values of the tokens behind the first one of a packed row, at their places; 0 elsewhere."""
    values_N = F.pad(values_1N[0], (1, 0))  # nothing is said of the row's first token
    return values_N.new_zeros(there_BT.shape).masked_scatter(there_BT, values_N) * scored_BT
