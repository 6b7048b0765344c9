"""Bounds on request bodies: how large one may be, how long it may take, and how much all of them may take at once."""

import asyncio
import time
from contextlib import suppress

from starlette.types import Message, Receive, Scope

from moderator.gateway.problems import RETRY_SOON_SECONDS, RequestRefused

#: Bytes of an event besides its image: metadata and the rest, with room for whitespace.
EVENT_BYTES_MAX = 1_000_000


def body_limit(max_bytes: int) -> int:
    """Return the most bytes of a body: an event with an image of `max_bytes` in base64."""
    return 4 * -(-max_bytes // 3) + EVENT_BYTES_MAX


class BodyBudget:
    """The bytes that all bodies hold together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0
        """Bytes held now."""

    def take(self, size: int) -> None:
        """Reserve bytes.

        Raises:
            RequestRefused: the others hold too many.
        """
        if self.held + size > self._most and self.held:
            raise RequestRefused(
                503,
                "busy",
                f"the gateway holds {self.held} bytes of other requests, so that {size} more do not fit "
                "(MODERATOR_GATEWAY_BODY_BYTES); try again in a moment",
                retry_after=RETRY_SOON_SECONDS,
            )
        self.held += size

    def give_back(self, size: int) -> None:
        """Release reserved bytes."""
        self.held -= size


class BoundedBody:
    """Receives the body of one request within the bounds; `close` releases its bytes.

    Args:
        scope: of the request.
        receive: the server's.
        budget: for all bodies.
        limit: most bytes of this one.
        seconds: in which it must arrive.
    """

    def __init__(
        self, scope: Scope, receive: Receive, budget: BodyBudget, limit: int, seconds: float
    ) -> None:
        self._receive, self._budget, self._limit, self._seconds = receive, budget, limit, seconds
        self._declared = _declared_length(scope)
        self._begun = self._ended = False
        self._until = 0.0
        self._read = self._reserved = 0

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            RequestRefused: the body is too large or too slow, or there is no room for it.
        """
        if self._ended:
            return await self._receive()
        self._begin()
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                message = await self._receive()
        except TimeoutError as error:
            detail = f"the body did not arrive within {self._seconds:g} s (MODERATOR_GATEWAY_BODY_TIMEOUT)"
            raise RequestRefused(408, "body-late", detail, {"Connection": "close"}) from error
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._ended = True
        self._count(len(message.get("body", b"")))
        return message

    def close(self) -> None:
        """Release what is reserved."""
        self._budget.give_back(self._reserved)
        self._reserved = 0

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._until = time.monotonic() + self._seconds
        if self._declared is not None:
            self._refuse_above_limit(self._declared)
            self._reserve(self._declared)

    def _count(self, size: int) -> None:
        self._read += size
        self._refuse_above_limit(self._read)
        if self._read > self._reserved:
            self._reserve(self._read - self._reserved)

    def _reserve(self, size: int) -> None:
        self._budget.take(size)
        self._reserved += size

    def _refuse_above_limit(self, size: int) -> None:
        if size > self._limit:
            raise RequestRefused(
                413,
                "body-too-large",
                f"the body has {size} bytes or more, the gateway takes {self._limit} (MODERATOR_MAX_BYTES bounds the "
                "image in it); send a smaller image, or a url that workers fetch",
            )


def _declared_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            with suppress(ValueError):
                return max(0, int(value))
    return None
