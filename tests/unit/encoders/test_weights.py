from pathlib import Path

import pytest

from moderator.encoders.weights import Source, digest_of, loading, model_files
from moderator.errors import EncoderUnknown, WeightsInvalid


def test_sources(tmp_path: Path) -> None:
    assert Source.parse("org/name") == Source("org/name", None, None)
    pinned = Source.parse("org/name@abc")
    assert (pinned.name, pinned.pin, pinned.label) == ("org/name", {"revision": "abc"}, "org/name")
    folder = tmp_path / "a@b"
    folder.mkdir()
    local = Source.parse(str(folder))
    assert (local.folder, local.pin, local.label) == (folder, {}, "a@b")


def test_the_digest_follows_names_and_content(tmp_path: Path) -> None:
    for name in ("model.safetensors", "spiece.model", "pytorch_model.bin", "README.md"):
        (tmp_path / name).write_text(name)
    files = model_files(tmp_path)
    assert [file.name for file in files] == ["model.safetensors", "pytorch_model.bin", "spiece.model"]
    digest = digest_of(files)
    (tmp_path / "README.md").write_text("other words")
    assert digest_of(model_files(tmp_path)) == digest
    (tmp_path / "spiece.model").write_text("other pieces")
    assert digest_of(model_files(tmp_path)) != digest


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("too small"), "cannot load x: too small\nremedy"),
        (KeyError("nope"), "cannot load x: KeyError: 'nope'\nremedy"),
        (ZeroDivisionError("modulo"), "cannot load x: ZeroDivisionError: modulo\nremedy"),
    ],
)
def test_whatever_breaks_is_told_plainly(error: Exception, reason: str) -> None:
    with pytest.raises(WeightsInvalid) as caught, loading("x", "remedy"):
        raise error
    assert str(caught.value) == reason
    assert caught.value.__cause__ is error


def test_what_is_plain_already_stays() -> None:
    with pytest.raises(EncoderUnknown, match="an extra"), loading("x", "remedy"):
        raise EncoderUnknown("an extra")
