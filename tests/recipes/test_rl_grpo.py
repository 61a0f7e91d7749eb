"""recipes/rl_grpo.py as a user runs it: a run, the same run resumed, with a PPM, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from data_prep.small_world.search_study import SHIPPED
from rl.ppm.model import new_ppm, step_format_for, tokenizer_for
from tests.recipes.conftest import Run, one_error_line


def arguments(out: Path, *more: object) -> list[object]:
    return [
        "recipes/rl_grpo.py", "--model_name_or_path", SHIPPED, "--problems", "{path: small-world, n_rows: 40}",
        "--output_dir", out, "--max_completion_length", 24, "--num_generations", 4, "--per_device_train_batch_size", 4,
        "--gradient_accumulation_steps", 2, "--learning_rate", 1e-3, "--bf16", "false", "--use_cpu", "true",
        "--temperature", 1.5, "--logging_steps", 1, "--gradient_checkpointing", "false", "--repetition_weight", 1,
        "--repetition_ngram", 1, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("grpo") / "out"
    done = run(*arguments(
        out, "--max_steps", 4, "--save_steps", 2, "--eval_problems", "{path: small-world, split: dev, n_rows: 6}",
        "--per_device_eval_batch_size", 6,
    ))  # fmt: skip
    assert "2 problems x 4 rollouts of up to 24 tokens a step" in done.stdout
    assert "held-out pass@1" in done.stdout
    return out


def history(folder: Path) -> list[dict[str, Any]]:
    timed = ("step_time", "train_", "eval_runtime", "eval_samples", "eval_steps")
    lines = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{k: v for k, v in line.items() if not k.startswith(timed)} for line in lines]


def test_a_run_leaves_a_model_and_says_what_it_has_seen(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["stage"] == "rl_grpo"
    assert manifest["rows_in"] == manifest["rows_out"] == 40
    assert manifest["n_problems_trained_on"] >= 40
    metrics = json.loads((finished / "all_results.json").read_text())
    assert 0.0 <= metrics["eval_rewards/outcome/mean"] <= 1.0
    before, after = (load_file(folder / "model.safetensors") for folder in (SHIPPED, finished))
    assert any((before[name] - after[name]).abs().max() > 1e-4 for name in before)


def test_a_run_that_was_stopped_goes_on_as_the_same(run: Run, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "checkpoint-4")
    for name in ("manifest.json", "model.safetensors", "trainer_state.json"):
        (out / name).unlink()
    done = run(*arguments(
        out, "--max_steps", 4, "--save_steps", 2, "--eval_problems", "{path: small-world, split: dev, n_rows: 6}",
        "--per_device_eval_batch_size", 6,
    ))  # fmt: skip
    assert "resuming" in done.stdout
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (finished, out))
    assert all(whole[name].equal(resumed[name]) for name in whole)
    assert history(out)[:4] == history(finished)[:4]


def test_steps_are_paid_by_a_process_reward_model(run: Run, tmp_path: Path) -> None:
    tokenizer = tokenizer_for(str(SHIPPED), "main", [])
    step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
    ppm = new_ppm(str(SHIPPED), step_format, len(tokenizer), "float32", "tree")
    ppm.save_pretrained(tmp_path / "ppm")
    tokenizer.save_pretrained(tmp_path / "ppm")
    more = ["--scorer", tmp_path / "ppm", "--advantage", "reinforce++", "--beta", 0.01]
    done = run(*arguments(tmp_path / "out", "--max_steps", 1, *more))
    assert "recovery x 0.5" in done.stdout
    line = history(tmp_path / "out")[0]
    assert {"process/score_last", "process/steps", "kl_in_reward"} <= set(line)


def test_an_adapter_is_trained_and_the_first_policy_is_the_model_without_it(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ["--use_peft", "true", "--lora_r", 4, "--advantage", "reinforce++", "--beta", 0.1, "--learning_rate", 0.1]
    run(*arguments(out, "--max_steps", 2, *more))
    adapter = load_file(out / "adapter_model.safetensors")
    assert any("lora_B" in name and value.abs().max() > 0 for name, value in adapter.items())
    assert not (out / "model.safetensors").exists()
    assert history(out)[0]["kl_in_reward"] == pytest.approx(0, abs=1e-6)
    assert history(out)[1]["kl_in_reward"] != 0


def test_programs_run_while_solutions_are_written(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(*arguments(out, "--max_steps", 1, "--steps", "code", "--max_completion_length", 120, "--rollouts_every", 1))
    rows = pq.read_table(out / "rollouts" / "step-000000.parquet").to_pylist()
    assert any("<output>" in row["response"] for row in rows)


def test_programs_are_judged_by_their_tests(run: Run, tmp_path: Path) -> None:
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    rows = [{"problem": f"Read a number and print it plus {i}.", "tests": tests} for i in range(4)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(*arguments(tmp_path / "out", "--max_steps", 1, "--problems", f"{{path: {tmp_path / 'p.jsonl'}}}"))
    assert "4 of 4 rows" in done.stdout
    assert history(tmp_path / "out")[0]["rewards/outcome/mean"] == 0.0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--save_steps", 3, "--steps_per_generation", 4], "give a multiple of 2"),
        (["--eval_problems", "{path: small-world, n_rows: 40}"], "40 of them are in --problems too"),
        (["--scorer", "nowhere"], "nowhere"),
        (["--steps", "code", "--use_vllm", "true"], "--steps code: programs run between steps"),
        (["--save_steps", 2, "--steps_per_generation", 3], "give a multiple of 3"),
        (["--problems", "{path: small-world, n_rows: 1}"], "1 problems, and each generation takes 2 different ones"),
        (["--max_completion_length", 5000], "are more than the 1,024 positions"),
        (["--process_credit", "min"], "--process_credit has no effect without --scorer"),
        (["--overlong_tokens", 1000], "more than the 24 tokens of a rollout"),
        (["--max_replacements", -1], "--max_replacements -1: from 0 to 100"),
        (["--repetition_ngram", 0], "--repetition_ngram 0: from 1 to"),
    ],
)
def test_what_cannot_be_done_is_one_line(run: Run, tmp_path: Path, more: list[object], said: str) -> None:
    done = run(*arguments(tmp_path / "out", "--max_steps", 1, *more), check=False)
    assert said in one_error_line(done)
