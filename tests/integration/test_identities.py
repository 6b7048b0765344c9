"""An image of a bulk event and an event that is called like it, and what versions left that gave both one name."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from moderator.client import Client
from moderator.events import Event, parse_message
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Acceptance, Answer, Claim, Ledger
from moderator.queue.message import decode_message, encode_message
from moderator.verdicts import Decision, Verdict
from tests.support.ledger_events import BULK, QUEUE, answer, body, claim_one, event, publish
from tests.support.service import client_alone, run_cli

UP = {"id": "up", "images": [{"path": "/x.jpg"}, {"path": "/y.jpg"}]}


@pytest.fixture
def client(shared_server: EmbeddedServer) -> Iterator[Client]:
    with client_alone(shared_server, "10") as client:
        yield client


@pytest.fixture
def ledger(client: Client) -> Ledger:
    return client.ledger


def old_record(client: Client, id: str, path: str, priority: str = "bulk", **more: Any) -> None:
    """What versions that did not know `bulk` wrote of an event."""
    text = (
        f'{{"id":"{id}","source":"moderator","policy":null,"image":{{"path":"{path}","url":null,"key":null,"inline":null}},'
        f'"priority":"{priority}","metadata":{{}},"reply":{{"webhook":null}}}}'
    )
    fields = {
        "event": text,
        "queue": BULK if priority == "bulk" else QUEUE,
        "state": "queued",
        "attempts": 0,
        "accepted_at": "1764133840.1",
        "queued_at": "1764133840.1",
        "size": 700,
    }
    client.redis.hset(f"moderation:event:moderator:{id}", mapping={**fields, **more})
    client.redis.zadd(keys.PENDING, {f"moderator:{id}": 4e9})


def old_verdict(client: Client, id: str) -> None:
    verdict = Verdict(event_id=id, source="moderator", decision=Decision.BLOCK, is_safe=False)
    text = verdict.model_dump_json(exclude={"bulk"})
    client.redis.set(f"moderation:verdict:moderator:{id}", text, ex=600)
    client.redis.xadd(keys.VERDICTS, {"verdict": text})


def work(client: Client, *messages: dict[str, Any]) -> list[str]:
    """Deal with messages as a worker does; the keys that got a verdict."""
    keys = []
    for message in messages:
        events = parse_message(message)
        for of, claim in zip(events, client.ledger.claim(events), strict=True):
            if isinstance(claim, Claim):
                named = of.before_bulk() if claim.before_bulk else of
                assert publish(client.ledger, named, claim=claim) is not None
                keys.append(named.key)
    return keys


def test_both_get_a_verdict_of_their_own(client: Client, ledger: Ledger) -> None:
    ledger.accept(UP)
    assert ledger.accept(body("up/0"))[0][1] is Acceptance.ACCEPTED
    (single,) = parse_message(body("up/0"))
    assert work(client, UP) == ["moderator:up%2F0", "moderator:up%2F1"]
    found = client.verdict("up/0")
    assert found is not None
    assert found.bulk == "up", "there is no other yet"
    blocked = Verdict(event_id="up/0", source="moderator", decision=Decision.BLOCK, is_safe=False)
    claim = claim_one(ledger, single)
    ledger.publish([Answer(single, blocked, claim=claim)], ttl=60.0, stream_length=100)
    found = client.wait("up/0", timeout=1)
    assert (found.decision, found.bulk) == (Decision.BLOCK, None)
    image = client.verdicts.get("moderator:up%2F0")
    assert image is not None
    assert image.decision is Decision.ALLOW
    assert (client.redis.xlen(keys.VERDICTS), ledger.pending()) == (3, 0)
    assert {a for _, a in ledger.accept(UP)} == {Acceptance.ANSWERED}


def test_a_single_event_that_was_answered_first_does_not_answer_the_image(
    client: Client, ledger: Ledger
) -> None:
    assert work(client, body("up/0")) == ["moderator:up/0"]
    assert [a for _, a in ledger.accept(UP)] == [Acceptance.ACCEPTED] * 2
    assert work(client, UP) == ["moderator:up%2F0", "moderator:up%2F1"]


def test_an_image_is_waited_for_by_its_id(
    client: Client, ledger: Ledger, shared_server: EmbeddedServer, tmp_path: Any
) -> None:
    ledger.accept(UP)
    with client.redis.pubsub() as channel:
        channel.subscribe(keys.VERDICT_PREFIX + "moderator:up/1")
        channel.get_message(timeout=1)
        work(client, UP)
        told = channel.get_message(timeout=1, ignore_subscribe_messages=True)
    assert told is not None, "who waits by the id is woken"
    assert client.wait("up/1", timeout=1).bulk == "up"
    shown = run_cli("verdicts", "show", "up/1", cwd=tmp_path, redis_url=shared_server.url[:-1] + "10")
    assert json.loads(shown.stdout)["event_id"] == "up/1"


def test_images_that_come_back_one_by_one_keep_their_name(client: Client, ledger: Ledger) -> None:
    ledger.accept(UP)
    client.redis.delete(BULK)
    client.redis.zadd(keys.PENDING, {"moderator:up%2F0": 0, "moderator:up%2F1": 0})
    assert ledger.sweep() == 2
    messages = [decode_message(message) for message in client.redis.lrange(BULK, 0, -1)]
    assert work(client, *messages, UP, *messages) == ["moderator:up%2F1", "moderator:up%2F0"]


def test_a_message_of_the_previous_version_finds_its_records(client: Client, ledger: Ledger) -> None:
    """Its first image was answered, its second waits."""
    old_verdict(client, "up/0")
    old_record(client, "up/1", "/y.jpg")
    client.redis.lpush(BULK, encode_message(UP, BULK))

    assert [a for _, a in ledger.accept(UP)] == [Acceptance.ANSWERED, Acceptance.PENDING]
    assert ledger.oldest_accepted(BULK) is not None
    assert work(client, UP) == ["moderator:up/1"]

    assert work(client, UP) == []
    assert (ledger.pending(), client.redis.xlen(keys.VERDICTS)) == (0, 2)
    for id, decision in (("up/0", Decision.BLOCK), ("up/1", Decision.ALLOW)):
        verdict = client.wait(id, timeout=1)
        assert (verdict.event_id, verdict.decision) == (id, decision)


def test_a_record_of_the_previous_version_is_put_back_and_answered_once(
    client: Client, ledger: Ledger
) -> None:
    old_record(client, "up/0", "/x.jpg", state="started", attempts=1)
    client.redis.zadd(keys.PENDING, {"moderator:up/0": 0})
    assert ledger.sweep() == 1
    (alone,) = (decode_message(message) for message in client.redis.lrange(BULK, 0, -1))

    assert work(client, alone) == ["moderator:up/0"]
    assert work(client, {**UP, "images": UP["images"][:1]}, alone) == []
    assert client.redis.xlen(keys.VERDICTS) == 1


def test_a_message_of_the_previous_version_and_one_of_its_images_that_came_back(
    client: Client, ledger: Ledger
) -> None:
    """In the other order."""
    old_record(client, "up/0", "/x.jpg")
    assert work(client, {**UP, "images": UP["images"][:1]}) == ["moderator:up/0"]
    assert work(client, body("up/0", priority="bulk")) == []


def test_the_image_does_not_take_the_record_of_another_event_of_the_previous_version(
    client: Client, ledger: Ledger
) -> None:
    old_record(client, "up/0", "/other.jpg", priority="interactive")
    assert work(client, UP) == ["moderator:up%2F0", "moderator:up%2F1"]
    assert work(client, body("up/0")) == ["moderator:up/0"]


def test_single_events_are_written_as_versions_read_them_that_did_not_know_bulk(
    client: Client, ledger: Ledger
) -> None:
    ledger.accept(body("a"))
    record = json.loads(client.redis.hget(keys.RECORD_PREFIX + "moderator:a", "event"))
    assert set(record) == {"id", "source", "policy", "image", "priority", "metadata", "reply"}
    assert answer(event("a")).event == Event.model_validate(record)
