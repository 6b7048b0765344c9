import io
import struct

import numpy as np
import pytest
from PIL import Image

from benchmarks.format_writers import PALETTE, RGBA, BareFrame, apng, encode, png, png_data, png_header
from moderator.images.composition import Disposal
from moderator.images.png_chunks import make_chunk, read_png

DATA = make_chunk(b"IDAT", png_data(np.zeros((2, 3), np.uint8)))
COLOURS = make_chunk(b"PLTE", bytes((200, 100, 50)))
CLEAR = make_chunk(b"tRNS", b"\0")


def pixel(*chunks: bytes) -> tuple[int, ...]:
    file = read_png(png(png_header(3, 2, 8, PALETTE), *chunks)).still()
    return Image.open(io.BytesIO(file)).convert("RGBA").getpixel((0, 0))  # type: ignore[return-value]


def test_an_ordinary_file_stays_as_it_is() -> None:
    data = encode(Image.new("RGB", (5, 4), "red"), "PNG")
    assert read_png(data).still() is data


def test_transparency_counts_once_and_between_palette_and_data() -> None:
    assert pixel(COLOURS, CLEAR, DATA) == (200, 100, 50, 0)
    opaque = (200, 100, 50, 255)
    assert pixel(CLEAR, COLOURS, DATA) == opaque
    assert pixel(COLOURS, DATA, CLEAR) == opaque
    assert pixel(COLOURS, make_chunk(b"tRNS", b"\xff"), CLEAR, DATA) == opaque
    assert pixel(COLOURS, CLEAR[:-1] + b"?", DATA) == opaque  # a wrong checksum
    assert pixel(COLOURS, make_chunk(b"tRNS", b""), DATA) == opaque


def test_frames_have_boxes_durations_and_disposal() -> None:
    small, large = np.zeros((1, 2, 4), np.uint8), np.zeros((4, 5, 4), np.uint8)
    frames = [BareFrame(large, milliseconds=0), BareFrame(small, 1, 2, 500, disposal=2, blend=1)]
    found = read_png(apng((5, 4), frames))
    assert found.starts_with_still
    assert [frame.box for frame in found.frames] == [(0, 0, 5, 4), (1, 2, 3, 3)]
    assert [frame.seconds for frame in found.frames] == [0.1, 0.5]
    assert [frame.disposal for frame in found.frames] == [Disposal.KEEP, Disposal.RESTORE]
    assert [frame.over for frame in found.frames] == [False, True]
    assert Image.open(io.BytesIO(found.frame(found.frames[1]))).size == (2, 1)


def test_a_still_that_is_no_frame_is_known() -> None:
    control = struct.pack(">5IHHBB", 0, 3, 2, 0, 0, 1, 10, 0, 0)
    data = make_chunk(b"fdAT", bytes(4) + png_data(np.zeros((2, 3, 4), np.uint8)))
    announced = make_chunk(b"acTL", struct.pack(">II", 1, 0))
    still = make_chunk(b"IDAT", png_data(np.zeros((2, 3, 4), np.uint8)))
    found = read_png(png(png_header(3, 2, 8, RGBA), announced, still, make_chunk(b"fcTL", control), data))
    assert len(found.frames) == 1
    assert not found.starts_with_still
    assert b"fcTL" not in found.still()


@pytest.mark.parametrize("cut", range(8, 120, 7))
def test_a_cut_file_is_read_as_far_as_it_goes(cut: int) -> None:
    read_png(apng((5, 4), [BareFrame(np.zeros((4, 5, 4), np.uint8))] * 2)[:cut]).still()
