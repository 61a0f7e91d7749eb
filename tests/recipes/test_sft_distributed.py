"""The recipe on two processes under each backend gives what one process gives at an equal global batch."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.recipes.conftest import Run
from tests.recipes.test_sft_longcot import arguments

CONFIGS = Path("accelerate_configs")
TWO = ("--num_processes", "2", "--main_process_port", "0")
FSDP_ON_CPU = "tests/accelerate_configs/fsdp2_on_cpu.py"
BACKENDS = ["cpu", "ddp", "zero2", "zero3", "fsdp2"]


def settings(streaming: bool, n_processes: int) -> list[object]:
    """Four rows a step on any number of processes; the gradient is clipped, so its global norm has to be right."""
    return [
        "--gradient_accumulation_steps", 1 if n_processes == 2 else 2, "--max_steps", 6, "--save_steps", 3,
        "--max_grad_norm", 0.5, "--streaming", str(streaming).lower(), "--use_cpu", "true",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one_process(
    run: Run, tiny_model: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[bool, Path]:
    folders = {}
    for streaming in (False, True):
        folders[streaming] = tmp_path_factory.mktemp("one") / f"streaming-{streaming}"
        run(*arguments(tiny_model, samples, folders[streaming], *settings(streaming, 1)))
    return folders


def compare(folder: Path, reference: Path, tolerance: float) -> None:
    ours, theirs = load_file(folder / "model.safetensors"), load_file(reference / "model.safetensors")
    assert set(theirs) <= set(ours)  # some backends write a tied output layer as well
    for name, tensor in theirs.items():
        difference = (ours[name] - tensor).abs().max().item()
        assert difference <= tolerance, f"{name}: {difference}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_processes_equal_one(
    run: Run, one_process: dict[bool, Path], tiny_model: Path, samples: Path, tmp_path: Path, backend: str
) -> None:
    if backend.startswith("zero") and shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its CPU communication and there is no c++")
    command = arguments(tiny_model, samples, tmp_path / "out", *settings(False, 2))
    launcher = ("--config_file", str(CONFIGS / f"{backend}.yaml"), *TWO)
    done = run(*([FSDP_ON_CPU] if backend == "fsdp2" else []), *command, launcher=launcher)
    assert "x 2 processes" in done.stdout
    expected = {"cpu": "MULTI_CPU", "ddp": "MULTI_CPU", "fsdp2": "FSDP"}.get(backend, "DEEPSPEED")
    assert expected in (tmp_path / "out" / "manifest.json").read_text()
    # Adam's step divides by the root of a square: rounding in the gradient of tiny entries shows in the weights.
    compare(tmp_path / "out", one_process[False], 1e-4 if backend == "zero3" else 2e-5)


def test_stream_on_two_processes_equals_one_and_resumes_on_one(
    run: Run, one_process: dict[bool, Path], tiny_model: Path, samples: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    launcher = ("--config_file", str(CONFIGS / "cpu.yaml"), *TWO)
    run(*arguments(tiny_model, samples, out, *settings(True, 2)), launcher=launcher)
    compare(out, one_process[True], 2e-5)
    # Back to step 3, and on with one process: the same rows again.
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "checkpoint-6")
    done = run(*arguments(tiny_model, samples, out, *settings(True, 1)))
    assert f"resuming   {out / 'checkpoint-3'}" in done.stdout
    compare(out, one_process[True], 2e-5)
