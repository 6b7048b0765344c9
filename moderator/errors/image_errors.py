"""What can be wrong with an image, with getting it and with decoding it."""

from moderator.errors.moderator_error import ModeratorError


class ImageError(ModeratorError):
    """Base of what can be wrong with an image or with getting it."""

    stage = "fetch"


class FetchRefused(ImageError):
    """The reference points where we do not go: outside the roots, a private address, another scheme."""


class FetchFailed(ImageError):
    """The image could not be got, and trying again may help: a time-out, a broken connection, a 5xx."""

    transient = True


class HostUnavailable(FetchFailed):
    """The host failed several times in a row, so it was not asked; `retry_after` says when it may be again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class ImageNotFound(ImageError):
    """Nothing is there: no such file, or a 4xx answer."""


class NoImages(ImageNotFound):
    """What a command was given names no image at all: an empty folder, a pattern that nothing matches."""


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
    """The process that decoded the image died over it, or answered nonsense."""

    transient = True
    harmful = True
    stage = "decode"


class DecoderUnavailable(ImageError):
    """No decoding process comes up; the worker's log says why."""

    transient = True
    stage = "decode"
