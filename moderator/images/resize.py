"""Turn a decoded image into a model's input, with exactly the numbers of the reference preprocessors.

The references are the Pillow-based image processors of transformers 5 (`CLIPImageProcessorPil` and
`SiglipImageProcessorPil`; the former was called `CLIPImageProcessor` before). Those based on torchvision round
differently when they resize. OpenCLIP resizes Pillow images through torchvision, which calls Pillow's own resize,
and then crops with torchvision's rounding.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

#: A resized image whose longer edge exceeds this many crops is never created as a whole: a strip of 1 x 60,000
#: pixels, harmless as a file, would become 224 x 13,440,000.
_LONGER_SIDE_MAX_CROPS = 32


@dataclass(frozen=True)
class Resize:
    """How a picture becomes a square of pixels. Plain data, so that it can be passed to another process.

    `squash` resizes to a square of `resize` pixels whatever the shape; else `resize` is the shortest edge. `crop` is
    the side of the result. `rounded` crops at rounded offsets, as torchvision does; else they are rounded down.
    `central` resamples only what the crop keeps, which takes a quarter less time. Some numbers differ: of photographs,
    one in 10,000 by up to two levels. It is for models that have no reference to agree with.
    """

    resize: int
    crop: int
    resample: Image.Resampling = Image.Resampling.BICUBIC
    squash: bool = False
    rounded: bool = False
    #: Not shown: the names of stored embeddings contain this object's representation.
    central: bool = field(default=False, repr=False)

    def __call__(self, image: Image.Image) -> Pixels:
        """Resize and crop an RGB image: uint8 [crop, crop, 3]."""
        if self.squash:
            return crop_centre(squash(image, self.resize, self.resample), self.crop)
        return resize_and_crop(image, self.resize, self.crop, self.resample, self.rounded, self.central)


def resize_and_crop(
    image: Image.Image,
    resize: int,
    crop: int,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    rounded: bool = False,
    central: bool = False,
) -> Pixels:
    """Resize the shortest edge to `resize` pixels, then cut out the central square of `crop` pixels.

    Bit-exact with the resize and centre crop of `CLIPImageProcessorPil`: the longer edge is
    `int(resize * long / short)`, the offsets are rounded down, and a resized image smaller than the crop is padded
    with black. The exception are images more than 32 times as long as wide: only their central part is resampled,
    and there Pillow may do its two passes in the other order (a difference of a few levels in some pixels).

    Args:
        image: mode RGB.
        resize: length of the shortest edge, in pixels.
        crop: side of the result, in pixels.
        resample: the filter.
        rounded: whether the offsets are rounded to the nearest (halves to even), as torchvision's `CenterCrop`
            does, instead of down.
        central: whether to resample only the central part of every image.

    Returns:
        uint8 [crop, crop, 3].
    """
    short, long = sorted(image.size)
    longest = int(resize * long / short)
    width, height = (resize, longest) if image.width <= image.height else (longest, resize)
    if (central and longest > crop) or longest > max(resize, crop) * _LONGER_SIDE_MAX_CROPS:
        resized, width, height = _resize_centre(image, width, height, crop, resample, rounded)
    else:
        resized = image.resize((width, height), resample)

    left, top = _half(width - crop, rounded), _half(height - crop, rounded)
    if left >= 0 and top >= 0:
        return np.array(resized.crop((left, top, left + crop, top + crop)))
    # Padding is rounded up, as is the size of a negative offset that is rounded down.
    canvas = np.zeros((crop, crop, 3), dtype=np.uint8)
    visible = np.asarray(resized)[max(top, 0) : max(top, 0) + crop, max(left, 0) : max(left, 0) + crop]
    y, x = max(-top, 0), max(-left, 0)
    canvas[y : y + visible.shape[0], x : x + visible.shape[1]] = visible
    return canvas


def squash(image: Image.Image, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Pixels:
    """Resize an RGB image to a square, whatever its shape: uint8 [size, size, 3].

    Bit-exact with the resize of `SiglipImageProcessorPil`.
    """
    return np.array(image.resize((size, size), resample))


def crop_centre(pixels: Pixels, crop: int) -> Pixels:
    """Cut the central square out of an array [size, size, 3] that is at least as large; offsets rounded down."""
    at = (len(pixels) - crop) // 2
    return pixels[at : at + crop, at : at + crop]


def _half(difference: int, rounded: bool) -> int:
    return round(difference / 2) if rounded else difference // 2


def _resize_centre(
    image: Image.Image, width: int, height: int, crop: int, resample: Image.Resampling, rounded: bool
) -> tuple[Image.Image, int, int]:
    """Resize to width x height, but create only the central `crop` pixels along the longer edge."""
    if width > height:
        scale, left = image.width / width, _half(width - crop, rounded)
        box = (left * scale, 0.0, (left + crop) * scale, float(image.height))
        width = crop
    else:
        scale, top = image.height / height, _half(height - crop, rounded)
        box = (0.0, top * scale, float(image.width), (top + crop) * scale)
        height = crop
    return image.resize((width, height), resample, box=box), width, height
