"""Server-sent events, as the gateway streams verdicts, read line by line. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from collections.abc import Iterator
from dataclasses import dataclass

from moderator.errors import NotAGateway

#: Most bytes of one event: a verdict takes a few kB, with the largest metadata a hundred.
EVENT_BYTES_MAX = 4 << 20


@dataclass(frozen=True)
class ServerSentEvent:
    """One event. `id` is the last id that the stream named, of this event or an earlier one."""

    kind: str
    id: str | None
    data: str


class EventStreamReader:
    """Turns the bytes of one connection into events."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: str | None = None
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that are complete with this chunk.

        Raises:
            NotAGateway: an event is larger than any verdict.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._bound(len(self._rest))
        for line in (line.removesuffix(b"\r") for line in lines):
            if line:
                self._read(line.decode("utf-8", "replace"))
            else:
                yield from self._dispatch()

    def _read(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._kind = value
            case "data":
                self._size += len(value)
                self._bound(self._size)
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case _:  # a comment, which keeps the connection open, or a field that readers ignore
                pass

    def _dispatch(self) -> Iterator[ServerSentEvent]:
        kind, data = self._kind or "message", self._data
        self._kind, self._data, self._size = "", [], 0
        if data:
            yield ServerSentEvent(kind, self._id, "\n".join(data))

    @staticmethod
    def _bound(size: int) -> None:
        if size > EVENT_BYTES_MAX:
            raise NotAGateway(f"the gateway's stream has an event of more than {EVENT_BYTES_MAX} bytes")
