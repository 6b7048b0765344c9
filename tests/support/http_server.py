"""A local HTTP server whose answers a test writes down beforehand, and that remembers what it was asked."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds until it is given."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class HttpServer:
    """Answers each path, for any query or for one, with its answers in turn; the last one stays. Port 0: any port."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    host: str = "127.0.0.1"

    def __enter__(self) -> "HttpServer":
        lock = Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with lock:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    outer.requests.append(Request(self.command, self.path, headers, body))
                    queue = outer.answers.get(self.path) or outer.answers.get(
                        self.path.partition("?")[0], [Answer(404)]
                    )
                    answer = queue.pop(0) if len(queue) > 1 else queue[0]
                time.sleep(answer.delay)
                self.send_response(answer.status)
                self.send_header("content-length", str(len(answer.body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError, ConnectionResetError):  # who asked has left
                    self.wfile.write(answer.body)

            do_GET = _serve  # noqa: N815 (the base class's naming)
            do_POST = _serve  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((self.host, self.port), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self._server.server_port}{path}"

    def asked(self, path: str) -> list[Request]:
        return [request for request in list(self.requests) if request.path == path]
