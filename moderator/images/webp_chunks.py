"""Read the chunks of a WebP: the frames of an animation, and transparency that browsers show and Pillow does not."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from moderator.errors import ImageTooLarge
from moderator.images.composition import Box, Disposal, shown_seconds

_LOSSLESS, _EXTENDED, _FRAME, _ALPHA = b"VP8L", b"VP8X", b"ANMF", b"ALPH"
_LOSSLESS_SIGNATURE = 0x2F
#: In the fourth byte of a lossless picture's sizes, and in the first byte of the extended header.
_LOSSLESS_HAS_ALPHA, _EXTENDED_HAS_ALPHA = 0x10, 0x10
_ANIMATED = 0x02
_CLEARED, _REPLACES = 0x01, 0x02
MAX_WEBP_CHUNKS = 100_000


@dataclass(frozen=True)
class WebpFrame:
    """A frame of an animation, and a WebP of it alone."""

    box: Box
    seconds: float
    disposal: Disposal
    over: bool
    file: bytes


def read_webp(data: bytes) -> list[WebpFrame]:
    """Return the frames of an animation; none of a still.

    Raises:
        ImageTooLarge: the file has too many chunks.
    """
    if data[12:16] != _EXTENDED or len(data) < 21 or not data[20] & _ANIMATED:
        return []
    frames = []
    for kind, start, end in _chunks(data, 12, len(data)):
        if kind != _FRAME or end - start < 24:
            continue
        left, top, width, height, milliseconds = (
            int.from_bytes(data[at : at + 3], "little") for at in range(start, start + 15, 3)
        )
        flags = data[start + 15]
        frames.append(
            WebpFrame(
                (2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1),
                shown_seconds(milliseconds / 1000),
                Disposal.CLEAR if flags & _CLEARED else Disposal.KEEP,
                not flags & _REPLACES,
                _lone_frame(data[start + 6 : start + 12], data[start + 16 : end]),
            )
        )
    return frames


def _lone_frame(size: bytes, chunks: bytes) -> bytes:
    """Return a WebP of the chunks of one frame; `size`: width and height less one, three bytes each."""
    body = b"WEBP" + _EXTENDED + struct.pack("<IB3x", 10, 0) + size + chunks
    return show_alpha_of_webp(b"RIFF" + struct.pack("<I", len(body)) + body)


def _chunks(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk; what follows the file's own length is no part of it."""
    count = 0
    end = min(end, 8 + int.from_bytes(data[4:8], "little"))
    while position + 8 <= end:
        count += 1
        if count > MAX_WEBP_CHUNKS:
            raise ImageTooLarge(f"the WebP is made of more than {MAX_WEBP_CHUNKS} chunks; save it again")
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        start = position + 8
        yield data[position : position + 4], start, min(start + length, end)
        position = start + length + (length & 1)


def show_alpha_of_webp(data: bytes) -> bytes:
    """Return a still that says that it has alpha wherever its data may hold it.

    A lossless picture always stores alpha; a bit says whether that is of interest, and browsers show it regardless.

    Raises:
        ImageTooLarge: the file has too many chunks.
    """
    changed = bytearray(data)
    extended = None
    alpha = False
    for kind, start, end in _chunks(data, 12, len(data)):
        if kind == _EXTENDED and extended is None and start < end:
            extended = start
        elif kind == _ALPHA:
            alpha = True
        elif kind == _LOSSLESS and start + 5 <= end and data[start] == _LOSSLESS_SIGNATURE:
            alpha = True
            changed[start + 4] |= _LOSSLESS_HAS_ALPHA
    if extended is not None and alpha:
        changed[extended] |= _EXTENDED_HAS_ALPHA
    return bytes(changed)
