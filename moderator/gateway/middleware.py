"""What every request passes: its id, the bounds on its body, headers of the answer, and metrics."""

import os
import re
import time
from collections.abc import Mapping

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderator.gateway.bodies import BodyBudget, BoundedBody
from moderator.gateway.gateway_metrics import GatewayMetrics

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class GatewayMiddleware:
    """See the module.

    Args:
        app: what comes after it.
        budget: bytes of bodies.
        limit: most bytes of one body.
        seconds: in which a body must arrive.
        metrics: count requests.
        direct: routes that POST requests of a path go to straight away: the layers in between take longer than all
            that the gateway does itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        budget: BodyBudget,
        limit: int,
        seconds: float,
        metrics: GatewayMetrics,
        direct: Mapping[str, BaseRoute],
    ) -> None:
        self._app, self._budget, self._limit, self._seconds = app, budget, limit, seconds
        self._metrics, self._direct = metrics, direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, request_id = time.perf_counter(), _request_id(scope)
        # Not as it is: uvicorn has one dictionary for all requests of a connection.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id.decode()}
        status, streamed = 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, streamed
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                streamed = (b"content-type", b"text/event-stream; charset=utf-8") in headers
                message["headers"] = [
                    *headers,
                    (b"x-request-id", request_id),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        body = BoundedBody(scope, receive, self._budget, self._limit, self._seconds)
        route = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            if route is None:
                await self._app(scope, body.receive, send_with_headers)
            else:
                scope["route"] = route
                await route.handle(scope, body.receive, send_with_headers)
        finally:
            body.close()
            path = getattr(scope.get("route"), "path_format", None)
            seconds = time.perf_counter() - start
            self._metrics.count(scope["method"], path, status or 500, seconds, streamed)


def _request_id(scope: Scope) -> bytes:
    """Return the sender's request id if it is well formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            given: bytes = value
            return given
    return os.urandom(16).hex().encode()
