"""Turn the bytes of a file into a model's input; threads and decoding processes both run this."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from moderator.images.decode import Coverage, DecodeLimits, decode, draft_scale
from moderator.images.resize import Pixels, Resize


@dataclass(frozen=True)
class PreprocessSpec:
    """How to prepare a file: the bounds, the model's input, and whether large JPEGs are decoded at a reduced size."""

    limits: DecodeLimits
    resize: Resize
    draft: bool


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """A file, ready for the model."""

    width: int
    height: int
    format: str
    """In lower case: jpeg, png, ..."""
    pixels: Pixels
    """uint8 [renderings of frames, crop, crop, 3]"""
    views: tuple[Image.Image, ...] = ()
    """The frames as decoded, mode RGB, for signals that need more than the model's input."""
    coverage: Coverage = Coverage()  # noqa: RUF009 (it is immutable)
    """How much of the file is judged."""


#: Most pixels of all views of an image together; larger ones are shrunk.
VIEW_PIXELS = 12_000_000


def prepare(data: bytes, spec: PreprocessSpec, view_side: int = 0) -> PreparedImage:
    """Decode an image file and resize its frames to the model's input.

    Args:
        data: the file.
        spec: how to prepare it.
        view_side: length in pixels that suffices for the shorter side of the views; 0: make no views.

    Views never change the model's input: a JPEG that they need in a larger size is decoded twice.

    Raises:
        ImageError: it is not an image, broken, or beyond a limit.
    """
    side = spec.resize.crop
    image = decode(data, spec.limits, side if spec.draft else None)
    pixels = np.stack([spec.resize(frame) for frame in image.frames])
    size, name, frames, coverage = (image.width, image.height), image.format, image.frames, image.coverage
    if not view_side:
        return PreparedImage(*size, name, pixels, coverage=coverage)
    wider = max(side, view_side // 2)
    if frames[0].size != size and draft_scale(size, wider) != draft_scale(size, side):
        del image, frames  # do not hold both sizes at once
        frames = decode(data, spec.limits, wider).frames
    return PreparedImage(*size, name, pixels, _bounded(frames), coverage)


def _bounded(frames: Sequence[Image.Image]) -> tuple[Image.Image, ...]:
    """Shrink frames, all by the same factor, to at most `VIEW_PIXELS` together."""
    pixels = sum(frame.width * frame.height for frame in frames)
    if pixels <= VIEW_PIXELS:
        return tuple(frames)
    share, most = (VIEW_PIXELS / pixels) ** 0.5, VIEW_PIXELS // len(frames)
    views = []
    for frame in frames:
        height = max(1, min(int(share * frame.height), most))
        width = max(1, min(int(share * frame.width), most // height))
        views.append(frame.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))
    return tuple(views)
