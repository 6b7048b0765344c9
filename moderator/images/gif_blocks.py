"""Read the blocks of a GIF: which frames it has, and where the data of each stands.

Browsers end an animation at the first byte that starts no block; other programs skip it and go on. Both ends are
known here, so that the frames on either side can be judged.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops

from moderator.errors import ImageBroken, ImageTooLarge
from moderator.images.composition import SHORT_SHOWN_SECONDS, Box, Disposal, premultiplied, shown_seconds
from moderator.images.partial_files import ROWS_SHARE_MIN, missing_rows

MAX_GIF_BLOCKS = 1_000_000
_IMAGE, _EXTENSION, _TRAILER, _CONTROL = 0x2C, 0x21, 0x3B, 0xF9
_LOCAL_PALETTE, _INTERLACED = 0x80, 0x40


@dataclass(frozen=True)
class GifFrame:
    """A frame: its place on the screen, its colours, and its compressed data."""

    box: Box
    interlaced: bool
    palette: bytes
    transparent: int | None
    """The index that leaves the canvas as it is."""
    disposal: Disposal
    seconds: float
    start: int
    end: int


@dataclass
class GifFile:
    """The frames of a GIF, in order."""

    width: int
    height: int
    frames: list[GifFrame] = field(default_factory=list)
    stop: int | None = None
    """The frame after which browsers end the animation, though more follow."""
    more: bool = False
    """Whether there may be more frames than were looked for."""


@dataclass(frozen=True)
class _Control:
    disposal: Disposal = Disposal.KEEP
    seconds: float = SHORT_SHOWN_SECONDS
    transparent: int | None = None


def read_gif(data: bytes, most: int) -> GifFile:
    """Find up to `most` frames, without decoding any.

    Raises:
        ImageTooLarge: the file has too many blocks.
    """
    if len(data) < 13:
        return GifFile(0, 0)
    gif = GifFile(*struct.unpack_from("<HH", data, 6))
    position = 13 + _palette_length(data[10])
    shared = data[13:position]
    control = _Control()
    blocks = 0
    while position < len(data):
        if len(gif.frames) == most:
            gif.more = True
            break
        kind = data[position]
        if kind == _TRAILER:
            break
        if kind == _IMAGE and position + 10 < len(data):
            left, top, width, height, flags = struct.unpack_from("<4HB", data, position + 1)
            start = position + 10 + _palette_length(flags)
            palette = data[position + 10 : start] if flags & _LOCAL_PALETTE else shared
            position, blocks = _skip_blocks(data, start + 1, blocks)
            box = left, top, left + width, top + height
            if not gif.frames:  # browsers make room for the first frame, and only for that
                gif.width, gif.height = max(gif.width, box[2]), max(gif.height, box[3])
            interlaced = bool(flags & _INTERLACED)
            gif.frames.append(
                GifFrame(
                    *(box, interlaced, palette, control.transparent, control.disposal, control.seconds),
                    *(start, min(position, len(data))),
                )
            )
            control = _Control()
        elif kind == _EXTENSION:
            if data[position + 1 : position + 3] == bytes((_CONTROL, 4)) and position + 7 <= len(data):
                control = _read_control(data, position + 3)
            position, blocks = _skip_blocks(data, position + 2, blocks)
        else:
            blocks += 1
            position += 1
            if gif.frames and gif.stop is None:
                gif.stop = len(gif.frames) - 1
        if blocks > MAX_GIF_BLOCKS:
            raise ImageTooLarge(f"the GIF is made of more than {MAX_GIF_BLOCKS} blocks; save it again")
    return gif


def _palette_length(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & _LOCAL_PALETTE else 0


def _skip_blocks(data: bytes, position: int, blocks: int) -> tuple[int, int]:
    """Return the position behind a chain of blocks, and the number of blocks so far."""
    while position < len(data) and data[position] and blocks <= MAX_GIF_BLOCKS:
        position += data[position] + 1
        blocks += 1
    return position + 1, blocks


def _read_control(data: bytes, position: int) -> _Control:
    flags, delay, transparent = struct.unpack_from("<BHB", data, position)
    disposal = {2: Disposal.CLEAR, 3: Disposal.RESTORE, 4: Disposal.RESTORE}.get(
        flags >> 2 & 7, Disposal.KEEP
    )
    return _Control(disposal, shown_seconds(delay / 100), transparent if flags & 1 else None)


def lone_frame(data: bytes, frame: GifFrame) -> bytes:
    """Return a GIF of this frame alone, in the size of its box, whose colours are grey levels that name its indices."""
    left, top, right, bottom = frame.box
    size = struct.pack("<HH", right - left, bottom - top)
    flags = bytes((_INTERLACED if frame.interlaced else 0,))
    return b"".join(
        (
            b"GIF89a",
            size,
            b"\xf7\0\0",
            _INDICES,
            b",\0\0\0\0",
            size,
            flags,
            data[frame.start : frame.end],
            b"\0;",
        )
    )


#: A palette of 256 grey levels.
_INDICES = bytes(level for level in range(256) for _ in range(3))


def partial_colour(indices: Image.Image, frame: GifFrame) -> Image.Image:
    """Return the pixels of a frame that ends too early, as `colour` does.

    Missing rows are transparent. In an interlaced frame they show the row above them, as in browsers.

    Raises:
        ImageBroken: too little of it is there.
    """
    if not frame.interlaced:
        image = colour(indices, frame)
        if (alpha := missing_rows(indices)) is not None:
            image.paste((0, 0, 0, 0), mask=ImageChops.invert(alpha))
        return image
    pixels = np.asarray(indices)
    there = pixels.any(axis=1)
    if there.mean() < ROWS_SHARE_MIN:
        raise ImageBroken("the GIF is truncated: too few of its rows are there")
    above = np.maximum.accumulate(np.where(there, np.arange(len(pixels)), 0))
    return colour(Image.fromarray(pixels[above]), frame)


def colour(indices: Image.Image, frame: GifFrame) -> Image.Image:
    """Return a frame's pixels in its colours, mode RGBa; indices beyond its palette are black."""
    table = np.zeros((256, 4), dtype=np.uint8)
    entries = np.frombuffer(frame.palette, dtype=np.uint8).reshape(-1, 3)
    table[: len(entries), :3] = entries
    table[:, 3] = 255
    if frame.transparent is not None:
        table[frame.transparent] = 0
    pixels = table.view(np.uint32)[np.asarray(indices), 0]
    return premultiplied(pixels.view(np.uint8).reshape(*pixels.shape, 4))
