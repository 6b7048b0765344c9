"""Draw the frames of an animation onto its canvas as browsers do: boxes, blending and disposal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the canvas; a frame may reach beyond it."""
_TRANSPARENT = (0, 0, 0, 0)
#: Browsers show a frame whose delay is shorter than the first of these for the second.
_SHORT_SECONDS, SHORT_SHOWN_SECONDS = 0.011, 0.1


def shown_seconds(delay: float) -> float:
    """Return the seconds for which browsers show a frame with a delay of so many seconds."""
    return SHORT_SHOWN_SECONDS if delay < _SHORT_SECONDS else delay


class Disposal(Enum):
    """What becomes of a frame's box before the next frame is drawn."""

    KEEP = "keep"
    CLEAR = "clear"
    """It becomes transparent, whatever background colour the file names."""
    RESTORE = "restore"
    """It becomes what it was before the frame."""


@dataclass(frozen=True)
class Patch:
    """The pixels of one frame, mode RGBa (multiplied by alpha), in the size of its box."""

    image: Image.Image
    box: Box
    disposal: Disposal
    over: bool
    """Whether it is blended over the canvas; else it replaces its box, transparency included."""


def compose(size: tuple[int, int], patches: Iterable[Patch]) -> Iterator[Image.Image]:
    """Yield the canvas, mode RGBa, as it is shown with each frame. The next frame is drawn onto the same image.

    The canvas is transparent at first, and parts of a frame outside it are cut off.
    """
    canvas = Image.new("RGBa", size, _TRANSPARENT)
    for patch in patches:
        left, top, right, bottom = patch.box
        box = max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])
        if box[0] >= box[2] or box[1] >= box[3]:  # nothing of it is on the canvas
            yield canvas
            continue
        before = canvas.crop(box) if patch.disposal is Disposal.RESTORE else None
        image = patch.image
        if box != patch.box:
            image = image.crop((box[0] - left, box[1] - top, box[2] - left, box[3] - top))
        alpha = image.getchannel(3)
        if not patch.over:
            canvas.paste(image, box)
        elif any(alpha.histogram()[1:255]):
            canvas.paste(_blend(canvas.crop(box), image), box)
        else:
            canvas.paste(image, box, alpha)
        yield canvas
        if before is not None:
            canvas.paste(before, box)
        elif patch.disposal is Disposal.CLEAR:
            canvas.paste(_TRANSPARENT, box)


def _blend(below: Image.Image, above: Image.Image) -> Image.Image:
    """Blend images of mode RGBa with the rounding of Chromium (`SkPMSrcOver` of Skia)."""
    under, over = np.asarray(below).astype(np.uint16), np.asarray(above).astype(np.uint16)
    return premultiplied((over + (under * (256 - over[..., 3:]) >> 8)).astype(np.uint8))


def premultiplied(pixels: np.ndarray) -> Image.Image:
    """Return pixels, uint8 [height, width, 4], as an image of mode RGBa."""
    height, width = pixels.shape[:2]
    return Image.frombuffer("RGBa", (width, height), pixels.tobytes(), "raw", "RGBa", 0, 1)


def unpremultiplied(image: Image.Image) -> Image.Image:
    """Return an image of mode RGBa in mode RGBA, rounded; Pillow would round down."""
    alpha = image.getchannel(3)
    if not any(alpha.histogram()[1:255]):
        return image.convert("RGBA")
    pixels = np.array(image)
    opacity = np.maximum(pixels[..., 3:], 1).astype(np.uint16)
    colours = (pixels[..., :3].astype(np.uint16) * 255 + opacity // 2) // opacity
    pixels[..., :3] = np.minimum(colours, 255)
    return Image.fromarray(pixels)
