"""Convert pictures to sRGB by their colour profile, where that makes a difference that a person sees.

The models were trained on images whose profiles were ignored, and most profiles change little. One that swaps
channels or stretches a narrow range of grey shows another picture in a browser than the stored numbers do.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

#: A conversion counts as visible if in one of 4 x 4 parts of the picture the mean difference exceeds this, in levels
#: of 255. Display P3 and Adobe RGB stay below it on photographs.
VISIBLE_DIFFERENCE = 20.0
_PARTS, _PART_SIDE = 4, 16
#: The same for profiles that no camera has.
_ODD_DIFFERENCE = 3.0
#: Largest difference on a lattice of colours up to which a profile is sRGB's, and up to which it may be a camera's.
_SRGB_DIFFERENCE, _CAMERA_DIFFERENCE = 4, 150
_LATTICE_STEPS = 9
#: Larger profiles are not remembered.
_SMALL_PROFILE_BYTES = 50_000
#: sRGB's white, red, green and blue, each as x and y (IEC 61966-2-1), and the white of profiles, D50 (ICC.1:2022).
SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
#: Those that phones use, with sRGB's white (SMPTE EG 432-1).
DISPLAY_P3_CHROMATICITIES = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
_D50 = np.array((0.9642, 1.0, 0.8249))
#: Volume that primaries span at least; sRGB's span 4.
_VOLUME_MIN = 1e-3
#: Cone responses of the Bradford adaptation (ICC.1:2022, annex E).
_BRADFORD = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))


def convert_visibly(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return a picture converted to sRGB, mode RGB; None if that makes no visible difference, or cannot be done.

    Args:
        image: mode RGB, L or CMYK, loaded.
        profile: an ICC profile. A damaged one, or one for other colours than the picture's, is ignored, as browsers do.
    """
    known = image.mode == "RGB" and len(profile) <= _SMALL_PROFILE_BYTES
    difference = _lattice_difference(profile) if known else 255
    if difference <= _SRGB_DIFFERENCE:
        return None
    try:
        transform = ImageCms.buildTransform(
            BytesIO(profile), ImageCms.createProfile("sRGB"), image.mode, "RGB"
        )
        side = _PARTS * _PART_SIDE
        small = image.resize((side, side), Image.Resampling.BOX, reducing_gap=1.0)
        converted = ImageCms.applyTransform(small, transform)
        assert converted is not None
        visible = VISIBLE_DIFFERENCE if difference <= _CAMERA_DIFFERENCE else _ODD_DIFFERENCE
        if not _differs(small.convert("RGB"), converted, visible):
            return None
        return ImageCms.applyTransform(image, transform)
    except ImageCms.PyCMSError:
        return None


def _differs(first: Image.Image, second: Image.Image, most: float) -> bool:
    difference = np.abs(np.asarray(first).astype(np.int16) - np.asarray(second))
    parts = difference.reshape(_PARTS, _PART_SIDE, _PARTS, _PART_SIDE * 3).mean(axis=(1, 3))
    return bool(parts.max() > most)


@lru_cache(maxsize=32)
def _lattice_difference(profile: bytes) -> int:
    """Return the largest difference, in levels of 255, that a profile makes on a lattice of colours."""
    if b"A2B" in profile:  # a table may hold anything between the colours that are tried
        return 255
    steps = np.linspace(0, 255, _LATTICE_STEPS).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    image = Image.fromarray(colours)
    try:
        converted = ImageCms.profileToProfile(
            image, BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except ImageCms.PyCMSError:
        return 255
    return int(np.abs(colours.astype(np.int16) - np.asarray(converted)).max())


def make_profile(curve: float | Sequence[float], chromaticities: tuple[float, ...]) -> bytes:
    """Return an ICC profile for RGB.

    Args:
        curve: how samples become light: a power, or the light in [0, 1] of evenly spaced samples.
        chromaticities: x and y of white, red, green and blue.

    Raises:
        ValueError: the chromaticities span no colours.
    """
    white, *primaries = np.array(chromaticities).reshape(4, 2)
    if white[1] <= 0 or any(y == 0 for _, y in primaries):
        raise ValueError("a colour without light")
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    white_xyz = np.array((white[0] / white[1], 1.0, (1 - white.sum()) / white[1]))
    if abs(np.linalg.det(columns)) < _VOLUME_MIN:
        raise ValueError("the primaries lie on a line")
    matrix = columns * np.linalg.solve(columns, white_xyz)
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ white_xyz)
    matrix = np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD @ matrix
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve))
    return _assemble(tags)


def _curve(curve: float | Sequence[float]) -> bytes:
    if isinstance(curve, int | float):
        return b"para" + bytes(8) + _fixed(curve)
    values: bytes = np.rint(np.clip(curve, 0, 1) * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", len(curve)) + values + bytes(-len(values) % 4)


def _assemble(tags: dict[bytes, bytes]) -> bytes:
    """Return a profile of version 4 for displays, with these tags."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(
        ">I4sI4s4s4s12x4s", start + len(body), b"", 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    header = header.ljust(68, b"\0") + b"".join(map(_fixed, _D50))
    return header.ljust(128, b"\0") + table + body


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    """Return a number as the format holds it, in 65536ths."""
    return struct.pack(">i", round(min(max(float(value), -32000.0), 32000.0) * 65536))
