"""Find what an AVIF says about how to show its picture and Pillow does not heed: the clean aperture, a crop."""

import re
import struct

from moderator.errors import ImageTooLarge

#: A box of 32 bytes after its length and name.
_CLEAN_APERTURE = re.compile(rb"\0\0\0\x28clap(.{32})", re.DOTALL)
_APERTURE = struct.Struct(">IIIIiIiI")
#: Different apertures of a file; it has one for each kind of picture that it is made of.
MAX_APERTURES = 4

Crop = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels before the picture is turned."""


def find_apertures(data: bytes) -> list[tuple[int, ...]]:
    """Return the numbers of each clean aperture of a file, without repetitions, in their order.

    The property may belong to any picture of the file; a viewer applies that of the main one.

    Raises:
        ImageTooLarge: there are more than are tried.
    """
    found: dict[tuple[int, ...], None] = {}
    for match in _CLEAN_APERTURE.finditer(data):
        found[_APERTURE.unpack(match[1])] = None
        if len(found) > MAX_APERTURES:
            raise ImageTooLarge(f"the AVIF has more than {MAX_APERTURES} clean apertures; save it again")
    return list(found)


def crop_box(aperture: tuple[int, ...], size: tuple[int, int]) -> Crop | None:
    """Return the part of a picture of this size that an aperture leaves; None if it is not valid, or leaves all.

    The numbers are width, height, and the distance of its centre from the picture's to the right and down, each as a
    numerator and a denominator (ISO/IEC 14496-12, 12.1.4).
    """
    fractions = [
        numerator / denominator if denominator > 0 else 0.0
        for numerator, denominator in zip(aperture[::2], aperture[1::2], strict=True)
    ]
    width, height, right, down = fractions
    left, top = (size[0] - width) / 2 + right, (size[1] - height) / 2 + down
    box = round(left), round(top), round(left + width), round(top + height)
    inside = 0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]
    return box if inside and box != (0, 0, *size) else None
