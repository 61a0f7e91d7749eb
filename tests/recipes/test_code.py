"""Problems of code, from responses to verdicts, by evaluate.py and curate.py as a user runs them."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.data_prep import bad_server
from tests.data_prep.bad_server import BadServer
from tests.data_prep.curation.conftest import write_jsonl
from tests.data_prep.sandbox.test_judging import GOOD, SPREAD, packed, response
from tests.recipes.conftest import Run, one_error_line

SUM = {
    "question": "Read two whole numbers in one line and print their sum.",
    "input_output": json.dumps({"inputs": ["1 2\n", "5 -7\n"], "outputs": ["3\n", "-2\n"]}),
    "difficulty": "EASY",
}
TWICE = {
    "question_content": "Return twice the number.",
    "starter_code": "class Solution:\n    def twice(self, n: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "4", "output": "8", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "-1", "output": "-2", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "twice"}),
    "difficulty": "easy",
}
BROKEN = {"problem": "Print the number of moons of the planet in the input.", "tests": "{}"}
ADD = "print(sum(map(int, input().split())))"


def programs() -> dict[str, str]:
    """What the model answers, by what stands in the problem."""
    return {
        "their sum": response(ADD),
        "twice the number": response("class Solution:\n    def twice(self, n):\n        return n + n"),
        "Largest minus": response(GOOD.replace("max(xs) - min(xs)", "max(xs)")),
        "moons": response("print(2)"),
        "What is 2": "It is \\boxed{4}.",
    }


def test_a_model_is_evaluated_on_programs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def continuation(prompt: Any, seed: int, max_tokens: int) -> str:
        return next(text for words, text in programs().items() if words in json.dumps(prompt))

    monkeypatch.setattr(bad_server, "continuation", continuation)
    rows = [SUM, TWICE, {**SPREAD, "task_id": "T/0", "canonical_solution": "    return 1"}, BROKEN,
            {"problem": "What is 2 + 2?", "answer": "4"}]  # fmt: skip
    path = write_jsonl(tmp_path / "mixed.jsonl", rows)
    with BadServer() as server:
        command = [
            "recipes/evaluate.py", "--model_name_or_path", "policy", "--server_urls", server.url, "--benchmarks", path,
            "--max_new_tokens", 400, "--n_samples", 3, "--test_timeout", 3, "--sandbox",
        ]  # fmt: skip
        done = run(*command, "auto", "--output_dir", tmp_path / "out")
        asked = [request["messages"][-1]["content"] for request in server.requests]
    assert "\nsandbox    " in done.stdout
    assert "responses with a gold or tests that cannot be verified" in done.stdout
    found = pq.read_table(tmp_path / "out" / "data-00000.parquet").to_pylist()
    verdicts = {(row["problem"][:30], row["decoding"]): (row["verdict"], row["rule"]) for row in found}
    for decoding in ("greedy", "sampled"):
        assert [verdicts[problem, decoding] for problem in dict.fromkeys(row["problem"][:30] for row in found)] == [
            ("right", "program"), ("right", "program"), ("wrong", "program"), ("unverifiable", "program"),
            ("right", "box"),
        ]  # fmt: skip
    assert len(found) == 20
    assert all("tests" not in row for row in found)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["found_by"]["program"] == 16
    assert {s["metric"] for s in result["scores"] if s["decoding"] == "sampled"} == {"pass@1", "pass@2", "pass@3"}
    assert any("their sum.\nPlease reason step by step, and end with the whole program" in text for text in asked)
    assert any("```python\nclass Solution:\n    def twice(self, n: int) -> int:\n```\nPlease" in text for text in asked)
    assert any("What is 2 + 2?\nPlease reason step by step, and put your final answer within" in text for text in asked)
    assert not any("assert" in text or "-2" in text.replace("What is 2", "") for text in asked)


def test_numbers_out_of_range_are_refused(run: Run, tmp_path: Path) -> None:
    evaluation = ["recipes/evaluate.py", "--model_name_or_path", "m", "--benchmarks", "small-world"]
    assert "--test_timeout 0" in one_error_line(run(*evaluation, "--test_timeout", 0, check=False))
    path = write_jsonl(tmp_path / "rows.jsonl", [{"problem": "p", "response": "r"}])
    command = ["recipes/curate.py", "--inputs", f"{{path: {path}}}", "--output_dir", tmp_path / "o"]
    assert "--test_timeout -1" in one_error_line(run(*command, "--test_timeout", -1, check=False))


def test_responses_are_curated_by_their_tests(run: Run, tmp_path: Path) -> None:
    def row(problem: dict[str, Any], program: str, **more: Any) -> dict[str, Any]:
        text = problem.get("question") or problem["problem"]
        tests = problem.get("input_output") or problem["tests"]
        return {"problem": text, "tests": tests, "response": response(program), **more}

    slow = {"problem": "Print the number in the input, but wait before.", "tests": SUM["input_output"]}
    check = {"problem": SPREAD["prompt"], "tests": SPREAD}
    rows = [
        row(SUM, ADD), row(SUM, "print(3)"), row(SUM, ADD + "  # again"), row(SUM, f"import os\n{ADD}\nos._exit(0)"),
        row(slow, "while True: pass"), row(check, GOOD), row(check, "def spread(xs):\n    return 4"),
        row(BROKEN, "print(2)"),
        {**row(SUM, ADD), "response": "<think>\nhm\n</think>\nI do not know a program."},
        {"problem": "Write a program that prints its own source text.", "kind": "code", "response": response("x = 1")},
        {"problem": "What is the sum of 2 and 2?", "answer": "4", "response": "<think>\n\n</think>\n\\boxed{4}"},
    ]  # fmt: skip
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    command = [
        "recipes/curate.py", "--inputs", f"{{path: {path}}}", "--test_timeout", 1, "--workers", 2, "--output_dir",
    ]  # fmt: skip
    done = run(*command, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rows_dropped"] == {
        "verify: wrong": 3, "verify: timed out": 1, "verify: unverifiable": 1, "verify: code without tests": 1,
        "answer: no program": 1,
    }  # fmt: skip
    kept = pq.read_table(tmp_path / "out" / "data-00000.parquet").to_pylist()
    assert sorted((row["problem"][:8], row["verdict"], row["kind"]) for row in kept) == [
        ("Read two", "right", "code"), ("Read two", "right", "code"), ("What is ", "right", "math"),
        ("from typ", "right", "code"),
    ]  # fmt: skip
    sums = [row for row in kept if row["problem"].startswith("Read two")]
    assert sums[0]["pass_rate"] == pytest.approx(2 / 5)
    assert manifest["sandbox"]
    assert f"sandbox     {manifest['sandbox']}" in done.stdout
    decisions = pq.read_table(next((tmp_path / "out" / "report").glob("decisions-*.parquet"))).to_pylist()
    details = {row["detail"] for row in decisions}
    assert {"test 1 of 2: timed out", "test 2 of 2: another output"} <= details
    assert "tests: inputs and outputs are no lists of the same length" in details
    again = run(*command, tmp_path / "unverified", "--filters", "length", "thought", "--difficulty", "none")
    assert "sandbox" not in again.stdout  # nothing is run where nothing is to be verified
    assert json.loads((tmp_path / "unverified" / "manifest.json").read_text())["sandbox"] is None
