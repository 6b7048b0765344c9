"""`/healthz` (is the gateway alive?), `/readyz` (may it get requests?), `/metrics`. They need no key."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from moderator.errors import QueueUnavailable
from moderator.gateway.openapi import READY
from moderator.gateway.service import Service

router = APIRouter(tags=["operation"])

#: Seconds within which `/readyz` answers, whatever Redis does.
READY_SECONDS = 1.5


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """Answer 200 while the gateway runs."""
    return PlainTextResponse("yes\n")


@router.get("/readyz", response_class=PlainTextResponse, responses=READY)
async def readyz(request: Request) -> Response:
    """Answer 200 while Redis answers, else 503."""
    service: Service = request.app.state.service
    try:
        async with asyncio.timeout(READY_SECONDS):
            await service.ready()
    except (QueueUnavailable, TimeoutError):
        return PlainTextResponse("no: Redis does not answer\n", 503)
    return PlainTextResponse("yes\n")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Return this gateway's metrics, for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
