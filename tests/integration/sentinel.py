"""A master, a replica and a Sentinel on loopback."""

import subprocess
from pathlib import Path

from redis.exceptions import RedisError

from moderator.queue.connection import Redis, connect
from moderator.queue.server import _server_binary, free_port
from tests.integration.service import until

SERVICE = "uploads"


class ReplicatedServer:
    """A server, a replica of it, and a Sentinel that makes the replica the master when the master dies.

    Args:
        folder: for data and configuration; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sentinel = free_port()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._master = self._replica = 0

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self._sentinel}/{SERVICE}/0"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._master = self._start_server()
        configuration = self._folder / "sentinel.conf"
        configuration.write_text(
            f"port {self._sentinel}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._master} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 800\nsentinel failover-timeout {SERVICE} 5000\n"
        )
        self._replica = self._start_replica()
        # After them both: it looks for replicas at once, and again only after ten seconds.
        self._start(self._sentinel, str(configuration), "--sentinel")
        self._wait_until_known()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def add_replica(self) -> None:
        """Start another replica, and wait until it has all that the master has and Sentinel knows it."""
        self._replica = self._start_replica()
        self._wait_until_known()

    def kill_master(self) -> None:
        """Kill it hard."""
        self._processes[self._master].kill()
        self._processes[self._master].wait()

    def wait_for_failover(self) -> None:
        """Until the replica is the master."""
        until(lambda: _at(self._replica).info("replication")["role"] == "master", timeout=30)
        self._master = self._replica

    def signal_replica(self, number: int) -> None:
        """Send it a signal."""
        self._processes[self._replica].send_signal(number)

    def _start_replica(self) -> int:
        master = ("127.0.0.1", str(self._master))
        port = self._start_server("--replicaof", *master, "--repl-diskless-sync-delay", "0")
        until(lambda: _at(port).info("replication")["master_link_status"] == "up")
        return port

    def _wait_until_known(self) -> None:
        sentinel = _at(self._sentinel)
        until(lambda: self._replica in {one["port"] for one in sentinel.sentinel_slaves(SERVICE)}, timeout=30)

    def _start_server(self, *options: str) -> int:
        port = free_port()
        folder = ("--save", "", "--dir", str(self._folder))
        self._start(port, "--port", str(port), "--bind", "127.0.0.1", *folder, *options)
        return port

    def _start(self, port: int, *arguments: str) -> None:
        self._processes[port] = subprocess.Popen(
            [_server_binary(), *arguments], stdout=subprocess.DEVNULL, start_new_session=True
        )
        until(lambda: _answers(port))


def _at(port: int) -> Redis:
    return connect(f"redis://127.0.0.1:{port}")


def _answers(port: int) -> bool:
    try:
        return bool(_at(port).ping())
    except RedisError:
        return False
