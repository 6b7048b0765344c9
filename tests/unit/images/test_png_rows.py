import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmarks.format_writers import GREY, RGB, png_header
from moderator.errors import ImageBroken
from moderator.images.png_rows import as_shown, count_inflated, inflated_length

SAMPLES = np.random.default_rng(0).integers(1, 256, (40, 30, 3), dtype=np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in SAMPLES)
ROW = 1 + 3 * 30
HEADER = png_header(30, 40, 8, RGB)[8:21]


def count(data: bytes) -> int:
    pieces = [memoryview(data)[start : start + 700] for start in range(0, len(data), 700)]
    return count_inflated(pieces, HEADER)


def test_a_whole_picture_is_whole() -> None:
    assert count(zlib.compress(ROWS)) == len(ROWS) == inflated_length(HEADER)
    assert count(zlib.compress(ROWS + bytes(5000))) == len(ROWS)


def test_data_counts_up_to_its_end_or_its_first_fault() -> None:
    data = zlib.compress(ROWS, 0)  # stored, so that its bytes are those of the rows
    assert len(ROWS) // 2 - 20 < count(data[: len(data) // 2]) <= len(ROWS) // 2
    assert count(zlib.compress(ROWS[: 3 * ROW])) == 3 * ROW
    assert count(b"no zlib data") == 0
    wrong = ROWS[: 7 * ROW] + b"\5" + ROWS[7 * ROW + 1 :]
    assert count(zlib.compress(wrong)) == 7 * ROW


def test_a_fault_is_found_to_the_byte() -> None:
    deflater = zlib.compressobj()
    good = deflater.compress(ROWS[: 20 * ROW]) + deflater.flush(zlib.Z_FULL_FLUSH)
    assert count(good + b"\xff" * 2000) == 20 * ROW


def test_missing_rows_are_transparent() -> None:
    image = Image.fromarray(SAMPLES)
    same, alpha = as_shown(image, HEADER, 10 * ROW + 5)
    assert same is image
    assert alpha is not None
    assert np.asarray(alpha)[:, 0].tolist() == [255] * 10 + [0] * 30
    assert as_shown(image, HEADER, len(ROWS)) == (image, None)
    with pytest.raises(ImageBroken, match="3 of its 40 rows"):
        as_shown(image, HEADER, 3 * ROW)


@pytest.mark.parametrize(
    ("passes", "across", "down"), [(1, 8, 8), (3, 4, 4), (5, 2, 2), (6, 1, 2), (7, 1, 1)]
)
def test_of_an_interlaced_picture_the_passes_that_are_there_are_shown(
    passes: int, across: int, down: int
) -> None:
    samples = np.arange(16 * 24, dtype=np.uint8).reshape(24, 16)
    header = struct.pack(">IIBBBBB", 16, 24, 8, GREY, 0, 0, 1)
    sizes = [3 * 3, 3 * 3, 3 * 5, 6 * 5, 6 * 9, 12 * 9, 12 * 17]
    assert inflated_length(header) == sum(sizes)
    shown, alpha = as_shown(Image.fromarray(samples), header, sum(sizes[:passes]) + 1)
    assert alpha is None
    expected = samples[::down, ::across].repeat(down, axis=0).repeat(across, axis=1)
    assert np.array_equal(np.asarray(shown), expected)


def test_less_than_a_pass_is_too_little() -> None:
    header = struct.pack(">IIBBBBB", 16, 24, 8, GREY, 0, 0, 1)
    with pytest.raises(ImageBroken, match="first pass"):
        as_shown(Image.new("L", (16, 24)), header, 8)


def test_a_narrow_interlaced_picture_has_passes_without_columns() -> None:
    file = io.BytesIO()
    Image.new("L", (2, 3), 9).save(file, "PNG")
    header = struct.pack(">IIBBBBB", 2, 3, 8, GREY, 0, 0, 1)
    # Pass 1: 1 x 1, pass 5: row 2, column 0, pass 6: columns 1 of rows 0 and 2, pass 7: row 1.
    assert inflated_length(header) == 2 + 2 + 2 * 2 + 3
