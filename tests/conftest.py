"""What all tests share: a cache of their own, so that no test finds or leaves anything in the user's."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """$REDSTAR_CACHE for this test process and those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("redstar-cache")
        patch.setenv("REDSTAR_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def figure_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision-language model of the small base's shape, its new parts random."""
    from data_prep.small_world import CHECKPOINTS
    from multimodal.base_model import new_base

    folder = tmp_path_factory.mktemp("figure-base") / "base"
    model, processor = new_base(CHECKPOINTS / "large", 0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
