"""The Python client: submit events, wait for verdicts, read the stream. Needs Redis, no Celery, no model.

from moderator.client import Client

client = Client("redis://localhost:6379/0")
event = client.submit(path="/srv/uploads/cat.jpg", policy="marketplace")
verdict = client.wait(event.id)

Where the service can be away (a restart of Redis), `MODERATOR_SPOOL` names a folder: events are kept there and
delivered later, in order. `event.acceptance` says where an event is.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from moderator.errors import EventInvalid, ImageNotFound, ImageTooLarge, VerdictsMissed
from moderator.events import Event, event_key
from moderator.queue.bounds import QueueBounds
from moderator.queue.connection import connect
from moderator.queue.consumer import TAKE_OVER_AFTER
from moderator.queue.dead_letters import DeadLetters
from moderator.queue.intake import Intake
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.spool import Spool
from moderator.queue.verdict_store import VerdictStore
from moderator.queue.webhooks import WebhookOutbox
from moderator.settings import Settings, load_settings
from moderator.verdicts import Verdict

DEFAULT_SOURCE = "moderator"


@dataclass(frozen=True)
class Submitted:
    """An event that is kept, and where: in the service, or (`Acceptance.SPOOLED`) on this machine's disk."""

    event: Event
    acceptance: Acceptance

    @property
    def id(self) -> str:
        """The event's id: with it, and with its source, the verdict is found."""
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

    def __init__(self, redis_url: str | None = None, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        self.redis = connect(redis_url or self._settings.redis_url)
        bounds = QueueBounds(self._settings.queue_limit, self._settings.queue_bytes)
        self.ledger = Ledger(self.redis, self._settings.redeliver_after, bounds)
        self.spool: Spool | None = None
        if self._settings.spool is not None:
            self.spool = Spool(self._settings.spool, self._settings.spool_events, self._settings.spool_bytes)
        self.intake = Intake(self.ledger, self.spool)
        self.verdicts = VerdictStore(self.redis)
        self.dead_letters = DeadLetters(self.redis, self.ledger, WebhookOutbox(self.redis))

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

        Returns the event and where it is kept: its `id` (and `source`) asks for the verdict. Submitting an id
        again does nothing, so after a failure it is safe to submit once more.

        Raises:
            EventInvalid: an argument does not fit.
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
        """Submit an event as in the contract; tells whether its id was known, and where it is kept.

        Raises:
            EventInvalid: it is no event, or a bulk event (see `submit_many`).
            QueueFull: the queue has no room; nothing was accepted. Submit again after its `retry_after` seconds.
            QueueUnavailable: Redis cannot be reached, and there is no spool or it did not take the event;
                nothing was accepted.
        """
        if "images" in event:
            raise EventInvalid("images: this is a bulk event; use submit_many")
        return self.intake.accept(event)[0]

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
        """Submit many image references in one message; each gets an event (`<id>/<n>`) and a verdict of its own.

        Raises:
            EventInvalid: an argument does not fit.
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
        return [Submitted(*answer) for answer in self.intake.accept(body)]

    def local_image(self, path: Path) -> dict[str, Any]:
        """Reference a local file: by path where workers may read it (`MODERATOR_FETCH_ROOTS`), else inline.

        Raises:
            ImageNotFound: there is no such file.
            ImageTooLarge: it is larger than `MODERATOR_MAX_BYTES`.
        """
        full = path.resolve()
        if not full.is_file():
            raise ImageNotFound(f"{path}: no such file")
        if any(full.is_relative_to(root.resolve()) for root in self._settings.fetch_roots):
            return {"path": str(full)}
        if (size := full.stat().st_size) > self._settings.max_bytes:
            raise ImageTooLarge(
                f"{path}: {size} bytes, more than MODERATOR_MAX_BYTES={self._settings.max_bytes}"
            )
        return {"inline": base64.b64encode(full.read_bytes()).decode()}

    def wait(self, event_id: str, *, source: str = DEFAULT_SOURCE, timeout: float = 60.0) -> Verdict:
        """Wait for a verdict.

        Raises:
            VerdictTimeout: none arrived within `timeout` seconds.
        """
        return self.verdicts.wait(event_key(source, event_id), timeout)

    def verdict(self, event_id: str, *, source: str = DEFAULT_SOURCE) -> Verdict | None:
        """The verdict of an event, or None if there is none."""
        return self.verdicts.get(event_key(source, event_id))

    def consume(
        self,
        group: str,
        consumer: str,
        *,
        idle: float = TAKE_OVER_AFTER,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
    ) -> Iterator[Verdict]:
        """Verdicts as one of a group of consumers; see `VerdictStore.consume`."""
        return self.verdicts.consume(group, consumer, idle=idle, on_gap=on_gap)

    def close(self) -> None:
        """End the delivery of spooled events in the background, and the connections."""
        self.intake.close()
        self.redis.close()
