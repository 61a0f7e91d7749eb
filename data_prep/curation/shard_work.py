"""The work on one shard: rows to candidates, every row filter, and what deciding about all rows together needs.

A pure function of the shard and the settings: the same tables come out whoever does it, and when.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from data_prep.answers import AnswerChecker, Judgement, find_answer
from data_prep.benchmarks import find_benchmarks, read_benchmark, with_choices
from data_prep.curation.contamination import BenchmarkIndex, Match
from data_prep.curation.golds import unverifiable
from data_prep.curation.near import band_keys, hash_text, signatures, sketch
from data_prep.curation.quality import ends_in_loop, foreign_script
from data_prep.curation.readers import read_candidates
from data_prep.curation.rows import EXAMPLES, INDEX, MATCHES, PROBLEMS, kept_schema
from data_prep.curation.settings import InputConfig, Settings
from data_prep.curation.shards import Shard, folder_of, read_shard
from data_prep.curation.text import drawing, masked, numbers, tokens
from data_prep.formats import THINK, is_unclosed
from data_prep.rows import RowError, problem_id
from data_prep.sources import DatasetConfig, open_blocks, read_block

if TYPE_CHECKING:
    from data_prep.sandbox.judging import CodeJudge

MAX_CACHED = 200_000  # comparisons of answers
MAX_EXTRACTED = 300  # characters of an answer in the index
MAX_SHOWN = 20_000  # characters of a response among the examples
WHITE = b" \t\n\r\v\f"
MATCHES_SHOWN = 3  # of one problem
SANDBOX = "sandbox.txt"  # which isolation the programs of a run had


@dataclass
class Candidate:
    """A row on its way, with everything found out about it."""

    row: int
    line: int
    reason: str | None = None
    detail: str | None = None
    source: str = ""
    kind: str = "math"
    problem: str = ""
    answer: str | None = None
    response: str | None = None
    system: str | None = None
    images: list[bytes] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)  # a hash of each
    choices: list[str] | None = None
    tests: Any = None
    level: float | None = None
    given_rate: float | None = None
    given_attempts: int | None = None
    sample: int | None = None
    extra: dict[str, str | None] = field(default_factory=dict)
    about: "Problem | None" = None
    extracted: str | None = None
    verdict: str | None = None
    judgement: Judgement | None = None  # where it has tests
    response_hash: int = 0
    key: int = 0

    def drop(self, reason: str, detail: str | None = None) -> None:
        if self.reason is None:
            self.reason, self.detail = reason, detail


@dataclass
class Problem:
    """A distinct problem of the shard."""

    text: str
    tokens: list[str]
    masked: str
    group: int
    pixels: str = ""  # hashes of its figures: what has to be equal, as numbers have
    matches: list[Match] = field(default_factory=list)
    score: float | None = None


@dataclass
class Tools:
    """What a worker makes once: the answer checker, the benchmarks' index, the scorer, problems to be joined.

    The judge of programs only when there is one to run. Which isolation holds is said once, by who comes first.
    """

    settings: Settings
    folder: Path
    checker: AnswerChecker
    benchmarks: BenchmarkIndex
    scorer: Any
    problems: list[dict[tuple, tuple[dict[str, Any], Path | None]]]
    code: "CodeJudge | None" = None

    def judge_of_programs(self) -> "CodeJudge":
        """Raises ValueError where programs cannot be isolated."""
        if self.code is None:
            from data_prep.sandbox.judging import open_judge

            wanted = self.settings.filter
            self.code = open_judge(wanted.sandbox, wanted.test_timeout, workers=1)
            with suppress(FileExistsError), (self.folder / SANDBOX).open("x") as file:
                file.write(self.code.sandbox.describe())
                print(f"sandbox     {self.code.sandbox.describe()}", flush=True)
        return self.code


def open_tools(settings: Settings, folder: Path) -> Tools:
    """Raises ValueError, FileNotFoundError for benchmarks, a scorer or problems that cannot be read."""
    wanted = settings.contamination
    items = []
    for benchmark in find_benchmarks(wanted.benchmarks):
        rows, _ = read_benchmark(benchmark, quiet=True)  # every worker reads it
        items += [(benchmark.name, i, with_choices(row)) for i, row in enumerate(rows)]
    scorer = None
    if settings.difficulty.difficulty == "scorer":
        from data_prep.curation.scorer import Scorer

        assert settings.difficulty.scorer
        scorer = Scorer.load(settings.difficulty.scorer)
    return Tools(
        settings,
        folder,
        AnswerChecker(timeout=settings.filter.verify_timeout),
        BenchmarkIndex(items, wanted.ngram, wanted.ngram_threshold, wanted.contamination_similarity),
        scorer,
        [read_problems(source) for source in settings.input.inputs],
    )


def read_problems(source: InputConfig) -> dict[tuple, tuple[dict[str, Any], Path | None]]:
    """The rows of an input's file of problems and its folder, by the columns that join them. Held in memory."""
    if not source.problems:
        return {}
    rows: dict[tuple, tuple[dict[str, Any], Path | None]] = {}
    for block in open_blocks(DatasetConfig(source.problems), kinds=("problem", "sample")):
        folder = folder_of(block.file)
        for where, row in read_block(block):
            key = tuple(row.get(column) for column in source.join_on)
            if None in key:
                raise RowError(f"{where}: no {', '.join(source.join_on)} to join on; it has {', '.join(row)}")
            if rows.setdefault(key, (row, folder))[0] != row:
                raise RowError(f"{where}: {' '.join(map(str, key))} stood before with another content (duplicate id)")
    return rows


def curate_shard(shard: Shard, tools: Tools) -> dict[str, pa.Table]:
    """Tables `index`, `problems`, `matches`, `examples` and `rows` (the kept ones) of a shard.

    The index's metadata has `stats`: lines, bytes, and seconds by step.
    """
    settings, clock = tools.settings, dict[str, float]()
    started = perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        clock[name] = clock.get(name, 0.0) + perf_counter() - started
        started = perf_counter()

    candidates, n_lines = read(shard, tools)
    lap("read")
    problems = distinct_problems(candidates)
    for candidate in candidates:
        if candidate.about is not None:
            text = f"{settings.selection.seed}\0{candidate.about.group}\0"
            if candidate.response is not None:
                candidate.response_hash = hash_response(candidate.response)
                text += str(candidate.response_hash)
            candidate.key = hash_text(text)
    lap("format")
    judge(candidates, tools)
    lap("verify")
    for name in settings.filters:
        if name not in ROW_CHECKS:
            continue
        if name == "contamination":
            alive = {id(c.about): c.about for c in candidates if c.reason is None and c.about is not None}
            some = list(alive.values())
            found = tools.benchmarks.match([p.tokens for p in some], signatures([p.masked for p in some]))
            for problem, matches in zip(some, found):
                problem.matches = matches
        for candidate in candidates:
            if candidate.reason is None:
                fault = ROW_CHECKS[name](candidate, settings)
                if fault:
                    candidate.drop(f"{name}: {fault[0]}", fault[1])
        lap(name)
    if tools.scorer is not None and problems:
        for problem, score in zip(problems, tools.scorer.score([problem.text for problem in problems])):
            problem.score = float(score)
        lap("difficulty")
    tables = as_tables(candidates, problems, settings)
    lap("tables")
    stats = {"n_lines": n_lines, "n_bytes": shard.n_bytes, "seconds": {k: round(v, 3) for k, v in clock.items()}}
    tables["index"] = tables["index"].replace_schema_metadata({"stats": json.dumps(stats)})
    return tables


def read(shard: Shard, tools: Tools) -> tuple[list[Candidate], int]:
    """Candidates of a shard, in order, and its number of lines."""
    settings = tools.settings
    source = settings.input.inputs[shard.input]
    by_join = tools.problems[shard.input]
    folder = folder_of(shard.file)
    candidates: list[Candidate] = []
    n_lines = 0

    def add(line: int) -> Candidate:
        candidates.append(Candidate(shard.number << 32 | len(candidates), line))
        return candidates[-1]

    for entry in read_shard(shard, source, int(settings.input.max_row_mb * 2**20)):
        n_lines = max(n_lines, entry.number + 1)
        if entry.row is None:
            if entry.fault:
                add(entry.number).drop(f"read: {entry.fault}", entry.detail)
            continue
        row = entry.row
        if source.problems:
            joined = by_join.get(tuple(row.get(column) for column in source.join_on))
            if joined is None:
                add(entry.number).drop("read: unknown problem", str({c: row.get(c) for c in source.join_on}))
                continue
            problem, folder = joined  # the figures are the problem's
            row = {**problem, **row}
        try:
            found = read_candidates(row, source.reader, source.fields, folder)
        except RowError as error:
            add(entry.number).drop("read: unusable row", str(error))
            continue
        for values in found:
            candidate = add(entry.number)
            candidate.source = source.source or values["source"] or default_source(source.path)
            candidate.kind = source.kind or values["kind"]
            candidate.problem = with_choices(values)
            for name in ("answer", "response", "system", "images", "pixels", "choices", "tests", "level"):
                setattr(candidate, name, values[name])
            candidate.given_rate, candidate.given_attempts = values["pass_rate"], values["n_attempts"]
            candidate.sample = row["sample"] if isinstance(row.get("sample"), int) else None
            candidate.extra = {name: as_text(values.get(name, row.get(name))) for name in settings.input.keep_columns}
            if settings.input.rows == "samples" and candidate.response is None:
                candidate.drop("read: no response")
    return candidates, n_lines


def hash_response(response: str) -> int:
    """Hash of a response; white space and the case of Latin letters do not count."""
    return xxhash.xxh3_64_intdigest(response.encode("utf-8", "replace").lower().translate(None, WHITE)) - 2**63


def default_source(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1].split(".")[0]


def as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def distinct_problems(candidates: list[Candidate]) -> list[Problem]:
    """The problems of the candidates, each once; sets `about`."""
    known: dict[tuple[str, bytes], Problem] = {}
    for candidate in candidates:
        if not candidate.problem:
            continue
        pixels = b"".join(candidate.pixels)
        key = (candidate.problem, pixels)
        problem = known.get(key)
        if problem is None:
            found = tokens(candidate.problem)
            group = hash_text(f"{' '.join(found)}\0{drawing(candidate.problem)}\0{pixels.hex()}")
            problem = known[key] = Problem(candidate.problem, found, masked(found), group, pixels.hex())
        candidate.about = problem
    return list(known.values())


def judge(candidates: list[Candidate], tools: Tools) -> None:
    """Extracted answers and verdicts of all responses, also of those that a filter leaves out: they are attempts."""
    checker, lenient = tools.checker, tools.settings.filter.extraction == "lenient"
    if len(checker.cache) > MAX_CACHED:
        checker.cache.clear()
    programs = [c for c in candidates if c.response is not None and c.tests is not None]
    if programs and "verify" in tools.settings.filter.filters:
        found = tools.judge_of_programs().judge_all((c.tests, c.response or "") for c in programs)
        for candidate, judgement in zip(programs, found):
            candidate.judgement, candidate.verdict = judgement, judgement.verdict
    for candidate in candidates:
        if candidate.response is None or candidate.kind == "code" or candidate.tests is not None:
            continue
        candidate.extracted, _ = find_answer(candidate.response, lenient=lenient)
        if unverifiable(candidate.answer, candidate.problem):
            candidate.verdict = "unverifiable"
        elif candidate.extracted is None:
            candidate.verdict = "wrong"
        else:
            assert candidate.answer
            candidate.verdict = checker.compare(candidate.answer, candidate.extracted, candidate.choices)


# --- Filters of rows: what is wrong, and a detail; None where nothing is

Fault = tuple[str, str | None]


def check_length(row: Candidate, settings: Settings) -> Fault | None:
    bounds = settings.filter
    for what, text, low, high in (
        ("problem", row.problem, bounds.min_problem_chars, bounds.max_problem_chars),
        ("response", row.response, bounds.min_response_chars, bounds.max_response_chars),
    ):
        if text is None or (what == "response" and settings.input.rows == "problems"):
            continue
        if what == "problem" and row.images:
            low = 1  # "Find x." says enough below a figure
        if not low <= len(text) <= high:
            return f"{what} too {'short' if len(text) < low else 'long'}", f"{len(text)} characters"
    return None


def check_thought(row: Candidate, settings: Settings) -> Fault | None:
    if row.response is None:
        return None
    if is_unclosed(row.response):
        return "never closed", None
    if settings.filter.need_thought and THINK not in row.response:
        return "none", None
    return None


def check_answer(row: Candidate, settings: Settings) -> Fault | None:
    if row.judgement is not None:
        return ("no program", None) if row.judgement.extracted is None else None
    is_math = row.kind != "code" and row.tests is None
    return ("none found", None) if row.response is not None and row.extracted is None and is_math else None


def check_loop(row: Candidate, settings: Settings) -> Fault | None:
    loop = ends_in_loop(row.response) if row.response is not None else None
    return ("ends in a repetition", f"from character {loop.start}: {loop.unit[:80]!r}") if loop else None


def check_language(row: Candidate, settings: Settings) -> Fault | None:
    if row.response is None:
        return None
    script = foreign_script(row.problem, row.response, settings.filter.max_foreign_letters)
    return ("mixed", script) if script else None


def check_gold(row: Candidate, settings: Settings) -> Fault | None:
    if settings.filter.unverifiable == "keep" or row.kind == "code" or row.tests is not None:
        return None
    why = unverifiable(row.answer, row.problem)
    return (f"unverifiable, {why}", row.answer) if why else None


def check_verdict(row: Candidate, settings: Settings) -> Fault | None:
    if row.response is None or (row.kind == "code" and row.tests is None):
        skipped = row.kind == "code" and settings.filter.unverifiable == "drop"
        return ("code without tests", None) if skipped else None
    if row.verdict == "right" or (row.verdict == "unverifiable" and settings.filter.unverifiable == "keep"):
        return None
    detail = f"{short(row.extracted)!r}, gold {short(row.answer)!r}"
    return str(row.verdict), detail if row.judgement is None else row.judgement.detail


def check_contamination(row: Candidate, settings: Settings) -> Fault | None:
    assert row.about is not None
    for match in row.about.matches:
        if match.kind != "renumbered" or settings.contamination.renumbered_benchmark == "drop":
            return f"in a benchmark ({match.kind})", f"{match.benchmark} {match.item}, strength {match.strength:g}"
    return None


ROW_CHECKS = {
    "length": check_length,
    "thought": check_thought,
    "answer": check_answer,
    "loop": check_loop,
    "language": check_language,
    "gold": check_gold,
    "verify": check_verdict,
    "contamination": check_contamination,
}


def short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_EXTRACTED else f"{text[:MAX_EXTRACTED]}..."


# --- Tables


def as_tables(candidates: list[Candidate], problems: list[Problem], settings: Settings) -> dict[str, pa.Table]:
    index = [
        {
            "row": c.row,
            "line": c.line,
            "reason": c.reason,
            "detail": c.detail,
            "group": c.about.group if c.about else None,
            "response_hash": c.response_hash if c.response is not None else None,
            "sample": c.sample,
            "key": c.key,
            "source": c.source,
            "kind": c.kind,
            "gold": short(c.answer),
            "extracted": short(c.extracted),
            "verdict": c.verdict,
            "level": c.level,
            "score": c.about.score if c.about else None,
            "given_rate": c.given_rate,
            "given_attempts": c.given_attempts,
            "n_chars": len(c.problem if c.response is None else c.response),
        }
        for c in candidates
    ]
    first: dict[int, Candidate] = {}
    about: dict[int, Problem] = {}
    for candidate in candidates:
        if candidate.about is not None:
            known = first.setdefault(candidate.about.group, candidate)
            about.setdefault(candidate.about.group, candidate.about)
            if known.answer is None and candidate.answer is not None:
                first[candidate.about.group] = candidate
    texts = [problem.masked for problem in about.values()]
    hashed = np.array([hash_text(numbers(problem.tokens) + problem.pixels) for problem in about.values()], np.int64)
    signature = signatures(texts)
    tables = {
        "index": pa.Table.from_pylist(index, INDEX),
        "problems": pa.table(
            {
                "row": [first[group].row for group in about],
                "group": list(about),
                "problem": [problem.text for problem in about.values()],
                "gold": [short(first[group].answer) for group in about],
                "masked": [hash_text(text) for text in texts],
                "numbers": hashed,
                "sketch": sketch(signature),
                "bands": band_keys(signature, hashed).tolist(),
            },
            PROBLEMS,
        ),
        "matches": matches_table(candidates),
        "examples": examples_table(candidates, settings),
        "rows": rows_table(candidates, settings),
    }
    return tables


def matches_table(candidates: list[Candidate]) -> pa.Table:
    """Matches of each problem of the shard, by its first row."""
    rows, seen = [], set()
    for candidate in candidates:
        if candidate.about is None or id(candidate.about) in seen:
            continue
        seen.add(id(candidate.about))
        rows += [
            {
                "row": candidate.row,
                "benchmark": match.benchmark,
                "item": match.item,
                "kind": match.kind,
                "strength": match.strength,
                "problem": candidate.problem[:MAX_SHOWN],
                "benchmark_problem": match.text[:MAX_SHOWN],
            }
            for match in candidate.about.matches[:MATCHES_SHOWN]
        ]
    return pa.Table.from_pylist(rows, MATCHES)


def example(candidate: Candidate, reason: str | None, detail: str | None) -> dict[str, Any]:
    values = {name: getattr(candidate, name) for name in EXAMPLES.names if hasattr(candidate, name)}
    response = candidate.response
    if response is not None and len(response) > MAX_SHOWN:
        half = MAX_SHOWN // 2
        response = f"{response[:half]}\n[... {len(response) - 2 * half:,} characters ...]\n{response[-half:]}"
    problem = candidate.problem[:MAX_SHOWN]
    return {**values, "reason": reason, "detail": detail, "response": response, "problem": problem}


def examples_table(candidates: list[Candidate], settings: Settings) -> pa.Table:
    """For each reason the rows with the smallest keys: the same ones whatever the order of the work."""
    by_reason: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.reason is not None:
            by_reason.setdefault(candidate.reason, []).append(candidate)
    rows = [
        example(candidate, reason, candidate.detail)
        for reason, some in sorted(by_reason.items())
        for candidate in sorted(some, key=lambda c: (c.key, c.row))[: settings.run.n_examples]
    ]
    return pa.Table.from_pylist(rows, EXAMPLES)


def rows_table(candidates: list[Candidate], settings: Settings) -> pa.Table:
    """The rows that are in so far."""
    kept = [c for c in candidates if c.reason is None]
    columns: Mapping[str, list[Any]] = {
        "row": [c.row for c in kept],
        "problem_id": [problem_id(c.problem, c.pixels) for c in kept],
        "source": [c.source for c in kept],
        "problem": [c.problem for c in kept],
        "answer": [c.answer for c in kept],
        "images": [c.images for c in kept],
        "level": [c.level for c in kept],
        "messages": [messages(c, settings) for c in kept],
        "verdict": [c.verdict for c in kept],
        "kind": [c.kind for c in kept],
        **{name: [c.extra.get(name) for c in kept] for name in settings.input.keep_columns},
    }
    schema = kept_schema(settings.input.rows, settings.input.keep_columns)
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema)


def messages(row: Candidate, settings: Settings) -> list[dict[str, str]]:
    system = settings.input.system_prompt or row.system
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": row.problem})
    if row.response is not None:
        turns.append({"role": "assistant", "content": row.response})
    return turns
