"""Decode a JPEG that ends too early, as browsers do: they show what is there."""

import io

import numpy as np
from PIL import Image

from moderator.errors import ImageBroken

_END_MARKER = b"\xff\xd9"
#: Share of its rows that must be there for a JPEG to be judged.
JPEG_ROWS_MIN = 0.1
#: Where data is missing, libjpeg leaves the middle of the range.
_MISSING_LEVEL = 128


def load_partially(data: bytes, draft_to: tuple[int, int] | None) -> tuple[Image.Image, Image.Image | None]:
    """Decode a JPEG without its end; return it, loaded, and the alpha that makes missing rows transparent.

    Args:
        data: the file. Its size must have been checked.
        draft_to: width and height for `Image.draft`.

    Raises:
        ImageBroken: less than `JPEG_ROWS_MIN` of the rows are there.
    """
    image = Image.open(io.BytesIO(data + _END_MARKER), formats=["JPEG"])
    if draft_to is not None:
        image.draft("RGB", draft_to)
    image.load()
    pixels = np.asarray(image)
    there = (pixels != _MISSING_LEVEL).reshape(image.height, -1).any(axis=1)
    rows = int(there.nonzero()[0][-1]) + 1 if there.any() else 0
    if rows < JPEG_ROWS_MIN * image.height:
        raise ImageBroken(f"the JPEG is truncated: {rows} of its {image.height} rows are there")
    if rows == image.height:
        return image, None
    alpha = Image.new("L", image.size, 0)
    alpha.paste(255, (0, 0, image.width, rows))
    return image, alpha
