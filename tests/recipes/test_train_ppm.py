"""recipes/train_ppm.py as a user runs it: on one process and on two under each backend, resumed, refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from data_prep.artefacts import read_trained_on
from data_prep.tokenization import part_of
from rl.ppm.model import load_ppm
from rl.ppm.scoring import open_scorer
from tests.data_prep.mcts.test_pairs import make_tree
from tests.recipes.conftest import Run, one_error_line
from tests.recipes.test_sft_distributed import BACKENDS, CONFIGS, FSDP_ON_CPU, TWO, compare
from tests.rl.ppm.conftest import SHIPPED
from tests.rl.ppm.test_data import write_trees


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trees of 20 problems that are trained on, whole steps of four, and of 5 that are held out."""
    names = [f"p1-{i}" for i in range(60)]
    chosen = [name for name in names if part_of(name, 0.2) == "train"][:20]
    chosen += [name for name in names if part_of(name, 0.2) == "eval"][:5]
    made = [make_tree() for _ in chosen]
    for i, (tree, name) in enumerate(zip(made, chosen, strict=True)):
        tree.problem |= {"problem_id": name, "problem": f"What is {i * 37} + 1?"}
    return Path(write_trees(tmp_path_factory.mktemp("trees") / "mcts", made))


def arguments(model: Path, data: object, out: Path, *more: object) -> list[object]:
    return [
        "recipes/train_ppm.py", "--model_name_or_path", model, "--data", data, "--output_dir", out, "--max_length", 512,
        "--learning_rate", 1e-2, "--bf16", "false", "--use_cpu", "true", "--eval_share", 0.2,
        "--gradient_checkpointing", "false", *more,
    ]  # fmt: skip


def settings(n_processes: int) -> list[object]:
    """Four trees a step on any number of processes; the gradient is clipped, so its global norm has to be right."""
    return [
        "--gradient_accumulation_steps", 4 // n_processes, "--max_steps", 6, "--save_steps", 3, "--max_grad_norm", 0.5,
        "--logging_steps", 1,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one_process(run: Run, tiny_model: Path, trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "out"
    run(*arguments(tiny_model, trees, out, *settings(1)))
    return out


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    metrics = json.loads((folder / "all_results.json").read_text())
    return [line["loss"] for line in history if "loss" in line] + [metrics["train_loss"], metrics["eval_loss"]]


def metrics_of(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "all_results.json").read_text())
    return {name: value for name, value in metrics.items() if name.startswith(("eval_", "data_"))}


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_processes_equal_one(
    run: Run, one_process: Path, tiny_model: Path, trees: Path, tmp_path: Path, backend: str
) -> None:
    if backend.startswith("zero") and shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its CPU communication and there is no c++")
    out = tmp_path / "out"
    launcher = ("--config_file", str(CONFIGS / f"{backend}.yaml"), *TWO)
    command = arguments(tiny_model, trees, out, *settings(2))
    done = run(*([FSDP_ON_CPU] if backend == "fsdp2" else []), *command, launcher=launcher)
    assert "x 2 processes = 4 trees a step" in done.stdout
    expected = {"cpu": "MULTI_CPU", "ddp": "MULTI_CPU", "fsdp2": "FSDP"}.get(backend, "DEEPSPEED")
    assert expected in (out / "manifest.json").read_text()
    assert losses(out) == pytest.approx(losses(one_process), abs=2e-5)
    # Adam's step divides by the root of a square: rounding in the gradient of tiny entries shows in the weights.
    compare(out, one_process, 1e-4 if backend == "zero3" else 5e-5)
    mine, theirs = metrics_of(out), metrics_of(one_process)
    for name in theirs:
        assert mine[name] == pytest.approx(theirs[name], abs=1e-3), name
    problems = [f"What is {i} + 1?" for i in range(4)]
    paths = [["a = 1\n<end_of_step>", "b = 2\n<end_of_step>"]] * 4
    for a, b in zip(*(open_scorer(str(f)).score(problems, paths) for f in (out, one_process)), strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_a_run_leaves_a_folder_that_says_what_it_is(one_process: Path) -> None:
    manifest = json.loads((one_process / "manifest.json").read_text())
    assert manifest["stage"] == "train_ppm"
    assert manifest["rows_dropped"]["trees without a pair"] == 0
    assert manifest["metrics"]["eval_n_pairs"] > 0
    assert read_trained_on(one_process)
    config = json.loads((one_process / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForTokenClassification"]
    assert config["step_scores"]["scale"] == 5.0
    card = (one_process / "README.md").read_text()
    assert "| pair accuracy |" in card
    assert not list(one_process.glob("*.bin"))
    assert load_file(one_process / "model.safetensors")["score.weight"].abs().max() > 0


def test_an_interrupted_run_goes_on_to_the_same_model(
    run: Run, one_process: Path, tiny_model: Path, trees: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(one_process, out)
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "checkpoint-6")
    done = run(*arguments(tiny_model, trees, out, *settings(1)))
    assert f"resuming   {out / 'checkpoint-3'}" in done.stdout
    compare(out, one_process, 1e-6)
    (out / "manifest.json").unlink()
    other = run(*arguments(tiny_model, trees, out, *settings(1), "--objective", "q"), check=False)
    assert "holds checkpoints of another run" in one_error_line(other)


def test_baselines_and_paths_train_too(run: Run, tiny_model: Path, trees: Path, tmp_path: Path) -> None:
    for name, more in (
        ("orm", ("--objective", "outcome")), ("pqm", ("--objective", "q")), ("paths", ("--packing", "paths")),
        ("bounded", ("--bound", "tanh")),
    ):  # fmt: skip
        done = run(*arguments(tiny_model, trees, tmp_path / name, "--num_train_epochs", 4, *more))
        metrics = metrics_of(tmp_path / name)
        # The first letter of a step says it all; whole solutions (orm), whose steps are mixed, say a little less.
        assert metrics["eval_pair_accuracy"] >= (0.8 if name == "orm" else 1.0), name
        assert f"model      {tmp_path / name}" in done.stdout
    formats = [load_ppm(str(tmp_path / name))[2] for name in ("orm", "pqm", "paths", "bounded")]
    assert [(f.scale, f.bounded_in_training) for f in formats] == [(2, False), (1, True), (5, False), (1, True)]


@pytest.mark.real_data
@pytest.mark.skipif("REDSTAR_DATA" not in os.environ, reason="needs rstar_examples/ below $REDSTAR_DATA")
def test_rstars_own_pairs_train(run: Run, tmp_path: Path) -> None:
    """A real checkpoint if $REDSTAR_MODEL names one, else the shipped policy."""
    data = Path(os.environ["REDSTAR_DATA"]) / "rstar_examples" / "rm_data_examples.json"
    model = os.environ.get("REDSTAR_MODEL", SHIPPED)
    command = arguments(Path(model), data, tmp_path / "out", "--eval_share", 0, "--prompt", "rstar", "--max_steps", 3)
    done = run(*command, "--max_length", 1024, "--learning_rate", 1e-5, "--save_strategy", "no")
    assert "5 pairs in 5 groups" in done.stdout
    metrics = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert 0 < metrics["train_loss"] < 1
    scores = open_scorer(str(tmp_path / "out")).score(["What is 2 + 3?"], [["<code>\nx = 2 + 3\n<end_of_step>"]])
    assert -1 < scores[0][0] < 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--bound", "tanh", "--objective", "q"], "--bound tanh: is for --objective pairs"),
        (["--max_tokens", 100], "--max_tokens 100: at least --max_length 512"),
        (["--per_device_eval_batch_size", 4], "--per_device_eval_batch_size 4: a tree is a batch by itself"),
        (["--max_length", 20], "nothing to learn from"),
        (["--eval_share", 1.5], "--eval_share 1.5: a share"),
        (["--eval_data", "SAME"], "problems are in --data too"),
        (["--data", "nowhere/mcts"], "nowhere/mcts': no such path here"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file or folder"),
    ],
)
def test_bad_input_gets_one_line(
    run: Run, tiny_model: Path, trees: Path, tmp_path: Path, more: list[object], message: str
) -> None:
    more = [trees if option == "SAME" else option for option in more]
    assert message in one_error_line(run(*arguments(tiny_model, trees, tmp_path / "out", *more), check=False))
