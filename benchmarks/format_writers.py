"""Write image files byte by byte, with what no encoder writes: wrong orders, odd headers, bare animation frames."""

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from moderator.images.png_chunks import SIGNATURE, make_chunk

GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6


def encode(image: Image.Image, format_name: str, **options: object) -> bytes:
    """Return an image as a file."""
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def decode(file: bytes, frame: int = 0) -> Image.Image:
    """Return what a lossy file keeps of a picture: people see no more of it."""
    image = Image.open(io.BytesIO(file))
    image.seek(frame)
    return image.convert("RGB")


def png_header(width: int, height: int, depth: int, colour: int) -> bytes:
    """Return a PNG's first chunk."""
    return make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png_data(samples: np.ndarray, depth: int = 8) -> bytes:
    """Return the compressed rows of samples, [height, width] or [height, width, channels], of 1 to 16 bits."""
    height = len(samples)
    rows = samples.reshape(height, -1)
    if depth == 16:
        rows = rows.astype(">u2").view(np.uint8)
    elif depth < 8:
        bits = np.unpackbits(rows.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    filtered = np.hstack([np.zeros((height, 1), np.uint8), rows.astype(np.uint8)])
    return zlib.compress(filtered.tobytes())


def png(header: bytes, *chunks: bytes) -> bytes:
    """Return a PNG of whole chunks, without and with its end."""
    return SIGNATURE + header + b"".join(chunks) + make_chunk(b"IEND", b"")


@dataclass(frozen=True)
class BareFrame:
    """A frame of an animation, as its format stores it."""

    pixels: np.ndarray
    """uint8 [height, width, 4] for PNG; uint8 [height, width] of indices for GIF."""
    left: int = 0
    top: int = 0
    milliseconds: int = 100
    disposal: int = 0
    blend: int = 0
    transparent: int | None = None
    palette: bytes | None = None


def apng(size: tuple[int, int], frames: Sequence[BareFrame], control: bytes | None = None) -> bytes:
    """Return an animated PNG of RGBA frames; the first covers the canvas. `control`: chunks that announce them."""
    chunks = [control if control is not None else announcement(len(frames))]
    number = 0
    for index, frame in enumerate(frames):
        height, width = frame.pixels.shape[:2]
        fields = (
            number,
            width,
            height,
            frame.left,
            frame.top,
            frame.milliseconds,
            1000,
            frame.disposal,
            frame.blend,
        )
        chunks.append(make_chunk(b"fcTL", struct.pack(">5IHHBB", *fields)))
        number += 1
        data = png_data(frame.pixels)
        if index == 0:
            chunks.append(make_chunk(b"IDAT", data))
        else:
            chunks.append(make_chunk(b"fdAT", struct.pack(">I", number) + data))
            number += 1
    return png(png_header(*size, 8, RGBA), *chunks)


def announcement(frames: int) -> bytes:
    """Return the chunk that announces an animation which repeats for ever."""
    return make_chunk(b"acTL", struct.pack(">II", frames, 0))


def gif(size: tuple[int, int], frames: Sequence[BareFrame | bytes], palette: bytes) -> bytes:
    """Return a GIF of frames of indices into a palette of 256 colours; bytes between them are written as they are."""
    out = [b"GIF89a", struct.pack("<HHBBB", *size, 0xF7, 0, 0), palette.ljust(768, b"\0")]
    out.append(b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0")
    for frame in frames:
        if isinstance(frame, bytes):
            out.append(frame)
            continue
        flags = frame.disposal << 2 | (frame.transparent is not None)
        out.append(
            struct.pack(
                "<4sHBB", bytes((0x21, 0xF9, 4, flags)), frame.milliseconds // 10, frame.transparent or 0, 0
            )
        )
        height, width = frame.pixels.shape
        local = frame.palette
        out.append(
            b"," + struct.pack("<4HB", frame.left, frame.top, width, height, 0 if local is None else 0x87)
        )
        out.append(b"" if local is None else local.ljust(768, b"\0"))
        out.append(gif_data(frame.pixels))
    return b"".join(out) + b";"


def gif_data(indices: np.ndarray) -> bytes:
    """Return the compressed data of a frame, as Pillow writes it."""
    image = Image.fromarray(np.ascontiguousarray(indices, dtype=np.uint8))
    whole = encode(image, "GIF", optimize=False, interlace=0)
    start = whole.index(b",\0\0\0\0" + struct.pack("<HH", *image.size))
    flags = whole[start + 9]
    start += 10 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    return whole[start:].removesuffix(b";")


def with_clean_aperture(avif: bytes, numbers: tuple[int, ...]) -> bytes:
    """Return an AVIF still, as Pillow writes it, with a clean aperture for its first picture."""
    box = struct.pack(">I4sIIIIiIiI", 40, b"clap", *numbers)
    data = bytearray(avif)
    # The index of the new property: those that are there, counted.
    at = data.index(b"ipco") - 4
    (size,) = struct.unpack_from(">I", data, at)
    position, count = at + 8, 0
    while position < at + size:
        position += struct.unpack_from(">I", data, position)[0]
        count += 1
    ipma = data.index(b"ipma") - 4
    associations = ipma + 18
    data[associations] += 1
    data.insert(associations + 1 + data[associations] - 1, 0x80 | (count + 1))
    _grow(data, ipma, 1)
    data[position:position] = box
    _grow(data, at, len(box))
    for name in (b"iprp", b"meta"):
        _grow(data, data.index(name) - 4, len(box) + 1)
    iloc = data.index(b"iloc") - 4
    (items,) = struct.unpack_from(">H", data, iloc + 14)
    for item in range(items):
        offset = iloc + 16 + 14 * item + 6
        struct.pack_into(">I", data, offset, struct.unpack_from(">I", data, offset)[0] + len(box) + 1)
    return bytes(data)


def _grow(data: bytearray, at: int, by: int) -> None:
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + by)


def icon(pictures: Sequence[tuple[bytes, int]], side: int) -> bytes:
    """Return an icon of pictures of one size, each with the bits per pixel that the directory gives."""
    out = struct.pack("<HHH", 0, 1, len(pictures))
    offset = len(out) + 16 * len(pictures)
    for file, bits in pictures:
        out += struct.pack("<BBBBHHII", side % 256, side % 256, 0, 0, 1, bits, len(file), offset)
        offset += len(file)
    return out + b"".join(file for file, _ in pictures)
