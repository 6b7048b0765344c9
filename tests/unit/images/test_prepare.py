import io

import numpy as np
import pytest
from PIL import Image

from moderator.errors import NotAnImage
from moderator.images.decode import DecodeLimits, decode
from moderator.images.prepare import PreprocessSpec, prepare
from moderator.images.resize import Resize
from tests.support.colour_encoder import picture

LIMITS = DecodeLimits(max_bytes=1_000_000, max_pixels=1_000_000, max_frames=4, timeout=10.0)


def test_frames_become_the_models_input() -> None:
    file = io.BytesIO()
    first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    first.save(file, "GIF", save_all=True, append_images=[second])
    found = prepare(file.getvalue(), PreprocessSpec(LIMITS, Resize(10, 8), draft=False))
    assert (found.width, found.height, found.format) == (20, 10, "gif")
    assert (found.pixels.shape, found.pixels.dtype) == ((2, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(found.pixels[:, 4, 4], [[255, 0, 0], [0, 0, 255]], atol=2)


@pytest.mark.parametrize("draft", [False, True])
def test_a_large_jpeg_is_drafted_if_wanted(draft: bool) -> None:
    file = io.BytesIO()
    Image.effect_noise((800, 600), 80).convert("RGB").save(file, "JPEG")
    found = prepare(file.getvalue(), PreprocessSpec(LIMITS, Resize(64, 64), draft))
    assert (found.width, found.height) == (800, 600)
    expected = decode(file.getvalue(), LIMITS, 64 if draft else None).frames[0]
    np.testing.assert_array_equal(found.pixels[0], Resize(64, 64)(expected))


def test_errors_are_those_of_decoding() -> None:
    with pytest.raises(NotAnImage):
        prepare(b"?", PreprocessSpec(LIMITS, Resize(8, 8), draft=True))
    assert prepare(picture("red"), PreprocessSpec(LIMITS, Resize(8, 8), draft=True)).pixels.shape == (
        1,
        8,
        8,
        3,
    )


def test_pictures_are_the_decoded_frames_for_who_asks() -> None:
    spec = PreprocessSpec(LIMITS, Resize(8, 8), draft=True)
    assert prepare(picture("red", size=(30, 20)), spec).pictures == ()
    (shown,) = prepare(picture("red", size=(30, 20)), spec, picture_side=1).pictures
    assert (shown.size, shown.mode) == ((30, 20), "RGB")


def test_pictures_of_jpegs_keep_what_is_enough() -> None:
    file = picture("red", "JPEG", size=(900, 800))
    spec = PreprocessSpec(LIMITS, Resize(8, 8), draft=True)
    assert prepare(file, spec, picture_side=200).pictures[0].size == (225, 200)
    assert prepare(file, spec, picture_side=2**31 - 1).pictures[0].size == (900, 800)


@pytest.mark.parametrize("size", [(700, 500), (100_000, 3), (1, 300_000)])
def test_large_pictures_are_shrunk(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr("moderator.images.prepare.PICTURE_PIXELS", 10_000)
    (shown,) = prepare(
        picture("red", size=size), PreprocessSpec(LIMITS, Resize(8, 8), draft=True), picture_side=1
    ).pictures
    assert 1000 < shown.width * shown.height <= 10_000 or min(shown.size) == 1
    assert shown.width * shown.height <= 10_000
