"""What the ledger sends. What its scripts make of it is tested with a real server."""

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from moderator.errors import EventInvalid, QueueUnavailable
from moderator.events import Event
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.message import decode_message

IMAGE = {"path": "/a"}


class Recorder:
    """Takes scripts and writes down how they are called."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], list[Any]]] = []
        self.broken = False

    def register_script(self, text: str) -> Any:
        def call(keys: list[Any], args: list[Any], client: object = None) -> list[bytes]:
            if self.broken:
                raise RedisConnectionError("refused")
            self.calls.append((keys, args))
            return [b"accepted"] * ((len(args) - 4) // 2)

        return call


@pytest.fixture
def redis() -> Recorder:
    return Recorder()


@pytest.fixture
def ledger(redis: Recorder) -> Ledger:
    return Ledger(redis, 30.0)


def test_the_message_carries_the_id_under_which_the_event_is_kept(ledger: Ledger, redis: Recorder) -> None:
    ((event, acceptance),) = ledger.accept({"image": IMAGE})
    ((keys, args),) = redis.calls
    assert acceptance is Acceptance.ACCEPTED
    assert keys == ["moderation:pending", "moderation"]
    assert decode_message(args[2].encode())["id"] == event.id, "a worker would make up another"
    assert args[4] == event.key
    assert Event.model_validate_json(args[5]) == event


def test_a_bulk_event_is_one_message_and_an_entry_per_image(ledger: Ledger, redis: Recorder) -> None:
    body = {"id": "b", "images": [IMAGE] * 3}
    accepted = ledger.accept(body)
    ((keys, args),) = redis.calls
    assert keys == ["moderation:pending", "moderation.bulk"]
    assert decode_message(args[2].encode()) == body
    assert args[4::2] == [event.key for event, _ in accepted]
    assert args[4::2] == ["moderator:b/0", "moderator:b/1", "moderator:b/2"]


def test_what_is_no_event_is_not_sent(ledger: Ledger, redis: Recorder) -> None:
    with pytest.raises(EventInvalid):
        ledger.accept({"image": {}})
    assert redis.calls == []


def test_a_server_that_is_gone(ledger: Ledger, redis: Recorder) -> None:
    redis.broken = True
    with pytest.raises(QueueUnavailable, match="nothing is on the queue"):
        ledger.accept({"image": IMAGE})
