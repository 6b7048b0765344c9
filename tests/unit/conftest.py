import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from moderator.encoders.families.clip import ClipEncoder

# A machine that is busy with something else fails no test.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def pytest_collection_finish() -> None:
    """Silence transformers, which takes seconds to load, if any test has loaded it."""
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def _settings_of_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has set (MODERATOR_*) changes no test."""
    for name in [name for name in os.environ if name.startswith("MODERATOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CLIP model."""
    from tests.support import clip_models

    return clip_models.save_small_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture(scope="session")
def clip_b32(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a CLIP model of the size of ViT-B/32 (600 MB; gone after the tests)."""
    from tests.support import clip_models

    folder = clip_models.save_clip_b32(tmp_path_factory.mktemp("clip") / "vit-b-32")
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture(scope="session", params=["small", pytest.param("vit-b-32", marks=pytest.mark.slow)])
def clip_folder(request: pytest.FixtureRequest) -> Path:
    """Both, in turn."""
    return request.getfixturevalue("small_clip" if request.param == "small" else "clip_b32")


@pytest.fixture(scope="session")
def clip_encoder(clip_folder: Path) -> "ClipEncoder":
    from moderator.encoders.families.clip import ClipEncoder

    return ClipEncoder(str(clip_folder), device="cpu", dtype="float32")
