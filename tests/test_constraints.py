"""Both constraints files resolve together with the dependencies of pyproject.toml.

`uv pip compile` resolves from the metadata that the index serves and downloads no wheel, so this is quick although it
covers CUDA builds and vLLM.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {"constraints.txt": ["dev", "tracking", "vision"], "constraints-vllm.txt": ["vllm", "deepspeed"]}
# torch fixes the versions of these itself; setuptools is a build tool.
UNPINNED = re.compile(r"nvidia-|cuda-|triton$|setuptools$")
NETWORK_ERRORS = ("Failed to fetch", "dns error", "error sending request", "client error (Connect)", "timed out")


def read_pins(text: str) -> dict[str, str]:
    lines = [line.split("#")[0].split(";")[0].strip() for line in text.splitlines()]
    pins = dict(line.split("==") for line in lines if line)
    return {re.sub(r"[-_.]+", "-", name.strip()).lower(): version.strip() for name, version in pins.items()}


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_one_exact_version(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._!+]+( ; .+)?", line), (
            f"{name}: {line!r} is not NAME==VERSION"
        )


@pytest.mark.parametrize("name", FILES)
def test_dry_run_resolves_to_exactly_the_pins(name):
    if importlib.util.find_spec("uv") is None:
        pytest.skip('uv is not installed: pip install -e ".[dev]"')
    extras = [argument for extra in FILES[name] for argument in ("--extra", extra)]
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *extras, "-c", name, "--quiet"]
    command += ["--python-version", "3.11", "--python-platform", "linux", "--no-annotate", "--no-header"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index did not answer within 120 s")
    if run.returncode != 0 and any(error in run.stderr for error in NETWORK_ERRORS):
        pytest.skip(f"no package index in reach: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, f"{name} does not resolve:\n{run.stderr}"
    resolved = {package: v for package, v in read_pins(run.stdout).items() if not UNPINNED.match(package)}
    assert resolved == read_pins((ROOT / name).read_text()), f"{name} is not the whole environment: renew it"
