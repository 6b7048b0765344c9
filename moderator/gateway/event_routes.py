"""`POST /v1/events`: events, bulk events and CloudEvents."""

from fastapi import APIRouter, Request, Response

from moderator.errors import QueueFull
from moderator.gateway.cloudevents import read_events
from moderator.gateway.openapi import EVENT_BODY, SUBMITTED
from moderator.gateway.problems import RequestRefused, refusal_of
from moderator.gateway.responses import accepted_each, accepted_or_verdict
from moderator.gateway.service import Service
from moderator.gateway.submit_route import SubmitRoute, Wait

router = APIRouter(tags=["events"], route_class=SubmitRoute)


@router.post(
    "/v1/events",
    status_code=202,
    responses=SUBMITTED,
    openapi_extra=EVENT_BODY,
)
async def submit_event(request: Request, wait: Wait = None) -> Response:
    """Submit an event, a bulk event, or CloudEvents (structured, binary, batched).

    Idempotent: an event of a known source and id is accepted once, however often it is sent. Give an `id`, so that
    you can send it again after a failure.
    """
    bodies, is_batch = read_events(request.headers, await request.body())
    service: Service = request.app.state.service
    single = not is_batch and not (isinstance(bodies[0], dict) and "images" in bodies[0])
    if wait is not None and not single:
        raise RequestRefused(
            422, "wait-for-many", "wait: waits for one event; read the verdicts of many from the stream"
        )
    if not is_batch:
        answers = await service.submit(bodies[0])
        return (
            await accepted_or_verdict(request, answers, wait) if single else accepted_each(request, answers)
        )
    found = await service.submit_each(bodies)
    if error := next((answer for answer in found if isinstance(answer, Exception)), None):
        raise _unfinished(error, sum(isinstance(answer, list) for answer in found), len(found))
    return accepted_each(request, [one for answers in found if isinstance(answers, list) for one in answers])


def _unfinished(error: Exception, done: int, total: int) -> RequestRefused:
    """Return the refusal for a batch of which some events were not accepted."""
    refusal = refusal_of(error)
    if isinstance(error, QueueFull) or refusal.status == 503:
        refusal.detail += (
            f"; {done} of the batch's {total} events are accepted: send the batch again, known events are "
            "accepted once"
        )
    return refusal
