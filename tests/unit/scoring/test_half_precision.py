import numpy as np

from moderator.scoring.half_precision import Widener


def test_every_float16_is_widened_to_the_same_number() -> None:
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(64, -1)
    expected = numbers.astype(np.float32)
    found = Widener()(numbers)
    finite = np.isfinite(expected)
    assert (found[finite].view(np.int32) == expected[finite].view(np.int32)).all(), "bit by bit"
    assert (np.abs(found[~finite]) > 65535).all()
