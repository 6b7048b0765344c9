import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from moderator.errors import ModelBroken, SettingsError
from moderator.queue.embedded_server import free_port
from workers.health import HealthServer


class Worker:
    """What is asked, and what it answers."""

    ready: bool | Exception = True
    live = True

    def is_ready(self) -> bool:
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def server(worker: Worker) -> Iterator[HealthServer]:
    registry = CollectorRegistry()
    Counter("cats", "Cats seen.", registry=registry).inc(3)
    server = HealthServer("127.0.0.1", 0, registry, ready=worker.is_ready, live=lambda: worker.live)
    yield server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics(server: HealthServer) -> None:
    status, page = get(server, "/metrics")
    assert status == 200
    assert "cats_total 3.0" in page


def test_ready_and_live(server: HealthServer, worker: Worker) -> None:
    assert get(server, "/ready") == get(server, "/live") == (200, "yes\n")
    worker.ready = False
    assert get(server, "/ready") == (503, "no\n")
    assert get(server, "/live") == (200, "yes\n")
    worker.live = False
    assert get(server, "/live") == (503, "no\n")


def test_a_check_that_fails_means_no(
    server: HealthServer, worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    worker.ready = ConnectionError("redis is gone")
    assert get(server, "/ready") == (503, "no\n")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["/", "/nothing", "/ready/", "/metrics/../etc/passwd", "/%2e%2e"])
def test_other_paths(server: HealthServer, path: str) -> None:
    status, text = get(server, path)
    assert status == 404
    assert "/metrics, /ready or /live" in text


def test_a_slow_client_holds_up_nobody(server: HealthServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"GET /metr")
        assert get(server, "/ready")[0] == 200


def test_garbage(server: HealthServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"\xff\x00\r\n\r\n")
        assert b"400" in client.recv(1000)
    assert get(server, "/ready")[0] == 200


def test_a_taken_port(server: HealthServer) -> None:
    with pytest.raises(SettingsError, match=r"Set MODERATOR_METRICS_PORT"):
        HealthServer("127.0.0.1", server.port, CollectorRegistry(), lambda: True, lambda: True)


def test_a_closed_server_gives_its_port_back() -> None:
    port = free_port()
    for _ in range(2):
        server = HealthServer("127.0.0.1", port, CollectorRegistry(), lambda: True, lambda: True)
        assert server.port == port
        server.close()
    with pytest.raises(OSError, match="refused"):
        get(server, "/ready")


def test_an_error_of_ours_says_why_it_is_not_ready(server: HealthServer, worker: Worker) -> None:
    worker.ready = ModelBroken("the model fails on known inputs")
    assert get(server, "/ready") == (503, "no: the model fails on known inputs\n")
    worker.ready = OSError("secret")
    assert get(server, "/ready") == (503, "no\n")
