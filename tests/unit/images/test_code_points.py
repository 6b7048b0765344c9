import numpy as np
import pytest
from PIL import Image

from benchmarks.format_writers import RGB, encode, png, png_data, png_header
from moderator.images.code_points import code_points_of_avif, profile_of_code_points
from moderator.images.decode import DecodeLimits, decode
from moderator.images.png_chunks import make_chunk

LIMITS = DecodeLimits(max_bytes=10**6, max_pixels=10**6, max_frames=4, timeout=10.0)


def test_an_avif_names_srgb() -> None:
    assert code_points_of_avif(encode(Image.new("RGB", (8, 8)), "AVIF")) == (1, 13)
    assert profile_of_code_points(1, 13) is None
    assert code_points_of_avif(b"colr") is None


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [(8, 188), (5, 106), (16, 180), (18, 153)],
    ids=["linear", "gamma 2.8", "PQ", "HLG"],
)
def test_grey_of_each_transfer_function(transfer: int, expected: int) -> None:
    """A middle grey, as its definition puts it on an ordinary screen, and as it is stored."""
    data = make_chunk(b"IDAT", png_data(np.full((8, 8, 3), 128, np.uint8)))
    file = png(png_header(8, 8, 8, RGB), make_chunk(b"cICP", bytes((1, transfer, 0, 1))), data)
    shown, stored = (image.getpixel((0, 0)) for image in decode(file, LIMITS).frames)
    assert shown == pytest.approx((expected,) * 3, abs=8)
    assert stored == (128, 128, 128)
