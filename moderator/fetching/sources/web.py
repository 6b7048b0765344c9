"""Images at http and https URLs."""

from moderator.fetching.breaker import Breakers
from moderator.fetching.http import GuardedClient
from moderator.fetching.sources.source import ImageSource
from moderator.fetching.urls import AllowedHosts
from moderator.settings import Settings


class WebSource(ImageSource):
    """Downloads images, from where the settings allow.

    Args:
        settings: of which the networks, the hosts and the time limit count.
        breakers: keep from hosts that fail all the time; default: each is asked each time.
    """

    def __init__(self, settings: Settings, breakers: Breakers | None = None) -> None:
        self._client = GuardedClient(
            settings.fetch_networks,
            settings.fetch_timeout,
            hosts=AllowedHosts.from_setting(settings.fetch_hosts, "MODERATOR_FETCH_HOSTS"),
            breakers=breakers,
        )

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return what a URL answers with. `HostUnavailable`, a kind of `FetchFailed`, was not even tried."""
        return self._client.get(reference, max_bytes)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
