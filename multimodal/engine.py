"""Sampling continuations of prompts with figures from a vision-language model in this process.

`generate` of transformers does the work, batch by batch: where a token stands in a picture (Qwen's three coordinates)
is each model's own affair, which continuous batches of `data_prep.engines` would have to know. Random numbers are those
of that engine, so a continuation does not depend on its batch.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor, LogitsProcessor

from data_prep.artefacts import hash_model
from data_prep.batches import Row, draw
from data_prep.engines import Completion, Request, sample_seed
from data_prep.images import open_image, with_places
from data_prep.journal import Journal, completion_key
from data_prep.tokenization import end_of_turn_texts


def open_figure_engine(model: str, batch_size: int, dtype: str) -> tuple["FigureEngine", str, str]:
    """The engine, a hash of the model, and a name of what responses depend on, as `data_prep.responses.open_engine`."""
    engine = FigureEngine(model, dtype, batch_size=batch_size)
    model_hash = hash_model(model, engine.model.config)
    return engine, model_hash, f"{model_hash[-16:]}-{str(engine.model.dtype).removeprefix('torch.')}-{engine.device}"


class FigurePrompt(NamedTuple):
    """A rendered text with places for `images` (encoded); none: a text alone."""

    text: str
    images: tuple[bytes, ...] = ()

    @property
    def known_by(self) -> list[Any]:
        return [self.text, *(hashlib.sha256(image).hexdigest() for image in self.images)]


class Drawn(LogitsProcessor):
    """Makes the choice itself, with each row's own random numbers: only the token that is drawn stays possible."""

    def __init__(self, rows: Sequence[Row], temperature: float, top_p: float):
        self.rows, self.temperature, self.top_p = rows, temperature, top_p

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        uniform = torch.tensor([row.uniform() for row in self.rows], device=scores.device)
        tokens = draw(scores.float() / self.temperature, self.top_p, uniform)
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.new.append(token)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)  # type: ignore[return-value]


class FigureEngine:
    """`device`: by default the accelerator if there is one. `dtype`: a torch dtype's name, or `auto` for the weights'
    own. `batch_size`: rows generated together. Raises ValueError for a model that reads no images.
    """

    def __init__(self, model: str, dtype: str = "auto", device: str | None = None, batch_size: int = 32):
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.name, self.batch_size = model, batch_size
        self.device = device or (accelerator.type if accelerator else "cpu")
        self.processor = AutoProcessor.from_pretrained(model)
        if not hasattr(self.processor, "image_processor"):
            raise ValueError(f"{model}: reads no images, and the problems have some: give a vision-language model")
        self.tokenizer = self.processor.tokenizer
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype).to(self.device).eval()
        ends = self.model.generation_config.eos_token_id or []
        stops = self.tokenizer.convert_tokens_to_ids(end_of_turn_texts(self.tokenizer))
        self.ends = {*([ends] if isinstance(ends, int) else ends), *stops}
        place = getattr(self.model.config, "image_token_id", None)
        self.places = None if place is None else [place]  # no model draws: a place for an image is never written

    def chat_prompt(self, problem: str, system: str | None = None, images: Sequence[bytes] = ()) -> FigurePrompt:
        """What the model continues when it is asked this, shown these images."""
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": problem})
        text = self.processor.apply_chat_template(
            with_places(messages, len(images), problem[:80]), tokenize=False, add_generation_prompt=True
        )
        return FigurePrompt(text, tuple(images))

    def room(self, prompts: Sequence[FigurePrompt]) -> int:
        """Tokens that the model's positions leave beside the longest prompt."""
        positions = self.model.config.get_text_config().max_position_embeddings
        return max(1, positions - max(self._inputs([prompt])["input_ids"].shape[1] for prompt in prompts))

    def sample(
        self, prompts: Sequence[FigurePrompt], n: int = 1, *, max_new_tokens: int, temperature: float = 0.0,
        top_p: float = 1.0, seed: int = 0, journal: Journal | None = None,
    ) -> list[list[Completion]]:  # fmt: skip
        """`n` continuations of each prompt, in the prompts' order, as `TransformersEngine.sample`."""
        settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        requests = [Request((j, i), prompt, i) for j, prompt in enumerate(prompts) for i in range(n)]
        # Texts and figures in batches of their own; of similar length, so that little is padding.
        requests.sort(key=lambda request: (len(request.prompt.images), len(request.prompt.text)))
        done: dict[Any, Completion] = {}
        with tqdm(total=len(requests), desc="sampling", unit=" responses", disable=None) as bar:
            for request, completion, _ in self.stream(deque(requests), seed=seed, journal=journal, **settings):
                done[request.name] = completion
                bar.update()
        return [[done[j, i] for i in range(n)] for j in range(len(prompts))]

    def stream(
        self, requests: deque[Request], *, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0,
        seed: int = 0, journal: Journal | None = None,
    ) -> Iterator[tuple[Request, Completion, bool]]:  # fmt: skip
        """Takes requests from the left of the deque and yields each with its completion; see `TransformersEngine`."""
        settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        while requests:
            some: list[tuple[Request, Row]] = []
            while requests and len(some) < self.batch_size:
                request = requests.popleft()
                key = self._key(request.prompt, request.sample, seed, settings)
                if journal and (known := journal.get(key)):
                    yield request, known, True
                    continue
                if some and len(some[0][0].prompt.images) != len(request.prompt.images):
                    requests.appendleft(request)
                    break
                some.append((request, Row(key, [], sample_seed(seed, request.prompt.known_by, request.sample))))
            if some:
                found = self._generate([request.prompt for request, _ in some], [row for _, row in some], **settings)
                for (_, row), completion in zip(some, found, strict=True):
                    if journal:
                        journal.put(row.key, completion)
                for (request, _), completion in zip(some, found, strict=True):
                    yield request, completion, False

    @torch.inference_mode()
    def _generate(
        self, prompts: Sequence[FigurePrompt], rows: Sequence[Row], max_new_tokens: int, temperature: float,
        top_p: float,
    ) -> list[Completion]:  # fmt: skip
        inputs = self._inputs(prompts)
        positions = self.model.config.get_text_config().max_position_embeddings
        length = inputs["input_ids"].shape[1]
        if length + max_new_tokens > positions:
            raise ValueError(
                f"a prompt with figures and --max_new_tokens {max_new_tokens} make {length + max_new_tokens} tokens, "
                f"the model has {positions} positions: give at most {max(0, positions - length)}"
            )
        try:
            ids = self.model.generate(
                **inputs, max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=sorted(self.ends),
                pad_token_id=self.tokenizer.pad_token_id, suppress_tokens=self.places,
                logits_processor=[Drawn(rows, temperature, top_p)] if temperature > 0 else [],
            )[:, length:].tolist()  # fmt: skip
        except torch.OutOfMemoryError as error:
            raise ValueError(f"out of memory: give a smaller --batch_size than {self.batch_size}") from error
        found = []
        for own in ids:
            end = next((i for i, token in enumerate(own) if token in self.ends), None)
            kept = own[:end]
            n = len(own) if end is None else end + 1
            text = self.tokenizer.decode(kept, skip_special_tokens=True)
            found.append(Completion(text, n, "length" if end is None else "stop"))
        return found

    def _inputs(self, prompts: Sequence[FigurePrompt]) -> Any:
        images = [[open_image(image, prompt.text[:80]) for image in prompt.images] for prompt in prompts]
        return self.processor(
            text=[prompt.text for prompt in prompts], images=images if any(images) else None, padding=True,
            padding_side="left", return_tensors="pt", add_special_tokens=False,
        ).to(self.device, self.model.dtype)  # fmt: skip

    def _key(self, prompt: FigurePrompt, sample: int, seed: int, settings: Mapping[str, Any]) -> str:
        return completion_key(model=self.name, prompt=prompt.known_by, seed=seed, sample=sample, **settings)
