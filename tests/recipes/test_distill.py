"""recipes/distill.py as a user runs it: a model in its process, and one behind servers."""

import json
import os
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep.bands import band_of
from data_prep.rows import validate
from tests.data_prep.bad_server import BadServer
from tests.recipes.conftest import ROOT, Run, clean_environment, command_line, one_error_line

RATES = [0.0, 0.1, 0.3, 0.6, 0.9, 1.0]


class Teacher(BadServer):
    """Boxes 7, which is right, as often as the problem says: "rate 0.3" in 30 of 100 responses, by their seeds."""

    def complete(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        answer = super().complete(body, chat)
        rate = float(re.findall(r"rate ([\d.]+)", body["messages"][-1]["content"])[0])
        text = r"\boxed{7}" if body["seed"] % 1000 < 1000 * rate else r"\boxed{8}"
        answer["choices"][0] |= {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return answer


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 problems for Teacher, ten of each rate, and four that nobody can check."""
    rows: list[dict[str, Any]] = [
        {"problem": f"Problem {i}: rate {rate}", "answer": 7, "rate": rate, "source": "exam"}
        for i, rate in enumerate(RATES * 10)
    ]
    rows += [{"problem": f"Show that {i} is odd: rate 0", "answer": None, "hint": {"of": [i]}} for i in range(4)]
    return write(tmp_path_factory.mktemp("problems") / "rated.jsonl", rows)


def responses(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "data-00000.parquet").to_pylist()


def by_problem(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in responses(folder):
        found[row["problem"]].append(row)
    return found


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def kill_when(command: list[object], ready: Callable[[], bool]) -> None:
    """Starts a command and kills it, as a power cut would, once `ready`."""
    process = subprocess.Popen(
        command_line(*command), cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not ready():
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_and_ends_the_same(run: Run, tmp_path: Path) -> None:
    """With a trained model in float32: else chances are so nearly equal that rounding, and so the batch, decides."""
    teacher = "data_prep/small_world/checkpoints/small"
    rows: list[dict[str, Any]] = [
        {"question": f"What is {i} + {i % 7}?", "gold": i + i % 7, "level": f"Level {i % 3}"} for i in range(24)
    ]
    rows += [{"problem": "what is  3 + 3?", "answer": 6}, {"problem": "What is 3 + 3?", "answer": "5"}]
    rows += [{"problem": f"Prove {i}.", "answer": None} for i in range(3)]
    rows += [{"problem": "See the figure.", "answer": 1, "images": ["base64"]}]
    problems = write(tmp_path / "sums.jsonl", rows)

    def command(out: str) -> list[object]:
        return [
            "recipes/distill.py", "--model_name_or_path", teacher, "--problems", problems, "--n_samples", 4,
            "--temperature", 1, "--max_new_tokens", 60, "--batch_size", 4, "--dtype", "float32",
            "--output_dir", tmp_path / out,
        ]  # fmt: skip

    def begun() -> bool:
        journals = list((tmp_path / "killed.partial").glob("*.jsonl"))
        return bool(journals) and journals[0].stat().st_size > 4000

    run(*command("whole"))
    kill_when(command("killed"), begun)
    assert not (tmp_path / "killed").exists()
    done = run(*command("killed"))
    assert re.search(r"resume +\d+ responses of an earlier start", done.stdout)
    assert not (tmp_path / "killed.partial").exists()
    whole, killed = (tmp_path / out / "data-00000.parquet" for out in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()

    rows = responses(tmp_path / "whole")
    for row in rows:
        validate(row, "response", "row")
    assert [row["sample"] for row in rows] == [0, 1, 2, 3] * 27
    assert len({row["response"] for row in rows[:4]}) > 1
    assert {row["verdict"] for row in rows if row["problem"].startswith("Prove")} == {"unverifiable"}
    assert rows[0]["level"] == "Level 0"
    assert rows[0]["source"] == str(problems)
    about = manifest(tmp_path / "whole")
    assert (about["stage"], about["kind"], about["rows_in"], about["rows_out"]) == ("distill", "response", 30, 108)
    assert about["rows_dropped"] == {
        "problem stood before": 1, "problem stood before, with another answer": 1, "has an image": 1
    }  # fmt: skip
    assert about["verdicts"]["unverifiable"] == about["bands"]["unverifiable"]["responses"] == 12
    assert set(about["inputs"]) == {teacher, str(problems)}
    assert "What is 0 + 0?\nPlease reason step by step" in about["first_prompt"]
    again = run(*command("killed"), check=False)
    assert "exists already: choose another --output_dir or remove it" in one_error_line(again)


def test_a_teacher_behind_servers_is_asked_until_bands_are_settled(run: Run, rated: Path, tmp_path: Path) -> None:
    with Teacher() as one, Teacher() as two:

        def command(out: str, *more: object) -> list[object]:
            return [
                "recipes/distill.py", "--model_name_or_path", "policy", "--problems", rated, "--n_samples", 16,
                "--server_urls", one.url, two.url, "--max_new_tokens", 20, "--system_prompt", "Think.",
                "--output_dir", tmp_path / out, *more,
            ]  # fmt: skip

        run(*command("full"))
        assert one.requests
        assert two.requests
        assert one.requests[0]["messages"][0] == {"role": "system", "content": "Think."}
        assert len(one.requests) + len(two.requests) == 64 * 16
        one.requests.clear()
        two.requests.clear()
        done = run(*command("adaptive", "--adaptive", "true"))
        n_asked = len(one.requests) + len(two.requests)

        # Killed in the middle, while one of the two servers has trouble: the same rows, and nothing is asked twice.
        one.requests.clear()
        two.requests.clear()
        one.delay = two.delay = 0.05
        two.script = ["500", "drop"]
        kill_when(command("killed", "--adaptive", "true"), lambda: len(one.requests) + len(two.requests) > 300)
        one.delay = two.delay = 0
        run(*command("killed", "--adaptive", "true"))
        n_again = len(one.requests) + len(two.requests)
        assert n_asked <= n_again <= n_asked + 2 + 2 * 64  # those under way when it was killed, at most
        enough = run(*command("enough", "--stop_after_right", 3, "--min_samples", 3, "--round_samples", 1))
    files = [(tmp_path / out / "data-00000.parquet").read_bytes() for out in ("adaptive", "killed")]
    assert files[0] == files[1]

    full, adaptive = by_problem(tmp_path / "full"), by_problem(tmp_path / "adaptive")
    assert list(full) == list(adaptive)
    n_other_band = 0
    for problem, rows in full.items():
        some = adaptive[problem]
        assert some == rows[: len(some)], "response j is the same one in any case"
        n_right = [sum(row["verdict"] == "right" for row in part) for part in (rows, some)]
        if problem.startswith("Show"):
            assert [row["verdict"] for row in some] == ["unverifiable"] * 4
        elif n_right[1] == 0:
            assert len(some) == 16
        else:
            assert len(some) in (4, 6, 8, 10, 12, 14, 16)
        n_other_band += band_of(n_right[0] / 16, [0.8, 0.4]) != band_of(n_right[1] / len(some), [0.8, 0.4])
    assert n_other_band <= 6
    about = manifest(tmp_path / "adaptive")
    n_rows = sum(map(len, adaptive.values()))
    assert n_asked == n_rows == about["rows_out"] == about["responses"] == 64 * 16 - about["samples_saved"]
    assert about["samples_saved"] > 200
    assert sum(counts["problems"] for counts in about["bands"].values()) == 64
    assert about["bands"]["easy"]["pass_rate"] > 0.8 > about["bands"]["medium"]["pass_rate"] > 0.4
    assert f"{about['samples_saved']} of 1,024 responses saved by stopping early" in done.stdout
    assert f"recipes/curate.py --inputs '{{path: {tmp_path / 'adaptive'}}}'" in done.stdout
    row = adaptive["Problem 3: rate 0.6"][0]
    assert (row["source"], row["rate"], row["answer"], row["hint"]) == ("exam", 0.6, "7", None)
    assert adaptive["Show that 2 is odd: rate 0"][0]["hint"] == '{"of": [2]}'

    assert "3 to 16 responses each" in enough.stdout
    for problem, rows in by_problem(tmp_path / "enough").items():
        n_right = sum(row["verdict"] == "right" for row in rows)
        assert n_right == 3 or (n_right < 3 and len(rows) == 16), problem


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--problems", "no/such/file.jsonl"], "no/such/file.jsonl: no such file or folder"),
        (["--problems", "{tmp}/bad.jsonl"], "bad.jsonl, line 2: needs the columns 'problem' (or 'question')"),
        (["--problems", "{tmp}/figures.jsonl"], "no problem to ask in 1 rows {'has an image': 1}"),
        (["--adaptive", "true"], "--min_samples 4: --adaptive and --stop_after_right need fewer than --n_samples 4"),
        (["--temperature", 0], "--temperature 0.0: all responses would be equal: --n_samples 1"),
        (["--max_new_tokens", 1000], "give at most"),
        (["--server_urls", "http://127.0.0.1:9"], "no server answers at http://127.0.0.1:9/v1"),
    ],
)
def test_one_line_for_a_mistake(run: Run, tiny_model: Path, tmp_path: Path, more: list[object], message: str) -> None:
    write(tmp_path / "bad.jsonl", [{"problem": "1 + 1?", "answer": 2}, {"task": "2 + 2?", "answer": 4}])
    write(tmp_path / "figures.jsonl", [{"problem": "x?", "answer": 2, "images": ["base64"]}])
    more = [str(word).replace("{tmp}", str(tmp_path)) for word in more]
    data: list[object] = [] if "--problems" in more else ["--problems", "small-world"]
    done = run(
        "recipes/distill.py", "--model_name_or_path", tiny_model, "--n_problems", 3, "--output_dir", tmp_path / "out",
        *data, *more, check=False,
    )  # fmt: skip
    assert message in one_error_line(done)


def test_what_came_before_a_refusal_is_kept(run: Run, rated: Path, tmp_path: Path) -> None:
    with Teacher() as server:
        server.behave = lambda body: "400" if "Problem 5:" in body["messages"][-1]["content"] else None
        settings = [
            "recipes/distill.py", "--model_name_or_path", "policy", "--problems", rated, "--n_samples", 2,
            "--server_urls", server.url, "--max_new_tokens", 20, "--output_dir", tmp_path / "out",
        ]  # fmt: skip
        refused = run(*settings, check=False)
        assert "maximum context length is 64 tokens" in one_error_line(refused)
        n_done = server.answered["ok"]
        server.behave = None
        run(*settings)
        assert n_done > 0
        assert server.answered["ok"] <= 128 + 64  # those under way at the refusal, at most
    assert len(responses(tmp_path / "out")) == 128


def test_figures_are_shown_described_or_left_out(run: Run, tiny_model: Path, figure_base: Path, tmp_path: Path) -> None:
    def distilled(model: Path, figures: str) -> tuple[list[dict[str, Any]], str]:
        done = run(
            "recipes/distill.py", "--model_name_or_path", model, "--problems", "small-geometry", "--n_problems", 3,
            "--n_samples", 2, "--max_new_tokens", 8, "--output_dir", tmp_path / figures, "--figures", figures,
        )  # fmt: skip
        return responses(tmp_path / figures), done.stdout

    told, said = distilled(tiny_model, "describe")
    assert "described  3 figures (given): 0 of the problems were solved from the description" in said
    shown, _ = distilled(figure_base, "show")
    assert [row["images"] for row in told] == [row["images"] for row in shown]
    assert all(len(row["images"]) == 1 and "figure shows" not in row["problem"] for row in told)
    first = json.loads((tmp_path / "describe" / "manifest.json").read_text())["first_prompt"]
    assert f"The figure shows: {told[0]['description']}" in first
    refused = run(
        "recipes/distill.py", "--model_name_or_path", tiny_model, "--problems", "small-geometry", "--n_problems", 3,
        "--output_dir", tmp_path / "out", check=False,
    )  # fmt: skip
    assert "no problem to ask in 3 rows {'has an image': 3}" in one_error_line(refused)
    without = run(
        "recipes/distill.py", "--model_name_or_path", tiny_model, "--problems", "small-geometry", "--output_dir",
        tmp_path / "out", "--describer", figure_base, check=False,
    )  # fmt: skip
    assert "has no effect without --figures describe" in one_error_line(without)
