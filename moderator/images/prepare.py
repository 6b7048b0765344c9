"""Turn the bytes of a file into a model's input; threads and decoding processes both run this."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from moderator.images.decode import Coverage, DecodedImage, DecodeLimits, decode, draft_scale
from moderator.images.renderings import Rendering
from moderator.images.resize import Pixels, Resize
from moderator.images.views import Region, choose_views
from moderator.view import View, ViewPlan

#: Only the whole of each picture.
WHOLE_ALONE = ViewPlan()


@dataclass(frozen=True)
class PreprocessSpec:
    """How to prepare a file: bounds, the model's input, whether to decode large JPEGs at a reduced size, most views."""

    limits: DecodeLimits
    resize: Resize
    draft: bool
    max_views: int = 1
    """Of each picture; a plan that asks for more gets as many."""


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
    """What each row of the pixels shows: the views of the first picture, its whole first, then those of the next."""
    left_out: int = 0
    """Number of views beyond the bound."""
    pictures: tuple[Image.Image, ...] = ()
    """The decoded pictures, mode RGB, for signals that need more than the model's input."""
    coverage: Coverage = Coverage()  # noqa: RUF009 (it is immutable)
    """How much of the file is judged."""


#: Most pixels of all pictures of an image together; larger ones are shrunk.
PICTURE_PIXELS = 12_000_000
#: Most views of a file, which its pictures share; each may have some.
FILE_VIEWS_MAX, PICTURE_VIEWS_MIN = 96, 2


def max_views(pictures: int) -> int:
    """Return the most views of a file with a number of pictures, which are renderings of frames."""
    return max(FILE_VIEWS_MAX, PICTURE_VIEWS_MIN * pictures)


def prepare(
    data: bytes, spec: PreprocessSpec, plan: ViewPlan = WHOLE_ALONE, picture_side: int = 0
) -> PreparedImage:
    """Decode an image file and resize views of its pictures (renderings of frames) to the model's input.

    Args:
        data: the file.
        spec: how to prepare it.
        plan: the views of each picture.
        picture_side: length in pixels that suffices for the shorter side of `pictures`; 0: make none.

    Pictures never change the model's input: a JPEG that they need in a larger size is decoded twice.

    Raises:
        ImageError: it is not an image, broken, or beyond a limit.
    """
    side = spec.resize.crop
    image = decode(data, spec.limits, side if spec.draft else None)
    size, name, frames, coverage = (image.width, image.height), image.format, image.frames, image.coverage
    pixels, views, left_out = _look(image, spec, plan)
    if not picture_side:
        return PreparedImage(*size, name, pixels, views, left_out, coverage=coverage)
    wider = max(side, picture_side // 2)
    if frames[0].size != size and draft_scale(size, wider) != draft_scale(size, side):
        del image, frames  # do not hold both sizes at once
        frames = decode(data, spec.limits, wider).frames
    return PreparedImage(*size, name, pixels, views, left_out, _bounded(frames), coverage)


def _look(image: DecodedImage, spec: PreprocessSpec, plan: ViewPlan) -> tuple[Pixels, tuple[View, ...], int]:
    """Return the model's input for the views of all pictures, what it shows, and how many views are left out."""
    share = max_views(len(image.frames)) // len(image.frames)
    plan = replace(plan, most=min(plan.most, spec.max_views, share))
    rows: list[Pixels] = []
    views: list[View] = []
    left_out = 0
    for rendering, picture in zip(image.renderings, image.frames, strict=True):
        size = _size_in_file(image, rendering, picture)
        parts, more = choose_views(picture, plan, size[0] * size[1])
        left_out += more
        rows += _rows(picture, parts, spec.resize)
        views += [
            View(part.name, rendering.frame, _in_file(part, picture, size), part.turn) for part in parts
        ]
    return np.stack(rows), tuple(views), left_out


def _size_in_file(image: DecodedImage, rendering: Rendering, picture: Image.Image) -> tuple[int, int]:
    """Return the size of a picture in the file, of which it may be a reduced copy; pages may have several sizes."""
    width, height = image.frames[0].size
    same_frame = rendering.frame == image.renderings[0].frame
    rounding = max(width, height)
    if picture.size == (width, height) or (
        same_frame and abs(picture.width * height - picture.height * width) <= rounding
    ):
        return image.width, image.height
    return picture.size


def _rows(picture: Image.Image, parts: Sequence[Region], resize: Resize) -> Iterator[Pixels]:
    """Yield the model's input for each part. A turned part is the upright one turned, which its square shape allows."""
    upright: dict[tuple[int, int, int, int], Pixels] = {}
    for part in parts:
        if part.box not in upright:
            upright[part.box] = resize(picture if part.name == "whole" else picture.crop(part.box))
        yield np.rot90(upright[part.box], part.turn // 90)


def _in_file(part: Region, picture: Image.Image, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a part in the picture of the file, which may have been decoded smaller."""
    across, down = size[0] / picture.width, size[1] / picture.height
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
