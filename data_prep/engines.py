"""Sampling continuations of prompts from a model: in process, with transformers."""

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

from data_prep.tokenization import end_of_turn_texts


@dataclass(frozen=True)
class Completion:
    """A continuation of `n_tokens` tokens. `finish_reason`: `stop` (an end token) or `length` (cut at the limit)."""

    text: str
    n_tokens: int
    finish_reason: str


class TransformersEngine:
    """Batched generation with a causal language model of transformers.

    `device`: by default the accelerator if there is one. `dtype`: a torch dtype's name, or `auto` for the weights' own.
    """

    def __init__(self, model: str, dtype: str = "auto", device: str | None = None, batch_size: int = 64):
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = device or (accelerator.type if accelerator else "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        try:
            self.model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(self.device).eval()
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{model}: the weights cannot be loaded: {error}") from error
        self.batch_size = batch_size

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
        seed: int = 0,
    ) -> list[list[Completion]]:
        """`n` continuations of each prompt, in the prompts' order. Temperature 0 is greedy.

        Prompts are sorted by length, so that batches carry little padding. The same call gives the same result on the
        same hardware. Raises ValueError if a prompt and its continuation do not fit into the model's positions.
        """
        import torch
        from transformers import GenerationConfig

        if not prompts:
            return []
        torch.manual_seed(seed)
        ids = self.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        jobs = sorted((i for i in range(len(prompts)) for _ in range(n)), key=lambda i: -len(ids[i]))
        results: list[list[Completion]] = [[] for _ in prompts]
        positions = self.model.config.get_text_config().max_position_embeddings
        if (longest := max(map(len, ids)) + max_new_tokens) > positions:
            raise ValueError(
                f"a prompt and --max_new_tokens {max_new_tokens} make {longest} tokens, the model has {positions} "
                f"positions: give at most {positions - longest + max_new_tokens}"
            )
        # A turn ends with any of these. The model's own generation settings (a repetition penalty, say) do not apply.
        ends = self.model.generation_config.eos_token_id or []
        stops = self.tokenizer.convert_tokens_to_ids(end_of_turn_texts(self.tokenizer))
        ends = {*([ends] if isinstance(ends, int) else ends), *stops}
        decoding = GenerationConfig(
            max_new_tokens=max_new_tokens, eos_token_id=sorted(ends), pad_token_id=self.tokenizer.pad_token_id
        )
        if temperature > 0:
            decoding.update(do_sample=True, temperature=temperature, top_p=top_p, top_k=0)
        self.model.generation_config = decoding
        with tqdm(total=len(jobs), desc="sampling", unit=" responses", disable=None) as bar, torch.inference_mode():
            for start in range(0, len(jobs), self.batch_size):
                batch = jobs[start : start + self.batch_size]
                inputs = self.tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt").to(self.device)
                output = self.model.generate(**inputs, generation_config=decoding)
                for i, row in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
                    stop = next((j for j, token in enumerate(row) if token in ends), None)
                    kept = row if stop is None else row[:stop]
                    text = self.tokenizer.decode(kept, skip_special_tokens=True)
                    reason = "length" if stop is None else "stop"
                    results[i].append(Completion(text, len(kept) + (stop is not None), reason))
                bar.update(len(batch))
        return results
