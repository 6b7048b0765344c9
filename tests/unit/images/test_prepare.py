import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from moderator.cli.demo import PHOTOGRAPHS
from moderator.errors import NotAnImage
from moderator.images.decode import DecodeLimits, decode
from moderator.images.prepare import PreprocessSpec, prepare
from moderator.images.resize import Resize
from moderator.view import ViewPlan
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


def collage(size: tuple[int, int]) -> Image.Image:
    """A photograph at the left of a white canvas."""
    canvas = Image.new("RGB", size, "white")
    canvas.paste(Image.open(PHOTOGRAPHS / "cat.jpg").resize((size[0] // 2, size[1])), (0, 0))
    return canvas


def test_views_become_rows_and_have_boxes_in_the_file() -> None:
    file = io.BytesIO()
    collage((900, 600)).save(file, "PNG")
    spec = PreprocessSpec(LIMITS, Resize(64, 64), draft=True, max_views=8)
    found = prepare(file.getvalue(), spec, ViewPlan(8))
    assert [view.name for view in found.views] == ["whole", "trimmed"]
    x, y, width, height = found.views[1].box
    assert (x, y, height) == (0, 0, 600)
    assert abs(width - 450) <= 6
    shown = Image.open(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(found.pixels[0], Resize(64, 64)(shown))
    np.testing.assert_array_equal(found.pixels[1], Resize(64, 64)(shown.crop((x, y, x + width, y + height))))


def test_boxes_are_those_of_the_file_where_it_is_drafted() -> None:
    file = io.BytesIO()
    collage((1600, 900)).save(file, "JPEG", quality=95)
    spec = PreprocessSpec(replace(LIMITS, max_pixels=10**7), Resize(64, 64), draft=True, max_views=8)
    found = prepare(file.getvalue(), spec, ViewPlan(8))
    assert found.views[0].box == (0, 0, 1600, 900)
    x, y, width, height = found.views[1].box
    assert (x, y, height) == (0, 0, 900)
    assert abs(width - 800) <= 24


def test_turned_views_are_the_upright_ones_turned() -> None:
    spec = PreprocessSpec(LIMITS, Resize(64, 64), draft=True, max_views=8)
    file = io.BytesIO()
    Image.open(PHOTOGRAPHS / "cat.jpg").save(file, "PNG")
    found = prepare(file.getvalue(), spec, ViewPlan(8, turned=True))
    assert [view.turn for view in found.views] == [0, 90, 180, 270]
    for row, view in zip(found.pixels, found.views, strict=True):
        np.testing.assert_array_equal(row, np.rot90(found.pixels[0], view.turn // 90))


def test_the_views_of_each_frame_follow_its_whole() -> None:
    file = io.BytesIO()
    blank = Image.new("RGB", (900, 600), "white")
    blank.save(file, "TIFF", save_all=True, append_images=[collage((900, 600)), collage((300, 200))])
    spec = PreprocessSpec(LIMITS, Resize(64, 64), draft=True, max_views=8)
    found = prepare(
        file.getvalue(), replace(spec, limits=replace(LIMITS, max_bytes=10**7, max_pixels=10**7)), ViewPlan(8)
    )
    assert [(view.frame, view.name) for view in found.views] == [
        (0, "whole"),
        (1, "whole"),
        (1, "trimmed"),
        (2, "whole"),
        (2, "trimmed"),
    ]
    assert found.views[3].box == (0, 0, 300, 200)


def test_no_more_views_than_the_settings_allow() -> None:
    file = io.BytesIO()
    Image.effect_noise((100, 4000), 90).filter(ImageFilter.GaussianBlur(3)).convert("RGB").save(file, "PNG")
    spec = PreprocessSpec(LIMITS, Resize(64, 64), draft=True, max_views=3)
    found = prepare(file.getvalue(), spec, ViewPlan(20))
    assert (len(found.views), len(found.pixels)) == (3, 3)
    assert found.left_out > 10


def test_each_rendering_of_a_frame_has_views() -> None:
    file = io.BytesIO()
    transparent = collage((900, 600)).convert("RGBA")
    transparent.paste((0, 0, 0, 0), (0, 0, 30, 30))
    transparent.save(file, "PNG")
    spec = PreprocessSpec(LIMITS, Resize(64, 64), draft=True, max_views=8)
    found = prepare(file.getvalue(), spec, ViewPlan(8))
    names = [(view.frame, view.name) for view in found.views]
    assert names[:3] == [(0, "whole"), (0, "trimmed"), (0, "whole")]
    assert len(found.pixels) == len(names)


def test_the_views_of_a_file_with_many_pictures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.images.prepare.FILE_VIEWS_MAX", 6)
    # Two photographs one above the other, and turned.
    two = Image.new("RGB", (600, 800))
    for number, name in enumerate(("cat.jpg", "coffee.jpg")):
        two.paste(Image.open(PHOTOGRAPHS / name).resize((600, 400)), (0, 400 * number))
    pages = [two, two.rotate(90, expand=True), two.rotate(180)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    limits = replace(LIMITS, max_bytes=10**7, max_pixels=10**7)
    spec = PreprocessSpec(limits, Resize(64, 64), draft=True, max_views=8)
    found = prepare(file.getvalue(), spec, ViewPlan(8))
    assert [view.name for view in found.views] == ["whole", "panel"] * 3
    assert found.left_out == 3
