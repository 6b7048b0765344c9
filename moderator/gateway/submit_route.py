"""The routes of most requests: the key is checked and the endpoint called, without FastAPI's layers around it.

These take longer than all that the gateway does itself. OpenAPI describes these routes as any others.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, APIRouter
from pydantic import Field, TypeAdapter, ValidationError
from starlette import types

from moderator.gateway.auth import Scope, require
from moderator.gateway.problems import problem_response

#: Most seconds that a request may ask to wait.
WAIT_SECONDS_MAX = 3600

Wait = Annotated[
    float | None,
    Query(
        ge=0,
        le=WAIT_SECONDS_MAX,
        allow_inf_nan=False,
        description="Seconds to wait for the verdict, which is then the answer (200); MODERATOR_GATEWAY_WAIT bounds "
        "it. If it does not come in time, the answer is that without `wait`.",
    ),
]
_WAIT_SECONDS = TypeAdapter(Annotated[float, Field(ge=0, le=WAIT_SECONDS_MAX, allow_inf_nan=False)])
_admit: Callable[[Request], Any] = require(Scope.SUBMIT)


class SubmitRoute(APIRoute):
    """A route whose endpoint takes the request and the seconds to wait, for keys with the scope `submit`."""

    async def handle(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Answer a request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request, endpoint = Request(scope, receive), self.endpoint
        try:
            await _admit(request)
            response: Response = await endpoint(request, _read_wait(request))
        except Exception as error:  # of any kind: `problem_response` logs those that nobody foresaw
            response = problem_response(request, error)
        await response(scope, receive, send)


def submit_routes(routers: Iterable[APIRouter]) -> dict[str, SubmitRoute]:
    """Return the submit routes of routers by their paths, for `GatewayMiddleware`, which calls them itself."""
    routes = (route for router in routers for route in router.routes)
    return {route.path: route for route in routes if isinstance(route, SubmitRoute)}


def _read_wait(request: Request) -> float | None:
    if not request.scope["query_string"] or (text := request.query_params.get("wait")) is None:
        return None
    try:
        return _WAIT_SECONDS.validate_python(text)
    except ValidationError as error:
        found = [{**one, "loc": ("query", "wait")} for one in error.errors(include_url=False)]
        raise RequestValidationError(found) from error
