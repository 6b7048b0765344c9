"""Turn the bytes of a file into a model's input; threads and decoding processes both run this."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from moderator.images.decode import DecodedImage, DecodeLimits, decode, draft_scale
from moderator.images.resize import Pixels, Resize
from moderator.images.views import Region, choose_views
from moderator.view import View, ViewPlan

#: Only the whole of each frame.
WHOLE_ALONE = ViewPlan()


@dataclass(frozen=True)
class PreprocessSpec:
    """How to prepare a file: bounds, the model's input, whether to decode large JPEGs at a reduced size, most views."""

    limits: DecodeLimits
    resize: Resize
    draft: bool
    max_views: int = 1
    """Of each frame; a plan that asks for more gets as many."""


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """A file, ready for the model."""

    width: int
    height: int
    format: str
    """In lower case: jpeg, png, ..."""
    pixels: Pixels
    """uint8 [views, crop, crop, 3]"""
    views: tuple[View, ...]
    """What each row of the pixels shows: the views of the first frame, its whole first, then those of the next."""
    left_out: int = 0
    """Number of views beyond the plan's bound."""
    pictures: tuple[Image.Image, ...] = ()
    """The frames as decoded, mode RGB, for signals that need more than the model's input."""

    @property
    def frames(self) -> int:
        """Number of frames that are judged."""
        return self.views[-1].frame + 1


#: Most pixels of all pictures of an image together; larger ones are shrunk.
PICTURE_PIXELS = 12_000_000


def prepare(
    data: bytes, spec: PreprocessSpec, plan: ViewPlan = WHOLE_ALONE, picture_side: int = 0
) -> PreparedImage:
    """Decode an image file and resize views of its frames to the model's input.

    Args:
        data: the file.
        spec: how to prepare it.
        plan: the views of each frame.
        picture_side: length in pixels that suffices for the shorter side of the pictures; 0: make no pictures.

    Pictures never change the model's input: a JPEG that they need in a larger size is decoded twice.

    Raises:
        ImageError: it is not an image, broken, or beyond a limit.
    """
    side = spec.resize.crop
    image = decode(data, spec.limits, side if spec.draft else None)
    size, name, frames = (image.width, image.height), image.format, image.frames
    pixels, views, left_out = _look(image, spec, replace(plan, most=min(plan.most, spec.max_views)))
    if not picture_side:
        return PreparedImage(*size, name, pixels, views, left_out)
    wider = max(side, picture_side // 2)
    if frames[0].size != size and draft_scale(size, wider) != draft_scale(size, side):
        del image, frames  # do not hold both sizes at once
        frames = decode(data, spec.limits, wider).frames
    return PreparedImage(*size, name, pixels, views, left_out, _bounded(frames))


def _look(image: DecodedImage, spec: PreprocessSpec, plan: ViewPlan) -> tuple[Pixels, tuple[View, ...], int]:
    """Return the model's input for the views of all frames, what it shows, and how many views are left out."""
    rows: list[Pixels] = []
    views: list[View] = []
    left_out = 0
    for number, frame in enumerate(image.frames):
        # A JPEG may be decoded at a reduced size; the pages of other files may have several sizes.
        size = (image.width, image.height) if frame.size == image.frames[0].size else frame.size
        parts, more = choose_views(frame, plan, size[0] * size[1])
        left_out += more
        rows += _rows(frame, parts, spec.resize)
        views += [View(part.name, number, _in_file(part, frame, size), part.turn) for part in parts]
    return np.stack(rows), tuple(views), left_out


def _rows(frame: Image.Image, parts: Sequence[Region], resize: Resize) -> Iterator[Pixels]:
    """Yield the model's input for each part. A turned part is the upright one turned, which its square shape allows."""
    upright: dict[tuple[int, int, int, int], Pixels] = {}
    for part in parts:
        if part.box not in upright:
            upright[part.box] = resize(frame if part.name == "whole" else frame.crop(part.box))
        yield np.rot90(upright[part.box], part.turn // 90)


def _in_file(part: Region, frame: Image.Image, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a part in the picture of the file, which may have been decoded smaller."""
    across, down = size[0] / frame.width, size[1] / frame.height
    left, top, right, bottom = part.box
    x, y = int(left * across), int(top * down)
    return x, y, max(1, int(right * across) - x), max(1, int(bottom * down) - y)


def _bounded(frames: Sequence[Image.Image]) -> tuple[Image.Image, ...]:
    """Shrink frames, all by the same factor, to at most `PICTURE_PIXELS` together."""
    pixels = sum(frame.width * frame.height for frame in frames)
    if pixels <= PICTURE_PIXELS:
        return tuple(frames)
    share, most = (PICTURE_PIXELS / pixels) ** 0.5, PICTURE_PIXELS // len(frames)
    pictures = []
    for frame in frames:
        height = max(1, min(int(share * frame.height), most))
        width = max(1, min(int(share * frame.width), most // height))
        pictures.append(frame.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
    return tuple(pictures)
