"""Advantages: pure functions from rewards and scores to what the policy gradient is weighted with.

Letters of shapes: R rollouts of one generation, on all processes, those of a prompt next to each other; G rollouts of a
group; B rollouts of one process; S steps of the longest one; T tokens of the longest completion. Masks are bool, true
where there is something; what they leave out is 0 in every result. Everything is float32 and has no gradient.
"""

from typing import Literal

import torch

Tensor = torch.Tensor
Scale = Literal["group", "batch", "none"]
Credit = Literal["min", "recovery", "delta", "sum"]

EPSILON = 1e-4  # beside a standard deviation; TRL's


# --------------------------------------------------------------------------------------------------------- outcomes


def group_relative(rewards_R: Tensor, group_size: int, scale: Scale = "group") -> Tensor:
    """GRPO (arXiv 2402.03300, section 4.1): the reward minus the group's mean, over its standard deviation. (R,).

    `scale`: of `group`, of the whole `batch`, or `none` (Dr. GRPO, arXiv 2503.20783). A reward that is NaN was not
    given: it takes no part, its advantage is 0. The deviation is that of a sample (n - 1), as in TRL.
    """
    rewards_NG = _groups(rewards_R, group_size)
    advantages_NG = rewards_NG - rewards_NG.nanmean(1, keepdim=True)
    if scale == "group":
        advantages_NG = advantages_NG / (_nanstd(rewards_NG) + EPSILON)
    elif scale == "batch":
        advantages_NG = advantages_NG / (_nanstd(rewards_NG.reshape(1, -1)) + EPSILON)
    return advantages_NG.nan_to_num(0.0).flatten()


def leave_one_out(rewards_R: Tensor, group_size: int) -> Tensor:
    """RLOO (arXiv 2402.14740): the reward minus the mean of the others of its group. (R,).

    NaN as in `group_relative`; where nobody else has a reward the advantage is 0.
    """
    rewards_NG = _groups(rewards_R, group_size)
    given_NG = ~rewards_NG.isnan()
    others_NG = given_NG.sum(1, keepdim=True) - 1
    mean_NG = (rewards_NG.nansum(1, keepdim=True) - rewards_NG) / others_NG.clamp(min=1)
    return (rewards_NG - mean_NG).where(given_NG & (others_NG > 0), 0.0).flatten()


def reinforce_plus_plus(rewards_R: Tensor, kl_RT: Tensor, mask_RT: Tensor, kl_coef: float) -> Tensor:
    """REINFORCE++ (arXiv 2501.03262): returns with a KL penalty at every token, normalised over the batch. (R, T).

    A token's return is the reward of the rollout minus `kl_coef` times the KL of this and all later tokens; then the
    mean of all tokens is taken off, and it is divided by their standard deviation. `kl_RT`: log p - log p_reference of
    the tokens that were sampled. Rollouts with NaN take no part and get 0.
    """
    given_R = ~rewards_R.isnan()
    mask_RT = mask_RT & given_R[:, None]
    returns_RT = rewards_R.nan_to_num(0.0)[:, None] - returns_to_go(kl_coef * kl_RT, mask_RT)
    return normalised(returns_RT, mask_RT)


def normalised(values_RT: Tensor, mask_RT: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over all places of the mask (0 everywhere if their values are all the same)."""
    some = values_RT[mask_RT]
    if some.numel() == 0:
        return torch.zeros_like(values_RT)
    deviation = some.std(correction=0)
    return ((values_RT - some.mean()) / (deviation + 1e-8)).where(mask_RT, 0.0)


# ------------------------------------------------------------------------------------------------- what comes later


def returns_to_go(rewards_RT: Tensor, mask_RT: Tensor, gamma: float = 1.0) -> Tensor:
    """The sum of this and all later rewards, those k places later times gamma^k. Places are next to each other: the
    mask leaves out only what stands behind the last one. (R, T).
    """
    rewards_RT = rewards_RT.where(mask_RT, 0.0)
    if gamma == 1.0:
        return rewards_RT.flip(1).cumsum(1).flip(1)
    returns_RT = rewards_RT.clone()
    for t in reversed(range(rewards_RT.shape[1] - 1)):
        returns_RT[:, t] += gamma * returns_RT[:, t + 1]
    return returns_RT


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimation (arXiv 1506.02438): sum of (gamma lam)^k delta_{t+k}, delta_t = r_t + gamma
    V_{t+1} - V_t. (B, T).

    `values_BT`: of the state in which the token is chosen. Behind the last token the value is 0; tokens that the mask
    leaves out in between (a program's output) take no time. The critic's target is `gae(...) + values_BT`, with a
    lambda of its own where actor and critic differ (VC-PPO, arXiv 2503.01491).
    """
    order_BT = (~mask_BT).int().argsort(dim=1, stable=True)  # tokens of the mask to the left
    rewards_BT, values_BT, mask_BT = (one.gather(1, order_BT) for one in (rewards_BT, values_BT, mask_BT))
    values_BT = values_BT.where(mask_BT, 0.0)
    next_BT = torch.cat([values_BT[:, 1:], torch.zeros_like(values_BT[:, :1])], dim=1)
    deltas_BT = (rewards_BT + gamma * next_BT - values_BT).where(mask_BT, 0.0)
    advantages_BT = returns_to_go(deltas_BT, mask_BT, gamma * lam).where(mask_BT, 0.0)
    return torch.zeros_like(advantages_BT).scatter(1, order_BT, advantages_BT)


# ---------------------------------------------------------------------------------------------------- process credit


def step_rewards(scores_RS: Tensor, mask_RS: Tensor, credit: Credit, temperature: float = 0.1) -> Tensor:
    """What each step earns, from the scores (-1 to 1) that a process reward model gives the steps. (R, S).

    - `min`: PURE's soft minimum (arXiv 2504.15275): the scores, weighted by softmax(-score / temperature) over the
      rollout's steps. They add up to about the lowest score, which the worst step bears. That step pays also if a later
      one puts it right.
    - `recovery`: the fall of the best level that is still to come, e_k = max(s_k, s_{k+1}, ...): step k earns
      e_k - e_{k-1}, with e_0 no lower than 0, which is where a solution begins. So a fall that lasts is charged once,
      to the step that brings it, and what is regained later costs nothing. Nothing earns more than 0: no steps can be
      added for gain. They add up to the last score minus the best one, or minus 0 if none is above.
    - `delta`: s_k - s_{k-1}, s_0 = 0: differences of a potential (Ng et al. 1999). They add up to the last score, but
      a step that falls pays for it and the one that regains it is paid.
    - `sum`: the scores. More steps earn more, which a policy soon finds out (PURE, section 3): for comparison only.
    """
    scores_RS = scores_RS.where(mask_RS, 0.0)
    if credit == "sum":
        return scores_RS
    if credit == "min":
        weights_RS = (-scores_RS / temperature).masked_fill(~mask_RS, -torch.inf).softmax(1).nan_to_num(0.0)
        return weights_RS * scores_RS
    levels_RS = scores_RS
    if credit == "recovery":
        levels_RS = scores_RS.masked_fill(~mask_RS, -torch.inf).flip(1).cummax(1).values.flip(1)
    start_R = torch.zeros_like(scores_RS[:, :1])
    if credit == "recovery":
        start_R = torch.maximum(start_R, levels_RS[:, :1])
    return (levels_RS - torch.cat([start_R, levels_RS[:, :-1]], dim=1)).where(mask_RS, 0.0)


def process_advantages(rewards_RS: Tensor, mask_RS: Tensor, group_size: int) -> Tensor:
    """What a step and those after it earn, against what the others of the group earn. (R, S).

    The baseline of a rollout is the mean total of the others, spread evenly over its own steps (PURE, section 4.2), so
    that what is left of it falls with what is left of the solution. Rollouts without steps take no part and get 0.
    """
    n_R = mask_RS.sum(1)
    totals_R = rewards_RS.where(mask_RS, 0.0).sum(1).masked_fill(n_R == 0, torch.nan)
    baseline_R = (totals_R - leave_one_out(totals_R, group_size)).nan_to_num(0.0)
    alone_R = _alone(totals_R, group_size)
    returns_RS = returns_to_go(rewards_RS - (baseline_R / n_R.clamp(min=1))[:, None], mask_RS)
    return returns_RS.where(mask_RS & ~alone_R[:, None], 0.0)


def gated(process_RS: Tensor, right_R: Tensor) -> Tensor:
    """Process advantages that praise nothing in a solution that is not known to be right: there they are 0 at most.

    `right_R`: 1 right, 0 wrong, NaN unknown. So a policy cannot live on the model's good opinion.
    """
    return process_RS.where((right_R == 1)[:, None], process_RS.clamp(max=0.0))


def over_tokens(steps_BS: Tensor, ends_BS: Tensor, mask_BS: Tensor, n_tokens: int) -> Tensor:
    """Each token gets its step's value, (B, n_tokens). `ends_BS`: place of a step's last token, in order; tokens behind
    the last step get 0.
    """
    ends_BS = ends_BS.masked_fill(~mask_BS, n_tokens)
    tokens_BT = torch.arange(n_tokens, device=ends_BS.device).expand(ends_BS.shape[0], -1).contiguous()
    step_BT = torch.searchsorted(ends_BS.contiguous(), tokens_BT)
    padded_BS = torch.cat([steps_BS.where(mask_BS, 0.0), torch.zeros_like(steps_BS[:, :1])], dim=1)
    return padded_BS.gather(1, step_BT)


# ------------------------------------------------------------------------------------------------------------ helpers


def _groups(rewards_R: Tensor, group_size: int) -> Tensor:
    if rewards_R.shape[0] % group_size:
        raise ValueError(f"{rewards_R.shape[0]} rollouts are no whole groups of {group_size}")
    return rewards_R.float().view(-1, group_size)


def _nanstd(values_NG: Tensor) -> Tensor:
    """Of each row, n - 1; 0 where there are fewer than two."""
    n_N1 = (~values_NG.isnan()).sum(1, keepdim=True)
    squares_NG = (values_NG - values_NG.nanmean(1, keepdim=True)) ** 2
    return (squares_NG.nansum(1, keepdim=True) / (n_N1 - 1).clamp(min=1)).sqrt()


def _alone(totals_R: Tensor, group_size: int) -> Tensor:
    given_NG = ~_groups(totals_R, group_size).isnan()
    return (given_NG.sum(1, keepdim=True) < 2).expand(-1, group_size).flatten()
