"""The recipe as a user runs it: killed and started again, on both engines, and what it says about mistakes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import yaml

from tests.data_prep.curation.conftest import solved, write_jsonl
from tests.data_prep.curation.planted import make, respaced, reworded
from tests.recipes.conftest import ROOT, Run, one_error_line

RECIPE = "recipes/curate.py"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """2,400 rows of 3 kB with copies, wrong answers, loops and faults among them; and a benchmark."""
    folder = tmp_path_factory.mktemp("raw")
    rng = Random(0)
    problems = make(2000)
    rows = []
    for i, text in enumerate(problems):
        thought = " ".join(rng.choice("wait so then hence thus but if we add take see".split()) for _ in range(600))
        row = solved(text, str(i), "7" if i % 9 == 4 else None, thought=thought)
        rows.append({**row, "source": "abc"[i % 3]})
    rows += [{**rows[i], "problem": rng.choice([respaced, reworded])(problems[i], rng)} for i in range(0, 1600, 4)]
    path = write_jsonl(folder / "rows.jsonl", rows)
    with path.open("a") as stream:
        stream.write("{broken\n")
    bench = write_jsonl(folder / "bench.jsonl", [{"problem": text, "answer": "1"} for text in problems[:40]])
    return path, bench


def settings(raw: tuple[Path, Path], folder: Path, name: str) -> tuple[Path, Path]:
    """A configuration and its output folder."""
    output = folder / name
    config = folder / f"{name}.yaml"
    content = {
        "inputs": [{"path": str(raw[0])}],
        "benchmarks": [f"mine={raw[1]}"],
        "size": 900,
        "weights": {"a": 2.0},
        "shard_mb": 1,
        "partition_rows": 700,
        "workers": 2,
        "output_dir": str(output),
    }
    config.write_text(yaml.safe_dump(content))
    return config, output


def hashes(output: Path) -> dict[str, str]:
    """Of all files but the manifest and the page, which have times in them, and of the manifest without times."""
    found = {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "index.html")
    }
    manifest = json.loads((output / "manifest.json").read_text())
    kept = {key: manifest[key] for key in ("rows_in", "rows_out", "rows_dropped", "funnel", "counts", "inputs")}
    return {**found, "manifest": json.dumps(kept, sort_keys=True)}


def test_killed_three_times(raw: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    """kill -9 of the whole process group at moments that differ: what it ends with is the same, byte for byte."""
    config, whole = settings(raw, tmp_path, "whole")
    began = time.monotonic()
    run(RECIPE, "--config", config)
    seconds = time.monotonic() - began
    config, output = settings(raw, tmp_path, "killed")
    rng = Random(os.getpid())
    killed = 0
    for share in (0.45, 0.7, 0.9):
        process = subprocess.Popen(
            [sys.executable, RECIPE, "--config", str(config)], cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(seconds * share * rng.uniform(0.8, 1.1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        if output.exists():
            break
    assert killed
    if not output.exists():
        run(RECIPE, "--config", config)
    assert hashes(output) == hashes(whole)
    assert not output.with_name("killed.partial").exists()


@pytest.mark.parametrize("marker", ["index/00003.parquet", "pairs", "decisions", "output/report"])
def test_killed_in_each_step(raw: tuple[Path, Path], tmp_path: Path, run: Run, marker: str) -> None:
    """kill -9 of the recipe's own process alone as soon as a step has left something; its workers end with it."""
    config, output = settings(raw, tmp_path, "killed")
    process = subprocess.Popen(
        [sys.executable, RECIPE, "--config", str(config)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (output.with_name("killed.partial") / marker).exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    if not output.exists():
        assert "resume" in run(RECIPE, "--config", config).stdout
    config, whole = settings(raw, tmp_path, "whole")
    run(RECIPE, "--config", config)
    assert hashes(output) == hashes(whole)


def test_ray_does_the_same(raw: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    pytest.importorskip("ray", reason='needs pip install -e ".[ray]"')
    config, output = settings(raw, tmp_path, "local")
    run(RECIPE, "--config", config)
    config, by_ray = settings(raw, tmp_path, "ray")
    run(RECIPE, "--config", config, "--engine", "ray")
    assert hashes(by_ray) == hashes(output)


def test_tiny_preset_feeds_fine_tuning(tmp_path: Path, run: Run) -> None:
    done = run(RECIPE, "--config", "recipes/configs/tiny/curate.yaml", "--output_dir", tmp_path / "out")
    assert "1,000 of 3,000 rows" in done.stdout
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["kind"] == "sample"
    assert {band: n["kept"] for band, n in manifest["bands"].items()} == {"easy": 333, "medium": 333, "hard": 334} or (
        max(n["kept"] for n in manifest["bands"].values()) - min(n["kept"] for n in manifest["bands"].values()) <= 1
    )
    from data_prep.sources import DatasetConfig, open_blocks

    assert sum(block.n_rows or 0 for block in open_blocks(DatasetConfig(str(tmp_path / "out")))) == 1000
    assert (tmp_path / "out" / "index.html").stat().st_size > 10_000


def test_other_settings_do_not_go_on(raw: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    config, output = settings(raw, tmp_path, "out")
    partial = output.with_name("out.partial")
    (partial / "index").mkdir(parents=True)
    (partial / "index" / "00000.parquet").touch()
    (partial / "run.json").write_text(json.dumps({"settings": {"selection": {"size": 5}}, "inputs": {}}))
    error = one_error_line(run(RECIPE, "--config", config, check=False))
    assert "unfinished run with other settings" in error
    assert "selection.size" in error


def test_a_mistake_does_not_stand_in_the_way(tmp_path: Path, run: Run) -> None:
    """What stopped before a shard was finished is no run to go on with; what is not of a run stays."""
    path = write_jsonl(tmp_path / "x.jsonl", [solved(make(1)[0], "1")])
    options = ("--inputs", f"{{path: {path}}}", "--output_dir", tmp_path / "out", "--benchmarks")
    wrong = write_jsonl(tmp_path / "wrong.jsonl", [{"text": "no problem"}])
    one_error_line(run(RECIPE, *options, f"mine={wrong}", check=False))
    assert "1 of 1 rows" in run(RECIPE, *options, "small-world").stdout

    theirs = tmp_path / "other.partial" / "notes.txt"
    theirs.parent.mkdir()
    theirs.touch()
    error = one_error_line(run(RECIPE, *options[:2], "--output_dir", tmp_path / "other", check=False))
    assert "not of an unfinished run" in error
    assert theirs.exists()


def test_one_run_at_a_time(raw: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    config, output = settings(raw, tmp_path, "out")
    first = subprocess.Popen([sys.executable, RECIPE, "--config", str(config)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not output.with_name("out.partial").joinpath("run.json").exists():
        time.sleep(0.01)
    error = one_error_line(run(RECIPE, "--config", config, check=False))
    assert "another run is working in" in error
    assert first.wait() == 0


def test_nothing_left_is_a_result_that_says_why(tmp_path: Path, run: Run) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [solved(make(1)[0], "1")] * 3)
    options = ("--inputs", f"{{path: {path}, fields: {{problem: question}}}}", "--output_dir", tmp_path / "out")
    done = run(RECIPE, *options)
    assert "0 of 3 rows" in done.stdout
    assert "read: unusable row (3), most often: no column 'question'; the row has answer," in done.stdout
    again = run(RECIPE, "--inputs", f"{{path: {tmp_path / 'out'}}}", "--output_dir", tmp_path / "again", check=False)
    assert "an artefact folder without rows" in one_error_line(again)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--inputs []: give at least one"),
        (("--inputs", "{path: missing.jsonl}"), "missing.jsonl: no such file or folder"),
        (("--inputs", "{path: x.jsonl, reader: gsm9k}"), "no reader 'gsm9k' (did you mean gsm8k?)"),
        (("--inputs", "{path: x.jsonl, fields: {probem: q}}"), "we have no column 'probem' (did you mean problem?)"),
        (("--inputs", "{path: x.jsonl}", "--bands", "0.4", "0.8"), "two falling pass rates"),
        (("--inputs", "{path: x.jsonl}", "--filters", "lenght"), "did you mean length"),
        (("--inputs", "{path: x.jsonl}", "--difficulty", "scorer", "--bands", "3", "6"), "needs --scorer"),
        (("--inputs", "{path: x.jsonl}", "--benchmarks", "math501"), "did you mean math500"),
        (("--inputs", "{path: x.jsonl}", "--count_tokens", "exact"), "needs --tokenizer"),
        (("--inputs", "{path: x.jsonl}", "--weights", "{a: -1}"), "0 or more"),
        (("--inputs", "{path: x.jsonl}", "--weights", "{a: .inf}"), "at most 1000"),
        (("--inputs", "{path: x.jsonl}", "--size", "0"), "at least 1"),
        (("--inputs", "{path: x.jsonl}", "--min_difficulty", "5"), "needs --difficulty level or scorer"),
        (("--inputs", "{path: x.jsonl, join_on: [id]}"), "needs `problems: FILE`"),
        (("--inputs", "{path: x.jsonl, problems: gone.jsonl}"), "problems: gone.jsonl: no such file"),
        (("--inputs", "{path: x.jsonl}", "--weights", "{hrd: 2}", "--weight_by", "band"), "weight_by band: easy, "),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, run: Run, options: tuple[str, ...], words: str) -> None:
    path = write_jsonl(tmp_path / "x.jsonl", [solved(make(1)[0], "1")])
    options = tuple(option.replace("x.jsonl", str(path)) for option in options)
    error = one_error_line(run(RECIPE, "--output_dir", tmp_path / "out", *(options or ("--size", "5")), check=False))
    assert words in error


def test_no_space_left(raw: tuple[Path, Path], tmp_path: Path) -> None:
    """Files may not grow beyond a bound, as on a full disk: one line, and what was finished is kept."""
    config, output = settings(raw, tmp_path, "out")
    code = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"sys.argv = [{RECIPE!r}, '--config', {str(config)!r}]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()


@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs long_cot/ below $REDSTAR_DATA")
def test_real_long_cot(tmp_path: Path, run: Run) -> None:
    """Unclosed thoughts as many as the data's own description says; every row is in or out."""
    data = Path(os.environ["REDSTAR_DATA"]) / "long_cot"
    source = {
        "path": str(data / "responses.jsonl.xz"),
        "problems": str(data / "problems.jsonl.xz"),
        "join_on": ["dataset", "problem_id"],
    }
    run(RECIPE, "--inputs", json.dumps(source), "--min_problem_chars", "0", "--output_dir", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["rows_in"] == 10_399 == manifest["rows_out"] + sum(manifest["rows_dropped"].values())
    assert manifest["rows_dropped"]["thought: never closed"] == 631
    assert manifest["counts"]["problems_probably_mislabelled"] > 100
