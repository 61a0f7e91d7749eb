"""Warnings: none for noise alone and for a run that learns, one for each way of going wrong."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rl.monitor import Monitor, first_warnings, main, warnings_of


def log(n: int = 150, seed: int = 0, **curves: Any) -> list[dict[str, Any]]:
    """A log with noise as that of 32 rollouts; `curves`: from 0 to 1, what a value goes to from its start."""
    rng = np.random.default_rng(seed)
    start = {"accuracy": 0.7, "paid": -0.4, "related": 0.6, "same": 0.3, "cut": 0.02, "entropy": 0.05}
    lines: list[dict[str, Any]] = []
    for i in range(n):
        now = {name: value + (curves.get(name, value) - value) * i / (n - 1) for name, value in start.items()}
        right = rng.binomial(32, min(1.0, max(0.0, now["accuracy"]))) / 32
        lines.append(
            {
                "step": i + 1, "reward": right, "rewards/outcome/mean": right, "rewards/outcome/std": 0.46,
                "process/reward": now["paid"] + rng.normal(0, 0.6 / np.sqrt(32)), "process/reward_std": 0.6,
                "process/correlation_with_outcome": now["related"] + rng.normal(0, 0.15),
                "frac_reward_zero_std": min(1.0, max(0.0, now["same"])),
                "completions/clipped_ratio": now["cut"], "entropy": now["entropy"] * rng.uniform(0.9, 1.1),
            }
        )  # fmt: skip
        if i % 10 == 9:
            lines.append({"step": i + 1, "eval_reward": right})
    return lines


def test_noise_alone_is_no_warning() -> None:
    """Looked at after each of 150 lines; the chance of a warning by chance is below one in a hundred runs."""
    assert sum(bool(first_warnings(log(seed=seed))) for seed in range(60)) <= 1


def test_a_run_that_learns_is_none_either() -> None:
    """The reward of steps rises with accuracy, by as many deviations or fewer."""
    for seed in range(20):
        assert first_warnings(log(seed=seed, accuracy=0.95, paid=-0.1)) == {}


@pytest.mark.parametrize(
    ("name", "curves"),
    [
        ("gap", {"paid": 0.6}), ("gap", {"paid": 0.6, "accuracy": 0.5}), ("unrelated", {"related": -0.1}),
        ("worse", {"accuracy": 0.3, "alone": True}), ("endless", {"cut": 0.9}), ("wild", {"entropy": 0.6}),
    ],
)  # fmt: skip
def test_each_way_of_going_wrong_is_named(name: str, curves: dict[str, Any]) -> None:
    alone = curves.pop("alone", False)
    found = first_warnings(log(150, 0, **curves))
    assert name in found
    assert not alone or set(found) == {name}
    assert 20 <= found[name] <= 150


def test_no_signal_in_any_group() -> None:
    lines = [line | {"frac_reward_zero_std": 1.0} if "reward" in line else line for line in log(40)]
    assert first_warnings(lines) == {"no signal": 10}


def test_a_run_without_a_process_reward_has_no_gap() -> None:
    lines = [{k: v for k, v in line.items() if not k.startswith("process/")} for line in log(accuracy=0.95)]
    assert first_warnings(lines) == {}


def test_each_is_printed_once_and_known_after_a_resume(capsys: pytest.CaptureFixture[str]) -> None:
    history = log(paid=0.6)
    monitor = Monitor()
    state: Any = SimpleNamespace(is_world_process_zero=True, log_history=[], global_step=0)
    for line in history:
        state.log_history.append(line)
        state.global_step = line["step"]
        monitor.on_log(None, state, None, logs=line)
    assert capsys.readouterr().err.count("gap: what steps are paid has risen") == 1
    resumed = Monitor()
    resumed.on_train_begin(None, state, None)
    assert resumed.warned == monitor.warned == first_warnings(history)
    resumed.on_log(None, state, None, logs=history[-2])
    assert capsys.readouterr().err == ""


def test_the_command_reads_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint-100").mkdir()
    (tmp_path / "checkpoint-100" / "trainer_state.json").write_text(json.dumps({"log_history": log(paid=0.6)}))
    monkeypatch.setattr("sys.argv", ["monitor", str(tmp_path)])
    main()
    assert "gap, from step" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    (tmp_path / "checkpoint-100" / "trainer_state.json").write_text('{"log_history": [')
    with pytest.raises(SystemExit, match="broken or being written"):
        main()
    monkeypatch.setattr("sys.argv", ["monitor", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit, match=r"no trainer_state\.json"):
        main()


def measured(step: int, own: float, blank: float, swapped: float, n: int = 200) -> dict[str, float]:
    figures = {"blank": blank, "swapped": swapped, "problems": float(n)}
    found = {f"eval_figures/{name}": value for name, value in figures.items()}
    return {"step": step, "eval_rewards/outcome/mean": own, **found}


def test_figures_that_are_not_used_or_less_and_less() -> None:
    used = [measured(10, 0.5, 0.05, 0.1), measured(20, 0.7, 0.05, 0.1)]
    assert warnings_of(used) == {}
    assert "no more than chance" in warnings_of([measured(10, 0.5, 0.05, 0.48)])["unseen"]
    shrunk = [measured(10, 0.5, 0.05, 0.05), measured(20, 0.5, 0.05, 0.3)]
    assert "learns to do without" in warnings_of(shrunk)["unseen"]
    assert warnings_of([measured(10, 0.02, 0.02, 0.02, n=50)]) == {}  # nothing is right yet
