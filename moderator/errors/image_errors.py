"""Errors of images, and of fetching and decoding them."""

from moderator.errors.moderator_error import ModeratorError


class ImageError(ModeratorError):
    """Base of the errors of images and of fetching them."""

    stage = "fetch"


class FetchRefused(ImageError):
    """The reference points to a forbidden place: outside the roots, a private address, another scheme."""


class FetchFailed(ImageError):
    """The image could not be fetched, and a retry may help: a timeout, a broken connection, a 5xx."""

    transient = True


class HostUnavailable(FetchFailed):
    """The host failed several times in a row, so no request was sent; `retry_after` is the wait until the next."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class ImageNotFound(ImageError):
    """The image does not exist: no such file, or a 4xx answer."""


class NoImages(ImageNotFound):
    """The arguments of a command name no image at all: an empty folder, a pattern without matches."""


class ImageTooLarge(ImageError):
    """More bytes, pixels or metadata than allowed."""

    stage = "decode"


class NotAnImage(ImageError):
    """The bytes are no image in an accepted format."""

    stage = "decode"


class ImageBroken(ImageError):
    """The bytes start like an image but cannot be decoded to the end."""

    stage = "decode"


class DecodeTimeout(ImageError):
    """Decoding took longer than allowed."""

    transient = True
    harmful = True
    stage = "decode"


class DecoderCrashed(ImageError):
    """The process that decoded the image died, or answered nonsense."""

    transient = True
    harmful = True
    stage = "decode"


class DecoderUnavailable(ImageError):
    """No decoding process starts; the worker's log says why."""

    transient = True
    stage = "decode"
