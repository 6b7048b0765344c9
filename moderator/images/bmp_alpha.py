"""Find the alpha channel of a BMP, which browsers heed and Pillow does not."""

import struct

import numpy as np
from PIL import Image

#: The size of the smallest bitmap header with a mask of the alpha channel, and where the masks begin in it.
_HEADER_WITH_ALPHA, _ALPHA_MASK_AT = 56, 52
_UNCOMPRESSED, _WITH_MASKS = 0, 3


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
