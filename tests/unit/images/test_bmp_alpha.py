import struct

import numpy as np
import pytest
from PIL import Image

from benchmarks.format_writers import encode
from moderator.images.bmp_alpha import alpha_of_bmp


def bmp(words: np.ndarray, mask: int, bits: int = 32, header_size: int = 108, up: bool = True) -> bytes:
    height, width = words.shape
    header = struct.pack(
        "<IiiHHIIiiII", header_size, width, height if up else -height, 1, bits, 0, 0, 0, 0, 0, 0
    )
    header = (header + struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, mask)).ljust(header_size, b"\0")
    rows = words.astype("<u4" if bits == 32 else "<u2")
    padded = b"".join(row.tobytes().ljust((width * bits // 8 + 3) // 4 * 4, b"\0") for row in rows)
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, 14 + len(header)) + header + padded


def alpha(data: bytes) -> list[list[int]] | None:
    found = alpha_of_bmp(data)
    return None if found is None else np.asarray(found).tolist()


def test_a_mask_is_read_whatever_its_place_and_width() -> None:
    words = np.array([[0x80112233, 0xFF000000, 0], [0, 0, 0x40000000]])
    assert alpha(bmp(words, 0xFF000000)) == [[0, 0, 64], [128, 255, 0]]
    assert alpha(bmp(words, 0xFF000000, up=False)) == [[128, 255, 0], [0, 0, 64]]
    assert alpha(bmp(np.array([[0x8000, 0x7FFF, 0x8001]]), 0x8000, bits=16)) == [[255, 0, 255]]
    assert alpha(bmp(np.array([[0xFFFFFFFF, 1]]), 0xFFFFFFFF)) == [[255, 0]]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bmp(np.array([[0x112233]]), 0xFF000000), id="all zero"),
        pytest.param(bmp(np.array([[0xFF112233]]), 0), id="no mask"),
        pytest.param(bmp(np.array([[0xFF112233]]), 0xFF000000)[:-1], id="cut"),
        pytest.param(encode(Image.new("RGB", (3, 3)), "BMP"), id="short header"),
        pytest.param(b"BM", id="nothing"),
    ],
)
def test_others_have_none(data: bytes) -> None:
    assert alpha(data) is None
