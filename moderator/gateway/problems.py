"""Errors as problem+json (RFC 9457): what went wrong, in words, with the remedy, for people and programs."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from moderator.errors import EventInvalid, ModeratorError, QueueFull, QueueUnavailable
from moderator.printable import printable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Seconds after which a client should try again when Redis does not answer, or the gateway is busy.
RETRY_SOON_SECONDS = 1.0
#: Most problems of a request's parameters that an answer names.
PARAMETER_PROBLEMS_MAX = 5
#: How a number of seconds goes into a header and a body.
RETRY_AFTER_HEADER = "Retry-After"


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(description="`urn:moderator:problem:` and a name for programs to act on.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What went wrong with this request, and the remedy.")
    request_id: str = Field(description="As in the header `X-Request-ID`, to find the request in logs.")
    retry_after: float | None = Field(None, description="Seconds after which another try may help.")


class RequestRefused(Exception):
    """A request that the gateway does not serve.

    Args:
        status: of HTTP.
        name: for programs: the end of the problem's `type`.
        detail: what is wrong, and the remedy.
        headers: besides those of each answer.
        retry_after: seconds after which another try may help.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail
        self.headers, self.retry_after = dict(headers or {}), retry_after


def refusal_of(error: Exception) -> RequestRefused:
    """Return the refusal for an error: of the queue, of FastAPI, or one that nobody foresaw."""
    match error:
        case RequestRefused():
            return error
        case EventInvalid():
            return RequestRefused(422, "event-invalid", str(error))
        case QueueFull():
            return RequestRefused(429, "queue-full", str(error), retry_after=error.retry_after)
        case QueueUnavailable():
            return RequestRefused(503, "queue-unavailable", str(error), retry_after=RETRY_SOON_SECONDS)
        case ModeratorError():
            return RequestRefused(503, "unavailable", str(error), retry_after=RETRY_SOON_SECONDS)
        case RequestValidationError():
            return RequestRefused(422, "parameters-invalid", _parameter_problems(error))
        case HTTPException():
            return _of_http(error)
    log.error("unexpected: %s", type(error).__name__, exc_info=error)
    return RequestRefused(500, "internal", "the gateway failed; its log has the reason under this request id")


def problem_response(request: Request, error: Exception) -> JSONResponse:
    """Return the answer for an error."""
    refusal = refusal_of(error)
    headers = dict(refusal.headers)
    body: dict[str, Any] = {
        "type": f"urn:moderator:problem:{refusal.name}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
    }
    if refusal.retry_after is not None:
        headers[RETRY_AFTER_HEADER] = str(max(1, math.ceil(refusal.retry_after)))
        body["retry_after"] = round(refusal.retry_after, 3)
    return JSONResponse(body, refusal.status, headers, media_type=MEDIA_TYPE)


def answer_with_problems(app: FastAPI) -> None:
    """Have an app answer all errors so."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return problem_response(request, error)

    for kind in (RequestRefused, ModeratorError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _of_http(error: HTTPException) -> RequestRefused:
    headers = error.headers or {}
    if error.status_code == 404:
        return RequestRefused(
            404, "not-found", "there is nothing at this path; /openapi.json lists the paths", headers
        )
    if error.status_code == 405:
        allowed = headers.get("Allow", "others")
        return RequestRefused(
            405, "method-not-allowed", f"this path does not know that method, but {allowed}", headers
        )
    return RequestRefused(error.status_code, "refused", str(error.detail), headers)


def _parameter_problems(error: RequestValidationError) -> str:
    found = error.errors()
    shown = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in found[:PARAMETER_PROBLEMS_MAX]]
    more = len(found) - len(shown)
    return printable("; ".join(shown)) + (f"; and {more} more" if more else "")
