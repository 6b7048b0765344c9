"""A real gateway in a process of its own, and a key for it."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moderator.gateway import api_keys
from moderator.gateway.api_keys import Scope
from moderator.queue.commands import require_all
from moderator.queue.connection import connect
from moderator.queue.embedded_server import free_port
from moderator.queue.executors import RedisExecutor
from tests.support.service import environment, until


@dataclass(frozen=True)
class GatewayDoor:
    url: str
    key: str


def status_of(url: str) -> int:
    """The HTTP status, or 0 where nothing good answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except OSError:
        return 0


@contextmanager
def gateway_door(redis_url: str, folder: Path, *scopes: Scope, **settings: str) -> Iterator[GatewayDoor]:
    """Run `moderator gateway`; its key may submit and read, or what is given."""
    port = free_port()
    log = folder / "gateway.log"
    settings = {"redis_url": redis_url, "gateway_port": str(port), **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moderator", "gateway"],
            env=environment(**settings),
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or status_of(f"{url}/readyz") == 200, 60, "the gateway")
        assert process.poll() is None, log.read_text()
        yield GatewayDoor(url, make_key(redis_url, *(scopes or (Scope.SUBMIT, Scope.READ))))
    finally:
        process.terminate()
        try:
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()


def make_key(redis_url: str, *scopes: Scope) -> str:
    """A key without a rate."""
    key, credentials = api_keys.make_key()
    with connect(redis_url) as redis:
        require_all(RedisExecutor(redis).run_each(api_keys.save(credentials, "tests", scopes, 0.0)))
    return key
