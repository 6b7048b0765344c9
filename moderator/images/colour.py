"""Convert any of Pillow's colour modes to RGB, as a person would see the picture."""

import numpy as np
from PIL import Image

#: Colour behind transparent pixels. Pages and apps show uploads on white more often than on anything else;
#: merely dropping the alpha channel would judge colours that nobody sees.
BACKGROUND = (255, 255, 255)

_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to mode RGB; an RGB image without transparency is returned as it is.

    Transparent pixels are blended with white. Samples of more than 8 bits are scaled, not clipped. ICC profiles are
    ignored, as they were in the images that the models were trained on.

    Raises:
        ValueError: Pillow has no conversion (LAB).
    """
    if image.mode in _DEEP:
        return _scaled(image).convert("RGB")
    if image.has_transparency_data:
        return _over_background(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_background(image: Image.Image) -> Image.Image:
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(image, mask=alpha)
    return canvas


def _scaled(image: Image.Image) -> Image.Image:
    """Map samples to 0..255 from the range that they are meant to have.

    16-bit modes use all of 0..65535. Modes I and F do not define their range, so it is inferred from the values:
    [0, 1] (F), [0, 255] and [0, 65535] are usual; otherwise it spans the smallest to the largest value.
    """
    values = np.asarray(image)
    if image.mode not in ("I", "F"):
        return Image.fromarray((values.astype(np.uint16) // 257).astype(np.uint8))
    samples = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(samples.min()), float(samples.max())
    if low >= 0 and high <= 65535:
        low = 0.0
        high = 1.0 if image.mode == "F" and high <= 1 else 255.0 if high <= 255 else 65535.0
    # Halves, because the difference of two finite float32 values may not be finite.
    span = high * 0.5 - low * 0.5
    samples = (samples * 0.5 - low * 0.5) / (span or 1.0) * 255
    return Image.fromarray(np.rint(samples).clip(0, 255).astype(np.uint8))
