import sys
from pathlib import Path

import pytest

from moderator.encoders.hub import pull, wanted_files
from moderator.errors import EncoderUnknown


def test_safetensors_go_before_pickles() -> None:
    files = [
        "README.md", ".gitattributes", "config.json", "tokenizer.json", "merges.txt", "spiece.model",
        "model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.safetensors",
        "open_clip_pytorch_model.bin", "open_clip_model.safetensors",
    ]  # fmt: skip
    expected = ["config.json", "merges.txt", "model.safetensors", "spiece.model", "tokenizer.json"]
    assert wanted_files(files) == expected


def test_pickles_where_there_is_nothing_else() -> None:
    assert wanted_files(["config.json", "pytorch_model.bin", "tf_model.h5"]) == [
        "config.json",
        "pytorch_model.bin",
    ]
    assert wanted_files(["config.json", "tf_model.h5"]) == []


def test_weights_in_parts() -> None:
    parts = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = "model.safetensors.index.json"
    # Only the index of what is fetched: the other one would lead to files that are not there.
    files = [*parts, index, "pytorch_model.bin.index.json", "config.json"]
    assert wanted_files(files) == sorted([*parts, index, "config.json"])


@pytest.mark.parametrize("name", ["embedded", "clip", "clip:", "clp:x/y", "openai/clip-vit-base-patch32"])
def test_what_cannot_be_fetched(name: str) -> None:
    with pytest.raises(EncoderUnknown, match="cannot be fetched; give clip:ID, siglip:ID"):
        pull(name)


def test_a_folder_is_there_already(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnknown, match="nothing to fetch"):
        pull(f"clip:{tmp_path}")


def test_openclip_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "moderator.encoders.families.openclip", raising=False)
    with pytest.raises(EncoderUnknown, match=r"pip install 'moderator\[openclip\]'"):
        pull("openclip:ViT-B-32/laion2b_s34b_b79k")
