"""Colour profiles for the code points by which PNG and AVIF name colours (ITU-T H.273), as browsers heed them."""

import re
from functools import cache

import numpy as np

from moderator.images.profiles import DISPLAY_P3_CHROMATICITIES, SRGB_CHROMATICITIES, make_profile

#: x and y of white, red, green and blue, by code point (table 2).
_PRIMARIES = {
    1: SRGB_CHROMATICITIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: DISPLAY_P3_CHROMATICITIES,
}
#: Powers by code point (table 3), and the two curves of high dynamic range.
_POWERS = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ, _HLG = 16, 18
#: Light of white on an ordinary screen, and the most that the PQ curve describes, in cd/m2 (ITU-R BT.2408, BT.2100).
_WHITE, _PQ_PEAK = 203.0, 10_000.0
_CURVE_SAMPLES = 1024
#: A box that names colours by code points.
_COLOUR_BOX = re.compile(rb"\0\0\0\x13colrnclx(..)(..)", re.DOTALL)


def code_points_of_avif(data: bytes) -> tuple[int, int] | None:
    """Return the code points of primaries and transfer function that an AVIF names first."""
    match = _COLOUR_BOX.search(data)
    return None if match is None else (int.from_bytes(match[1], "big"), int.from_bytes(match[2], "big"))


@cache
def profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    """Return an ICC profile; None for code points that are sRGB's, near it, or unknown."""
    chromaticities = _PRIMARIES.get(primaries, SRGB_CHROMATICITIES)
    if transfer in _POWERS:
        return make_profile(_POWERS[transfer], chromaticities)
    if transfer in (_PQ, _HLG):
        samples = np.linspace(0, 1, _CURVE_SAMPLES)
        light = _pq(samples) if transfer == _PQ else _hlg(samples)
        return make_profile(light.clip(0, 1).tolist(), chromaticities)
    return None


def _pq(samples: np.ndarray) -> np.ndarray:
    """Return light relative to white (ITU-R BT.2100, table 4)."""
    root = samples ** (32 / 2523)
    light = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
    relative: np.ndarray = light * _PQ_PEAK / _WHITE
    return relative


def _hlg(samples: np.ndarray) -> np.ndarray:
    """Return light relative to white, which is three quarters of the range (ITU-R BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light = np.where(samples <= 0.5, samples**2 / 3, (np.exp((samples - c) / a) + b) / 12)
    relative: np.ndarray = light / light[_CURVE_SAMPLES * 3 // 4]
    return relative
