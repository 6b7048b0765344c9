"""CloudEvents 1.0 over HTTP, as far as stores send them: binary, structured and batched. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moderator.errors import EventInvalid
from moderator.gateway.hooks.hook_body import as_object, as_reports, at, read_json, text_at


@dataclass(frozen=True)
class CloudEvent:
    """One event: the attributes that matter for stores, and its data."""

    type: str
    source: str
    subject: str
    data: Any


def is_cloud_event(headers: Mapping[str, str]) -> bool:
    """Return whether a request carries CloudEvents; the names of headers are in lower case."""
    kind = headers.get("content-type", "").strip().lower()
    return "ce-specversion" in headers or kind.startswith("application/cloudevents")


def read_cloud_events(headers: Mapping[str, str], body: bytes) -> list[CloudEvent]:
    """Return the events of a request.

    Raises:
        EventInvalid: it carries none, or one of another version.
    """
    value = read_json(body)
    if "ce-specversion" in headers:
        attributes: dict[str, Any] = {
            name: headers.get(f"ce-{name}") for name in ("specversion", "type", "source", "subject")
        }
        return [_read({**attributes, "data": value})]
    if isinstance(value, list):
        return [_read(as_object(entry, "an event")) for entry in as_reports(value, "the batch")]
    return [_read(as_object(value, "the event"))]


def _read(event: dict[str, Any]) -> CloudEvent:
    if at(event, "specversion") != "1.0":
        raise EventInvalid(f"specversion is {ascii(at(event, 'specversion'))[:60]}; 1.0 is read")
    subject = at(event, "subject")
    return CloudEvent(
        text_at(event, "type"),
        text_at(event, "source"),
        subject if isinstance(subject, str) else "",
        at(event, "data"),
    )
