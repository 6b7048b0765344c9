"""What a delivery looks like on the wire: a plain verdict, or a CloudEvent in structured mode. Pure."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import quote

from pydantic_core import from_json

from moderator.events import split_key

VerdictFormat = Literal["plain", "cloudevents"]

#: Types of messages: the first verdict of an event, and one that revises an earlier one.
VERDICT_CREATED, VERDICT_REVISED = "verdict.created", "verdict.revised"
CONTENT_TYPES: dict[VerdictFormat, str] = {
    "plain": "application/json",
    "cloudevents": "application/cloudevents+json; charset=utf-8",
}


@dataclass(frozen=True)
class Message:
    """A message to a receiver: its id, the same at each attempt, its type, and what is sent."""

    id: str
    type: str
    body: bytes
    content_type: str


def message_id(delivery: str) -> str:
    """Return the id of the messages for a delivery, by its key: another for a later verdict about the same event."""
    return "msg_" + sha256(delivery.encode()).hexdigest()[:32]


def compose(delivery: str, verdict: bytes, chosen: VerdictFormat) -> Message:
    """Return the message for a verdict.

    A CloudEvent holds the verdict's JSON unchanged in `data`, so that its digest is that of the plain verdict.

    Args:
        delivery: key of the delivery.
        verdict: as JSON.
        chosen: the format.
    """
    fields = _fields(verdict)
    id, kind = message_id(delivery), VERDICT_REVISED if fields.get("revises") else VERDICT_CREATED
    body = verdict
    if chosen == "cloudevents":
        source, event, _ = split_key(delivery.rpartition("#")[0])
        attributes = {
            "specversion": "1.0",
            "id": id,
            "source": quote(source, safe=""),  # a URI reference
            "type": kind,
            "subject": event,
            "datacontenttype": "application/json",
        }
        if isinstance(time := fields.get("created_at"), str):
            attributes["time"] = time
        body = json.dumps(attributes)[:-1].encode() + b', "data": ' + verdict + b"}"
    return Message(id, kind, body, CONTENT_TYPES[chosen])


def _fields(verdict: bytes) -> dict[str, Any]:
    try:
        value = from_json(verdict)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
