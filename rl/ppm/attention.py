"""Attention over trees of steps that lie in one row (see rl/ppm/trees.py), on a CPU and on a GPU.

`attn_implementation="tree"` computes run by run: the queries of a run against the keys of what stands before it on its
path and its own, by `scaled_dot_product_attention`. Nothing that a query does not see is computed, and no mask of the
whole row is made. A forward without a tree is transformers' own `"sdpa"`.

On a GPU `"flex_attention"` takes the same trees as a block mask (`block_mask`), in one kernel.

Shape suffixes: H query heads, K key and value heads, T tokens of the row, Q tokens of a run, P tokens before it, D head
dimension.

References:
  https://huggingface.co/docs/transformers/attention_interface
  https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rl.ppm.trees import Forest, Run

TREE = "tree"


class KeyCache:
    """Keys and values of tokens read before, in slots: those of a row are put behind each other from `offset` on.

    `layers[i]`: keys and values, (K, slots, D) each, which grow as they are needed.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def put(self, layer: int, key_KTD: torch.Tensor, value_KTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes a row's keys and values and returns those of all slots."""
        end = self.offset + key_KTD.shape[1]
        keys, values = self.layers.get(layer, (key_KTD[:, :0], value_KTD[:, :0]))
        if end > keys.shape[1]:
            n_slots = max(end, 2 * keys.shape[1])
            keys, values = (
                torch.cat([x[:, : self.offset], x.new_empty(x.shape[0], n_slots - self.offset, x.shape[2])], dim=1)
                for x in (keys, values)
            )
            self.layers[layer] = keys, values
        keys[:, self.offset : end] = key_KTD
        values[:, self.offset : end] = value_KTD
        return keys, values


class TreeLayout:
    """What the layers are told of a row. A plain object, which wrappers (FSDP, DeepSpeed, checkpointing) pass on.

    With a `cache` the ranges of `runs` are slots of it, and the row's own tokens are those from `cache.offset` on.
    """

    def __init__(self, runs: Sequence[Run], cache: KeyCache | None = None):
        self.runs, self.cache = runs, cache

    def longest(self) -> int:
        """Tokens of the longest path."""
        return max(run.stop - run.start + sum(stop - start for start, stop in run.before) for run in self.runs)


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> torch.Tensor:
    """(Q, P + Q) bool: the queries are the last of the keys."""
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


def attend(
    query_HQD: torch.Tensor, keys_KTD: Sequence[torch.Tensor], values_KTD: Sequence[torch.Tensor], scale: float | None
) -> torch.Tensor:
    """Queries against keys and values given in pieces, the last of which are the queries' own. (H, Q, D)."""
    key = torch.cat(list(keys_KTD), dim=1) if len(keys_KTD) > 1 else keys_KTD[0]
    value = torch.cat(list(values_KTD), dim=1) if len(values_KTD) > 1 else values_KTD[0]
    n_queries, n_keys = query_HQD.shape[1], key.shape[1]
    if query_HQD.device.type != "cpu" and query_HQD.shape[0] != key.shape[0]:
        # Grouped heads in float32 would take the math kernel there, which builds (Q, P + Q) scores.
        n_rep = query_HQD.shape[0] // key.shape[0]
        key, value = key.repeat_interleave(n_rep, 0), value.repeat_interleave(n_rep, 0)
    alone = n_keys == n_queries
    return F.scaled_dot_product_attention(
        query_HQD[None], key[None], value[None], scale=scale, is_causal=alone,
        attn_mask=None if alone else causal_mask(n_queries, n_keys, query_HQD.device),
        enable_gqa=query_HQD.shape[0] != key.shape[0],
    )[0]  # fmt: skip


class RunByRun(torch.autograd.Function):
    """Attention of all runs of a row. In the backward pass each run is computed again: nothing is kept for it, and
    gradients of keys that many runs see are added up in place (autograd would make a row of zeros for every slice).
    """

    @staticmethod
    def forward(
        ctx: Any, query_HTD: torch.Tensor, key_KTD: torch.Tensor, value_KTD: torch.Tensor, runs: Sequence[Run],
        scale: float | None,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(query_HTD, key_KTD, value_KTD)
        ctx.runs, ctx.scale = runs, scale
        out_HTD = query_HTD.new_empty((*query_HTD.shape[:2], value_KTD.shape[2]))
        for run in runs:
            ranges = (*run.before, (run.start, run.stop))
            out_HTD[:, run.start : run.stop] = attend(
                query_HTD[:, run.start : run.stop], [key_KTD[:, a:b] for a, b in ranges],
                [value_KTD[:, a:b] for a, b in ranges], scale,
            )  # fmt: skip
        return out_HTD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_HTD,) = grads
        query_HTD, key_KTD, value_KTD = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.zeros_like(x) for x in (query_HTD, key_KTD, value_KTD))
        for run in ctx.runs:
            own = slice(run.start, run.stop)
            ranges = (*run.before, (run.start, run.stop))
            parts = [query_HTD[:, own]]
            for x in (key_KTD, value_KTD):
                parts.append(torch.cat([x[:, a:b] for a, b in ranges], dim=1))
            with torch.enable_grad():
                q, k, v = (part.detach().requires_grad_() for part in parts)
                out = attend(q, [k], [v], ctx.scale)
            dq, dk, dv = torch.autograd.grad(out, (q, k, v), grad_HTD[:, own])
            grad_q[:, own] = dq
            at = 0
            for a, b in ranges:
                grad_k[:, a:b] += dk[:, at : at + b - a]
                grad_v[:, a:b] += dv[:, at : at + b - a]
                at += b - a
        return grad_q, grad_k, grad_v, None, None


def tree_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    tree: TreeLayout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function of `"tree"`. Returns the output (B, T, H, D), and None for the attention weights.

    Raises ValueError for a row with what it cannot compute.
    """
    if tree is None:
        qkv = (query_BHTD, key_BKTD, value_BKTD)
        return sdpa_attention_forward(module, *qkv, attention_mask, dropout, scaling, is_causal, **kwargs)
    window = kwargs.get("sliding_window")
    unsupported = [name for name in ("softcap", "position_bias", "s_aux") if kwargs.get(name) is not None]
    unsupported += ["dropout"] if dropout else []
    unsupported += [f"a sliding window of {window}"] if window is not None and window < tree.longest() else []
    if unsupported:
        raise ValueError(f"trees of steps cannot be read by a model with {', '.join(unsupported)} in its attention")
    query, key, value = query_BHTD[0], key_BKTD[0], value_BKTD[0]
    # Autocast does not reach into a function of our own: what float32 norms or rotary embeddings returned is cast here.
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if tree.cache is None:
        out_HTD = RunByRun.apply(query, key, value, tree.runs, scaling)
    else:
        keys, values = tree.cache.put(int(module.layer_idx), key, value)  # type: ignore[arg-type]
        offset = tree.cache.offset
        out_HTD = torch.cat(
            [
                attend(
                    query[:, run.start - offset : run.stop - offset],
                    [keys[:, a:b] for a, b in (*run.before, (run.start, run.stop))],
                    [values[:, a:b] for a, b in (*run.before, (run.start, run.stop))],
                    scaling,
                )
                for run in tree.runs
            ],
            dim=1,
        )
    return out_HTD.transpose(0, 1)[None], None


AttentionInterface.register(TREE, tree_attention)
AttentionMaskInterface.register(TREE, sdpa_mask)


def no_mask(device: torch.device | str = "cpu") -> torch.Tensor:
    """A mask of four dimensions that says nothing: with one, transformers makes none of the whole row by itself."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def visible(row: Forest) -> torch.Tensor:
    """(T, T) bool: whether a query (first) sees a key. The definition, for tests and as a dense mask."""
    end_T = torch.tensor(row.subtree_end)
    token_T = torch.arange(len(row.ids))
    return (token_T[None] <= token_T[:, None]) & (token_T[:, None] < end_T[None])


def block_mask(subtree_end_T: torch.Tensor) -> BlockMask:
    """The same for `"flex_attention"`, where it takes the place of the attention mask."""

    def sees(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key <= query) & (query < subtree_end_T[key])

    n = len(subtree_end_T)
    return create_block_mask(sees, None, None, n, n, device=str(subtree_end_T.device))
