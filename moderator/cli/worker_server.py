"""`moderator worker --with-server`: a worker and a server of its own, for trying."""

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from urllib.parse import urlsplit

from moderator.cli.output import errors
from moderator.errors import SettingsError
from moderator.queue.connection import DEFAULT_PORT, endpoint
from moderator.queue.embedded_server import EmbeddedServer

LOOPBACK = ("localhost", "127.0.0.1")
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def serve_with_server(redis_url: str, options: Sequence[str]) -> int:
    """Run a server at that address, and a worker, until the worker ends; return its exit code.

    Signals go to the worker, which ends as it does without a server; the server ends after it. Its data is in a folder
    that is deleted at the end.

    Args:
        redis_url: of this machine, without a login.
        options: for the worker.

    Raises:
        SettingsError: no server can be started at that address, or one is there already.
    """
    port = _free_port_of(redis_url)
    worker: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        if not worker:
            sys.exit(128 + number)
        worker[0].send_signal(number)

    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, forward)
    with TemporaryDirectory(prefix="moderator-server-") as folder, EmbeddedServer(Path(folder), port):
        errors.print(f"a server for trying runs at {redis_url}", highlight=False, soft_wrap=True)
        # A process, which may end at once without leaving the server running; in a session of its own, so that Ctrl-C
        # reaches it only through us: two signals would end it at once.
        command = [sys.executable, "-m", "moderator", "worker", *options]
        worker.append(subprocess.Popen(command, start_new_session=True))  # noqa: S603 (this program)
        code = worker[0].wait()
    return code if code >= 0 else 128 - code


def _free_port_of(redis_url: str) -> int:
    target = endpoint(redis_url)
    parts = urlsplit(redis_url)
    if target.scheme != "redis" or target.hosts[0] not in LOOPBACK or target.username or target.password:
        raise SettingsError(
            "--with-server starts a server on this machine, without TLS and login, and MODERATOR_REDIS_URL names "
            "another one. Set it to redis://localhost:6379/0, or leave out --with-server"
        )
    port = parts.port or DEFAULT_PORT
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"port {port} of this machine is taken ({error.strerror}): if Redis is there already, leave out "
                "--with-server; else set MODERATOR_REDIS_URL to another port"
            ) from error
    return port
