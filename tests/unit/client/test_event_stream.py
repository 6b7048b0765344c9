from collections import deque

import pytest

from moderator.client.event_stream import EVENT_BYTES_MAX, EventStreamReader, ServerSentEvent
from moderator.errors import NotAGateway

STREAM = (
    ": hello\n\nid: 1-0\nevent: verdict\ndata: {}\n\n"
    "retry: 5\nid: 2-0\r\nevent:verdict\r\ndata: é\r\ndata:\r\n\r\n: keep-alive\n\n"
    "id: 3-0\n\ndata: x\n\nid: 4-0\ndata: never"
).encode()
EVENTS = [
    ServerSentEvent("verdict", "1-0", "{}"),
    ServerSentEvent("verdict", "2-0", "é\n"),
    ServerSentEvent("message", "3-0", "x"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_however_the_bytes_arrive(size: int) -> None:
    reader = EventStreamReader()
    parts = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [event for part in parts for event in reader.feed(part)] == EVENTS, "the last one is not complete"


@pytest.mark.parametrize("line", [b"data: ", b""], ids=["many lines", "one line"])
def test_an_event_is_bounded(line: bytes) -> None:
    reader = EventStreamReader()
    part = (line + b"x" * 65_536 + b"\n") if line else b"x" * 65_536
    parts = [part] * (EVENT_BYTES_MAX // 65_536 + 2)
    with pytest.raises(NotAGateway, match="more than"):
        deque((event for part in parts for event in reader.feed(part)), maxlen=0)
