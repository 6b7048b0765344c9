import sys
from pathlib import Path

import pytest

from moderator.encoders.encoder_registry import FAMILIES, load_encoder
from moderator.errors import EncoderUnknown, WeightsInvalid


def test_a_clip_folder(small_clip: Path) -> None:
    encoder = load_encoder(f"clip:{small_clip}", "cpu", "float32")
    assert (encoder.identity.id, encoder.device, encoder.dtype) == ("clip:small", "cpu", "float32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "clp:x",
            r"'clp' is not a family of encoders; did you mean 'clip'\? \(families: embedded, clip, siglip, auto, open",
        ),
        ("zzzz", "'zzzz' is not a family of encoders; choose one"),
        ("", "'' is not a family of encoders"),
        ("clip", "needs a model: clip:HUB-ID or clip:FOLDER"),
        ("clip:", "needs a model"),
        ("openclip", "needs a model: openclip:ARCH/PRETRAINED or openclip:ARCH/FOLDER"),
        ("embedded:x", "embedded takes no model"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(EncoderUnknown, match=message):
        load_encoder(name)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid, match=r"config\.json, model\.safetensors"):
        load_encoder(f"clip:{tmp_path}", "cpu", "float32")


def test_openclip_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "moderator.encoders.families.openclip", raising=False)
    monkeypatch.setattr(FAMILIES, "_loaded", {})
    with pytest.raises(EncoderUnknown, match=r"pip install 'moderator\[openclip\]'"):
        load_encoder("openclip:ViT-B-32/laion2b_s34b_b79k", "cpu", "float32")
