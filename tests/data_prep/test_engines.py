"""`data_prep.engines`: sampling with a tiny random model; batches, order and padding change nothing."""

import os
from collections import deque
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.cache_utils import DynamicLayer

from data_prep.batches import Batch, RoomyLayer, Row, draw
from data_prep.engines import Request, TransformersEngine, sample_seed
from data_prep.journal import Journal
from data_prep.servers import ServerEngine
from data_prep.small_world import CHECKPOINTS
from data_prep.small_world.samples import problem_rows
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


def test_samples_do_not_depend_on_the_batch(engine):
    def texts(prompts: list[str], n: int) -> list[list[str]]:
        result = engine.sample(prompts, n=n, max_new_tokens=20, temperature=1.2, top_p=0.9, seed=3)
        return [[completion.text for completion in completions] for completions in result]

    alone = [texts([prompt], 3)[0] for prompt in PROMPTS]
    for batch_size in (1, 2, 5, 64):
        engine.batch_size = batch_size
        assert texts(PROMPTS, 3) == alone
        assert texts(PROMPTS[::-1], 3) == alone[::-1]
        assert [row[:2] for row in texts(PROMPTS, 2)] == [row[:2] for row in alone]
    engine.batch_size = 3
    lengths = {len(text) for row in alone for text in row}
    assert len(lengths) > 3  # rows end at different times, so that others take their places


def test_stop_strings(engine):
    whole = [completion.text for (completion,) in engine.sample(PROMPTS, max_new_tokens=16)]
    chosen = next(text for text in whole if len(text) > 6)
    stop = chosen[3:5]
    for (plain,), (kept,), text in zip(
        engine.sample(PROMPTS, max_new_tokens=16, stop=[stop, "\0"]),
        engine.sample(PROMPTS, max_new_tokens=16, stop=[stop, "\0"], include_stop=True),
        whole,
        strict=True,
    ):
        before, found, _ = text.partition(stop)
        assert (plain.text, kept.text) == (before, before + found)
        assert plain.n_tokens == kept.n_tokens
        assert not found or plain.finish_reason == "stop"


def test_a_killed_run_goes_on_with_what_is_missing(engine, tmp_path, monkeypatch):
    settings = {"n": 2, "max_new_tokens": 10, "temperature": 1.0}
    whole = engine.sample(PROMPTS, **settings)
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert engine.sample(PROMPTS[:2], **settings, journal=journal) == whole[:2]
        assert len(journal) == 4
    made: list[int] = []
    join = Batch.join

    def counted(batch: Batch, rows: list[Row]) -> None:
        made.append(len(rows))
        join(batch, rows)

    monkeypatch.setattr(Batch, "join", counted)
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert engine.sample(PROMPTS, **settings, journal=journal) == whole
        assert sum(made) == 2 * len(set(PROMPTS)) - 4
        assert engine.sample(PROMPTS, **settings, journal=journal) == whole
        assert sum(made) == 2 * len(set(PROMPTS)) - 4
        engine.sample(PROMPTS[:1], max_new_tokens=11, journal=journal)  # other settings are other responses
        assert sum(made) == 2 * len(set(PROMPTS)) - 3


def test_a_stream_takes_further_requests_and_gives_what_sample_gives(engine, tmp_path):
    settings = {"max_new_tokens": 12, "temperature": 1.2, "seed": 5}
    wanted = engine.sample(PROMPTS[:5], 4, **settings)

    def all_of(journal: Journal) -> tuple[dict, list[bool]]:
        """One request for each prompt at first, and the next one when that is there."""
        requests = deque(Request(i, prompt, 0) for i, prompt in enumerate(PROMPTS[:5]))
        found, known = {}, []
        for request, completion, was_known in engine.stream(requests, journal=journal, **settings):
            found[request.name, request.sample] = completion
            known.append(was_known)
            assert not torch.is_inference_mode_enabled()  # that is the engine's, not of whoever goes through the stream
            if request.sample < 3:
                requests.append(request._replace(sample=request.sample + 1))
        return found, known

    with Journal(tmp_path / "journal.jsonl") as journal:
        for was_known in (False, True):
            found, known = all_of(journal)
            assert found == {(i, j): wanted[i][j] for i in range(5) for j in range(4)}
            assert known == [was_known] * 20
        in_order = deque(Request(i, PROMPTS[i], j) for i in range(5) for j in range(4))
        order = [(r.name, r.sample) for r, _, _ in engine.stream(in_order, journal=journal, **settings)]
        assert order == sorted(order)
    assert list(engine.stream(deque(), **settings)) == []
    with pytest.raises(ValueError, match=r"a prompt has \d+ tokens, the model 512 positions"):
        list(engine.stream(deque([Request(0, "a b " * 600, 0)]), **settings))


def test_sliding_windows_are_generated_batch_by_batch(folder, tmp_path):
    """Rows cannot be taken out of such a cache: a batch is done before the next one starts. The texts are the same."""
    config = Qwen3Config.from_pretrained(folder)
    config.use_sliding_window, config.sliding_window, config.max_window_layers = True, 500, 0
    config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    Qwen3ForCausalLM.from_pretrained(folder, config=config, dtype="float32").save_pretrained(tmp_path)
    build().save_pretrained(tmp_path)
    engines = [TransformersEngine(str(path), "float32", "cpu", batch_size=2) for path in (folder, tmp_path)]
    plain, windowed = (engine.sample(PROMPTS, 2, max_new_tokens=12, temperature=1.0) for engine in engines)
    assert windowed == plain
    batch = Batch(engines[1].model, engines[1].tokenizer, engines[1].ends, 2)
    batch.fill(deque([Row("a", [5, 6], 1)]))
    assert not batch.separable()


def test_a_prompt_that_does_not_fit(engine):
    with pytest.raises(ValueError, match=r"make \d+ tokens, the model has 512 positions: give at most \d+"):
        engine.sample(PROMPTS, max_new_tokens=600)
    with pytest.raises(ValueError, match=r"a prompt has \d+ tokens, the model 512 positions: 'a b a"):
        engine.sample(["a b " * 600], max_new_tokens=1)
    assert engine.room(["12 34"]) < 512


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_tokens_are_drawn_with_their_chances(top_p: float):
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 1.5]).repeat(20_000, 1)
    rows = [Row("", [], sample_seed(0, "p", i)) for i in range(len(logits))]
    drawn = draw(logits, top_p, torch.tensor([row.uniform() for row in rows], dtype=torch.float64))
    chances = logits[0].softmax(-1)
    if top_p < 1:
        chances = torch.where(chances >= chances[4], chances, 0.0)  # 46 + 28 % of the mass: the nucleus of 70 %
        chances = chances / chances.sum()
    counted = drawn.bincount(minlength=5) / len(drawn)
    assert torch.allclose(counted, chances, atol=4 * 0.5 / len(drawn) ** 0.5)
    assert draw(logits[:3], 1e-9, torch.tensor([0.0, 0.5, 0.999999])).tolist() == [0, 0, 0]


def test_random_numbers_are_even_and_their_own():
    numbers = []
    for i in range(200):
        row = Row("", [], sample_seed(7, "prompt", i))
        for token in range(50):
            numbers.append(row.uniform())
            row.new.append(token)
    assert len(set(numbers)) == len(numbers)
    assert abs(sum(numbers) / len(numbers) - 0.5) < 0.01
    assert max(numbers) < 1


def test_roomy_layers_hold_what_dynamic_ones_hold():
    roomy, dynamic = RoomyLayer(), DynamicLayer()
    torch.manual_seed(0)

    def update(rows: int, length: int) -> None:
        keys, values = torch.randn(rows, 2, length, 4), torch.randn(rows, 2, length, 4)
        for ours, theirs in zip(roomy.update(keys, values), dynamic.update(keys, values), strict=True):
            assert torch.equal(ours, theirs)
        assert roomy.get_seq_length() == dynamic.get_seq_length()

    for length in (5, 1, 1, 70, 1):
        update(3, length)
    roomy.replace(roomy.keys[[2, 0], :, 3:], roomy.values[[2, 0], :, 3:])
    dynamic.keys, dynamic.values = dynamic.keys[[2, 0], :, 3:], dynamic.values[[2, 0], :, 3:]
    for length in (1, 1, 90):
        update(2, length)


@pytest.mark.vllm
def test_the_same_model_behind_a_server_answers_the_same():
    """$REDSTAR_VLLM_URL serves the model folder $REDSTAR_VLLM_MODEL (by that name) in float32."""
    url, model = (os.environ.get(name) for name in ("REDSTAR_VLLM_URL", "REDSTAR_VLLM_MODEL"))
    if not url or not model:
        pytest.skip("needs $REDSTAR_VLLM_URL and the model folder that it serves in $REDSTAR_VLLM_MODEL")
    problems = [row["problem"] for row in problem_rows("test", 60)]
    ours = TransformersEngine(model, "float32", "cpu")
    prompts = [ours.chat_prompt(problem) for problem in problems]
    with ServerEngine(url, model) as server:
        server.check()
        served = server.sample([server.chat_prompt(problem) for problem in problems], max_new_tokens=300)
        continued = server.sample(prompts, max_new_tokens=300)
    assert served == continued == ours.sample(prompts, max_new_tokens=300)


def test_markers_that_are_special_tokens_stop_a_text_and_stay_in_it() -> None:
    """Policies of rStar-Math's own training have them so."""
    markers = ["<code>", "<end_of_step>", "<end_of_code>", "<output>", "<end_of_output>", "<answer>", "<end_of_answer>"]
    plain, special = (TransformersEngine(str(CHECKPOINTS / "code"), "float32") for _ in range(2))
    special.tokenizer.add_special_tokens({"additional_special_tokens": markers})
    assert set(markers) <= set(special.tokenizer.all_special_tokens)
    prompts = [plain.chat_prompt(row["problem"]) for row in problem_rows("dev", 3)]
    texts = [
        [c.text for (c,) in engine.sample(prompts, max_new_tokens=60, stop=["<end_of_step>"], include_stop=True)]
        for engine in (plain, special)
    ]
    assert texts[0] == texts[1]
    assert all(text.startswith("<code>") and text.endswith("<end_of_step>") for text in texts[0])
