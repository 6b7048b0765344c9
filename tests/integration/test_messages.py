"""What foreign programs may push: events by Celery, and everything that is no event."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu.asynchronous import Hub, set_event_loop

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.keys import UNACKED, UNACKED_INDEX
from moderator.queue.message import decode_message, encode_message
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict
from tests.support.service import WorkerProcess, make_client, until
from workers.app import make_app
from workers.transport import ACK_DELAY_SECONDS

IMAGE = {"path": "/nowhere.jpg"}


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture(params=[1, 2], ids=["protocol1", "protocol2"])
def producer(request: pytest.FixtureRequest, shared_server: EmbeddedServer) -> Iterator[Celery]:
    """A Celery app that knows nothing of us but the URL."""
    app = Celery("somebody", broker=shared_server.url, set_as_current=False)
    app.conf.task_protocol = request.param
    yield app
    app.close()


def new_dead_letter(client: Client, before: set[str]) -> Any:
    def find() -> Any:
        return next((letter for letter in client.dead_letters if letter.key not in before), None)

    return until(find, what="a dead letter")


@pytest.mark.parametrize("queue", ["moderation", "moderation.bulk"])
def test_celery_sends_an_event(
    producer: Celery, client: Client, small_images: list[Path], queue: str
) -> None:
    event = {"id": uuid4().hex, "source": "shop", "image": {"path": str(small_images[0])}}

    producer.send_task("moderation.check", [event], queue=queue)

    verdict = client.wait(event["id"], source="shop")
    assert verdict.decision is not Decision.ERROR


def test_celery_sends_it_as_a_keyword(producer: Celery, client: Client, small_images: list[Path]) -> None:
    event = {"id": uuid4().hex, "image": {"path": str(small_images[0])}}

    producer.send_task("moderation.check", kwargs={"event": event}, queue="moderation")

    assert client.wait(event["id"]).decision is not Decision.ERROR


def test_celery_sends_a_bulk_event(producer: Celery, client: Client, small_images: list[Path]) -> None:
    name = uuid4().hex
    images = [{"path": str(file)} for file in small_images]

    producer.send_task("moderation.check", [{"id": name, "images": images}], queue="moderation.bulk")

    verdicts = [client.wait(f"{name}/{n}") for n in range(len(images))]
    assert all(v.decision is not Decision.ERROR for v in verdicts)


def test_we_read_what_celery_writes(producer: Celery, server: EmbeddedServer) -> None:
    body = {"id": "x", "image": {"path": "/é.jpg"}}
    with make_client(server.url).redis as redis:
        producer.conf.broker_url = server.url
        producer.send_task("moderation.check", [body], queue="moderation")
        assert decode_message(redis.rpop("moderation")) == body


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([1, 2], "JSON object, not list"),
        ("text", "JSON object, not str"),
        (None, "JSON object, not NoneType"),
        ({}, "image: Field required"),
        ({"id": "x"}, "image: Field required"),
        ({"id": 5, "image": IMAGE}, "id: Input should be a valid string"),
        ({"id": "", "image": IMAGE}, "id: String should have at least 1 character"),
        ({"id": "x" * 300, "image": IMAGE}, "id: String should have at most 256"),
        ({"id": "x", "image": IMAGE, "urgent": True}, "urgent: Extra inputs are not permitted"),
        ({"id": "x", "image": {}}, "exactly one of path, url, key, inline"),
        ({"id": "x", "image": {**IMAGE, "url": "http://x"}}, "exactly one of"),
        ({"id": "x", "image": {"path": ["a"]}}, "image.path: Input should be a valid string"),
        ({"id": "x", "image": IMAGE, "priority": "now"}, "priority: Input should be"),
        ({"id": "x", "image": IMAGE, "metadata": [1]}, "metadata: Input should be a valid dictionary"),
        ({"id": "x", "image": IMAGE, "metadata": {"a": "b" * 20_000}}, "metadata is larger"),
        ({"id": "x", "image": IMAGE, "metadata": {"a": _nested(40)}}, "nested more than 32"),
        ({"id": "x", "image": IMAGE, "reply": {"email": "a@b"}}, "reply.email: Extra inputs"),
        ({"id": "x", "images": []}, "images: give a list"),
        ({"id": "x", "images": IMAGE}, "images: give a list"),
        ({"images": [IMAGE]}, "id: a bulk event needs one"),
        ({"id": "x", "images": [IMAGE, 5]}, "image: Input should be"),
        ({"id": "\ud800", "image": IMAGE}, "not an event"),
        ({"id": "x", "image": IMAGE, "metadata": {"a": "\udfff"}}, "not an event"),
    ],
)
def test_a_message_that_is_no_event_becomes_a_dead_letter(
    client: Client, worker: WorkerProcess, body: Any, problem: str
) -> None:
    before = {letter.key for letter in client.dead_letters}

    client.redis.lpush("moderation", encode_message(body, "moderation"))

    letter = new_dead_letter(client, before)
    assert letter.error == "EventInvalid"
    assert problem in letter.message
    assert letter.event is None
    assert letter.raw is not None
    assert worker.ready()


@pytest.mark.parametrize(
    "call",
    [[[], {}, {}], [[{"id": "a", "image": IMAGE}, 2], {}, {}], [[], {"evnt": 1}, {}], [[], {"event": 5}, {}]],
)
def test_a_call_with_other_arguments_becomes_a_dead_letter(client: Client, call: Any) -> None:
    before = {letter.key for letter in client.dead_letters}
    message = json.loads(encode_message({}, "moderation"))
    message["body"] = base64.b64encode(json.dumps(call).encode()).decode()

    client.redis.lpush("moderation", json.dumps(message))

    assert new_dead_letter(client, before).error == "EventInvalid"


def test_metadata_that_json_cannot_say_does_no_harm(client: Client, small_images: list[Path]) -> None:
    body = {
        "id": uuid4().hex,
        "image": {"path": str(small_images[0])},
        "metadata": {"nan": float("nan"), "infinite": float("inf"), "big": 10**400},
    }

    client.redis.lpush("moderation", encode_message(body, "moderation"))

    assert client.wait(body["id"]).decision is not Decision.ERROR


def test_a_raw_event_without_an_id_gets_one_verdict_however_often_it_is_delivered(
    client: Client, worker: WorkerProcess, small_images: list[Path]
) -> None:
    source = uuid4().hex
    message = encode_message({"source": source, "image": {"path": str(small_images[0])}}, "moderation")
    before = worker.metrics()["moderation_redeliveries_total"]

    client.redis.lpush("moderation", message, message, message)

    def answered() -> list[Verdict]:
        return [v for _, v in client.verdicts.tail("0", follow=False) if v.source == source]

    until(lambda: worker.metrics()["moderation_redeliveries_total"] >= before + 2)
    until(answered)  # the other two may have been turned away while the first was in hand
    assert len(answered()) == 1


@pytest.mark.parametrize("queue", ["moderation", "moderation.bulk"])
@pytest.mark.parametrize(
    "element",
    [
        "hello",
        "[1]",
        "{}",
        "5",
        "null",
        '"x"',
        b"\xff\xfe",
        '{"id": "x", "image": {"path": "/x.jpg"}}',
        "{}" * 5000,
    ],
)
def test_what_is_no_celery_message_becomes_a_dead_letter(
    client: Client, queue: str, element: str | bytes
) -> None:
    before = {letter.key for letter in client.dead_letters}

    client.redis.lpush(queue, element)

    letter = new_dead_letter(client, before)
    assert "not a Celery message" in letter.message
    assert letter.raw is not None
    assert len(letter.raw) <= 4096


@pytest.mark.parametrize(
    "change",
    [
        {"body": base64.b64encode(b"{").decode()},
        {"headers": {"task": "os.system", "id": "1"}},
        {"headers": {}},
        {"headers": None},
        {"properties": {}},
        {"content-type": "application/x-python-serialize"},
        {"content-encoding": "nothing"},
    ],
)
def test_a_broken_celery_message_leaves_the_worker_at_work(
    client: Client, small_images: list[Path], change: dict[str, Any]
) -> None:
    message = json.loads(encode_message({"id": "x", "image": IMAGE}, "moderation"))

    client.redis.lpush("moderation", json.dumps({**message, **change}))

    event = client.submit(path=small_images[0])
    assert client.wait(event.id).decision is not Decision.ERROR


def test_a_consumer_that_dies_is_started_again(
    client: Client, worker: WorkerProcess, small_images: list[Path]
) -> None:
    """Of a key that is no list, in the place of one for messages of another priority."""
    deaths = worker.log.count("the Celery consumer died")

    client.redis.set("moderation\x06\x163", "no list")
    until(lambda: worker.log.count("the Celery consumer died") > deaths)
    client.redis.delete("moderation\x06\x163")

    for priority in ("interactive", "bulk"):
        event = client.submit(path=small_images[0], priority=priority)
        assert client.wait(event.id).decision is not Decision.ERROR
    until(worker.ready)


def test_metadata_comes_back_as_it_was_sent(
    producer: Celery, client: Client, small_images: list[Path]
) -> None:
    metadata = {
        "__type__": "datetime",
        "__value__": "x",
        "typed": [{"__type__": "bytes", "__value__": "abc"}, {"__type__": 5, "__value__": None}],
        "numbers": [-0.0, 1.0, 1, 2**70, 0.1 + 0.2, 5e-324, 1e22, 10**400],
        "": {"null": None, "\0": "\u2028😀", "deep": _nested(27)},
    }
    event = {"id": uuid4().hex, "image": {"path": str(small_images[0])}, "metadata": metadata}
    ours = client.submit(path=small_images[0], metadata=metadata)

    for queue in ("moderation", "moderation.bulk"):
        event["id"] = uuid4().hex
        producer.send_task("moderation.check", [event], queue=queue)
        verdict = client.wait(event["id"])
        assert verdict.decision is not Decision.ERROR
        assert repr(verdict.metadata) == repr(metadata)
    assert repr(client.wait(ours.id).metadata) == repr(metadata)


def test_what_asks_for_more_than_a_verdict_is_answered_and_acknowledged(
    producer: Celery, client: Client, small_images: list[Path]
) -> None:
    """Callbacks and answers are the sender's affair; their messages hold no place once they are answered."""
    link = producer.signature("shop.bill", args=["x"])
    ids = [uuid4().hex for _ in range(3)]
    for id in ids:
        producer.send_task(
            "moderation.check",
            [{"id": id, "image": {"path": str(small_images[0])}}],
            queue="moderation",
            link=link,
            link_error=link,
            expires=-5,
            countdown=600,
            priority=6,
            ignore_result=False,
        )
    for id in ids:
        assert client.wait(id).decision is not Decision.ERROR
    until(lambda: not client.redis.exists("moderation:unacked"), what="all messages to be acknowledged")
    assert not client.redis.exists("celery")


def test_acknowledgements_go_with_the_next_message(server: EmbeddedServer) -> None:
    client = make_client(server.url)
    app = make_app(Settings(redis_url=server.url), print, print, slots=4)
    hub = Hub()
    set_event_loop(hub)
    for _ in range(3):
        client.submit(path="/nowhere.jpg")

    def unacknowledged() -> int:
        assert client.redis.zcard(UNACKED_INDEX) == client.redis.hlen(UNACKED)
        return client.redis.hlen(UNACKED)

    with app.connection_for_read() as connection:
        channel = connection.channel()
        first, second = (channel.basic_get("moderation") for _ in range(2))
        first.ack()
        assert unacknowledged() == 2
        channel.basic_get("moderation")
        assert unacknowledged() == 2
        second.ack()
        time.sleep(2 * ACK_DELAY_SECONDS)
        hub.fire_timers()
        assert unacknowledged() == 1
    # What was not acknowledged is back on the queue.
    assert unacknowledged() == 0
    assert client.redis.llen("moderation") == 1


def test_acknowledgements_are_sent_when_the_channel_closes(server: EmbeddedServer) -> None:
    client = make_client(server.url)
    app = make_app(Settings(redis_url=server.url), print, print, slots=4)
    set_event_loop(Hub())
    client.submit(path="/nowhere.jpg")

    with app.connection_for_read() as connection:
        connection.channel().basic_get("moderation").ack()
        assert client.redis.hlen(UNACKED) == 1
    assert not client.redis.exists(UNACKED, UNACKED_INDEX)
    assert not client.redis.llen("moderation")
