"""A master, a replica and a Sentinel on loopback."""

import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from moderator.queue.embedded_server import _server_binary, free_port
from tests.support.service import until

SERVICE = "uploads"


class ReplicatedServer:
    """A server, a replica of it, and a Sentinel that makes the replica the master when the master dies.

    Args:
        folder: for data and configuration; made when needed.
        host: loopback, of either kind.
        password: the Sentinel asks for it.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", password: str = "") -> None:
        self._folder = folder
        self._host = host
        self._password = password
        self._sentinel = free_port()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._master = self._replica = 0

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"sentinel://{host}:{self._sentinel}/{SERVICE}/0"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._master = self._start_server()
        configuration = self._folder / "sentinel.conf"
        configuration.write_text(
            f"port {self._sentinel}\nbind {self._host}\ndir {self._folder}\n"
            + (f'requirepass "{self._password}"\n' if self._password else "")
            + f"sentinel monitor {SERVICE} {self._host} {self._master} 1\n"
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
        until(lambda: self._at(self._replica).info("replication")["role"] == "master", timeout=30)
        self._master = self._replica

    def signal_replica(self, number: int) -> None:
        """Send it a signal."""
        self._processes[self._replica].send_signal(number)

    def _start_replica(self) -> int:
        master = (self._host, str(self._master))
        port = self._start_server("--replicaof", *master, "--repl-diskless-sync-delay", "0")
        until(lambda: self._at(port).info("replication")["master_link_status"] == "up")
        return port

    def _wait_until_known(self) -> None:
        sentinel = self._at(self._sentinel)
        until(lambda: self._replica in {one["port"] for one in sentinel.sentinel_slaves(SERVICE)}, timeout=30)

    def _start_server(self, *options: str) -> int:
        port = free_port()
        folder = ("--save", "", "--dir", str(self._folder))
        self._start(port, "--port", str(port), "--bind", self._host, *folder, *options)
        return port

    def _start(self, port: int, *arguments: str) -> None:
        self._processes[port] = subprocess.Popen(
            [_server_binary(), *arguments], stdout=subprocess.DEVNULL, start_new_session=True
        )
        until(lambda: self._answers(port))

    def _at(self, port: int) -> Redis:
        return Redis(self._host, port, password=self._password if port == self._sentinel else None)

    def _answers(self, port: int) -> bool:
        try:
            return bool(self._at(port).ping())
        except RedisError:
            return False
