import io

import numpy as np
from PIL import Image

from benchmarks.format_writers import BareFrame, gif
from moderator.images.composition import Disposal
from moderator.images.gif_blocks import colour, lone_frame, read_gif

PALETTE = bytes((10, 20, 30, 40, 50, 60))
PIXELS = np.array([[0, 1, 2], [1, 1, 0]], np.uint8)


def test_frames_are_found_with_what_controls_them() -> None:
    frames = [BareFrame(PIXELS, milliseconds=0), BareFrame(PIXELS[:1], 4, 5, 700, disposal=3, transparent=1)]
    found = read_gif(gif((9, 8), frames, PALETTE), 10)
    assert (found.width, found.height, found.stop, found.more) == (9, 8, None, False)
    assert [frame.box for frame in found.frames] == [(0, 0, 3, 2), (4, 5, 7, 6)]
    assert [frame.seconds for frame in found.frames] == [0.1, 0.7]
    assert [frame.disposal for frame in found.frames] == [Disposal.KEEP, Disposal.RESTORE]
    assert [frame.transparent for frame in found.frames] == [None, 1]


def test_where_browsers_stop_is_known() -> None:
    one = BareFrame(PIXELS)
    found = read_gif(gif((9, 8), [one, one, b"\x99", one, b"\x01", one], PALETTE), 10)
    assert (len(found.frames), found.stop) == (4, 1)


def test_no_more_frames_than_wanted_are_looked_for() -> None:
    found = read_gif(gif((9, 8), [BareFrame(PIXELS)] * 5, PALETTE), 3)
    assert (len(found.frames), found.more) == (3, True)


def test_pixels_have_the_frames_own_colours() -> None:
    data = gif((9, 8), [BareFrame(PIXELS, transparent=1)], PALETTE)
    (frame,) = read_gif(data, 10).frames
    indices = Image.open(io.BytesIO(lone_frame(data, frame)))
    assert np.asarray(indices).tolist() == PIXELS.tolist()
    pixels = np.asarray(colour(indices, frame))
    assert pixels[0].tolist() == [[10, 20, 30, 255], [0, 0, 0, 0], [0, 0, 0, 255]]
