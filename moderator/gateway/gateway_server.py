"""Run the gateway's app on uvicorn, until a signal: requests in flight are answered first."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn

from moderator.errors import SettingsError
from moderator.gateway.gateway_app import create_app
from moderator.gateway.service import Service
from moderator.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that requests in flight have after the first signal.
STOP_SECONDS = 10
#: Seconds for which an idle connection stays open: longer than those of most proxies, so that they end it.
KEEP_ALIVE_SECONDS = 75
#: Connections that wait to be taken.
BACKLOG_CONNECTIONS = 2048
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class _Server(uvicorn.Server):
    """Ends with 0 after a signal, as the worker does, and at once after a second one."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals on the event loop."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # `nohup`
                loop.add_signal_handler(number, partial(self._stop, number))
        yield

    def _stop(self, number: signal.Signals) -> None:
        log.warning("%s: %s", number.name, "ending at once" if self.should_exit else "stopping")
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.stop()


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal.

    Raises:
        SettingsError: the address cannot be taken, or the URL of Redis cannot be read.
    """
    app = create_app(settings)
    gc.freeze()  # else each collection also looks at all that is loaded
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; is another gateway running? Give another "
            "--host or --port (MODERATOR_GATEWAY_HOST, MODERATOR_GATEWAY_PORT; port 0 takes a free one)"
        ) from error
    address = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%d; its API is at /openapi.json", address, listener.getsockname()[1])
    if settings.gateway_anonymous:
        log.warning("requests need no API key (MODERATOR_GATEWAY_ANONYMOUS): whoever reaches it may use it")
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=BACKLOG_CONNECTIONS,
    )
    with listener:
        _Server(config, app.state.service).run(sockets=[listener])
    log.info("stopped")
