"""The peers of `benchmarks/peers.py` as processes: start, query, suspend and stop them."""

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpcore2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers_setup import INSIDE, PeerSkipped
from moderator.queue.embedded_server import free_port

#: Seconds until a server answers: it imports torch, loads the model, and may compile it.
START = 240.0
HTTP_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)


class Process:
    """A peer's process, in its own process group. It is suspended while others are measured."""

    def __init__(self, command: list[str], log: Path, **pipes: Any) -> None:
        self.log = log
        home = log.parent / "home"
        home.mkdir(exist_ok=True)
        quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
        caches = {"HF_HOME": str(home), "INFINITY_HOME": str(home)}
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                env={**os.environ, **quiet, **caches},
                cwd=home,
                stderr=output,
                start_new_session=True,
                **({"stdout": output} | pipes),
            )

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the process run only inside the block."""
        self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.signal(signal.SIGSTOP)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, if any process is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def last_words(self) -> str:
        """Return the last line of its log that is not empty."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Stop the process and its children."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(15)
        self.signal(signal.SIGKILL)
        self.popen.wait()


class Loop:
    """A program that answers each line with a line."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.process = Process(command, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer. Raises PeerSkipped if the program has ended."""
        with self.process.awake():
            pipes = self.process.popen
            assert pipes.stdin is not None
            assert pipes.stdout is not None
            try:
                pipes.stdin.write(json.dumps(request) + "\n")
                pipes.stdin.flush()
                line = pipes.stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            raise PeerSkipped(f"it ended: {self.process.last_words()}")
        return dict(json.loads(line))


class Api(Protocol):
    """How to start and query a server."""

    address: str

    def command(self, port: int, options: list[str]) -> list[str]:
        """Return the command that starts the server."""

    def body(self, files: list[Path]) -> bytes:
        """Return the body of a request for these pictures."""

    def embedding(self, server: "Server", file: Path) -> NDArray[np.float32]:
        """Return the server's embedding of one picture."""


@dataclass(frozen=True)
class Load:
    """A client's load: pictures per request, and requests at once."""

    pictures: int
    clients: int

    def __str__(self) -> str:
        return f"{self.clients} clients x {self.pictures}"


class Server:
    """A peer's HTTP server on loopback, and requests to it.

    Raises:
        PeerSkipped: it does not start.
    """

    def __init__(self, api: Api, options: list[str], log: Path) -> None:
        self.api = api
        self.port = free_port()
        self.process = Process(api.command(self.port, options), log)
        try:
            self._wait()
        except BaseException:  # even an interruption leaves nothing behind
            self.process.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + START
        while not self._healthy():
            if self.process.popen.poll() is not None or time.monotonic() > deadline:
                raise PeerSkipped(f"it does not start: {self.process.last_words()}")
            time.sleep(0.3)

    def _healthy(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/health"
            return httpcore2.request("GET", url, extensions={"timeout": {"read": 10.0}}).status == 200
        except HTTP_ERRORS:
            return False

    def post(self, pool: httpcore2.ConnectionPool, body: bytes) -> Any:
        """Return the answer to a request. Raises PeerSkipped if there is none."""
        try:
            response = pool.request(
                "POST",
                f"http://127.0.0.1:{self.port}{self.api.address}",
                headers={"content-type": "application/json"},
                content=body,
                extensions={"timeout": {"connect": 30.0, "read": 120.0, "pool": 120.0}},
            )
        except HTTP_ERRORS as error:
            raise PeerSkipped(f"it does not answer: {error!r}") from error
        if response.status != 200:
            raise PeerSkipped(f"it answers {response.status}: {response.content[:200]!r}")
        return json.loads(response.content)

    def run(self, files: list[Path], load: Load) -> tuple[float, float]:
        """Return images per second, and the client's share of the time of one core. Requests are built beforehand."""
        groups = [files[at : at + load.pictures] for at in range(0, len(files), load.pictures)]
        bodies = [self.api.body(group) for group in groups]
        with (
            self.process.awake(),
            httpcore2.ConnectionPool(max_connections=load.clients) as pool,
            ThreadPoolExecutor(load.clients) as clients,
        ):
            start, cpu = time.perf_counter(), time.process_time()
            for _ in clients.map(lambda body: self.post(pool, body), bodies):
                pass
            seconds = time.perf_counter() - start
            return len(files) / seconds, (time.process_time() - cpu) / seconds

    def embedding(self, file: Path) -> NDArray[np.float32]:
        """Return the server's embedding of one picture."""
        with self.process.awake():
            return self.api.embedding(self, file)

    def ask(self, body: dict[str, Any]) -> Any:
        """Send one request and return the answer."""
        with httpcore2.ConnectionPool() as pool:
            return self.post(pool, json.dumps(body).encode())


@dataclass(frozen=True)
class Infinity:
    """infinity-emb's server: pictures as data URIs, embeddings back."""

    programs: Path
    model: Path
    address = "/embeddings"

    def command(self, port: int, options: list[str]) -> list[str]:
        # The required libraries no longer have BetterTransformer; CLIP uses torch's fused attention anyway.
        fixed = ["--engine", "torch", "--device", "cpu", "--no-bettertransformer", "--log-level", "warning"]
        where = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "clip"]
        return [
            str(self.programs / "infinity_emb"), "v2", "--model-id", str(self.model), *fixed, *where, *options
        ]  # fmt: skip

    def request(self, files: list[Path]) -> dict[str, Any]:
        pictures = [
            f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" for file in files
        ]
        return {"model": "clip", "modality": "image", "encoding_format": "base64", "input": pictures}

    def body(self, files: list[Path]) -> bytes:
        return json.dumps(self.request(files)).encode()

    def embedding(self, server: Server, file: Path) -> NDArray[np.float32]:
        answer = server.ask(self.request([file]))
        return np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype=np.float32)


@dataclass(frozen=True)
class LitServe:
    """LitServe with `peers_inside/litserve_server.py`: a path in, scores back."""

    programs: Path
    model: Path
    prompts: Path
    address = "/predict"

    def command(self, port: int, options: list[str]) -> list[str]:
        program = [str(self.programs / "python"), str(INSIDE / "litserve_server.py")]
        return [*program, str(self.model), str(self.prompts), "--port", str(port), *options]

    def body(self, files: list[Path]) -> bytes:
        (file,) = files
        return json.dumps({"path": str(file)}).encode()

    def embedding(self, server: Server, file: Path) -> NDArray[np.float32]:
        return np.array(server.ask({"path": str(file), "embedding": True})["embedding"], dtype=np.float32)
