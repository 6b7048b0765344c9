"""The ledger on a real server, with the workers' part played by the test."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from moderator.client import Client
from moderator.errors import QueueUnavailable
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Acceptance, Claim, DeadLetterReason, Ledger
from moderator.queue.message import decode_message
from tests.support.ledger_events import BULK, QUEUE, answer, body, claim_one, event, overdue, publish
from tests.support.service import client_alone, make_client, until

LEASE = 0.3


@pytest.fixture
def client(shared_server: EmbeddedServer) -> Iterator[Client]:
    with client_alone(shared_server, "5", redeliver_after=str(LEASE)) as client:
        yield client


@pytest.fixture
def ledger(client: Client) -> Ledger:
    return client.ledger


def test_an_event_is_accepted_once(client: Client, ledger: Ledger) -> None:
    assert ledger.accept(body("a")) == [(event("a"), Acceptance.ACCEPTED)]
    assert ledger.accept(body("a", metadata={"other": 1}))[0][1] is Acceptance.PENDING
    assert client.redis.llen(QUEUE) == 1
    publish(ledger, event("a"))
    assert ledger.accept(body("a"))[0][1] is Acceptance.ANSWERED
    assert (client.redis.llen(QUEUE), ledger.pending()) == (1, 0)


def test_a_bulk_event_that_is_half_known_is_pushed_for_the_rest(client: Client, ledger: Ledger) -> None:
    ledger.accept({"id": "b", "images": [{"path": "/x.jpg"}]})

    answers = ledger.accept({"id": "b", "images": [{"path": "/x.jpg"}, {"path": "/y.jpg"}]})

    assert [a for _, a in answers] == [Acceptance.PENDING, Acceptance.ACCEPTED]
    assert (client.redis.llen(BULK), ledger.pending()) == (2, 2)


def test_nobody_can_claim_what_another_works_at(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))

    first = claim_one(ledger, event("a"))

    assert isinstance(first, Claim)
    assert first.attempt == 1
    assert 0 <= first.waited < 5
    assert claim_one(ledger, event("a")) == "busy"
    until(lambda: overdue(client))
    second = claim_one(ledger, event("a"))
    assert isinstance(second, Claim)
    assert (second.attempt, second.losses) == (1, 1)
    publish(ledger, event("a"))
    assert claim_one(ledger, event("a")) == "answered"


def test_a_raw_event_enters_the_ledger_when_it_is_claimed(ledger: Ledger) -> None:
    assert isinstance(claim_one(ledger, event("raw")), Claim)
    assert ledger.pending() == 1
    assert publish(ledger, event("raw")) is not None
    assert ledger.pending() == 0


def test_the_second_verdict_changes_nothing(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a", reply={"webhook": "http://x/"}))
    told = event("a", reply={"webhook": "http://x/"})

    first = publish(ledger, told)
    second = publish(ledger, told, dead=DeadLetterReason("ImageBroken", "late"))

    assert first is not None
    assert 0 <= first < 5
    assert second is None
    assert client.redis.xlen(keys.VERDICTS) == 1
    assert client.redis.zcard(keys.WEBHOOKS) == 1
    assert len(client.dead_letters) == 0


def test_many_at_once_publish_once(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: claim_one(ledger, event("a")), range(32)))
        durations = list(pool.map(lambda _: publish(ledger, event("a")), range(32)))

    assert sum(isinstance(claim, Claim) for claim in claims) == 1
    assert sum(duration is not None for duration in durations) == 1
    assert client.redis.xlen(keys.VERDICTS) == 1


def test_the_stream_is_trimmed_and_the_verdict_expires(client: Client, ledger: Ledger) -> None:
    for n in range(1500):
        publish(ledger, event(str(n)))

    assert 100 <= client.redis.xlen(keys.VERDICTS) < 500
    assert client.verdicts.newest(1)[0].event_id == "1499"
    assert 0 < client.redis.ttl(keys.VERDICT_PREFIX + event("7").key) <= 60


def test_a_lost_message_comes_back_after_the_lease(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    client.redis.lpop(QUEUE)
    assert ledger.sweep() == 0, "before the lease is over"

    until(lambda: overdue(client))

    assert ledger.sweep() == 1
    assert decode_message(client.redis.lindex(QUEUE, 0))["id"] == "a"
    assert ledger.sweep() == 0


def test_a_message_that_still_waits_is_not_doubled(client: Client, ledger: Ledger) -> None:
    for name in "abc":
        ledger.accept(body(name))
    until(lambda: overdue(client))

    assert ledger.sweep() == 0
    assert client.redis.llen(QUEUE) == 3


def test_a_retried_event_behind_younger_ones_is_not_doubled(client: Client, ledger: Ledger) -> None:
    """It was accepted before the oldest message on the queue, and yet it is there."""
    ledger.accept(body("old"))
    client.redis.rpop(QUEUE)
    claim = claim_one(ledger, event("old"))
    ledger.accept(body("young"))
    ledger.retry(event("old"), claim, 0.0)
    assert ledger.sweep() == 1
    until(lambda: overdue(client))

    assert ledger.sweep() == 0
    assert client.redis.llen(QUEUE) == 2


def test_lost_among_waiting_ones(client: Client, ledger: Ledger) -> None:
    for name in "abc":
        ledger.accept(body(name))
    assert decode_message(client.redis.rpop(QUEUE))["id"] == "a"
    until(lambda: overdue(client))

    assert ledger.sweep() == 1
    assert [decode_message(m)["id"] for m in client.redis.lrange(QUEUE, 0, -1)] == ["a", "c", "b"]


def test_each_image_of_a_lost_bulk_message_comes_back(client: Client, ledger: Ledger) -> None:
    ledger.accept({"id": "b", "images": [{"path": f"/{n}.jpg"} for n in range(5)]})
    client.redis.lpop(BULK)
    until(lambda: overdue(client))

    assert ledger.sweep() == 5
    ids = [decode_message(m)["id"] for m in client.redis.lrange(BULK, 0, -1)]
    assert sorted(ids) == [f"b/{n}" for n in range(5)]


def test_what_a_dead_worker_had_in_hand_comes_back(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    client.redis.rpop(QUEUE)
    claim_one(ledger, event("a"))
    assert ledger.sweep() == 0
    until(lambda: overdue(client))

    assert ledger.sweep() == 1
    claim = claim_one(ledger, event("a"))
    assert isinstance(claim, Claim)
    assert (claim.attempt, claim.losses) == (1, 1)


def test_a_retry_waits_its_time(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    client.redis.rpop(QUEUE)
    ledger.retry(event("a"), claim_one(ledger, event("a")), 0.5)
    assert ledger.sweep() == 0

    until(lambda: ledger.sweep() == 1, timeout=5)

    assert client.redis.llen(QUEUE) == 1


def test_harm_is_remembered_until_the_verdict(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    for harmed, known in ((False, False), (True, False), (False, True)):
        claim = claim_one(ledger, event("a"))
        assert isinstance(claim, Claim)
        assert claim.harmed is known
        ledger.retry(event("a"), claim, 0.0, harmed=harmed)
    claim = claim_one(ledger, event("a"))
    assert isinstance(claim, Claim)
    assert (claim.attempt, claim.harmed) == (4, True)
    publish(ledger, event("a"), dead=DeadLetterReason("DecoderCrashed", "SIGSEGV"))
    letter = client.dead_letters.get("moderator:a")
    assert letter is not None
    client.dead_letters.replay(letter)
    claim = claim_one(ledger, event("a"))
    assert isinstance(claim, Claim)
    assert (claim.attempt, claim.harmed) == (1, False)


def test_patience_counts_from_the_first_try_that_had_to_wait(client: Client, ledger: Ledger) -> None:
    """Not from when the event was accepted: it may have stood in the queue for long."""
    ledger.accept(body("a"))
    time.sleep(0.2)
    began, waits = time.monotonic(), []
    for counts, held_off in ((False, True), (False, False), (True, True), (True, False), (True, False)):
        claim = claim_one(ledger, event("a"))
        assert claim.waited >= 0.2
        waits.append((claim.attempt, claim.held_off))
        ledger.retry(event("a"), claim, 0.0, counts=counts, held_off=held_off)
        time.sleep(0.1)

    attempts, held = zip(*waits, strict=True)
    assert attempts == (1, 1, 1, 2, 3)
    assert held[0] == held[4] == 0.0
    assert 0.1 <= held[1] < held[2] < held[3] < time.monotonic() - began


def test_a_retry_of_what_is_answered_changes_nothing(client: Client, ledger: Ledger) -> None:
    claim = claim_one(ledger, event("a"))
    publish(ledger, event("a"))
    ledger.retry(event("a"), claim, 0.0)
    assert (ledger.pending(), ledger.sweep()) == (0, 0)


def test_many_sweepers_give_an_event_out_once(client: Client, ledger: Ledger) -> None:
    for n in range(50):
        ledger.accept(body(str(n)))
    client.redis.delete(QUEUE)
    until(lambda: overdue(client))

    sweepers = [make_client(client_url(client), redeliver_after="30").ledger for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda sweeper: sweeper.sweep(), sweepers))

    assert sum(counts) == 50
    assert client.redis.llen(QUEUE) == 50


def client_url(client: Client) -> str:
    options = client.redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options['db']}"


def test_a_verdict_in_between_wins_over_the_sweeper(client: Client, ledger: Ledger) -> None:
    ledger.accept(body("a"))
    client.redis.delete(QUEUE)
    until(lambda: overdue(client))
    publish(ledger, event("a"))

    assert ledger.sweep() == 0
    assert client.redis.llen(QUEUE) == 0


def test_a_replay_withdraws_the_verdict_and_its_dead_letter(client: Client, ledger: Ledger) -> None:
    publish(ledger, event("a"), dead=DeadLetterReason("ImageBroken", "broken"))
    letter = client.dead_letters.get("moderator:a")
    assert letter is not None

    client.dead_letters.replay(letter)

    assert (client.verdict("a"), len(client.dead_letters), ledger.pending()) == (None, 0, 1)
    assert decode_message(client.redis.lindex(QUEUE, 0))["id"] == "a"


def test_dead_letters_come_oldest_first(client: Client, ledger: Ledger) -> None:
    for n in range(300):
        publish(ledger, event(str(n)), dead=DeadLetterReason("ImageBroken", "broken"))

    assert [letter.key for letter in client.dead_letters] == [f"moderator:{n}" for n in range(300)]
    assert [letter.key for letter in client.dead_letters.newest(2)] == ["moderator:299", "moderator:298"]


def test_a_consumer_gets_again_what_it_did_not_finish(client: Client, ledger: Ledger) -> None:
    for n in range(5):
        publish(ledger, event(str(n)))
    verdicts = client.consume("archive", "one")
    assert [next(verdicts).event_id for _ in range(3)] == ["0", "1", "2"]
    verdicts.close()  # died with the third in hand

    again = client.consume("archive", "one")

    assert [next(again).event_id for _ in range(3)] == ["2", "3", "4"]
    again.close()


def test_consumers_of_a_group_share_and_groups_do_not(client: Client, ledger: Ledger) -> None:
    one, two = client.consume("g", "one"), client.consume("g", "two")
    publish(ledger, event("0"))
    assert next(one).event_id == "0"
    publish(ledger, event("1"))
    assert next(two).event_id == "1"
    assert next(client.consume("other", "one")).event_id == "0"


def test_what_was_given_to_a_consumer_and_never_arrived_is_given_again(
    client: Client, ledger: Ledger
) -> None:
    """A connection breaks with the server's answer on its way."""
    verdicts = client.consume("g", "one")
    publish(ledger, event("0"))
    assert next(verdicts).event_id == "0"
    publish(ledger, event("1"))
    client.redis.xreadgroup("g", "one", {keys.VERDICTS: ">"})

    assert next(verdicts).event_id == "1"


def test_a_stream_can_be_read_from_where_one_was(client: Client, ledger: Ledger) -> None:
    publish(ledger, event("0"))
    position = client.verdicts.position()
    publish(ledger, event("1"))

    after = [v.event_id for _, v in client.verdicts.tail(position, follow=False)]

    assert after == ["1"]
    assert next(client.verdicts.tail("0"))[1].event_id == "0"


def test_without_a_server_nothing_is_accepted(server: EmbeddedServer) -> None:
    client = make_client(server.url)
    server.stop()
    with pytest.raises(QueueUnavailable, match="nothing is on the queue"):
        client.submit(path="/x.jpg")


def test_what_was_accepted_survives_a_crash_of_the_server(server: EmbeddedServer) -> None:
    client = make_client(server.url)
    for n in range(50):
        client.submit(path="/x.jpg", id=str(n))
    server.kill()
    server.start()
    assert (client.ledger.pending(), client.redis.llen(QUEUE)) == (50, 50)


def test_many_are_claimed_and_published_together(client: Client, ledger: Ledger) -> None:
    events = [event(str(n)) for n in range(5)]
    publish(ledger, events[1])
    claim_one(ledger, events[2])
    claims = ledger.claim(events)
    assert [isinstance(claim, Claim) or claim for claim in claims] == [True, "answered", "busy", True, True]

    client.redis.script_flush()  # as after a restart of the server
    durations = ledger.publish([answer(events[n]) for n in (0, 1, 3)], ttl=60.0, stream_length=100)
    assert [duration is None for duration in durations] == [False, True, False]
    assert client.redis.xlen(keys.VERDICTS) == 3
    assert ledger.pending() == 2
    assert ledger.publish([], ttl=60.0, stream_length=100) == []
