"""`hash-list`: is this one of the pictures that we know? By perceptual hash, so a resized copy is found, too.

PDQ is Meta's 256-bit hash of an image's coarse structure ("The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm", 2019). Two hashes match within a Hamming distance, 31 by convention there.
"""

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from moderator.errors import SignalFailed
from moderator.signals.base import Context, Example, Frame, Options, Reading

BITS = 256
_HASH = re.compile(r"[0-9a-fA-F]{64}")


class HashListOptions(Options):
    """Options of a hash list."""

    distance: Annotated[int, Field(strict=True, ge=0, le=128)] = 31
    """Most bits that may differ."""
    quality: Annotated[int, Field(strict=True, ge=0, le=100)] = 50
    """Images with less structure (PDQ's quality, 0 to 100) match nothing: their hashes say little."""


class HashList:
    """Score 1 where a hash of the list lies within the distance, else 0. Facts: distance, quality, line."""

    options_type: ClassVar[type[Options]] = HashListOptions
    needs_file: ClassVar[bool | None] = True
    uses_pixels: ClassVar[bool] = True
    enough_pixels: ClassVar[int | None] = 512  # PDQ itself begins with a reduction to 64 x 64

    def __init__(self, options: HashListOptions, context: Context) -> None:
        try:
            import pdqhash
        except ImportError as error:
            raise SignalFailed("hash-list needs pdqhash; run: pip install 'moderator[hash]'") from error
        self._compute = pdqhash.compute
        self._options = options
        self._hashes, self._lines = parse_hashes(context.content or b"")

    def read(self, frame: Frame) -> Reading:
        """Compare a frame with the list."""
        assert frame.image is not None
        bits, quality = self._compute(np.asarray(_bounded(frame.image)))
        facts = {"quality": int(quality)}
        if quality < self._options.quality:
            return Reading(0.0, facts)
        hash_ = np.packbits(np.asarray(bits, dtype=np.uint8))
        distances = np.bitwise_count(self._hashes ^ hash_).sum(axis=1)
        nearest = int(np.argmin(distances))
        distance = int(distances[nearest])
        if distance > self._options.distance:
            return Reading(0.0, {**facts, "distance": distance})
        return Reading(1.0, {**facts, "distance": distance, "line": self._lines[nearest]})

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """A picture, a smaller copy of it, another one, and one without structure."""
        known, other = _waves(0), _waves(1)
        listed = b"# known pictures\n" + _EXAMPLE_HASH.encode() + b"  # waves\n"
        return [
            Example({}, Frame(known), 1, 1, listed),
            Example({"distance": 40}, Frame(known.resize((150, 100))), 1, 1, listed),
            Example({}, Frame(other), 0, 0, listed),
            Example({}, Frame(Image.new("RGB", (64, 64), "red")), 0, 0, listed),
        ]


def parse_hashes(content: bytes) -> tuple[NDArray[np.uint8], list[int]]:
    """Read a list: one hash of 64 hexadecimal digits a line; `#` starts a comment.

    Returns the hashes, uint8 [n, 32], and the line of each.

    Raises:
        SignalFailed: a line is something else, or there is no hash at all.
    """
    hashes, lines = [], []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not _HASH.fullmatch(text):
            raise SignalFailed(
                f"line {number} of the hash list is no PDQ hash of 64 hexadecimal digits; correct or remove it"
            )
        hashes.append(bytes.fromhex(text))
        lines.append(number)
    if not hashes:
        raise SignalFailed("the hash list holds no hash; add one or remove the signal")
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, BITS // 8), lines


def _bounded(image: Image.Image) -> Image.Image:
    """A copy of at most 1024 pixels a side: the hash hardly changes, and a large image costs no second."""
    if max(image.size) <= 1024:
        return image
    copy = image.copy()
    copy.thumbnail((1024, 1024), Image.Resampling.BOX)
    return copy


def _waves(kind: int) -> Image.Image:
    """A picture with structure, made from a formula."""
    y, x = np.mgrid[0:200, 0:300] / 25.0
    grey = np.sin(x + 0.5 * y * y) + np.cos(y * (2 + kind) - x * kind * 3)
    grey = (grey - grey.min()) / (grey.max() - grey.min()) * 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


_EXAMPLE_HASH = "0007fff85552aaadfff855520007aaadfff8fff8555200070007aa07aaadaaad"
