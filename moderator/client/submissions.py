"""What a caller hands in and gets back: events as the contract has them, and where each is kept. Pure."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypedDict
from uuid import uuid4

import pybase64

from moderator.errors import EventInvalid, VerdictTimeout
from moderator.events import Event, event_key
from moderator.queue.records import Acceptance

DEFAULT_SOURCE = "moderator"
#: Number of events whose source a client remembers, so that the id alone finds them.
SOURCES_REMEMBERED_MAX = 10_000


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


class EventFields(TypedDict, total=False):
    """The arguments of `Client.submit`, for other methods that take the same."""

    path: str | Path | None
    url: str | None
    key: str | None
    inline: bytes | None
    id: str | None
    source: str
    policy: str | None
    priority: str
    metadata: dict[str, Any] | None
    webhook: str | None


def event_body(
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
) -> dict[str, Any]:
    """Return an event as in the contract. A missing id is generated here, so that a retry names the same event."""
    image: dict[str, Any] = {"path": None if path is None else str(path), "url": url, "key": key}
    if inline is not None:
        image["inline"] = pybase64.b64encode_as_string(inline)
    common = _common(id, source, policy, priority, metadata)
    return {**common, "image": image, "reply": {"webhook": webhook}}


def bulk_body(
    images: Sequence[dict[str, Any]],
    *,
    id: str | None,
    source: str,
    policy: str | None,
    priority: str,
    metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return a bulk event as in the contract."""
    return {**_common(id, source, policy, priority, metadata), "images": list(images)}


def _common(
    id: str | None, source: str, policy: str | None, priority: str, metadata: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": uuid4().hex if id is None else id,
        "source": source,
        "policy": policy,
        "priority": priority,
        "metadata": metadata or {},
    }


def require_single(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an event, or refuse that of a bulk event.

    Raises:
        EventInvalid: it is a bulk event.
    """
    if isinstance(body, dict) and "images" in body:
        raise EventInvalid("images: this is a bulk event; use submit_many")
    return body


def with_id(body: dict[str, Any]) -> dict[str, Any]:
    """Return an event with an id, so that a retry names the same event. A bulk event must have its own."""
    if not isinstance(body, dict) or "id" in body or "images" in body:
        return body
    return {"id": uuid4().hex, **body}


class RememberedSources:
    """The sources with which a client submitted, by id, so that the id alone finds a verdict. Thread-safe, bounded."""

    def __init__(self) -> None:
        # Sources other than the default; the oldest are forgotten first.
        self._sources: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def remember(self, events: Iterable[Event]) -> None:
        """Note the sources of events that were just submitted."""
        with self._lock:
            for event in events:
                if event.source == DEFAULT_SOURCE:
                    self._sources.pop(event.id, None)
                else:
                    self._sources[event.id] = event.source
            while len(self._sources) > SOURCES_REMEMBERED_MAX:
                self._sources.popitem(last=False)

    def find(self, event_id: "str | Submitted | Event", source: str | None) -> tuple[str, str]:
        """Return the key of an event, and its name in messages."""
        if not isinstance(event_id, str):
            return event_id.key, f"event {event_id.id} of source {event_id.source}"
        source = source or self._sources.get(event_id, DEFAULT_SOURCE)
        return event_key(source, event_id), f"event {event_id} of source {source}"


def no_verdict(name: str, timeout: float) -> VerdictTimeout:
    """Return the error for a verdict that did not come in time."""
    return VerdictTimeout(
        f"no verdict for {name} after {timeout:g} s; is a worker running? If it was "
        "submitted with another source, say source=...; `moderator verdicts show` finds it later"
    )
