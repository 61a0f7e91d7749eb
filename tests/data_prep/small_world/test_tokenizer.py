"""The small world's tokenizer: lossless, digits and markers as single tokens, the same when it is built again."""

import hashlib
import subprocess
import sys
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.small_world import CHECKPOINTS, base_corpus
from data_prep.small_world.problems import problems
from data_prep.small_world.tokenizer import MARKERS, PAD, TURN_END, TURN_START, VOCAB_SIZE, build_tokenizer
from data_prep.small_world.traces import code_steps, long_cot


@pytest.fixture(scope="module")
def built():
    """As the package builds it: the point of the other tests is to share one, of these to make it."""
    return build_tokenizer()


def ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def base_texts(seed: int, n: int) -> list[str]:
    return ["".join(text for text, _ in pieces) for _, pieces in islice(base_corpus.documents(seed), n)]


def test_texts_of_the_small_world_come_back(built):
    texts = base_texts(1, 100)
    for split in ("train", "dev", "test"):
        for i, problem in enumerate(islice(problems(split, seed=9), 60)):
            texts += [problem.text, long_cot(problem, Random(i), slip_rate=0.5), "".join(code_steps(problem))]
    for text in texts:
        assert built.decode(ids(built, text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back(built, text):
    assert built.decode(ids(built, text)) == text


@given(st.from_regex(r"[0-9]{1,12}", fullmatch=True), st.sampled_from(["", " ", "\n", "a", "+"]))
@settings(deadline=None)
def test_digits_are_single_tokens(built, digits, before):
    found = ids(built, before + digits)
    assert [built.decode([i]) for i in found[-len(digits) :]] == list(digits)
    assert len(found) == len(digits) + len(ids(built, before))


def test_markers_are_single_tokens_and_stay_visible(built):
    for marker in MARKERS:
        (token,) = ids(built, marker)
        assert built.decode(ids(built, f"a{marker}\nb"), skip_special_tokens=True) == f"a{marker}\nb"
        assert ids(built, f"x{marker}y")[1] == token
    for special in (PAD, TURN_START, TURN_END):
        assert len(ids(built, special)) == 1
        assert built.decode(ids(built, f"a{special}b"), skip_special_tokens=True) == "ab"
    assert (built.pad_token, built.eos_token) == (PAD, TURN_END)


def test_the_vocabulary(built):
    assert len(built) <= VOCAB_SIZE
    assert sorted(built.get_vocab().values()) == list(range(len(built)))
    prompt = built.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"


def test_it_is_built_the_same_in_another_process(built):
    code = (
        "from data_prep.small_world.tokenizer import build_tokenizer; import hashlib\n"
        "print(hashlib.sha256(build_tokenizer().backend_tokenizer.to_str().encode()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "7", "PATH": "", "RAYON_NUM_THREADS": "2"},
    )  # fmt: skip
    assert run.stdout.strip() == hashlib.sha256(built.backend_tokenizer.to_str().encode()).hexdigest()


def test_the_shipped_tokenizer_is_this_one(built):
    from transformers import AutoTokenizer

    folders = [path.parent for path in CHECKPOINTS.glob("*/tokenizer.json")]
    if not folders:
        pytest.skip("no checkpoints are shipped yet")
    for folder in folders:
        shipped = AutoTokenizer.from_pretrained(folder)
        assert shipped.get_vocab() == built.get_vocab()
        assert shipped.chat_template == built.chat_template
        for text in base_texts(2, 50):
            assert ids(shipped, text) == ids(built, text)
