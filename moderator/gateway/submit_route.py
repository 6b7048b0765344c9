"""The routes of most requests: the key is checked and the endpoint called, without FastAPI's resolving of parameters.

That takes longer than all that the gateway does itself. OpenAPI describes these routes as any others.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field, TypeAdapter, ValidationError

from moderator.gateway.auth import Scope, require

#: Most seconds that a request may ask to wait.
WAIT_SECONDS_MAX = 3600

Wait = Annotated[
    float | None,
    Query(
        ge=0,
        le=WAIT_SECONDS_MAX,
        allow_inf_nan=False,
        description="Seconds to wait for the verdict, which is then the answer (200); MODERATOR_GATEWAY_WAIT bounds "
        "it. If it does not come in time, the answer is that without `wait` (202).",
    ),
]
_WAIT_SECONDS = TypeAdapter(Annotated[float, Field(ge=0, le=WAIT_SECONDS_MAX, allow_inf_nan=False)])
_admit = require(Scope.SUBMIT)


class SubmitRoute(APIRoute):
    """A route whose endpoint takes the request and the seconds to wait, for keys with the scope `submit`."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return the handler of requests."""
        endpoint: Callable[..., Any] = self.endpoint

        async def handle(request: Request) -> Response:
            await _admit(request)
            response: Response = await endpoint(request, _read_wait(request))
            return response

        return handle


def _read_wait(request: Request) -> float | None:
    if not request.scope["query_string"] or (text := request.query_params.get("wait")) is None:
        return None
    try:
        return _WAIT_SECONDS.validate_python(text)
    except ValidationError as error:
        found = [{**one, "loc": ("query", "wait")} for one in error.errors(include_url=False)]
        raise RequestValidationError(found) from error
