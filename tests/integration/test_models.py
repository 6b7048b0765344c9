"""A model is fetched once, from a hub on this machine, and from then on loads without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_server import COMMIT, hub
from tests.support.service import environment

REPOSITORY = "someone/small-clip"


def moderator(*arguments: str, home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "moderator", "models", *arguments],
        env={**environment(device="cpu", dtype="float32"), "HF_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support import clip_models  # takes seconds to import

    folder = clip_models.save_small_clip(tmp_path_factory.mktemp("hub") / "small")
    (folder / "pytorch_model.bin").write_bytes(b"not fetched, since there are safetensors")
    return folder


def test_fetched_once_and_then_offline(folder: Path, tmp_path: Path) -> None:
    with hub(REPOSITORY, folder) as (url, asked):
        pulled = moderator("pull", f"clip:{REPOSITORY}", home=tmp_path, HF_ENDPOINT=url)
    name = f"clip:{REPOSITORY}@{COMMIT}"
    assert (pulled.returncode, pulled.stdout) == (0, f"{name}\n"), pulled.stderr
    assert f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors" in asked
    assert not any("pytorch_model.bin" in path for path in asked)

    checked = moderator("check", name, "--json", home=tmp_path, HF_HUB_OFFLINE="1")
    assert checked.returncode == 0, checked.stderr
    facts = json.loads(checked.stdout)
    assert (facts["id"], facts["revision"]) == (f"clip:{REPOSITORY}", COMMIT)
    assert (facts["image_size"], facts["dimension"], facts["dtype"]) == (64, 32, "float32")
    # The small model reads 24 tokens, which are letters: hardly a prompt fits.
    assert 0 < len(facts["truncated"]) <= facts["prompts"]


@pytest.mark.parametrize("name", ["clip:someone/else", f"clip:{REPOSITORY}@no-such-branch"])
def test_what_the_hub_does_not_have(name: str, folder: Path, tmp_path: Path) -> None:
    with hub(REPOSITORY, folder) as (url, _):
        result = moderator("pull", name, home=tmp_path, HF_ENDPOINT=url)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"error: cannot load {name}: " in result.stderr
    assert "Check the id and the revision" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    result = moderator("pull", f"clip:{REPOSITORY}", home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 1
    assert "Check the id and the revision" in result.stderr
    assert "Traceback" not in result.stderr
