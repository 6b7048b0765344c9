"""`moderator gateway`: serve HTTP."""

import faulthandler
import logging
import signal
import sys
from typing import Annotated

import typer

from moderator.cli.worker import LogLevel
from moderator.errors import ExtraMissing
from moderator.settings import load_settings


def gateway(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: MODERATOR_GATEWAY_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0 takes a free one. Default: MODERATOR_GATEWAY_PORT."),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on standard error.")] = LogLevel.INFO,
) -> None:
    """Serve HTTP: events and images in, verdicts out.

    POST /v1/events and /v1/images accept what workers judge; with ?wait=10 the verdict is the answer. GET /v1/verdicts
    looks verdicts up, lists and streams them. /docs shows the whole API; /healthz, /readyz and /metrics need no key.

    Each request needs an API key (moderator keys make), unless MODERATOR_GATEWAY_ANONYMOUS is set. It speaks plain HTTP:
    put a proxy with TLS before it. It needs Redis, and no model; workers run elsewhere, or beside it.

    Runs until SIGTERM, SIGINT (Ctrl-C), SIGQUIT or SIGHUP; then it answers the requests in flight and exits with 0.
    A second signal ends it at once. SIGUSR1 prints what it is doing.

    Examples:

      MODERATOR_REDIS_URL=redis://localhost:6379/0 moderator gateway --port 8080

      curl -H "Authorization: Bearer $KEY" -F image=@cat.jpg "http://localhost:8080/v1/images?wait=10"
    """
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    faulthandler.register(signal.SIGUSR1)
    try:
        from moderator.gateway.gateway_server import serve
    except ImportError as error:
        raise ExtraMissing(
            f"the gateway needs FastAPI and uvicorn: pip install 'moderator[gateway]' ({error})"
        ) from error
    settings = load_settings()
    serve(
        settings,
        settings.gateway_host if host is None else host,
        settings.gateway_port if port is None else port,
    )
