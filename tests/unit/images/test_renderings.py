from PIL import Image

from moderator.images.metadata import Metadata
from moderator.images.profiles import SRGB_CHROMATICITIES, make_profile
from moderator.images.renderings import Picture, picture_of, render

RED = Image.new("RGB", (6, 4), (200, 0, 0))


def rendered(picture: Picture, dropped_alpha: bool = True) -> dict[str, tuple[int, ...]]:
    """Name and first pixel of each rendering."""
    return {name: image.getpixel((0, 0)) for name, image in render(picture, dropped_alpha)}  # type: ignore[misc]


def test_an_opaque_picture_is_shown_in_one_way() -> None:
    ((name, image),) = render(Picture(RED))
    assert name == "plain"
    assert image is RED


def test_transparency_on_white_on_black_and_dropped() -> None:
    picture = Picture(RED, Image.new("L", RED.size, 51))
    expected = {"on-white": (244, 204, 204), "on-black": (40, 0, 0), "alpha-dropped": (200, 0, 0)}
    assert rendered(picture) == expected
    assert list(rendered(picture, dropped_alpha=False)) == ["on-white", "on-black"]


def test_a_profile_that_shows_is_heeded_and_ignored() -> None:
    dark = make_profile(9.0, SRGB_CHROMATICITIES)
    shown = rendered(picture_of(RED, None, Metadata(dark)))
    assert list(shown) == ["plain", "profile-ignored"]
    assert shown["plain"][0] < 120 < shown["profile-ignored"][0]
    assert list(rendered(picture_of(RED.convert("CMYK"), None, Metadata(dark)))) == ["plain"]
    assert list(rendered(picture_of(RED, None, Metadata(b"no profile")))) == ["plain"]


def test_a_turn_on_which_viewers_differ_is_made_and_not_made() -> None:
    image = RED.copy()
    image.putpixel((0, 0), (1, 2, 3))
    stored = Metadata(orientation=3, turned=False, turned_by_all=False)
    assert rendered(Picture(image, metadata=stored)) == {"plain": (1, 2, 3), "turned": (200, 0, 0)}
    agreed = Metadata(orientation=3)
    assert rendered(Picture(image, metadata=agreed)) == {"plain": (200, 0, 0)}


def test_crops_and_the_whole() -> None:
    picture = Picture(RED, crops=((1, 1, 3, 3), (2, 0, 6, 1)))
    sizes = {name: image.size for name, image in render(picture)}
    assert sizes == {"plain": (2, 2), "uncropped": (6, 4), "crop-2": (4, 1)}
