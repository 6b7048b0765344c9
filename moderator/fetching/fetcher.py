"""From an image reference to bytes. Nothing here looks into them."""

import errno
import os
import stat
from pathlib import Path

from moderator.errors import FetchFailed, FetchRefused, ImageNotFound, ImageTooLarge
from moderator.events import ImageReference
from moderator.fetching.breaker import Breakers
from moderator.fetching.http import GuardedClient
from moderator.fetching.sources.inline import decode_inline
from moderator.fetching.urls import AllowedHosts
from moderator.settings import Settings

_BLOCK = 1 << 20


class Fetcher:
    """Gets the bytes of an image from where its reference points. Threads share one fetcher.

    `breakers` keep from hosts that fail all the time; without, each is asked each time.
    """

    def __init__(self, settings: Settings, breakers: Breakers | None = None) -> None:
        self._roots = tuple(Path(os.path.realpath(root)) for root in settings.fetch_roots)
        self._max_bytes = settings.max_bytes
        self._client = GuardedClient(
            settings.fetch_networks,
            settings.fetch_timeout,
            hosts=AllowedHosts.from_setting(settings.fetch_hosts, "MODERATOR_FETCH_HOSTS"),
            breakers=breakers,
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def fetch(self, reference: ImageReference) -> bytes:
        """Return the encoded image, at most `max_bytes` of the settings.

        Raises:
            FetchRefused: the reference points where we do not go; the message names the setting.
            FetchFailed: trying again may help; `HostUnavailable`, a kind of it, was not even tried.
            ImageNotFound: nothing is there.
            ImageTooLarge: it is larger than allowed.
            NotAnImage: an inline image is not base64.
        """
        if reference.path is not None:
            return self._read_path(reference.path)
        if reference.url is not None:
            return self._client.get(reference.url, self._max_bytes)
        if reference.inline is not None:
            return decode_inline(reference.inline, self._max_bytes)
        raise FetchRefused(
            "no object store is set up for keys; send a path, a pre-signed url or inline bytes"
        )

    def _read_path(self, text: str) -> bytes:
        if not self._roots:
            raise FetchRefused("paths are not accepted; name their folder in MODERATOR_FETCH_ROOTS")
        if not os.path.isabs(text) or "\0" in text:
            raise FetchRefused(
                "path is not absolute; give the whole path under a folder of MODERATOR_FETCH_ROOTS"
            )
        # Resolved before anything is opened: whether a file outside the roots exists stays unsaid.
        try:
            real = Path(os.path.realpath(text))
        except OSError as error:  # a link that went while it was read
            raise FetchFailed(f"path changed while it was looked up: {error.strerror}") from error
        root = next((root for root in self._roots if real.is_relative_to(root)), None)
        if root is None:
            raise FetchRefused("path is in no folder of MODERATOR_FETCH_ROOTS; add its folder there")
        try:
            descriptor = _open_beneath(root, real.relative_to(root).parts)
        except FileNotFoundError as error:
            raise ImageNotFound("path: there is no such file") from error
        except PermissionError as error:
            raise FetchRefused(
                "path: this process may not read the file; check its owner and mode"
            ) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG):
                raise FetchRefused("path is no regular file, or changed while it was opened") from error
            raise FetchFailed(f"path cannot be opened: {error.strerror}") from error
        try:
            return self._read(descriptor)
        except OSError as error:
            raise FetchFailed(f"path cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> bytes:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise FetchRefused("path is no regular file")
        if facts.st_size > self._max_bytes:
            raise ImageTooLarge(
                f"path has {facts.st_size} bytes, more than {self._max_bytes} (MODERATOR_MAX_BYTES)"
            )
        # One byte more than the file should have: a single read takes all of a file that does not grow.
        parts: list[bytes] = []
        left = self._max_bytes + 1
        while left and (part := os.read(descriptor, min(left, max(facts.st_size + 1, _BLOCK)))):
            parts.append(part)
            left -= len(part)
        return self._bounded(parts[0] if len(parts) == 1 else b"".join(parts), "path")

    def _bounded(self, data: bytes, what: str) -> bytes:
        if len(data) > self._max_bytes:
            raise ImageTooLarge(f"{what} is larger than {self._max_bytes} bytes (MODERATOR_MAX_BYTES)")
        return data


def _open_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """Open a file by walking from `root`, following no symbolic link on the way.

    `parts` come from a resolved path, so a link among them was put there since. The walk holds each folder
    open, so exchanging one underneath it gains nothing: what is opened was inside the root. O_NONBLOCK keeps
    a FIFO from blocking the open.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(parts[-1] if parts else ".", flags | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
    finally:
        os.close(folder)
