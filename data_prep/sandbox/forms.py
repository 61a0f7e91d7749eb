"""Tests of problems of code, as TACO, APPS, HumanEval and LiveCodeBench have them. They are read here, not run."""

import base64
import io
import json
import pickle
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

NAME = re.compile(r"[A-Za-z_]\w*")
INTEGER = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True)
class Case:
    """A test: what goes in (a text, or a list of arguments) and what has to come out."""

    given: Any
    expected: Any


@dataclass(frozen=True)
class Suite:
    """`stdin`: cases of texts. `function`: cases of arguments and values of `name`. `check`: `prompt` and `test`.

    `wrapped`: a value may stand in a list of its own, as in APPS.
    """

    form: Literal["stdin", "function", "check"]
    cases: tuple[Case, ...] = ()
    name: str = ""
    prompt: str = ""
    test: str = ""
    wrapped: bool = False


TEST_COLUMNS = (
    "tests", "test_cases", "input_output", "prompt", "test", "entry_point", "public_test_cases", "private_test_cases",
)  # fmt: skip


def raw_tests(row: Mapping[str, Any]) -> Any | None:
    """The tests of a row in whatever form, for `read_tests`; None if it has none.

    Columns: `tests`, `test_cases` or `input_output`; HumanEval's `prompt`, `test` and `entry_point`; LiveCodeBench's
    `public_test_cases`, `private_test_cases` and `metadata`.
    """
    for column in ("tests", "test_cases", "input_output"):
        if (value := row.get(column)) not in (None, "") and not isinstance(value, float):
            break
    else:
        if all(isinstance(row.get(column), str) for column in ("prompt", "test", "entry_point")):
            return {column: row[column] for column in ("prompt", "test", "entry_point")}
        value = [row[column] for column in ("public_test_cases", "private_test_cases") if row.get(column)]
        if not value:
            return None
        try:
            value = [case for part in value for case in unpacked(part)]
        except ValueError as error:
            return f"broken: {error}"
    if isinstance(value, list) and (metadata := row.get("metadata")):
        try:
            metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
            return {"cases": value, "fn_name": metadata.get("func_name")}
        except (ValueError, AttributeError):
            return "broken: metadata"
    return value


class Texts(pickle.Unpickler):
    """Reads what is a text, as LiveCodeBench packs its private tests; runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}: only texts are unpacked")


def unpacked(value: Any) -> list[Any]:
    """Cases of a list, of JSON, or of LiveCodeBench's base64 of zlib of a pickled JSON text. Raises ValueError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            try:
                value = json.loads(Texts(io.BytesIO(zlib.decompress(base64.b64decode(value)))).load())
            except (ValueError, TypeError, EOFError, IndexError, zlib.error, pickle.UnpicklingError) as error:
                raise ValueError(f"test cases that cannot be read ({error})") from None
    if not isinstance(value, list):
        raise ValueError(f"test cases are {type(value).__name__}, expected a list")
    return value


def read_tests(tests: Any) -> Suite:
    """Tests in the project's form, of JSON or what is in it. Raises ValueError where they say nothing.

    `{"inputs": [...], "outputs": [...], "fn_name": optional}`: with `fn_name` an input is a list of arguments, without
    it text for the standard input, or a list of its lines. `{"prompt", "test", "entry_point"}`: HumanEval.
    `[{"input", "output", "testtype"}, ...]`, or these as `cases` beside `fn_name`: LiveCodeBench; the input of a
    `functional` test has an argument as JSON in each line. Tests that expect no output say nothing, and are left out.
    """
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except (ValueError, RecursionError):
            raise ValueError("no JSON") from None
    if isinstance(tests, Mapping) and "entry_point" in tests:
        return check_tests(tests)
    if isinstance(tests, list):
        tests = {"cases": tests}
    if not isinstance(tests, Mapping):
        raise ValueError(f"{type(tests).__name__}, expected an object or a list")
    name = tests.get("fn_name") or ""
    if not isinstance(name, str) or (name and not NAME.fullmatch(name)):
        raise ValueError(f"fn_name {str(name)[:40]!r} is no name")
    if "cases" in tests:
        return listed_tests(tests["cases"], name)
    given, expected = tests.get("inputs"), tests.get("outputs")
    if not isinstance(given, list) or not isinstance(expected, list) or len(given) != len(expected):
        raise ValueError("inputs and outputs are no lists of the same length")
    if name:
        cases = [Case([restored(a) for a in (g if isinstance(g, list) else [g])], e) for g, e in zip(given, expected)]
        return with_cases(Suite("function", name=name, wrapped=True), cases)
    return with_cases(Suite("stdin"), [Case(lines_of(g), lines_of(e)) for g, e in zip(given, expected)])


def listed_tests(cases: Any, name: str) -> Suite:
    """LiveCodeBench's."""
    if not isinstance(cases, list) or not all(isinstance(case, Mapping) for case in cases):
        raise ValueError("no list of cases with input and output")
    kinds = {case.get("testtype", "functional" if name else "stdin") for case in cases}
    if kinds == {"stdin"}:
        return with_cases(Suite("stdin"), [Case(lines_of(c.get("input")), lines_of(c.get("output"))) for c in cases])
    if kinds != {"functional"}:
        raise ValueError("no tests" if not kinds else f"testtype {', '.join(sorted(map(str, kinds)))}")
    if not name:
        raise ValueError("functional tests without the function's name")
    found = []
    for case in cases:
        lines = [line for line in lines_of(case.get("input")).split("\n") if line.strip()]
        try:
            found.append(Case([json.loads(line) for line in lines], json.loads(lines_of(case.get("output")))))
        except (ValueError, RecursionError):
            raise ValueError("arguments or values that are no JSON") from None
    return with_cases(Suite("function", name=name), found)


def check_tests(tests: Mapping[str, Any]) -> Suite:
    """HumanEval's."""
    prompt, test, name = (tests.get(column) for column in ("prompt", "test", "entry_point"))
    if not (isinstance(prompt, str) and isinstance(test, str) and isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError("prompt, test and entry_point are no texts")
    if "check" not in test:
        raise ValueError("test without a function check")
    return Suite("check", name=name, prompt=prompt, test=test)


def with_cases(tests: Suite, cases: Sequence[Case]) -> Suite:
    kept = [case for case in cases if not (tests.form == "stdin" and not case.expected.strip())]
    if not kept:
        raise ValueError("no tests" if not cases else "no test expects an output")
    return replace(tests, cases=tuple(kept))


def lines_of(value: Any) -> str:
    """A text, or a list of its lines. Raises ValueError."""
    if isinstance(value, list) and all(isinstance(each, str | int | float | list) for each in value):
        return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"a test holds {type(value).__name__}, expected text")
    return value


def restored(argument: Any) -> Any:
    """JSON has made texts of a dictionary's whole numbers; as APPS does, they are numbers again."""
    if isinstance(argument, dict) and argument and all(INTEGER.fullmatch(key) for key in argument):
        return {int(key): value for key, value in argument.items()}
    return argument
