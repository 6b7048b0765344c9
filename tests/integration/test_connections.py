"""The ways to reach Redis: unix socket, TLS, Sentinel; for the client and for the worker, which has two."""

import asyncio
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderator.client import Client, Submitted
from moderator.errors import QueueUnavailable, SettingsError
from moderator.operations.doctor.server_checks import examine_server
from moderator.queue import keys
from moderator.queue.async_queue import AsyncQueue
from moderator.queue.connection import NO_LOGIN, SentinelLogin, connect, connect_async
from moderator.queue.embedded_server import EmbeddedServer, _server_binary, free_port
from moderator.queue.executors import AsyncRedisExecutor
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.cluster import cluster_server
from tests.support.sentinel import ReplicatedServer
from tests.support.service import make_client, run_cli, until
from tests.support.tools import needs


def assert_serves(url: str, start_worker: StartWorker, image: Path) -> None:
    """A client and a worker find each other by the URL, by way of either queue."""
    worker = start_worker(url)
    client = make_client(url)
    for priority in ("interactive", "bulk"):
        event = client.submit(path=image, priority=priority)
        assert client.wait(event.id).decision is not Decision.ERROR, worker.log
    assert asyncio.run(judge(url, image)) is not Decision.ERROR, worker.log
    # The queue is where the ledger is: not in another database.
    assert client.redis.llen("moderation") == client.ledger.pending() == 0


async def judge(url: str, image: Path, sentinels: SentinelLogin = NO_LOGIN) -> Decision:
    """What becomes of an image that an event loop submits."""
    async with connect_async(url, sentinels=sentinels) as redis:
        queue = AsyncQueue(AsyncRedisExecutor(redis), lease=4.0)
        ((event, _),) = await queue.accept({"image": {"path": str(image)}})
        return (await queue.wait(event.key, 40.0)).decision


@pytest.mark.slow
def test_a_unix_socket(tmp_path: Path, start_worker: StartWorker, small_images: list[Path]) -> None:
    path = Path("/tmp") / f"{tmp_path.name[-20:]}-{free_port()}.sock"  # a socket's path must be short
    process = subprocess.Popen(
        [_server_binary(), "--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(path.exists)
        assert_serves(f"unix://{path}?db=3", start_worker, small_images[0])
        assert connect(f"unix://{path}?db=0").dbsize() == 0
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_a_url_with_password_and_database(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    with make_client(server.url).redis as redis:
        redis.acl_setuser(
            "mod", enabled=True, passwords=["+p:a/s@s%"], keys="*", channels="*", categories=["+@all"]
        )
        redis.config_set("requirepass", "other")
    url = server.url.replace("redis://", "redis://mod:p%3Aa%2Fs%40s%25@").removesuffix("/0") + "/7"
    assert_serves(url, start_worker, small_images[0])


class TlsProxy:
    """Ends TLS in front of a server that has none."""

    def __init__(self, folder: Path, to_port: int) -> None:
        key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=localhost",
                ),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._to = ("127.0.0.1", to_port)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        """One thread for both directions: a TLS socket may not be used from two."""
        try:
            with (
                self._context.wrap_socket(plain, server_side=True) as outer,
                socket.create_connection(self._to) as inner,
            ):
                while True:
                    ready = [outer] if outer.pending() else select.select([outer, inner], [], [])[0]
                    for source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        (inner if source is outer else outer).sendall(data)
        except OSError:
            return


@pytest.fixture
def tls(server: EmbeddedServer, tmp_path: Path) -> Iterator[TlsProxy]:
    needs("openssl", package="openssl")
    proxy = TlsProxy(tmp_path, int(server.url.rpartition(":")[2].partition("/")[0]))
    yield proxy
    proxy.close()


@pytest.mark.slow
def test_tls_with_a_certificate_authority_of_ones_own(
    tls: TlsProxy, start_worker: StartWorker, small_images: list[Path]
) -> None:
    assert_serves(
        f"rediss://localhost:{tls.port}/0?ssl_ca_certs={tls.certificate}", start_worker, small_images[0]
    )


def test_tls_does_not_trust_an_unknown_certificate(tls: TlsProxy) -> None:
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        connect(f"rediss://localhost:{tls.port}/0").ping()


@pytest.mark.slow
def test_sentinel_finds_the_master_and_follows_a_failover(
    tmp_path: Path, start_worker: StartWorker, small_images: list[Path]
) -> None:
    """The master dies; client and worker go on with the replica."""
    servers = ReplicatedServer(tmp_path / "servers")
    try:
        servers.start()
        worker = start_worker(servers.url)
        client = make_client(servers.url)
        assert client.wait(client.submit(path=small_images[0]).id).decision is not Decision.ERROR, worker.log

        servers.kill_master()

        servers.wait_for_failover()
        event = until(lambda: submitted(client, small_images[1]), timeout=30)
        assert client.wait(event.id, timeout=40).decision is not Decision.ERROR, worker.log
        assert asyncio.run(judge(servers.url, small_images[0])) is not Decision.ERROR, worker.log
    finally:
        servers.stop()


@pytest.mark.slow
def test_a_lost_connection_does_not_end_the_consumer(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    """Events are answered, and acknowledged, while there is no connection."""
    worker = start_worker(server.url)
    client = make_client(server.url)
    for n in range(60):
        client.submit(path=small_images[n % len(small_images)])
    until(lambda: client.redis.xlen(keys.VERDICTS) >= 5)
    server.kill()
    until(lambda: "Trying again in" in worker.log)
    server.start()
    client.wait(client.submit(path=small_images[0]).id, timeout=30)
    assert "consumer died" not in worker.log


def test_a_sentinel_that_asks_for_a_password(
    tmp_path: Path, start_worker: StartWorker, small_images: list[Path]
) -> None:
    """On IPv6, where the machine has it."""
    host = "::1" if has_ipv6() else "127.0.0.1"
    servers = ReplicatedServer(tmp_path / "servers", host, password="of the p@:/%s")
    try:
        servers.start()
        login = {"redis_sentinel_password": "of the p@:/%s"}
        worker = start_worker(servers.url, **login)
        client = make_client(servers.url, **login)
        event = client.submit(path=small_images[0])
        assert client.wait(event.id).decision is not Decision.ERROR, worker.log
        sentinels = SentinelLogin(password=login["redis_sentinel_password"])
        assert asyncio.run(judge(servers.url, small_images[0], sentinels)) is not Decision.ERROR, worker.log
        with pytest.raises(QueueUnavailable):
            make_client(servers.url).submit(path=small_images[0])
    finally:
        servers.stop()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_cluster_is_refused_with_the_remedy(tmp_path: Path, start_worker: StartWorker) -> None:
    with cluster_server(tmp_path / "cluster") as url:
        remedy = r"Redis Cluster.*`cluster-enabled no`"
        for spool in (None, str(tmp_path / "spool")):
            client = make_client(url, **({"spool": spool} if spool else {}))
            with pytest.raises(SettingsError, match=remedy):
                client.submit(path="/x.jpg")
            with pytest.raises(SettingsError, match=remedy):
                client.verdict("a")
            assert client.spool is None or client.spool.empty()
        shown = run_cli("verdicts", "show", "a", cwd=tmp_path, redis_url=url)
        assert (shown.returncode, "Redis Cluster" in shown.stderr) == (2, True)
        (finding,) = [found for found in examine_server(url) if found.check == "redis.reachable"]
        assert finding.level == "problem"
        assert "Redis Cluster" in finding.message
        worker = start_worker(url, wait=False)
        assert worker.wait(30) == 2
        assert "Redis Cluster" in worker.log
        assert "Traceback" not in worker.log


def submitted(client: Client, image: Path) -> Submitted | None:
    """The event, or None while the master is away."""
    try:
        return client.submit(path=image)
    except QueueUnavailable:
        return None
