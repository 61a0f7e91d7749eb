"""Attention for packed rows: several documents in one row, none of which sees another.

TRL's packing and padding-free collation put documents one after the other into a single row (batch size 1), with
`position_ids` that start again at every document. This module registers `attn_implementation="packed"`:

- a packed row is computed document by document: by `torch.nn.attention.varlen` on a CUDA GPU in half precision, by one
  `scaled_dot_product_attention` call per document everywhere else;
- everything else (padded batches, generation, custom 4-D masks) is transformers' own `"sdpa"`, unchanged.

Where the documents lie is worked out once per forward, by the mask function, which hands `Documents` to the layers in
the place of a mask. `choose_attention` says which implementation a run should use.

Shape suffixes: B batch, H query heads, K key and value heads, T tokens, D head dimension, N documents.

References:
  https://huggingface.co/docs/transformers/attention_interface
  https://docs.pytorch.org/docs/stable/nn.attention.varlen.html
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function, sdpa_mask
from transformers.utils import is_flash_attn_2_available

PACKED = "packed"
# torch 2.10 has neither `scale` nor `window_size`, 2.11 has both, 2.12 adds `enable_gqa`.
_VARLEN_OPTIONS = frozenset(inspect.signature(varlen_attn).parameters)
_HAS_VARLEN = {"window_size", "scale"} <= _VARLEN_OPTIONS


class Documents:
    """Documents of one packed row: `cu_seq_lens` (N + 1,) int32, on the model's device; `lengths`: N ints.

    A plain object, which wrappers (FSDP, DeepSpeed, checkpointing) pass through as it is.
    """

    def __init__(self, cu_seq_lens: torch.Tensor):
        self.cu_seq_lens = cu_seq_lens.to(torch.int32)
        self.lengths: list[int] = self.cu_seq_lens.diff().tolist()  # the one wait for the device


def find_documents(mask_function: Callable, n_tokens: int, device: torch.device | str) -> Documents | None:
    """Documents of a row from its mask function, or None if that is not "causal within each document".

    `mask_function(batch, head, query, key)` says whether a query may see a key. In causal, sliding-window, chunked and
    packed masks, what a query sees is one interval, so it is enough to look at both ends of the interval that its
    document asks for and just outside of them: O(T) looks, and no (T, T) mask.
    """
    token_T = torch.arange(n_tokens, device=device)
    zero = torch.zeros((), dtype=torch.long, device=device)

    def sees(query_T: torch.Tensor, key_T: torch.Tensor) -> torch.Tensor:
        return mask_function(zero, zero, query_T, key_T)

    is_start_T = torch.ones(n_tokens, dtype=torch.bool, device=device)
    is_start_T[1:] = ~sees(token_T[1:], token_T[:-1])
    start_T = torch.where(is_start_T, token_T, 0).cummax(0).values
    sees_its_document = sees(token_T, token_T).all() & sees(token_T, start_T).all()
    sees_later = sees(token_T[:-1], token_T[1:]).any()
    sees_earlier = (sees(token_T, (start_T - 1).clamp(min=0)) & (start_T > 0)).any()
    if not sees_its_document & ~sees_later & ~sees_earlier:
        return None
    return Documents(torch.cat([is_start_T.nonzero().flatten(), token_T.new_tensor([n_tokens])]))


def packed_mask(
    *, batch_size: int, q_length: int, kv_length: int, mask_function: Callable = causal_mask_function, **kwargs: Any
) -> Documents | torch.Tensor | None:
    """Mask function of `"packed"`: `Documents` for a packed row, else what transformers' `sdpa_mask` gives.

    transformers puts packed documents into `mask_function` only if there are `position_ids`, no `attention_mask` and no
    cache. What documents alone do not describe (a sliding window shorter than a document, several packed rows) gets the
    dense mask (B, 1, T, T), which keeps documents apart as well.
    """
    may_be_packed = (
        batch_size == 1
        and q_length == kv_length
        and mask_function is not causal_mask_function
        and kwargs.get("attention_mask") is None
        and not kwargs.get("use_vmap")  # a mask function of the model's own, of whatever shape
        and not torch.compiler.is_compiling()
    )
    documents = find_documents(mask_function, q_length, kwargs.get("device", "cpu")) if may_be_packed else None
    return documents or sdpa_mask(batch_size, q_length, kv_length, mask_function=mask_function, **kwargs)


def packed_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    attention_mask: Documents | torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function of `"packed"`. Returns the output (B, T, H, D), and None for the attention weights.

    Raises ValueError for what it cannot compute, and where documents would see each other: packed `position_ids` or
    `cu_seq_lens_q` beside a cache or a mask that knows nothing of them.
    """
    if kwargs.get("s_aux") is not None:
        raise ValueError('attn_implementation="packed" has no attention sinks; use a flash-attention implementation.')
    documents = (
        attention_mask
        if isinstance(attention_mask, Documents)
        else _documents_beside_mask(module, query_BHTD, key_BKTD, attention_mask, is_causal, kwargs)
    )
    if documents is None:
        qkv = (query_BHTD, key_BKTD, value_BKTD)
        return sdpa_attention_forward(module, *qkv, attention_mask, dropout, scaling, is_causal, **kwargs)

    n_tokens, longest = sum(documents.lengths), max(documents.lengths)
    if query_BHTD.shape[0] != 1 or not n_tokens == query_BHTD.shape[2] == key_BKTD.shape[2]:
        raise ValueError(
            f"Packed documents of {n_tokens} tokens in all do not fit queries of {query_BHTD.shape[0]} x "
            f"{query_BHTD.shape[2]} tokens and keys of {key_BKTD.shape[2]}: packed documents are one row, without "
            "cached tokens and not split over processes."
        )
    unsupported = [name for name in ("softcap", "position_bias") if kwargs.get(name) is not None]
    if is_causal is False:
        unsupported.append("bidirectional attention")
    if sliding_window is not None and sliding_window < longest:
        unsupported.append(f"a sliding window ({sliding_window}) shorter than a document ({longest})")
    if unsupported:
        raise ValueError(f'attn_implementation="packed" does not support {", ".join(unsupported)} in packed rows.')

    if _varlen_can_run(query_BHTD, value_BKTD, dropout):
        return _varlen(query_BHTD, key_BKTD, value_BKTD, documents, scaling), None
    return _sdpa_by_document(query_BHTD, key_BKTD, value_BKTD, documents, dropout, scaling), None


def _documents_beside_mask(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    mask_B1TT: torch.Tensor | None,
    is_causal: bool | None,
    kwargs: dict[str, Any],
) -> Documents | None:
    """Documents that the mask function was not told of, from TRL's `cu_seq_lens_q`; ValueError where that is unsafe."""
    if torch.compiler.is_compiling():
        return None
    cu_seq_lens, position_ids = kwargs.get("cu_seq_lens_q"), kwargs.get("position_ids")
    if cu_seq_lens is not None and cu_seq_lens.numel() > 2:
        if mask_B1TT is None:
            return Documents(cu_seq_lens)  # there is a cache, so transformers did not look at the position ids
        start_N = cu_seq_lens[1:-1].to(mask_B1TT.device, torch.long)
        if mask_B1TT.dtype != torch.bool or mask_B1TT[..., start_N, start_N - 1].any():
            raise ValueError(
                "`cu_seq_lens_q` says that the row is packed, but the attention mask lets documents see each other: "
                "pass `position_ids`, no `attention_mask`, and `use_cache=False`."
            )
    elif (
        mask_B1TT is None
        and is_causal is not False
        and position_ids is not None
        and position_ids.ndim == 2  # not the positions in space of vision-language models, which may repeat
        and 1 < query_BHTD.shape[2] == key_BKTD.shape[2]
        and getattr(module, "layer_idx", 0) == 0  # once per forward: it waits for the device
        and (position_ids.diff(dim=-1) <= 0).any()
    ):
        raise ValueError(
            "`position_ids` start again within a row, so it is packed, but with a cache or an `attention_mask` its "
            "documents would see each other: pass `use_cache=False` and no `attention_mask`, or `cu_seq_lens_q`."
        )
    return None


def _compute_dtype(tensor: torch.Tensor) -> torch.dtype:
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def _varlen_can_run(query_BHTD: torch.Tensor, value_BKTD: torch.Tensor, dropout: float) -> bool:
    head_dim = query_BHTD.shape[-1]
    return (
        _HAS_VARLEN
        and query_BHTD.is_cuda
        and torch.cuda.get_device_capability(query_BHTD.device) >= (8, 0)
        and _compute_dtype(query_BHTD) in (torch.float16, torch.bfloat16)
        and head_dim == value_BKTD.shape[-1]
        and head_dim % 8 == 0
        and head_dim <= 256
        and dropout == 0.0
    )


def _varlen(
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    documents: Documents,
    scale: float | None,
) -> torch.Tensor:
    options: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in _VARLEN_OPTIONS else {}
    if not options:
        n_rep = query_BHTD.shape[1] // key_BKTD.shape[1]
        key_BKTD, value_BKTD = repeat_kv(key_BKTD, n_rep), repeat_kv(value_BKTD, n_rep)
    # Autocast does not know this operator: what a float32 norm or rotary embedding returned is cast here.
    dtype = _compute_dtype(query_BHTD)
    q_THD, k_TKD, v_TKD = (x[0].transpose(0, 1).to(dtype) for x in (query_BHTD, key_BKTD, value_BKTD))
    cu_seq_lens, longest = documents.cu_seq_lens.to(query_BHTD.device), max(documents.lengths)
    causal = (-1, 0)  # any number of keys to the left, none to the right
    out_THD = varlen_attn(
        q_THD, k_TKD, v_TKD, cu_seq_lens, cu_seq_lens, longest, longest, scale=scale, window_size=causal, **options
    )
    assert isinstance(out_THD, torch.Tensor)  # not (output, log-sum-exp), which nothing here asks for
    return out_THD[None]


def _sdpa_by_document(
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    documents: Documents,
    dropout: float,
    scale: float | None,
) -> torch.Tensor:
    """One causal call per document; without a mask, the CPU has a flash kernel for it that knows grouped heads.

    `split`, not slices: the backward of a slice fills a tensor of the whole row, so N slices would cost N rows.
    """
    n_rep = query_BHTD.shape[1] // key_BKTD.shape[1]
    if n_rep > 1 and query_BHTD.device.type != "cpu":
        # Grouped heads in float32 would take the math kernel there, which builds (T, T) scores.
        key_BKTD, value_BKTD, n_rep = repeat_kv(key_BKTD, n_rep), repeat_kv(value_BKTD, n_rep), 1
    parts = zip(*(x.split(documents.lengths, dim=2) for x in (query_BHTD, key_BKTD, value_BKTD)), strict=True)
    outs_1HTD = [
        F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scale, enable_gqa=n_rep > 1)
        for q, k, v in parts
    ]
    return torch.cat([out.transpose(1, 2) for out in outs_1HTD], dim=1)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, packed_mask)


class AttentionChoice(NamedTuple):
    """`name` is for `attn_implementation`, `reason` one line for people."""

    name: str
    reason: str


def choose_attention(requested: str | None, packing: bool, half_on_gpu: bool = True) -> AttentionChoice:
    """The attention implementation for a run, with the reason.

    `half_on_gpu`: whether the run computes on a GPU in 16 bits, which flash attention needs.

    A requested one is honoured. With packing it must keep documents apart: flash attention does by `cu_seq_lens`, this
    module's `"packed"` by document; `"sdpa"`, `"eager"` and `"flex_attention"` by a block-diagonal mask, which
    transformers builds from `position_ids` if there is no cache (TRL's SFTTrainer sees to that).

    Raises ValueError if documents are packed and the requested implementation has no mask function: transformers then
    passes no mask at all, and documents see each other.
    """
    if requested is not None:
        if not packing or requested == PACKED or "flash" in requested or "/" in requested:  # "/": a kernel of the Hub
            return AttentionChoice(requested, "as requested")
        if requested not in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys():
            raise ValueError(
                f"attn_implementation={requested!r} has no mask function, so packed documents would see each other: "
                f'leave it unset, use "{PACKED}" or "flash_attention_2", or turn packing off.'
            )
        return AttentionChoice(requested, f'as requested; masks the whole packed row, which "{PACKED}" does not')
    if not packing:
        return AttentionChoice("sdpa", "nothing is packed")
    if half_on_gpu and is_flash_attn_2_available():
        return AttentionChoice("flash_attention_2", "documents are packed and flash-attn is installed")
    if half_on_gpu and torch.cuda.is_available() and _HAS_VARLEN:
        return AttentionChoice(PACKED, "documents are packed; no flash-attn, so torch's variable-length attention")
    return AttentionChoice(PACKED, "documents are packed; scaled dot product attention, one document at a time")
