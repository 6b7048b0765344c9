"""What a client needs of the service, whatever carries it: Redis itself, or the HTTP gateway."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from moderator.errors import VerdictsMissed
from moderator.events import Event
from moderator.queue.records import Acceptance
from moderator.queue.spool_file import Spool
from moderator.queue.stream import LAST_NUMBER, split_id
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.settings import Settings

#: Cursors of the stream that name no verdict: before all that it keeps, and after all that there are now.
BEGINNING, NEWEST = "0", "$"

Accepted = list[tuple[Event, Acceptance]]
OnGap = Callable[[VerdictsMissed], object] | None


class Transport(Protocol):
    """Carries calls of a `Client`. Thread-safe.

    All methods raise `QueueUnavailable` if the service does not answer, or may still answer later.
    """

    def validate(self, events: Sequence[Event]) -> None:
        """Refuse, with `EventInvalid`, events that no worker could judge, as far as this is known here."""
        ...

    def accept(self, body: dict[str, Any]) -> Accepted:
        """Submit an event or a bulk event; see `Ledger.accept`."""
        ...

    def enter(self, body: dict[str, Any], events: list[Event]) -> Accepted:
        """Submit the result of `read_body`; see `accept`."""
        ...

    def check(self, body: dict[str, Any], events: list[Event], timeout: float) -> Verdict:
        """Submit the result of `read_body` for one event, and wait for its verdict; raises `VerdictTimeout`."""
        ...

    def verdict(self, event_key: str) -> Verdict | None:
        """Return the verdict of an event, or None."""
        ...

    def wait(self, event_key: str, timeout: float) -> Verdict:
        """Wait for a verdict; raises `VerdictTimeout`."""
        ...

    def tail(self, after: str, on_gap: OnGap) -> Iterator[tuple[str, Verdict]]:
        """Yield verdicts after a cursor, without end, each with its own cursor: the id of its entry in the stream."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class AsyncTransport(Protocol):
    """A `Transport` for an event loop."""

    def validate(self, events: Sequence[Event]) -> None:
        """See `Transport.validate`."""
        ...

    async def enter(self, body: dict[str, Any], events: list[Event]) -> Accepted:
        """See `Transport.enter`."""
        ...

    async def check(self, body: dict[str, Any], events: list[Event], timeout: float) -> Verdict:
        """See `Transport.check`."""
        ...

    async def verdict(self, event_key: str) -> Verdict | None:
        """See `Transport.verdict`."""
        ...

    async def wait(self, event_key: str, timeout: float) -> Verdict:
        """See `Transport.wait`."""
        ...

    def tail(self, after: str, on_gap: OnGap) -> AsyncGenerator[tuple[str, Verdict], None]:
        """See `Transport.tail`."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def check_cursor(cursor: str) -> str:
    """Return a cursor of the stream.

    Raises:
        ValueError: it is none.
    """
    if cursor != NEWEST and max(split_id(cursor)) > LAST_NUMBER:
        raise ValueError(f"{cursor!r} is no cursor: larger than any id of an entry")
    return cursor


def open_spool(settings: "Settings") -> Spool | None:
    """Return the spool of the settings, or None if there is none."""
    if settings.spool is None:
        return None
    return Spool(settings.spool, settings.spool_events, settings.spool_bytes)


def is_http(url: str) -> bool:
    """Return whether a URL names the HTTP gateway; every other one is a Redis URL."""
    return url.partition("://")[0].lower() in ("http", "https")


# Each transport is loaded when it is used: neither should an application that uses one wait for the other.
def open_transport(url: str, settings: "Settings", api_key: str | None) -> Transport:
    """Return the transport for a URL; connects at the first call.

    Raises:
        SettingsError: the URL cannot be read.
    """
    if is_http(url):
        from moderator.client.http_transport import HttpTransport

        return HttpTransport(url, api_key)
    from moderator.client.redis_transport import RedisTransport

    return RedisTransport(url, settings)


def open_async_transport(url: str, settings: "Settings", api_key: str | None) -> AsyncTransport:
    """Return the transport for a URL and an event loop; see `open_transport`."""
    if is_http(url):
        from moderator.client.http_transport import AsyncHttpTransport

        return AsyncHttpTransport(url, api_key)
    from moderator.client.redis_transport import AsyncRedisTransport

    return AsyncRedisTransport(url, settings)
