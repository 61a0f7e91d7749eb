"""Rows that a model of transformers continues together; the machinery of `data_prep.engines.TransformersEngine`."""

import inspect
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

MASK = 2**64 - 1
STOP_TAIL = 8  # tokens beyond the longest stop string in which its end is looked for


@dataclass(eq=False)
class Row:
    """One continuation under way: `ids` of the prompt, `new` tokens so far, its own stream of random numbers."""

    key: str
    ids: list[int]
    seed: int
    new: list[int] = field(default_factory=list)

    def uniform(self) -> float:
        """The random number for the next token, in [0, 1): a hash of seed and position alone."""
        z = (self.seed + (len(self.new) + 1) * 0x9E3779B97F4A7C15) & MASK  # https://prng.di.unimi.it/splitmix64.c
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
        return ((z ^ (z >> 31)) >> 11) / 2.0**53


class RoomyLayer(DynamicLayer):
    """Keys and values (rows, heads, tokens, size) in a buffer with room for more tokens.

    DynamicLayer copies everything for every token, a third of the time where the model is small.
    """

    keys: Tensor
    values: Tensor
    buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        length = used + key_states.shape[-2]
        if self.buffers is None or length > self.buffers[0].shape[-2]:
            rows, heads, _, size = key_states.shape
            room = length + max(64, length // 4)
            buffers = (
                key_states.new_empty(rows, heads, room, size),
                value_states.new_empty(rows, heads, room, value_states.shape[-1]),
            )
            if used:
                buffers[0][:, :, :used], buffers[1][:, :, :used] = self.keys, self.values
            self.buffers = buffers
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, used:length] = new
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)
        return self.keys, self.values

    def replace(self, keys: Tensor, values: Tensor) -> None:
        """Takes other keys and values in place of its own."""
        self.keys, self.values, self.buffers = keys, values, None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(beam_idx)
        self.buffers = None


class Batch:
    """Rows that are generated together, left-padded, and their cache of keys and values.

    `mask`: (rows, length of the cache) 1 where a row has a token. `logits`: (rows, vocabulary) for the next token.
    `tokens`: (rows,) that were drawn last.
    """

    def __init__(self, model: Any, tokenizer: Any, ends: set[int], size: int):
        self.model, self.tokenizer, self.ends, self.size = model, tokenizer, ends, size
        self.takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self.rows: list[Row] = []
        self.skip_special_tokens = True
        self.gone: set[int] = set()  # indices of finished rows, which stay until others take their place
        self.cache: DynamicCache | None = None
        self.mask: Tensor
        self.logits: Tensor
        self.tokens: Tensor

    @property
    def live(self) -> int:
        return len(self.rows) - len(self.gone)

    def fill(self, waiting: deque[Row]) -> None:
        """Removes finished rows and starts waiting ones, when an eighth of the batch has become free."""
        free = self.size - self.live if waiting else len(self.gone)
        if self.live and (free <= self.size // 8 or not self.separable()):
            return
        if self.gone:
            self.keep([i for i in range(len(self.rows)) if i not in self.gone])
        new = [waiting.popleft() for _ in range(min(self.size - len(self.rows), len(waiting)))]
        if new:
            self.join(new)

    def separable(self) -> bool:
        """Whether rows can be taken out of the cache and put into it: not from sliding windows or recurrent states."""
        return self.cache is None or all(isinstance(layer, RoomyLayer) for layer in self.cache.layers)

    def keep(self, indices: list[int]) -> None:
        """Takes out all other rows, and the columns that are padding in all that stay."""
        self.rows, self.gone = [self.rows[i] for i in indices], set()
        if not indices:
            self.cache = None
            return
        assert self.cache is not None
        mask = self.mask[indices]
        start = int(mask.any(0).int().argmax())
        self.mask, self.logits = mask[:, start:], self.logits[indices]
        for layer in self.cache.layers:
            layer.replace(layer.keys[indices, :, start:], layer.values[indices, :, start:])

    def join(self, new: list[Row]) -> None:
        """Runs the prompts of new rows, equal ones once, and puts them below the present ones."""
        prompts = {ids: i for i, ids in enumerate(dict.fromkeys(tuple(row.ids) for row in new))}
        own = [prompts[tuple(row.ids)] for row in new]  # for each row which of the prompts is its
        inputs = self.tokenizer.pad({"input_ids": [list(ids) for ids in prompts]}, return_tensors="pt")
        inputs = inputs.to(self.model.device)
        mask = inputs["attention_mask"]
        cache = DynamicCache(config=self.model.config)
        if all(type(layer) is DynamicLayer for layer in cache.layers):
            cache.layers = [RoomyLayer() for _ in cache.layers]
        logits = self.forward(inputs["input_ids"], mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        if len(prompts) < len(new):
            mask, logits = mask[own], logits[own]
            cache.reorder_cache(torch.tensor(own, device=self.model.device))
        if self.cache is None:
            self.rows, self.cache, self.mask, self.logits = new, cache, mask, logits
            return
        length = max(self.mask.shape[1], mask.shape[1])
        here, there = length - self.mask.shape[1], length - mask.shape[1]
        for old, other in zip(self.cache.layers, cache.layers, strict=True):
            old.replace(
                torch.cat([pad(old.keys, (0, 0, here, 0)), pad(other.keys, (0, 0, there, 0))]),
                torch.cat([pad(old.values, (0, 0, here, 0)), pad(other.values, (0, 0, there, 0))]),
            )
        self.mask = torch.cat([pad(self.mask, (here, 0)), pad(mask, (there, 0))])
        self.logits = torch.cat([self.logits, logits])
        self.rows = self.rows + new

    def forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Logits (rows, vocabulary), float32, of the token after `ids` (rows, tokens); the cache grows."""
        more: Mapping[str, Tensor] = {"position_ids": positions} if self.takes_positions else {}
        output = self.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **more
        )
        return output.logits[:, -1].float()

    def advance(self) -> None:
        """Runs the model on the tokens that were drawn last, if any row goes on after them."""
        if self.live:
            assert self.cache is not None
            positions = self.mask.sum(1, keepdim=True)
            self.mask = pad(self.mask, (0, 1), value=1)
            self.logits = self.forward(self.tokens[:, None], self.mask, positions, self.cache)

    def draw(self, temperature: float, top_p: float) -> None:
        """Draws the next token of every row."""
        if temperature > 0:
            uniform = torch.tensor([row.uniform() for row in self.rows], device=self.model.device)
            tokens = draw(self.logits / temperature, top_p, uniform)
        else:
            tokens = self.logits.argmax(-1)
        for i, (row, token) in enumerate(zip(self.rows, tokens.tolist(), strict=True)):
            if i not in self.gone:
                row.new.append(token)
        self.tokens = tokens

    def finished(self, max_new_tokens: int, stop: Sequence[str], include_stop: bool) -> list[tuple[Row, str, str]]:
        """The rows that have ended with their last token, text and reason."""
        found = []
        tail = max(map(len, stop), default=0) + STOP_TAIL
        # Policies whose markers are special tokens, as rStar-Math's, are stopped by these: then they have to be seen.
        self.skip_special_tokens = not set(stop) & set(self.tokenizer.all_special_tokens)
        for i, row in enumerate(self.rows):
            if i in self.gone:
                continue
            if row.new[-1] in self.ends:
                found.append((row, self.text(row.new[:-1]), "stop"))
            elif stop and any(string in self.text(row.new[-tail:]) for string in stop):
                text = self.text(row.new)
                where, minus_length = min((text.find(string), -len(string)) for string in stop if string in text)
                found.append((row, text[: where - minus_length if include_stop else where], "stop"))
            elif len(row.new) >= max_new_tokens:
                found.append((row, self.text(row.new), "length"))
            else:
                continue
            self.gone.add(i)
        return found

    def text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=self.skip_special_tokens)


def draw(logits: Tensor, top_p: float, uniform: Tensor) -> Tensor:
    """Tokens (rows,) from logits (rows, vocabulary) by inversion: the first whose cumulated chance exceeds `uniform`.

    Tokens are in the order of their chance; the nucleus are the most likely ones that together reach `top_p`
    (https://arxiv.org/abs/1904.09751).
    """
    chances, order = logits.softmax(-1).sort(stable=True, dim=-1, descending=True)
    cumulated = chances.cumsum(-1)
    if top_p < 1:
        outside = cumulated - chances >= top_p
        outside[:, 0] = False
        cumulated = chances.masked_fill(outside, 0.0).cumsum(-1)
    wanted = uniform.to(cumulated.dtype) * cumulated[:, -1]
    drawn = (cumulated > wanted[:, None]).int().argmax(-1)
    return order.gather(-1, drawn[:, None])[:, 0]
