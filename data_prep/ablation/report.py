"""The report of a study: a tidy table of all cells, report.json, report.md, and a page with plots for a talk."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.ablation.analysis import Analysis
from data_prep.ablation.plan import Plan
from data_prep.artefacts import write_json


def write_report(plan: Plan, found: Analysis) -> None:
    folder = Path(plan.study.report_dir or plan.study.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "report.json",
        {"questions": found.questions, "cells": found.cells, "ways": found.ways, "curves": found.curves},
    )
    print(folder)
