"""Finds the source of an image by the kind of its reference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from moderator.errors import FetchRefused
from moderator.events import ImageReference
from moderator.fetching.breaker import Breakers
from moderator.fetching.sources.file import FileSource
from moderator.fetching.sources.inline import InlineSource
from moderator.fetching.sources.source import ImageSource
from moderator.fetching.sources.trusted_file import TrustedFileSource
from moderator.fetching.sources.web import WebSource
from moderator.fetching.urls import is_url
from moderator.settings import Settings


class Fetcher:
    """Gets the images that events name. Threads share one fetcher.

    Args:
        sources: by the field of `ImageReference` that each of them answers.
        max_bytes: most bytes of an encoded image.
    """

    def __init__(self, sources: Mapping[str, ImageSource], max_bytes: int) -> None:
        self._sources = sources
        self._max_bytes = max_bytes

    @classmethod
    def from_settings(cls, settings: Settings, breakers: Breakers | None = None) -> Self:
        """Return the fetcher for events of strangers: a new kind of source is one more line here.

        Args:
            settings: all of them.
            breakers: keep from hosts that fail all the time; default: each is asked each time.
        """
        return cls(
            {
                "path": FileSource(settings.fetch_roots),
                "url": WebSource(settings, breakers),
                "inline": InlineSource(),
            },
            settings.max_bytes,
        )

    def close(self) -> None:
        """Close all connections."""
        for source in self._sources.values():
            source.close()

    def fetch(self, reference: ImageReference) -> bytes:
        """Return the encoded image, at most `max_bytes`.

        Raises:
            FetchRefused: the reference points where we do not go; the message names the setting.
            FetchFailed: trying again may help; `HostUnavailable`, a kind of it, was not even tried.
            ImageNotFound: nothing is there.
            ImageTooLarge: it is larger than allowed.
            NotAnImage: an inline image is not base64.
        """
        for kind, source in self._sources.items():
            text: str | None = getattr(reference, kind)
            if text is not None:
                return source.fetch(text, self._max_bytes)
        raise FetchRefused(
            "no object store is set up for keys; send a path, a pre-signed url or inline bytes"
        )


class TrustedFetcher:
    """Gets the images that the caller of the library or of a command names. Threads share one fetcher.

    Args:
        settings: of which the bounds and what holds for URLs count. Any file may be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._files = TrustedFileSource()
        self._web = WebSource(settings)
        self._max_bytes = settings.max_bytes

    def close(self) -> None:
        """Close all connections."""
        self._web.close()

    def fetch(self, image: str | Path) -> bytes:
        """Return the encoded image at a path or an http(s) URL.

        Raises:
            FetchRefused, FetchFailed, ImageNotFound, ImageTooLarge: as `Fetcher.fetch`.
        """
        if isinstance(image, str) and is_url(image):
            return self._web.fetch(image, self._max_bytes)
        return self._files.fetch(str(Path(image)), self._max_bytes)
