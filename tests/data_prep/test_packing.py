"""`data_prep.packing`: every sample once per epoch, documents whole, the same rows after a break, an honest cache."""

import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import packing
from data_prep.artefacts import cache_folder, read_trained_on
from data_prep.formats import to_sample
from data_prep.packing import Mixture, PackedStream, cached_rows, fingerprint, pack
from data_prep.rows import RowError
from data_prep.sources import DatasetConfig, read_block
from data_prep.tokenization import Rules, tokenize
from tests.data_prep.conftest import build
from tests.data_prep.test_sources import write

MAX = 96
Document = tuple[tuple[int, ...], tuple[int, ...]]  # input ids, labels


def make_rows(n: int, name: str = "q", seed: int = 0) -> list[dict[str, Any]]:
    """Rows with different texts, lengths from a few tokens to a little more than MAX."""
    rng = Random(seed)
    return [{"query": f"{name}{i}", "response": "1" * rng.choice((1, 5, 20, 40, 60, 80, 90))} for i in range(n)]


def documents_of(rows: list[dict[str, Any]], tokenizer, rules: Rules) -> Counter[Document]:
    table, _, _ = tokenize([(f"row {i}", row) for i, row in enumerate(rows)], tokenizer, rules)
    return Counter((tuple(row["input_ids"]), tuple(row["labels"])) for row in table.to_pylist())


def unpacked(rows: Any) -> Counter[Document]:
    """The documents of packed rows; checks lengths on the way."""
    found: Counter[Document] = Counter()
    for row in rows:
        assert len(row["input_ids"]) == len(row["labels"]) == sum(row["seq_lengths"]) <= MAX
        start = 0
        for n in row["seq_lengths"]:
            found[tuple(row["input_ids"][start : start + n]), tuple(row["labels"][start : start + n])] += 1
            start += n
    return found


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows and windows of 3 blocks, so that a few hundred rows make many of them."""
    monkeypatch.setattr("data_prep.sources.BLOCK_ROWS", 16)
    monkeypatch.setattr(packing, "CACHED_WINDOW_BLOCKS", 3)
    monkeypatch.setattr(packing, "STREAM_WINDOW_BLOCKS", 3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REDSTAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config(path: Path, **options: Any) -> DatasetConfig:
    return DatasetConfig(str(path), **options)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "jsonl.zst"])
def test_cached_rows_hold_every_sample_once(ending, tokenizer, tmp_path, small_windows, cache):
    rows = make_rows(400)
    path = write(tmp_path / f"data.{ending}", rows, 50)
    result = cached_rows([config(path)], tokenizer, Rules(MAX), packing=True)
    expected = documents_of(rows, tokenizer, Rules(MAX))
    assert unpacked(result.dataset) == expected
    tally = result.tally
    assert (tally.rows, tally.kept) == (400, sum(expected.values()))
    assert tally.dropped["over-long"] == 400 - tally.kept > 0
    assert tally.tokens == sum(len(ids) for ids, _ in expected.elements())
    assert result.trained_on == {
        to_sample(row, "")["problem_id"] for row in rows if documents_of([row], tokenizer, Rules(MAX))
    }
    assert f"{len(result.dataset):,} rows" in result.summary()
    assert "from the cache" not in result.summary()


def test_rows_without_packing(tokenizer, tmp_path, small_windows, cache):
    rows = make_rows(100)
    path = write(tmp_path / "data.jsonl", rows)
    result = cached_rows([config(path)], tokenizer, Rules(MAX), packing=False)
    assert result.dataset.column_names == ["input_ids", "labels"]
    found = Counter((tuple(row["input_ids"]), tuple(row["labels"])) for row in result.dataset)
    assert found == documents_of(rows, tokenizer, Rules(MAX))
    assert result.content != cached_rows([config(path)], tokenizer, Rules(MAX), packing=True).content


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 64))
@settings(max_examples=60, deadline=None)
def test_packing_keeps_documents_whole_and_rows_nearly_full(lengths, max_length):
    documents = [[i] * n for i, n in enumerate(lengths)]
    table = packing.pa.table({"input_ids": documents, "labels": documents}, schema=packing_schema())
    rows = pack(table, max_length).to_pylist()
    seen = []
    for row in rows:
        assert row["input_ids"] == row["labels"]
        assert len(row["input_ids"]) == sum(row["seq_lengths"]) <= max_length
        start = 0
        for n in row["seq_lengths"]:
            (document,) = set(row["input_ids"][start : start + n])
            assert n == lengths[document]
            seen.append(document)
            start += n
    assert sorted(seen) == list(range(len(lengths)))
    # Two rows that are at most half full would have been one.
    assert sum(len(row["input_ids"]) <= max_length / 2 for row in rows) <= 1


def packing_schema():
    from data_prep.tokenization import TOKENIZED

    return TOKENIZED


def test_real_lengths_pack_to_97_percent(tokenizer, tmp_path, cache):
    rng = Random(0)
    lengths = [min(700, max(3, int(rng.lognormvariate(4.5, 0.9)))) for _ in range(2000)]
    rows = [{"query": "x", "response": "1" * n} for n in lengths]
    path = write(tmp_path / "data.jsonl", rows)
    result = cached_rows([config(path)], tokenizer, Rules(1024), packing=True)
    assert result.tally.tokens / (len(result.dataset) * 1024) >= 0.97
    stream = PackedStream([config(path)], tokenizer, Rules(1024), packing=True, seed=0)
    first = list(islice(stream, len(stream.first_window()[0])))
    assert sum(len(row["input_ids"]) for row in first) / (len(first) * 1024) >= 0.97


def counts_of(order: list[Any]) -> Counter[str]:
    return Counter(row["query"] for block in order for _, row in read_block(block))


@pytest.mark.parametrize("weight", [0.01, 0.3, 0.5, 1.0, 1.25, 2.0, 2.5])
@pytest.mark.parametrize("n_rows", [10, 256, 300, 3000])
def test_weights_hold_for_few_blocks_too(weight, n_rows, tmp_path):
    path = write(tmp_path / "data.jsonl", make_rows(n_rows))
    mixture = Mixture([config(path, weight=weight)])
    epochs = [counts_of(mixture.epoch(epoch)) for epoch in range(4)]
    whole = int(weight)
    for seen in epochs:
        assert sum(seen.values()) == pytest.approx(weight * n_rows, abs=257 * (n_rows > 256) + 1)
        assert set(seen.values()) <= {whole, whole + 1}
        assert len(seen) == n_rows or whole == 0
    assert len({len(mixture.epoch(epoch)) for epoch in range(4)}) == 1
    if weight % 1 and n_rows > 10:  # the part is drawn anew each epoch
        assert len({frozenset(seen.items()) for seen in epochs}) > 1
    assert mixture.n_rows == round(weight * n_rows)


def test_a_compressed_file_has_a_weight_too(tokenizer, tmp_path, cache):
    path = write(tmp_path / "data.jsonl.gz", make_rows(1000))
    mixture = Mixture([config(path, weight=0.5)])
    assert sum(counts_of(mixture.epoch(0)).values()) == pytest.approx(500, abs=80)
    assert mixture.n_rows is None
    assert cached_rows([config(path, weight=0.5)], tokenizer, Rules(MAX), True).tally.rows == pytest.approx(500, abs=80)


def test_mixtures_see_each_set_by_its_weight(tokenizer, tmp_path, small_windows, cache):
    a, b, c = (make_rows(64, name) for name in "abc")
    sets = [
        config(write(tmp_path / "a.jsonl", a), weight=2.0),
        config(write(tmp_path / "b.jsonl", b), weight=0.5),
        config(write(tmp_path / "c.parquet", c, 7)),
    ]
    rules = Rules(MAX, overlong="cut")
    for rows in (
        cached_rows(sets, tokenizer, rules, packing=True).dataset,
        epoch_of(PackedStream(sets, tokenizer, rules, packing=True, seed=3)),
    ):
        found = unpacked(rows)
        expected_a, expected_b, expected_c = (documents_of(rows_, tokenizer, rules) for rows_ in (a, b, c))
        assert all(found[document] == 2 for document in expected_a)
        assert all(found[document] == 1 for document in expected_c)
        assert sum(found[document] for document in expected_b) == 32
        assert sum(found.values()) == 128 + 32 + 64


def test_weights_must_be_positive_and_sets_not_empty(tmp_path):
    path = write(tmp_path / "data.jsonl", make_rows(3))
    with pytest.raises(ValueError, match=r"data.jsonl: weight 0.0: expected above 0"):
        Mixture([config(path, weight=0.0)])
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(ValueError, match=r"empty.jsonl: no rows"):
        Mixture([config(path), config(empty)])


def test_order_without_shuffling_is_the_files(tmp_path, small_windows):
    rows = make_rows(100)
    mixture = Mixture([config(write(tmp_path / "data.jsonl", rows))], shuffle=False)
    assert [row["query"] for block in mixture.epoch(1) for _, row in read_block(block)] == [
        row["query"] for row in rows
    ]


def epoch_of(stream: PackedStream) -> list[dict[str, Any]]:
    n = sum(len(stream.read(window)[0]) for window in range(stream.windows_per_epoch))
    return list(islice(stream, n))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_an_epoch_of_the_stream_holds_every_sample_once(ending, tokenizer, tmp_path, small_windows):
    rows = make_rows(200)
    stream = PackedStream([config(write(tmp_path / f"data.{ending}", rows, 33))], tokenizer, Rules(MAX), True, seed=1)
    assert stream.windows_per_epoch > 2
    first = epoch_of(stream)
    expected = documents_of(rows, tokenizer, Rules(MAX))
    assert unpacked(first) == expected
    assert stream.tally.rows == 200 == stream.tally.kept + sum(stream.tally.dropped.values())
    both = list(islice(stream, 2 * len(first) + 50))
    assert both[: len(first)] == first  # iterating anew starts at the same place
    stream.start_at(stream.windows_per_epoch, 0)
    second = list(
        islice(stream, sum(len(stream.read(stream.windows_per_epoch + w)[0]) for w in range(stream.windows_per_epoch)))
    )
    assert unpacked(second) == expected
    assert second != first  # another order


@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_stream_goes_on_from_any_position(data, tokenizer, tmp_path_factory, small_windows):
    """Also across windows and epochs, over windows of which nothing is left, and when resumed twice."""
    rows = make_rows(data.draw(st.integers(1, 120)))
    barren = data.draw(st.integers(0, 100))
    rows[5 : 5 + barren] = [{"query": "long", "response": "1" * 2 * MAX} for _ in rows[5 : 5 + barren]]
    path = write(tmp_path_factory.mktemp("s") / "data.jsonl", rows)
    sets = [config(path, weight=data.draw(st.sampled_from([1.0, 0.7, 1.5])))]

    def stream() -> PackedStream:
        return PackedStream(sets, tokenizer, Rules(MAX), packing=data.draw(st.just(True)), seed=5)

    try:
        whole = list(islice(stream(), 90))
    except ValueError as error:
        assert "no sample of this data is left" in str(error)  # noqa: PT017
        return
    consumed = data.draw(st.integers(1, 60))
    interrupted = stream()
    iterator = iter(interrupted)
    assert list(islice(iterator, consumed + 3)) == whole[: consumed + 3]  # the trainer reads ahead of its steps
    position = interrupted.position(consumed)
    iterator.close()  # type: ignore[attr-defined]
    again = stream()
    again.start_at(**position)
    more = data.draw(st.integers(1, 20))
    assert list(islice(again, more)) == whole[consumed : consumed + more]
    third = stream()
    third.start_at(**again.position(more))
    assert list(islice(third, 10)) == whole[consumed + more : consumed + more + 10]


def test_the_stream_ends_with_a_message_if_nothing_is_left(tokenizer, tmp_path, small_windows):
    rows = [{"query": "long", "response": "1" * 2 * MAX}] * 100
    stream = PackedStream([config(write(tmp_path / "data.jsonl", rows))], tokenizer, Rules(MAX), True, seed=0)
    with pytest.raises(ValueError, match=r"no sample of this data is left to train on: .* over-long"):
        next(iter(stream))
    with pytest.raises(
        ValueError, match=r"data.jsonl: no sample is left to train on: 100 rows read, 0 kept.*over-long"
    ):
        cached_rows([config(tmp_path / "data.jsonl")], tokenizer, Rules(MAX), True)


def test_errors_in_later_windows_arrive(tokenizer, tmp_path, small_windows):
    path = write(tmp_path / "data.jsonl", make_rows(200))
    path.write_text(path.read_text().replace('"query": "q150"', '"query": 150', 1))
    stream = PackedStream([config(path)], tokenizer, Rules(MAX), True, seed=0)
    with pytest.raises(RowError, match=r"data.jsonl, line 151: message 0 \(user\) has no text"):
        list(islice(stream, 1000))


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl.xz", "jsonl.zst", "json"])
@pytest.mark.parametrize("n_rows", [None, 5])
def test_files_that_cannot_be_entered_are_not_streamed(ending, n_rows, tokenizer, tmp_path):
    path = write(tmp_path / f"data.{ending}", make_rows(20))
    with pytest.raises(
        ValueError, match=rf"data.{ending}: streaming enters files in the middle, .* leave out --streaming"
    ):
        PackedStream([config(path, n_rows=n_rows)], tokenizer, Rules(MAX), True, seed=0)


def test_the_streams_problems_are_those_it_has_read(tokenizer, tmp_path, small_windows):
    """From ids that we stored, and from the text where a file has other ids of its own."""
    rows = [{"problem": f"q{i}", "response": "1", "problem_id": f"math-{i}"} for i in range(208)]
    ours = [{**row, "problem_id": to_sample(row, "")["problem_id"]} for row in rows]
    for i, stored in enumerate((rows, ours)):
        stream = PackedStream(
            [config(write(tmp_path / f"{i}.parquet", stored, 16))], tokenizer, Rules(MAX), True, seed=0
        )
        assert stream.trained_on == set()
        list(islice(stream, 1))
        assert len(stream.trained_on) == 48  # one window of three blocks
        epoch_of(stream)
        assert stream.trained_on == {row["problem_id"] for row in ours}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_bad_rows_that_the_stream_dropped_are_no_problems_trained_on(ending, tokenizer, tmp_path, small_windows):
    rows: list[dict[str, Any]] = [{"problem": f"q{i}", "response": "1", "problem_id": f"math-{i}"} for i in range(60)]
    rows[7]["response"] = " "
    path = write(tmp_path / f"data.{ending}", rows)
    stream = PackedStream([config(path)], tokenizer, Rules(MAX, bad_row="drop"), True, seed=0)
    epoch_of(stream)
    assert stream.tally.dropped == {"bad row": 1}
    assert stream.trained_on == {to_sample(row, "")["problem_id"] for row in rows[:7] + rows[8:]}


def test_huge_row_groups_change_nothing_but_the_speed(tokenizer, tmp_path, small_windows, cache, monkeypatch):
    """Neither what is cached and streamed, nor its names, nor the problems."""
    rows = [{"problem": row["query"], "response": row["response"]} for row in make_rows(300)]
    rows = [{**row, "problem_id": to_sample(row, "")["problem_id"]} for row in rows]
    path = write(tmp_path / "data.parquet", rows, 300)
    results = []
    for large in (8192, 100):
        monkeypatch.setattr("data_prep.sources.LARGE_GROUP", large)
        stream = PackedStream([config(path)], tokenizer, Rules(MAX), True, seed=0)
        first = list(islice(stream, 5))
        seen = set(stream.trained_on)
        cached = cached_rows([config(path)], tokenizer, Rules(MAX), True)
        results.append((first, seen, epoch_of(stream), stream.trained_on, stream.content, cached.content))
        assert (cache / "regrouped").exists() == (large == 100)
    assert results[0] == results[1]


def test_the_tally_goes_on_when_the_stream_does(tokenizer, tmp_path, small_windows):
    """Each window is counted once, those that a trainer has read beyond the position only by who goes on there."""
    path = write(tmp_path / "data.jsonl", make_rows(200))

    def stream() -> PackedStream:
        return PackedStream([config(path)], tokenizer, Rules(MAX), True, seed=5)

    whole = stream()
    n_rows = len(epoch_of(whole)) + 10
    list(islice(whole, n_rows))
    assert whole.tally.rows > 200
    for consumed in range(1, n_rows - 1, 3):
        first, second, third = stream(), stream(), stream()
        list(islice(first, consumed + 7))
        second.start_at(**json.loads(json.dumps(first.position(consumed))))
        list(islice(second, 1))
        third.start_at(**json.loads(json.dumps(second.position(1))))
        list(islice(third, n_rows - consumed - 1))
        assert third.tally == whole.tally
        list(islice(third, n_rows - consumed - 1))  # iterating anew counts anew
        assert third.tally == whole.tally
        start = first.position(consumed)
        second.start_at(start["window"], start["offset"])
        list(islice(second, n_rows - consumed))
        assert second.tally.rows + start["tally"]["rows"] == whole.tally.rows


def test_streams_of_another_split_or_configuration_have_another_name(tmp_path):
    path = write(tmp_path / "data.jsonl", make_rows(3))
    options: list[dict[str, Any]] = [{}, {"split": "test"}, {"config": "main"}, {"weight": 2.0}, {"n_rows": 2}]
    assert len({Mixture([config(path, **more)]).quick_hash() for more in options}) == len(options)


def test_the_cache_is_hit_again_and_missed_when_anything_changes(tokenizer, tmp_path, cache):
    path = write(tmp_path / "data.jsonl", make_rows(50))
    other = build()

    def get(rules: Rules = Rules(MAX), tok=tokenizer, packed: bool = True, **options: Any):  # noqa: B008
        return cached_rows([config(path, **options)], tok, rules, packed)

    first, second = get(), get()
    assert (first.found, second.found) == (False, True)
    assert second.content == first.content
    assert second.dataset[:] == first.dataset[:]
    assert (second.tally, second.trained_on) == (first.tally, first.trained_on)
    assert "from the cache" in second.summary()
    assert get(tok=other).found
    other(["a", "b c"], padding=True, truncation=True, max_length=3)
    assert get(tok=other).found, "what a tokenizer was used for before does not count"
    moved = path.rename(tmp_path / "moved.jsonl")
    assert cached_rows([config(moved)], tokenizer, Rules(MAX), True).found, "the name of a file does not count"
    moved.rename(path)

    changes: dict[str, Any] = {
        "max_length": get(Rules(MAX + 1)), "overlong": get(Rules(MAX, overlong="cut")),
        "unclosed": get(Rules(MAX, unclosed_thought="keep")), "masked": get(Rules(MAX, fully_masked="drop")),
        "bad_row": get(Rules(MAX, bad_row="drop")), "part": get(Rules(MAX, part="train", eval_share=0.3)),
        "share": get(Rules(MAX, part="train", eval_share=0.4)), "packing": get(packed=False),
        "weight": get(weight=2.0), "n_rows": get(n_rows=49),
    }  # fmt: skip
    other.chat_template = "{# second version #}" + other.chat_template
    changes["chat template"] = get(tok=other)
    tokens = build()
    tokens.add_tokens(["1111"])
    changes["vocabulary"] = get(tok=tokens)
    bos = build()
    bos.bos_token = "<|im_start|>"
    changes["a special token that templates can write"] = get(tok=bos)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"q7"', b'"q8"', 1))
    changes["a byte"] = get()
    assert [name for name, rows in changes.items() if rows.found] == []
    assert len({rows.content for rows in changes.values()}) == len(changes)
    path.write_bytes(content)
    assert get().found


def test_the_cache_tells_mixtures_apart(tokenizer, tmp_path, cache):
    """The same bytes in one folder or as two sets are different mixtures once rows are limited."""
    a, b = write(tmp_path / "a.jsonl", make_rows(20, "a")), write(tmp_path / "b.jsonl", make_rows(20, "b"))
    together = cached_rows([config(tmp_path, n_rows=25)], tokenizer, Rules(MAX, "cut"), True)
    apart = cached_rows([config(a, n_rows=25), config(b, n_rows=25)], tokenizer, Rules(MAX, "cut"), True)
    assert (together.tally.rows, apart.tally.rows) == (25, 40)


def test_a_window_of_which_nothing_is_left_does_not_spoil_the_file(tokenizer, tmp_path, small_windows, cache):
    rows = make_rows(300)
    rows[:150] = [{"query": "long", "response": "1" * 2 * MAX}] * 150
    for name, content in (("first", rows), ("last", rows[::-1])):
        path = write(tmp_path / f"{name}.jsonl", content)
        for packed in (True, False):
            result = cached_rows([config(path)], tokenizer, Rules(MAX), packed)
            assert result.tally.kept == sum(documents_of(rows, tokenizer, Rules(MAX)).values())


def test_nothing_is_left_behind_when_tokenising_fails(tokenizer, tmp_path, cache):
    path = write(tmp_path / "data.jsonl", [*make_rows(300), {"query": "x"}])
    with pytest.raises(RowError, match=r"data.jsonl, line 301: no conversation found"):
        cached_rows([config(path)], tokenizer, Rules(MAX), True)
    assert list((cache / "tokenized").iterdir()) == []


def test_two_runs_at_once_make_the_cache_together(tmp_path, cache):
    path = write(tmp_path / "data.jsonl", make_rows(300))
    build().save_pretrained(tmp_path / "tokenizer")
    code = (
        "import sys, time; from transformers import AutoTokenizer\n"
        "from data_prep.packing import cached_rows; from data_prep.sources import DatasetConfig\n"
        "from data_prep.tokenization import Rules\n"
        "from data_prep import packing; write = packing.write_cached_rows\n"
        "def slowly(*a):\n"  # so that both have seen that there is nothing yet
        "    time.sleep(1.5); write(*a)\n"
        "packing.write_cached_rows = slowly\n"
        f"r = cached_rows([DatasetConfig({str(path)!r})], "
        f"AutoTokenizer.from_pretrained({str(tmp_path / 'tokenizer')!r}),"
        " Rules(96), True)\nprint(r.content, r.tally.kept)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) for _ in range(2)]
    outputs = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs[0][1] + outputs[1][1]
    assert outputs[0][0] == outputs[1][0] != ""


def test_eval_share_splits_by_problem(tokenizer, tmp_path, cache):
    rows = [{"query": f"q{i // 4}", "response": f"{i % 4}" * (i % 7 + 1)} for i in range(800)]
    path = write(tmp_path / "data.jsonl", rows)
    parts = {
        part: cached_rows([config(path)], tokenizer, Rules(MAX, part=part, eval_share=0.25), True)
        for part in ("train", "eval", "all")
    }
    train, held_out = parts["train"], parts["eval"]
    assert not train.trained_on & held_out.trained_on
    assert train.trained_on | held_out.trained_on == parts["all"].trained_on
    assert 30 <= len(held_out.trained_on) <= 70
    assert train.tally.kept + held_out.tally.kept == parts["all"].tally.kept == 800
    assert unpacked(train.dataset) + unpacked(held_out.dataset) == unpacked(parts["all"].dataset)
    # A file with the same problems in another order and with other answers is split in the same way.
    moved = write(tmp_path / "other.jsonl", [{"query": row["query"], "response": "9"} for row in rows[::-1]])
    again = cached_rows([config(moved)], tokenizer, Rules(MAX, part="eval", eval_share=0.25), True)
    assert again.trained_on == held_out.trained_on


def test_contents_are_the_same_in_another_process(tokenizer, tmp_path, cache):
    """Names in the cache and orders of reading must not hang on Python's hash seed."""
    path = write(tmp_path / "data.jsonl", make_rows(600))
    build().save_pretrained(tmp_path / "tokenizer")
    mixture = Mixture([config(path, weight=0.6)], seed=3)
    code = (
        "from transformers import AutoTokenizer; from data_prep.packing import Mixture, fingerprint\n"
        "from data_prep.sources import DatasetConfig\n"
        f"m = Mixture([DatasetConfig({str(path)!r}, weight=0.6)], seed=3)\n"
        f"print(fingerprint(AutoTokenizer.from_pretrained({str(tmp_path / 'tokenizer')!r})), m.content_hash(),"
        " m.quick_hash(), m.epoch(4))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    from transformers import AutoTokenizer

    own = fingerprint(AutoTokenizer.from_pretrained(tmp_path / "tokenizer"))
    expected = f"{own} {mixture.content_hash()} {mixture.quick_hash()} {mixture.epoch(4)}"
    assert run.stdout.strip() == expected


def test_cached_files_are_readable_by_themselves(tokenizer, tmp_path, cache):
    path = write(tmp_path / "data.jsonl", make_rows(30))
    result = cached_rows([config(path)], tokenizer, Rules(MAX), True)
    (folder,) = (cache_folder() / "tokenized").iterdir()
    assert folder.name == result.content
    assert json.loads((folder / "tally.json").read_text()) == result.tally.as_dict()
    assert read_trained_on(folder) == result.trained_on
