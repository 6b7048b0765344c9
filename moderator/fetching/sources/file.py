"""Files that events name: only those below the folders that the operator allows."""

import os
from collections.abc import Iterable
from pathlib import Path

from moderator.errors import FetchFailed, FetchRefused
from moderator.fetching.sources.regular_file import OPEN_FLAGS, read_and_close, typed_open_errors
from moderator.fetching.sources.source import ImageSource


class FileSource(ImageSource):
    """Reads files below some folders, however their paths are written and whatever links stand on the way.

    Args:
        roots: the folders; without any, every path is refused.
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
        # Resolved before anything is opened: whether a file outside the roots exists stays unsaid.
        try:
            real = Path(os.path.realpath(reference))
        except OSError as error:  # a link that went while it was read
            raise FetchFailed(f"path changed while it was looked up: {error.strerror}") from error
        root = next((root for root in self._roots if real.is_relative_to(root)), None)
        if root is None:
            raise FetchRefused("path is in no folder of MODERATOR_FETCH_ROOTS; add its folder there")
        with typed_open_errors():
            descriptor = _open_beneath(root, real.relative_to(root).parts)
        return read_and_close(descriptor, max_bytes)


def _open_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """Open a file by walking from `root`, following no symbolic link on the way.

    `parts` come from a resolved path, so a link among them was put there since. The walk holds each folder
    open, so exchanging one underneath it gains nothing: what is opened was inside the root.
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
