"""The worker's HTTP endpoints: `/metrics`, `/ready` (may it get events?), `/live` (must it be restarted?)."""

import logging
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from moderator.errors import ModeratorError, SettingsError

log = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128  # simultaneous scrapes; further ones retry after a second


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds; a silent client does not hold a thread for ever

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: there is a scrape every few seconds."""


class HealthServer:
    """Serves until closed.

    Args:
        host: address to bind.
        port: 0 picks a free one, which the attribute `port` has.
        registry: shown by `/metrics`.
        ready: whether the worker takes events; may raise a `ModeratorError` with the reason why not.
        live: whether it works at all.

    Raises:
        SettingsError: the address is taken.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        ready: Callable[[], bool],
        live: Callable[[], bool],
    ) -> None:
        metrics = make_wsgi_app(registry)
        checks = {"/ready": ready, "/live": live}

        def app(environ: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                page: Iterable[bytes] = metrics(environ, respond)
                return page
            if path not in checks:
                respond("404 Not Found", [("Content-Type", "text/plain")])
                return [b"try /metrics, /ready or /live\n"]
            why = ""
            try:
                good = checks[path]()
            except ModeratorError as error:
                good, why = False, f": {error}"
            except Exception as error:  # from anything that does not answer
                log.warning("%s: %s: %s", path, type(error).__name__, error)
                good = False
            respond("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"yes\n" if good else f"no{why}\n".encode()]

        try:
            self._server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics on {host}:{port}: {error.strerror}; is another worker running? "
                "Set MODERATOR_METRICS_PORT (0 takes a free one)"
            ) from error
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop serving and release the port."""
        self._server.shutdown()
        self._server.server_close()
