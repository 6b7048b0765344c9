"""The outbox: what consumers of verdicts get, how it is kept for them, and who delivers it."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from standardwebhooks import Webhook

from moderator.client import Client
from moderator.errors import DeadLetterNotFound, DeliveryUnreadable, NotAnImage, RedisMisused
from moderator.events import Event
from moderator.images.decode import DecodeLimits
from moderator.images.prepare import PreprocessSpec, prepare
from moderator.queue import keys, outbox
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.evidence import Evidence
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Answer as Answered
from moderator.queue.ledger import Ledger
from moderator.queue.outbox import Delivery, Outbox, read_lags
from moderator.queue.subscriptions import WEBHOOKS, Subscription, Subscriptions
from moderator.settings import Settings
from moderator.verdicts import Decision, ModelFacts, Verdict
from moderator.view import ViewPlan
from tests.integration.conftest import StartWorker
from tests.support.http_server import Answer, HttpServer
from tests.support.ledger_events import body, event, everything
from tests.support.service import (
    SECRET,
    DeliverProcess,
    environment,
    make_client,
    run_cli,
    until,
)
from tests.support.small_model import SMALL_DIMENSION
from tests.support.table_consumer import NAME

BOTH = Subscriptions((Subscription("archive", evidence=True), Subscription("audit")), limit=1000)
MODEL = ModelFacts(id="m", revision="1", preprocessing="p", device="cpu", dtype="float32")
EVIDENCE = Evidence(np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4), {"s": {"score": 0.5}}, MODEL)


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with closing(make_client(server.url)) as client:
        yield client


def ledger_of(client: Client, subscriptions: Subscriptions = BOTH) -> Ledger:
    return Ledger(RedisExecutor(client.redis), 30.0, subscriptions=subscriptions)


def publish(ledger: Ledger, *names: str, evidence: Evidence | None = EVIDENCE) -> list[object]:
    events: list[Event] = [event(name) for name in names]
    verdicts = [
        Verdict(event_id=one.id, source=one.source, decision=Decision.ALLOW, is_safe=True) for one in events
    ]
    answers = [Answered(e, v, evidence=evidence) for e, v in zip(events, verdicts, strict=True)]
    return list(ledger.publish(answers, ttl=60.0, stream_length=1000))


def taken(box: Outbox, most: int = 100) -> list[Delivery]:
    found = box.take(most)
    assert not [one for one in found if isinstance(one, DeliveryUnreadable)]
    return [one for one in found if isinstance(one, Delivery)]


# --- what is kept


def test_each_consumer_gets_what_it_wants(client: Client) -> None:
    publish(ledger_of(client), "a")
    publish(ledger_of(client), "broken", evidence=None)
    verdict = client.redis.get(keys.VERDICT_PREFIX + "moderator:a")

    first, second = taken(Outbox(client.redis, "archive"))
    assert (first.identity[:2], first.body, first.attempt) == (("moderator", "a"), verdict, 1)
    assert first.evidence is not None
    np.testing.assert_array_equal(first.evidence.embeddings, EVIDENCE.embeddings.astype(np.float16))
    assert (first.evidence.readings, first.evidence.model) == (EVIDENCE.readings, MODEL)
    assert second.evidence is None, "it could not be judged"
    audit = taken(Outbox(client.redis, "audit"))
    assert [(one.identity[1], one.evidence) for one in audit] == [("a", None), ("broken", None)]
    assert len(Outbox(client.redis, WEBHOOKS)) == 0


def test_a_second_verdict_is_not_delivered(client: Client) -> None:
    ledger = ledger_of(client)
    publish(ledger, "a")
    publish(ledger, "a")
    assert len(Outbox(client.redis, "archive")) == 1


def test_what_ends_as_overdue_is_kept_as_well(client: Client) -> None:
    ledger = ledger_of(client)
    ledger.accept(body("a"))
    client.redis.hset(keys.RECORD_PREFIX + "moderator:a", "event", "no event")
    client.redis.delete("moderation")
    client.redis.zadd(keys.PENDING, {"moderator:a": 0})
    ledger.sweep()
    (delivery,) = taken(Outbox(client.redis, "archive"))
    assert Verdict.model_validate_json(delivery.body).decision is Decision.ERROR


def test_at_its_limit_a_consumer_misses_verdicts_and_nobody_else_does(client: Client, tmp_path: Path) -> None:
    few = Subscriptions(BOTH.entries, limit=3)
    ledger = ledger_of(client, few)
    publish(ledger, "a")
    Outbox(client.redis, "audit").forget([one.key for one in taken(Outbox(client.redis, "audit"))])

    publish(ledger, "b", "c", "d", "e")

    assert client.redis.xlen(keys.VERDICTS) == 5
    archive, audit = read_lags(client.redis, ["archive", "audit"])
    assert (archive.waiting, archive.missed) == (3, 2)
    assert (audit.waiting, audit.missed) == (3, 1)
    settings = {"redis_url": url_of(client), "outbox_consumers": "archive:embedding", "outbox_limit": "3"}
    told = run_cli("doctor", cwd=tmp_path, **settings).stdout
    assert "'archive'" in told
    assert "missed 2 verdicts" in told


@pytest.mark.parametrize("key", [keys.OUTBOX_MISSED, "moderation:outbox:archive", "moderation:outbox:audit"])
def test_a_verdict_and_its_deliveries_are_kept_whole_or_not_at_all(client: Client, key: str) -> None:
    ledger = ledger_of(client)
    ledger.accept(body("a"))
    client.redis.set(key, "theirs")
    before = everything(client)
    (outcome,) = publish(ledger, "a")
    assert isinstance(outcome, RedisMisused)
    assert everything(client) == before


@pytest.mark.parametrize("key", ["moderation:outbox:archive:moderator:a#", keys.OUTBOX_MISSED])
def test_what_belongs_to_one_delivery_is_written_over(client: Client, key: str) -> None:
    ledger = ledger_of(client, Subscriptions(BOTH.entries, limit=1))
    publish(ledger, "first")
    if key == keys.OUTBOX_MISSED:
        client.redis.hset(key, "moderation:outbox:archive", "many")
    publish(ledger, "a")
    (archive,) = read_lags(client.redis, ["archive"])
    assert archive.missed == 1


# --- how it is taken


def test_many_are_taken_and_confirmed_in_one_round_trip_each(client: Client) -> None:
    publish(ledger_of(client), *(str(n) for n in range(300)))
    box = Outbox(client.redis, "archive")
    taken(box, 0)  # the server learns the script
    before = client.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    deliveries = taken(box, 200)
    assert client.redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 1
    assert [one.identity[1] for one in deliveries] == [str(n) for n in range(200)], "in order"
    box.forget([one.key for one in deliveries])
    assert (len(box), len(taken(box, 200)), taken(box)) == (100, 100, [])
    assert len(client.redis.keys("moderation:outbox:archive:*")) == 100


def test_what_is_taken_and_not_confirmed_comes_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "DELIVERY_LEASE_SECONDS", 0.3)
    publish(ledger_of(client), "a")
    box = Outbox(client.redis, "archive")
    (first,) = taken(box)
    assert taken(box) == [], "another has it"
    (again,) = until(lambda: taken(box))
    assert (again.identity, again.body, again.attempt) == (first.identity, first.body, 2)


def test_what_is_postponed_comes_when_it_is_due(client: Client) -> None:
    publish(ledger_of(client), "a", "b")
    box = Outbox(client.redis, "archive")
    a, b = taken(box)
    box.postpone([a], 0.3)
    box.postpone([b], 0.3, counts=False)
    assert taken(box) == []
    found: list[Delivery] = []  # they are due one after the other
    until(lambda: found.extend(taken(box)) or len(found) == 2)
    assert {one.identity[1]: one.attempt for one in found} == {"a": 2, "b": 1}
    box.forget([one.key for one in found])
    box.postpone(found, 0.0)
    assert len(box) == 0, "what is forgotten stays forgotten"


@pytest.mark.parametrize("field", ["body", "embedding", "tensor", "readings"])
def test_a_record_that_cannot_be_read_is_in_no_others_way(client: Client, field: str) -> None:
    publish(ledger_of(client), "a", "b")
    record = next(key for key in client.redis.keys("moderation:outbox:archive:*") if b":a#" in key)
    client.redis.hset(record, field, b"\xff")
    bad, good = Outbox(client.redis, "archive").take(10)
    assert isinstance(bad, DeliveryUnreadable)
    assert isinstance(good, Delivery)


def test_the_lag_is_that_of_the_oldest_wherever_it_stands(client: Client) -> None:
    assert read_lags(client.redis, ["archive"])[0].oldest_age == 0
    publish(ledger_of(client), *(str(n) for n in range(300)))
    key = next(key for key in client.redis.keys("moderation:outbox:archive:*") if b":150#" in key)
    client.redis.hincrbyfloat(key, "since", -500)
    box = Outbox(client.redis, "archive")
    old = next(one for one in taken(box, 300) if one.identity[1] == "150")
    assert old.age > 499
    box.postpone([old], 3600.0)
    (lag,) = read_lags(client.redis, ["archive"])
    assert lag.waiting == 300
    assert 499 < lag.oldest_age < 600


def test_a_dead_delivery_is_replayed_with_all_that_it_had(client: Client) -> None:
    publish(ledger_of(client), "a")
    box = Outbox(client.redis, "archive")
    (delivery,) = taken(box)
    client.dead_letters.bury_delivery("archive", delivery, NotAnImage("never"))
    assert len(box) == 0, "in one step: a replay in between would be forgotten"
    (letter,) = client.dead_letters
    assert (letter.key, letter.consumer, letter.webhook) == (
        f"delivery:archive:{delivery.key}",
        "archive",
        None,
    )

    client.dead_letters.replay(letter)

    (again,) = taken(box)
    assert (again.key, again.body, again.url) == (delivery.key, delivery.body, "")
    assert again.evidence is not None
    np.testing.assert_array_equal(again.evidence.embeddings, EVIDENCE.embeddings.astype(np.float16))
    assert (len(client.dead_letters), again.attempt) == (0, 1)
    with pytest.raises(DeadLetterNotFound):
        client.dead_letters.replay(letter)


# --- who delivers it


@pytest.mark.slow
def test_the_embedding_is_the_encoders(
    server: EmbeddedServer, client: Client, start_worker: StartWorker, small_images: list[Path], images: Path
) -> None:
    start_worker(server.url, outbox_consumers="archive:embedding,audit", dtype="float32")
    files = [*small_images[:2], images / "slideshow.gif"]
    for file in files:
        client.wait(client.submit(path=file, id=file.name).id)
    client.wait(client.submit(path=images / "nothing.jpg", id="nothing").id)

    found = {one.identity[1]: one for one in taken(Outbox(client.redis, "archive"))}

    from moderator.encoders.embedded.embedded_encoder import EmbeddedEncoder  # loads torch

    encoder = EmbeddedEncoder(dtype="float32")
    settings = Settings()
    limits, most = DecodeLimits.from_settings(settings), settings.views
    spec = PreprocessSpec(limits, encoder.preprocess, settings.jpeg_draft, most)
    for file in files:
        verdict, evidence = client.verdict(file.name), found[file.name].evidence
        assert verdict is not None
        assert evidence is not None
        expected = encoder.embed_images(prepare(file.read_bytes(), spec, ViewPlan(most)).pixels)
        assert evidence.embeddings.shape == expected.shape
        np.testing.assert_allclose(evidence.embeddings, expected, atol=1e-3)
        assert evidence.model == verdict.model
    assert found["nothing"].evidence is None
    assert len(found) == len(files) + 1
    assert all(one.evidence is None for one in taken(Outbox(client.redis, "audit")))


@pytest.mark.slow
def test_a_consumer_that_is_killed_time_and_again_has_each_verdict(
    server: EmbeddedServer,
    client: Client,
    start_worker: StartWorker,
    small_images: list[Path],
    small_model: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    worker = start_worker(server.url, outbox_consumers=f"{NAME}:embedding", **small_model)
    file = tmp_path / "archive.sqlite3"

    def start() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.table_consumer", str(file)],
            env=environment(redis_url=server.url, deliver="apart"),
            cwd=Path(__file__).parents[2],
        )
        request.addfinalizer(process.kill)
        return process

    def received() -> int:
        if not file.exists():
            return 0
        with closing(sqlite3.connect(file)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'received'").fetchone():
                return 0
            count: int = database.execute("SELECT COUNT(*) FROM received").fetchone()[0]
            return count

    events = [
        one
        for part in range(5)
        for one in client.submit_many(
            [{"path": str(small_images[n % 10])} for n in range(100)], id=f"b{part}"
        )
    ]
    for kill in range(3):
        consumer = start()
        until(lambda: received() > 75 * (kill + 1), 60.0, "verdicts in the archive")  # noqa: B023
        consumer.send_signal(signal.SIGKILL)
        consumer.wait()
    last = start()
    until(lambda: client.ledger.pending() == 0, 60.0, "all verdicts")
    box = Outbox(client.redis, NAME)
    until(lambda: len(box) == 0, 60.0, "all deliveries")
    last.send_signal(signal.SIGTERM)
    assert last.wait(20) == 0

    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT source, id, embedding FROM verdicts").fetchall()
        seen = Counter(id for (id,) in database.execute("SELECT id FROM received"))
    published = Counter(verdict.event_id for _, verdict in client.verdicts.tail("0", follow=False))
    assert Counter(id for _, id, _ in rows) == published == Counter(one.id for one in events)
    (size,) = {len(embedding) for _, _, embedding in rows}
    assert size == 2 * SMALL_DIMENSION
    assert seen.keys() == published.keys()
    assert sum(seen.values()) > len(events), (
        "nothing came twice: the kills hit nothing, and this shows nothing"
    )
    assert len(client.dead_letters) == 0
    assert worker.poll() is None


@pytest.fixture
def deliver(tmp_path: Path) -> Iterator[Callable[..., DeliverProcess]]:
    started: list[DeliverProcess] = []

    def start(url: str, **settings: str) -> DeliverProcess:
        process = DeliverProcess(
            tmp_path / f"deliver-{len(started)}",
            redis_url=url,
            webhook_secret=SECRET,
            fetch_networks="127.0.0.0/8",
            **settings,
        )
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.mark.slow
def test_webhooks_are_delivered_apart_from_the_worker(
    server: EmbeddedServer,
    client: Client,
    start_worker: StartWorker,
    deliver: Callable[..., DeliverProcess],
    small_images: list[Path],
    http: HttpServer,
) -> None:
    http.answers["/hook"] = [Answer(500), Answer(204)]
    worker = start_worker(
        server.url, deliver="apart", webhook_secret=SECRET, fetch_networks="127.0.0.0/8", retry_delay="0.2"
    )
    submitted = client.submit(path=small_images[0], webhook=http.url("/hook"))
    client.wait(submitted.id)
    time.sleep(1.5)
    assert http.asked("/hook") == []
    waiting = "moderation_outbox_waiting{consumer=webhooks}"
    assert worker.metrics()[waiting] == 1
    assert worker.metrics()["moderation_outbox_oldest_age_seconds{consumer=webhooks}"] > 1

    process = deliver(server.url, deliver="apart", retry_delay="0.2")

    until(lambda: len(http.asked("/hook")) == 2)
    first, second = http.asked("/hook")
    Webhook(SECRET).verify(second.body.decode(), dict(second.headers))
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    until(lambda: len(Outbox(client.redis, WEBHOOKS)) == 0)
    delivered = "moderation_deliveries_total{consumer=webhooks,result=delivered}"
    shown = until(lambda: (page := process.metrics())[delivered] and page)
    assert shown[waiting] == 0
    assert shown[delivered] == 1
    assert shown["moderation_deliveries_total{consumer=webhooks,result=failed}"] == 1
    assert shown["moderation_failures_total{error=WebhookFailed,stage=webhook}"] == 1
    assert (process.get_status("/ready"), process.get_status("/live")) == (200, 200)
    loaded = Path(f"/proc/{process.pid}/maps").read_text()
    assert not [name for name in ("torch", "PIL", "numpy") if f"/{name}/" in loaded]
    assert process.stop() == 0
    assert "Traceback" not in process.log


@pytest.mark.slow
def test_a_stop_finishes_what_was_begun(
    server: EmbeddedServer, client: Client, deliver: Callable[..., DeliverProcess], http: HttpServer
) -> None:
    http.answers["/slow"] = [Answer(204, delay=1.0)]
    key = "moderator:a#1"
    client.redis.hset(keys.WEBHOOK_PREFIX + key, mapping={"url": http.url("/slow"), "body": "{}"})
    client.redis.zadd(keys.WEBHOOKS, {key: 0})
    process = deliver(server.url)
    until(lambda: http.asked("/slow"))
    process.send(signal.SIGINT)
    assert process.wait(20) == 0
    assert len(http.asked("/slow")) == 1
    assert client.redis.zcard(keys.WEBHOOKS) == 0
    assert "workers deliver as well" in process.log


def test_a_consumer_that_is_not_installed_is_named(server: EmbeddedServer, tmp_path: Path) -> None:
    run = run_cli("deliver", "--only", "archive", "--port", "0", cwd=tmp_path, redis_url=server.url)
    assert run.returncode == 2
    assert "no consumer 'archive' is installed" in run.stderr


def test_redis_may_go_and_come_back(
    server: EmbeddedServer, deliver: Callable[..., DeliverProcess], http: HttpServer
) -> None:
    http.answers["/hook"] = [Answer(204)]
    process = deliver(server.url)
    server.stop()
    until(lambda: not process.ready(), what="not being ready")
    server.start()
    client = make_client(server.url)
    key = "moderator:a#1"
    client.redis.hset(keys.WEBHOOK_PREFIX + key, mapping={"url": http.url("/hook"), "body": "{}"})
    client.redis.zadd(keys.WEBHOOKS, {key: 0})
    until(lambda: http.asked("/hook"))
    until(process.ready)
    assert process.stop() == 0


def url_of(client: Client) -> str:
    options = client.redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options['db']}"
