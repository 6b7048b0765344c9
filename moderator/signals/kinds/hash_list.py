"""`hash-list`: is this one of the known pictures? Compares perceptual hashes, so it also finds resized copies.

PDQ is Meta's 256-bit hash of an image's coarse structure ("The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm", 2019). Two hashes match within a Hamming distance, by the paper's convention 31.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

from moderator.errors import SignalFailed
from moderator.signals.hash_file import HASH_BITS, Hashes, parse_hashes
from moderator.signals.signal import Context, Example, Frame, Options, SignalResult

#: Side in pixels of the square to which images are resized before hashing.
HASHED_SIDE_PIXELS = 512


class HashListOptions(Options):
    """Options of a hash list."""

    distance: Annotated[int, Field(strict=True, ge=0, le=128)] = 31
    """Maximum number of bits that may differ."""
    quality: Annotated[int, Field(strict=True, ge=0, le=100)] = 50
    """Images with less structure (PDQ's quality, 0 to 100) match nothing: their hashes mean little."""
    turned: bool = False
    """Whether mirrored copies, and copies turned by 90, 180 or 270 degrees, also match."""


class HashList:
    """Score: 1 - d / 256 for the nearest hash in the list, d bits away, if d is within the distance; else 0.

    An exact copy scores 1, and one at distance 31 scores 0.88. Facts: quality, distance, line of the list.
    """

    options_type: ClassVar[type[Options]] = HashListOptions
    extra: ClassVar[str] = "hash"
    needs_file: ClassVar[bool | None] = True
    uses_pixels: ClassVar[bool] = True
    enough_pixels: ClassVar[int | None] = HASHED_SIDE_PIXELS
    slow: ClassVar[bool] = False

    def __init__(self, options: HashListOptions, context: Context) -> None:
        _pdqhash()
        self._options = options
        self._hashes, self._lines = parse_hashes(context.content or b"")

    def read(self, frame: Frame) -> SignalResult:
        """Compare a frame with the list."""
        assert frame.image is not None
        hashes, quality = pdq(frame.image, self._options.turned)
        facts = {"quality": quality}
        if quality < self._options.quality:
            return SignalResult(0.0, facts)
        distances = np.min([np.bitwise_count(self._hashes ^ one).sum(axis=1) for one in hashes], axis=0)
        nearest = int(np.argmin(distances))
        distance = int(distances[nearest])
        if distance > self._options.distance:
            return SignalResult(0.0, {**facts, "distance": distance})
        return SignalResult(
            1 - distance / HASH_BITS, {**facts, "distance": distance, "line": self._lines[nearest]}
        )

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return a picture, a smaller and a mirrored copy of it, another picture, and one without structure."""
        known, other = _waves(0), _waves(1)
        listed = b"# known pictures\n" + _EXAMPLE_HASH.encode() + b"  # waves\n"
        return [
            Example({}, Frame(known), 1, 1, listed),
            Example({"distance": 40}, Frame(known.resize((150, 100))), 0.84, 1, listed),
            Example({}, Frame(ImageOps.mirror(known)), 0, 0, listed),
            Example({"turned": True}, Frame(ImageOps.mirror(known)), 0.9, 1, listed),
            Example({}, Frame(other), 0, 0, listed),
            Example({}, Frame(Image.new("RGB", (64, 64), "red")), 0, 0, listed),
        ]


def pdq(image: Image.Image, turned: bool = False) -> tuple[Hashes, int]:
    """Hash an RGB image.

    Args:
        image: of any size.
        turned: whether to hash its mirrored and turned copies as well.

    Returns the hashes, uint8 [1 or 8, 32], and the quality, 0 to 100.

    Raises:
        SignalFailed: pdqhash is not installed.
    """
    module = _pdqhash()
    # The paper recommends this for large images. Without it, a copy of half the size is 18 bits away, with it 2.
    pixels = np.asarray(image.resize((HASHED_SIDE_PIXELS, HASHED_SIDE_PIXELS), Image.Resampling.BILINEAR))
    if turned:
        bits, quality = module.compute_dihedral(pixels)
    else:
        one, quality = module.compute(pixels)
        bits = [one]
    return np.packbits(np.asarray(bits, dtype=np.uint8), axis=1), int(quality)


def _pdqhash() -> Any:
    try:
        import pdqhash
    except ImportError as error:
        raise SignalFailed("hash-list needs pdqhash; run: pip install 'moderator[hash]'") from error
    return pdqhash


def _waves(kind: int) -> Image.Image:
    """Return a picture with structure, computed from a formula."""
    y, x = np.mgrid[0:200, 0:300] / 25.0
    grey = np.sin(x + 0.5 * y * y) + np.cos(y * (2 + kind) - x * kind * 3)
    grey = (grey - grey.min()) / (grey.max() - grey.min()) * 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


_EXAMPLE_HASH = "0007fff85552aaadfff855520007aaadfff8fff8555200070007aa07aaadaaad"
