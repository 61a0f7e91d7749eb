"""Every YAML of the repository's recipes loads strictly, and says on its first line what hardware it is for."""

import importlib
import sys
from pathlib import Path

import pytest

from data_prep.config import parse_config, stale_common
from tests.recipes.conftest import ROOT, Run

CONFIGS = sorted((ROOT / "recipes" / "configs").rglob("*.yaml"))
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.py"))
OWN = {
    "ablate": ["StudyArguments", "RunArguments", "PowerArguments"],
    "rl_geometry": ["GeometryRlArguments"],
    "sft_geometry": ["GeometryArguments"],
    "sft_longcot": ["DataArguments"],
    "curate": [
        "InputArguments",
        "FilterArguments",
        "ContaminationArguments",
        "DuplicateArguments",
        "DifficultyArguments",
        "SelectionArguments",
        "RunArguments",
    ],
    "dpo": ["DpoArguments"],
    "distill": ["DistillArguments", "PlanArguments"],
    "evaluate": ["EvaluateArguments", "StrategyArguments"],
    "generate_mcts": ["GenerateArguments", "SearchArguments", "GradingArguments"],
    "compare": ["CompareArguments"],
    "pretrain_geometry": ["PretrainArguments"],
    "pretrain_small_world": ["PretrainArguments"],
    "quickstart": ["QuickstartArguments"],
    "rl_grpo": ["GrpoArguments"],
    "rl_ppo": ["PpoArguments"],
    "train_ppm": ["PpmArguments"],
}


def load(stage: str, argv: list[str]) -> tuple:
    """What a recipe's `main` makes of the arguments, on a machine without bf16."""
    recipe = importlib.import_module(f"recipes.{stage}")
    trainer = getattr(recipe, "trainer_classes", lambda: ())
    own = [getattr(recipe, name) for name in OWN[stage]]
    hardware = {"use_cpu": True, "bf16": False} if trainer() else {}
    return parse_config(stage, "", own, trainer, defaults=lambda: hardware, argv=argv)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_yaml_loads(path: Path) -> None:
    stage = next(stage for stage in sorted(RECIPES, key=len, reverse=True) if path.stem.startswith(stage))
    load(stage, ["--config", str(path)])
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert any(word in first for word in ("GPU", "CPU")), first
    if path.parent.name != "tiny" and "GPU of" in first:
        assert str(path.relative_to(ROOT)) in first, "the first line is the command to type"


@pytest.mark.parametrize("stage", RECIPES)
def test_help_is_quick_light_and_true(run: Run, stage: str) -> None:
    probe = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    done = run("-c", probe, f"recipes/{stage}.py")
    assert "--help_all" in done.stdout
    assert f"recipes/configs/tiny/{stage}.yaml" in done.stdout or stage == "quickstart"
    recipe = importlib.import_module(f"recipes.{stage}")
    for name in vars(recipe):
        if name.endswith("COMMON"):
            assert stale_common(recipe.trainer_classes, getattr(recipe, name)) == []


def test_every_flag_is_shown_by_help_all(run: Run) -> None:
    assert "--router_aux_loss_coef" in run("recipes/sft_longcot.py", "--help_all").stdout


def test_recipes_folder_does_not_shadow_libraries(run: Run) -> None:
    """`python recipes/x.py` puts recipes/ first on the path, where evaluate.py would be taken for the library."""
    probe = (
        "import sys; sys.path.insert(0, 'recipes'); import runpy; sys.argv = ['x', '--help']\n"
        "try: runpy.run_path(sys.path[0] + '/sft_longcot.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not any(p.endswith('recipes') for p in sys.path), sys.path"
    )
    run("-c", probe)


def test_modules_are_named_as_in_the_design() -> None:
    assert set(OWN) == set(RECIPES)
    assert "recipes" not in "".join(
        line
        for package in ("data_prep", "rl")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("from ", "import "))
    ), "nothing imports recipes"
    assert sys.version_info >= (3, 11)
