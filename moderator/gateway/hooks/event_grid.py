"""New blobs in Azure Storage, as Event Grid posts them: in its own schema and in CloudEvents. Pure.

Formats: Azure Event Grid, "Azure Blob Storage as an Event Grid source" and "Endpoint validation". A worker gets a blob
by its URL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from moderator.errors import EventInvalid
from moderator.gateway.hooks.hook_body import as_object, as_reports, at, number_at, read_json, text_at
from moderator.gateway.hooks.hook_cloudevents import is_cloud_event, read_cloud_events
from moderator.gateway.hooks.stored_object import IGNORED, Notice, StoredObject

#: Most characters of the code that proves who owns an endpoint, and of a sequencer.
CODE_CHARACTERS_MAX, SEQUENCER_CHARACTERS_MAX = 512, 256

_CREATED = "Microsoft.Storage.BlobCreated"
_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_ORIGIN = re.compile(r"(?:[a-z0-9-]{1,63}\.){0,4}eventgrid\.azure\.(?:net|us|cn)")


@dataclass(frozen=True)
class Validation:
    """The answer by which an endpoint agrees to get events."""

    answer: dict[str, str]


def allow_origin(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that answer an OPTIONS request: the handshake of web hooks for CloudEvents.

    Raises:
        EventInvalid: Event Grid does not ask.
    """
    origin = headers.get("webhook-request-origin", "").strip().lower()
    if not _ORIGIN.fullmatch(origin):
        raise EventInvalid("WebHook-Request-Origin is not Azure Event Grid")
    return {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}


def read_event_grid(headers: Mapping[str, str], body: bytes) -> Notice | Validation:
    """Return the new blobs of a request, or the answer to its handshake; the names of headers are in lower case.

    Raises:
        EventInvalid: it holds no events of Event Grid.
    """
    if is_cloud_event(headers):
        events = [(event.type, event.data) for event in read_cloud_events(headers, body)]
    else:
        reports = as_reports(read_json(body), "the body")
        events = [(text_at(report, "eventType"), at(report, "data")) for report in reports]
    for kind, data in events:
        if kind == _VALIDATION:
            return Validation({"validationResponse": _validation_code(data)})
    return sum((_read(kind, data, n) for n, (kind, data) in enumerate(events)), Notice())


def _validation_code(data: Any) -> str:
    code = text_at(data, "validationCode")
    if len(code) > CODE_CHARACTERS_MAX or not code.isascii() or not code.isprintable():
        raise EventInvalid("data.validationCode is no code of Event Grid")
    return code


def _read(kind: str, data: Any, number: int) -> Notice:
    if kind != _CREATED:
        return IGNORED
    try:
        return _read_blob(as_object(data, "data"))
    except EventInvalid as error:
        return Notice(refused=(f"{number}: {error}",))


def _read_blob(data: dict[str, Any]) -> Notice:
    size = number_at(data, "contentLength")
    if size == 0:
        return IGNORED  # made to be written to; another event follows
    url = text_at(data, "url")
    try:
        parts = urlsplit(url)
        container, _, key = unquote(parts.path.lstrip("/"), errors="strict").partition("/")
    except ValueError as error:
        raise EventInvalid("data.url is no URL") from error
    if parts.scheme not in ("http", "https") or not parts.netloc or not container or not key:
        raise EventInvalid("data.url names no blob")
    order = at(data, "sequencer")
    if not isinstance(order, str) or not 0 < len(order) <= SEQUENCER_CHARACTERS_MAX:
        order = None
    etag = at(data, "eTag") if isinstance(at(data, "eTag"), str) else None
    stored = StoredObject(
        source="azure",
        bucket=f"{parts.netloc}/{container}",
        key=key,
        write=order or etag or "",
        # Names may come as they are, with blanks; what is encoded already stays.
        image={
            "url": f"{parts.scheme}://{parts.netloc}{quote(parts.path, safe='/%:@!$&()*+,;=~-._' + chr(39))}"
        },
        order=order,
        facts={
            "sequencer": order,
            "size": size,
            "etag": etag,
            "type": at(data, "contentType") if isinstance(at(data, "contentType"), str) else None,
        },
    )
    return Notice((stored,))
