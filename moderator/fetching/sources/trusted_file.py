"""Files that the caller of the library or of a command names: any file that this process may read."""

import os

from moderator.errors import FetchRefused
from moderator.fetching.sources.regular_file import OPEN_FLAGS, read_and_close, typed_open_errors
from moderator.fetching.sources.source import ImageSource


class TrustedFileSource(ImageSource):
    """Source of any regular file, at a relative or absolute path, through any link. Never use it for events' paths."""

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return the file at a path."""
        try:
            with typed_open_errors():
                descriptor = os.open(reference, OPEN_FLAGS)
        except ValueError as error:
            raise FetchRefused("path holds what no file name can hold, such as a zero byte") from error
        return read_and_close(descriptor, max_bytes)
