"""The bounds on decoding one file: pixels and time."""

import time

from PIL import Image

from moderator.errors import DecodeTimeout, ImageTooLarge

#: Pillow decodes run-length encoded BMPs in Python, thousands of times slower than other formats.
MAX_PIXELS_IN_PYTHON = 4_000_000
#: Share of the time in which all frames are looked at; in the rest, the chosen ones are decoded once more.
SCAN_SHARE = 0.5


class DecodeBudget:
    """The bounds of one file, whose time runs from now on.

    Args:
        max_pixels: of a frame, and of all frames judged together.
        timeout: seconds.
    """

    #: Frames that are looked for in a file.
    frames_max = 10_000

    def __init__(self, max_pixels: int, timeout: float) -> None:
        self.max_pixels = max_pixels
        start = time.monotonic()
        self._deadline = start + timeout
        self._scan_deadline = start + timeout * SCAN_SHARE

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse a frame that is too large.

        Raises:
            ImageTooLarge: it is.
        """
        if width * height > self.max_pixels:
            raise ImageTooLarge(
                f"the image has {width} x {height} pixels, more than {self.max_pixels} (MODERATOR_MAX_PIXELS)"
            )

    def check_image(self, image: Image.Image) -> None:
        """Refuse an opened image that is too large for its format.

        Raises:
            ImageTooLarge: it is.
        """
        self.check_pixels(*image.size)
        pixels = image.width * image.height
        codecs = [tile.codec_name for tile in getattr(image, "tile", ()) if tile.codec_name in Image.DECODERS]
        if codecs and pixels > MAX_PIXELS_IN_PYTHON:
            raise ImageTooLarge(
                f"the image has {pixels} pixels, and of its kind ({codecs[0]}) {MAX_PIXELS_IN_PYTHON} are "
                "accepted; save it uncompressed or as PNG"
            )

    def check_time(self) -> None:
        """Raise once the time is over.

        Raises:
            DecodeTimeout: it is.
        """
        if time.monotonic() > self._deadline:
            raise DecodeTimeout("decoding takes longer than allowed (MODERATOR_DECODE_TIMEOUT)")

    @property
    def may_scan(self) -> bool:
        """Whether there is time to look at one more frame."""
        return time.monotonic() < self._scan_deadline
