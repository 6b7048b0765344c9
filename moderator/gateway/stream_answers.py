"""The stream of verdicts as server-sent events, which a client resumes with `Last-Event-ID`.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

from moderator.errors import ModeratorError, VerdictsMissed
from moderator.gateway.problems import refusal_of
from moderator.gateway.service import Service

#: Seconds without a verdict after which a comment shows proxies and the client that the stream lives.
KEEP_ALIVE_SECONDS = 15.0
#: Verdicts read ahead of a client; a slow one slows its own reading.
READ_AHEAD_VERDICTS = 100
#: Milliseconds after which a client should connect again.
RECONNECT_MILLISECONDS = 2000


def sent_event(kind: str, data: str, id: str | None = None) -> bytes:
    """Return one server-sent event; `data` has no line breaks."""
    first = "" if id is None else f"id: {id}\n"
    return f"{first}event: {kind}\ndata: {data}\n\n".encode()


def gap_event(gap: VerdictsMissed) -> bytes:
    """Return the event for verdicts that left the stream before this client read them."""
    data = {"start": gap.start, "end": gap.end, "count": gap.count, "detail": str(gap)}
    return sent_event("gap", json.dumps(data), gap.end)


async def stream_verdicts(service: Service, after: str | None) -> AsyncIterator[bytes]:
    """Yield server-sent events: `verdict`, `gap`, and at the end `unavailable` if Redis does not answer.

    Args:
        service: provides the verdicts, and counts the stream.
        after: entry to go on after; None: new verdicts only.
    """
    ready: asyncio.Queue[bytes | None] = asyncio.Queue(READ_AHEAD_VERDICTS)
    reading = asyncio.create_task(_read(service, after, ready))
    service.streams += 1
    try:
        yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
        while (chunk := await _next(service, ready)) is not None:
            yield chunk
    finally:
        service.streams -= 1
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def _next(service: Service, ready: "asyncio.Queue[bytes | None]") -> bytes | None:
    """Return what comes next, a comment if nothing does for a while, or None at the end."""
    if not ready.empty():
        return ready.get_nowait()
    coming = asyncio.create_task(ready.get())
    try:
        await asyncio.wait(
            {coming, service.stopped()}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if coming.done():
            return coming.result()
        return None if service.stopped().done() else b": nothing new\n\n"
    finally:
        coming.cancel()


async def _read(service: Service, after: str | None, ready: "asyncio.Queue[bytes | None]") -> None:
    gaps: list[VerdictsMissed] = []
    try:
        async for entry, verdict in service.tail(after, gaps.append):
            while gaps:
                await ready.put(gap_event(gaps.pop(0)))
            await ready.put(sent_event("verdict", verdict.model_dump_json(), entry))
    except ModeratorError as error:
        await ready.put(sent_event("unavailable", json.dumps({"detail": refusal_of(error).detail})))
    finally:
        await ready.put(None)
