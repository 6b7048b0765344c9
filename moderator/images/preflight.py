"""Check a file's structure before a decoder sees it.

Decoders read a file's structure without any bound on time, partly in Python. Only the parts that a decoder reads
count: phones append videos, depth maps and whole pictures to a file, and put thumbnails into its metadata.
"""

import re
import struct
from collections.abc import Iterable, Iterator

from moderator.errors import ImageBroken, ImageTooLarge

#: Scans of a progressive JPEG; encoders write about ten. Each costs a pass over the whole picture, so a small
#: file with thousands of them would block a decoder for minutes.
MAX_JPEG_SCANS = 100

#: Pillow reads a file's segments, chunks and blocks one by one in Python. Real files hold far fewer of them;
#: a file that holds nothing else would block a thread for minutes.
MAX_JPEG_SEGMENTS = 10_000
#: Bytes between the segments before the first scan, which Pillow reads one by one.
MAX_JPEG_PADDING = 1_000_000
MAX_PNG_CHUNKS = 100_000
MAX_TIFF_TAGS = 200_000
MAX_TIFF_ARRAY = 100_000

_PNG = b"\x89PNG\r\n\x1a\n"
#: A chunk's name, as Pillow recognises it.
_PNG_CHUNK = re.compile(rb"\w{4}")
#: The next marker, as both libjpeg and Pillow find it: fill bytes (FF), data (FF 00), restarts (FF D0 to FF D7) and
#: anything else between two segments are skipped.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
#: Markers without a length, or after which Pillow expects none and libjpeg ends.
_JPEG_WITHOUT_LENGTH = frozenset({*range(0x01, 0xC0), 0xC8, 0xD8, _JPEG_END, *range(0xF0, 0xFE)})
#: Arrays that Pillow reads entry by entry: sample sizes and formats, strips and tiles, the colour map.
_TIFF_ARRAYS = frozenset({258, 273, 279, 320, 324, 325, 338, 339})


def check_before_decoding(data: bytes, format_name: str, max_pixels: int) -> None:
    """Refuse a file that would do harm as soon as a decoder opens it.

    Raises:
        ImageTooLarge: too many scans, segments or chunks, or an icon that holds a huge picture.
        ImageBroken: an icon's directory points outside the file.
    """
    if format_name == "JPEG":
        _check_jpeg(data)
    if format_name == "PNG":
        _check_png(data, [0])
    if format_name == "TIFF":
        _check_tiff_arrays(data)
    if format_name == "ICO":
        # Pillow decodes an icon's picture while it opens the file, regardless of the size in the directory.
        for width, height in _icon_sizes(data):
            if width * height > max_pixels:
                raise ImageTooLarge(f"the icon holds {width} x {height} pixels, more than {max_pixels}")
        _check_png(data, (offset for offset in _icon_offsets(data) if data.startswith(_PNG, offset)))


def _check_jpeg(data: bytes) -> None:
    """Walk the segments and scans of the first picture, the only one that is decoded."""
    position, parts, padding, scans = 2, 0, 0, 0
    while found := _JPEG_MARKER.search(data, position):
        parts += 1
        if not scans:
            parts += data.count(b"\xff", position, found.start())
            padding += found.start() - position
        marker, position = found[1][0], found.end()
        # An end marker before the first scan does not count: a file may begin with tables, followed by the picture.
        if marker == _JPEG_END and scans:
            return
        scans += marker == _JPEG_SCAN
        _bound(scans, MAX_JPEG_SCANS, "JPEG", "scans")
        _bound(parts, MAX_JPEG_SEGMENTS, "JPEG", "segments")
        _bound(padding, MAX_JPEG_PADDING, "JPEG", "bytes between segments")
        if marker not in _JPEG_WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
    if not scans:
        _bound(len(data) - position, MAX_JPEG_PADDING, "JPEG", "bytes between segments")


def _check_png(data: bytes, starts: Iterable[int]) -> None:
    """Walk the chunks of PNGs, each up to its last chunk or the first bytes that are not one."""
    chunks = 0
    for start in starts:
        position = start + len(_PNG)
        while name := _PNG_CHUNK.match(data, position + 4):
            chunks += 1
            _bound(chunks, MAX_PNG_CHUNKS, "PNG", "chunks")
            if name[0] == b"IEND":
                break
            position += 12 + int.from_bytes(data[position : position + 4], "big")


def _bound(parts: int, limit: int, what: str, parts_name: str) -> None:
    if parts > limit:
        raise ImageTooLarge(f"the {what} is made of more than {limit} {parts_name}; save it again")


def _icon_offsets(data: bytes) -> Iterator[int]:
    (count,) = struct.unpack_from("<H", data, 4)
    for entry in range(count):
        yield struct.unpack_from("<I", data, 6 + 16 * entry + 12)[0]


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    try:
        for offset in _icon_offsets(data):
            if data.startswith(_PNG, offset):
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
                if tag in _TIFF_ARRAYS:
                    _bound(length, MAX_TIFF_ARRAY, "TIFF", "strips")
            (page,) = pointer.unpack_from(data, position)
    except (struct.error, OverflowError):
        return  # points outside the file: the decoder will say so, or never get there
    _bound(tags, MAX_TIFF_TAGS, "TIFF", "tags")
