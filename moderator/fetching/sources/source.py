"""What a source of images is."""

from typing import Protocol


class ImageSource(Protocol):
    """One kind of place that images come from, such as files or the web. Threads share one source."""

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return the encoded image.

        Args:
            reference: says which image, in the way of this kind: a path, a URL, an object's key.
            max_bytes: most bytes that the image may have. A source reads little more than that, whatever it meets.

        Raises:
            FetchRefused: the reference points where this source does not go; the message names the setting.
            FetchFailed: trying again may help.
            ImageNotFound: nothing is there.
            ImageTooLarge: it has more than `max_bytes`.
        """
        ...

    def close(self) -> None:
        """Give back what is held between calls, such as connections. Most sources hold nothing."""
        return
