"""Stages side by side."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data_prep.ablation.running import Runner
from data_prep.ablation.settings import RunArguments


def test_warm_stages_side_by_side_keep_their_exit_status(tmp_path: Path) -> None:
    """Short ones end while others start, which once made one in ten fail with status 255."""
    script = tmp_path / "stage.py"
    script.write_text("print('done')\n")
    runner = Runner(RunArguments(warm=True), 4, [])
    with ThreadPoolExecutor(4) as threads:
        logs = [tmp_path / f"{i}.log" for i in range(120)]
        list(threads.map(lambda log: runner.stage([str(script)], log, "cpu"), logs))
    assert all(log.read_text() == "done\n" for log in logs)
