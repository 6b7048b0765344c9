"""What the ledger sends. What its scripts make of it is tested with a real server."""

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from moderator.errors import EventInvalid, QueueFull, QueueUnavailable
from moderator.events import Event
from moderator.queue.bounds import QueueBounds
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.message import decode_message

IMAGE = {"path": "/a"}


class Recorder:
    """Takes scripts and writes down how they are called."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], list[Any]]] = []
        self.broken = False
        self.full = False

    def register_script(self, text: str) -> Any:
        def call(keys: list[Any], args: list[Any], client: object = None) -> list[bytes]:
            if self.broken:
                raise RedisConnectionError("refused")
            self.calls.append((keys, args))
            if self.full:
                return [b"full", b"30", b"10.0"]
            return [b"accepted"] * ((len(args) - 7) // 2)

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
    assert keys[:2] == ["moderation:pending", "moderation"]
    assert decode_message(args[2].encode())["id"] == event.id, "a worker would make up another"
    assert args[7] == event.key
    assert Event.model_validate_json(args[8]) == event


def test_a_bulk_event_is_one_message_and_an_entry_per_image(ledger: Ledger, redis: Recorder) -> None:
    body = {"id": "b", "images": [IMAGE] * 3}
    accepted = ledger.accept(body)
    ((keys, args),) = redis.calls
    assert keys[:2] == ["moderation:pending", "moderation.bulk"]
    assert decode_message(args[2].encode()) == body
    assert args[7::2] == [event.key for event, _ in accepted]
    assert args[7::2] == ["moderator:b%2F0", "moderator:b%2F1", "moderator:b%2F2"]


def test_what_is_no_event_is_not_sent(ledger: Ledger, redis: Recorder) -> None:
    with pytest.raises(EventInvalid):
        ledger.accept({"image": {}})
    assert redis.calls == []


def test_a_server_that_is_gone(ledger: Ledger, redis: Recorder) -> None:
    redis.broken = True
    with pytest.raises(QueueUnavailable, match="nothing is on the queue"):
        ledger.accept({"image": IMAGE})


def test_a_full_queue_says_when_to_come_again(redis: Recorder) -> None:
    ledger = Ledger(redis, 30.0, QueueBounds(1000, 5000))
    redis.full = True
    with pytest.raises(QueueFull, match=r"Submit again in 4.0 s") as refused:
        ledger.accept({"image": IMAGE})
    assert refused.value.retry_after == 4.0, "30 above the bound and 10 for headroom, 10 a second"
    ((_, args),) = redis.calls
    assert args[4:6] == [1000, 5000]


def test_bulk_meets_its_share_of_the_bounds(redis: Recorder) -> None:
    Ledger(redis, 30.0, QueueBounds(1000, 5000)).accept({"id": "b", "images": [IMAGE]})
    ((_, args),) = redis.calls
    assert args[4:6] == [800, 4000]
