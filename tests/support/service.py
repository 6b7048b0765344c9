"""Real processes for tests: a worker, the command line, and what they need."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, TypeVar

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.settings import Settings
from tests.support.fork_server import RUN_FIRST, ForkedProcess, ForkServer
from tests.support.policies import release

T = TypeVar("T")

DEMO = Path(__file__).parents[2] / "moderator" / "data" / "demo"
START_TIMEOUT = 90.0

SECRET = "whsec_" + base64.b64encode(b"integration tests sign with this").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"what they signed with before").decode()
POLICIES = Path(os.environ.get("MODERATOR_POLICIES") or Path(__file__).parents[2] / "policies")

#: What the shared worker and `client` run with; short times, so that tests wait little.
SETTINGS = {"redeliver_after": "4", "retry_delay": "0.2", "max_attempts": "3"}


def until(condition: Callable[[], T], timeout: float = 20.0, what: str = "the condition") -> T:
    """Wait for a true value and return it."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout:g} s; last: {value!r}")
        time.sleep(0.02)


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with these settings of ours and no others."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MODERATOR_")}
    ours = {f"MODERATOR_{name.upper()}": value for name, value in settings.items()}
    # One thread: several processes with many threads each would wait for one another on a small machine.
    return {**clean, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **ours}


#: What the processes of tests have that change nothing.
PLAIN_ENVIRONMENT = environment()


@cache
def fork_server() -> ForkServer:
    return ForkServer(PLAIN_ENVIRONMENT)


def is_forked(variables: dict[str, str]) -> bool:
    """Whether the fork server starts what has this environment, here."""
    return sys.platform == "linux" and fork_server().serves(variables)


def run_first(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the workers started from now on run this code before all else; it is kept in the folder."""
    monkeypatch.setenv(RUN_FIRST, str(folder / "sitecustomize.py"))
    (folder / "sitecustomize.py").write_text(code)


def small_jpeg(file: Path, shade: int = 90, size: int = 64) -> Path:
    """A small plain picture; another for each shade."""
    Image.new("RGB", (size, size), (shade % 256, (shade * 7) % 256, (shade * 13) % 256)).save(file, "JPEG")
    return file


@contextmanager
def stopped(server: EmbeddedServer) -> Iterator[None]:
    """Let a server hang during the block: the system still takes connections for it, and nothing answers."""
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


class WorkerProcess:
    """`moderator worker`, or another command that serves, as an operator runs it; its log goes to a file.

    Args:
        folder: for the log; also the working directory, so that no settings file is found.
        settings: without their prefix, in lower case.
    """

    command = "worker"
    options: tuple[str, ...] = ()

    def __init__(self, folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = int(settings.setdefault("metrics_port", str(free_port())))
        self.settings = {"model_threads": "1", **settings}
        self.log_file = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def start(self, *, wait: bool = True) -> "WorkerProcess":
        with self.log_file.open("ab") as output:
            self._process = self._launch(environment(**self.settings), output)
        if wait:
            self.wait_until_ready()
        return self

    def _launch(
        self, variables: dict[str, str], output: BinaryIO
    ) -> "subprocess.Popen[bytes] | ForkedProcess":
        if first := variables.pop(RUN_FIRST, None):  # what it starts runs it, too
            folders = [str(Path(first).parent), variables.get("PYTHONPATH", "")]
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
        return subprocess.Popen(
            [sys.executable, "-m", "moderator", self.command, *self.options],
            env=variables,
            cwd=self.folder,
            stdout=output,
            stderr=output,
        )

    def wait_until_ready(self) -> None:
        until(lambda: self.poll() is not None or self.ready(), START_TIMEOUT, f"{self.url}/ready")
        assert self.poll() is None, f"the worker ended with {self.poll()}:\n{self.log}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def poll(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def ready(self) -> bool:
        return self.get_status("/ready") == 200

    def get_status(self, path: str) -> int:
        """The HTTP status, or 0 where nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metrics(self) -> dict[str, float]:
        """Samples of one scrape, as `name{label=value,...}` with the labels sorted."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=20) as answer:
            page = answer.read().decode()
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = 60.0) -> int:
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not end within {timeout:g} s:\n{self.log}") from None

    def stop(self) -> int:
        """As an init system does; returns the exit code."""
        if self.poll() is None:
            self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """As a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class ForkedWorker(WorkerProcess):
    """`moderator worker`, forked from a process that has imported all it needs: for tests of a worker that runs.

    Where the environment changes what Python imports, and on other systems than Linux, it starts as others do.
    """

    def _launch(
        self, variables: dict[str, str], output: BinaryIO
    ) -> "subprocess.Popen[bytes] | ForkedProcess":
        if not is_forked(variables):
            return super()._launch(variables, output)
        return fork_server().start([self.command, *self.options], variables, self.folder, output, output)


class DeliverProcess(WorkerProcess):
    """`moderator deliver`."""

    command = "deliver"


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f"{name}={labels[name]}" for name in sorted(labels)) + "}" if labels else ""


def run_cli(
    *arguments: str, cwd: Path, timeout: float = 120.0, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run `moderator ...`, forked like a `ForkedWorker`, and return what it printed."""
    variables = environment(**settings)
    command = [sys.executable, "-m", "moderator", *arguments]
    if not is_forked(variables):
        return subprocess.run(
            command, env=variables, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = fork_server().start([*arguments], variables, cwd, output, errors)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(command, code, output.read().decode(), errors.read().decode())


def copy_policies(folder: Path) -> Path:
    """The repository's policies, every version released."""
    shutil.copytree(POLICIES, folder, ignore=shutil.ignore_patterns("releases.lock"))
    for file in sorted(folder.glob("*/*.yaml")):
        release(folder, file.parent.name, int(file.stem))
    return folder


def make_client(url: str, **settings: str) -> Client:
    return Client(settings=Settings(redis_url=url, **{**SETTINGS, **settings}))  # type: ignore[arg-type]


@contextmanager
def client_alone(server: EmbeddedServer, database: str, **settings: str) -> Iterator[Client]:
    """Yield a client of an empty database of its own on a server that tests share: no worker serves it."""
    client = make_client(f"{server.url.removesuffix('/0')}/{database}", **settings)
    client.redis.flushdb()
    yield client
    client.redis.flushdb()


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]
