"""Choose the frames of an animation to judge, so that no moment that a person sees differs much from a judged one."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderator.images.colour import to_rgb

#: Side of the small pictures by which frames are compared.
THUMBNAIL_SIDE = 16
#: Root mean square distances of thumbnails, in levels of 255: up to the first, two frames show the same; from the
#: second on, one shows something that the other does not.
SAME_DISTANCE, UNLIKE_DISTANCE = 4.0, 48.0
#: Weight of a frame that stays for a shorter time, or whose time is unknown.
SHOWN_SECONDS_MIN = 0.01

Thumbnails = NDArray[np.uint8]
"""[frames, pixels x 4]: red, green and blue multiplied by alpha, and alpha."""


def thumbnail(frame: Image.Image) -> NDArray[np.uint8]:
    """Return a small version of a frame of any mode."""
    # The colours on white and on black both follow from colours multiplied by alpha.
    if frame.mode != "RGBa":
        frame = (frame if frame.mode == "RGBA" else to_rgb(frame).convert("RGBA")).convert("RGBa")
    small = frame.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    return np.array(small).ravel()


def choose_frames(
    thumbnails: Thumbnails, seconds: Sequence[float], required: Iterable[int], most: int
) -> tuple[list[int], int]:
    """Choose at most `most` frames, and count those that are unlike every chosen one.

    The first, the last and the frame shown longest are chosen, and those required. Then, alternately, the frame least
    like the chosen ones, and the one whose difference times its duration is largest, until the rest shows the same.

    Args:
        thumbnails: of all frames.
        seconds: how long each is shown.
        required: frames to choose before others, as far as there is room.
        most: at least 1.

    Returns:
        The chosen frames in order, and the number of frames that are unlike all of them.
    """
    frames = thumbnails.astype(np.float32)
    shown = np.maximum(seconds, SHOWN_SECONDS_MIN)
    nearest = np.full(len(frames), np.inf)
    chosen: list[int] = []
    for frame in (0, len(frames) - 1, int(shown.argmax()), *required):
        if frame not in chosen and len(chosen) < most:
            _choose(frame, chosen, frames, nearest)
    while len(chosen) < most:
        weights = nearest * shown if len(chosen) % 2 else nearest
        weights = np.where(nearest > SAME_DISTANCE, weights, 0.0)
        frame = int(weights.argmax())
        if not weights[frame]:
            break
        _choose(frame, chosen, frames, nearest)
    return sorted(chosen), int((nearest > UNLIKE_DISTANCE).sum())


def _choose(frame: int, chosen: list[int], frames: NDArray[np.float32], nearest: NDArray[np.float64]) -> None:
    """Add a frame, and lower each frame's distance to the nearest chosen one."""
    chosen.append(frame)
    distances = np.sqrt(np.square(frames - frames[frame]).mean(axis=1))
    np.minimum(nearest, distances, out=nearest)
