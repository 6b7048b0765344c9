import io
import struct

import numpy as np
import pytest
from PIL import Image

from benchmarks.format_writers import encode
from moderator.images.hidden_alpha import alpha_of_bmp, show_alpha_of_webp


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


@pytest.mark.parametrize("animated", [False, True])
def test_a_webp_that_denies_its_alpha_says_so_again(animated: bool) -> None:
    image = Image.new("RGBA", (8, 6), (10, 20, 30, 40))
    other = Image.new("RGBA", (8, 6), (90, 20, 30, 140))
    options = {"save_all": True, "append_images": [other]} if animated else {}
    data = bytearray(encode(image, "WEBP", lossless=True, exact=True, **options))
    at = 0
    while (at := data.find(b"VP8L", at + 1)) > 0:
        data[at + 12] &= ~0x10
    if b"VP8X" in data:
        data[data.index(b"VP8X") + 8] &= ~0x10
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    shown = Image.open(io.BytesIO(show_alpha_of_webp(bytes(data))))
    assert shown.convert("RGBA").getpixel((0, 0)) == (10, 20, 30, 40)


@pytest.mark.parametrize("cut", range(12, 60, 5))
def test_any_cut_of_a_webp_is_read(cut: int) -> None:
    show_alpha_of_webp(encode(Image.new("RGBA", (8, 6)), "WEBP", lossless=True)[:cut])
