"""A Redis Cluster of one node, which has all slots."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from moderator.queue.embedded_server import _server_binary, free_port
from tests.support.service import until


@contextmanager
def cluster_server(folder: Path) -> Iterator[str]:
    """Its URL, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        [
            *(_server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with redis.Redis(port=port) as client:
            until(lambda: _answers(client))
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
