"""What the studies of the small world share: a plan in YAML, seeds side by side, a report."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from data_prep.artefacts import write_json


def run_study(
    doc: str | None,
    plan_file: Path,
    output_dir: str,
    run_seed: Callable[..., dict[str, Any]],
    report: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any], str], dict[str, Any]],
    page: Callable[[Mapping[str, Any]], str],
) -> tuple[dict[str, Any], Path]:
    """Runs the setting that the command line asks for and writes report.json and README.md; the report and its folder.

    `run_seed(seed, setting=, plan=, folder=)` runs in a process of its own and keeps what is finished in `folder`.
    `report(results, plan, setting)`; `page(report)`: the report as Markdown. `doc`, `output_dir`: of the command line.
    """
    args, setting, plan = read_plan(doc, plan_file, output_dir)
    folder = args.output_dir / args.setting
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(run_seed, setting=setting, plan=plan, folder=folder.resolve())
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(work, setting["seeds"]))
    found = report(results, plan, args.setting) | {"n_rows": setting["n_rows"]}
    target = args.report_dir or folder
    write_report(found, page(found), target)
    return found, target


def read_plan(
    doc: str | None, plan_file: Path, output_dir: str
) -> tuple[argparse.Namespace, dict[str, Any], dict[str, Any]]:
    """The command line, the setting that it asks for, and the rest of the plan."""
    plan = yaml.safe_load(plan_file.read_text())
    settings = plan.pop("settings")
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--setting", choices=list(settings), default="decide", help="smoke: minutes (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default=Path(output_dir), help="default: %(default)s")
    parser.add_argument("--report_dir", type=Path, help="where report.json and README.md go (default: output_dir)")
    parser.add_argument("--processes", type=int, default=2, help="runs side by side (%(default)s)")
    args = parser.parse_args()
    return args, settings[args.setting], plan


def write_report(found: Mapping[str, Any], page: str, target: Path) -> None:
    """Writes report.json and README.md, and prints the latter."""
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "report.json", found)
    (target / "README.md").write_text(page)
    print(page)
