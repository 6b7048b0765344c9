"""A process that has imported what `moderator` needs, and forks one process for each start of a command.

Importing torch and Celery takes half the time of a worker's start, and the space of the embedded encoder, which
follows from published files, a quarter; it is computed once, too. A forked process runs the same main function with
arguments, environment, working directory and output of its own, and is killed, stopped and waited for like any other.
"""

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from workers.torch_environment import TORCH_ENVIRONMENT

#: What `moderator worker` has imported once it is ready. It reads the environment of its settings later.
MODULES = (
    "moderator.cli.main",
    "moderator.cli.worker",
    "workers.runner",
    "celery.apps.worker",
    "celery.app.log",
    "celery.concurrency.thread",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "moderator.delivery.webhook_delivery",
    "moderator.encoders.embedded.embedded_encoder",
    "moderator.encoders.runtimes.artefact",
    "moderator.encoders.families.clip",
    "transformers.models.clip.image_processing_pil_clip",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
)
#: Variables that a forked process may have otherwise than the server: nothing reads them during an import, or they are
#: set by what is imported.
READ_LATER = (
    *("MODERATOR_", "PYTEST_"),
    *("HF_HUB_DISABLE_PROGRESS_BARS", "ORT_DISABLE_TELEMETRY", "TORCHINDUCTOR_CACHE_DIR"),
    *("TQDM_DISABLE", "TRANSFORMERS_VERBOSITY"),
)
#: Names a file with Python code: a forked process runs it before all else, and what it starts does not.
RUN_FIRST = "PYTEST_RUN_FIRST"
MESSAGE_BYTES_MAX = 200_000


class ForkedProcess:
    """A process that the server forked; as much of `subprocess.Popen` as tests use."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self.pid = int(status.recv(20))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        return self._read(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("moderator", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _read(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                word = self._status.recv(20)
            except (TimeoutError, BlockingIOError):
                return None
            assert word, "the fork server is gone"
            self.returncode = os.waitstatus_to_exitcode(int(word))
            self._status.close()
        return self.returncode


class ForkServer:
    """Starts when it is first used; ends with this process.

    Args:
        environment: of the server. It serves starts with the same one, apart from variables that are read later.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = _read_early(environment)
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            stdin=theirs,
            env={**self._environment, **TORCH_ENVIRONMENT},
            cwd=Path(__file__).parents[2],
        )
        theirs.close()
        atexit.register(self.close)

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Return whether a process with this environment would import the same."""
        return _read_early(environment) == self._environment

    def start(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        folder: Path,
        output: BinaryIO,
        errors: BinaryIO,
    ) -> ForkedProcess:
        """Run `moderator` with these arguments; its outputs go into the files."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps([arguments, dict(environment), str(folder)]).encode()
        with theirs:
            socket.send_fds(self._requests, [request], [theirs.fileno(), output.fileno(), errors.fileno()])
        return ForkedProcess(ours)

    def close(self) -> None:
        """End the server, which ends the processes that it forked, as those of tests that failed."""
        self._requests.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(READ_LATER)}


def serve(requests: socket.socket) -> None:
    """Fork for each request; return in the forked process, as it is to run. Ends when there is nobody left to ask."""
    before = dict(os.environ)
    for name in MODULES:
        import_module(name)
    import_module("tests.support.joint_space").share_joint_space()
    added = {name: value for name, value in os.environ.items() if name not in before}
    assert len(os.listdir("/proc/self/task")) == 1, "a forked process would lack threads that it counts on"
    gc.collect()
    gc.freeze()  # the collector would write to each object, and so copy it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watchers: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES_MAX, 3)
        watchers -= {pid for pid in watchers if os.waitpid(pid, os.WNOHANG)[0]}
        if not message:
            break
        if (pid := os.fork()) == 0:
            requests.close()
            _watch(*descriptors, added, *json.loads(message))
            return
        watchers.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)
    for watcher in watchers:
        os.kill(watcher, signal.SIGTERM)
        os.waitpid(watcher, 0)
    sys.exit()


def _watch(
    status: int,
    output: int,
    errors: int,
    added: Mapping[str, str],
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
) -> None:
    """Fork the process, in which this returns, and report its id and how it ended."""
    if (pid := os.fork()) != 0:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
        os.close(output)
        os.close(errors)
        os.write(status, str(pid).encode())
        _, code = os.waitpid(pid, 0)
        os.write(status, str(code).encode())
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(errors, sys.stderr.fileno())
    os.close(status)
    os.close(output)
    os.close(errors)
    os.chdir(folder)
    sys.path[0] = folder  # as `python -m` has it
    sys.argv = ["moderator", *arguments]
    os.environ.clear()
    first = environment.pop(RUN_FIRST, None)
    os.environ.update({**added, **environment})
    if first is not None:
        exec(compile(Path(first).read_text(), first, "exec"), {"__name__": "first"})


if __name__ == "__main__":
    asked = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(asked)
    from moderator.cli.main import main

    main()
