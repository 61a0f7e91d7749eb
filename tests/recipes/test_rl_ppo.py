"""recipes/rl_ppo.py as a user runs it: a run, the same resumed, with a PPM that pays steps and begins the critic."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from data_prep.small_world.search_study import SHIPPED
from rl.ppm.model import load_ppm, new_ppm, step_format_for, tokenizer_for
from tests.recipes.conftest import Run, one_error_line
from tests.recipes.test_rl_grpo import arguments as grpo_arguments
from tests.recipes.test_rl_grpo import history


def arguments(out: Path, *more: object) -> list[object]:
    return ["recipes/rl_ppo.py", *grpo_arguments(out)[1:], "--critic_learning_rate", 1e-3, *more]


FOUR = ["--max_steps", 4, "--save_steps", 2, "--value_warmup_steps", 1]


@pytest.fixture(scope="module")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ppo") / "out"
    done = run(*arguments(out, *FOUR))
    assert "with the critic, which starts from policy" in done.stdout
    assert "of these 1 of the critic alone" in done.stdout
    assert f"the critic in {out / 'critic'}" in done.stdout
    return out


def test_a_run_leaves_a_policy_and_a_critic(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["stage"] == "rl_ppo"
    before, after = (load_file(folder / "model.safetensors") for folder in (SHIPPED, finished))
    assert set(before) == set(after)
    assert any((before[name] - after[name]).abs().max() > 1e-4 for name in before)
    assert load_file(finished / "critic" / "model.safetensors")["score.weight"].abs().max() > 0
    assert "critic/explained_variance" in history(finished)[0]
    assert (finished / "rollouts.html").exists()
    assert "critic: explained variance" in (finished / "curves.svg").read_text()


def test_a_run_that_was_stopped_goes_on_as_the_same(run: Run, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "checkpoint-4")
    (out / "manifest.json").unlink()
    assert "resuming" in run(*arguments(out, *FOUR)).stdout
    for part in ("", "critic"):
        whole, resumed = (load_file(folder / part / "model.safetensors") for folder in (finished, out))
        assert all(whole[name].equal(resumed[name]) for name in whole)
    assert history(out)[:4] == history(finished)[:4]


@pytest.fixture(scope="module")
def ppm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ppm") / "ppm"
    tokenizer = tokenizer_for(str(SHIPPED), "main", [])
    step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
    new_ppm(str(SHIPPED), step_format, len(tokenizer), "float32", "tree").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_ppm_pays_steps_and_begins_the_critic(run: Run, ppm: Path, tmp_path: Path) -> None:
    done = run(*arguments(tmp_path / "out", "--max_steps", 1, "--scorer", ppm, "--beta", 0.01))
    assert f"which starts from {ppm}" in done.stdout
    assert "recovery x 0.5" in done.stdout
    assert {"process/score_last", "kl_in_reward", "critic/loss"} <= set(history(tmp_path / "out")[0])
    assert load_ppm(str(tmp_path / "out" / "critic"))[2].scale == 5


def test_a_critic_with_another_tokenizer_is_refused(run: Run, ppm: Path, tmp_path: Path) -> None:
    shutil.copytree(ppm, tmp_path / "other")
    tokenizer = tokenizer_for(str(SHIPPED), "main", ["<more>"])
    step_format = step_format_for(tokenizer, "pairs", "tanh/5", "chat", "")
    new_ppm(str(SHIPPED), step_format, len(tokenizer), "float32", "tree").save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    done = run(*arguments(tmp_path / "out", "--max_steps", 1, "--critic", tmp_path / "other"), check=False)
    assert "its tokenizer is not the policy's" in one_error_line(done)
    done = run(*arguments(tmp_path / "out", "--max_steps", 1, "--scorer", tmp_path / "other"))
    assert "which starts from policy" in done.stdout, "a scorer may read other tokens, a critic not"
    for more, said in (
        (["--gamma", 5], "--gamma 5: from 0 to 1"), (["--value_warmup_steps", -3], "--value_warmup_steps -3: from 0"),
        (["--critic", tmp_path / "nowhere"], "no such folder"),
    ):  # fmt: skip
        assert said in one_error_line(run(*arguments(tmp_path / "new", *more), check=False))
