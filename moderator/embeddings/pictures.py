"""Pictures of results: a heat map of similarities, a contact sheet of hits. Drawn with Pillow alone."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from moderator.embeddings.lettering import Lettering
from moderator.encoders.encoder import Embeddings
from moderator.printable import printable

#: Pixels.
_THUMBNAIL_PIXELS = 96
_GAP_PIXELS = 8
_LINE_PIXELS = 20
_COLUMNS = 5
#: Colours of low, middle and high values: dark blue, green, yellow. Lightness rises all the way.
_SCALE = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], dtype=float)


def heat_map(
    images: Sequence[Image.Image],
    names: Sequence[str],
    texts: Sequence[str],
    values: Embeddings,
    lettering: Lettering,
) -> Image.Image:
    """Draw a table of coloured cells: a row per image with its thumbnail, a column per text.

    Args:
        images: n pictures.
        names: n, written below the thumbnails.
        texts: m, written above the columns.
        values: [n, m]; the colours span their range.
        lettering: made for these names and texts.
    """
    headings = [_wrap(text, lettering, _THUMBNAIL_PIXELS) for text in texts]
    top = _GAP_PIXELS * 2 + _LINE_PIXELS * max(map(len, headings), default=0)
    cell = _THUMBNAIL_PIXELS + _GAP_PIXELS
    row = _THUMBNAIL_PIXELS + _LINE_PIXELS + _GAP_PIXELS
    picture = Image.new("RGB", (_GAP_PIXELS + cell * (len(texts) + 1), top + row * len(images)), "white")
    draw = ImageDraw.Draw(picture)
    for column, lines in enumerate(headings):
        for number, line in enumerate(lines):
            lettering.draw(
                draw, (_GAP_PIXELS + cell * (column + 1), _GAP_PIXELS + number * _LINE_PIXELS), line
            )
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        y = top + number * row
        picture.paste(_thumbnail(image), (_GAP_PIXELS, y))
        lettering.draw(draw, (_GAP_PIXELS, y + _THUMBNAIL_PIXELS), _cut(name, lettering, _THUMBNAIL_PIXELS))
        for column in range(len(texts)):
            value = float(values[number, column])
            share = (value - low) / (high - low) if high > low else 0.5
            x = _GAP_PIXELS + cell * (column + 1)
            draw.rectangle((x, y, x + _THUMBNAIL_PIXELS - 1, y + _THUMBNAIL_PIXELS - 1), fill=_colour(share))
            text = f"{value:.3f}"
            left = x + (_THUMBNAIL_PIXELS - lettering.length(text)) / 2
            lettering.draw(
                draw,
                (left, y + (_THUMBNAIL_PIXELS - _LINE_PIXELS) / 2),
                text,
                "black" if share > 0.6 else "white",
            )
    return picture


def contact_sheet(
    images: Sequence[Image.Image], captions: Sequence[str], lettering: Lettering
) -> Image.Image:
    """Draw thumbnails in rows, each with a caption below; `lettering` is made for the captions."""
    size = 2 * _THUMBNAIL_PIXELS
    cell, row = size + _GAP_PIXELS, size + _LINE_PIXELS + _GAP_PIXELS
    columns = max(1, min(_COLUMNS, len(images)))
    picture = Image.new(
        "RGB", (_GAP_PIXELS + cell * columns, _GAP_PIXELS + row * -(-len(images) // columns)), "white"
    )
    draw = ImageDraw.Draw(picture)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = _GAP_PIXELS + cell * (number % columns), _GAP_PIXELS + row * (number // columns)
        picture.paste(_thumbnail(image, size), (x, y))
        lettering.draw(draw, (x, y + size), _cut(caption, lettering, size))
    return picture


def placeholder() -> Image.Image:
    """Return the stand-in for an image that can no longer be opened."""
    return Image.new("RGB", (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), "lightgrey")


def _thumbnail(image: Image.Image, size: int = _THUMBNAIL_PIXELS) -> Image.Image:
    return ImageOps.pad(image.convert("RGB"), (size, size), color="white")


def _colour(share: float) -> tuple[int, int, int]:
    at = share * (len(_SCALE) - 1)
    low = min(int(at), len(_SCALE) - 2)
    mixed = _SCALE[low] + (at - low) * (_SCALE[low + 1] - _SCALE[low])
    red, green, blue = (round(value) for value in mixed)
    return red, green, blue


def _cut(text: str, lettering: Lettering, width: int) -> str:
    """Shorten a text to a width in pixels."""
    text = printable(text)[:200]
    if lettering.length(text) <= width:
        return text
    while text and lettering.length(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _wrap(text: str, lettering: Lettering, width: int, lines: int = 4) -> list[str]:
    """Wrap a text into at most `lines` lines, each within a width in pixels."""
    result: list[str] = []
    for word in printable(text).split():
        joined = f"{result[-1]} {word}" if result else word
        if result and lettering.length(joined) <= width:
            result[-1] = joined
        else:
            result.append(word)
    if len(result) > lines:
        result[lines - 1 :] = [" ".join(result[lines - 1 :])]
    return [_cut(line, lettering, width) for line in result]
