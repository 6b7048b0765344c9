"""Damaged files of which browsers show the part before the damage, as `format_tricks.py` makes them."""

import struct
import zlib

import numpy as np
from PIL import Image

from benchmarks.format_tricks import SIDE, trick
from benchmarks.format_writers import RGB, encode, png, png_data, png_header
from moderator.images.png_chunks import make_chunk

#: Rows of something else below the photograph, which browsers do not show.
_HIDDEN_ROWS = SIDE // 2
_SHARE = 0.8


def _on_white(photograph: Image.Image, rows: int, height: int) -> Image.Image:
    canvas = Image.new("RGB", (photograph.width, height), "white")
    canvas.paste(photograph.crop((0, 0, photograph.width, rows)))
    return canvas


def _two_pieces(photograph: Image.Image, other: Image.Image) -> tuple[bytes, bytes]:
    """Return the compressed data of the photograph, flushed, and that of rows of something else below it."""
    deflater = zlib.compressobj()
    above = deflater.compress(_filtered(photograph)) + deflater.flush(zlib.Z_FULL_FLUSH)
    hidden = other.crop((0, 0, SIDE, _HIDDEN_ROWS))
    return above, deflater.compress(_filtered(hidden)) + deflater.flush()


def _filtered(image: Image.Image) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in np.asarray(image))


def _png_of(*chunks: bytes) -> bytes:
    return png(png_header(SIDE, SIDE + _HIDDEN_ROWS, 8, RGB), *chunks)


@trick
def png_wrong_checksum(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    above, below = _two_pieces(photograph, other)
    wrong = make_chunk(b"IDAT", above)[:-4] + struct.pack(">I", 1)
    return _png_of(wrong, make_chunk(b"IDAT", below)), _on_white(photograph, SIDE, SIDE + _HIDDEN_ROWS)


@trick
def png_wrong_filter(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    rows = _filtered(photograph) + b"\x09" + _filtered(other)[1 : _HIDDEN_ROWS * (3 * SIDE + 1)]
    file = _png_of(make_chunk(b"IDAT", zlib.compress(rows)))
    return file, _on_white(photograph, SIDE, SIDE + _HIDDEN_ROWS)


@trick
def png_truncated(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    rows = int(_SHARE * SIDE)
    data = png_data(np.asarray(photograph.crop((0, 0, SIDE, rows))))
    # The checksum of compressed data is in its last four bytes.
    file = png(png_header(SIDE, SIDE, 8, RGB), make_chunk(b"IDAT", data)[:-8])
    return file[: -len(make_chunk(b"IEND", b""))], _on_white(photograph, rows, SIDE)


@trick
def gif_truncated(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Without the last hundredth of the file."""
    file = encode(photograph.quantize(255), "GIF")
    return file[: len(file) * 99 // 100], photograph.quantize(255).convert("RGB")


@trick
def bmp_truncated(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """The lower rows come first in the file."""
    rows = int(_SHARE * SIDE)
    file = encode(photograph, "BMP")
    upside_down = photograph.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    shown = _on_white(upside_down, rows, SIDE).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return file[: 54 + rows * (-(-3 * SIDE // 4) * 4)], shown
