"""Random animations: small boxes at random places, with every kind of blending, disposal and transparency."""

import random
import struct

import numpy as np
from PIL import Image

from benchmarks.format_writers import BareFrame, apng, encode, gif

#: Odd, so that boxes end within bytes and blocks.
SIZE = (23, 17)


def make_animation(number: int) -> tuple[str, bytes]:
    """The n-th animation, the same on every machine: its format in lower case, and the file."""
    dice = random.Random(f"animation {number}")
    return [_gif, _apng, _webp][number % 3](dice)


def _box(dice: random.Random, beyond: int) -> tuple[int, int, int, int]:
    """Left, top, width and height; the box may reach so many pixels beyond the canvas."""
    left, top = dice.randrange(SIZE[0]), dice.randrange(SIZE[1])
    return left, top, dice.randint(1, SIZE[0] - left + beyond), dice.randint(1, SIZE[1] - top + beyond)


def _noise(dice: random.Random) -> np.random.Generator:
    return np.random.default_rng(dice.randrange(2**32))


def _gif(dice: random.Random) -> tuple[str, bytes]:
    noise = _noise(dice)
    frames: list[BareFrame | bytes] = []
    for index in range(dice.randint(2, 6)):
        left, top, width, height = (
            (0, 0, *SIZE) if index == 0 and dice.random() < 0.6 else _box(dice, 6 if index else 0)
        )
        frames.append(
            BareFrame(
                noise.integers(0, 6, (height, width), dtype=np.uint8),
                left,
                top,
                dice.choice((0, 20, 100, 500)),
                dice.choice((0, 1, 1, 2, 2, 3, 3)),
                transparent=dice.choice((None, 0, 1, 2)),
                palette=noise.bytes(768) if dice.random() < 0.3 else None,
            )
        )
    return "gif", gif(SIZE, frames, noise.bytes(768))


def _rgba(dice: random.Random, width: int, height: int) -> np.ndarray:
    noise = _noise(dice)
    pixels = noise.integers(0, 256, (height, width, 4), dtype=np.uint8)
    kind = dice.randrange(3)
    if kind == 0:
        pixels[..., 3] = 255
    elif kind == 1:
        pixels[..., 3] = np.where(pixels[..., 3] < 128, 0, 255)
    return pixels


def _apng(dice: random.Random) -> tuple[str, bytes]:
    frames = []
    for index in range(dice.randint(2, 6)):
        left, top, width, height = (0, 0, *SIZE) if index == 0 else _box(dice, 0)
        pixels = _rgba(dice, width, height)
        frames.append(
            BareFrame(pixels, left, top, dice.choice((20, 100)), dice.randrange(3), dice.randrange(2))
        )
    return "png", apng(SIZE, frames)


def _webp(dice: random.Random) -> tuple[str, bytes]:
    """A still of each frame, lossless, put into the container by hand; boxes start at even places."""
    chunks = b"VP8X" + struct.pack("<IB3x", 10, 0x12) + _three(SIZE[0] - 1) + _three(SIZE[1] - 1)
    chunks += b"ANIM" + struct.pack("<IIH", 6, 0xFFFFFFFF, 0)
    for index in range(dice.randint(2, 6)):
        left, top, width, height = (0, 0, *SIZE) if index == 0 and dice.random() < 0.6 else _box(dice, 0)
        left, top = left & ~1, top & ~1
        still = encode(Image.fromarray(_rgba(dice, width, height), "RGBA"), "WEBP", lossless=True, exact=True)
        body = _three(left // 2) + _three(top // 2) + _three(width - 1) + _three(height - 1)
        body += _three(dice.choice((20, 100))) + bytes((dice.randrange(2) << 1 | dice.randrange(2),))
        body += _picture_of(still)
        chunks += b"ANMF" + struct.pack("<I", len(body)) + body
    return "webp", b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _three(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def _picture_of(webp: bytes) -> bytes:
    """The chunk with the pixels of a lossless still."""
    at = webp.index(b"VP8L")
    length = int.from_bytes(webp[at + 4 : at + 8], "little")
    return webp[at : at + 8 + length + (length & 1)]
