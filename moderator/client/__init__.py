"""The Python client: submit events, wait for verdicts, read the stream. Needs Redis, no Celery, no model.

from moderator.client import Client

client = Client("redis://localhost:6379/0")
event = client.submit(path="/srv/uploads/cat.jpg", policy="marketplace")
verdict = client.wait(event)

If Redis may be unavailable at times (a restart), set `MODERATOR_SPOOL` to a folder: events are kept there and
delivered later, in order. `event.acceptance` shows where an event is.
"""

import base64
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from moderator.errors import (
    EventInvalid,
    ImageNotFound,
    ImageTooLarge,
    NotAnImage,
    VerdictsMissed,
    VerdictTimeout,
)
from moderator.events import Event, event_key, parse_message
from moderator.queue.bounds import QueueBounds
from moderator.queue.connection import SentinelLogin, connect
from moderator.queue.consumer import TAKE_OVER_AFTER_SECONDS, Consumer
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.deadline import within
from moderator.queue.executors import RedisExecutor
from moderator.queue.failures import failing_as, not_answered
from moderator.queue.intake import Intake
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.spool_file import Spool
from moderator.queue.verdict_store import VerdictStore
from moderator.submission import check_submission
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.settings import Settings

DEFAULT_SOURCE = "moderator"
#: Number of events whose source a client remembers, so that the id alone finds them.
SOURCES_REMEMBERED_MAX = 10_000
#: Seconds after a wait has timed out in which Redis may still answer.
ANSWER_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Submitted:
    """An accepted event, and where it is: in the service, or (`Acceptance.SPOOLED`) on this machine's disk."""

    event: Event
    acceptance: Acceptance

    @property
    def id(self) -> str:
        """The event's id; id and source identify the verdict."""
        return self.event.id

    @property
    def source(self) -> str:
        """The event's source."""
        return self.event.source

    @property
    def key(self) -> str:
        """The event's name in Redis."""
        return self.event.key


class Client:
    """A connection to the service's Redis. Thread-safe.

    Args:
        redis_url: overrides the setting `MODERATOR_REDIS_URL`.
        settings: overrides the environment's settings.
    """

    def __init__(self, redis_url: str | None = None, settings: "Settings | None" = None) -> None:
        # Not with the module: an application that imports it should not wait for all settings.
        from moderator.settings import load_settings

        self._settings = settings or load_settings()
        self.redis = connect(
            redis_url or self._settings.redis_url, sentinels=SentinelLogin.of(self._settings)
        )
        bounds = QueueBounds(self._settings.queue_limit, self._settings.queue_bytes)
        executor = RedisExecutor(self.redis)
        self.ledger = Ledger(executor, self._settings.redeliver_after, bounds)
        self.spool: Spool | None = None
        if self._settings.spool is not None:
            self.spool = Spool(self._settings.spool, self._settings.spool_events, self._settings.spool_bytes)
        self._check = partial(check_submission, max_bytes=self._settings.max_bytes)
        self.intake = Intake(self.ledger, self.spool, self._check)
        # Sources other than the default, by id; the oldest are forgotten first.
        self._sources: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()
        self.verdicts = VerdictStore(executor)
        self.dead_letters = DeadLetters(executor, self.ledger)

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

        Returns the event and where it is kept; ask for the verdict by its `id` (and `source`). Submitting a known id
        does nothing, so retrying after a failure is safe.

        Raises:
            EventInvalid: an argument is invalid, or no worker could judge the event.
            QueueFull: the queue has no room; nothing was accepted. Submit again after its `retry_after` seconds.
            QueueUnavailable: Redis cannot be reached, and there is no spool or it did not take the event;
                nothing was accepted.
        """
        image: dict[str, Any] = {"path": None if path is None else str(path), "url": url, "key": key}
        if inline is not None:
            image["inline"] = base64.b64encode(inline).decode()
        event, acceptance = self.submit_event(
            {
                "id": uuid4().hex if id is None else id,
                "source": source,
                "policy": policy,
                "image": image,
                "priority": priority,
                "metadata": metadata or {},
                "reply": {"webhook": webhook},
            }
        )
        return Submitted(event, acceptance)

    def submit_event(self, event: dict[str, Any]) -> tuple[Event, Acceptance]:
        """Submit an event as in the contract; return it, and whether its id was known and where it is kept.

        Raises:
            EventInvalid: it is not an event, no worker could judge it, or it is a bulk event (see `submit_many`).
            QueueFull: the queue has no room; nothing was accepted. Submit again after its `retry_after` seconds.
            QueueUnavailable: Redis cannot be reached, and there is no spool or it did not take the event;
                nothing was accepted.
        """
        if "images" in event:
            raise EventInvalid("images: this is a bulk event; use submit_many")
        return self._accept(event)[0]

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

        Raises:
            EventInvalid: an argument is invalid, or no worker could judge an event.
            QueueFull: the queue has no room; nothing was accepted. Submit again after its `retry_after` seconds.
            QueueUnavailable: Redis cannot be reached, and there is no spool or it did not take the event;
                nothing was accepted.
        """
        body = {
            "id": uuid4().hex if id is None else id,
            "source": source,
            "policy": policy,
            "images": list(images),
            "priority": priority,
            "metadata": metadata or {},
        }
        return [Submitted(*answer) for answer in self._accept(body)]

    def check(self, event: dict[str, Any]) -> None:
        """Check an event, or a bulk event, as if it were submitted, without sending it.

        Raises:
            EventInvalid: it is not an event, or no worker could judge it.
        """
        self._check(parse_message(event))

    def local_image(self, path: Path) -> dict[str, Any]:
        """Reference a local file: by path if workers may read it (`MODERATOR_FETCH_ROOTS`), else inline.

        Raises:
            ImageNotFound: there is no such file.
            ImageTooLarge: it is larger than `MODERATOR_MAX_BYTES`.
            NotAnImage: it is empty.
        """
        full, by_path = self.check_local_image(path)
        return {"path": str(full)} if by_path else {"inline": base64.b64encode(full.read_bytes()).decode()}

    def check_local_image(self, path: Path) -> tuple[Path, bool]:
        """Check a file as `local_image` does, without reading it; return its full path, and whether it goes by path."""
        full = path.resolve()
        if not full.is_file():
            raise ImageNotFound(f"{path}: no such file")
        size = full.stat().st_size
        if not size:
            raise NotAnImage(f"{path}: the file is empty")
        by_path = any(full.is_relative_to(root.resolve()) for root in self._settings.fetch_roots)
        if not by_path and size > self._settings.max_bytes:
            raise ImageTooLarge(
                f"{path}: {size} bytes, more than MODERATOR_MAX_BYTES={self._settings.max_bytes}"
            )
        return full, by_path

    def wait(
        self, event_id: "str | Submitted | Event", *, source: str | None = None, timeout: float = 60.0
    ) -> Verdict:
        """Wait for a verdict.

        Args:
            event_id: an event's id, or the return value of `submit`.
            source: the event's source, if only an id is given. Default: the one with which this client submitted the
                id, else the default of `submit`.
            timeout: seconds.

        Raises:
            VerdictTimeout: none arrived within `timeout` seconds.
            QueueUnavailable: Redis does not answer.
        """
        key, name = self._find(event_id, source)
        with failing_as(not_answered), within(timeout + ANSWER_GRACE_SECONDS):
            try:
                return self.verdicts.wait(key, timeout)
            except VerdictTimeout as error:
                raise VerdictTimeout(
                    f"no verdict for {name} after {timeout:g} s; is a worker running on this Redis? If it was "
                    "submitted with another source, say source=...; `moderator verdicts show` finds it later"
                ) from error

    def verdict(self, event_id: "str | Submitted | Event", *, source: str | None = None) -> Verdict | None:
        """Return the verdict of an event, or None if there is none; arguments as for `wait`.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with failing_as(not_answered):
            return self.verdicts.get(self._find(event_id, source)[0])

    def _accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        answers = self.intake.accept(body)
        with self._lock:
            for event, _ in answers:
                if event.source == DEFAULT_SOURCE:
                    self._sources.pop(event.id, None)
                else:
                    self._sources[event.id] = event.source
            while len(self._sources) > SOURCES_REMEMBERED_MAX:
                self._sources.popitem(last=False)
        return answers

    def _find(self, event_id: "str | Submitted | Event", source: str | None) -> tuple[str, str]:
        """Return the key of an event, and its name in messages."""
        if not isinstance(event_id, str):
            return event_id.key, f"event {event_id.id} of source {event_id.source}"
        source = source or self._sources.get(event_id, DEFAULT_SOURCE)
        return event_key(source, event_id), f"event {event_id} of source {source}"

    def consume(
        self,
        group: str,
        consumer: str,
        *,
        idle: float = TAKE_OVER_AFTER_SECONDS,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
    ) -> Iterator[Verdict]:
        """Yield verdicts as one of a group of consumers: each goes to one, at least once; see `Consumer.verdicts`."""
        return Consumer(self.redis, group, consumer, idle, on_gap).verdicts()

    def close(self) -> None:
        """Stop the background delivery of spooled events, and close the connections."""
        self.intake.close()
        self.redis.close()
