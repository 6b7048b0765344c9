import io
import struct

import pytest
from PIL import Image

from benchmarks.format_writers import encode, with_clean_aperture
from moderator.errors import ImageTooLarge
from moderator.images.avif_boxes import crop_box, find_apertures

QUARTER = (10, 1, 8, 1, -10, 2, -8, 2)


def test_an_aperture_is_found_and_the_file_stays_whole() -> None:
    data = with_clean_aperture(encode(Image.new("RGB", (20, 16), "red"), "AVIF"), QUARTER)
    assert find_apertures(data) == [QUARTER]
    assert Image.open(io.BytesIO(data)).convert("RGB").size == (20, 16)


@pytest.mark.parametrize(
    ("aperture", "box"),
    [
        (QUARTER, (0, 0, 10, 8)),
        ((10, 1, 8, 1, 10, 2, 8, 2), (10, 8, 20, 16)),
        ((20, 1, 16, 1, 0, 1, 0, 1), None),  # all of it
        ((21, 1, 16, 1, 0, 1, 0, 1), None),  # more than there is
        ((10, 0, 8, 1, 0, 1, 0, 1), None),
        ((0, 1, 8, 1, 0, 1, 0, 1), None),
    ],
)
def test_crops(aperture: tuple[int, ...], box: tuple[int, ...] | None) -> None:
    assert crop_box(aperture, (20, 16)) == box


def test_apertures_are_not_tried_without_end() -> None:
    boxes = b"".join(struct.pack(">I4sIIIIiIiI", 40, b"clap", n + 1, *QUARTER[1:]) for n in range(5))
    with pytest.raises(ImageTooLarge, match="4 clean apertures"):
        find_apertures(boxes)
    assert len(find_apertures(boxes[:160] * 3)) == 4
