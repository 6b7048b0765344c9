from pathlib import Path

import pytest

from tests.support import vlm_models
from tests.support.tools import needs_extra

needs_extra("scipy.ndimage", "vlm")


@pytest.fixture(scope="session")
def shieldgemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vlm_models.save_shieldgemma(tmp_path_factory.mktemp("models") / "shieldgemma")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vlm_models.save_qwen(tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture(scope="session")
def owlv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vlm_models.save_owlv2(tmp_path_factory.mktemp("models") / "owlv2")
