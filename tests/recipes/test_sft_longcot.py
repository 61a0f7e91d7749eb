"""The main recipe as a user runs it: results, resuming, refusals. Distributed runs: see test_sft_distributed.py."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_prep.artefacts import read_manifest, read_trained_on, write_trained_on
from data_prep.small_world.samples import problem_rows
from tests.recipes.conftest import ROOT, Run, command_line, one_error_line

SFT = "recipes/sft_longcot.py"
# Settings that the tests share: float32, rows of 512 tokens, four of them a step.
SHORT = [
    "--bf16", "false", "--gradient_checkpointing", "false", "--max_length", 512, "--learning_rate", 1e-3,
    "--gradient_accumulation_steps", 2, "--per_device_train_batch_size", 2, "--logging_steps", 2,
]  # fmt: skip


def arguments(model: Path, data: Path | str, out: Path, *more: object) -> list[object]:
    return [SFT, "--model_name_or_path", model, "--dataset_name", data, "--output_dir", out, *SHORT, *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def trained(run: Run, tiny_model: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole run under `accelerate launch`, with a held-out part: its folder and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    more = ["--max_steps", 12, "--eval_share", 0.1, "--eval_strategy", "steps", "--eval_steps", 6, "--save_steps", 6]
    done = run(*arguments(tiny_model, samples, out, *more), launcher=("--num_processes", "1", "--cpu"))
    return out, done.stdout


def test_leaves_a_folder_that_the_next_stage_can_use(trained: tuple[Path, str], tiny_model: Path) -> None:
    out, printed = trained
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert not torch.equal(weights(out)["model.norm.weight"], weights(tiny_model)["model.norm.weight"])
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    assert model.generation_config.eos_token_id == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert (out / "README.md").read_text().startswith("---")
    assert not list(out.glob("*.bin")), "safetensors only"
    metrics = json.loads((out / "all_results.json").read_text())
    assert metrics["train_loss"] > 0
    assert metrics["eval_loss"] > 0
    for word in (
        "config: ",
        "data       ",
        "batch      2 rows x 2 accumulated x 1 processes = 4 rows a step",
        "next  ",
    ):
        assert word in printed, printed


def test_learns(trained: tuple[Path, str]) -> None:
    history = json.loads((trained[0] / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    held_out = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert losses[-1] < losses[0] - 0.1
    assert held_out[-1] < held_out[0]


def test_manifest_records_data_and_problems(trained: tuple[Path, str], samples: Path) -> None:
    out, _ = trained
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["stage"] == "sft_longcot"
    assert manifest["rows_in"] == 300
    held_out = manifest["rows_dropped"]
    assert manifest["rows_out"] + sum(held_out.values()) == 300
    assert 5 < sum(held_out.values()) < 80, "eval_share 0.1 of the problems"
    everything = {row["problem_id"] for row in problem_rows("train", 300)}
    assert read_trained_on(out) < everything
    assert len(read_trained_on(out)) == manifest["rows_out"]


def test_evaluate_refuses_what_was_trained_on(run: Run, trained: tuple[Path, str], tmp_path: Path) -> None:
    refused = run(
        "recipes/evaluate.py", "--model_name_or_path", trained[0], "--benchmarks", "small-world", "--split", "train",
        "--n_problems", 20, "--output_dir", tmp_path / "e", check=False,
    )  # fmt: skip
    assert "was trained on" in one_error_line(refused)
    assert not (tmp_path / "e").exists()


def test_evaluate_keeps_every_response(run: Run, trained: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "e"
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", trained[0], "--benchmarks", "small-world", "--n_problems", 12,
        "--n_samples", 4, "--temperature", 1, "--max_new_tokens", 20, "--output_dir", out,
    )  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    rows = pq.read_table(out / "data-00000.parquet").to_pylist()
    assert len(rows) == 12 + 12 * 4
    assert {s["metric"] for s in result["scores"] if s["decoding"] == "sampled"} == {
        "pass@1",
        "pass@2",
        "pass@4",
        "maj@4",
    }
    assert {s["group"] for s in result["scores"]} == {"all", "easy", "medium", "hard"}
    assert all(row["finish_reason"] == "length" for row in rows if row["n_tokens"] == 20 and row["extracted"] is None)
    assert result["settings"]["temperature"] == 1
    assert "95 % interval" in done.stdout


def kill_after(checkpoint: Path, *command: object) -> None:
    """Starts a run, kills it with SIGKILL as soon as the checkpoint is whole, and waits for its end."""
    process = subprocess.Popen(
        command_line(*command), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 200
    while not (checkpoint / "trainer_state.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint within 200 s"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_killed_run_resumes_to_the_same_weights(
    run: Run, tiny_model: Path, samples: Path, tmp_path: Path, streaming: str
) -> None:
    more = ["--num_train_epochs", 3, "--save_steps", 4, "--streaming", streaming, "--lr_scheduler_type", "cosine"]
    base = shutil.copytree(tiny_model, tmp_path / "base")
    write_trained_on(base, ["p1-before"])
    whole = run(*arguments(base, samples, tmp_path / "whole", *more))
    killed = arguments(base, samples, tmp_path / "killed", *more)
    kill_after(tmp_path / "killed" / "checkpoint-8", *killed)
    assert not (tmp_path / "killed" / "manifest.json").exists()
    # The guard holds before the run has ended, for what the base was trained on too.
    assert {"p1-before"} < read_trained_on(tmp_path / "killed" / "checkpoint-8")
    resumed = run(*killed)
    assert "resuming   " in resumed.stdout
    assert "resuming   " not in whole.stdout
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "killed")[name]), name
    assert read_trained_on(tmp_path / "killed") == read_trained_on(tmp_path / "whole")
    # The figures are those of the second part, and say so.
    metrics = json.loads((tmp_path / "killed" / "all_results.json").read_text())
    start = metrics["resumed_at_step"]
    assert start in (4, 8)  # 4 if the kill came in the middle of writing 8
    log = json.loads((tmp_path / "killed" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in log if "loss" in entry and entry["step"] > start]
    assert metrics["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=0.02)


def test_second_start_finds_the_rows_in_the_cache(run: Run, tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    first = run(*arguments(tiny_model, samples, tmp_path / "a", "--max_steps", 1))
    second = run(*arguments(tiny_model, samples, tmp_path / "b", "--max_steps", 1))
    assert "(from the cache)" in second.stdout
    del first


def test_lora_leaves_an_adapter_that_loads(run: Run, tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    run(*arguments(tiny_model, samples, out, "--max_steps", 2, "--use_peft", "true", "--lora_r", 4))
    assert (out / "adapter_model.safetensors").exists()
    AutoModelForCausalLM.from_pretrained(out)


# --- Bad input: one clear line each, and nothing lost


def test_missing_data(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    done = run(*arguments(tiny_model, "no/such/file.jsonl", tmp_path / "o"), check=False)
    assert "no/such/file.jsonl: no such file or folder" in one_error_line(done)


def test_broken_json_names_file_and_line(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"query": "1+1?", "response": "2"}\n{"query": "broken\n')
    line = one_error_line(run(*arguments(tiny_model, data, tmp_path / "o"), check=False))
    assert f"{data}, line 2: broken JSON" in line


def test_row_without_assistant_turn(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"messages": [{"role": "user", "content": "1+1?"}]}\n')
    line = one_error_line(run(*arguments(tiny_model, data, tmp_path / "o"), check=False))
    assert f"{data}, line 1: no assistant turn" in line


def test_sample_whose_tokens_are_all_masked(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"query": "long " * 2000, "response": "2"}) + "\n")
    line = one_error_line(run(*arguments(tiny_model, data, tmp_path / "o", "--overlong", "cut"), check=False))
    assert f"{data}, line 1: no token to train on" in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--datasets", "{path: small-world}"], "give --dataset_name or --datasets, not both"),
        (["--eval_share", 0.5, "--eval_datasets", "{path: small-world}"], "give --eval_datasets or --eval_share"),
    ],
)
def test_settings_of_which_one_would_be_ignored(
    run: Run, tiny_model: Path, samples: Path, tmp_path: Path, more: list[object], message: str
) -> None:
    done = run(*arguments(tiny_model, samples, tmp_path / "out", *more), check=False)
    assert message in one_error_line(done)


def test_evaluate_needs_something_to_do(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    done = run(
        "recipes/evaluate.py", "--model_name_or_path", tiny_model, "--benchmarks", "small-world",
        "--output_dir", tmp_path / "out", "--greedy", "false", check=False,
    )  # fmt: skip
    assert "--greedy False: true, or give --n_samples" in one_error_line(done)


def test_quickstart_removes_nothing_but_a_quickstart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "thesis.txt").write_text("x")
    done = run("recipes/quickstart.py", "--output_dir", tmp_path, check=False)
    assert "holds something else than a quickstart" in one_error_line(done)
    assert (tmp_path / "thesis.txt").exists()


def test_max_length_beyond_the_positions(run: Run, tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    command = arguments(tiny_model, samples, tmp_path / "o", "--max_steps", 1, "--max_length", 1024)
    line = one_error_line(run(*command, check=False))
    assert "512 positions" in line
    assert "--rope_theta" in line
    run(*command, "--rope_theta", 300000)
    config = json.loads((tmp_path / "o" / "config.json").read_text())
    assert config["max_position_embeddings"] == 1024
    assert config["rope_parameters"]["rope_theta"] == 300000


def test_checkpoints_of_another_model(run: Run, trained: tuple[Path, str], samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    (out / "checkpoint-6").mkdir(parents=True)
    for name in ("trainer_state.json", "config.json"):
        (out / "checkpoint-6" / name).write_text((trained[0] / "checkpoint-6" / name).read_text())
    (out / "run.json").write_text((trained[0] / "run.json").read_text())
    line = one_error_line(run(*arguments(trained[0], samples, out), check=False))
    assert "holds checkpoints of another run" in line
    assert (out / "checkpoint-6").exists()


def test_finished_run_is_not_written_over(run: Run, trained: tuple[Path, str], tiny_model: Path, samples: Path) -> None:
    before = (trained[0] / "model.safetensors").read_bytes()
    line = one_error_line(run(*arguments(tiny_model, samples, trained[0]), check=False))
    assert "a finished run lies here" in line
    assert (trained[0] / "model.safetensors").read_bytes() == before


def test_two_runs_into_one_folder(run: Run, tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    first = arguments(tiny_model, samples, out, "--num_train_epochs", 200, "--save_steps", 1000)
    process = subprocess.Popen(
        command_line(*first), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not (out / "run.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        line = one_error_line(run(*first, check=False))
        assert "another run is writing here" in line
        assert process.poll() is None, "the first run goes on"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_full_disk_keeps_the_last_good_checkpoint(run: Run, tiny_model: Path, samples: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        # A checkpoint of this model takes about half a megabyte: the second one does not fit.
        done = run(
            *arguments(tiny_model, samples, disk / "o", "--max_steps", 20, "--save_steps", 2, "--logging_steps", 1),
            check=False,
        )
        line = one_error_line(done)
        assert "the disk is full" in line
        good = [path for path in (disk / "o").glob("checkpoint-*") if (path / "trainer_state.json").exists()]
        assert good
        assert str(good[-1]) in line
        assert load_file(good[-1] / "model.safetensors")
        assert [path.name for path in (disk / "o").glob("checkpoint-*")] == [path.name for path in good]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "text", ["learning_rat: 1e-5", "max_length: many", "overlong: shorten", "datasets: [{pth: a}]"]
)
def test_mistakes_in_yaml(run: Run, tmp_path: Path, text: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"{text}\n")
    line = one_error_line(run(SFT, "--config", config, check=False))
    assert "c.yaml" in line


def test_abbreviated_flag(run: Run) -> None:
    line = one_error_line(run(SFT, "--learn", "1e-5", check=False))
    assert "--learn" in line
    assert "learning_rate" in line
