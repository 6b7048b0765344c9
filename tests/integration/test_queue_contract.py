"""What the queue promises, over every server that it runs on and without one, from threads and from an event loop."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest

from moderator.errors import (
    DeadLetterNotFound,
    EventInvalid,
    QueueFull,
    QueueUnavailable,
    RedisMisused,
    VerdictChanged,
    VerdictNotFound,
    VerdictsMissed,
    VerdictTimeout,
    VerdictUnreadable,
    WebhookFailed,
)
from moderator.events import Event, ImageReference
from moderator.queue import commands, keys, revisions
from moderator.queue.bounds import NO_BOUNDS, QueueBounds
from moderator.queue.commands import MAX_DELIVERIES
from moderator.queue.connection import connect, connect_async
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.evidence import Evidence
from moderator.queue.executors import AsyncRedisExecutor, RedisExecutor
from moderator.queue.ledger import Acceptance, Claim, DeadLetterReason, Ledger
from moderator.queue.message import decode_message
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import (
    NO_SUBSCRIPTIONS,
    WEBHOOKS,
    Subscription,
    Subscriptions,
    outbox_names,
)
from moderator.testing.memory_queue import MemoryServer
from moderator.verdicts import Decision, ModelFacts, verdict_digest
from tests.support.ledger_events import BULK, QUEUE, answer, body, claim_one, event, publish
from tests.support.queue_doors import LEASE, Door, EventLoop, Threads, redis
from tests.support.service import stopped
from tests.support.tools import needs

Open = Callable[..., Door]
DEAD = DeadLetterReason("ImageBroken", "broken")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Redis itself, which most have; the embedded server is Valkey."""
    binary = needs("redis-server", "redis-server")
    with EmbeddedServer(tmp_path_factory.mktemp("redis"), binary=binary) as server:
        yield server


@pytest.fixture(params=["valkey", "redis", "memory"])
def place(request: pytest.FixtureRequest) -> str | MemoryServer:
    """Where the queue is: the URL of an empty database, or a server in memory."""
    if request.param == "memory":
        return MemoryServer()
    fixture = {"valkey": "shared_server", "redis": "redis_server"}[request.param]
    server: EmbeddedServer = request.getfixturevalue(fixture)
    url = server.url.removesuffix("/0") + "/12"
    with connect(url) as client:
        client.flushdb()
    return url


@pytest.fixture(params=["threads", "event loop"])
def open_door(request: pytest.FixtureRequest, place: str | MemoryServer) -> Iterator[Open]:
    with asyncio.Runner() as runner:

        def open_door(bounds: QueueBounds, subscriptions: Subscriptions = NO_SUBSCRIPTIONS) -> Door:
            if request.param == "threads":
                executor = (
                    place.executor if isinstance(place, MemoryServer) else RedisExecutor(connect(place))
                )
                return Threads(executor, bounds, subscriptions)
            if isinstance(place, MemoryServer):
                return EventLoop(place.async_executor, bounds, runner, subscriptions)
            client = connect_async(place)
            closing.append(client)
            return EventLoop(AsyncRedisExecutor(client), bounds, runner, subscriptions)

        closing: list[Any] = []
        yield open_door
        for client in closing:
            runner.run(client.aclose())


@pytest.fixture
def door(open_door: Open) -> Door:
    return open_door(NO_BOUNDS)


@pytest.fixture
def elsewhere(place: str | MemoryServer) -> Ledger:
    """The same queue for another thread."""
    executor = place.executor if isinstance(place, MemoryServer) else RedisExecutor(connect(place))
    return Ledger(executor, LEASE)


def submit(door: Door, *names: str, **more: Any) -> list[str]:
    return [door.accept(body(name, **more))[0][1].value for name in names]


def take(door: Door, name: str) -> Any:
    """Claim an event as a worker does that has just taken its message."""
    redis(door, "RPOP", QUEUE)
    return claim_one(door.ledger, event(name))


def publish_many(door: Door, *names: str, length: int = 1000) -> None:
    answers = [answer(event(name)) for name in names]
    assert None not in door.ledger.publish(answers, ttl=60.0, stream_length=length)


def test_an_event_is_accepted_once(door: Door) -> None:
    assert submit(door, "a", "a") == ["accepted", "pending"]
    publish(door.ledger, event("a"))
    assert submit(door, "a") == ["answered"]
    assert door.stats().waiting == {QUEUE: 1, BULK: 0}
    assert (door.stats().pending, door.stats().pending_bytes) == (0, 0)


def test_what_is_no_event_is_not_accepted(door: Door) -> None:
    with pytest.raises(EventInvalid):
        door.accept({"id": "a"})
    assert door.stats().pending == 0


def test_a_bulk_event_that_is_half_known_is_pushed_for_the_rest(door: Door) -> None:
    message = {"id": "up", "images": [{"path": "/x.jpg"}] * 3}
    assert [a.value for _, a in door.accept(message)] == ["accepted"] * 3
    publish(door.ledger, door.accept(message)[1][0])
    assert [a.value for _, a in door.accept(message)] == ["pending", "answered", "pending"]
    assert (door.stats().pending, door.stats().waiting[BULK]) == (2, 1)


def test_an_image_of_a_bulk_event_is_not_the_event_of_that_name(door: Door) -> None:
    ((image, _),) = door.accept({"id": "up", "images": [{"path": "/x.jpg"}]})
    assert image.id == "up/0"
    assert submit(door, "up/0") == ["accepted"]
    publish(door.ledger, image)
    found = door.verdict("moderator:up/0")
    assert found is not None
    assert found.bulk == "up", "the single event has none yet"
    publish(door.ledger, event("up/0"))
    found = door.verdict("moderator:up/0")
    assert found is not None
    assert found.bulk is None
    assert [verdict.bulk for _, verdict in door.tail("0")] == ["up", None]


def test_nobody_can_claim_what_another_works_at(door: Door) -> None:
    submit(door, "a")
    claim = take(door, "a")
    assert isinstance(claim, Claim)
    assert (claim.attempt, claim.harmed, claim.held_off) == (1, False, 0.0)
    assert 0 <= claim.waited < 5
    assert claim_one(door.ledger, event("a")) == "busy"
    publish(door.ledger, event("a"), claim=claim)
    assert claim_one(door.ledger, event("a")) == "answered"


def test_the_same_token_gets_the_same_claim(door: Door) -> None:
    submit(door, "a")
    asked = [commands.claim(event("a"), token, LEASE) for token in ("one", "one", "two")]
    first, again, other = door.executor.run_each(asked)
    assert isinstance(first, Claim)
    assert isinstance(again, Claim)
    assert (first.attempt, again.attempt, again.token, other) == (1, 1, "one", "busy")


def test_a_message_that_came_past_the_ledger_enters_it(door: Door) -> None:
    assert isinstance(claim_one(door.ledger, event("raw")), Claim)
    assert door.stats().pending == 1
    publish(door.ledger, event("raw"))
    assert door.stats().pending == 0


def test_a_retry_waits_its_time_and_counts(door: Door) -> None:
    submit(door, "a")
    claim = take(door, "a")
    assert door.ledger.retry(event("a"), claim, LEASE, harmed=True)
    assert door.ledger.sweep() == 0
    time.sleep(1.5 * LEASE)
    assert door.ledger.sweep() == 1
    again = take(door, "a")
    assert (again.attempt, again.harmed) == (2, True)


def test_a_try_that_does_not_count(door: Door) -> None:
    submit(door, "a")
    assert door.ledger.retry(event("a"), take(door, "a"), 0.0, counts=False, held_off=True)
    door.ledger.sweep()
    time.sleep(0.05)
    again = take(door, "a")
    assert again.attempt == 1
    assert again.held_off >= 0.05
    assert door.ledger.retry(event("a"), again, 0.0)
    door.ledger.sweep()
    last = take(door, "a")
    assert (last.attempt, last.held_off) == (2, 0.0), "it failed for another reason"


def test_what_is_given_back_costs_no_try(door: Door) -> None:
    submit(door, "a")
    claim = take(door, "a")
    assert door.ledger.give_back(event("a"), claim)
    assert not door.ledger.give_back(event("a"), claim), "it is not held any more"
    assert door.ledger.sweep() == 1
    assert take(door, "a").attempt == 1


def test_leases_are_extended_for_whoever_holds_them(door: Door) -> None:
    submit(door, "held", "waits", "lost")
    claim = claim_one(door.ledger, event("held"))
    lost = claim_one(door.ledger, event("lost"))
    redis(door, "DEL", QUEUE)
    held = [("moderator:held", claim.token), ("moderator:waits", "")]
    for _ in range(2):
        time.sleep(0.6 * LEASE)
        others = [("moderator:held", "another"), ("moderator:lost", ""), ("moderator:none", "")]
        assert (door.ledger.extend(held), door.ledger.extend(others)) == (2, 0)
    assert door.ledger.sweep() == 1, "only the one that nobody extended"
    assert not door.ledger.retry(event("lost"), lost, 0.0)


def test_the_second_verdict_changes_nothing(door: Door) -> None:
    submit(door, "a")
    claim = take(door, "a")
    seconds = publish(door.ledger, event("a"), claim=claim)
    assert 0 <= seconds < 5
    assert publish(door.ledger, event("a"), dead=DEAD) is None
    found = door.verdict("moderator:a")
    assert found is not None
    assert found.decision is Decision.ALLOW
    assert len(door.tail("0")) == 1
    assert door.dead_letters() == []


def test_the_verdict_of_a_late_owner_is_refused(door: Door) -> None:
    submit(door, "a")
    late = take(door, "a")
    time.sleep(1.5 * LEASE)
    new = claim_one(door.ledger, event("a"))
    assert (new.attempt, new.losses) == (1, 1)
    assert publish(door.ledger, event("a"), claim=late) is None
    assert not door.ledger.retry(event("a"), late, 0.0)
    assert door.verdict("moderator:a") is None
    assert publish(door.ledger, event("a"), claim=new) is not None


def test_a_verdict_expires(door: Door) -> None:
    door.ledger.publish([answer(event("a"))], ttl=1.0, stream_length=10)
    assert door.verdict("moderator:a") is not None
    time.sleep(1.2)
    assert door.verdict("moderator:a") is None
    assert door.verdict("moderator:never") is None


def test_a_verdict_of_another_version_is_a_typed_error(door: Door) -> None:
    redis(door, "SET", keys.VERDICT_PREFIX + "moderator:a", "{}")
    with pytest.raises(VerdictUnreadable, match="another version"):
        door.verdict("moderator:a")


def test_a_verdict_is_waited_for(door: Door, elsewhere: Ledger) -> None:
    publish(door.ledger, event("there"))
    assert door.wait("moderator:there", 5.0).event_id == "there"
    timer = Timer(0.2, publish, (elsewhere, event("soon")))
    timer.start()
    start = time.monotonic()
    assert door.wait("moderator:soon", 20.0).event_id == "soon"
    assert time.monotonic() - start < 10
    timer.join()
    with pytest.raises(VerdictTimeout, match=r"moderator:never after 0\.1 s"):
        door.wait("moderator:never", 0.1)


def test_a_lost_message_comes_back_after_the_lease(door: Door) -> None:
    submit(door, "a", "b")
    redis(door, "RPOP", QUEUE)
    assert door.ledger.sweep() == 0
    time.sleep(1.5 * LEASE)
    assert door.ledger.sweep() == 1, "the other one is still on the queue"
    assert door.ledger.sweep() == 0
    assert door.stats().waiting[QUEUE] == 2


def test_what_a_dead_worker_held_comes_back(door: Door) -> None:
    submit(door, "a")
    take(door, "a")
    time.sleep(1.5 * LEASE)
    assert door.ledger.sweep() == 1
    claim = take(door, "a")
    assert (claim.attempt, claim.losses) == (1, 1), (
        "it may merely have been in the same worker as what killed it"
    )


def test_what_is_lost_again_waits_for_a_random_time(door: Door) -> None:
    submit(door, "a")
    take(door, "a")
    time.sleep(1.5 * LEASE)
    assert door.ledger.sweep() == 1
    take(door, "a")
    time.sleep(1.5 * LEASE)
    (found,) = door.executor.run(commands.overdue({QUEUE: None}, LEASE))
    again = commands.requeue(event("a"), "moderator:a", found.due, QUEUE, LEASE, 0.1)
    assert door.executor.run(again) == 0, "0.1 of 4 seconds"
    assert door.executor.run(again) == 0, "another process was quicker"
    assert door.ledger.sweep() == 0
    time.sleep(0.5)
    assert door.ledger.sweep() == 1
    claim = take(door, "a")
    assert (claim.attempt, claim.losses) == (1, 2)
    assert door.ledger.retry(event("a"), claim, 0.0)
    assert door.ledger.sweep() == 1
    claim = take(door, "a")
    assert (claim.attempt, claim.losses) == (2, 0), "a worker survived it"


def test_a_verdict_wins_over_the_sweeper(door: Door) -> None:
    submit(door, "a")
    take(door, "a")
    time.sleep(1.5 * LEASE)
    publish(door.ledger, event("a"))
    assert (door.ledger.sweep(), door.stats().waiting[QUEUE]) == (0, 0)


def test_what_is_never_claimed_ends_in_a_dead_letter(
    open_door: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.queue_doors.LEASE", 0.0)
    door = open_door(NO_BOUNDS)
    submit(door, "a")
    told: list[str] = []
    for _ in range(MAX_DELIVERIES):
        redis(door, "RPOP", QUEUE)
        assert door.ledger.sweep() == 1
    redis(door, "RPOP", QUEUE)
    assert door.ledger.sweep(lambda verdict, seconds, error: told.append(type(error).__name__)) == 0
    assert told == ["AttemptsExhausted"]
    (letter,) = door.dead_letters()
    assert (letter.key, letter.error) == ("moderator:a", "AttemptsExhausted")
    found = door.verdict("moderator:a")
    assert found is not None
    assert found.decision is Decision.ERROR


def test_a_record_that_cannot_be_read_holds_up_no_other(
    open_door: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.queue_doors.LEASE", 0.0)
    door = open_door(NO_BOUNDS)
    submit(door, "bad", "good")
    redis(door, "DEL", QUEUE)
    redis(door, "SET", keys.RECORD_PREFIX + "moderator:bad", "theirs")
    assert door.ledger.sweep() == 1
    assert [letter.error for letter in door.dead_letters()] == ["RecordUnreadable"]


def die(door: Door, *names: str) -> None:
    for name in names:
        publish(door.ledger, event(name), dead=DEAD)


def test_a_replay_withdraws_the_verdict_and_its_dead_letter(door: Door) -> None:
    submit(door, "a")
    claim = take(door, "a")
    publish(door.ledger, event("a"), dead=DEAD, claim=claim)
    letter = door.dead_letter("moderator:a")
    assert letter is not None
    assert (letter.error, letter.message, letter.attempts) == ("ImageBroken", "broken", 1)
    assert letter.event == event("a")
    assert door.replay(letter) is Acceptance.ACCEPTED
    assert door.verdict("moderator:a") is None
    assert (door.stats().pending, door.stats().waiting[QUEUE], door.stats().dead_letters) == (1, 1, 0)
    for again in (door.replay, door.drop):
        with pytest.raises(DeadLetterNotFound):
            again(letter)
    assert door.stats().pending == 1


def test_a_replay_of_what_was_submitted_again(door: Door) -> None:
    die(door, "waits", "answered")
    waits, answered = door.dead_letters()
    for letter in (waits, answered):
        redis(door, "DEL", keys.VERDICT_PREFIX + letter.key)
        submit(door, letter.key.partition(":")[2])
    publish(door.ledger, event("answered"))
    assert door.replay(waits) is Acceptance.PENDING
    assert door.replay(answered) is Acceptance.ANSWERED
    assert door.verdict(answered.key) is not None
    assert door.dead_letters() == []


def test_dead_letters_are_listed_and_dropped(door: Door) -> None:
    die(door, *"abc")
    assert [letter.key[-1] for letter in door.dead_letters()] == ["a", "b", "c"]
    newest = door.dead_letters(2)
    assert [letter.key[-1] for letter in newest] == ["c", "b"]
    door.drop(newest[0])
    assert [letter.key[-1] for letter in door.dead_letters()] == ["a", "b"]
    assert door.dead_letter("moderator:c") is None
    assert door.stats().dead_letters == 2


def test_dead_letters_that_are_no_events(door: Door) -> None:
    key = door.letters.bury_message({"no": "event"}, EventInvalid("image: is missing"))
    redis(door, "SET", keys.DEAD_LETTER_PREFIX + "moderator:b", "theirs")
    message, unreadable = door.dead_letter(key), door.dead_letter("moderator:b")
    assert message is not None
    assert unreadable is not None
    assert (message.error, message.raw) == ("EventInvalid", '{"no": "event"}')
    assert "a string stands in its place" in unreadable.message
    for letter in (message, unreadable):
        with pytest.raises(EventInvalid, match="is no event"):
            door.replay(letter)
        door.drop(letter)
    assert door.dead_letters() == []


BOTH = Subscriptions((Subscription("archive", evidence=True), Subscription("audit")), limit=2)
MODEL = ModelFacts(id="m", revision="1", preprocessing="p", device="cpu", dtype="float32")
EVIDENCE = Evidence(np.ones((1, 2), np.float32), {"s": {"score": 0.5}}, MODEL)


def publish_to_consumers(door: Door, *names: str) -> None:
    ledger = Ledger(door.executor, LEASE, subscriptions=BOTH)
    answers = [replace(answer(event(name)), evidence=EVIDENCE) for name in names]
    published = ledger.publish(answers, ttl=60.0, stream_length=100)
    assert all(isinstance(seconds, float) for seconds in published)


def delivery_of(door: Door, consumer: str) -> tuple[str, dict[bytes, bytes]]:
    """The newest delivery: its key, and what it carries."""
    due, prefix = outbox_names(consumer)
    key = redis(door, "ZRANGE", due, -1, -1)[0].decode()
    fields = redis(door, "HGETALL", prefix + key)
    assert float(fields.pop(b"since")) > 0
    return key, fields


def test_consumers_of_the_outbox_get_what_they_want(door: Door) -> None:
    publish_to_consumers(door, "a")
    embedding, tensor, readings = EVIDENCE.to_fields()
    verdict = door.verdict("moderator:a")
    assert verdict is not None
    for consumer, evidence in {
        "archive": {b"embedding": embedding, b"tensor": tensor, b"readings": readings},
        "audit": {},
    }.items():
        key, fields = delivery_of(door, consumer)
        assert key.startswith("moderator:a#")
        assert fields == {b"body": verdict.model_dump_json().encode(), b"attempts": b"0", **evidence}
    assert redis(door, "ZCARD", outbox_names(WEBHOOKS)[0]) == 0


def test_a_consumer_at_its_limit_misses_verdicts(door: Door) -> None:
    publish_to_consumers(door, *"abc")
    due, _ = outbox_names("audit")
    assert redis(door, "ZCARD", due) == 2
    assert redis(door, "HGET", keys.OUTBOX_MISSED, due) == b"1"
    assert redis(door, "XLEN", keys.VERDICTS) == 3


@pytest.mark.parametrize("key", [keys.OUTBOX_MISSED, outbox_names("audit")[0]])
def test_nothing_is_published_where_an_outbox_is_something_else(door: Door, key: str) -> None:
    redis(door, "SET", key, "theirs")
    ledger = Ledger(door.executor, LEASE, subscriptions=BOTH)
    (misused,) = ledger.publish([answer(event("a"))], ttl=60.0, stream_length=100)
    assert isinstance(misused, RedisMisused)
    assert redis(door, "XLEN", keys.VERDICTS) == 0


@pytest.mark.parametrize("consumer", [WEBHOOKS, "archive", "audit"])
def test_a_delivery_that_died_is_made_again(door: Door, consumer: str) -> None:
    url = "https://example.com/" if consumer == WEBHOOKS else ""
    evidence = EVIDENCE if consumer == "archive" else None
    delivery = Delivery("moderator:a#1", url, b"{}", 3, 0.0, evidence, evidence and evidence.to_fields())
    door.letters.bury_delivery(consumer, delivery, WebhookFailed("no"))
    (letter,) = door.dead_letters()
    assert (letter.webhook, letter.consumer) == ((url, None) if url else (None, consumer))
    assert door.replay(letter) is Acceptance.ACCEPTED
    key, fields = delivery_of(door, consumer)
    wanted = {b"body": b"{}", b"attempts": b"0"} | ({b"url": url.encode()} if url else {})
    if evidence is not None:
        wanted |= dict(zip((b"embedding", b"tensor", b"readings"), evidence.to_fields(), strict=True))
    assert (key, fields) == ("moderator:a#1", wanted)
    with pytest.raises(DeadLetterNotFound):
        door.replay(letter)


def test_a_delivery_that_dies_leaves_the_outbox_at_once(door: Door) -> None:
    publish_to_consumers(door, "a")
    key, _ = delivery_of(door, "audit")
    due, prefix = outbox_names("audit")
    door.letters.bury_delivery("audit", Delivery(key, "", b"{}", 3, 0.0), WebhookFailed("no"))
    assert (redis(door, "ZCARD", due), redis(door, "HGETALL", prefix + key)) == (0, {})
    assert redis(door, "ZCARD", outbox_names("archive")[0]) == 1


URL = "https://example.com/hook"
OBJECTS = Subscription("object-store", objects_decided=frozenset({"block"}))


def test_a_later_decision_takes_the_place_of_a_verdict(door: Door) -> None:
    publish(door.ledger, event("a", reply={"webhook": URL}))
    before, body = door.verdict("moderator:a"), redis(door, "GET", keys.VERDICT_PREFIX + "moderator:a")
    assert before is not None
    first, _ = delivery_of(door, WEBHOOKS)

    after = door.revise("moderator:a", Decision.BLOCK, by="ann", reason="appeal")

    assert after.revises is not None
    assert (after.decision, after.is_safe) == (Decision.BLOCK, False)
    assert (after.revises.digest, after.revises.decided_at) == (verdict_digest(body), before.created_at)
    assert (after.revises.by, after.revises.reason) == ("ann", "appeal")
    assert door.verdict("moderator:a") == after
    assert [verdict for _, verdict in door.tail("0")] == [before, after], "the first one stays on record"
    second, fields = delivery_of(door, WEBHOOKS)
    wanted = {b"url": URL.encode(), b"body": after.model_dump_json().encode(), b"attempts": b"0"}
    assert fields == wanted
    assert first != second, "a message of its own"
    again = door.revise("moderator:a", Decision.ALLOW)
    assert again.revises is not None
    assert again.revises.digest == verdict_digest(fields[b"body"])
    assert again.is_safe


def test_of_two_that_revise_a_verdict_one_succeeds(door: Door) -> None:
    publish(door.ledger, event("a"))
    seen = door.executor.run(revisions.current_verdict("moderator:a"))
    plans = [
        revisions.plan_revision("moderator:a", seen, decision)
        for decision in (Decision.BLOCK, Decision.REVIEW)
    ]
    door.executor.run(revisions.revise(*plans[0], 60.0, 100))
    with pytest.raises(VerdictChanged):
        door.executor.run(revisions.revise(*plans[1], 60.0, 100))
    with pytest.raises(VerdictChanged, match="look at it again"):
        door.revise("moderator:a", Decision.REVIEW, expected=seen.digest if seen else "")
    found = door.verdict("moderator:a")
    assert found is not None
    assert found.decision is Decision.BLOCK
    assert len(door.tail("0")) == 2
    current = door.executor.run(revisions.current_verdict("moderator:a"))
    assert current is not None
    assert door.revise("moderator:a", Decision.REVIEW, expected=current.digest).decision is Decision.REVIEW


def test_what_has_no_verdict_cannot_be_revised(door: Door) -> None:
    submit(door, "a")
    with pytest.raises(VerdictNotFound):
        door.revise("moderator:a", Decision.ALLOW)
    redis(door, "SET", keys.VERDICT_PREFIX + "moderator:b", "{}")
    with pytest.raises(VerdictUnreadable):
        door.revise("moderator:b", Decision.ALLOW)
    assert door.tail("0") == []


def test_a_later_decision_goes_to_the_consumers_that_want_it(open_door: Open) -> None:
    door = open_door(NO_BOUNDS, Subscriptions((Subscription("audit"), OBJECTS), limit=10))
    verdicts = [
        answer(event("path")),
        answer(Event(id="key", image=ImageReference(key="uploads/a.jpg", version="1"))),
    ]
    door.ledger.publish(verdicts, ttl=60.0, stream_length=100)
    assert [redis(door, "ZCARD", outbox_names(name)[0]) for name in ("audit", "object-store")] == [2, 0]
    for name in ("path", "key"):
        door.revise(f"moderator:{name}", Decision.BLOCK)
    assert [redis(door, "ZCARD", outbox_names(name)[0]) for name in ("audit", "object-store")] == [4, 1]
    _, fields = delivery_of(door, "object-store")
    assert (b'"image_key":"uploads/a.jpg","image_version":"1","revises":{"digest":"') in fields[b"body"]
    assert redis(door, "ZCARD", keys.WEBHOOKS) == 0


def test_an_image_of_a_bulk_event_is_revised_by_its_id(door: Door) -> None:
    ((image, _),) = door.accept({"id": "up", "images": [{"path": "/x.jpg"}]})
    publish(door.ledger, image)
    door.revise("moderator:up/0", Decision.BLOCK)
    for key in (image.key, "moderator:up/0"):
        found = door.verdict(key)
        assert found is not None
        assert (found.bulk, found.decision) == ("up", Decision.BLOCK)


def test_a_dead_letter_does_not_withdraw_a_later_decision(door: Door) -> None:
    die(door, "a")
    letter = door.dead_letter("moderator:a")
    assert letter is not None
    assert door.revise("moderator:a", Decision.ALLOW).error is None
    assert door.replay(letter) is Acceptance.ANSWERED
    found = door.verdict("moderator:a")
    assert found is not None
    assert found.decision is Decision.ALLOW


def test_a_webhook_is_forgotten_with_its_event(door: Door) -> None:
    """An event of the same id later has its own, or none."""
    publish(door.ledger, event("a", reply={"webhook": URL}))
    assert redis(door, "GET", keys.REPLY_PREFIX + "moderator:a") == URL.encode()
    redis(door, "DEL", keys.VERDICT_PREFIX + "moderator:a")
    publish(door.ledger, event("a"))
    assert redis(door, "GET", keys.REPLY_PREFIX + "moderator:a") is None


def test_a_full_queue_takes_nothing(open_door: Open) -> None:
    door = open_door(QueueBounds(events=5))
    assert submit(door, *"abcd") == ["accepted"] * 4
    with pytest.raises(QueueFull) as bulk:
        submit(door, "e", priority="bulk")
    assert submit(door, "e") == ["accepted"], "the last fifth is for interactive ones"
    with pytest.raises(QueueFull, match=r"Submit again in 10\.0 s"):
        submit(door, "f")
    assert bulk.value.retry_after == 10.0
    assert submit(door, "a") == ["pending"], "it is no news"
    stats = door.stats()
    assert (stats.pending, stats.refusals) == (5, {QUEUE: 1, BULK: 1})
    publish_many(door, "a", "b")
    assert submit(door, "f") == ["accepted"]


def test_bytes_are_bounded(open_door: Open) -> None:
    door = open_door(QueueBounds(size=4000))
    with pytest.raises(QueueFull):
        submit(door, *(str(n) for n in range(10)))
    assert 2000 < door.stats().pending_bytes <= 4000
    redis(door, "DEL", keys.PENDING)
    assert submit(door, "large", metadata={"x": "y" * 8000}) == ["accepted"], "nothing waits"


def test_the_stream_is_read_from_where_one_was(door: Door, elsewhere: Ledger) -> None:
    assert (door.position(), door.tail("0")) == ("0", [])
    publish_many(door, "a", "b")
    entry = door.position()
    publish_many(door, "c")
    assert [verdict.event_id for _, verdict in door.tail("0")] == ["a", "b", "c"]
    (found,) = door.tail(entry)
    assert found[1].event_id == "c"
    timer = Timer(0.2, publish, (elsewhere, event("d")))
    timer.start()
    ((last, verdict),) = door.tail(found[0], follow=True, most=1)
    timer.join()
    assert (verdict.event_id, last) == ("d", door.position())


def test_whoever_reads_too_late_learns_of_it(door: Door) -> None:
    publish_many(door, "first")
    entry = door.position()
    publish_many(door, *(str(n) for n in range(300)), length=100)
    with pytest.raises(VerdictsMissed) as missed:
        door.tail(entry)
    kept = door.tail(missed.value.end)
    assert 100 <= len(kept) < 300
    gaps: list[VerdictsMissed] = []
    assert door.tail(entry, on_gap=gaps.append) == kept
    assert [(gap.start, gap.end) for gap in gaps] == [(missed.value.start, missed.value.end)]


def prepare(door: Door) -> dict[str, Callable[[], Any]]:
    """Steps that would succeed, by their name."""
    submit(door, "held", "late")
    die(door, "dead")
    claim = claim_one(door.ledger, event("held"))
    letter = door.dead_letter("moderator:dead")
    assert letter is not None
    return {
        "accept": lambda: door.accept(body("new")),
        "claim": lambda: door.ledger.claim([event("other")]),
        "publish": lambda: publish(door.ledger, event("held"), claim=claim),
        "retry": lambda: door.ledger.retry(event("held"), claim, 0.0),
        "extend": lambda: door.ledger.extend([("moderator:held", claim.token)]),
        "sweep": door.ledger.sweep,
        "replay": lambda: door.replay(letter),
        "revise": lambda: door.revise("moderator:dead", Decision.BLOCK),
        "drop": lambda: door.drop(letter),
        "tail": lambda: door.tail("0"),
        "stats": door.stats,
        "dead letters": door.dead_letters,
    }


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ("accept", keys.PENDING),
        ("accept", QUEUE),
        ("accept", keys.VERDICTS),
        ("claim", keys.PENDING),
        ("publish", keys.VERDICTS),
        ("publish", keys.WEBHOOKS),
        ("retry", keys.PENDING),
        ("extend", keys.PENDING),
        ("sweep", keys.PENDING),
        ("replay", keys.DEAD_LETTERS),
        ("revise", keys.VERDICTS),
        ("revise", keys.WEBHOOKS),
        ("drop", keys.DEAD_LETTERS),
        ("tail", keys.VERDICTS),
        ("stats", keys.PENDING),
        ("dead letters", keys.DEAD_LETTERS),
    ],
)
def test_a_key_that_holds_what_is_not_ours_is_a_typed_error(door: Door, step: str, key: str) -> None:
    steps = prepare(door)
    redis(door, "DEL", key)
    redis(door, "SET", key, "theirs")
    try:
        outcome = steps[step]()
    except QueueUnavailable as error:
        outcome = error.__cause__
    except RedisMisused as error:
        outcome = error
    assert isinstance(outcome, RedisMisused), outcome
    assert "something else writes into our Redis" in str(outcome)
    assert redis(door, "GET", key) == b"theirs"


def test_in_one_round_trip_each_command_has_an_answer_of_its_own(door: Door) -> None:
    submit(door, "a")
    redis(door, "SET", "theirs", "x")
    asked = [commands.ask("ZCARD", key) for key in (keys.PENDING, "theirs", "nothing")]
    one, misused, none = door.executor.run_each(asked)
    assert (one, none) == (1, 0)
    assert isinstance(misused, RedisMisused)
    assert door.executor.run_each([]) == []


@pytest.mark.parametrize("place", ["valkey", "redis"], indirect=True)
def test_a_server_that_forgot_the_scripts(door: Door, place: str) -> None:
    submit(door, "a")
    with connect(place) as client:
        client.script_flush()
        assert [type(claim) for claim in door.ledger.claim([event("a"), event("b")])] == [Claim, Claim]
        client.script_flush()
        assert submit(door, "c") == ["accepted"]


def test_what_was_accepted_is_in_order(door: Door) -> None:
    numbers = count()
    submit(door, *(str(next(numbers)) for _ in range(3)))
    taken = [redis(door, "RPOP", QUEUE) for _ in range(4)]
    assert taken[3] is None
    decoded = [decode_message(message)["id"] for message in taken[:3]]
    assert decoded == ["0", "1", "2"]


def test_a_server_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """From an event loop; `test_deadline` shows it for threads."""

    async def ask_twice() -> float:
        client = connect_async(server.url)
        door = AsyncRedisExecutor(client, call=0.5)
        await door.run(commands.verdict("moderator:a"))
        with stopped(server):
            start = time.monotonic()
            with pytest.raises(Exception, match=r"no answer within 0\.5 s"):
                await door.run(commands.verdict("moderator:a"))
            seconds = time.monotonic() - start
        assert await door.run(commands.verdict("moderator:a")) is None, "the connection is none the worse"
        await client.aclose()
        return seconds

    with EmbeddedServer(tmp_path / "server") as server:
        assert asyncio.run(ask_twice()) < 5, "not for the time of a client's call"
