"""Decode a file that ends too early, or is damaged further down, as browsers do: they show what is there."""

import io

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from moderator.errors import ImageBroken

_JPEG_END_MARKER = b"\xff\xd9"
#: Share of its rows that must be there for a picture to be judged.
ROWS_SHARE_MIN = 0.1
#: What decoders leave where data is missing: libjpeg the middle of the range (CMYK is inverted), Pillow the zeros it
#: began with.
_MISSING_IN_JPEG, _MISSING = (127, 128), (0,)


def load_leniently(image: Image.Image) -> bool:
    """Load what can be decoded of an image; return whether Pillow found no fault.

    Raises:
        OSError, SyntaxError: nothing can be decoded.
    """
    try:
        image.load()
    except (OSError, SyntaxError):  # Pillow's error for a bad chunk of a PNG is the latter
        if image._im is None:  # it failed before its decoder began
            raise
        # Pillow writes into the image as it decodes. Without tiles, it takes the image as loaded.
        assert isinstance(image, ImageFile)
        image.tile = []
        image.load()
        return False
    return True


def missing_rows(image: Image.Image) -> Image.Image | None:
    """Return the alpha that makes the empty rows at either end of a loaded image transparent; None: there are none.

    Raises:
        ImageBroken: less than `ROWS_SHARE_MIN` of the rows are there.
    """
    return _missing(image, _MISSING)


def load_partial_jpeg(
    data: bytes, draft_to: tuple[int, int] | None
) -> tuple[Image.Image, Image.Image | None]:
    """Decode a JPEG without its end; return it, loaded, and the alpha that makes missing rows transparent.

    Args:
        data: the file. Its size must have been checked.
        draft_to: width and height for `Image.draft`.

    Raises:
        ImageBroken: less than `ROWS_SHARE_MIN` of the rows are there.
    """
    image = Image.open(io.BytesIO(data + _JPEG_END_MARKER), formats=["JPEG"])
    if draft_to is not None:
        image.draft("RGB", draft_to)
    image.load()
    return image, _missing(image, _MISSING_IN_JPEG)


def rows_alpha(size: tuple[int, int], first: int, end: int) -> Image.Image | None:
    """Return the alpha of a picture of which only the rows `first` to before `end` are there; None: all are.

    Raises:
        ImageBroken: less than `ROWS_SHARE_MIN` of the rows are there.
    """
    width, height = size
    if end - first < ROWS_SHARE_MIN * height:
        raise ImageBroken(f"the picture is truncated: {max(end - first, 0)} of its {height} rows are there")
    if (first, end) == (0, height):
        return None
    alpha = Image.new("L", size, 0)
    alpha.paste(255, (0, first, width, end))
    return alpha


def _missing(image: Image.Image, levels: tuple[int, ...]) -> Image.Image | None:
    pixels = np.asarray(image)
    there = np.flatnonzero(~np.isin(pixels, levels).reshape(image.height, -1).all(axis=1))
    first, end = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
    return rows_alpha(image.size, first if levels == _MISSING else 0, end)
