"""Find the pictures of an icon that a viewer may choose: browsers and systems differ in how they do."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from moderator.images.png_chunks import SIGNATURE

_HEADER, _ENTRY = 6, 16
#: Pictures of an icon that are judged at most.
MAX_ICON_PICTURES = 4


@dataclass(frozen=True)
class IconEntry:
    """A picture in an icon: the size that the directory gives and its own, and its bits per pixel."""

    listed: int
    """Pixels, by the directory."""
    pixels: int
    """Pixels, by the picture."""
    bits: int
    """By the directory."""
    file: bytes
    """The picture as a file: a PNG, or an icon that holds it alone."""

    @property
    def is_png(self) -> bool:
        """Whether the file is a PNG."""
        return self.file.startswith(SIGNATURE)


def largest_entries(data: bytes) -> list[IconEntry]:
    """Return the pictures of the largest size, by the directory or by themselves; the one that Chromium shows first.

    Nothing is checked but bounds: a picture that cannot be decoded is still in the list. The same picture listed twice
    counts once.
    """
    entries = {entry.file: entry for entry in sorted(_entries(data), key=lambda entry: entry.bits)}
    found = list(entries.values())
    listed = max((entry.listed for entry in found), default=0)
    pixels = max((entry.pixels for entry in found), default=0)
    largest = [entry for entry in found if entry.listed == listed or entry.pixels == pixels]
    return sorted(largest, key=lambda entry: (entry.listed, entry.bits), reverse=True)


def _entries(data: bytes) -> Iterator[IconEntry]:
    (count,) = struct.unpack_from("<H", data, 4)
    for number in range(count):
        at = _HEADER + _ENTRY * number
        if at + _ENTRY > len(data):
            return
        width, height, _, _, _, bits, length, offset = struct.unpack_from("<BBBBHHII", data, at)
        listed = (width or 256) * (height or 256)
        if data.startswith(SIGNATURE, offset) and offset + 24 <= len(data):
            own_width, own_height = struct.unpack_from(">II", data, offset + 16)
            file = data[offset : offset + length]
        elif offset + 16 <= len(data):
            own_width, own_height, _, own_bits = struct.unpack_from("<iiHH", data, offset + 4)
            own_width, own_height = abs(own_width), abs(own_height) // 2
            # Pillow finds the transparency by the directory's bits; browsers by the picture's.
            entry = struct.pack("<BBBBHHII", width, height, 0, 0, 1, own_bits, length, _HEADER + _ENTRY)
            file = b"\0\0\1\0\1\0" + entry + data[offset : offset + length]
        else:
            continue
        yield IconEntry(listed, own_width * own_height, bits, file)
