"""Scores steps with a process reward model: all steps of many solutions in one forward, each shared prefix once.

What has been read stays in a cache of keys and values, so that a search pays for new steps alone. Policy and scorer
meet in the texts of steps: their tokenizers need not be the same.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations import deepspeed

from data_prep.artefacts import hash_model
from data_prep.mcts.scoring import StepScorer
from data_prep.sources import is_local
from rl.ppm.attention import KeyCache, TreeLayout, no_mask
from rl.ppm.format import Encoder, StepFormat
from rl.ppm.model import load_ppm
from rl.ppm.public import load_public
from rl.ppm.server import RemoteScorer
from rl.ppm.trees import Ranges, forest

LOWEST = -1.0


class Head(torch.nn.Module):
    """The head of a token-classification model with one label: hidden states (N, H) to logits (N,), float32."""

    def __init__(self, linear: torch.nn.Linear):
        super().__init__()
        self.linear = linear.float()

    def forward(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        return self.linear(hidden_NH.float())[:, 0]


class Read:
    """A step (or the prompt) in the scorer's cache. `ids` until it is read, then `path`: where its keys and those
    before it lie, and `score`; `depth`: tokens up to its end.
    """

    __slots__ = ("children", "depth", "ids", "path", "score")

    def __init__(self, ids: list[int], depth: int):
        self.ids, self.depth = ids, depth
        self.path: Ranges = ()
        self.score: float | None = None
        self.children: dict[str, Read] = {}


class Scorer:
    """A `StepScorer` in this process.

    `body`: a transformers model without head, whose attention is "tree"; `head`: hidden states (N, H) to logits (N,).
    `batch_tokens`: tokens of a forward, about; `cache_tokens`: of steps that stay known. When the cache is full it is
    emptied, and what is asked for then is read again. A step beyond the model's positions gets the lowest score, and
    `counts` says how many there were.
    """

    def __init__(
        self,
        body: PreTrainedModel,
        head: torch.nn.Module,
        tokenizer: Any,
        step_format: StepFormat,
        *,
        batch_tokens: int = 8192,
        cache_tokens: int = 65536,
        name: str = "the scorer",
        model_hash: str = "",
    ):
        self.body, self.head, self.format = body.eval(), head.eval(), step_format
        self.encoder = Encoder(tokenizer, step_format)
        self.batch_tokens, self.cache_tokens = batch_tokens, cache_tokens
        self.name, self.hash = name, model_hash
        self.context = body.config.get_text_config().max_position_embeddings
        self.counts: Counter[str] = Counter()
        self.forget()

    def forget(self) -> None:
        """Empties the cache."""
        self.known: dict[str, Read] = {}  # the prompt of each problem
        self.cache = KeyCache()

    def score(self, problems: Sequence[str], paths: Sequence[Sequence[str]]) -> list[list[float]]:
        """See `StepScorer`. Raises ValueError for scores that are no numbers."""
        scores: list[list[float]] = []
        batch: list[tuple[str, Sequence[str]]] = []
        n_tokens = 0
        for problem, path in zip(problems, paths, strict=True):
            batch.append((problem, path))
            n_tokens += (len(problem) + sum(map(len, path))) // 3  # about
            if n_tokens >= self.batch_tokens:
                scores += self.score_batch(batch)
                batch, n_tokens = [], 0
        return scores + self.score_batch(batch)

    def score_batch(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """The scores of these paths, by one forward over what is new in them."""
        try:
            nodes, parents, above = self.unread(asked)
            n_tokens = sum(len(node.ids) for node in nodes)
            if self.cache.offset and self.cache.offset + n_tokens > self.cache_tokens:
                self.forget()
                nodes, parents, above = self.unread(asked)
            if nodes:
                self.read(nodes, parents, above)
        except BaseException:
            self.forget()  # what was not read to the end
            raise
        found = []
        for problem, path in asked:
            node, scores = self.known[problem], []
            for step in path:
                node = node.children[step]
                assert node.score is not None
                scores.append(node.score)
            found.append(scores)
        return found

    def unread(self, asked: Sequence[tuple[str, Sequence[str]]]) -> tuple[list[Read], list[int], dict[int, Read]]:
        """What is not known yet of these paths, depth first; the index of each one's parent, or -1; the parents that
        are known.
        """
        tops: list[tuple[Read | None, Read]] = []
        for problem, path in asked:
            if problem not in self.known:
                ids = self.encoder.prompt(problem)
                prompt = self.known[problem] = Read(ids, len(ids))
                if prompt.depth > self.context:
                    prompt.score = LOWEST
                else:
                    tops.append((None, prompt))
            node = self.known[problem]
            for i, step in enumerate(path):
                if step not in node.children:
                    ids = self.encoder.step(step, is_first=i == 0)
                    child = node.children[step] = Read(ids, node.depth + len(ids))
                    if child.depth > self.context:
                        child.score = LOWEST
                        self.counts["steps beyond the scorer's context"] += 1
                    elif node.score is not None:
                        tops.append((node, child))
                node = node.children[step]
        nodes: list[Read] = []
        parents: list[int] = []
        above: dict[int, Read] = {}
        for known, top in tops:
            if known is not None:
                above[len(nodes)] = known
            waiting = [(-1, top)]
            while waiting:
                parent, node = waiting.pop()
                waiting += [(len(nodes), child) for child in node.children.values() if child.score is None]
                nodes.append(node)
                parents.append(parent)
        return nodes, parents, above

    @torch.inference_mode()
    def read(self, nodes: Sequence[Read], parents: Sequence[int], above: Mapping[int, Read]) -> None:
        """Reads nodes and gives them their scores, by one forward."""
        known = {i: (node.path, node.depth) for i, node in above.items()}
        ids = [token for node in nodes for token in node.ids]
        row = forest(ids, [len(node.ids) for node in nodes], parents, self.cache.offset, known)
        scores: list[float] = []
        if ids:
            device = self.body.device
            hidden_TH = self.body(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([row.position], device=device),
                attention_mask=no_mask(device),
                tree=TreeLayout(row.runs, self.cache),
                use_cache=False,
            ).last_hidden_state[0]
            logits_N = self.head(hidden_TH[torch.tensor(row.end, device=device)])
            scores = torch.tanh(logits_N / self.format.scale).tolist()
            self.cache.offset += len(ids)
            self.counts["tokens read"] += len(ids)
            self.counts["forwards"] += 1
        for i, (node, path, parent) in enumerate(zip(nodes, row.path, parents, strict=True)):
            before = nodes[parent] if parent >= 0 else above.get(i)
            node.score = scores[i] if node.ids or before is None else before.score  # no tokens: as before the step
            node.path, node.ids = path, []
        if n_bad := sum(not math.isfinite(score) for score in scores):
            raise ValueError(
                f"{self.name}: {n_bad:,} of {len(scores):,} scores are no numbers: the weights are broken, or the "
                "precision is too low (try float32)"
            )


@contextmanager
def in_one_piece() -> Iterator[None]:
    """Models that are loaded here are whole on every process: under ZeRO-3 transformers would share their weights out,
    which nothing gathers for a model that is not trained.
    """
    reference = deepspeed._hf_deepspeed_config_weak_ref
    config = reference() if reference is not None else None
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if config is not None:
            deepspeed.set_hf_deepspeed_config(config)


def open_scorer(
    name: str, *, dtype: str = "auto", device: str | None = None, batch_tokens: int = 8192, cache_tokens: int = 65536
) -> StepScorer:
    """The scorer of this name: a folder that `train_ppm.py` has written, a public process reward model (a folder or a
    name on the Hub, see rl/ppm/public.py), or the URL of a scoring server (rl/ppm/server.py), where the options are its
    own and those given here have no effect.

    `dtype`: a torch dtype's name, or `auto` for the weights' own. Raises ValueError, OSError.
    """
    if name.startswith(("http://", "https://")):
        return RemoteScorer(name)
    if is_local(name) and not Path(name).exists():
        raise FileNotFoundError(f"{name}: no such folder (looked in {Path.cwd()}); recipes/train_ppm.py writes one")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = device or (accelerator.type if accelerator else "cpu")
    with in_one_piece():
        found = load_public(name, dtype, device)
        if found is None:
            model, tokenizer, step_format = load_ppm(name, dtype)
            model.to(device)
            found = model.base_model, Head(model.score), tokenizer, step_format
    return Scorer(
        *found, batch_tokens=batch_tokens, cache_tokens=cache_tokens, name=name,
        model_hash=hash_model(name, found[0].config),
    )  # fmt: skip
