"""Images at http and https URLs."""

from moderator.fetching.breaker import Breakers
from moderator.fetching.http import GuardedClient
from moderator.fetching.shared_access import SharedAccess
from moderator.fetching.sources.source import ImageSource
from moderator.fetching.urls import AllowedHosts
from moderator.settings import Settings


class WebSource(ImageSource):
    """Source of images on the web, from the hosts and networks that the settings allow.

    Args:
        settings: provide the networks, the hosts, the timeout, and signatures for private blobs.
        breakers: skip hosts that keep failing; default: every call is made.

    Raises:
        SettingsError: a host or a signature cannot be used.
    """

    def __init__(self, settings: Settings, breakers: Breakers | None = None) -> None:
        self._client = GuardedClient(
            settings.fetch_networks,
            settings.fetch_timeout,
            hosts=AllowedHosts.from_setting(settings.fetch_hosts, "MODERATOR_FETCH_HOSTS"),
            breakers=breakers,
            access=SharedAccess.from_setting(settings.fetch_sas),
        )

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return the body at a URL. On `HostUnavailable`, a kind of `FetchFailed`, the host was not contacted."""
        return self._client.get(reference, max_bytes)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
