"""What goes to Redis, and what its answers mean. What the scripts make of it is tested with real servers."""

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.errors import (
    DeadLetterNotFound,
    EventInvalid,
    QueueFull,
    QueueUnavailable,
    RedisMisused,
    VerdictUnreadable,
)
from moderator.events import Event
from moderator.queue import commands, stats
from moderator.queue.bounds import NO_BOUNDS, QueueBounds
from moderator.queue.commands import Command, read_body
from moderator.queue.failures import failing_as, not_accepted
from moderator.queue.message import decode_message
from moderator.queue.records import Acceptance

IMAGE = {"path": "/a"}


def accept(body: dict[str, Any], bounds: QueueBounds = NO_BOUNDS) -> Command[list[tuple[Event, Acceptance]]]:
    return commands.accept(*read_body(body), 30.0, bounds)


def test_the_message_carries_the_id_under_which_the_event_is_kept() -> None:
    command = accept({"image": IMAGE})
    ((event, acceptance),) = command.read([b"accepted"])
    assert acceptance is Acceptance.ACCEPTED
    assert command.keys[:2] == ["moderation:pending", "moderation"]
    assert decode_message(command.args[2].encode())["id"] == event.id, "a worker would make up another"
    assert command.args[7] == event.key
    assert Event.model_validate_json(command.args[8]) == event


def test_a_bulk_event_is_one_message_and_an_entry_per_image() -> None:
    body = {"id": "b", "images": [IMAGE] * 3}
    command = accept(body)
    assert command.keys[:2] == ["moderation:pending", "moderation.bulk"]
    assert decode_message(command.args[2].encode()) == body
    answers = command.read([b"accepted", b"pending", b"answered"])
    assert command.args[7::2] == [event.key for event, _ in answers]
    assert command.args[7::2] == ["moderator:b%2F0", "moderator:b%2F1", "moderator:b%2F2"]
    assert [acceptance.value for _, acceptance in answers] == ["accepted", "pending", "answered"]


def test_what_is_no_event_is_not_sent() -> None:
    with pytest.raises(EventInvalid):
        accept({"image": {}})


def test_a_full_queue_says_when_to_come_again() -> None:
    command = accept({"image": IMAGE}, QueueBounds(1000, 5000))
    assert command.args[4:6] == [1000, 5000]
    with pytest.raises(QueueFull, match=r"Submit again in 4.0 s") as refused:
        command.read([b"full", b"30", b"10.0"])
    assert refused.value.retry_after == 4.0, "30 above the bound and 10 for headroom, 10 a second"


def test_bulk_meets_its_share_of_the_bounds() -> None:
    command = accept({"id": "b", "images": [IMAGE]}, QueueBounds(1000, 5000))
    assert command.args[4:6] == [800, 4000]


def test_commands_go_out_as_redis_reads_them() -> None:
    assert stats.refusals("moderation").words() == ("HGET", "moderation:refusals", "moderation")
    words = accept({"image": IMAGE}).words()
    assert (words[0], len(words[1]), words[2]) == ("EVALSHA", 40, 5)


def test_many_held_events_are_extended_in_steps() -> None:
    held = [(f"k{n}", "t") for n in range(2 * commands.EXTEND_EVENTS_MAX + 1)]
    parts = [part for command in commands.extend(held, 1.0) for part in command.args[2:]]
    assert [len(c.args) for c in commands.extend(held, 1.0)] == [1002, 1002, 4]
    assert list(zip(parts[::2], parts[1::2], strict=True)) == held


def test_a_letter_that_is_gone() -> None:
    event = Event.model_validate({"id": "a", "image": IMAGE})
    command = commands.replay(event.key, "1.0", event, 30.0)
    assert command.read(b"replayed") is Acceptance.ACCEPTED
    assert command.read(b"answered") is Acceptance.ANSWERED
    with pytest.raises(DeadLetterNotFound, match="moderator:a"):
        command.read(b"gone")


def test_the_verdict_of_another_version() -> None:
    command = commands.verdict("moderator:a/0")
    assert command.args == ("moderation:verdict:moderator:a/0", "moderation:verdict:moderator:a%2F0")
    assert command.read([None, None]) is None
    with pytest.raises(VerdictUnreadable, match="update this one"):
        command.read([None, b"{}"])


def test_stats_need_every_answer() -> None:
    found = stats.read_stats([3, 900, 1, 2, 7, 0, 0])
    assert (found.pending, found.pending_bytes, found.dead_letters) == (3, 900, 1)
    assert found.waiting == {"moderation": 2, "moderation.bulk": 0}
    assert found.refusals == {"moderation": 7, "moderation.bulk": 0}
    with pytest.raises(RedisMisused):
        stats.read_stats([3, RedisMisused("a list"), 1, 2, 7, 0, 0])


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (RedisConnectionError("refused"), "nothing is on the queue"),
        (RedisTimeoutError("no answer"), "a may be on the queue all the same"),
        (RedisMisused("a list"), "nothing is on the queue"),
    ],
)
def test_without_an_answer_an_event_may_have_arrived(error: Exception, fate: str) -> None:
    event = Event.model_validate({"id": "a", "image": IMAGE})
    with (
        pytest.raises(QueueUnavailable, match=fate) as raised,
        failing_as(lambda error: not_accepted(event, error)),
    ):
        raise error
    assert raised.value.__cause__ is error
