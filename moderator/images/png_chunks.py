"""Read the chunks of a PNG by the rules of browsers, and make a PNG of each frame that any decoder reads alike.

Browsers ignore a transparency chunk that stands before the palette, after the picture's data, or a second time, and
chunks whose checksum is wrong; they play an animation that is announced twice. Pillow does not. So that the picture
judged is the picture shown, a file is taken apart here and put together with what browsers heed.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from moderator.images.composition import Box, Disposal, shown_seconds

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
#: The bit of a chunk's name that says that a decoder may do without.
_ANCILLARY = 0x20
#: Length of a transparency chunk that holds a colour, by colour type.
_KEY_LENGTHS = {_GREY: 2, _RGB: 6}
#: Heeded once, and only in front of the picture's data.
_SINGLE = frozenset({b"PLTE", b"tRNS", b"acTL", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP"})


@dataclass
class PngFrame:
    """A frame of an animation, as its control chunk describes it."""

    box: Box
    seconds: float
    disposal: Disposal
    over: bool
    """Whether it is blended over the canvas; else it replaces its box."""
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Where the file holds its compressed data: start and end of each piece."""


@dataclass
class PngFile:
    """A PNG taken apart."""

    data: bytes
    header: bytes = b""
    ahead: list[bytes] = field(default_factory=list)
    """Whole chunks in front of the picture's data, as heeded."""
    behind: list[bytes] = field(default_factory=list)
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Where the file holds the data of its still picture."""
    frames: list[PngFrame] = field(default_factory=list)
    announced: int = 0
    """Frames that it announces; 0: no animation."""
    key: tuple[int, ...] | None = None
    """The transparent sample values of a grey or RGB picture, as stored."""
    code_points: tuple[int, int] | None = None
    """By which it names its primaries and transfer function."""
    changed: bool = False
    """Whether anything was left out, so that decoders need another file than this one."""
    complete: bool = False
    """Whether the last chunk was reached."""
    damaged: tuple[int, int] | None = None
    """The piece of a picture's data with a wrong checksum, after which browsers stop."""

    @property
    def depth(self) -> int:
        """Bits per sample."""
        return self.header[8]

    @property
    def starts_with_still(self) -> bool:
        """Whether the still picture is the first frame of the animation."""
        return bool(self.frames) and bool(self.parts) and self.frames[0].parts == self.parts

    def still(self) -> bytes:
        """Return a PNG of the still picture alone."""
        if not self.changed or not self.parts:
            return self.data
        return self._assemble(self.header, self.parts, self.behind)

    def frame(self, frame: PngFrame) -> bytes:
        """Return a PNG of a frame of the animation, in the size of its box."""
        return self._assemble(self.frame_header(frame), frame.parts, [])

    def frame_header(self, frame: PngFrame) -> bytes:
        """Return the body of the IHDR chunk of `frame`."""
        left, top, right, bottom = frame.box
        return struct.pack(">II", right - left, bottom - top) + self.header[8:]

    def heeded(self, parts: list[tuple[int, int]]) -> Iterator[memoryview]:
        """Yield a picture's compressed data, piece by piece, as far as browsers read it."""
        for start, end in parts:
            yield memoryview(self.data)[start:end]
            if (start, end) == self.damaged:
                return

    def _assemble(self, header: bytes, parts: list[tuple[int, int]], behind: list[bytes]) -> bytes:
        view = memoryview(self.data)
        pieces = [SIGNATURE, make_chunk(b"IHDR", header), *self.ahead]
        pieces += [make_chunk(b"IDAT", b"".join(view[start:end] for start, end in parts))]
        return b"".join([*pieces, *behind, make_chunk(b"IEND", b"")])


def make_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def read_png(data: bytes) -> PngFile:
    """Take a PNG apart. Never raises: of a damaged file, only what comes before the damage is known.

    The number of chunks must have been bounded before.
    """
    png = PngFile(data)
    seen: set[bytes] = set()
    position = len(SIGNATURE)
    view = memoryview(data)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        start, end = position + 8, position + 8 + length
        position = end + 4
        if not kind.isalpha():
            break
        if kind == b"IHDR":
            if length != 13 or png.header:
                break
            png.header = data[start:end]
            continue
        if not png.header:
            break
        if kind == b"IEND":
            png.complete = True
            break
        if kind in (b"IDAT", b"fdAT"):
            piece = start + 4 * (kind == b"fdAT"), min(end, len(data))
            if png.damaged is None and position <= len(data) and _is_damaged(view, kind, start, end):
                png.damaged = piece
            if kind == b"IDAT":
                _add_data(png, seen, *piece)
            else:
                _add_frame_data(png, *piece)
        elif position > len(data) or (kind[0] & _ANCILLARY and _is_damaged(view, kind, start, end)):
            png.changed = True
        else:
            _add_chunk(png, seen, kind, start, end)
        seen.add(kind)
    png.frames = [frame for frame in png.frames if frame.parts]
    return png


def _is_damaged(view: memoryview, kind: bytes, start: int, end: int) -> bool:
    """Return whether a chunk has a wrong checksum."""
    return zlib.crc32(view[start:end], zlib.crc32(kind)) != int.from_bytes(view[end : end + 4], "big")


def _add_data(png: PngFile, seen: set[bytes], start: int, end: int) -> None:
    """Add data of the still picture: pieces in a row; those after another chunk are ignored."""
    if png.parts and start != png.parts[-1][1] + 12:
        png.changed = True
        return
    png.parts.append((start, end))
    if len(png.frames) == 1 and b"fdAT" not in seen:
        png.frames[0].parts = png.parts  # the first control chunk came before it


def _add_frame_data(png: PngFile, start: int, end: int) -> None:
    png.changed = True
    frame = png.frames[-1] if png.frames else None
    if frame is not None and frame.parts is not png.parts and start < end:
        frame.parts.append((start, end))


def _add_chunk(png: PngFile, seen: set[bytes], kind: bytes, start: int, end: int) -> None:
    data, length = png.data, end - start
    colour = png.header[9]
    if (kind in _SINGLE and (kind in seen or b"IDAT" in seen)) or (kind == b"eXIf" and kind in seen):
        png.changed = True
    elif kind == b"cICP" and length == 4:
        png.code_points = data[start], data[start + 1]
    elif kind == b"acTL":
        png.changed = True
        if length == 8:
            (png.announced,) = struct.unpack_from(">I", data, start)
    elif kind == b"fcTL":
        png.changed = True
        if length == 26 and png.announced:
            _add_frame(png, data[start:end])
    elif kind == b"tRNS":
        if colour in _KEY_LENGTHS and length == _KEY_LENGTHS[colour]:
            png.changed = True  # the colour is compared here, bit by bit
            png.key = struct.unpack_from(f">{length // 2}H", data, start)
        elif colour == _PALETTE and b"PLTE" in seen and 0 < length <= 256:
            png.ahead.append(data[start - 8 : end + 4])
        else:
            png.changed = True
    else:
        (png.behind if b"IDAT" in seen else png.ahead).append(data[start - 8 : end + 4])


def _add_frame(png: PngFile, control: bytes) -> None:
    width, height, left, top, delay, unit, disposal, blend = struct.unpack_from(">IIIIHHBB", control, 4)
    canvas_width, canvas_height = struct.unpack_from(">II", png.header)
    if not (0 < width <= canvas_width and 0 < height <= canvas_height):
        return  # browsers refuse such a frame
    png.frames.append(
        PngFrame(
            (left, top, left + width, top + height),
            shown_seconds(delay / (unit or 100)),
            {1: Disposal.CLEAR, 2: Disposal.RESTORE}.get(disposal, Disposal.KEEP),
            blend == 1,
        )
    )
