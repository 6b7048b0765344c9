"""A load of HTTP requests over many connections, cheap enough to share the cores with what it measures."""

import asyncio
import time
from dataclasses import dataclass, field

#: Seconds for a whole trial to end after its time is up.
END_SECONDS = 30


@dataclass
class Trial:
    """What one trial found."""

    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Accepted events a second."""
        return self.accepted / self.seconds

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies, in seconds."""
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))]


class _Connection(asyncio.Protocol):
    """Sends one request after the other, each as soon as the one before is answered."""

    def __init__(self, load: "_Load", number: int) -> None:
        self._load, self._number, self._sent, self._turn, self._left = load, number, 0.0, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._left += data
        head, found, body = self._left.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._left = b""
        self._load.note(head.startswith(b"HTTP/1.1 202"), time.perf_counter() - self._sent)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.end()

    def _send(self) -> None:
        if time.perf_counter() >= self._load.until:
            self._transport.close()
            return
        self._turn += 1
        self._sent = time.perf_counter()
        self._transport.write(self._load.request(f"{self._number}-{self._turn}"))  # type: ignore[attr-defined]


class _Load:
    def __init__(self, name: str, headers: str, connections: int, seconds: float) -> None:
        self._name, self._headers = name, headers
        self.trial = Trial()
        self.until = time.perf_counter() + seconds
        self._open, self.ended = connections, asyncio.Event()

    def request(self, id: str) -> bytes:
        body = (
            f'{{"id":"{self._name}-{id}","source":"bench","policy":"marketplace","image":{{"url":'
            f'"https://images.example.org/{id}.jpg"}},"metadata":{{"subject":"user-{id}"}}}}'
        )
        return (
            f"POST /v1/events HTTP/1.1\r\nHost: bench\r\n{self._headers}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def note(self, good: bool, seconds: float) -> None:
        self.trial.accepted += good
        self.trial.refused += not good
        self.trial.latencies.append(seconds)

    def end(self) -> None:
        self._open -= 1
        if not self._open:
            self.ended.set()


async def run_load(port: int, name: str, headers: str, connections: int, seconds: float) -> Trial:
    """Post events for some seconds over so many connections.

    Args:
        port: of the server, on this machine.
        name: of this trial: begins the ids of events.
        headers: further ones, each with its line break.
        connections: side by side.
        seconds: to run.
    """
    loop = asyncio.get_running_loop()
    load, start = _Load(name, headers, connections, seconds), time.perf_counter()
    for number in range(connections):
        await loop.create_connection(lambda number=number: _Connection(load, number), "127.0.0.1", port)
    await asyncio.wait_for(load.ended.wait(), seconds + END_SECONDS)
    load.trial.seconds = time.perf_counter() - start
    return load.trial
