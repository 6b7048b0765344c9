import socket
from pathlib import Path

import pytest

from moderator.errors import QueueUnavailable
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer, free_port


def test_a_free_port_can_be_bound() -> None:
    port = free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
    assert 15_000 <= port < 32_768, "no outgoing connection takes it meanwhile"


def test_what_is_written_survives_a_restart_on_the_same_port(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "new" / "folder", appendfsync="always")
    with server:
        url = server.url
        connect(url).set("key", "value")
    with server:
        assert server.url == url
        assert connect(url).get("key") == b"value"
        server.kill()
        server.start()
        assert connect(url).get("key") == b"value"


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        server = EmbeddedServer(tmp_path, port=other.getsockname()[1])
        with pytest.raises(QueueUnavailable, match=r"its log: .*server\.log"):
            server.start()
    server.stop()


def test_it_listens_on_loopback_alone(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        assert connect(server.url).config_get("bind") == {"bind": "127.0.0.1"}
        assert connect(server.url).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
