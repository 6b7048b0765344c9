"""Who may do what: the dependency of routes that checks the API key of a request, and its rate."""

import base64
import binascii
from collections.abc import Awaitable, Callable

from fastapi import Request

from moderator.gateway.api_keys import Admission, Credentials, Scope
from moderator.gateway.problems import RequestRefused
from moderator.gateway.service import Service

__all__ = ["Scope", "require"]

_ASK = {"WWW-Authenticate": 'Bearer realm="moderator"'}


def require(scope: Scope, *, in_query: bool = False) -> Callable[[Request], Awaitable[Admission]]:
    """Return the dependency of a route that only keys with a scope may use: `Depends(require(Scope.SUBMIT))`.

    `in_query`: for senders that can set no header, the key may also be the parameter `key` of the query.

    It runs before the body is read. It raises `RequestRefused` with 401 (no key, or none that works), 403 (the key
    lacks the scope) or 429 (it has used up its rate), and `QueueUnavailable`, as keys are in Redis.
    """

    async def admit(request: Request) -> Admission:
        service: Service = request.app.state.service
        key = _given_key(request)
        if key is None and in_query:
            key = request.query_params.get("key")
        credentials = None if key is None else Credentials.of(key)
        if credentials is None and (key is not None or not service.settings.gateway_anonymous):
            raise RequestRefused(
                401, "key-missing" if key is None else "key-unknown", _NO_KEY[key is None], _ASK
            )
        admission = await service.admit(credentials, scope)
        match admission.answer:
            case "ok":
                return admission
            case "forbidden":
                raise RequestRefused(
                    403,
                    "scope-missing",
                    f"the key {admission.name} lacks the scope {scope}; ask for one that has it",
                )
            case "late":
                raise RequestRefused(
                    429,
                    "rate-exceeded",
                    f"the key {admission.name or 'of requests without one'} has used up its rate; "
                    f"try again in {admission.retry_after:.1f} s",
                    retry_after=admission.retry_after,
                )
        raise RequestRefused(401, "key-unknown", _NO_KEY[False], _ASK)

    return admit


_NO_KEY = {
    True: "give an API key: Authorization: Bearer KEY, or X-API-Key: KEY; `moderator keys make` makes one",
    False: "this API key is unknown or revoked; `moderator keys list` shows those that work",
}


def _given_key(request: Request) -> str | None:
    """Return the key of a request: a bearer token, `X-API-Key`, or the password of senders that know only URLs."""
    header = request.headers.get("authorization")
    if header is None:
        return request.headers.get("x-api-key")
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return ""
    return ""
