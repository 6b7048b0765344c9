"""Who holds an event, on a real server, with the workers' part played by the test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moderator.client import Client
from moderator.errors import ModeratorError, QueueUnavailable, RedisMisused
from moderator.queue import keys
from moderator.queue import ledger as ledger_module
from moderator.queue.commands import MAX_DELIVERIES
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Acceptance, Claim, DeadLetterReason, Ledger
from moderator.queue.message import decode_message
from moderator.verdicts import Decision, Verdict
from tests.integration.conftest import StartWorker
from tests.support.http_server import Answer as HttpAnswer
from tests.support.http_server import HttpServer
from tests.support.ledger_events import (
    BULK,
    QUEUE,
    answer,
    body,
    claim_one,
    due,
    event,
    everything,
    overdue,
    publish,
)
from tests.support.service import client_alone, make_client, until

LEASE = 0.3


@pytest.fixture
def client(shared_server: EmbeddedServer) -> Iterator[Client]:
    with client_alone(shared_server, "9", redeliver_after=str(LEASE)) as client:
        yield client


@pytest.fixture
def ledger(client: Client) -> Ledger:
    return client.ledger


def take(client: Client, name: str) -> Any:
    """Claim an event as a worker does that has just taken its message."""
    client.redis.rpop(QUEUE)
    return claim_one(client.ledger, event(name))


def test_a_claim_whose_answer_got_lost_is_answered_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection sends it once more, with the same token: that is no further try."""
    ledger.accept(body("a"))
    first = claim_one(ledger, event("a"))

    class Same:
        hex = first.token

    monkeypatch.setattr(ledger_module, "uuid4", Same)
    again = claim_one(ledger, event("a"))
    monkeypatch.undo()

    assert (again.attempt, again.token) == (1, first.token)
    assert claim_one(ledger, event("a")) == "busy"


def test_what_ran_out_is_not_taken_from_its_new_owner(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    late = take(client, "a")
    until(lambda: overdue(client))
    owner = claim_one(ledger, event("a"))
    before = everything(client)

    assert ledger.retry(event("a"), late, 0.0) is False
    assert ledger.give_back(event("a"), late) is False
    assert publish(ledger, event("a"), claim=late) is None
    assert publish(ledger, event("a"), claim=late, dead=DeadLetterReason("ImageBroken", "x")) is None

    assert everything(client) == before
    assert publish(ledger, event("a"), claim=owner) is not None
    assert client.redis.xlen(keys.VERDICTS) == 1


def test_what_ran_out_and_is_on_the_queue_again_is_nobodys(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    late = take(client, "a")
    until(lambda: ledger.sweep() == 1)

    assert ledger.retry(event("a"), late, 100.0) is False
    assert publish(ledger, event("a"), claim=late) is None

    assert (client.redis.llen(QUEUE), client.redis.xlen(keys.VERDICTS)) == (1, 0)
    assert publish(ledger, event("a"), claim=take(client, "a")) is not None


def test_what_the_server_forgot_is_published_by_whoever_has_it(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    claim = take(client, "a")
    client.redis.flushdb()

    assert publish(ledger, event("a"), claim=claim) is not None
    assert client.verdict("a") is not None


def test_what_is_given_back_costs_no_try(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    assert ledger.give_back(event("a"), take(client, "a")) is True
    assert ledger.sweep() == 1
    assert take(client, "a").attempt == 1


def test_leases_are_extended_for_whoever_holds_them(client: Client, ledger: Ledger) -> None:
    for name in ("claimed", "waiting", "lost"):
        ledger.accept(body(name))
    client.redis.delete(QUEUE)
    claim, lost = claim_one(ledger, event("claimed")), claim_one(ledger, event("lost"))
    ledger.retry(event("lost"), lost, 0.05)
    until(lambda: overdue(client))

    held = [("moderator:claimed", claim.token), ("moderator:waiting", ""), ("moderator:lost", lost.token)]
    assert ledger.extend([*held, ("moderator:claimed", "other"), ("moderator:none", "")]) == 2

    for key in ("moderator:claimed", "moderator:waiting"):
        assert 0 < (due(client, key) or 0) <= LEASE
    until(lambda: ledger.sweep() == 1, timeout=LEASE / 2)
    assert decode_message(client.redis.lindex(QUEUE, 0))["id"] == "lost"
    assert ledger.pending() == 3, "what the ledger does not know does not enter it"


def test_what_is_never_claimed_ends_in_one_dead_letter(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a", metadata={"user": 7}))
    told: list[tuple[Verdict, ModeratorError]] = []

    def lose() -> int:
        client.redis.delete(QUEUE)
        client.redis.zadd(keys.PENDING, {"moderator:a": 0}, xx=True)
        return ledger.sweep(lambda verdict, seconds, error: told.append((verdict, error)))

    assert [lose() for _ in range(MAX_DELIVERIES + 2)] == [1] * MAX_DELIVERIES + [0, 0]

    verdict = client.verdict("a")
    assert verdict is not None
    assert verdict.error is not None
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "AttemptsExhausted")
    assert f"delivered {MAX_DELIVERIES} times and never claimed" in verdict.error.message
    assert verdict.metadata == {"user": 7}
    assert [told_of for told_of, _ in told] == [verdict]
    (letter,) = client.dead_letters
    assert (letter.key, letter.error, letter.event) == (
        "moderator:a",
        "AttemptsExhausted",
        event("a", metadata={"user": 7}),
    )
    assert (ledger.pending(), client.redis.xlen(keys.VERDICTS)) == (0, 1)
    assert client.dead_letters.replay(letter) is Acceptance.ACCEPTED
    assert (client.redis.llen(QUEUE), client.verdict("a")) == (1, None)


def test_a_claim_starts_the_count_of_deliveries_again(client: Client, ledger: Ledger) -> None:
    """Else an event that waits for its host would end of being put back for each try."""
    ledger.accept(body("a"))
    for _ in range(3 * MAX_DELIVERIES):
        claim = take(client, "a")
        assert claim.attempt == 1
        ledger.retry(event("a"), claim, 0.0, counts=False, held_off=True)
        assert ledger.sweep() == 1
    assert len(client.dead_letters) == 0


BROKEN: dict[str, Any] = {
    "a field of another version": {"event": {"unknown": 1}},
    "broken JSON": {"event": b"{"},
    "no event": {"event": None},
    "no queue": {"queue": None},
    "another queue": {"queue": "elsewhere"},
    "bytes": {"event": b"\xff\xfe"},
    "a string": "text",
    "a list": ["text"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_record_that_cannot_be_read_holds_up_no_other(client: Client, ledger: Ledger, name: str) -> None:
    for id in ("a", "b:/%", "c"):
        ledger.accept(body(id))
    record = keys.RECORD_PREFIX + event("b:/%").key
    change = BROKEN[name]
    if isinstance(change, dict):
        for field, value in change.items():
            if value is None:
                client.redis.hdel(record, field)
            elif isinstance(value, dict):
                known = json.loads(client.redis.hget(record, field))
                client.redis.hset(record, field, json.dumps({**known, **value}))
            else:
                client.redis.hset(record, field, value)
    else:
        client.redis.delete(record)
        client.redis.set(record, change) if isinstance(change, str) else client.redis.rpush(record, *change)
    client.redis.delete(QUEUE)
    client.redis.zadd(keys.PENDING, {"moderator:a": 2, event("b:/%").key: 1, "moderator:c": 3}, xx=True)

    assert ledger.sweep() == 2

    assert ledger.pending() == 2
    verdict = client.verdict("b:/%")
    assert verdict is not None
    assert (verdict.event_id, verdict.source, verdict.decision) == ("b:/%", "moderator", Decision.ERROR)
    (letter,) = client.dead_letters
    assert (letter.key, letter.error) == (event("b:/%").key, "RecordUnreadable")
    assert not client.redis.exists(record)


@pytest.mark.parametrize(
    ("field", "value"),
    [("queued_at", "soon"), ("attempts", "many"), ("accepted_at", ""), ("size", "x"), ("deliveries", "x")],
)
def test_a_number_that_cannot_be_read_is_none(client: Client, ledger: Ledger, field: str, value: str) -> None:
    ledger.accept(body("a"))
    client.redis.hset(keys.RECORD_PREFIX + "moderator:a", field, value)
    client.redis.delete(QUEUE)
    until(lambda: overdue(client))
    assert ledger.sweep() == 1
    claim = take(client, "a")
    assert claim.attempt == 1
    assert publish(ledger, event("a"), claim=claim) is not None
    assert ledger.pending_bytes() == 0


def test_a_record_of_the_previous_version_is_claimed_after_its_lease(client: Client, ledger: Ledger) -> None:
    """Started by a worker that knew no tokens."""
    record = {
        "event": event("a").model_dump_json(exclude={"bulk"}),
        "queue": QUEUE,
        "state": "started",
        "attempts": "2",
        "accepted_at": "1.5",
        "queued_at": "1.5",
        "size": "300",
    }
    client.redis.hset(keys.RECORD_PREFIX + "moderator:a", mapping=record)
    client.redis.zadd(keys.PENDING, {"moderator:a": client.redis.time()[0] + 100})
    assert claim_one(ledger, event("a")) == "busy"
    client.redis.zadd(keys.PENDING, {"moderator:a": 0})
    assert ledger.sweep() == 1
    claim = take(client, "a")
    assert isinstance(claim, Claim)
    assert (claim.attempt, claim.losses) == (2, 1)
    assert publish(ledger, event("a"), claim=claim) is not None


def prepare(client: Client) -> Claim:
    """An event that a worker holds, one that is overdue, one that is dead; and the claim of the first."""
    ledger = client.ledger
    for name in ("held", "late"):
        ledger.accept(body(name, reply={"webhook": "http://x/"}))
    client.redis.delete(QUEUE)
    publish(ledger, event("dead"), dead=DeadLetterReason("ImageBroken", "broken"))
    client.redis.zadd(keys.PENDING, {"moderator:late": 0}, xx=True)
    claim = claim_one(ledger, event("held"))
    assert isinstance(claim, Claim)
    return claim


def steps(client: Client, claim: Claim) -> dict[str, Any]:
    told = event("held", reply={"webhook": "http://x/"})
    dead = DeadLetterReason("ImageBroken", "x")
    letter = client.dead_letters.get("moderator:dead")
    return {
        "accept": lambda: client.ledger.accept(body("new")),
        "claim": lambda: client.ledger.claim([event("other")]),
        "publish": lambda: client.ledger.publish([answer(told, dead, claim)], ttl=60.0, stream_length=100),
        "retry": lambda: client.ledger.retry(told, claim, 0.0),
        "extend": lambda: client.ledger.extend([(told.key, claim.token)]),
        "sweep": client.ledger.sweep,
        "replay": lambda: letter and client.dead_letters.replay(letter),
        "drop": lambda: letter and client.dead_letters.drop(letter),
    }


SHARED = (
    keys.PENDING,
    keys.PENDING_BYTES,
    keys.REFUSALS,
    keys.VERDICTS,
    keys.DEAD_LETTERS,
    keys.WEBHOOKS,
    QUEUE,
    keys.RECORD_PREFIX + "moderator:new",
    keys.RECORD_PREFIX + "moderator:other",
    keys.RECORD_PREFIX + "moderator:held",
    keys.RECORD_PREFIX + "moderator:late",
    keys.VERDICT_PREFIX + "moderator:held",
    keys.VERDICT_PREFIX + "moderator:new",
    keys.DEAD_LETTER_PREFIX + "moderator:held",
    keys.DEAD_LETTER_PREFIX + "moderator:dead",
)


@pytest.mark.parametrize("key", SHARED)
@pytest.mark.parametrize("step", ["accept", "claim", "publish", "retry", "extend", "sweep", "replay", "drop"])
def test_a_step_is_done_whole_or_not_at_all_whatever_a_key_holds(client: Client, step: str, key: str) -> None:
    """Redis takes nothing back of a script that fails halfway."""
    claim = prepare(client)
    step_of = steps(client, claim)[step]
    client.redis.delete(key)
    if key == keys.PENDING_BYTES or key.startswith(keys.VERDICT_PREFIX):
        client.redis.rpush(key, "theirs")
    else:
        client.redis.set(key, "theirs")
    before = everything(client)
    try:
        outcome = step_of()
    except (ModeratorError, QueueUnavailable):
        assert everything(client) == before
        return
    verdicts = client.redis.xlen(keys.VERDICTS) if key != keys.VERDICTS else None
    if step == "publish" and isinstance(outcome[0], RedisMisused):
        assert everything(client) == before
    elif step == "publish" and outcome[0] is not None:
        assert client.verdict("held") is not None
        assert (verdicts, len(client.dead_letters), client.redis.zcard(keys.WEBHOOKS)) == (2, 2, 1)
    elif step == "retry" and not outcome:
        assert everything(client) == before
    elif step in ("accept", "claim"):
        assert client.ledger.pending() == 3
    elif step == "sweep" and client.verdict("late") is not None:  # its record was no record
        assert (verdicts, len(client.dead_letters), client.ledger.pending()) == (2, 2, 1)
    elif step == "sweep":
        assert client.ledger.pending() == 2
    elif step == "drop":
        assert len(client.dead_letters) == 0


def test_a_verdict_that_no_reader_would_see_is_not_published(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    claim = take(client, "a")
    client.redis.set(keys.VERDICTS, "theirs")

    (outcome,) = ledger.publish([answer(event("a"), claim=claim)], ttl=60.0, stream_length=100)

    assert isinstance(outcome, RedisMisused)
    assert "moderation:verdicts holds a string, not a stream" in str(outcome)
    assert (client.verdict("a"), ledger.pending()) == (None, 1)
    client.redis.delete(keys.VERDICTS)
    assert publish(ledger, event("a"), claim=claim) is not None


@pytest.mark.parametrize("by", ["sweep", "claim", "publish"])
def test_an_event_that_has_its_verdict_is_closed(client: Client, ledger: Ledger, by: str) -> None:
    """As a step left it that wrote the verdict and failed at the stream."""
    ledger.accept(body("a"))
    ledger.accept(body("b"))
    client.redis.delete(QUEUE)
    client.redis.set(keys.VERDICT_PREFIX + "moderator:a", answer(event("a")).verdict.model_dump_json())
    client.redis.zadd(keys.PENDING, {"moderator:a": 0}, xx=True)
    if by == "sweep":
        assert ledger.sweep() == 0
    elif by == "claim":
        assert claim_one(ledger, event("a")) == "answered"
    else:
        assert publish(ledger, event("a")) is None
    assert client.redis.zrange(keys.PENDING, 0, -1) == [b"moderator:b"]
    assert not client.redis.exists(keys.RECORD_PREFIX + "moderator:a")
    assert 0 < ledger.pending_bytes() < 2000


def test_a_worker_that_is_slower_than_the_lease_keeps_what_it_has(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path], http: HttpServer
) -> None:
    """Two workers, and a bulk message and single events that take several leases each: nothing is done twice."""
    http.answers = {
        f"/{n}.jpg": [HttpAnswer(200, small_images[n].read_bytes(), delay=0.8)] for n in range(10)
    }
    settings = {"redeliver_after": "0.4", "fetch_networks": "127.0.0.0/8", "max_batch": "1"}
    workers = [start_worker(server.url, wait=False, **settings) for _ in range(2)]
    for worker in workers:
        worker.wait_until_ready()
    client = make_client(server.url)
    urls = [http.url(f"/{n}.jpg") for n in range(10)]
    many = client.submit_many([{"url": url} for url in urls], id="many")
    single = [client.submit(url=url) for url in urls[:4]]

    verdicts = [client.wait(one.id, timeout=30) for one in (*many, *single)]

    assert all(verdict.error is None for verdict in verdicts)
    assert len(http.requests) == 14
    seen = [worker.metrics() for worker in workers]
    assert sum(metrics["moderation_batch_size_sum"] for metrics in seen) == 14
    assert client.redis.xlen(keys.VERDICTS) == 14
    assert client.redis.llen(BULK) == 0
