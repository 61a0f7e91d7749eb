"""recipes/evaluate.py and recipes/compare.py as a user runs them."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.data_prep.bad_server import BadServer
from tests.recipes.conftest import ROOT, Run, clean_environment, command_line, one_error_line


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "sums.jsonl"
    rows = [{"problem": f"What is {i} + {i % 7}?", "answer": i + i % 7, "level": 1 + i % 2} for i in range(30)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def responses(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "data-00000.parquet").to_pylist()


def test_a_killed_evaluation_goes_on_and_ends_the_same(
    run: Run, tiny_model: Path, benchmark: Path, tmp_path: Path
) -> None:
    def command(out: str) -> list[object]:
        return [
            "recipes/evaluate.py", "--model_name_or_path", tiny_model, "--benchmarks", f"aime24={benchmark}",
            "--n_samples", 3, "--temperature", 1, "--max_new_tokens", 60, "--batch_size", 4,
            "--output_dir", tmp_path / out,
        ]  # fmt: skip

    run(*command("whole"))
    process = subprocess.Popen(
        command_line(*command("killed")), cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not (journals := list((tmp_path / "killed.partial").glob("*.jsonl"))) or journals[0].stat().st_size < 2000:
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    done = run(*command("killed"))
    assert not (tmp_path / "killed.partial").exists()
    assert responses(tmp_path / "killed") == responses(tmp_path / "whole")
    result = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert {s["metric"] for s in result["scores"] if s["decoding"] == "sampled"} == {
        "pass@1",
        "pass@2",
        "pass@3",
        "maj@3",
    }
    assert {s["group"] for s in result["scores"]} == {"all", "1", "2"}
    assert result["benchmarks"]["aime24"]["n_problems"] == 30
    assert "What is 0 + 0?\nPlease reason step by step" in result["first_prompts"]["aime24"]
    assert {"torch", "transformers", "math-verify"} <= set(result["libraries"])
    assert "aime24" in done.stdout
    again = run(*command("killed"), check=False)
    assert "exists already: choose another --output_dir or remove it" in one_error_line(again)


def test_a_model_behind_servers(run: Run, benchmark: Path, tmp_path: Path) -> None:
    with BadServer() as one, BadServer() as two:
        settings = [
            "recipes/evaluate.py", "--benchmarks", f"sums={benchmark}", "--max_new_tokens", 20, "--instruction", "",
            "--system_prompt", "Add.", "--server_urls", one.url, two.url,
        ]  # fmt: skip
        run(*settings, "--model_name_or_path", "policy", "--output_dir", tmp_path / "served/")
        asked = [request["messages"] for server in (one, two) for request in server.requests]
        assert len(asked) == 30
        assert one.requests
        assert two.requests
        assert {"role": "system", "content": "Add."} in asked[0]
        assert {message["content"] for messages in asked for message in messages if message["role"] == "user"} == {
            f"What is {i} + {i % 7}?" for i in range(30)
        }
        refused = run(*settings, "--model_name_or_path", "other", "--output_dir", tmp_path / "o", check=False)
        assert "does not serve 'other'; it serves policy" in one_error_line(refused)
        two.die()
        dead = run(*settings, "--model_name_or_path", "policy", "--output_dir", tmp_path / "p", check=False)
        assert f"no server answers at {two.url}/v1" in one_error_line(dead)
    rows = responses(tmp_path / "served")
    assert len(rows) == 30
    assert all(row["model"] == "policy" and row["response"] for row in rows)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--benchmarks", "maht500"], "'maht500' is unknown (did you mean math500?)"),
        (["--benchmarks", "small-world", "--general", "ifeval"], 'needs lm-eval: pip install -e ".[general]"'),
        (
            ["--benchmarks", "small-world", "--general", "x", "--server_urls", "http://a"],
            "needs the model in this process",
        ),
        (["--benchmarks", "small-world", "--group_by", "colour"], "--group_by colour: small-world has the columns"),
    ],
)
def test_one_line_for_a_mistake(run: Run, tiny_model: Path, tmp_path: Path, more: list[object], message: str) -> None:
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", tiny_model, "--n_problems", 3, "--max_new_tokens", 2,
        "--output_dir", tmp_path / "out", *more, check=False,
    )  # fmt: skip
    assert message in one_error_line(done)


def test_several_processes_are_refused(
    run: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", tiny_model, "--benchmarks", "small-world", "--output_dir",
        tmp_path / "out", check=False,
    )  # fmt: skip
    assert "start a server on each and give --server_urls" in one_error_line(done)


def test_two_runs_side_by_side(run: Run, tiny_model: Path, benchmark: Path, tmp_path: Path) -> None:
    for out, extraction in (("a", "strict"), ("b", "lenient")):
        run(
            "recipes/evaluate.py", "--model_name_or_path", tiny_model, "--benchmarks", benchmark, "--max_new_tokens", 8,
            "--extraction", extraction, "--output_dir", f"{tmp_path / out}/",
        )  # fmt: skip
    done = run("recipes/compare.py", "--a", tmp_path / "a", "--b", tmp_path / "b", "--output", tmp_path / "page.html")
    assert "30 problems, adjusted Wald (Bonett and Price), paired by problem" in done.stdout
    assert "extraction: A 'strict', B 'lenient'" in done.stdout
    page = (tmp_path / "page.html").read_text()
    assert page.count('<details class="problem') == 30
    assert "extraction: A &#x27;strict&#x27;, B &#x27;lenient&#x27;" in page
    refused = run("recipes/compare.py", "--a", tmp_path / "a", "--b", tiny_model, check=False)
    assert "not the output of recipes/evaluate.py" in one_error_line(refused)
