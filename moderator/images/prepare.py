"""Turn the bytes of a file into a model's input; threads and decoding processes both run this."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from moderator.images.decode import DecodeLimits, decode, draft_scale
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
    """uint8 [frames, crop, crop, 3]"""
    pictures: tuple[Image.Image, ...] = ()
    """The frames as decoded, mode RGB, for signals that need more than the model's input."""


#: Most pixels of all pictures of an image together; larger ones are shrunk.
PICTURE_PIXELS = 12_000_000


def prepare(data: bytes, spec: PreprocessSpec, picture_side: int = 0) -> PreparedImage:
    """Decode an image file and resize its frames to the model's input.

    Args:
        data: the file.
        spec: how to prepare it.
        picture_side: length in pixels that suffices for the shorter side of the pictures; 0: make no pictures.

    Pictures never change the model's input: a JPEG that they need in a larger size is decoded twice.

    Raises:
        ImageError: it is not an image, broken, or beyond a limit.
    """
    side = spec.resize.crop
    image = decode(data, spec.limits, side if spec.draft else None)
    pixels = np.stack([spec.resize(frame) for frame in image.frames])
    size, name, frames = (image.width, image.height), image.format, image.frames
    if not picture_side:
        return PreparedImage(*size, name, pixels)
    wider = max(side, picture_side // 2)
    if frames[0].size != size and draft_scale(size, wider) != draft_scale(size, side):
        del image, frames  # do not hold both sizes at once
        frames = decode(data, spec.limits, wider).frames
    return PreparedImage(*size, name, pixels, _bounded(frames))


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
