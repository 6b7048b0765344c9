"""Look at all frames of a file, and take those to judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moderator.errors import DecodeTimeout, ImageTooLarge
from moderator.images.decode_budget import DecodeBudget
from moderator.images.frame_choice import choose_frames, thumbnail
from moderator.images.frame_source import FrameSource
from moderator.images.icon_directory import MAX_ICON_PICTURES
from moderator.images.open_source import IconSource
from moderator.images.renderings import Picture

#: Frames of a short animation are kept while all are looked at, up to so many pixels; else the chosen ones are
#: decoded once more.
KEPT_PIXELS = 16_000_000


@dataclass(frozen=True)
class Taken:
    """The frames to judge."""

    pictures: list[tuple[int, Picture]]
    """Frame number and picture, in order."""
    unseen: int
    """Frames that were not reached, or that are unlike every frame taken."""
    broken: bool
    """Whether a frame after the first cannot be decoded."""


def take_frames(source: FrameSource, max_frames: int, budget: DecodeBudget) -> Taken:
    """Take at most `max_frames` frames, so that the others resemble them.

    Raises:
        DecodeTimeout: the time is over.
        ImageTooLarge: a frame has too many pixels.
        Exception: the first frame cannot be decoded; whatever Pillow raises.
    """
    if isinstance(source, IconSource):
        wanted = range(min(source.total, MAX_ICON_PICTURES))
        return Taken(_take(source, wanted, budget), source.total - len(wanted), False)
    if source.total == 1 or max_frames == 1:
        return Taken(_take(source, (0,), budget), source.total - 1, False)
    scan = _Scan()
    scan.run(source, max_frames, budget)
    budget.check_time()
    most = min(max_frames, max(1, budget.max_pixels // scan.largest))
    reached = len(scan.thumbnails)
    required = [number for number in source.required if number < reached]
    chosen, unlike = choose_frames(np.stack(scan.thumbnails), scan.seconds, required, most)
    if scan.kept is None:
        pictures = _take(source, chosen, budget)
    else:
        pictures = [(number, scan.kept[number]) for number in chosen]
    return Taken(pictures, source.total - reached + unlike + source.more, scan.broken)


class _Scan:
    """What is learned from one pass over all frames."""

    def __init__(self) -> None:
        self.thumbnails: list[np.ndarray] = []
        self.seconds: list[float] = []
        self.kept: list[Picture] | None = None
        self.largest = 1
        """Pixels of the largest frame."""
        self.broken = False

    def run(self, source: FrameSource, max_frames: int, budget: DecodeBudget) -> None:
        """Look at each frame for which there is time."""
        if source.total <= 2 * max_frames:
            self.kept = []
        pixels = 0
        frames = source.frames()
        while len(self.thumbnails) < source.total and (not self.thumbnails or budget.may_scan):
            try:
                number, seconds, image = next(frames)
            except (ImageTooLarge, DecodeTimeout, MemoryError):
                raise
            except Exception:
                if not self.thumbnails:
                    raise
                self.broken = True  # viewers show what comes before it
                return
            self.thumbnails.append(thumbnail(image))
            self.seconds.append(seconds)
            self.largest = max(self.largest, image.width * image.height)
            pixels += image.width * image.height
            if pixels > KEPT_PIXELS:
                self.kept = None
            if self.kept is not None:
                self.kept.append(source.picture(number, image.copy()))


def _take(source: FrameSource, wanted: Sequence[int], budget: DecodeBudget) -> list[tuple[int, Picture]]:
    pictures: list[tuple[int, Picture]] = []
    for number, _, image in source.frames(wanted):
        if number:
            budget.check_time()
        if number in wanted:
            # The next frame is drawn onto the same image.
            pictures.append((number, source.picture(number, image if source.total == 1 else image.copy())))
        if len(pictures) == len(wanted):
            break
    return pictures
