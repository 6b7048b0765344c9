"""Answers of the gateway: an accepted event with its link, or its verdict."""

from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from moderator.errors import QueueUnavailable
from moderator.events import MAX_ID, Event
from moderator.gateway.service import Accepted, Service
from moderator.queue.records import Acceptance
from moderator.verdicts import Verdict


class EventLinks(BaseModel):
    """Paths of what belongs to an event."""

    verdict: str


class AcceptedEvent(BaseModel):
    """An event that the service has, and where its verdict will be."""

    id: str = Field(max_length=MAX_ID)
    source: str = Field(max_length=MAX_ID)
    acceptance: Acceptance = Field(
        description="`accepted`: new. `pending`: known, without a verdict yet. `answered`: known, with its verdict."
    )
    links: EventLinks


class AcceptedEvents(BaseModel):
    """The events of a bulk event or of a batch, in order."""

    events: list[AcceptedEvent]


def verdict_path(request: Request, event: Event) -> str:
    """Return the path of an event's verdict."""
    root = request.scope.get("root_path", "")
    return f"{root}/v1/verdicts/{quote(event.source, safe='')}/{quote(event.id, safe='')}"


def describe_accepted(request: Request, event: Event, acceptance: Acceptance) -> dict[str, Any]:
    """Return the body for an accepted event."""
    links = {"verdict": verdict_path(request, event)}
    return {"id": event.id, "source": event.source, "acceptance": acceptance.value, "links": links}


def accepted_each(request: Request, answers: Accepted) -> Response:
    """Return the answer for the events of a bulk event or a batch."""
    return _json_response({"events": [describe_accepted(request, *answer) for answer in answers]})


async def accepted_or_verdict(request: Request, answers: Accepted, wait: float | None) -> Response:
    """Return the answer for one event: its verdict if it comes within the seconds to `wait`."""
    [(event, acceptance)] = answers
    service: Service = request.app.state.service
    if wait is not None:
        try:
            verdict = await service.wait(event.key, min(wait, service.settings.gateway_wait))
        except QueueUnavailable:  # the event is in the queue all the same
            verdict = None
        if verdict is not None:
            return verdict_response(verdict)
    body = describe_accepted(request, event, acceptance)
    return _json_response(body, {"Location": body["links"]["verdict"]})


def _json_response(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(body), 202, headers, media_type="application/json")


def verdict_response(verdict: Verdict) -> Response:
    """Return the answer with a verdict."""
    return Response(verdict.model_dump_json(), media_type="application/json")
