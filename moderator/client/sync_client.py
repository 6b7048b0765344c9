"""The client for threads. `AsyncClient` is its twin for an event loop."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from moderator.client.local_files import check_file, reference_file
from moderator.client.over_redis import OverRedis
from moderator.client.retry_policy import RetryBudget
from moderator.client.submissions import (
    DEFAULT_SOURCE,
    EventFields,
    RememberedSources,
    Submitted,
    bulk_body,
    event_body,
    no_verdict,
    require_single,
    with_id,
)
from moderator.client.transports import BEGINNING, Accepted, OnGap, check_cursor, open_spool, open_transport
from moderator.errors import ModeratorError, QueueUnavailable, VerdictTimeout
from moderator.events import Event, parse_message
from moderator.queue.commands import read_body
from moderator.queue.intake import Intake
from moderator.queue.records import Acceptance
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.settings import Settings

T = TypeVar("T")


class Client(OverRedis):
    """A connection to the service: submit events, wait for verdicts, read the stream of them. Thread-safe.

    Use it in a `with` block, or call `close`.

    Args:
        url: of Redis (`redis://`, `rediss://`, `unix://`, `sentinel://`) or of the HTTP gateway (`https://`, `http://`).
            Default: the setting `MODERATOR_REDIS_URL`.
        settings: overrides the environment's settings.
        api_key: for the gateway.
        retry_seconds: for how long a call is tried again while the service cannot be reached or is full, with pauses
            that grow and vary. 0: not at all, beyond a broken connection.

    Raises:
        SettingsError: the URL cannot be read.
    """

    def __init__(
        self,
        url: str | None = None,
        settings: "Settings | None" = None,
        *,
        api_key: str | None = None,
        retry_seconds: float = 0.0,
    ) -> None:
        # Not with the module: an application that imports it should not wait for all settings.
        from moderator.settings import load_settings

        self._settings = settings or load_settings()
        self._transport = open_transport(url or self._settings.redis_url, self._settings, api_key)
        self._retry_seconds = retry_seconds
        self.spool = open_spool(self._settings)
        self.intake = Intake(self._transport, self.spool, self._transport.validate)
        self._sources = RememberedSources()

    def submit(
        self,
        *,
        path: str | Path | None = None,
        url: str | None = None,
        key: str | None = None,
        inline: bytes | None = None,
        id: str | None = None,
        source: str = DEFAULT_SOURCE,
        policy: str | None = None,
        priority: str = "interactive",
        metadata: dict[str, Any] | None = None,
        webhook: str | None = None,
    ) -> Submitted:
        """Submit one image; give exactly one of `path`, `url`, `key`, `inline`.

        Returns the event and where it is kept; pass it to `wait`. Submitting a known id does nothing, so retrying
        after a failure is safe.

        Raises:
            EventInvalid: an argument is invalid, or no worker could judge the event.
            QueueFull: the queue has no room; nothing was accepted. Submit again after its `retry_after` seconds.
            QueueUnavailable: the service cannot be reached, and there is no spool or it did not take the event.
            ApiKeyRefused: over HTTP, the key is not known or may not submit.
        """
        body = event_body(
            path=path,
            url=url,
            key=key,
            inline=inline,
            id=id,
            source=source,
            policy=policy,
            priority=priority,
            metadata=metadata,
            webhook=webhook,
        )
        return Submitted(*self.submit_event(body))

    def submit_event(self, event: dict[str, Any]) -> tuple[Event, Acceptance]:
        """Submit an event as in the contract; return it, and whether its id was known and where it is kept.

        Raises the errors of `submit`; `EventInvalid` also for a bulk event (see `submit_many`).
        """
        return self._accept(require_single(event))[0]

    def submit_many(
        self,
        images: Sequence[dict[str, Any]],
        *,
        id: str | None = None,
        source: str = DEFAULT_SOURCE,
        policy: str | None = None,
        priority: str = "bulk",
        metadata: dict[str, Any] | None = None,
    ) -> list[Submitted]:
        """Submit many image references in one message; each gets its own event (`<id>/<n>`) and verdict.

        Raises the errors of `submit`.
        """
        body = bulk_body(images, id=id, source=source, policy=policy, priority=priority, metadata=metadata)
        return [Submitted(*answer) for answer in self._accept(body)]

    def check(self, *, timeout: float = 60.0, **event: Unpack[EventFields]) -> Verdict:
        """Submit one image and wait for its verdict; arguments as for `submit`, errors as for it and for `wait`.

        Someone is waiting, so the event is not spooled.
        """
        body, events = read_body(event_body(**event))
        self._transport.validate(events)
        self._sources.remember(events)
        return self._waited(events[0], None, timeout, lambda left: self._transport.check(body, events, left))

    def validate(self, event: dict[str, Any]) -> None:
        """Check an event, or a bulk event, as if it were submitted, without sending it.

        Over HTTP, only its form is checked here.

        Raises:
            EventInvalid: it is not an event, or no worker could judge it.
        """
        self._transport.validate(parse_message(event))

    def local_image(self, path: Path) -> dict[str, Any]:
        """Reference a local file: by path if workers may read it (`MODERATOR_FETCH_ROOTS`), else inline.

        Raises:
            ImageNotFound: there is no such file.
            ImageTooLarge: it is larger than `MODERATOR_MAX_BYTES`.
            NotAnImage: it is empty.
        """
        return reference_file(path, self._settings.fetch_roots, self._settings.max_bytes)

    def check_local_image(self, path: Path) -> tuple[Path, bool]:
        """Check a file as `local_image` does, without reading it; return its full path, and whether it goes by path."""
        return check_file(path, self._settings.fetch_roots, self._settings.max_bytes)

    def wait(
        self, event_id: "str | Submitted | Event", *, source: str | None = None, timeout: float = 60.0
    ) -> Verdict:
        """Wait for a verdict.

        Args:
            event_id: the return value of `submit`, or an event's id.
            source: the event's source, if only an id is given. Default: the one with which this client submitted the
                id, else the default of `submit`.
            timeout: seconds.

        Raises:
            VerdictTimeout: none arrived within `timeout` seconds.
            QueueUnavailable: the service does not answer.
        """
        key, _ = self._sources.find(event_id, source)
        return self._waited(event_id, source, timeout, lambda left: self._transport.wait(key, left))

    def verdict(self, event_id: "str | Submitted | Event", *, source: str | None = None) -> Verdict | None:
        """Return the verdict of an event, or None if there is none; arguments as for `wait`.

        Raises:
            QueueUnavailable: the service does not answer.
        """
        key, _ = self._sources.find(event_id, source)
        return self._retried(lambda: self._transport.verdict(key))

    def iter_verdicts(self, after: str = BEGINNING, *, on_gap: OnGap = None) -> Iterator[tuple[str, Verdict]]:
        """Yield all verdicts without end, in order, each with a cursor that names it.

        Whoever keeps the cursor of the last verdict that was handled, and continues after it, under whatever name and
        over Redis or HTTP, gets each verdict once. Keep it in the same transaction as what the verdict caused.

        Args:
            after: a cursor; `BEGINNING`: all that the stream keeps; `NEWEST`: those that are still to come.
            on_gap: called with the error for verdicts that left the stream before they were read; then it goes on with
                the oldest that is kept. None: the error is raised.

        Raises:
            ValueError: `after` is no cursor.
            VerdictsMissed: see `on_gap`; to go on, continue after its `end`.
            QueueUnavailable: the service did not answer for `retry_seconds`.
        """
        last = check_cursor(after)
        budget = RetryBudget(self._retry_seconds)
        while True:
            try:
                for cursor, verdict in self._transport.tail(last, on_gap):
                    last = cursor
                    yield cursor, verdict
                    budget.renew()
            except QueueUnavailable as error:
                time.sleep(budget.pause_after(error))

    def close(self) -> None:
        """Stop the background delivery of spooled events, and close the connections."""
        self.intake.close()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, body: dict[str, Any]) -> Accepted:
        body = with_id(body)
        answers = self._retried(lambda: self.intake.accept(body))
        self._sources.remember(event for event, _ in answers)
        return answers

    def _waited(
        self,
        event_id: "str | Submitted | Event",
        source: str | None,
        timeout: float,
        wait: Callable[[float], Verdict],
    ) -> Verdict:
        """Call `wait` with the seconds that are left."""
        end = time.monotonic() + timeout
        try:
            return self._retried(lambda: wait(max(0.0, end - time.monotonic())))
        except VerdictTimeout as error:
            raise no_verdict(self._sources.find(event_id, source)[1], timeout) from error

    def _retried(self, call: Callable[[], T]) -> T:
        budget = RetryBudget(self._retry_seconds)
        while True:
            try:
                return call()
            except ModeratorError as error:
                time.sleep(budget.pause_after(error))
