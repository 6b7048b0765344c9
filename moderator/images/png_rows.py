"""What browsers show of a PNG whose compressed data ends too early or is damaged.

They show the rows before the fault, which includes the chunk with a wrong checksum, and leave the rest transparent. Of
an interlaced picture they show the passes that are there, coarsely.
"""

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderator.errors import ImageBroken
from moderator.images.partial_files import rows_alpha

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Per pixel, by colour type."""
#: Bytes of compressed data inflated at once.
_STEP_BYTES = 1024
_INFLATED_BYTES_MAX = 1 << 20
#: The filters of a row have the numbers 0 to 4.
_FILTER_MAX = 4
#: Passes of an interlaced picture: first column and row, and steps between columns and rows (PNG specification, 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def count_inflated(pieces: Iterable[memoryview], header: bytes) -> int:
    """Count the bytes that a picture's compressed data holds before its end or its first error.

    An error is a fault in the compression, or a filter that does not exist in front of a row.

    Args:
        pieces: the compressed data.
        header: the body of the picture's IHDR chunk.
    """
    data = memoryview(b"".join(pieces))
    starts = _row_starts(header)
    count, read = _inflate(data, _STEP_BYTES, 0, starts)
    if read < len(data):
        # What the step with the error holds is known only byte by byte.
        count, _ = _inflate(data, 1, read, starts)
    return count


def _inflate(data: memoryview, step: int, first: int, starts: NDArray[np.int64]) -> tuple[int, int]:
    """Inflate data, after the first bytes in steps; return the count before an error, and the bytes that it took."""
    inflater = zlib.decompressobj()
    count, read, most = 0, 0, int(starts[-1])
    while read < len(data) and count < most and not inflater.eof:
        end = read + (min(_STEP_BYTES, first - read) if read < first else step)
        rest: memoryview | bytes = data[read:end]
        while rest and count < most and not inflater.eof:
            try:
                inflated = inflater.decompress(rest, _INFLATED_BYTES_MAX)
            except zlib.error:
                return count, read
            low, high = np.searchsorted(starts[:-1], (count, count + len(inflated)))
            filters = np.frombuffer(inflated, np.uint8)[starts[low:high] - count]
            if (bad := filters > _FILTER_MAX).any():
                return int(starts[low + int(bad.argmax())]), len(data)
            count += len(inflated)
            rest = inflater.unconsumed_tail
        read = end
    return min(count, most), len(data)


def _row_starts(header: bytes) -> NDArray[np.int64]:
    """Return where each row begins in the inflated data, and the length of it all."""
    lengths = [np.full(_rows(header, step), _row_length(header, step)) for step in _steps(header)]
    every = np.concatenate(lengths)
    starts = np.zeros(np.count_nonzero(every) + 1, np.int64)  # passes without columns have rows without bytes
    np.cumsum(every[every > 0], out=starts[1:])
    return starts


def inflated_length(header: bytes) -> int:
    """Return the number of bytes that the data of a picture inflates to. `header`: the body of its IHDR chunk."""
    return sum(_rows(header, step) * _row_length(header, step) for step in _steps(header))


def as_shown(image: Image.Image, header: bytes, length: int) -> tuple[Image.Image, Image.Image | None]:
    """Return a picture of whose inflated data only the first `length` bytes are there, and the alpha of missing rows.

    Args:
        image: as Pillow decodes it, loaded.
        header: the body of its IHDR chunk.
        length: see `count_inflated`.

    Raises:
        ImageBroken: too little of it is there.
    """
    steps = _steps(header)
    if len(steps) == 1:
        rows = length // _row_length(header, steps[0])
        return image, rows_alpha(image.size, 0, min(rows, image.height))
    complete = 0
    for step in steps:
        length -= _rows(header, step) * _row_length(header, step)
        if length < 0:
            break
        complete += 1
    if not complete:
        raise ImageBroken("the picture is truncated: less than its first pass is there")
    # After each pass, the pixels that are there form a grid.
    across, down = ((8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2), (1, 1))[complete - 1]
    columns = np.arange(image.width) // across * across
    rows_shown = np.arange(image.height) // down * down
    coarse = Image.fromarray(np.asarray(image)[rows_shown][:, columns], image.mode)
    if palette := image.getpalette():
        coarse.putpalette(palette)
    coarse.info = image.info
    return coarse, None


def _steps(header: bytes) -> tuple[tuple[int, int, int, int], ...]:
    return _PASSES if header[12] else ((0, 0, 1, 1),)


def _row_length(header: bytes, step: tuple[int, int, int, int]) -> int:
    """Return the bytes of a row of a pass: a filter, and samples. 0 where the pass has no columns."""
    width = int.from_bytes(header[:4], "big")
    columns = -(-max(width - step[0], 0) // step[2])
    return 1 + -(-columns * _SAMPLES[header[9]] * header[8] // 8) if columns else 0


def _rows(header: bytes, step: tuple[int, int, int, int]) -> int:
    height = int.from_bytes(header[4:8], "big")
    return -(-max(height - step[1], 0) // step[3])
