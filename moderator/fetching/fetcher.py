"""Fetch images from the source that matches the kind of their reference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from moderator.errors import FetchRefused
from moderator.events import ImageReference
from moderator.fetching.breaker import Breakers
from moderator.fetching.object_keys import NO_BUCKETS
from moderator.fetching.sources.file import FileSource
from moderator.fetching.sources.inline import InlineSource
from moderator.fetching.sources.source import ImageSource
from moderator.fetching.sources.trusted_file import TrustedFileSource
from moderator.fetching.sources.web import WebSource
from moderator.fetching.urls import is_url
from moderator.settings import Settings


class Fetcher:
    """Fetcher of the images that events name. Threads share one fetcher.

    Args:
        sources: by the field of `ImageReference` that each source handles.
        max_bytes: maximum size of an encoded image.
    """

    def __init__(self, sources: Mapping[str, ImageSource], max_bytes: int) -> None:
        self._sources = sources
        self._max_bytes = max_bytes

    @classmethod
    def from_settings(cls, settings: Settings, breakers: Breakers | None = None) -> Self:
        """Return the fetcher for events from strangers. A new kind of source is one more line here.

        Args:
            settings: all settings.
            breakers: skip hosts that keep failing; default: every call is made.
        """
        sources: dict[str, ImageSource] = {
            "path": FileSource(settings.fetch_roots),
            "url": WebSource(settings, breakers),
            "inline": InlineSource(),
        }
        if settings.buckets:
            from moderator.fetching.sources.bucket import BucketSource  # loads boto3, an extra

            sources["key"] = BucketSource(settings, breakers)
        return cls(sources, settings.max_bytes)

    def close(self) -> None:
        """Close all connections."""
        for source in self._sources.values():
            source.close()

    def fetch(self, reference: ImageReference) -> bytes:
        """Return the encoded image, at most `max_bytes`.

        Raises:
            FetchRefused: the reference is not allowed; the message names the setting.
            FetchFailed: a retry may help; on `HostUnavailable`, a kind of it, the host was not contacted.
            ImageNotFound: there is no such image.
            ImageTooLarge: the image is larger than allowed.
            NotAnImage: an inline image is not base64.
        """
        for kind, source in self._sources.items():
            text: str | None = getattr(reference, kind)
            if text is not None:
                if reference.version is not None:
                    return source.fetch_version(text, reference.version, self._max_bytes)
                return source.fetch(text, self._max_bytes)
        raise FetchRefused(NO_BUCKETS)


class TrustedFetcher:
    """Fetcher of the images that the caller of the library or of a command names. Threads share one fetcher.

    Args:
        settings: provide the size limits and the rules for URLs. Any file may be read.
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
