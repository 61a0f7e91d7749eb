"""`data_prep.engines`: sampling with a tiny random model; batches, order and padding change nothing."""

from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from data_prep.engines import TransformersEngine
from tests.data_prep.conftest import build

PROMPTS = ["1", "What is 3+4?", "12", "Ann has 5 more coins than Bob. " * 4, "x", "What is 3+4?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights whose logits lie far apart, so that no rounding error decides anything."""
    path = tmp_path_factory.mktemp("model")
    tokenizer = build()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=512, initializer_range=0.5,
        tie_word_embeddings=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(str(folder), dtype="float32", device="cpu", batch_size=3)


def test_greedy_does_not_depend_on_batches_or_order(engine, folder):
    alone = [engine.sample([prompt], max_new_tokens=12)[0] for prompt in PROMPTS]
    for batch_size in (1, 2, 3, 64):
        engine.batch_size = batch_size
        assert engine.sample(PROMPTS, max_new_tokens=12) == alone
    engine.batch_size = 3
    assert engine.sample(PROMPTS[::-1], max_new_tokens=12) == alone[::-1]
    assert alone[1] == alone[5]
    assert len({completions[0].text for completions in alone}) > 3


def test_greedy_is_what_the_model_says_token_by_token(engine):
    """The oracle: one prompt, no padding, no cache."""
    for prompt, (completion,) in zip(PROMPTS, engine.sample(PROMPTS, max_new_tokens=6), strict=True):
        ids = engine.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        new: list[int] = []
        with torch.inference_mode():
            while len(new) < 6 and not (
                new and new[-1] in (engine.tokenizer.eos_token_id, engine.tokenizer.pad_token_id)
            ):
                new.append(int(engine.model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax()))
        assert completion.n_tokens == len(new)
        assert completion.text == engine.tokenizer.decode(new, skip_special_tokens=True)


def test_samples_and_seeds(engine):
    def texts(seed: int, **more) -> list[list[str]]:
        result = engine.sample(PROMPTS[:3], n=4, max_new_tokens=8, temperature=1.5, seed=seed, **more)
        return [[completion.text for completion in completions] for completions in result]

    assert texts(1) == texts(1) != texts(2)
    assert [len(completions) for completions in texts(1)] == [4, 4, 4]
    assert all(len(set(completions)) > 1 for completions in texts(1))
    assert texts(1, top_p=1e-6) == [[c.text] * 4 for (c,) in engine.sample(PROMPTS[:3], max_new_tokens=8)]
    greedy = engine.sample(PROMPTS[:2], n=3, max_new_tokens=8)
    assert all(len(completions) == 3 and len({c.text for c in completions}) == 1 for completions in greedy)


def test_stop_and_length(folder):
    """A head that always says one token: the end, or another one."""
    engine = TransformersEngine(str(folder), dtype="float32", device="cpu")
    for end in (engine.tokenizer.eos_token_id, engine.tokenizer.pad_token_id):
        say(engine.model, end)
        (completion,), (other,) = engine.sample(["1", "12 34"], max_new_tokens=5)
        assert completion == other
        assert (completion.text, completion.n_tokens, completion.finish_reason) == ("", 1, "stop")
    seven = engine.tokenizer.convert_tokens_to_ids("7")
    say(engine.model, seven)
    ((completion,),) = engine.sample(["1"], max_new_tokens=5)
    assert (completion.text, completion.n_tokens, completion.finish_reason) == ("77777", 5, "length")
    say(engine.model, engine.tokenizer.convert_tokens_to_ids("</think>"))
    assert engine.sample(["1"], max_new_tokens=2)[0][0].text == "</think></think>"  # markers stay visible


def say(model, token: int) -> None:
    """Makes the final norm a constant vector and the head's rows zero, but for the one of the token."""
    with torch.no_grad():
        model.lm_head.weight.zero_()
        direction = torch.zeros(32)
        model.model.norm.weight.copy_(direction)
        model.lm_head.bias = torch.nn.Parameter(
            torch.nn.functional.one_hot(torch.tensor(token), len(model.lm_head.weight)).float()
        )


def test_prompts_of_a_chat(engine):
    assert engine.chat_prompt("x") == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    assert engine.chat_prompt("x", "s").startswith("<|im_start|>system\ns<|im_end|>\n<|im_start|>user")


def test_no_prompts(engine):
    assert engine.sample([], max_new_tokens=3) == []
