"""`data_prep.curation.page`: what the page says of a run, and that nothing in the data can break it."""

import json
import shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.artefacts import write_json
from data_prep.config import parse_config
from data_prep.curation import settings as s
from data_prep.curation.page import amount, command, duration, even_bins, histogram, percent, write_page
from data_prep.curation.rows import EXAMPLES, MATCHES

EVIL = """</pre></title></summary><script>alert(1)</script><img src=x onerror='alert(1)'>"&amp;"""
PARTS = (s.InputArguments, s.FilterArguments, s.ContaminationArguments, s.DuplicateArguments, s.DifficultyArguments,
         s.SelectionArguments, s.RunArguments)  # fmt: skip
DROPPED = pa.schema([pa.field("file", pa.string()), pa.field("line", pa.int64()), *EXAMPLES]).remove(3)


def config_of(*parts: Any) -> dict[str, Any]:
    """As a manifest has it: defaults, where no part is given."""
    given = {type(part): part for part in parts}
    return json.loads(json.dumps(asdict(s.Settings(*(given.get(part, part()) for part in PARTS)))))


def manifest_of(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "rows_in": 12_345, "rows_out": 10_000,
        "rows_dropped": {"length: response too short": 345, "verify: wrong": 2000},
        "funnel": [
            {"step": "rows", "left": 12_345},
            {"step": "length", "left": 12_000, "dropped": {"length: response too short": 345}},
            {"step": "loop", "left": 12_000, "dropped": {}},
            {"step": "verify", "left": 10_000, "dropped": {"verify: wrong": 2000}},
        ],
        "sources": {"web": {"kept": 10_000, "dropped": 2000}, "books": {"kept": 0, "dropped": 345}},
        "bands": {"not known": {"kept": 0, "dropped": 345}, "hard": {"kept": 1, "dropped": 1500},
                  "easy": {"kept": 9999, "dropped": 500}},
        "problem_bands": {"easy": 4321, "hard": 17},
        "lengths": {"0": {"kept": 0, "dropped": 345}, "64": {"kept": 9000, "dropped": 0},
                    "256": {"kept": 1000, "dropped": 2000}},
        "difficulties": {"0.0": {"kept": 0, "dropped": 10}, "1.0": {"kept": 5, "dropped": 0}},
        "counts": {"problems": 4500, "problems_renumbered": 7},
        "tokens": {"total": 123_456_789, "standard_error": 98_765, "counted": "200 of 10000 rows", "seconds": 1.0},
        "seconds": {"verify (all workers)": 99.0, "shards": 60.0, "decisions": 20.0, "output": 20.0},
        "started": "2031-01-01T00:00:00+00:00", "ended": "2031-01-01T00:01:40+00:00", "resumed": False, "warnings": [],
        "libraries": {"redstar-recipes": "0.1.0"}, "config": config, **more,
    }  # fmt: skip


def row(**more: Any) -> dict[str, Any]:
    return {
        "problem": "What is 1 + 1?", "answer": "2", "source": "web", "band": "easy",
        "difficulty": 0.9, "pass_rate": 0.9,
        "messages": [{"role": "user", "content": "What is 1 + 1?"},
                     {"role": "assistant", "content": "<think>\nOne\n  and one.\n</think>\n\n\\boxed{2}"}],
        "rank": 0, **more,
    }  # fmt: skip


def page_of(
    folder: Path,
    manifest: dict[str, Any],
    kept: list[dict[str, Any]] | None = None,
    dropped: list[dict[str, Any]] | None = None,
    matches: list[dict[str, Any]] | None = None,
    mislabelled: list[dict[str, Any]] | None = None,
) -> str:
    (folder / "report").mkdir()
    write_json(folder / "manifest.json", manifest)
    if kept:
        pq.write_table(pa.Table.from_pylist(kept), folder / "data-00000.parquet")
    pq.write_table(pa.Table.from_pylist(dropped or [], DROPPED), folder / "report" / "dropped.parquet")
    pq.write_table(pa.Table.from_pylist(matches or [], MATCHES), folder / "report" / "contamination.parquet")
    write_json(folder / "report" / "mislabelled.json", {"problems": mislabelled or []})
    write_page(folder)
    return (folder / "index.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Tags, ids, targets of links and visible text; refuses handlers, unbalanced tags and what is not in the file."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "input", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "action")
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & {*self.open}:
            self.text += data


def example(reason: str, **more: Any) -> dict[str, Any]:
    return {"file": "data/web.jsonl", "line": 7, "row": 6, "reason": reason, "detail": "a detail", "source": "web",
            "problem": "What is 2 + 2?", "answer": "4", "extracted": "5", "verdict": "wrong",
            "response": "<think>\nTwo and two", **more}  # fmt: skip


def match(kind: str, strength: float, **more: Any) -> dict[str, Any]:
    return {"row": 1, "benchmark": "aime24", "item": 3, "kind": kind, "strength": strength, "problem": f"{kind} here",
            "benchmark_problem": f"{kind} there", **more}  # fmt: skip


def test_what_happened_in_words_and_numbers(tmp_path):
    dropped = [example("length: response too short"), example("verify: wrong")]
    page = Reader(page_of(tmp_path, manifest_of(config_of()), [row()], dropped))
    assert (
        "Of 12,345 rows about 4,500 problems, 10,000 are kept (81 %) with 123,456,789 tokens "
        "(± 98,765, estimated from 200 of 10000 rows). That took 1 min 40 s: 123 rows/s." in page.text
    )
    assert "7 problems have the words of another one and other numbers." in page.text
    assert "−2,000 wrong" in page.text
    assert "verify: wrong 1 of 2,000 rows" in page.text
    assert "web10,0002,00083.3 %" in page.text.replace("\n", "")
    assert len(page.ids) == len({*page.ids})
    assert page.links
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.tags.count("svg") == 3


def test_examples_show_thought_and_answer(tmp_path):
    kept = [row(rank=rank, problem=f"kept with rank {rank}") for rank in (30, 1, 0, 12)]
    text = Reader(page_of(tmp_path, manifest_of(config_of()), kept, [example("verify: wrong")])).text
    assert "the first 2 rows" in text
    assert text.index("kept with rank 0") < text.index("kept with rank 1")
    assert "rank 12" not in text
    assert "ThoughtOne\n  and one.Answer\\boxed{2}" in text
    assert "Thought, never closedTwo and two" in text
    assert "web.jsonl:7 · a detail" in text


def test_problems_without_responses(tmp_path):
    config = config_of(s.InputArguments(rows="problems"), s.DifficultyArguments(difficulty="level"))
    kept = [{name: value for name, value in row(pass_rate=None).items() if name != "messages"}]
    manifest = manifest_of(config, tokens=None, difficulties={})
    page = Reader(page_of(tmp_path, manifest, kept, [example("verify: wrong", response=None, extracted=None)]))
    assert "Characters of the problem" in page.text
    assert page.tags.count("svg") == 2
    assert "tokens" not in page.text.split("Funnel")[0]


def test_nothing_is_kept_and_nothing_can_be_read(tmp_path):
    more: dict[str, Any] = {name: {} for name in ("bands", "lengths", "difficulties", "problem_bands")}
    reason = {"read: not JSON": 3}
    manifest = manifest_of(
        config_of(), **more, tokens=None, rows_in=3, rows_out=0, rows_dropped=reason, counts={"problems": 0},
        funnel=[{"step": "rows", "left": 3}, {"step": "read", "left": 0, "dropped": reason}],
        sources={"unreadable": {"kept": 0, "dropped": 3}}, seconds={"shards": 0.0, "decisions": 0.0, "output": 0.0},
    )  # fmt: skip
    page = Reader(
        page_of(tmp_path, manifest, None, [example("read: not JSON", problem=None, answer=None, source=None)])
    )
    assert "Of 3 rows about 0 problems, 0 are kept (0 %)" in page.text
    assert "svg" not in page.tags


def test_matches_with_benchmarks(tmp_path):
    matches = [match("contained", 0.6 + i / 1000) for i in range(100)] + [match("renumbered", 0.9), match("exact", 1.0)]
    config = config_of(s.ContaminationArguments(benchmarks=["redstar"]))
    text = Reader(page_of(tmp_path, manifest_of(config), matches=matches)).text
    assert "102 matches of problems with redstar" in text
    assert "other numbers, kept (unless" in text
    assert "aime24101001" in text.replace("\n", "")
    assert "contained: 25 of 100 shown" in text
    assert "0.70 · aime24 3 · contained here" in text  # the strongest
    assert "0.60 · aime24 3 · contained here" in text  # and the weakest
    assert "renumbered there" in text


def test_what_was_compared_is_said_when_nothing_was_found(tmp_path):
    for name, benchmarks, said in (("a", [], "Nothing was compared"), ("b", ["redstar"], "None of the problems")):
        (tmp_path / name).mkdir()
        config = config_of(s.ContaminationArguments(benchmarks=benchmarks))
        assert said in Reader(page_of(tmp_path / name, manifest_of(config))).text


def test_mislabelled_problems(tmp_path):
    problem = {"file": "d/a.jsonl", "line": 1234, "row": 1, "source": "web", "gold": "7", "majority": "8",
               "majority_share": 0.75, "n_attempts": 8, "pass_rate": 0.125, "problem": "What is 3 + 5?"}  # fmt: skip
    many = [{**problem, "gold": f"gold {i}"} for i in range(120)]
    text = Reader(page_of(tmp_path, manifest_of(config_of()), mislabelled=many)).text
    assert "120 problems, of which most attempts agree on one answer against the gold; the 100 clearest" in text
    assert "They stay (unless --mislabelled drop)" in text
    assert "a.jsonl:1234webWhat is 3 + 5?gold 99875 %812.5 %" in text.replace("\n", "")
    assert "gold 100" not in text


def test_nothing_in_the_data_becomes_markup(tmp_path):
    def evil(values: dict[str, Any]) -> dict[str, Any]:
        return {name: EVIL if isinstance(value, str) and name not in ("kind", "reason") else value
                for name, value in values.items()}  # fmt: skip

    config = config_of(
        s.InputArguments(inputs=[s.InputConfig(EVIL)], output_dir=EVIL, system_prompt=EVIL),
        s.ContaminationArguments(benchmarks=[EVIL]),
        s.SelectionArguments(weights={EVIL: 2.0}),
    )
    manifest = manifest_of(
        config,
        sources={EVIL: {"kept": 1, "dropped": 1}},
        bands={EVIL: {"kept": 1, "dropped": 1}},
        rows_dropped={f"verify: {EVIL}": 1},
        funnel=[{"step": "rows", "left": 2}, {"step": "verify", "left": 1, "dropped": {f"verify: {EVIL}": 1}}],
        libraries={EVIL: EVIL},
    )
    mislabelled = {"file": EVIL, "line": 1, "row": 1, "source": EVIL, "gold": EVIL, "majority": EVIL,
                   "majority_share": 1.0, "n_attempts": 4, "pass_rate": None, "problem": EVIL}  # fmt: skip
    thought = f"<think>{EVIL}</think>{EVIL}"
    kept = [evil(row()) | {"messages": [{"role": EVIL, "content": EVIL}, {"role": "assistant", "content": thought}]}]
    page = page_of(
        tmp_path, manifest, kept, [evil(example(f"verify: {EVIL}"))], [evil(match("exact", 1.0))], [mislabelled]
    )
    tags = Reader(page).tags
    assert tags.count("script") == 1
    assert "img" not in tags
    assert tags.count("details") == 3
    assert EVIL not in page


def test_long_texts_say_what_is_left_out(tmp_path):
    text = f"<think>{'a' * 30_000}</think>\\boxed{{1}}"
    page = page_of(tmp_path, manifest_of(config_of()), [row(messages=[{"role": "assistant", "content": text}])])
    assert "[... 9,900 characters are left out here ...]" in page
    assert "\\boxed{1}" in page


@pytest.mark.parametrize(
    "parts",
    [
        (s.InputArguments([s.InputConfig("a b.jsonl", fields={"answer": "it's"}, source="-x"), s.InputConfig("c")],
                          keep_columns=["url", "topic"], system_prompt="--no, \"don't\"\n$HOME `x`"),),
        (s.FilterArguments(filters=["length", "verify"], need_thought=True, unverifiable="keep", verify_timeout=3.0),
         s.DuplicateArguments(per_problem=2), s.RunArguments(workers=4, count_tokens="exact", tokenizer="t")),
        (s.DifficultyArguments(difficulty="scorer", scorer="s", bands=[-1.0, 2.5]),
         s.SelectionArguments(min_difficulty=-1.5, weights={"web: é": 2.0, "yes": 0.0}, size=100, seed=7)),
    ],
)  # fmt: skip
def test_the_command_repeats_the_run(parts: tuple[Any, ...]):
    inputs = next((part for part in parts if isinstance(part, s.InputArguments)), s.InputArguments())
    if not inputs.inputs:
        inputs = replace(inputs, inputs=[s.InputConfig("x.jsonl")])
    config = config_of(*parts, inputs)
    words = shlex.split(command(config).replace("\\\n", ""))
    assert words[:2] == ["python", "recipes/curate.py"]
    again = s.Settings(*parse_config("curate", "", PARTS, argv=words[2:]))
    assert json.loads(json.dumps(asdict(again))) == config


def test_only_settings_that_differ_are_shown(tmp_path):
    config = config_of(
        s.FilterArguments(filters=[], max_problem_chars=99), s.InputArguments([s.InputConfig("a.jsonl")])
    )
    text = Reader(page_of(tmp_path, manifest_of(config))).text.split("Settings that differ")[1]
    assert 'inputs[{"path": "a.jsonl"}][]sources' in text.replace("\n", "")
    assert "max_problem_chars9920000length: a longer problem is left out" in text
    assert "need_thought" not in text
    assert "# and in a YAML file that --config names: filters: []" in text


def test_bins_of_difficulty():
    one = {"kept": 1, "dropped": 2}
    assert even_bins({"1.0": one, "3.0": one}) == ({"1": one, "2": {"kept": 0, "dropped": 0}, "3": one}, False)
    assert list(even_bins({"-0.2": one, "0.0": one, "0.1": one})[0]) == ["-0.2", "-0.1", "0", "0.1"]
    bins, several = even_bins({f"{i / 10:.1f}": one for i in range(100)})
    assert several
    assert len(bins) == 20
    assert bins["9.5"] == {"kept": 5, "dropped": 10}
    assert even_bins({"0.0": one}) == ({"0": one}, False)


@pytest.mark.parametrize("most", [0, 1, 2, 7, 10, 99, 1000, 4468, 10**9])
def test_axes(most: int):
    page = Reader(histogram("a", {"x": {"kept": most, "dropped": 0}, "y": {}}))
    assert 1 <= page.tags.count("line") <= 6
    assert "nan" not in page.text


def test_numbers():
    assert [amount(n) for n in (0, 99_999, 123_456, 999_499, 1_234_567, 12**9)] == [
        "0", "99,999", "123k", "999k", "1.23M", "5.16G",
    ]  # fmt: skip
    assert [duration(value) for value in (0.04, 59.4, 59.6, 3599, 3600, 90_000)] == [
        "0.0 s", "59.4 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min",
    ]  # fmt: skip
    assert [percent(*pair) for pair in ((0, 0), (1, 3), (9999, 10_000), (1, 1), (1, 100_000))] == [
        "0 %", "33.3 %", "99.9 %", "100 %", "0.001 %",
    ]  # fmt: skip
