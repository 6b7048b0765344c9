"""Folders with models: only the pinned files, only safetensors, only as much memory as allowed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from moderator.errors import SettingsError, SignalFailed
from moderator.signals.signal import EXAMPLE_ENCODER, Context, ModelHost
from moderator.signals.signal_calls import make_kind
from moderator.vlm.guards import load_guard
from moderator.vlm.model_folder import MANIFEST_FILE, ModelFolder, list_digests
from tests.support.vlm_models import context, pinned

OPTIONS = {"share": 1}


@pytest.fixture
def folder(qwen: Path, tmp_path: Path) -> Path:
    return shutil.copytree(qwen, tmp_path / "model")


def add(name: str, content: bytes = b"x") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "more": (add("special_tokens_map.json"), "not in its SHA256SUMS"),
    "a folder more": (lambda folder: (folder / "additional_chat_templates").mkdir(), "not in its SHA256SUMS"),
    "less": (lambda folder: (folder / "tokenizer.json").unlink(), "lacks tokenizer.json"),
    "another configuration": (add("config.json", b"{}"), "not the pinned file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_differs_from_its_list_is_refused_at_once(folder: Path, change: str) -> None:
    act, words = CHANGES[change]
    act(folder)
    with pytest.raises(SignalFailed, match=words):
        make_kind("second-opinion", OPTIONS, context(folder))


def test_other_weights_are_refused_before_they_are_loaded(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = ModelFolder.of("second-opinion", context(folder))  # lint reads no weights
    with pytest.raises(SignalFailed, match=r"model\.safetensors is not the pinned file"):
        load_guard(found, ModelHost("cpu", "float32"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "modeling_evil.py"])
def test_what_may_hold_code_is_never_pinned(folder: Path, name: str) -> None:
    add(name)(folder)
    with pytest.raises(SignalFailed, match="may hold code"):
        list_digests(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"no digest\n",
        b"a" * 200_000,
        b"0" * 64 + b"  ../outside.json\n",
        b"0" * 64 + b"  .hidden\n",
        b"0" * 64 + b"  sub/config.json\n",
        (b"0" * 64 + b"  config.json\n") * 2,
        b"0" * 64 + b"  config.json\n",
    ],
)
@pytest.mark.parametrize(
    ("kind", "options"), [("second-opinion", OPTIONS), ("detector", {"words": ["a cat"]})]
)
def test_a_list_that_is_none_is_refused(
    folder: Path, content: bytes, kind: str, options: dict[str, object]
) -> None:
    for place in (folder, None):
        with pytest.raises(SignalFailed):
            make_kind(kind, options, Context(content, EXAMPLE_ENCODER, 4, place))


@pytest.mark.parametrize(
    "config", [b"", b"[" * 100_000, b"[]", b'{"model_type": 3}', b"\xff", b'{"model_type": "clip"}']
)
def test_a_configuration_of_something_else_is_refused(folder: Path, config: bytes) -> None:
    add("config.json", config)(folder)
    with pytest.raises(SignalFailed):
        make_kind("second-opinion", OPTIONS, context(pinned(folder))).load()  # type: ignore[attr-defined]


def test_code_that_a_configuration_names_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "evil.Evil", "AutoConfig": "evil.Evil"}
    config["model_type"] = "unheard-of"
    add("config.json", json.dumps(config).encode())(folder)
    with pytest.raises(SignalFailed, match="cannot be loaded"):
        load_guard(ModelFolder.of("second-opinion", context(pinned(folder))), ModelHost("cpu", "float32"))


def test_memory_and_device_are_bounded(folder: Path) -> None:
    found = ModelFolder.of("second-opinion", context(folder))
    with pytest.raises(SignalFailed, match="MODERATOR_SIGNAL_MEMORY"):
        load_guard(found, ModelHost("cpu", "float32", memory=1000))
    with pytest.raises(SettingsError, match="is no device"):
        load_guard(found, ModelHost("toaster"))


def test_hidden_files_are_left_out(folder: Path) -> None:
    before = (folder / MANIFEST_FILE).read_text()
    add(".gitattributes")(folder)
    assert list_digests(folder) == before
