"""Read files for image sources: bounded, regular files only, with typed errors."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from moderator.errors import FetchFailed, FetchRefused, ImageNotFound, ImageTooLarge

#: Flags that are safe for any kind of file. O_NONBLOCK keeps a FIFO from blocking the open.
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_BLOCK_BYTES = 1 << 20


@contextmanager
def typed_open_errors() -> Iterator[None]:
    """Convert the errors of opening a file to typed errors.

    Raises:
        ImageNotFound, FetchRefused, FetchFailed: instead of `OSError`.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ImageNotFound("path: there is no such file") from error
    except PermissionError as error:
        raise FetchRefused("path: this process may not read the file; check its owner and mode") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG):
            raise FetchRefused("path is no regular file, or changed while it was opened") from error
        raise FetchFailed(f"path cannot be opened: {error.strerror}") from error


def read_and_close(descriptor: int, max_bytes: int) -> bytes:
    """Return the content of an open file, of at most `max_bytes`, and close it.

    Raises:
        FetchRefused: it is not a regular file.
        ImageTooLarge: the file is larger.
        FetchFailed: the file cannot be read.
    """
    try:
        return _read(descriptor, max_bytes)
    except OSError as error:
        raise FetchFailed(f"path cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _read(descriptor: int, max_bytes: int) -> bytes:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise FetchRefused("path is no regular file")
    if facts.st_size > max_bytes:
        raise ImageTooLarge(f"path has {facts.st_size} bytes, more than {max_bytes} (MODERATOR_MAX_BYTES)")
    # One byte more than the file should have: a single read gets all of a file that does not grow.
    parts: list[bytes] = []
    left = max_bytes + 1
    while left and (part := os.read(descriptor, min(left, max(facts.st_size + 1, _BLOCK_BYTES)))):
        parts.append(part)
        left -= len(part)
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(data) > max_bytes:
        raise ImageTooLarge(f"path is larger than {max_bytes} bytes (MODERATOR_MAX_BYTES)")
    return data
