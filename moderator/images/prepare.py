"""From the bytes of a file to the pixels that a model takes: what threads and decoding processes both run."""

from dataclasses import dataclass

import numpy as np

from moderator.images.decode import DecodeLimits, decode
from moderator.images.resize import Pixels, Resize


@dataclass(frozen=True)
class Recipe:
    """What is made of a file: the bounds, the model's input, and whether large JPEGs are decoded at a reduced size."""

    limits: DecodeLimits
    resize: Resize
    draft: bool


@dataclass(frozen=True, eq=False)
class Picture:
    """A file, ready for the model."""

    width: int
    height: int
    format: str
    """In lower case: jpeg, png, ..."""
    pixels: Pixels
    """uint8 [frames, crop, crop, 3]"""


def prepare(data: bytes, recipe: Recipe) -> Picture:
    """Decode an image file and bring its frames to the model's input.

    Raises:
        ImageError: it is no image, broken, or beyond a limit.
    """
    image = decode(data, recipe.limits, recipe.resize.crop if recipe.draft else None)
    pixels = np.stack([recipe.resize(frame) for frame in image.frames])
    return Picture(image.width, image.height, image.format, pixels)
