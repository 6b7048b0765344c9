"""The interface of image sources."""

from typing import Protocol

from moderator.errors import FetchRefused


class ImageSource(Protocol):
    """One kind of place to get images from, such as files or the web. Threads share one source."""

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return the encoded image.

        Args:
            reference: identifies the image in the notation of this kind: a path, a URL, an object's key.
            max_bytes: maximum size of the image. A source never reads much more than that.

        Raises:
            FetchRefused: this source does not allow the reference; the message names the setting.
            FetchFailed: a retry may help.
            ImageNotFound: there is no such image.
            ImageTooLarge: the image has more than `max_bytes`.
        """
        ...

    def fetch_version(self, reference: str, version: str, max_bytes: int) -> bytes:
        """Return one version of the encoded image; see `fetch`. Most sources keep none, and refuse."""
        raise FetchRefused("there are no versions where this image is; leave out version")

    def close(self) -> None:
        """Release what is held between calls, such as connections. Most sources hold nothing."""
        return
