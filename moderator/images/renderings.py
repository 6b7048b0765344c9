"""The ways in which viewers show one decoded frame: each is judged, and the worst decides.

Browsers, mail programs and converters differ: they put transparent pixels on white, on black, or drop transparency;
they heed a colour profile, a crop or a turn, or do not. Where the results differ, a picture may hide in one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from moderator.images.colour import BLACK, WHITE, on_background, to_rgb
from moderator.images.metadata import Metadata
from moderator.images.profiles import convert_visibly

#: Renderings of a file that shows one picture, at most.
MAX_RENDERINGS = 12
#: Each rendering after the first is reduced to about as many pixels.
REDUCED_PIXELS = 12_000_000

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Where an ICC profile names the colours that it is for.
_PROFILE_SPACE = slice(16, 20)
_GREY_MODES = ("L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_Colour = tuple[int, int, int]
_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Rendering:
    """One way to show a frame: the frame's number in the file, and what is particular about it."""

    frame: int
    name: str
    """`plain`, `on-white`, `on-black`, `alpha-dropped`, `profile-ignored`, `as-stored`, `turned`, `uncropped`, ..."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame, with what viewers may do before they show it."""

    rgb: Image.Image
    """Mode RGB, as stored."""
    alpha: Image.Image | None = None
    """Mode L; None: opaque."""
    metadata: Metadata = Metadata()  # noqa: RUF009 (it is immutable)
    profiled: Image.Image | None = None
    """What the colour profile applies to, mode RGB, L or CMYK; None: to nothing here."""
    crops: tuple[_Box, ...] = ()
    inverted: Image.Image | None = None
    """Mode RGB: the picture for those to whom the other end of its samples is black."""


def picture_of(
    image: Image.Image,
    alpha: Image.Image | None,
    metadata: Metadata,
    crops: tuple[_Box, ...] = (),
    inverted: Image.Image | None = None,
) -> Picture:
    """Return a loaded image as viewers show it; see `Picture`.

    Raises:
        ValueError: Pillow cannot convert its colours.
    """
    rgb = to_rgb(image)
    space = (metadata.profile or b"")[_PROFILE_SPACE]
    profiled = None
    if space == b"RGB " and image.mode != "CMYK":
        profiled = rgb
    elif space == b"CMYK" and image.mode == "CMYK":
        profiled = image
    elif space == b"GRAY" and image.mode in _GREY_MODES:
        profiled = rgb.getchannel(0)
    return Picture(rgb, alpha, metadata, profiled, crops, inverted)


def render(picture: Picture, dropped_alpha: bool = True) -> Iterator[tuple[str, Image.Image]]:
    """Yield names and images, mode RGB. The first is what a browser shows on a white page.

    Args:
        picture: the frame.
        dropped_alpha: whether the colours under transparent pixels are judged too.
    """
    converted = None
    if picture.profiled is not None and picture.metadata.profile is not None:
        converted = convert_visibly(picture.profiled, picture.metadata.profile)
    shown = converted or picture.rgb
    crop = picture.crops[0] if picture.crops else None
    turn = picture.metadata.orientation if picture.metadata.turned else 1
    yield "plain" if picture.alpha is None else "on-white", _finish(picture, shown, crop, turn)
    for name, image in _others(picture, shown, crop, turn, dropped_alpha):
        factor = round((image.width * image.height / REDUCED_PIXELS) ** 0.5)
        yield name, image.reduce(factor) if factor > 1 else image


def _others(
    picture: Picture, shown: Image.Image, crop: _Box | None, turn: int, dropped_alpha: bool
) -> Iterator[tuple[str, Image.Image]]:
    if picture.alpha is not None:
        yield "on-black", _finish(picture, shown, crop, turn, BLACK)
        if dropped_alpha:
            yield "alpha-dropped", _finish(picture, shown, crop, turn, None)
    if shown is not picture.rgb:
        yield "profile-ignored", _finish(picture, picture.rgb, crop, turn)
    if picture.inverted is not None:
        yield "inverted", _finish(picture, picture.inverted, crop, turn)
    if not picture.metadata.turned_by_all:
        other = 1 if picture.metadata.turned else picture.metadata.orientation
        name = "turned" if turn == 1 else "as-stored"
        yield name, _finish(picture, shown, crop, other)
        if picture.alpha is not None:
            yield f"{name}-on-black", _finish(picture, shown, crop, other, BLACK)
    if picture.crops:
        yield "uncropped", _finish(picture, shown, None, turn)
        for number, box in enumerate(picture.crops[1:], start=2):
            yield f"crop-{number}", _finish(picture, shown, box, turn)


def _finish(
    picture: Picture, rgb: Image.Image, crop: _Box | None, turn: int, background: _Colour | None = WHITE
) -> Image.Image:
    """Put a picture on a background, crop and turn it, in this order."""
    if picture.alpha is not None and background is not None:
        rgb = on_background(rgb, picture.alpha, background)
    if crop is not None:
        rgb = rgb.crop(crop)
    return rgb.transpose(_TRANSPOSE[turn]) if turn in _TRANSPOSE else rgb
