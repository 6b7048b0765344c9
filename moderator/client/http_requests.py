"""Calls to the HTTP gateway as data: what to send, and what the answer means. Pure.

`http_transport` and `async_http_transport` send them, from threads or an event loop.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from moderator.client.event_stream import ServerSentEvent
from moderator.client.transports import NEWEST, OnGap
from moderator.errors import (
    ApiKeyRefused,
    EventInvalid,
    ModeratorError,
    NotAGateway,
    QueueFull,
    QueueUnavailable,
    SettingsError,
    VerdictsMissed,
    VerdictUnreadable,
)
from moderator.events import Event, split_key
from moderator.printable import printable
from moderator.queue.bounds import RETRY_AFTER_UNKNOWN_SECONDS
from moderator.queue.records import Acceptance
from moderator.queue.stream import missed, report, split_id
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Most bytes of an answer. A verdict takes a few kB, with the largest metadata a hundred.
ANSWER_BYTES_MAX = 16 << 20
#: Most characters of the gateway's words in a message of ours.
DETAIL_CHARACTERS_MAX = 500
#: The gateway's `type` of the problem that there is no verdict; any other 404 is that of a wrong URL.
NO_VERDICT = "urn:moderator:problem:no-verdict"
#: What a gateway, or a proxy before it, answers while the service is not to be reached.
UNAVAILABLE_STATUSES = frozenset({408, 500, 502, 503, 504})


@dataclass(frozen=True)
class HttpAnswer:
    """An answer with its body; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpCall(Generic[T_co]):
    """One request."""

    method: str
    target: str
    """Path and query, below the address of the gateway."""
    body: bytes | None
    read: Callable[[HttpAnswer], T_co]
    """Converts the answer; may raise the errors named by the function that returns the call, and those of `refusal`."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GatewayAddress:
    """Where a gateway is: scheme and authority, and the path below which it answers."""

    scheme: str
    authority: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> "GatewayAddress":
        """Read a URL.

        Raises:
            SettingsError: it cannot be read, or holds a login, a query or a fragment.
        """
        try:
            parts = urlsplit(url)
            fits = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            fits = False
        if not fits or "@" in parts.netloc or parts.query or parts.fragment:
            raise SettingsError(
                "the gateway's URL is http(s)://HOST[:PORT][/PATH] without login, query or fragment; the key is api_key"
            )
        return cls(parts.scheme.lower(), parts.netloc, parts.path.rstrip("/"))

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read along."""
        host = urlsplit(f"//{self.authority}").hostname
        return self.scheme == "https" or host in ("localhost", "127.0.0.1", "::1")

    def url(self, target: str) -> str:
        """Return the URL of a path of the gateway."""
        return f"{self.scheme}://{self.authority}{self.prefix}{target}"


def submission(body: dict[str, Any], events: list[Event]) -> HttpCall[list[tuple[Event, Acceptance]]]:
    """Submit the result of `read_body`."""

    def read(answer: HttpAnswer) -> list[tuple[Event, Acceptance]]:
        if answer.status not in (200, 202):
            raise refusal(answer)
        found = _object(answer.body)
        each = found["events"] if "images" in body else [found]
        return [(event, Acceptance(one["acceptance"])) for event, one in zip(events, each, strict=True)]

    return HttpCall("POST", "/v1/events", json.dumps(body).encode(), _guarded(read))


def check(body: dict[str, Any], seconds: float) -> HttpCall[Verdict | None]:
    """Submit the result of `read_body` for one event, and wait that long for its verdict; None: it is not there yet."""

    def read(answer: HttpAnswer) -> Verdict | None:
        if answer.status not in (200, 202):
            raise refusal(answer)
        return read_verdict(answer.body) if answer.status == 200 else None

    return HttpCall("POST", f"/v1/events?wait={seconds:.1f}", json.dumps(body).encode(), _guarded(read))


def verdict(event_key: str, wait: float = 0.0) -> HttpCall[Verdict | None]:
    """Look up the verdict of an event (`Event.key`), and wait that long for it; None: it is not there, or no longer."""
    source, id, _ = split_key(event_key)

    def read(answer: HttpAnswer) -> Verdict | None:
        if answer.status == 404 and _problem(answer).get("type") == NO_VERDICT:
            return None
        if answer.status != 200:
            raise refusal(answer)
        return read_verdict(answer.body)

    target = f"/v1/verdicts/{quote(source, safe='')}/{quote(id, safe='')}"
    return HttpCall("GET", f"{target}?wait={wait:.1f}" if wait else target, None, _guarded(read))


def read_verdict(text: bytes | str) -> Verdict:
    """Read a verdict.

    Raises:
        VerdictUnreadable: this version cannot.
    """
    try:
        return Verdict.model_validate_json(text)
    except ValidationError as error:
        raise VerdictUnreadable(
            f"the gateway's verdict is of another version ({str(error).splitlines()[0]}); update this client"
        ) from error


def stream(after: str) -> HttpCall[None]:
    """Stream verdicts after a cursor. A success has no end; `read_item` reads what comes."""

    def read(answer: HttpAnswer) -> None:
        raise refusal(answer)

    headers = {"accept": "text/event-stream"}
    if after != NEWEST:
        headers["last-event-id"] = after
    return HttpCall("GET", "/v1/verdicts/stream", None, read, headers)


def read_item(event: ServerSentEvent, on_gap: OnGap) -> tuple[str, Verdict] | None:
    """Return the entry's id and the verdict of an event of the stream; None, logged, if there is none to read.

    Raises:
        VerdictsMissed: the event reports some, and there is no `on_gap`.
        QueueUnavailable: the event reports that the stream ends.
    """
    match event.kind:
        case "verdict" if event.id is not None:
            try:
                return event.id, read_verdict(event.data)
            except VerdictUnreadable as error:
                log.warning("entry %s of the stream is skipped: %s", printable(event.id), error)
        case "gap":
            report(_read_gap(event.data), on_gap)
        case "unavailable":
            raise QueueUnavailable(f"the gateway's stream ends: {_detail(event.data)}")
    return None


def _read_gap(data: str) -> VerdictsMissed:
    try:
        found = json.loads(data)
        start, end, count = str(found["start"]), str(found["end"]), found["count"]
        split_id(start), split_id(end)  # ours, or a ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _not_a_gateway() from error
    return missed(start, end, count if isinstance(count, int) else None, "they were read here")


def refusal(answer: HttpAnswer) -> ModeratorError:
    """Return the error for an answer that is no success: the class that the same refusal has over Redis."""
    detail = _detail(answer.body)
    text = f"the gateway answered {answer.status}: {detail}"
    match answer.status:
        case 401 | 403:
            return ApiKeyRefused(text)
        case 400 | 413 | 415 | 422:
            return EventInvalid(detail)
        case 429:
            return QueueFull(text, retry_after(answer))
        case status if status in UNAVAILABLE_STATUSES:
            return QueueUnavailable(text)
        case _:
            return NotAGateway(f"{text}; check that the URL is that of a moderator gateway")


def retry_after(answer: HttpAnswer) -> float:
    """Return the seconds until another try, as the problem or `Retry-After` (a number or a date) says; else a few."""
    exact = _problem(answer).get("retry_after")
    if isinstance(exact, int | float) and exact >= 0:
        return float(exact)
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return RETRY_AFTER_UNKNOWN_SECONDS


def _guarded(read: Callable[[HttpAnswer], T]) -> Callable[[HttpAnswer], T]:
    """Convert what no gateway answers into a typed error."""

    def guarded(answer: HttpAnswer) -> T:
        try:
            return read(answer)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _not_a_gateway() from error

    return guarded


def _not_a_gateway() -> NotAGateway:
    return NotAGateway(
        "the answer is not that of a moderator gateway; check the URL, and what is between here and there"
    )


def _object(text: bytes | str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _problem(answer: HttpAnswer) -> dict[str, Any]:
    """Return the problem (RFC 9457) of an answer; empty if it has none."""
    try:
        return _object(answer.body)
    except (ValueError, RecursionError):
        return {}


def _detail(text: bytes | str) -> str:
    """Return what a problem says, printable and bounded."""
    try:
        found = _object(text)
        said = str(found.get("detail") or found.get("title") or "")
    except (ValueError, RecursionError):
        said = ""
    return printable((said or "no reason given")[:DETAIL_CHARACTERS_MAX])
