"""Process reward models of others: small random ones in their formats, scored as their model cards say.

The reference tokenises the whole text at once and runs it through stock transformers, once for a solution.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from data_prep.mcts.prompts import RSTAR
from data_prep.mcts.steps import MARKERS
from rl.ppm.public import QWEN_SYSTEM, load_public
from rl.ppm.scoring import Scorer, open_scorer

PROBLEM = "Ann has 4 coins, Bob 2 more. How many have both?"
STEPS = ["Step 1: Bob has 4 + 2 = 6 coins.", "Step 2: Both have 4 + 6 = 10 coins.", "Step 3: The answer is: 10"]
OTHER = [STEPS[0], "Step 2: Both have 4 - 6 = 2 coins."]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.3}  # fmt: skip


def qwen_tokenizer(folder: Path, *special: str, **options: Any) -> Any:
    """Byte level, as Qwen's: every character is a token, digits and letters are not merged."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    backend.add_tokens([AddedToken(text) for text in special])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", **options)
    tokenizer.save_pretrained(folder)
    return tokenizer


def mistral_tokenizer(folder: Path, mark: str = "▁ки") -> None:
    """SentencePiece's BPE with bytes, a space before every text and `<s>` in front, as in the files of Mistral 7B."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *map(chr, range(33, 127))]
    pieces += ["к", "и", "ки", "▁+", "▁-", "▁S", "te", "p", "tep", "▁Step"]
    merges = [("к", "и"), ("▁", "+"), ("▁", "-"), ("▁", "S"), ("t", "e"), ("te", "p"), ("▁S", "tep")]
    if mark == "▁ки":
        pieces, merges = [*pieces, mark], [*merges, ("▁", "ки")]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
              "add_bos_token": True, "add_eos_token": False, "legacy": True}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def save_qwen(folder: Path, architecture: str, head: dict[str, torch.Tensor], shards: int = 1) -> None:
    """A Qwen2 whose weights have the names that they have on the Hub, with those of the head."""
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=300, **SIZES)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors") | head
    (folder / "model.safetensors").unlink()
    if shards == 1:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    else:
        names = sorted(weights)
        files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
        for i, file in enumerate(files):
            save_file({name: weights[name] for name in names[i::shards]}, folder / file, {"format": "pt"})
        where = {name: files[i % shards] for i, name in enumerate(names)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    config_file = folder / "config.json"
    saved = json.loads(config_file.read_text()) | {"architectures": [architecture]}
    # What the real files say of code that is not to be run.
    saved["auto_map"] = {"AutoConfig": "configuration_remote.Config", "AutoModel": f"modeling_remote.{architecture}"}
    config_file.write_text(json.dumps(saved))


def heads(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "score.0.weight": torch.randn(32, 32) / 5, "score.0.bias": torch.randn(32),
        "score.2.weight": torch.randn(2, 32) / 5, "score.2.bias": torch.randn(2),
        "v_head.summary.weight": torch.randn(1, 32) / 5, "v_head.summary.bias": torch.randn(1),
    }  # fmt: skip


def states(folder: Path, ids: list[int]) -> torch.Tensor:
    """(T, H): what a stock language model gives its head."""
    config_file = folder / "config.json"
    config = Qwen2Config.from_dict(json.loads(config_file.read_text()))
    with torch.inference_mode():
        return Qwen2ForCausalLM.from_pretrained(folder, config=config).model(torch.tensor([ids])).last_hidden_state[0]


def scorer(name: Path, **options: Any) -> Scorer:
    opened = open_scorer(str(name), dtype="float32", device="cpu", **options)
    assert isinstance(opened, Scorer)
    return opened


def test_rstars_value_head(tmp_path: Path) -> None:
    tokenizer = qwen_tokenizer(tmp_path, *MARKERS)
    head = {name: value for name, value in heads().items() if name.startswith("v_head")}
    save_qwen(tmp_path, "Qwen2ForCausalLM", {})
    torch.save(head, tmp_path / "value_head.bin")
    steps = ["<code>\n# Bob\nbob = 4 + 2\n<end_of_step>", "\nprint(bob + 4)\n<end_of_code>\n<output>10<end_of_output>",
             "\n<answer>\\boxed{10}<end_of_answer>"]  # fmt: skip
    expected = []
    for n in range(1, len(steps) + 1):
        text = RSTAR.format(problem=PROBLEM) + "".join(steps[:n])
        last_H = states(tmp_path, tokenizer(text, add_special_tokens=False)["input_ids"])[-1]
        logit = head["v_head.summary.weight"][0] @ last_H + head["v_head.summary.bias"][0]
        expected.append(float(torch.tanh(logit / 5)))
    mine = scorer(tmp_path)
    assert mine.score([PROBLEM], [steps])[0] == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.05
    assert set(mine.format.markers) == set(MARKERS)


@pytest.mark.parametrize("shards", [1, 3])
def test_qwen_math_prm(tmp_path: Path, shards: int) -> None:
    tokenizer = qwen_tokenizer(tmp_path, "<extra_0>", chat_template=CHAT)
    head = {name: value for name, value in heads().items() if name.startswith("score")}
    save_qwen(tmp_path, "Qwen2ForProcessRewardModel", head, shards)
    mine = scorer(tmp_path)
    for path in (STEPS, OTHER):
        answer = "<extra_0>".join(path) + "<extra_0>"
        messages = [{"role": "system", "content": QWEN_SYSTEM}, {"role": "user", "content": PROBLEM},
                    {"role": "assistant", "content": answer}]  # fmt: skip
        ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
        hidden_TH = torch.relu(states(tmp_path, ids) @ head["score.0.weight"].T + head["score.0.bias"])
        probability_T2 = torch.softmax(hidden_TH @ head["score.2.weight"].T + head["score.2.bias"], dim=-1)
        mark = tokenizer.convert_tokens_to_ids("<extra_0>")
        expected = [float(probability_T2[t, 1]) for t, token in enumerate(ids) if token == mark]
        # White space around a step is no part of it.
        found = mine.score([PROBLEM], [[f"\n{step}\n\n" for step in path]])[0]
        assert [(score + 1) / 2 for score in found] == pytest.approx(expected, abs=1e-5)
        assert max(expected) - min(expected) > 0.01


def test_skywork_prm(tmp_path: Path) -> None:
    tokenizer = qwen_tokenizer(tmp_path, bos_token="<|im_start|>")
    head = {name: value for name, value in heads().items() if name.startswith("v_head")}
    save_qwen(tmp_path, "Qwen2ForPrmModel", head)
    line_break = tokenizer("\n")["input_ids"][-1]
    ids, ends = tokenizer(f"<|im_start|>{PROBLEM}\n")["input_ids"], []
    for line in STEPS:
        ids += [*tokenizer(line)["input_ids"], line_break]
        ends.append(len(ids) - 1)
    logits_T = states(tmp_path, ids) @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"]
    expected = torch.sigmoid(logits_T[ends]).tolist()
    found = scorer(tmp_path).score([PROBLEM], [STEPS])[0]
    assert [(score + 1) / 2 for score in found] == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


@pytest.fixture
def shepherd(tmp_path: Path) -> Path:
    folder = tmp_path / "math-shepherd-mistral-7b-prm"
    mistral_tokenizer(folder)
    torch.manual_seed(0)
    MistralForCausalLM(MistralConfig(vocab_size=400, **SIZES)).save_pretrained(folder)
    return folder


def test_math_shepherd(shepherd: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shepherd)
    mine = scorer(shepherd)
    ids = tokenizer.encode(f"{PROBLEM} " + "\n".join(f"{step} ки" for step in STEPS))
    candidates, mark = tokenizer.encode("+ -")[1:], tokenizer.encode("ки")[-1]
    read = mine.encoder.prompt(PROBLEM)
    for i, step in enumerate(STEPS):
        read += mine.encoder.step(step, is_first=i == 0)
    # The same ids but for the space before the first step, which is a token of its own.
    space, step_1, step_n = (tokenizer.convert_tokens_to_ids(piece) for piece in ("▁", "▁Step", "tep"))
    first = ids.index(step_1)
    assert read[: first + 1] == [*ids[:first], space]
    assert read[first + 1 + read[first + 1 :].index(step_n) :][1:] == ids[first + 1 :]
    with torch.inference_mode():
        logits_T2 = AutoModelForCausalLM.from_pretrained(shepherd)(torch.tensor([read])).logits[0][:, candidates]
    expected = [float(logits_T2[t].softmax(-1)[0]) for t, token in enumerate(read) if token == mark]
    found = mine.score([PROBLEM], [STEPS])[0]
    assert len(expected) == len(STEPS)
    assert [(score + 1) / 2 for score in found] == pytest.approx(expected, abs=1e-5)


def test_other_models_are_none_of_these(tmp_path: Path) -> None:
    save_qwen(tmp_path, "Qwen2ForCausalLM", {})
    assert load_public(str(tmp_path)) is None
    with pytest.raises(OSError, match="nothing: neither a folder with a config"):
        load_public(str(tmp_path / "nothing"))


def test_what_a_model_lacks_is_one_line(tmp_path: Path, shepherd: Path) -> None:
    lacking = heads()
    del lacking["score.2.bias"]
    for architecture, special, options, error in (
        ("Qwen2ForProcessRewardModel", ["<extra_0>"], {"chat_template": CHAT}, "lacks 1 weights.*score.2.bias"),
        ("Qwen2ForProcessRewardModel", [], {"chat_template": CHAT}, "reads '<extra_0>' as .* a single token"),
        ("Qwen2ForProcessRewardModel", ["<extra_0>"], {}, "no chat template"),
        ("Qwen2ForPrmModel", [], {}, "no BOS token"),
    ):
        folder = tmp_path / f"{architecture}{len(special)}{len(options)}"
        qwen_tokenizer(folder, *special, **options)
        save_qwen(folder, architecture, lacking)
        with pytest.raises(ValueError, match=error) as raised:
            load_public(str(folder), "float32")
        assert str(folder) in str(raised.value)
        assert "\n" not in str(raised.value)
    mistral_tokenizer(shepherd, mark="")
    with pytest.raises(ValueError, match="reads ' ки' as"):
        load_public(str(shepherd))


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (
            {"v_head.summary.weight": torch.zeros(1, 32)},
            r"v_head\.summary\.bias \[1\], holds summary\.weight \[1, 32\]$",
        ),
        ({"v_head.summary.weight": torch.zeros(1, 8), "v_head.summary.bias": torch.zeros(1)}, r"holds .*\[1, 8\]"),
        ({}, "holds nothing"),
        (torch.zeros(2), "no state dict of tensors"),
        (b"no tensors at all", "no state dict of tensors"),
    ],
)
def test_a_broken_value_head_is_one_line(tmp_path: Path, state: Any, error: str) -> None:
    qwen_tokenizer(tmp_path, *MARKERS)
    save_qwen(tmp_path, "Qwen2ForCausalLM", {})
    if isinstance(state, bytes):
        (tmp_path / "value_head.bin").write_bytes(state)
    else:
        torch.save(state, tmp_path / "value_head.bin")
    with pytest.raises(ValueError, match=error) as raised:
        load_public(str(tmp_path))
    assert "\n" not in str(raised.value)
