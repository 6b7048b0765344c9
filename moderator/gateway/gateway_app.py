"""The gateway's app: its parts put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry

from moderator.gateway import event_routes, health_routes, image_routes, verdict_routes
from moderator.gateway.bodies import BodyBudget, body_limit
from moderator.gateway.gateway_metrics import GatewayMetrics
from moderator.gateway.hooks.hook_routes import add_hooks
from moderator.gateway.middleware import REQUEST_ID_HEADER, GatewayMiddleware
from moderator.gateway.openapi import describe_api
from moderator.gateway.problems import RETRY_AFTER_HEADER, answer_with_problems
from moderator.gateway.service import Service
from moderator.gateway.submit_route import submit_routes
from moderator.queue.connection import SentinelLogin, connect_async
from moderator.queue.shared_executor import SharedExecutor
from moderator.settings import Settings

#: Seconds of one call to Redis: a request makes two, and is answered within three seconds.
GATEWAY_CALL_SECONDS = 1.4
ROUTERS = (event_routes.router, image_routes.router, verdict_routes.router, health_routes.router)


def create_app(settings: Settings) -> FastAPI:
    """Return the app for an ASGI server. `app.state` has `settings`, `service` and the `registry` of metrics."""
    client = connect_async(
        settings.redis_url, call=GATEWAY_CALL_SECONDS, sentinels=SentinelLogin.of(settings)
    )
    executor = SharedExecutor(client, GATEWAY_CALL_SECONDS)
    service = Service(settings, executor)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()
        await executor.close()
        await client.aclose()

    # Without the pages on the API, whose scripts come from other hosts; `/openapi.json` is there.
    app = FastAPI(
        title="moderator",
        version=metadata.version("moderator"),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry={"metrics": False, "logs": False},  # the gateway has metrics of its own
    )
    app.state.settings, app.state.service, app.state.registry = settings, service, CollectorRegistry()
    app.openapi = partial(describe_api, app)  # type: ignore[method-assign]
    answer_with_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    add_hooks(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add what each request passes; the last one added is the first one passed."""
    budget, metrics = BodyBudget(settings.gateway_body_bytes), GatewayMetrics(app.state.registry)
    service: Service = app.state.service
    metrics.watch(lambda: budget.held, lambda: service.streams)
    if settings.gateway_cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.gateway_cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "Last-Event-ID", REQUEST_ID_HEADER],
            expose_headers=[REQUEST_ID_HEADER, RETRY_AFTER_HEADER, "Location"],
        )
    app.add_middleware(
        GatewayMiddleware,
        budget=budget,
        limit=body_limit(settings.max_bytes),
        seconds=settings.gateway_body_timeout,
        metrics=metrics,
        # A browser's request needs the headers that only the layers in between add.
        direct={} if settings.gateway_cors else submit_routes(ROUTERS),
    )
