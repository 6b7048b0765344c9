"""Files that events name, only below the folders that the operator allows."""

import os
from collections.abc import Iterable
from pathlib import Path

from moderator.errors import FetchFailed, FetchRefused
from moderator.fetching.sources.regular_file import OPEN_FLAGS, read_and_close, typed_open_errors
from moderator.fetching.sources.source import ImageSource


class FileSource(ImageSource):
    """Source of files below some folders, regardless of how paths are written and of links along them.

    Args:
        roots: the folders; if empty, every path is refused.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(Path(os.path.realpath(root)) for root in roots)

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return the file at an absolute path."""
        if not self._roots:
            raise FetchRefused("paths are not accepted; name their folder in MODERATOR_FETCH_ROOTS")
        if not os.path.isabs(reference) or "\0" in reference:
            raise FetchRefused(
                "path is not absolute; give the whole path under a folder of MODERATOR_FETCH_ROOTS"
            )
        # Resolve before opening anything, so as not to reveal whether a file outside the roots exists.
        try:
            real = Path(os.path.realpath(reference))
        except OSError as error:  # a link vanished while it was read
            raise FetchFailed(f"path changed while it was looked up: {error.strerror}") from error
        root = next((root for root in self._roots if real.is_relative_to(root)), None)
        if root is None:
            raise FetchRefused("path is in no folder of MODERATOR_FETCH_ROOTS; add its folder there")
        with typed_open_errors():
            descriptor = _open_beneath(root, real.relative_to(root).parts)
        return read_and_close(descriptor, max_bytes)


def _open_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """Open a file by walking from `root` without following symbolic links.

    `parts` come from a resolved path, so any link among them was added since. The walk holds each folder open, so
    swapping one during the walk gains nothing: the opened file was inside the root.
    """
    folder_flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY
    folder = os.open(root, folder_flags)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, folder_flags, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(parts[-1] if parts else ".", OPEN_FLAGS | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
