"""From problems to response rows: the engine, the prompts, the verdicts. What evaluation and distillation share."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from data_prep.answers import AnswerChecker, Judgement
from data_prep.artefacts import hash_model
from data_prep.benchmarks import as_asked
from data_prep.engines import Completion, TransformersEngine
from data_prep.rows import RESPONSE, SAMPLE, is_unicode
from data_prep.servers import ServerEngine

# Columns of a problem row that a response row has of its own, and those that belong to another response.
NOT_OF_THE_PROBLEM = {*RESPONSE.names, *SAMPLE.names, "rule"} - {"source", "problem", "answer", "level"}
SIMPLE = (
    pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_temporal,
)  # fmt: skip


def open_engine(
    model: str,
    *,
    server_urls: Sequence[str] = (),
    concurrency: int = 64,
    timeout: float = 1800.0,
    batch_size: int = 32,
    dtype: str = "auto",
) -> tuple[TransformersEngine | ServerEngine, str, str]:
    """The engine, a hash of the model, and a name for everything that responses depend on beside their settings.

    `server_urls`: servers that serve `model`, asked at once whether they do, instead of a model in this process.
    """
    if server_urls:
        server = ServerEngine(server_urls, model, concurrency=concurrency, timeout=timeout)
        server.check()
        return server, "behind a server", "server"
    engine = TransformersEngine(model, dtype, batch_size=batch_size)
    model_hash = hash_model(model, engine.model.config)
    return engine, model_hash, f"{model_hash[-16:]}-{str(engine.model.dtype).removeprefix('torch.')}-{engine.device}"


def prompt_of(engine: Any, problem: Mapping[str, Any], instruction: str, system_prompt: str | None) -> Any:
    """The problem as the engine takes it, see `as_asked`: the instruction below it, the system message before it."""
    shown = {"images": problem["images"]} if problem.get("images") else {}
    return engine.chat_prompt(f"{as_asked(problem)}\n{instruction}".strip(), system_prompt, **shown)


def whole_characters(text: str) -> str:
    """The text with U+FFFD in place of half characters (lone surrogates), which JSON can bring and no file takes."""
    return text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def judge(
    checker: AnswerChecker, problem: Mapping[str, Any], text: str, thought_open: bool, lenient: bool = False
) -> Judgement:
    """The verdict on a response to a problem; a problem without an answer cannot be verified."""
    gold = problem["answer"] or ""
    return checker.judge(gold, whole_characters(text), thought_open, lenient, problem.get("choices"))


def response_row(
    problem: Mapping[str, Any], sample: int, completion: Completion, judgement: Judgement, model: str, seed: int
) -> dict[str, Any]:
    """The response row of a judged completion, with the text and the answer of its problem."""
    return {
        "problem_id": problem["problem_id"],
        "sample": sample,
        "model": model,
        "prompt_format": "chat template",
        "response": whole_characters(completion.text),
        "finish_reason": completion.finish_reason,
        "n_tokens": completion.n_tokens,
        "extracted": judgement.extracted,
        "verdict": judgement.verdict,
        "seed": seed,
        "rule": judgement.rule,
        "problem": problem["problem"],
        "answer": problem["answer"],
    }


def travelling(problems: Sequence[Mapping[str, Any]]) -> tuple[pa.Schema, list[dict[str, Any]]]:
    """The columns of problem rows that go along with each response, with their types, and their values per problem.

    What is neither text, number, truth value, time nor a list of such becomes JSON. Types are known from all rows
    before anything is sampled, so that no row is refused when everything is done.
    """
    names = dict.fromkeys(["source", "problem", "answer", "level"])
    names |= dict.fromkeys(name for row in problems for name in row if name not in NOT_OF_THE_PROBLEM)
    fields = [pa.field("rule", pa.string())]
    values: list[dict[str, Any]] = [{} for _ in problems]
    for name in names:
        column = [row.get(name) for row in problems]
        try:
            kind = pa.array(column).type
            known = any(test(getattr(kind, "value_type", kind)) for test in SIMPLE)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            known = False
        if all(value is None for value in column):
            if name not in ("answer", "level"):
                continue
            kind, known = pa.float64() if name == "level" else pa.string(), True
        fields.append(pa.field(name, kind if known else pa.string()))
        for row, value in zip(values, column, strict=True):
            row[name] = value if known or value is None else as_text(value)
    return pa.schema(fields), values


def as_text(value: Any) -> str:
    return whole_characters(value) if isinstance(value, str) else json.dumps(value, default=str)
