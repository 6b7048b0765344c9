"""Convert embeddings in half precision, which takes NumPy longer than to multiply them with the prompts of a policy."""

import numpy as np
from numpy.typing import NDArray

from moderator.scoring.rules import Floats

#: The bits of a float16 that was widened to 32 bits by its sign and moved to the left by 13.
_FLOAT16_BITS = np.int32(-0x70000001)


class Widener:
    """Converts float16 to float32, three times as quickly as NumPy; keeps its memory from one call to the next.

    A number that is not finite becomes one beyond 65535, which no embedding has.
    """

    def __init__(self) -> None:
        self._bits = np.empty((0, 0), dtype=np.int32)

    def __call__(self, rows: NDArray[np.floating]) -> Floats:
        """Return rows as float32 [n, dimension], valid until the next call."""
        if rows.dtype != np.float16:
            return rows.astype(np.float32, copy=False)
        if self._bits.shape[1:] != rows.shape[1:] or len(self._bits) < len(rows):
            self._bits = np.empty(rows.shape, dtype=np.int32)
        bits = self._bits[: len(rows)]
        # Exponent and fraction move to where float32 has them, with the sign; the exponents' biases differ by 112.
        np.copyto(bits, rows.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _FLOAT16_BITS, out=bits)
        floats = bits.view(np.float32)
        return np.multiply(floats, np.float32(2.0**112), out=floats)
