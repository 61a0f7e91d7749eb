"""Run folders: what is said when the disk is full, and when something else went wrong."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from data_prep.artefacts import hash_model, read_trained_on, write_trained_on
from rl.runs import RUN, disk_errors_explained, hardware_defaults, resume_point, user_errors

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        (RuntimeError("CUDA out of memory"), False),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), True),
        (OSError("write failed"), True),
    ],
)
def test_only_failed_writing_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, explained: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 100, 0))
    with pytest.raises(type(error) if not explained else OSError) as raised:
        with disk_errors_explained(tmp_path):
            raise error
    assert ("the disk is full" in str(raised.value)) == explained
    assert str(error) in str(raised.value)


def test_other_processes_speak_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit):
        with user_errors():
            raise FileNotFoundError("data.jsonl: no such file")
    assert capsys.readouterr().err == "[rank 3] error: data.jsonl: no such file\n"


def test_a_checkpoint_has_the_record_and_not_the_weight_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trained_on(tmp_path, ["p1-a"])
    before = hash_model(str(tmp_path), object())
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "optimizer.pt").write_bytes(b"x")
    assert read_trained_on(tmp_path / "checkpoint-5") == {"p1-a"}
    monkeypatch.chdir(tmp_path / "checkpoint-5")
    assert read_trained_on(".") == {"p1-a"}
    assert hash_model(str(tmp_path), object()) == before
    (tmp_path / "model.safetensors").write_bytes(b"y")
    assert hash_model(str(tmp_path), object()) != before


def test_another_run_is_named_by_the_setting_that_differs(tmp_path: Path) -> None:
    settings = {"shape": {"hidden_size": 32, "rope": {"theta": 1e4}}, "optim": "adamw_torch"}
    assert resume_point(tmp_path, settings) is None
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    assert resume_point(tmp_path, settings) == tmp_path / "checkpoint-2"
    with pytest.raises(ValueError, match=r"\(shape.rope.theta: 10000.0 there, 1000000.0 here\)"):
        resume_point(tmp_path, {**settings, "shape": {"hidden_size": 32, "rope": {"theta": 1e6}}})
    (tmp_path / RUN).write_text('{"shape": {')
    with pytest.raises(ValueError, match=f"{RUN}: broken"):
        resume_point(tmp_path, settings)


def test_a_build_that_was_killed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    hardware_defaults()
    assert not capsys.readouterr().out
    (tmp_path / "py311_cpu" / "deepspeed_shm_comm").mkdir(parents=True)
    (tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock").touch()
    hardware_defaults()
    assert "deepspeed_shm_comm/lock: something is being compiled" in capsys.readouterr().out
