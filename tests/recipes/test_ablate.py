"""recipes/ablate.py as a user runs it: cells, resume, faults, plans. The model is too small to learn anything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from data_prep.sources import DatasetConfig, open_blocks, read_block
from tests.recipes.conftest import ROOT, Run, clean_environment, command_line, one_error_line

SIZES, SEEDS = [1500, 3000], [0, 1]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark") / "sums.jsonl"
    rows = [{"problem": f"What is {i} + {i % 7}?", "answer": i + i % 7, "band": "ab"[i % 2]} for i in range(20)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def study(tiny_model: Path, samples: Path, benchmark: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "samples": str(samples),
        "test": [str(benchmark)],
        "model_name_or_path": str(tiny_model),
        "sft_options": {
            "max_length": 512, "learning_rate": 1.0e-3, "bf16": False, "gradient_checkpointing": False,
            "save_strategy": "no", "logging_steps": 1,
        },
        "evaluate_options": {"instruction": "", "max_new_tokens": 8, "batch_size": 20},
        "grids": [{"bands": ["easy", "hard"], "sizes": SIZES, "seeds": SEEDS}, {"sizes": [0]}],
        "questions": [
            {
                "name": "harder", "claim": "Hard samples teach more.", "smallest_effect": 5,
                "terms": [{"band": "hard", "size": SIZES[1]}, {"weight": -1, "band": "easy", "size": SIZES[1]}],
            }
        ],
        "output_dir": str(tmp_path / "study"),
        "cells_at_once": 2,
    }  # fmt: skip


def config(study: dict[str, Any], tmp_path: Path, **changes: Any) -> list[str]:
    path = tmp_path / f"study{len(list(tmp_path.glob('*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump({**study, **changes}))
    return ["recipes/ablate.py", "--config", str(path)]


def table(folder: Path) -> pd.DataFrame:
    """The tidy table without what time it took."""
    return pd.read_parquet(folder / "cells.parquet").drop(columns="seconds")


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("cells/*/cell.json")}


def finished(folder: Path) -> int:
    return len(list(folder.glob("cells/*/cell.json")))


def test_a_grid_killed_three_times_ends_with_the_same_table(run: Run, study: dict[str, Any], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(*config(study, tmp_path, output_dir=str(whole)))
    command = config(study, tmp_path, output_dir=str(killed))
    for n_finished in (1, 4, 7):
        process = subprocess.Popen(
            command_line(*command), cwd=ROOT, env=clean_environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while finished(killed) < n_finished:
            assert time.monotonic() < deadline
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)  # it alone: its cells go with it
        process.wait()
    n_before = finished(killed)
    assert n_before < 9
    done = run(*command)
    assert f"{n_before} of 9 cells are finished already" in done.stdout
    pd.testing.assert_frame_equal(table(killed), table(whole))
    first, second = (json.loads((folder / "report.json").read_text()) for folder in (whole, killed))
    assert first["questions"] == second["questions"]
    assert first["ways"] == second["ways"]

    # The table says what was trained on, and the cells are nested and at equal tokens.
    cells = table(whole).query("tested == 'all'").set_index("name")
    assert len(cells) == 9
    assert set(cells["status"]) == {"done"}
    for name, cell in cells.iterrows():
        if cell["size"]:
            assert cell["size"] * 0.6 < cell["tokens"] <= cell["size"], name
    for band in ("easy", "hard"):
        for seed in SEEDS:
            data = whole / "data" / f"tiny_{band}_s{seed}"
            rows = [row for block in open_blocks(DatasetConfig(str(data))) for _, row in read_block(block)]
            assert {row["band"] for row in rows} == {band}
            assert len(rows) == cells.loc[f"tiny_{band}_s{seed}_{SIZES[1]}", "unique_samples"]
    report = json.loads((whole / "report.json").read_text())
    assert report["questions"][0]["verdict"] in ("holds", "contradicted", "undecided")
    assert report["questions"][0]["low"] <= report["questions"][0]["estimate"] <= report["questions"][0]["high"]
    page = (whole / "index.html").read_text()
    assert "Hard samples teach more." in page
    assert page.count("<svg") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert not list(whole.glob("cells/*/model"))

    # The questions may not change any more.
    changed = {**study["questions"][0], "smallest_effect": 1}
    line = one_error_line(run(*config(study, tmp_path, output_dir=str(whole), questions=[changed]), check=False))
    assert "questions have changed" in line
    # Nor may a cell be taken for one of other settings.
    options = {**study["sft_options"], "learning_rate": 2.0e-3}
    line = one_error_line(run(*config(study, tmp_path, output_dir=str(whole), sft_options=options), check=False))
    assert "other settings" in line


def test_a_warm_cell_is_bit_for_bit_that_of_its_own_process(run: Run, study: dict[str, Any], tmp_path: Path) -> None:
    name = f"tiny_easy_s1_{SIZES[0]}"
    ways = {
        "warm": ["--warm", "true"],
        "own": ["--warm", "false"],
        "launched": ["--accelerate_config", "accelerate_configs/cpu.yaml", "--gpus_per_cell", "1"],
    }
    weights, responses = set(), []
    for way, options in ways.items():
        run(*config(study, tmp_path, output_dir=str(tmp_path / way)), *options, "--only", name, "--keep_models", "true")
        cell = tmp_path / way / "cells" / name
        weights.add((cell / "model" / "model.safetensors").read_bytes())
        responses.append(pq.read_table(cell / "evaluation" / "data-00000.parquet").drop_columns(["model"]).to_pylist())
    assert len(weights) == 1
    assert responses[0] == responses[1] == responses[2]


def test_a_cell_that_cannot_run_is_marked_and_the_rest_goes_on(
    run: Run, study: dict[str, Any], samples: Path, tmp_path: Path
) -> None:
    rows = [row for block in open_blocks(DatasetConfig(str(samples))) for _, row in read_block(block)]
    hard = [row for row in rows if row["band"] == "hard"]
    leaked = min(hard, key=lambda row: len(row["messages"][1]["content"]))  # others are over-long and left out
    test, dev = tmp_path / "test.jsonl", tmp_path / "dev.jsonl"
    problems = [{"problem": f"What is {i} + 1?", "answer": i + 1, "band": "a"} for i in range(8)]
    test.write_text("".join(f"{json.dumps(row)}\n" for row in problems))
    dev.write_text(json.dumps({"problem": leaked["problem"], "answer": leaked["answer"], "band": "a"}) + "\n")
    options = {key: value for key, value in study["sft_options"].items() if key != "learning_rate"}
    command = config(
        study, tmp_path, test=[str(test)], dev=[str(dev)], tune_lr=[1.0e-3, 1.0e30], questions=[], sft_options=options,
        grids=[
            {"bands": ["easy"], "sizes": [SIZES[0], 10_000_000]},
            {"bands": ["hard"], "sizes": [100], "per_problem": [1]},
            {"bands": ["hard"], "sizes": [23_100]},
        ],
    )  # fmt: skip
    done = run(*command)
    cells = records(tmp_path / "study")
    assert cells[f"tiny_easy_s0_{SIZES[0]}"]["status"] == "done"
    assert cells[f"tiny_easy_s0_{SIZES[0]}"]["learning_rate"] == 1e-3  # the one that did not diverge
    assert "too few tokens" in cells["tiny_easy_s0_10000000"]["fault"]
    assert "less than one sample" in cells["tiny_hard_upto1_s0_100"]["fault"]
    assert "1 test problems" in cells["tiny_hard_s0_23100"]["fault"]
    assert leaked["problem"][:20] in cells["tiny_hard_s0_23100"]["fault"].replace("\\n", "\n")
    diverged = next(cell for name, cell in cells.items() if name.endswith("lr1e+30") and f"_{SIZES[0]}_" in name)
    assert "diverged" in diverged["fault"]
    for fault in ("too few tokens", "less than one sample", "test problems", "diverged"):
        assert fault in done.stdout
    assert table(tmp_path / "study").set_index("name").loc["tiny_hard_s0_23100", "status"] == "failed"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"tested": ["c"]}, "no test problem is in the group 'c'"), ({"smallest_effect": 0}, "needs a size")],
)
def test_questions_that_cannot_be_answered(
    run: Run, study: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    changes = {"questions": [{**study["questions"][0], **change}]}
    assert said in one_error_line(run(*config(study, tmp_path, **changes), check=False))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grids": [{"sizes": [1500], "seeds": [0, 1, 1]}]}, "1 stands there twice"),
        ({"grids": [{"sizes": [1500], "bands": ["hrad"]}]}, "did you mean hard"),
        ({"grids": [{"sizes": [1500], "where": [{"trace": "natural"}]}], "questions": []}, "no column 'trace'"),
        ({"grids": [{"sizes": [1500]}]}, "no cell of the grids is like"),
        ({"tune_lr": [1.0e-3]}, "tune_lr and dev belong together"),
        ({"gpus_per_cell": 2}, "--accelerate_config"),
        ({"group_by": "level"}, "group_by level: no problem of sums has it; there are answer, band"),
        ({"serve": "vllm serve"}, "{model} and {port}"),
        ({"evaluate_options": {"max_new_token": 8}}, "evaluate.yaml: max_new_token: unknown key"),
        ({"sft_options": {"max_length": 512, "learning_rat": 1}}, "sft.yaml: learning_rat: unknown key"),
        ({"report_only": True}, "no cell has finished yet"),
        ({"only": ["tiny_easy_s0_1501"]}, "did you mean tiny_easy_s0_1500"),
        ({"samples": "nowhere"}, "no artefact folder of samples"),
        ({"throughput": 1.0, "evaluate_throughput": 1.0, "max_hours": 0.5}, "more than --max_hours 0.5"),
    ],
    ids=[
        "seed twice",
        "band",
        "column",
        "question",
        "tune",
        "gpus",
        "group",
        "serve",
        "evaluate",
        "sft",
        "report",
        "only",
        "samples",
        "hours",
    ],
)
def test_mistakes_are_one_line(
    run: Run, study: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in one_error_line(run(*config(study, tmp_path, **changes), check=False))
    assert finished(tmp_path / "study") == 0


def test_plan_without_running(run: Run, study: dict[str, Any], tmp_path: Path) -> None:
    command = config(study, tmp_path)
    planned = run(*command, "--dry_run", "true", "--throughput", "100", "--evaluate_throughput", "50").stdout
    assert "9 cells to run" in planned
    assert " hours, 2 at once" in planned
    commands = [line for line in planned.splitlines() if line.startswith("python ")]
    assert len(commands) == 8 + 9
    assert not (tmp_path / "study" / "data").exists()
    several = run(*command, "--dry_run", "true", "--accelerate_config", "accelerate_configs/zero3.yaml",
                  "--gpus_per_cell", "8", "--cells_at_once", "1").stdout  # fmt: skip
    launch = "accelerate launch --config_file accelerate_configs/zero3.yaml --num_processes 8 --main_process_port 0 "
    assert several.count(f"{launch}recipes/sft_longcot.py ") == 8

    run(*command, "--launcher", "slurm")
    names = (tmp_path / "study" / "cells.txt").read_text().split()
    assert len(names) == 9
    script = (tmp_path / "study" / "cells.slurm").read_text()
    assert "#SBATCH --array=1-9" in script
    # What a job would do, and the report when all are there but eight.
    job = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**clean_environment(), "SLURM_ARRAY_TASK_ID": "9"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (tmp_path / "study" / "cells" / names[-1] / "cell.json").is_file(), job.stderr[-2000:]
    assert finished(tmp_path / "study") == 1, job.stderr[-2000:]
    reported = run(*command, "--report_only", "true").stdout
    assert "1 cells, 8 failed or missing" in reported


def test_ctrl_c_leaves_cells_to_go_on_with(run: Run, study: dict[str, Any], tmp_path: Path) -> None:
    command = config(study, tmp_path, grids=[{"sizes": [20_000], "seeds": [0]}, {"sizes": [0]}], questions=[])
    process = subprocess.Popen(
        command_line(*command), cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where the tests run in the background
    )  # fmt: skip
    log = tmp_path / "study" / "cells" / "tiny_all_s0_20000" / "train.log"
    deadline = time.monotonic() + 200
    while not log.exists() or "it/s]" not in log.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, "ended before it could be stopped"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the grid and its cells alike
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "goes on with the cells that are not finished" in said
    assert "Traceback" not in said
    assert "tiny_all_s0_20000" not in records(tmp_path / "study")
    assert "2 cells" in run(*command).stdout


def test_what_others_have_left_in_a_folder(run: Run, study: dict[str, Any], tmp_path: Path) -> None:
    """Larger sizes need more samples; a cell of other settings that was not finished is no part of this one."""
    folder, name = tmp_path / "study", f"tiny_easy_s0_{SIZES[0]}"
    run(*config(study, tmp_path, grids=[{"bands": ["easy"], "sizes": [SIZES[0]]}], questions=[]))
    cell = folder / "cells" / name
    grown = {"grids": [{"bands": ["easy"], "sizes": SIZES}], "questions": []}
    run(*config(study, tmp_path, **grown))
    larger = records(folder)[f"tiny_easy_s0_{SIZES[1]}"]
    assert larger["status"] == "done", larger["fault"]
    assert larger["tokens"] > SIZES[0]
    report = json.loads((folder / "report.json").read_text())
    assert report["cells_added_later"] == [f"tiny_easy_s0_{SIZES[1]}"]

    (cell / "cell.json").unlink()
    (cell / "begun").write_text("of other settings")
    (cell / "evaluation" / "result.json").write_text("{}")
    run(*config(study, tmp_path, **grown))
    assert records(folder)[name]["status"] == "done"

    shutil.rmtree(cell / "evaluation")
    said = one_error_line(run(*config(study, tmp_path, **grown), "--report_only", "true", check=False))
    assert name in said
    assert "evaluation is gone" in said
    (cell / "cell.json").write_text("{broken")
    assert str(cell / "cell.json") in one_error_line(run(*config(study, tmp_path, **grown), check=False))
    (folder / "manifest.json").unlink()
    assert "questions that were fixed before is gone" in one_error_line(
        run(*config(study, tmp_path, **grown), check=False)
    )


def test_a_server_for_the_evaluation_comes_and_goes(run: Run, study: dict[str, Any], tmp_path: Path) -> None:
    serve = f"{sys.executable} -m tests.recipes.serve {{model}} {{port}}"
    command = config(study, tmp_path, grids=[{"sizes": [0]}], questions=[], serve=serve)
    assert "tests.recipes.serve" in run(*command, "--dry_run", "true").stdout
    run(*command)
    (cell,) = records(tmp_path / "study").values()
    assert cell["status"] == "done", cell["fault"]
    settings = json.loads((tmp_path / "study" / "cells" / "tiny_untrained" / "evaluation" / "result.json").read_text())
    assert settings["settings"]["server_urls"][0].startswith("http://127.0.0.1:")
    alive = subprocess.run(["pgrep", "-f", f"tests.recipes.serve {study['model_name_or_path']}"], check=False)
    assert alive.returncode == 1, "the server is still there"

    broken = f"{sys.executable} -c 'raise SystemExit(\"no GPU for {{model}} at {{port}}\")'"
    run(*config(study, tmp_path, grids=[{"sizes": [0]}], questions=[], serve=broken,
                output_dir=str(tmp_path / "broken")), check=False)  # fmt: skip
    (cell,) = records(tmp_path / "broken").values()
    assert "the server ended: no GPU for" in cell["fault"]
