"""Small pictures for reports."""

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

#: Most pixels of a side.
THUMBNAIL_PIXELS = 160
_QUALITY = 78


def thumbnail(image: "Image.Image") -> bytes:
    """Return a copy of a decoded picture as a WebP file, at most `THUMBNAIL_PIXELS` a side, without metadata."""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = BytesIO()
    small.save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()
