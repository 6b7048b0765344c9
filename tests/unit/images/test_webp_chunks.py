import io

import pytest
from PIL import Image

from benchmarks.format_writers import encode
from moderator.images.composition import Disposal
from moderator.images.webp_chunks import read_webp, show_alpha_of_webp


def test_a_webp_that_denies_its_alpha_says_so_again() -> None:
    image = Image.new("RGBA", (8, 6), (10, 20, 30, 40))
    data = bytearray(encode(image, "WEBP", lossless=True, exact=True))
    data[data.index(b"VP8L") + 12] &= ~0x10
    if b"VP8X" in data:
        data[data.index(b"VP8X") + 8] &= ~0x10
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    shown = Image.open(io.BytesIO(show_alpha_of_webp(bytes(data))))
    assert shown.convert("RGBA").getpixel((0, 0)) == (10, 20, 30, 40)


def test_frames_stand_alone() -> None:
    images = [Image.new("RGBA", (8, 6), (10, 20, 30, alpha)) for alpha in (40, 90, 255)]
    options = {
        "save_all": True,
        "append_images": images[1:],
        "duration": [5, 50, 500],
        "minimize_size": False,
    }
    frames = read_webp(encode(images[0], "WEBP", lossless=True, exact=True, **options))
    assert [frame.seconds for frame in frames] == [0.1, 0.05, 0.5]
    assert {frame.disposal for frame in frames} <= {Disposal.KEEP, Disposal.CLEAR}
    for frame in frames:
        left, top, right, bottom = frame.box
        assert Image.open(io.BytesIO(frame.file)).size == (right - left, bottom - top)


@pytest.mark.parametrize("cut", range(12, 60, 5))
def test_any_cut_is_read(cut: int) -> None:
    data = encode(Image.new("RGBA", (8, 6)), "WEBP", lossless=True, save_all=True, append_images=[])[:cut]
    show_alpha_of_webp(data)
    read_webp(data)
