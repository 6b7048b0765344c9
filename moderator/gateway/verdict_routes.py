"""`GET /v1/verdicts...`: one verdict, lists of them, and the stream."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from moderator.events import MAX_ID, event_key
from moderator.gateway.auth import Scope, require
from moderator.gateway.openapi import LISTED, LOOKED_UP, STREAMED, VERDICT_PATH
from moderator.gateway.problems import RETRY_SOON_SECONDS, RequestRefused
from moderator.gateway.responses import verdict_response
from moderator.gateway.service import Service
from moderator.gateway.stream_answers import stream_verdicts
from moderator.gateway.submit_route import Wait
from moderator.gateway.verdict_listing import ListFilter, list_verdicts
from moderator.queue.stream import split_id
from moderator.verdicts import Decision

router = APIRouter(tags=["verdicts"], dependencies=[Depends(require(Scope.READ))])

#: Verdicts in a page of a list: by default, and at most.
PAGE_ITEMS, PAGE_ITEMS_MAX = 50, 200
PREFIX = "/v1/verdicts"

Text = Annotated[str | None, Query(min_length=1, max_length=MAX_ID)]
Moment = Annotated[datetime | None, Query(description="RFC 3339; UTC where it names no time zone.")]


@router.get(f"{PREFIX}/stream", responses=STREAMED, response_class=StreamingResponse)
async def stream(
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(
            pattern=r"^[0-9]{1,20}(-[0-9]{1,20})?$",
            description="Id of the last event that you have; `0`: all verdicts that are kept. Without it: new ones.",
        ),
    ] = None,
) -> Response:
    """Stream verdicts as server-sent events, at least once each.

    Resume with `Last-Event-ID`, as browsers do by themselves. Verdicts that left the stream before you read them are
    reported as an event `gap`. If Redis does not answer, an event `unavailable` ends the stream: connect again.
    """
    service: Service = request.app.state.service
    if last_event_id is not None and max(split_id(last_event_id)) >= 1 << 64:
        raise RequestRefused(422, "parameters-invalid", "last-event-id: is larger than any id of an event")
    if service.streams >= service.settings.gateway_streams:
        detail = f"{service.streams} streams are open, no more are allowed (MODERATOR_GATEWAY_STREAMS)"
        raise RequestRefused(503, "streams-full", detail, retry_after=RETRY_SOON_SECONDS)
    await service.ready()
    return StreamingResponse(stream_verdicts(service, last_event_id), media_type="text/event-stream")


@router.get(PREFIX, responses=LISTED)
async def list_(
    request: Request,
    decision: Decision | None = None,
    policy: Text = None,
    source: Text = None,
    category: Annotated[
        str | None, Query(min_length=1, max_length=MAX_ID, description="One that reached review or block.")
    ] = None,
    subject: Annotated[
        str | None, Query(min_length=1, max_length=MAX_ID, description="`metadata.subject` of the event.")
    ] = None,
    since: Moment = None,
    until: Moment = None,
    cursor: Annotated[
        str | None, Query(min_length=1, max_length=MAX_ID, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ITEMS_MAX)] = PAGE_ITEMS,
) -> Response:
    """List verdicts, newest first: from the archive if there is one (MODERATOR_ARCHIVE_URL), else from the stream.

    The stream keeps about MODERATOR_STREAM_LENGTH verdicts. A page may have fewer items than `limit`, even none:
    `next` is null on the last one.
    """
    filters = ListFilter(decision, policy, source, category, subject, _aware(since), _aware(until))
    page = await list_verdicts(request.app.state.service, filters, cursor, limit)
    return JSONResponse({"items": page.items, "next": page.next})


# Both parts may hold slashes, so they are read from the path as it was sent: a source's are `%2F`.
@router.get(f"{PREFIX}/{{source:path}}/{{id:path}}", responses=LOOKED_UP, openapi_extra=VERDICT_PATH)
async def verdict(request: Request, wait: Wait = None) -> Response:
    """Look up the verdict of an event; 404 while there is none, or no longer (MODERATOR_VERDICT_TTL)."""
    key = event_key(*_names(request))
    service: Service = request.app.state.service
    found = await service.verdict(key)
    if found is None and wait:
        found = await service.wait(key, min(wait, service.settings.gateway_wait))
    if found is None:
        detail = "there is no verdict for this event: not yet, no longer, or the event is unknown"
        raise RequestRefused(404, "no-verdict", detail)
    return verdict_response(found)


def _names(request: Request) -> tuple[str, str]:
    raw = bytes(request.scope["raw_path"]).partition(b"?")[0]
    _, _, rest = raw.partition(f"{PREFIX}/".encode())
    first, _, second = rest.partition(b"/")
    try:
        source, id = (unquote_to_bytes(part).decode() for part in (first, second))
    except UnicodeDecodeError as error:
        raise RequestRefused(422, "parameters-invalid", "source, id: are UTF-8, percent-encoded") from error
    if not (0 < len(source) <= MAX_ID and 0 < len(id) <= MAX_ID):
        raise RequestRefused(422, "parameters-invalid", f"source, id: have 1 to {MAX_ID} characters each")
    return source, id


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
