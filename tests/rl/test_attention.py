"""`rl.attention`: packed rows are exact, everything else is transformers' own "sdpa"."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AttentionInterface,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from rl import attention
from rl.attention import PACKED, AttentionChoice, Documents, choose_attention, packed_attention

VOCAB = 61
CLASSES = {
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "llama": (LlamaForCausalLM, LlamaConfig),
    "mistral": (MistralForCausalLM, MistralConfig),
}
# Several documents, a single one, only documents of one token, equal lengths, one-token documents at both ends.
SPLITS = [[7, 3, 12], [20], [1, 1, 1], [5, 5, 5, 5], [1, 9, 1, 2, 1]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Matrices are tiny here: handing them to several threads takes longer than computing them."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def make_model(name: str = "qwen3", kv_heads: int = 2, implementation: str = PACKED, **options) -> PreTrainedModel:
    model_class, config_class = CLASSES[name]
    config = config_class(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=8,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
        **options,
    )
    config._attn_implementation = implementation
    torch.manual_seed(0)
    # Larger weights than usual: an attention error must show in the logits.
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model


def make_documents(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, VOCAB, (length,), generator=generator) for length in lengths]


def pack(documents: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The row as TRL's collator makes it."""
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    return collator([{"input_ids": document.tolist()} for document in documents])


def loss_and_gradients(model, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """Summed loss of next tokens, logits (T, V) and labels (T) with -100 at the first token of each document."""
    model.zero_grad()
    loss = torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def separately(model, documents: list[torch.Tensor]) -> torch.Tensor:
    """Logits (T, V) of each document alone, one after the other."""
    return torch.cat([model(document[None], use_cache=False).logits[0] for document in documents])


def assert_packed_equals_separate(model, lengths: list[int], keys: tuple[str, ...], **forward) -> None:
    documents = make_documents(lengths)
    batch = pack(documents)
    reference = separately(model, documents)
    loss_reference, gradients_reference = loss_and_gradients(model, reference, batch["labels"][0])
    packed = model(**{key: batch[key] for key in keys}, **forward).logits[0]
    loss, gradients = loss_and_gradients(model, packed, batch["labels"][0])
    torch.testing.assert_close(packed, reference, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, loss_reference, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == gradients_reference.keys()
    for name, gradient in gradients.items():
        scale = gradients_reference[name].abs().max().clamp(min=1.0)
        torch.testing.assert_close(gradient / scale, gradients_reference[name] / scale, atol=1e-5, rtol=0, msg=name)


TRL_KEYS = ("input_ids", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
POSITIONS_ONLY = ("input_ids", "position_ids")


@pytest.mark.parametrize("lengths", SPLITS, ids=str)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("name", ["qwen3", "qwen2", "llama"])
def test_packed_equals_each_document_alone(name, kv_heads, lengths):
    assert_packed_equals_separate(make_model(name, kv_heads), lengths, TRL_KEYS, use_cache=False)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=8))
def test_any_split_from_position_ids_alone(lengths):
    assert_packed_equals_separate(make_model(), lengths, POSITIONS_ONLY, use_cache=False)


def test_cu_seq_lens_keep_documents_apart_beside_a_cache():
    assert_packed_equals_separate(make_model(), [7, 3, 12], TRL_KEYS, use_cache=True)


def test_padding_of_a_packed_row_changes_nothing():
    """`pad_to_multiple_of` adds tokens of position 0, each a document of its own."""
    documents, model = make_documents([7, 3, 12]), make_model()
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True, pad_to_multiple_of=16)
    batch = collator([{"input_ids": document.tolist()} for document in documents])
    assert batch["input_ids"].shape == (1, 32)
    del batch["labels"]
    packed = model(**batch, use_cache=False).logits[0]
    torch.testing.assert_close(packed[:22], separately(model, documents), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    model = make_model()
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    model.enable_input_require_grads()
    model.train()
    assert model.config.attention_dropout == 0
    assert_packed_equals_separate(model, [7, 3, 12, 1], TRL_KEYS, use_cache=False)


def test_documents_reach_the_layers_once_and_without_a_dense_mask(monkeypatch):
    """The exact path is taken, not the dense mask that would be exact as well."""
    calls = []
    by_document = attention._sdpa_by_document
    monkeypatch.setattr(attention, "_sdpa_by_document", lambda *args: calls.append(args[3]) or by_document(*args))
    monkeypatch.setattr(attention, "sdpa_mask", lambda *args, **kwargs: pytest.fail("dense mask"))
    model, batch = make_model(), pack(make_documents([7, 3, 12]))
    for keys in (TRL_KEYS, POSITIONS_ONLY):
        calls.clear()
        model(**{key: batch[key] for key in keys}, use_cache=False)
        assert [documents.lengths for documents in calls] == [[7, 3, 12]] * 2
        assert calls[0] is calls[1]
        assert calls[0].cu_seq_lens.tolist() == [0, 7, 10, 22]


def contamination(model, **forward) -> float:
    """How far the second document's logits move when the first one is replaced."""
    batch = pack(make_documents([10, 8]))
    inputs = {key: batch[key] for key in POSITIONS_ONLY}
    with torch.no_grad():
        before = model(**inputs, **forward).logits[0, 10:]
        inputs["input_ids"] = torch.cat([make_documents([10], seed=1)[0][None], inputs["input_ids"][:, 10:]], dim=1)
        after = model(**inputs, **forward).logits[0, 10:]
    return (after - before).abs().max().item()


@pytest.mark.parametrize("implementation", [PACKED, "sdpa", "eager"])
def test_without_cache_documents_do_not_see_each_other(implementation):
    assert contamination(make_model(implementation=implementation), use_cache=False) < 1e-6


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_negative_control_the_default_cache_lets_documents_see_each_other(implementation):
    """What `"packed"` refuses; also shows that the test above can fail."""
    assert contamination(make_model(implementation=implementation)) > 0.1
    with pytest.raises(ValueError, match="use_cache=False"):
        contamination(make_model())


def test_masks_that_let_documents_see_each_other_are_refused():
    batch, model = pack(make_documents([7, 3, 12])), make_model()
    ones = torch.ones_like(batch["input_ids"])
    with pytest.raises(ValueError, match="no `attention_mask`"):
        model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=ones, use_cache=False)
    causal = torch.ones(22, 22, dtype=torch.bool).tril()[None, None]
    inputs = {key: batch[key] for key in TRL_KEYS}
    with pytest.raises(ValueError, match="lets documents see each other"):
        model(**inputs, attention_mask=causal, use_cache=False)
    segment = batch["seq_idx"][0]
    apart = causal & (segment[:, None] == segment[None, :])
    torch.testing.assert_close(
        model(**inputs, attention_mask=apart, use_cache=False).logits, model(**inputs, use_cache=False).logits
    )


def both(name: str = "qwen3", **options) -> tuple[PreTrainedModel, PreTrainedModel]:
    return make_model(name, **options), make_model(name, implementation="sdpa", **options)


def left_padded(lengths: list[int]) -> dict[str, torch.Tensor]:
    documents, width = make_documents(lengths), max(lengths)
    return {
        "input_ids": torch.stack([torch.nn.functional.pad(d, (width - len(d), 0)) for d in documents]),
        "attention_mask": torch.stack([(torch.arange(width) >= width - len(d)).long() for d in documents]),
    }


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("lengths", [[9], [9, 4, 1], [6, 6]], ids=str)
@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_generate_equals_sdpa(name, lengths, use_cache):
    outputs = [
        model.generate(
            **left_padded(lengths),
            max_new_tokens=8,
            do_sample=False,
            use_cache=use_cache,
            output_scores=True,
            return_dict_in_generate=True,
        )
        for model in both(name)
    ]
    assert torch.equal(outputs[0].sequences, outputs[1].sequences)
    assert all(torch.equal(a, b) for a, b in zip(outputs[0].scores, outputs[1].scores))
    assert outputs[0].sequences.unique().numel() > 4  # not one token over and over


def test_left_padded_single_row_generates_as_sdpa():
    inputs = {key: value[1:] for key, value in left_padded([9, 4]).items()}
    packed, sdpa = (model.generate(**inputs, max_new_tokens=8, do_sample=False) for model in both())
    assert torch.equal(packed, sdpa)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batch_equals_sdpa(side, use_cache):
    batch = left_padded([9, 4, 12])
    if side == "right":
        batch = {key: value.flip(1) for key, value in batch.items()}
    packed, sdpa = (model(**batch, use_cache=use_cache).logits for model in both())
    assert torch.equal(packed, sdpa)


def test_several_packed_rows_equal_sdpa():
    """Dense mask, as in sdpa: a row of a larger batch may be packed too."""
    rows = [pack(make_documents(lengths, seed=3)) for lengths in ([4, 8], [6, 1, 5])]
    batch = {key: torch.cat([row[key] for row in rows]) for key in POSITIONS_ONLY}
    packed, sdpa = (model(**batch, use_cache=False).logits for model in both())
    assert torch.equal(packed, sdpa)
    torch.testing.assert_close(packed[0], separately(both()[0], make_documents([4, 8], seed=3)), atol=1e-5, rtol=1e-5)


def test_custom_4d_mask_equals_sdpa():
    visible = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)) > 0.5
    mask = visible.tril() | torch.eye(12, dtype=torch.bool)
    ids = make_documents([12])[0][None]
    packed, sdpa = (model(ids, attention_mask=mask, use_cache=False).logits for model in both())
    assert torch.equal(packed, sdpa)


@pytest.mark.parametrize("window", [4, 64])
def test_sliding_windows(window):
    """A window shorter than a document takes the dense mask; a longer one changes nothing."""
    options = {"sliding_window": window}
    packed, sdpa = both("mistral", **options)
    assert_packed_equals_separate(packed, [7, 3, 12], TRL_KEYS, use_cache=False)
    inputs = left_padded([9, 5])
    a, b = (model.generate(**inputs, max_new_tokens=6, do_sample=False) for model in (packed, sdpa))
    assert torch.equal(a, b)
    if window < 12:
        batch = pack(make_documents([7, 3, 12]))
        with pytest.raises(ValueError, match="see each other"):
            packed(**{key: batch[key] for key in TRL_KEYS}, use_cache=True)


def random_qkv(heads: int, kv_heads: int, n_tokens: int, dim: int, **options) -> list[torch.Tensor]:
    """query (1, H, T, D), key and value (1, K, T, D), laid out as models hand them over: (1, T, heads, D) in memory."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, n_tokens, n_heads, dim) for n_heads in (heads, kv_heads, kv_heads)]
    tensors = [torch.randn(shape, generator=generator).to(**options).transpose(1, 2) for shape in shapes]
    return [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"softcap": 30.0}, "softcap"),
        ({"position_bias": torch.zeros(1, 4, 6, 6)}, "position_bias"),
        ({"s_aux": torch.zeros(4)}, "sinks"),
        ({"is_causal": False}, "bidirectional"),
        ({"sliding_window": 2}, "sliding window"),
    ],
)
def test_unsupported_options_are_refused(options, match):
    documents = Documents(torch.tensor([0, 2, 6]))
    with pytest.raises(ValueError, match=match):
        packed_attention(torch.nn.Module(), *random_qkv(4, 2, 6, 8), documents, **options)


def test_documents_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="8 tokens in all do not fit"):
        packed_attention(torch.nn.Module(), *random_qkv(4, 2, 6, 8), Documents(torch.tensor([0, 2, 8])))


def test_scaling_and_bfloat16():
    lengths, options = [5, 1, 10], {"scaling": 0.3}
    documents = Documents(torch.tensor([0, 5, 6, 16]))
    exact, _ = packed_attention(torch.nn.Module(), *random_qkv(4, 2, 16, 8), documents, **options)
    segment = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    mask = torch.ones(16, 16, dtype=torch.bool).tril() & (segment[:, None] == segment)
    q, k, v = random_qkv(4, 2, 16, 8)
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(exact, dense.transpose(1, 2), atol=1e-6, rtol=1e-6)
    low, _ = packed_attention(torch.nn.Module(), *random_qkv(4, 2, 16, 8, dtype=torch.bfloat16), documents, **options)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), exact, atol=0.03, rtol=0.03)


def test_choose_attention(monkeypatch):
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: False)
    monkeypatch.setattr(attention.torch.cuda, "is_available", lambda: False)
    assert choose_attention(None, packing=False).name == "sdpa"
    assert choose_attention(None, packing=True).name == PACKED
    assert "one document at a time" in choose_attention(None, packing=True).reason
    monkeypatch.setattr(attention.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(attention, "_HAS_VARLEN", True)
    assert "variable-length" in choose_attention(None, packing=True).reason
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: True)
    assert choose_attention(None, packing=True).name == "flash_attention_2"
    for requested in ("flash_attention_3", "kernels-community/flash-attn2", PACKED):
        assert choose_attention(requested, packing=True) == AttentionChoice(requested, "as requested")
    assert choose_attention("eager", packing=False).name == "eager"
    assert "masks the whole packed row" in choose_attention("sdpa", packing=True).reason


def test_choose_attention_refuses_what_gets_no_mask(monkeypatch):
    # Registered for attention only, so transformers makes no mask for it.
    monkeypatch.setitem(AttentionInterface._global_mapping, "attention_only", packed_attention)
    assert choose_attention("attention_only", packing=False).name == "attention_only"
    with pytest.raises(ValueError, match="see each other"):
        choose_attention("attention_only", packing=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.skipif(not attention._HAS_VARLEN, reason="needs torch.nn.attention.varlen of torch 2.11 or later")
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (8, 2)])
def test_varlen_equals_sdpa_by_document(heads, kv_heads, autocast):
    lengths = [130, 1, 700, 64, 3]
    documents = Documents(torch.tensor([0, *lengths], device="cuda").cumsum(0))
    dtype = torch.float32 if autocast else torch.bfloat16
    qkv = random_qkv(heads, kv_heads, sum(lengths), 64, device="cuda", dtype=dtype)
    reference_qkv = random_qkv(heads, kv_heads, sum(lengths), 64, device="cuda", dtype=torch.float32)
    reference = attention._sdpa_by_document(*reference_qkv, documents, 0.0, 0.2)
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        assert attention._varlen_can_run(qkv[0], qkv[2], 0.0)
        out, _ = packed_attention(torch.nn.Module(), *qkv, documents, scaling=0.2)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), reference, atol=0.03, rtol=0.03)
    gradient = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1)).cuda()
    gradients = torch.autograd.grad(out, qkv, gradient.to(out.dtype))
    references = torch.autograd.grad(reference, reference_qkv, gradient)
    for grad, expected in zip(gradients, references):
        torch.testing.assert_close(grad.float(), expected, atol=0.05 * expected.abs().max().item(), rtol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.skipif(not attention._HAS_VARLEN, reason="needs torch.nn.attention.varlen of torch 2.11 or later")
def test_packed_model_on_a_gpu_equals_each_document_alone(monkeypatch):
    calls = []
    varlen = attention._varlen
    monkeypatch.setattr(attention, "_varlen", lambda *args: calls.append(1) or varlen(*args))
    model, documents = make_model().to("cuda", torch.bfloat16), [d.cuda() for d in make_documents([40, 3, 90])]
    batch = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in pack([d.cpu() for d in documents]).items()}
    with torch.no_grad():
        packed = model(**{key: batch[key] for key in TRL_KEYS}, use_cache=False).logits[0].log_softmax(-1)
        alone = separately(model, documents).log_softmax(-1)
    assert len(calls) == model.config.num_hidden_layers
    assert (packed - alone).abs().mean() < 0.1 * alone.std()
