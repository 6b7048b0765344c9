"""The gateway's app: its parts put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from moderator.gateway.hooks.hook_routes import add_hooks
from moderator.gateway.problems import answer_with_problems
from moderator.gateway.service import Service
from moderator.queue.connection import SentinelLogin, connect_async
from moderator.queue.executors import AsyncRedisExecutor
from moderator.settings import Settings

#: Seconds of one call to Redis: a request makes two, and is answered within three seconds.
GATEWAY_CALL_SECONDS = 1.4


def create_app(settings: Settings) -> FastAPI:
    """Return the app for an ASGI server. `app.state` has `settings`, `service` and the `registry` of metrics."""
    client = connect_async(
        settings.redis_url, call=GATEWAY_CALL_SECONDS, sentinels=SentinelLogin.of(settings)
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = FastAPI(title="moderator", lifespan=lifespan)
    app.state.settings = settings
    app.state.registry = CollectorRegistry()
    app.state.service = Service(settings, AsyncRedisExecutor(client, GATEWAY_CALL_SECONDS))
    add_hooks(app)
    answer_with_problems(app)
    return app
