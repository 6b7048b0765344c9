"""What every file is read as: a source of frames."""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from PIL import Image

from moderator.images.renderings import Picture

DecodedFrame = tuple[int, float, Image.Image]
"""Its number, the seconds that it is shown, and the loaded image, which the next frame may overwrite."""


class FrameSource(Protocol):
    """The frames of a file."""

    total: int
    required: Sequence[int]
    """Frames at which some viewers stop."""
    more: bool
    """Whether there may be more frames than were counted."""
    truncated: bool
    """Whether the file ends before it says."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame, as stored."""
        ...

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[DecodedFrame]:
        """Decode frames in order: all of them, or at least those wanted."""
        ...

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return an image that `frames` yielded, or a copy of it, as viewers show it."""
        ...
