"""Separate any of Pillow's colour modes into RGB and transparency, as a person would see the picture."""

import numpy as np
from PIL import Image

WHITE, BLACK = (255, 255, 255), (0, 0, 0)

_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to mode RGB, without regard to transparency; an RGB image is returned as it is.

    Samples of more than 8 bits are scaled, not clipped.

    Raises:
        ValueError: Pillow has no conversion (LAB).
    """
    if image.mode in _DEEP:
        return _scaled(image).convert("RGB")
    if image.mode == "PA" or (image.mode == "P" and image.has_transparency_data):
        return image.convert("RGBA").convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def alpha_of(image: Image.Image) -> Image.Image | None:
    """Return the alpha of a loaded image, mode L; None if all of it is opaque."""
    if image.mode in _DEEP or not image.has_transparency_data:
        return None
    alpha = (image if image.mode in ("RGBA", "LA") else image.convert("RGBA")).getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def alpha_of_key(
    image: Image.Image, key: tuple[int, ...], depth: int, low: Image.Image | None
) -> Image.Image:
    """Return the alpha, mode L, of a PNG whose samples of one colour are transparent.

    Args:
        image: as Pillow decodes a grey or RGB PNG, loaded.
        key: the transparent samples, as stored: of them, only the bits that the picture's samples have count.
        depth: bits per sample of the file.
        low: the lower 8 bits of the samples, for RGB of 16 bits, of which Pillow keeps the upper ones.
    """
    if len(key) == 1:
        if depth == 16:
            return _opaque_unless(np.asarray(image) == key[0])
        most = (1 << depth) - 1
        levels = [255] * 256
        levels[(key[0] & most) * 255 // most] = 0
        return image.convert("L").point(levels)
    parts = [(image, [sample >> 8 for sample in key])] if low is not None else []
    parts.append((low or image, [sample & 255 for sample in key]))
    equal = [(np.asarray(part) == samples).all(axis=2) for part, samples in parts]
    return _opaque_unless(np.logical_and.reduce(equal))


def on_background(rgb: Image.Image, alpha: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Return an RGB image as it is seen on a background."""
    canvas = Image.new("RGB", rgb.size, background)
    canvas.paste(rgb, mask=alpha)
    return canvas


def _opaque_unless(transparent: np.ndarray) -> Image.Image:
    return Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8))


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
