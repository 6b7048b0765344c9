"""Find transparency that browsers heed and Pillow does not: in WebP and BMP."""

import struct

import numpy as np
from PIL import Image

_WEBP_LOSSLESS, _WEBP_EXTENDED, _WEBP_FRAME, _WEBP_ALPHA = b"VP8L", b"VP8X", b"ANMF", b"ALPH"
_LOSSLESS_SIGNATURE = 0x2F
#: In the fourth byte of a lossless picture's sizes, and in the first byte of the extended header.
_LOSSLESS_HAS_ALPHA, _EXTENDED_HAS_ALPHA = 0x10, 0x10
#: The size of the smallest bitmap header with a mask of the alpha channel, and where the masks begin in it.
_HEADER_WITH_ALPHA, _ALPHA_MASK_AT = 56, 52
_UNCOMPRESSED, _WITH_MASKS = 0, 3


def show_alpha_of_webp(data: bytes) -> bytes:
    """Return a WebP that says that its pictures have alpha wherever their data may hold it.

    A lossless picture always stores alpha; a bit says whether that is of interest, and browsers show it regardless.
    """
    changed = bytearray(data)
    stack = [(12, len(data))]
    extended = None
    alpha = False
    while stack:
        position, end = stack.pop()
        while position + 8 <= end:
            kind = data[position : position + 4]
            length = int.from_bytes(data[position + 4 : position + 8], "little")
            start = position + 8
            position = start + length + (length & 1)
            if kind == _WEBP_EXTENDED and extended is None:
                extended = start
            elif kind == _WEBP_ALPHA:
                alpha = True
            elif kind == _WEBP_LOSSLESS and start + 5 <= end and data[start] == _LOSSLESS_SIGNATURE:
                alpha = True
                changed[start + 4] |= _LOSSLESS_HAS_ALPHA
            elif kind == _WEBP_FRAME:
                stack.append((position, end))
                position, end = start + 16, min(start + length, end)
    if extended is not None and extended < len(data) and alpha:
        changed[extended] |= _EXTENDED_HAS_ALPHA
    return bytes(changed)


def alpha_of_bmp(data: bytes) -> Image.Image | None:
    """Return the alpha channel, mode L, that a BMP's header has a mask for; None if it has none, or all of it is zero.

    Browsers heed the mask also where the header says that the colours need none.
    """
    if len(data) < 14 + _HEADER_WITH_ALPHA:
        return None
    (offset, size, width, height, _, bits, compression) = struct.unpack_from("<IIiiHHI", data, 10)
    (mask,) = struct.unpack_from("<I", data, 14 + _ALPHA_MASK_AT)
    if size < _HEADER_WITH_ALPHA or compression not in (_UNCOMPRESSED, _WITH_MASKS) or not mask:
        return None
    rows = abs(height)
    if width <= 0 or rows == 0 or bits not in (16, 32):
        return None
    row = (width * bits // 8 + 3) // 4 * 4
    if offset + row * rows > len(data):
        return None
    samples = np.frombuffer(data, dtype=np.uint8, count=row * rows, offset=offset).reshape(rows, row)
    words = samples[:, : width * bits // 8].view("<u4" if bits == 32 else "<u2")
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values = (words.astype(np.uint32) & np.uint32(mask)) >> np.uint32(shift)
    if not values.any():
        return None
    alpha = (values.astype(np.uint64) * 255 // most).astype(np.uint8)
    return Image.fromarray(alpha if height < 0 else alpha[::-1], "L")
