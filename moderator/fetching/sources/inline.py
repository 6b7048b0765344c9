"""Images inside events, in base64."""

import pybase64

from moderator.errors import ImageTooLarge, NotAnImage
from moderator.fetching.sources.source import ImageSource


class InlineSource(ImageSource):
    """Source of images that the event itself contains."""

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return the file decoded from base64; see `decode_inline`."""
        return decode_inline(reference, max_bytes)


def decode_inline(text: str, max_bytes: int) -> bytes:
    """Return the decoded file, of at most `max_bytes`.

    Raises:
        ImageTooLarge: the file is larger.
        NotAnImage: the text is not base64.
    """
    if len(text) <= 4 * -(-max_bytes // 3):
        try:
            data = pybase64.b64decode(text, validate=True)
        except ValueError as error:
            raise NotAnImage(
                "inline is not base64; send the file in the standard alphabet, padded, without line breaks "
                "and without a data: prefix"
            ) from error
        if len(data) <= max_bytes:
            return data
    raise ImageTooLarge(f"inline is larger than {max_bytes} bytes (MODERATOR_MAX_BYTES)")
