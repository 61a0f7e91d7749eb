"""`data_prep.tokenization`: our ids are the chat template's, the loss covers assistant turns only, nothing is lost."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.rows import RowError
from data_prep.tokenization import IGNORED, Rules, Tally, part_of, tokenize
from tests.data_prep.conftest import FAMILIES, with_chat

LONG = 100_000
ANSWER = "<think>\n3 and 4, so\n\n7. Wait, 3+4=7. Right.\n</think>\n\nThe answer is \\boxed{7}."
CONVERSATIONS = {
    "one turn": [("user", "What is 3+4?"), ("assistant", ANSWER)],
    "several turns": [
        ("user", "What is 3+4?"), ("assistant", ANSWER), ("user", "And\n\ndoubled?"),
        ("assistant", "<think>\n\n</think>14"),
        ("user", " Sure?\n"), ("assistant", "Yes."),
    ],
    "a turn after the last answer": [("user", "a"), ("assistant", ANSWER), ("user", "Thanks!")],
    "one letter": [("user", "Which one?"), ("assistant", "d"), ("user", "and?"), ("assistant", "n")],
    "an empty turn": [("user", "x"), ("assistant", ""), ("user", "Hello?"), ("assistant", "Here.")],
    "a turn ending in white space": [("user", "x"), ("assistant", "So:\n\n"), ("user", "y"), ("assistant", "7  ")],
    "stop tokens as text": [
        ("user", "Does <|im_end|> or <|end|> or <|eot_id|> or </s> end you?"),
        ("assistant", "<think>\n<|im_end|>, <|end|>, <|eot_id|> and </s>\nend me.\n</think> im_end end eot_id s"),
        ("user", "<|im_end|><|end|><|eot_id|></s>"),
        ("assistant", "<|im_end|>"), ("user", "?"), ("assistant", "|im_end|"), ("user", "?"), ("assistant", ">"),
    ],
    "odd characters": [
        ("user", "a\0b é 日本 👩‍👩‍👧"), ("assistant", "\0 <think>\n𝔸≤\u200b\n</think>\ufeff\n\n\\boxed{½}"),
    ],
    "two answers in a row": [("user", "x"), ("assistant", "One."), ("assistant", "Two.")],
}  # fmt: skip
SYSTEM = {"empty system": ("system", ""), "system": ("system", "You are terse.\n")}


def chat(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def one(tokenizer, row: dict[str, Any], **rules: Any) -> tuple[list[int], list[int]]:
    table, ids, tally = tokenize([("row 0", row)], tokenizer, Rules(**{"max_length": LONG, **rules}))
    assert len(table) == len(ids) == tally.kept == 1
    return table["input_ids"][0].as_py(), table["labels"][0].as_py()


def trained_runs(input_ids: list[int], labels: list[int]) -> list[list[int]]:
    """The stretches of tokens that carry loss; their labels are the tokens themselves."""
    assert len(input_ids) == len(labels)
    assert all(label in (IGNORED, token) for token, label in zip(input_ids, labels, strict=True))
    pairs = zip(input_ids, labels, strict=True)
    return [[t for t, _ in run] for masked, run in groupby(pairs, key=lambda pair: pair[1] == IGNORED) if not masked]


def template_ids(tokenizer, turns: list[tuple[str, str]]) -> list[int]:
    last = max(i for i, (role, _) in enumerate(turns) if role == "assistant")
    text = tokenizer.apply_chat_template(chat(turns[: last + 1])["messages"], tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def expected_runs(family, turns: list[tuple[str, str]]) -> list[str]:
    strip = "trim" in family.template
    return [family.lead + (c.strip() if strip else c) + family.stop for role, c in turns if role == "assistant"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", CONVERSATIONS)
@pytest.mark.parametrize("system", [None, *SYSTEM])
def test_ids_are_the_templates_and_labels_cover_the_assistants_turns(name, kind, system, chat_tokenizer):
    family, tokenizer, turns = FAMILIES[name], chat_tokenizer(name), CONVERSATIONS[kind]
    if system:
        if not family.system:
            with pytest.raises(
                RowError, match=r"row 0: the chat template cannot render this .*Only user and assistant"
            ):
                one(tokenizer, chat([SYSTEM[system], *turns]))
            return
        turns = [SYSTEM[system], *turns]
    input_ids, labels = one(tokenizer, chat(turns))
    assert input_ids == template_ids(tokenizer, turns)
    runs = trained_runs(input_ids, labels)
    expected = expected_runs(family, turns)
    if kind == "two answers in a row" and name == "mistral":  # it writes nothing between them
        expected = ["".join(expected)]
    assert [tokenizer.decode(run) for run in runs] == expected
    stop = tokenizer.convert_tokens_to_ids(family.stop)
    assert all(run[-1] == stop for run in runs)


# Pieces that meet badly: white space at the ends, parts of tokens, other roles' markers.
PIECES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.sampled_from(
            ["<|im_end|>", "<|im_start|>", "assistant\n", "<|end|>", "<|user|>", "<think>", "</think>", "im_end|>",
             "\n",
             "\n\n", " ", "\t", "12", "\\boxed{7}", "<|", "|>", "</s>", "[/INST]", "[INST]", "<|eot_id|>", "{{x}}"]
        ),
    ),
    max_size=6,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@given(pairs=st.lists(st.tuples(PIECES, PIECES), min_size=1, max_size=3), first=PIECES)
@settings(max_examples=40, deadline=None)
def test_any_text_is_masked_exactly(name, pairs, first, chat_tokenizer):
    """Text that looks like markers is tokenised as the template does; what carries loss is each whole turn."""
    family, tokenizer = FAMILIES[name], chat_tokenizer(name)
    turns = [(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    turns[-1] = ("assistant", turns[-1][1] + "end.")
    if not any(text.strip() for role, text in turns if role == "assistant"):
        return
    row = chat(turns)
    if "</think>" in "".join(text for _, text in turns):  # an opening marker is added on the way in
        from data_prep.formats import convert_markers

        turns = [(role, convert_markers(text) if role == "assistant" else text) for role, text in turns]
    input_ids, labels = one(tokenizer, row, unclosed_thought="keep")
    runs = [tokenizer.decode(run) for run in trained_runs(input_ids, labels)]
    if family.swallowing:  # the white space after a marker in the text is gone in any tokenisation
        assert ["".join(run.split()) for run in runs] == ["".join(t.split()) for t in expected_runs(family, turns)]
    else:
        assert runs == expected_runs(family, turns)
        assert tokenizer.decode(input_ids) == tokenizer.apply_chat_template(chat(turns)["messages"], tokenize=False)
    # Where a turn begins with white space our boundary splits what the whole text would merge, as generation does.
    if all(text[:1].isprintable() and text[:1].strip() for role, text in turns if role == "assistant"):
        assert input_ids == template_ids(tokenizer, turns)


def test_a_boundary_in_the_text_is_one_in_the_ids(tokenizer):
    """Sampling continues the prompt's ids; training must see the same prefix even if the answer opens with spaces."""
    prompt = tokenizer.apply_chat_template(
        chat([("user", "x")])["messages"], tokenize=False, add_generation_prompt=True
    )
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    input_ids, labels = one(tokenizer, chat([("user", "x"), ("assistant", "\n\n7")]))
    assert input_ids[: len(prompt_ids)] == prompt_ids
    assert set(labels[: len(prompt_ids)]) == {IGNORED}
    assert IGNORED not in labels[len(prompt_ids) : -1]


@pytest.mark.parametrize(
    ("end", "user_end", "trained_end", "last_trained_end"),
    [
        ("\n", "\n", "", ""),  # no token ends a turn
        ("\n", "<|im_end|>\n", "", ""),  # one ends the user's turns only
        ("\n", "<|endoftext|>", "", ""),
        (" \n<|im_end|>\n", "\n", " \n<|im_end|>", " \n<|im_end|>"),
        ("\n{{ eos_token if loop.last }}", "<|im_end|>\n", "", "\n<|endoftext|>"),
        ("{{ '</a>' + eos_token if loop.last }}", "\n", "", "</a><|endoftext|>"),
    ],
)
def test_nothing_of_the_users_is_trained_on_whatever_ends_a_turn(end, user_end, trained_end, last_trained_end):
    template = (
        "{% for message in messages %}{% if message['role'] == 'assistant' %}A: {{ message['content'] }}"
        + end
        + "{% else %}U: {{ message['content'] }}"
        + user_end
        + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A: {% endif %}"
    )
    tokenizer = with_chat(FAMILIES["qwen2.5-math"]._replace(template=template))
    turns = [("user", "3+4?"), ("assistant", "7. "), ("user", "Sure?"), ("assistant", ""), ("user", "Hm, 7?"),
             ("assistant", "<think>\nHm.\n</think>\n\nYes.")]  # fmt: skip
    input_ids, labels = one(tokenizer, chat(turns))
    assert tokenizer.decode(input_ids) == tokenizer.apply_chat_template(chat(turns)["messages"], tokenize=False)
    expected = ["7. " + trained_end if trained_end else "7.", trained_end, turns[-1][1] + last_trained_end]
    assert [tokenizer.decode(run) for run in trained_runs(input_ids, labels)] == [run for run in expected if run]


@pytest.mark.parametrize("turns", [CONVERSATIONS["one turn"], CONVERSATIONS["several turns"]])
def test_a_template_that_drops_the_thought_is_refused(turns, chat_tokenizer):
    with pytest.raises(RowError, match=r"row 0: the chat template rewrites assistant turn 1 .*--chat_template_path"):
        one(chat_tokenizer("r1-distill"), chat(turns))


def test_a_template_that_drops_earlier_thoughts_is_refused(tokenizer):
    """As Qwen3 does: the last turn keeps its thought, the ones before lose it."""
    family = FAMILIES["chatml"]._replace(
        template="{% for message in messages %}{% set content = message['content'] %}"
        "{% if message['role'] == 'assistant' and not loop.last %}{% set content = content.split('</think>')[-1] %}"
        "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    chatty = with_chat(family)
    one(chatty, chat(CONVERSATIONS["one turn"]))
    with pytest.raises(RowError, match="rewrites assistant turn 1"):
        one(chatty, chat(CONVERSATIONS["several turns"]))


def test_thoughts_in_other_markers_are_converted_before(tokenizer):
    sky = "<|begin_of_thought|>\nHm.\n<|end_of_thought|>\n<|begin_of_solution|>\n\\boxed{7}<|end_of_solution|>"
    input_ids, labels = one(tokenizer, {"query": "x", "response": sky})
    expected = ["<think>\nHm.\n</think>\n\n\\boxed{7}<|im_end|>"]
    assert [tokenizer.decode(run) for run in trained_runs(input_ids, labels)] == expected


def rows_of_lengths(tokenizer, lengths: list[int]) -> list[tuple[str, dict[str, Any]]]:
    """Rows whose rendering has just so many tokens: digits are one token each."""
    rows = []
    frame = len(one(tokenizer, {"query": "x", "response": "1"})[0]) - 1
    for i, length in enumerate(lengths):
        rows.append((f"row {i}", {"query": "x", "response": "1" * (length - frame)}))
    return rows


def test_overlong_samples_are_dropped_cut_or_an_error(tokenizer):
    rows = rows_of_lengths(tokenizer, [29, 30, 31, 50])
    table, _, tally = tokenize(rows, tokenizer, Rules(30))
    assert [len(x) for x in table["input_ids"].to_pylist()] == [29, 30]
    assert tally.as_dict() == {
        "rows": 4, "kept": 2, "cut": 0, "tokens": 59, "trained_tokens": tally.trained_tokens,
        "dropped": {"over-long": 2},
    }  # fmt: skip
    table, _, tally = tokenize(rows, tokenizer, Rules(30, overlong="cut"))
    assert [len(x) for x in table["input_ids"].to_pylist()] == [29, 30, 30, 30]
    assert (tally.kept, tally.cut, sum(tally.dropped.values())) == (4, 2, 0)
    full = tokenize(rows, tokenizer, Rules(50))[0]
    assert table["input_ids"].to_pylist() == [row[:30] for row in full["input_ids"].to_pylist()]
    assert table["labels"].to_pylist() == [row[:30] for row in full["labels"].to_pylist()]
    with pytest.raises(RowError, match=r"row 2: 31 tokens, more than --max_length 30 \(--overlong drop or cut"):
        tokenize(rows, tokenizer, Rules(30, overlong="error"))


def test_a_sample_of_which_only_the_prompt_is_left_is_dropped_or_an_error(tokenizer):
    frame = len(one(tokenizer, {"query": "x", "response": "1"})[0]) - 3  # without the answer, its end and the newline
    rows = [("row 0", {"query": "x", "response": "1" * 9})]
    rules: dict[str, Any] = {"max_length": frame, "overlong": "cut"}
    with pytest.raises(RowError, match=f"row 0: no token to train on is left within --max_length {frame}"):
        tokenize(rows, tokenizer, Rules(**rules))
    table, ids, tally = tokenize(rows, tokenizer, Rules(**rules, fully_masked="drop"))
    assert (len(table), ids, tally.dropped) == (0, [], {"fully masked": 1})
    assert (tally.tokens, tally.trained_tokens, tally.kept) == (0, 0, 0)
    table, _, tally = tokenize(rows, tokenizer, Rules(frame + 1, overlong="cut"))
    assert tally.trained_tokens == 1


def test_unclosed_thoughts_are_dropped_kept_or_an_error(tokenizer):
    rows = [
        ("row 0", {"query": "x", "response": "<think>\na\n</think>\n\n7"}),
        ("row 1", {"query": "x", "response": "<think>\na"}),
        ("row 2", chat([("user", "x"), ("assistant", "<think>\na"), ("user", "y"), ("assistant", "7")])),
    ]
    assert tokenize(rows, tokenizer, Rules(LONG))[2].dropped == {"unclosed thought": 2}
    assert tokenize(rows, tokenizer, Rules(LONG, unclosed_thought="keep"))[2].kept == 3
    with pytest.raises(RowError, match="row 1: a thought is never closed"):
        tokenize(rows, tokenizer, Rules(LONG, unclosed_thought="error"))


def test_bad_rows_are_an_error_or_dropped(tokenizer):
    rows: list[Any] = [("row 0", {"query": "x", "response": "7"}), ("row 1", {"query": "x", "response": None})]
    with pytest.raises(RowError, match="row 1: no conversation found"):
        tokenize(rows, tokenizer, Rules(LONG))
    assert tokenize(rows, tokenizer, Rules(LONG, bad_row="drop"))[2].dropped == {"bad row": 1}


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_half_a_character_is_a_bad_row(role, tokenizer):
    turns = [(r, "a \ud83d b" if r == role else "ok") for r in ("user", "assistant")]
    with pytest.raises(RowError, match=rf"row 0: message \d \({role}\) holds half a character"):
        one(tokenizer, chat(turns))


ROW = st.one_of(
    st.integers(1, 60).map(lambda n: {"query": f"{n} x", "response": "1" * n}),
    st.integers(1, 60).map(lambda n: {"query": "x " * n, "response": "<think>\n" + "2" * n}),
    st.sampled_from([{}, {"messages": []}, {"query": "x"}, {"messages": [{"role": "user", "content": "x"}]}]),
)


@given(
    rows=st.lists(ROW, max_size=12),
    rules=st.builds(
        Rules, st.integers(5, 60), st.sampled_from(["drop", "cut"]), st.sampled_from(["drop", "keep"]), st.just("drop"),
        st.just("drop"), st.sampled_from(["all", "train", "eval"]), st.sampled_from([0.0, 0.3, 1.0]),
    ),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_counts_add_up_and_samples_do_not_depend_on_their_neighbours(rows, rules, tokenizer):
    named = [(f"row {i}", row) for i, row in enumerate(rows)]
    table, ids, tally = tokenize(named, tokenizer, rules)
    lengths = [len(x) for x in table["input_ids"].to_pylist()]
    assert tally.rows == len(rows) == tally.kept + sum(tally.dropped.values())
    assert tally.kept == len(table) == len(ids)
    assert tally.tokens == sum(lengths)
    assert tally.trained_tokens == sum(label != IGNORED for row in table["labels"].to_pylist() for label in row[1:])
    assert max(lengths, default=0) <= rules.max_length
    total, alone = Tally(), []
    for row in named:
        part, _, counts = tokenize([row], tokenizer, rules)
        alone += part.to_pylist()
        total.add(counts)
    assert alone == table.to_pylist()
    assert total.as_dict() == tally.as_dict()
    assert Tally(**tally.as_dict()) == tally


def test_no_rows_give_an_empty_table(tokenizer):
    table, ids, tally = tokenize([], tokenizer, Rules(9))
    assert (len(table), ids, tally.as_dict()) == (0, [], Tally().as_dict())
    assert table.column_names == ["input_ids", "labels"]


def test_the_tally_names_what_happened():
    text = str(
        Tally(rows=1200, kept=1000, cut=3, tokens=5000, trained_tokens=4000, dropped=Counter({"over-long": 200}))
    )
    assert text == ("1,200 rows read, 1,000 kept, 5,000 tokens (4,000 trained on), 3 cut, dropped: 200 over-long")


@given(st.text(max_size=20), st.floats(0, 1))
def test_parts_by_problem(problem_id: str, share: float):
    assert part_of(problem_id, 0.0) == "train"
    assert part_of(problem_id, 1.0) == "eval"
    if part_of(problem_id, share) == "eval":  # a larger share holds out the same problems and more
        assert part_of(problem_id, min(1.0, share * 1.5)) == "eval"


def test_parts_have_the_share_asked_for_and_are_whole_problems(tokenizer):
    assert sum(part_of(f"p1-{i}", 0.2) == "eval" for i in range(5000)) / 5000 == pytest.approx(0.2, abs=0.02)
    rows = [(f"row {i}", {"query": f"q{i % 100}", "response": f"a{i}"}) for i in range(300)]
    by_part: dict[str, set[str]] = {}
    for part in ("train", "eval"):
        _, ids, tally = tokenize(rows, tokenizer, Rules(LONG, part=part, eval_share=0.3))
        by_part[part] = set(ids)
        assert len(ids) == 3 * len(by_part[part])
        assert tally.dropped == {"in the other part (held out or not)": 300 - len(ids)}
    assert not by_part["train"] & by_part["eval"]
    assert len(by_part["train"] | by_part["eval"]) == 100
    assert 15 < len(by_part["eval"]) < 45


def test_the_fixtures_hold_every_family(chat_tokenizer: Callable[[str], Any]):
    """The special tokens are single tokens; otherwise the comparison above would prove little."""
    for name, family in FAMILIES.items():
        for token in (*family.tokens, family.stop):
            assert len(chat_tokenizer(name)(token, add_special_tokens=False)["input_ids"]) == 1
