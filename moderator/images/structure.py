"""What a file is made of, looked at before a decoder sees it.

The decoders read a file's structure without any bound on time, and some of that in Python.
"""

import struct
from collections.abc import Iterator
from itertools import islice

from moderator.errors import ImageBroken, ImageTooLarge

#: Scans of a progressive JPEG; encoders write about ten. Each costs a pass over the whole picture, so a small
#: file with thousands of them would hold a decoder for minutes.
MAX_JPEG_SCANS = 100

#: Pillow reads a file's segments, chunks and blocks one by one in Python. Real files hold far fewer of them;
#: a file of nothing else would hold a thread for minutes.
MAX_JPEG_SEGMENTS = 10_000
MAX_PNG_CHUNKS = 100_000
MAX_GIF_BLOCKS = 1_000_000
MAX_TIFF_TAGS = 200_000
MAX_TIFF_ARRAY = 100_000

_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_IMAGE, _GIF_EXTENSION, _GIF_TRAILER = 0x2C, 0x21, 0x3B
_JPEG_SCAN = 0xDA
_JPEG_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
#: Arrays that Pillow reads entry by entry: sample sizes and formats, strips and tiles, the colour map.
_TIFF_ARRAYS = frozenset({258, 273, 279, 320, 324, 325, 338, 339})


def check_before_decoding(data: bytes, format_name: str, max_pixels: int) -> None:
    """Refuse what would already harm while a decoder opens it.

    Raises:
        ImageTooLarge: too many scans, segments or chunks, or an icon that holds a huge picture.
        ImageBroken: an icon's directory points outside the file.
    """
    if format_name == "JPEG":
        if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
            raise ImageTooLarge(
                f"the JPEG has more than {MAX_JPEG_SCANS} scans; save it again as a plain JPEG"
            )
        _bound(_jpeg_segments(data), MAX_JPEG_SEGMENTS, "JPEG", "segments")
    if format_name == "PNG":
        _bound(_png_chunks(data), MAX_PNG_CHUNKS, "PNG", "chunks")
    if format_name == "TIFF":
        _check_tiff_arrays(data)
    if format_name == "ICO":
        # Pillow decodes an icon's picture while it opens the file, whatever size the directory says it has.
        for width, height in _icon_sizes(data):
            if width * height > max_pixels:
                raise ImageTooLarge(f"the icon holds {width} x {height} pixels, more than {max_pixels}")


def count_gif_frames(data: bytes, limit: int) -> int:
    """Count the frames of a GIF by its block structure, up to `limit`, decoding none of them.

    Raises:
        ImageTooLarge: it is made of too many blocks.
    """
    frames = 0
    blocks = 0
    position = 13 + _palette_length(data[10] if len(data) > 10 else 0)
    while position < len(data) and frames < limit:
        if blocks >= MAX_GIF_BLOCKS:
            raise ImageTooLarge(f"the GIF is made of more than {MAX_GIF_BLOCKS} blocks; save it again")
        kind = data[position]
        position += 1
        if kind == _GIF_TRAILER:
            break
        if kind == _GIF_IMAGE and position + 9 < len(data):
            frames += 1
            # Position, size and flags; a palette; the code size.
            position += 9 + _palette_length(data[position + 8]) + 1
        elif kind == _GIF_EXTENSION:
            position += 1
        else:
            blocks += 1
            continue
        while position < len(data) and data[position] and blocks < MAX_GIF_BLOCKS:
            position += data[position] + 1
            blocks += 1
        position += 1
    return frames


def _palette_length(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _jpeg_segments(data: bytes) -> Iterator[int]:
    """Positions of the segments (and fill bytes) before the first scan."""
    position = 2
    while position + 3 < len(data) and data[position] == 0xFF and data[position + 1] != _JPEG_SCAN:
        yield position
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _png_chunks(data: bytes) -> Iterator[int]:
    position = len(_PNG)
    while position + 8 <= len(data):
        yield position
        position += 12 + int.from_bytes(data[position : position + 4], "big")


def _bound(parts: Iterator[int], limit: int, what: str, parts_name: str) -> None:
    if next(islice(parts, limit, None), None) is not None:
        raise ImageTooLarge(f"the {what} is made of more than {limit} {parts_name}; save it again")


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    try:
        (count,) = struct.unpack_from("<H", data, 4)
        for entry in range(count):
            (offset,) = struct.unpack_from("<I", data, 6 + 16 * entry + 12)
            if data[offset : offset + 8] == _PNG:
                yield struct.unpack_from(">II", data, offset + 16)
            else:
                width, height = struct.unpack_from("<ii", data, offset + 4)
                # The height counts the picture and its mask.
                yield abs(width), abs(height) // 2
    except struct.error as error:
        raise ImageBroken("the icon's directory points outside the file") from error


def _check_tiff_arrays(data: bytes) -> None:
    order, big = ("<", ">")[data[:2] == b"MM"], 43 in data[2:4]
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    counter, pointer = struct.Struct(order + "HQ"[big]), struct.Struct(order + "IQ"[big])
    tags = 0
    try:
        (page,) = pointer.unpack_from(data, 8 if big else 4)
        while page and tags <= MAX_TIFF_TAGS:
            (count,) = counter.unpack_from(data, page)
            tags += count + 1
            position = page + counter.size
            for _ in range(min(count, MAX_TIFF_TAGS)):
                tag, _, length = entry.unpack_from(data, position)
                position += entry.size
                if tag in _TIFF_ARRAYS and length > MAX_TIFF_ARRAY:
                    raise ImageTooLarge(
                        f"the TIFF is made of more than {MAX_TIFF_ARRAY} strips; save it again"
                    )
            (page,) = pointer.unpack_from(data, position)
    except (struct.error, OverflowError):
        return  # points outside the file: the decoder will say so, or never get there
    if tags > MAX_TIFF_TAGS:
        raise ImageTooLarge(f"the TIFF is made of more than {MAX_TIFF_TAGS} tags; save it again")
