"""Bound the sides of an image before a model sees it."""

from PIL import Image


def bounded(image: Image.Image, max_side: int, min_side: int) -> Image.Image:
    """Return the image, reduced or padded with white to sides of `min_side` to `max_side` pixels."""
    if max(image.size) > max_side:
        image = image.copy()
        image.thumbnail((max_side, max_side), Image.Resampling.BOX)
    if min(image.size) >= min_side:
        return image
    canvas = Image.new("RGB", (max(image.width, min_side), max(image.height, min_side)), "white")
    canvas.paste(image, ((canvas.width - image.width) // 2, (canvas.height - image.height) // 2))
    return canvas
