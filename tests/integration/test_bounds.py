"""A queue that is full: what gets in, what is told to come again, and that nobody overruns it."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.errors import QueueFull
from moderator.events import Event
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Answer, DeadLetterReason
from moderator.verdicts import Decision, Verdict
from tests.support.service import json_lines, make_client, run_cli, small_jpeg, until

BULK, INTERACTIVE = "moderation.bulk", "moderation"


def connect(url: str, limit: int = 0, size: int = 0) -> Client:
    return make_client(url, queue_limit=str(limit), queue_bytes=str(size))


@pytest.fixture
def url(shared_server: EmbeddedServer) -> Iterator[str]:
    """A database of its own on the shared server: no worker serves it."""
    url = shared_server.url.removesuffix("/0") + "/6"
    connect(url).redis.flushdb()
    yield url
    connect(url).redis.flushdb()


def answer(client: Client, event: Event, dead: DeadLetterReason | None = None) -> None:
    verdict = Verdict(event_id=event.id, source=event.source, decision=Decision.ALLOW, is_safe=True)
    client.ledger.publish([Answer(event, verdict, dead)], ttl=60.0, stream_length=100)


def images(count: int) -> list[dict[str, str]]:
    return [{"path": f"/{n}.jpg"} for n in range(count)]


def test_a_full_queue_takes_nothing_until_something_is_answered(url: str) -> None:
    client = connect(url, limit=3)
    events = [client.submit_event({"id": str(n), "image": {"path": "/x"}})[0] for n in range(3)]
    with pytest.raises(QueueFull) as refused:
        client.submit(path="/x", id="3")
    assert refused.value.retry_after > 0
    assert (client.ledger.pending(), client.redis.llen(INTERACTIVE)) == (3, 3)
    assert client.ledger.refusals(INTERACTIVE) == 1

    answer(client, events[0])

    client.submit(path="/x", id="3")
    assert client.ledger.pending() == 3


def test_what_is_known_is_no_news_to_a_full_queue(url: str) -> None:
    client = connect(url, limit=1)
    client.submit(path="/x", id="a")
    client.submit(path="/x", id="a")
    assert client.ledger.refusals(INTERACTIVE) == 0


def test_bulk_leaves_room_for_interactive(url: str) -> None:
    client = connect(url, limit=10)
    client.submit_many(images(8), id="b")
    with pytest.raises(QueueFull):
        client.submit_many(images(1), id="c")
    client.submit(path="/x")
    client.submit(path="/x")
    with pytest.raises(QueueFull):
        client.submit(path="/x")
    assert client.ledger.refusals(BULK) == 1


def test_a_bulk_message_gets_in_whole_or_not_at_all(url: str) -> None:
    client = connect(url, limit=10)
    client.submit_many(images(5), id="b")
    with pytest.raises(QueueFull):
        client.submit_many(images(4), id="c")
    assert (client.ledger.pending(), client.redis.llen(BULK)) == (5, 1)
    assert not list(client.redis.scan_iter(f"{keys.RECORD_PREFIX}*:c/*"))


def test_a_message_larger_than_the_bound_gets_into_an_empty_queue(url: str) -> None:
    client = connect(url, limit=3)
    client.submit_many(images(5), id="b")
    assert client.ledger.pending() == 5


def test_bytes_are_bounded_and_given_back(url: str) -> None:
    client = connect(url, size=100_000)
    events = []
    full = None
    for n in range(10):
        try:
            events.append(client.submit_event({"id": str(n), "image": {"inline": "A" * 10_000}})[0])
        except QueueFull as error:
            full = error
    assert 2 <= len(events) <= 5, "each is held in its record and, in base64 of base64, in its message"
    assert full is not None
    assert full.retry_after > 0
    assert 0 < client.ledger.pending_bytes() <= 100_000
    before = client.ledger.pending_bytes()

    answer(client, events[0])
    assert client.ledger.pending_bytes() == before - before // len(events)
    for event in events[1:]:
        answer(client, event)
    assert client.ledger.pending_bytes() == 0


def test_the_wait_follows_how_quickly_verdicts_come(url: str) -> None:
    client = connect(url, limit=1)
    client.submit(path="/x")
    for n in range(30):
        answer(client, Event.model_validate({"id": str(n), "image": {"path": "/x"}}))
    with pytest.raises(QueueFull) as quick:
        client.submit(path="/y")
    client.redis.delete(keys.VERDICTS)
    with pytest.raises(QueueFull) as unknown:
        client.submit(path="/y")
    assert quick.value.retry_after < unknown.value.retry_after


def test_a_replay_finds_its_place_in_a_full_queue(url: str) -> None:
    client = connect(url, limit=1)
    event = Event.model_validate({"id": "old", "image": {"path": "/x"}})
    answer(client, event, DeadLetterReason("ImageBroken", "broken"))
    (letter,) = client.dead_letters
    client.submit(path="/x", id="new")

    client.dead_letters.replay(letter)

    assert client.ledger.pending() == 2


def fill(url: str, producer: int) -> int:
    """How many of 200 events got in."""
    client, accepted = connect(url, limit=500), 0
    for n in range(200):
        try:
            client.submit(path="/x", id=f"{producer}-{n}")
            accepted += 1
        except QueueFull:
            pass
    return accepted


def test_producers_side_by_side_do_not_overrun_the_bound(url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        accepted = sum(pool.map(fill, [url] * 4, range(4)))
    client = connect(url)
    assert accepted == client.ledger.pending() == client.redis.llen(INTERACTIVE) == 500
    assert client.ledger.refusals(INTERACTIVE) == 300


def test_submit_waits_for_room(url: str, tmp_path: Path) -> None:
    client = connect(url, limit=1)
    first = client.submit(path="/x").event
    image = small_jpeg(tmp_path / "a.jpg")
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(
            run_cli, "submit", str(image), "--json", cwd=tmp_path, redis_url=url, queue_limit="1"
        )
        until(lambda: client.ledger.refusals(INTERACTIVE) > 0, timeout=60)
        assert not command.done()
        answer(client, first)
        result = command.result()
    assert result.returncode == 0, result.stderr
    (record,) = json_lines(result.stdout)
    assert record["acceptance"] == "accepted"
    assert client.ledger.pending() == 1
