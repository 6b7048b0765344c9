import base64
import json
from typing import Any

import pytest
from starlette.datastructures import Headers

from moderator.gateway.cloudevents import BATCHED, STRUCTURED, read_events
from moderator.gateway.problems import RequestRefused

DATA = {"image": {"url": "https://example.org/a.jpg"}}
EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "org.example.upload", "data": DATA}
NAMED = {"id": "7", "source": "/shop", **DATA}


def read(kind: str, value: Any, **headers: str) -> tuple[list[Any], bool]:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return read_events(Headers({"content-type": kind, **names}), json.dumps(value).encode())


def status(kind: str, value: Any, **headers: str) -> int:
    with pytest.raises(RequestRefused) as refused:
        read(kind, value, **headers)
    return refused.value.status


def test_a_plain_event_stays_as_it_is() -> None:
    assert read("application/json; charset=UTF-8", DATA) == ([DATA], False)


def test_structured_binary_and_batched_mode_mean_the_same() -> None:
    assert read(STRUCTURED, EVENT) == ([NAMED], False)
    binary = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "%2Fshop", "ce_type": "t"}
    assert read("application/json", DATA, **binary) == ([NAMED], False)
    assert read(BATCHED, [EVENT, EVENT]) == ([NAMED, NAMED], True)
    assert read(BATCHED, []) == ([], True)


def test_data_in_base64_is_read() -> None:
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    event = {key: value for key, value in EVENT.items() if key != "data"}
    assert read(STRUCTURED, {**event, "data_base64": encoded}) == ([NAMED], False)


def test_the_data_may_name_the_event_itself() -> None:
    assert read(STRUCTURED, {**EVENT, "data": {**DATA, "id": "own"}})[0][0]["id"] == "own"


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"specversion": 1.0},
        {"id": ""},
        {"source": None},
        {"type": 5},
        {"data": None},
        {"data": "text"},
        {"data_base64": "?"},
        {"data_base64": 7},
    ],
)
def test_an_incomplete_cloudevent_is_refused(change: dict[str, Any]) -> None:
    assert status(STRUCTURED, {**EVENT, **change}) == 422


def test_other_kinds_are_refused() -> None:
    assert status("text/plain", DATA) == 415
    assert status("application/json; charset=latin-1", DATA) == 415
    assert status(STRUCTURED, {**EVENT, "datacontenttype": "image/png"}) == 415
    assert status(STRUCTURED, [EVENT]) == 422
    assert status(BATCHED, EVENT) == 422
    assert status(BATCHED, [EVENT] * 1001) == 422
    assert status("application/json", DATA, ce_id="7") == 422


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"[" * 100_000, b'{"a": "\xff"}'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_events(Headers({"content-type": "application/json"}), body)
    assert refused.value.status == 400
