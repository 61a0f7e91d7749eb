"""Sampling continuations of prompts from a model in this process, with transformers. Servers: `data_prep.servers`."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from data_prep.journal import Journal, completion_key
from data_prep.tokenization import end_of_turn_texts


@dataclass(frozen=True)
class Completion:
    """A continuation of `n_tokens` tokens, an end token included.

    `finish_reason`: `stop` (an end token or a stop string) or `length` (cut at the limit).
    """

    text: str
    n_tokens: int
    finish_reason: str


class Request(NamedTuple):
    """Continuation `sample` of a prompt, for `stream`; `name` is whatever its sender knows it by."""

    name: Any
    prompt: Any
    sample: int


def sample_seed(seed: int, prompt: Any, sample: int) -> int:
    """The seed of one continuation, from 0 to 2^63: it does not depend on what else is asked for."""
    digest = hashlib.sha256(json.dumps([seed, prompt, sample]).encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


class TransformersEngine:
    """Continuous batches with a causal language model of transformers: a finished row makes room for the next prompt.

    `device`: by default the accelerator if there is one. `dtype`: a torch dtype's name, or `auto` for the weights' own.
    `batch_size`: rows under way at once.

    transformers' own continuous batching (`generate_batch`) has neither stop strings nor seeds per request, and took 26
    times as long for the small base on a CPU; its `generate` keeps finished rows until the last one is done.
    """

    def __init__(self, model: str, dtype: str = "auto", device: str | None = None, batch_size: int = 64):
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.name = model
        self.device = device or (accelerator.type if accelerator else "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        try:
            self.model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(self.device).eval()
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{model}: the weights cannot be loaded: {error}") from error
        self.batch_size = batch_size
        # A turn ends with any of these. The model's own generation settings (a repetition penalty, say) do not apply.
        ends = self.model.generation_config.eos_token_id or []
        stops = self.tokenizer.convert_tokens_to_ids(end_of_turn_texts(self.tokenizer))
        self.ends = {*([ends] if isinstance(ends, int) else ends), *stops}

    def chat_prompt(self, problem: str, system: str | None = None) -> str:
        """The text that the model continues when it is asked this."""
        messages = [{"role": "user", "content": problem}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def room(self, prompts: Sequence[str]) -> int:
        """Tokens that the model's positions leave beside the longest prompt."""
        longest = max(map(len, self.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]))
        return max(1, self.model.config.get_text_config().max_position_embeddings - longest)

    def sample(
        self,
        prompts: Sequence[str],
        n: int = 1,
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        seed: int = 0,
        journal: Journal | None = None,
    ) -> list[list[Completion]]:
        """`n` continuations of each prompt, in the prompts' order. Temperature 0 is greedy.

        A text ends before the first `stop` string, or behind it with `include_stop`. Long prompts go first, so that
        batches carry little padding. Each continuation has random numbers of its own, from `seed`, prompt and index: up
        to rounding it does not depend on the batch, and equal prompts share their continuations. Each is put into
        `journal` as it is finished, and those found there are not made again. Raises ValueError if a prompt and its
        continuation do not fit into the model's positions, or a batch into memory.
        """
        if not prompts:
            return []
        settings: dict[str, Any] = {
            "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "stop": list(stop),
            "include_stop": include_stop,
        }  # fmt: skip
        lengths = [len(ids) for ids in self.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]]
        self._check_fits(prompts[lengths.index(max(lengths))], max(lengths), max_new_tokens)
        keys = [[self._key(p, i, seed, settings) for i in range(n)] for p in prompts]
        missing: dict[str, Request] = {}
        done: dict[str, Completion] = {}
        for j in sorted(range(len(prompts)), key=lambda j: -lengths[j]):
            for i, key in enumerate(keys[j]):
                if journal and (known := journal.get(key)):
                    done[key] = known
                else:
                    missing[key] = Request(key, prompts[j], i)
        if missing:
            total = len(done) + len(missing)
            with tqdm(total=total, initial=len(done), desc="sampling", unit=" responses", disable=None) as bar:
                waiting = deque(missing.values())
                for request, completion, _ in self.stream(waiting, seed=seed, journal=journal, **settings):
                    done[request.name] = completion
                    bar.update()
        return [[done[key] for key in row_keys] for row_keys in keys]

    def stream(
        self,
        requests: deque[Request],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        seed: int = 0,
        journal: Journal | None = None,
    ) -> Iterator[tuple[Request, Completion, bool]]:
        """Takes requests from the left of the deque and yields each with its completion as soon as that is there.

        Whoever goes through them may append further requests meanwhile; it ends when none is left. The third value says
        whether the completion was in the journal; if all are, they come in the requests' order. The continuations are
        those of `sample`, whatever else is asked for. Raises ValueError as `sample` does.
        """
        import torch

        from data_prep.batches import Batch, Row

        settings = {
            "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "stop": list(stop),
            "include_stop": include_stop,
        }  # fmt: skip
        batch = Batch(self.model, self.tokenizer, self.ends, self.batch_size)
        waiting: deque[Row] = deque()
        sent: dict[int, Request] = {}  # id of a row under way -> its request
        while requests or waiting or batch.live:
            while requests and len(waiting) < self.batch_size:  # no more than is needed soon: the texts take memory
                request = requests.popleft()
                key = self._key(request.prompt, request.sample, seed, settings)
                if journal and (known := journal.get(key)):
                    yield request, known, True
                    continue
                ids = self.tokenizer(request.prompt, add_special_tokens=False)["input_ids"]
                self._check_fits(request.prompt, len(ids), max_new_tokens)
                waiting.append(Row(key, ids, sample_seed(seed, request.prompt, request.sample)))
                sent[id(waiting[-1])] = request
            try:
                with torch.inference_mode():
                    batch.advance()
                    batch.fill(waiting)
                    if batch.live:
                        batch.draw(temperature, top_p)
            except torch.OutOfMemoryError as error:
                raise ValueError(f"out of memory: give a smaller --batch_size than {self.batch_size}") from error
            finished = batch.finished(max_new_tokens, stop, include_stop) if batch.live else []
            completions = [(row, Completion(text, len(row.new), reason)) for row, text, reason in finished]
            for row, completion in completions:  # before any of them is looked at: that may take long, or be the end
                if journal:
                    journal.put(row.key, completion)
            for row, completion in completions:
                yield sent.pop(id(row)), completion, False

    def _key(self, prompt: str, sample: int, seed: int, settings: Mapping[str, Any]) -> str:
        return completion_key(model=self.name, prompt=prompt, seed=seed, sample=sample, **settings)

    def _check_fits(self, prompt: str, n_prompt: int, max_new_tokens: int) -> None:
        """Raises ValueError if a prompt of so many tokens and its continuation are longer than the model."""
        positions = self.model.config.get_text_config().max_position_embeddings
        if n_prompt >= positions:
            raise ValueError(f"a prompt has {n_prompt} tokens, the model {positions} positions: {prompt[:80]!r}...")
        if n_prompt + max_new_tokens > positions:
            raise ValueError(
                f"a prompt and --max_new_tokens {max_new_tokens} make {n_prompt + max_new_tokens} tokens, the model "
                f"has {positions} positions: give at most {positions - n_prompt}"
            )
