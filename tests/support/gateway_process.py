"""A gateway as an operator runs it, and a client of it."""

import http.client
import json
from pathlib import Path
from typing import Any

import redis

from moderator.gateway import api_keys
from moderator.gateway.api_keys import Scope
from moderator.queue.embedded_server import free_port
from moderator.queue.executors import RedisExecutor
from tests.support.service import WorkerProcess


class GatewayProcess(WorkerProcess):
    """`moderator gateway`."""

    command = "gateway"

    def __init__(self, folder: Path, **settings: str) -> None:
        port = settings.setdefault("gateway_port", str(free_port()))
        super().__init__(folder, metrics_port=port, **settings)

    def ready(self) -> bool:
        return self.get_status("/readyz") == 200


def make_key(url: str, *scopes: Scope, rate: float | None = None) -> str:
    """A key in the Redis of that URL; without scopes: for everything."""
    key, credentials = api_keys.make_key()
    with redis.Redis.from_url(url) as client:
        saved = api_keys.save(credentials, "tests", scopes or (Scope.ADMIN,), rate)
        RedisExecutor(client).run_each(saved)
    return key


class GatewayCaller:
    """Calls a gateway with a key."""

    def __init__(self, port: int, key: str | None) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def call(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        kind: str = "application/json",
        **headers: str,
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, body (JSON, else text) and headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=40)
        try:
            typed = {"Content-Type": kind} if body is not None else {}
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**self._headers, **typed, **named})
            answer = connection.getresponse()
            text = answer.read().decode()
            is_json = "json" in (answer.getheader("content-type") or "")
            return answer.status, json.loads(text) if is_json else text, answer.headers
        finally:
            connection.close()

    def post(self, path: str, event: Any) -> tuple[int, Any, http.client.HTTPMessage]:
        """Post an event."""
        return self.call("POST", path, json.dumps(event))
