"""Verdicts on their way to a webhook: signed, tried again, given up, replayed."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from moderator.client import Client
from moderator.queue import keys
from moderator.queue.connection import Redis
from moderator.queue.dead_letter_store import DeadLetter
from moderator.queue.delivery_log import (
    EVENT_ATTEMPTS_MAX,
    LOG_SECONDS,
    DeliveryAttempt,
    DeliveryLog,
    target_id,
)
from moderator.queue.executors import RedisExecutor
from moderator.queue.redelivery import Redelivery
from moderator.verdicts import Verdict
from tests.support.http_server import Answer, HttpServer
from tests.support.service import OLD_SECRET, SECRET, WorkerProcess, run_cli, small_jpeg, until


@pytest.fixture
def path() -> str:
    return f"/hook/{uuid4().hex}"


def dead_delivery(client: Client, event_key: str) -> DeadLetter | None:
    """The dead letter of an event's delivery, which leaves the outbox just after it is one."""
    for letter in client.dead_letters:
        if letter.webhook and letter.key.startswith(f"webhook:{event_key}#"):
            waits = client.redis.zscore(keys.WEBHOOKS, letter.key.removeprefix("webhook:"))
            return letter if waits is None else None
    return None


def test_a_verdict_is_posted_with_a_signature_that_verifies(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    http.answers[path] = [Answer(204)]

    event = client.submit(path=small_images[0], webhook=http.url(path))

    until(lambda: http.asked(path))
    (request,) = http.asked(path)
    assert request.method == "POST"
    Webhook(SECRET).verify(request.body.decode(), dict(request.headers))
    assert Verdict.model_validate_json(request.body) == client.verdict(event.id)
    assert request.headers["content-type"] == "application/json"


def test_a_changed_body_does_not_verify(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    http.answers[path] = [Answer(200)]
    client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: http.asked(path))
    request = http.asked(path)[0]
    body = {**json.loads(request.body), "decision": "allow", "is_safe": None}

    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(json.dumps(body), dict(request.headers))


def test_it_is_tried_again_after_a_500_with_the_same_id(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    http.answers[path] = [Answer(500), Answer(503), Answer(200)]

    event = client.submit(path=small_images[0], webhook=http.url(path))

    until(lambda: len(http.asked(path)) == 3)
    assert len({request.headers["webhook-id"] for request in http.asked(path)}) == 1
    assert dead_delivery(client, event.key) is None


def test_after_the_last_try_it_is_a_dead_letter_and_replay_delivers(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    http.answers[path] = [Answer(500)]
    event = client.submit(path=small_images[0], webhook=http.url(path))
    letter = until(lambda: dead_delivery(client, event.key))
    assert (letter.error, letter.attempts, letter.webhook) == ("WebhookFailed", 3, http.url(path))
    assert len(http.asked(path)) == 3

    http.answers[path] = [Answer(200)]
    client.dead_letters.replay(letter)

    until(lambda: len(http.asked(path)) == 4)
    assert len({request.headers["webhook-id"] for request in http.asked(path)}) == 1
    assert dead_delivery(client, event.key) is None
    Webhook(SECRET).verify(http.asked(path)[3].body.decode(), dict(http.asked(path)[3].headers))


def test_the_verdict_after_a_replay_is_a_message_of_its_own(
    client: Client, http: HttpServer, images: Path, path: str
) -> None:
    """With the id of the first one, a receiver would take it for a repeat and drop it."""
    http.answers[path] = [Answer(200)]
    file = images / f"{uuid4().hex}.jpg"
    event = client.submit(path=file, webhook=http.url(path))
    until(lambda: len(http.asked(path)) == 1)
    letter = until(lambda: client.dead_letters.get(event.key))
    small_jpeg(file)

    client.dead_letters.replay(letter)

    until(lambda: len(http.asked(path)) == 2)
    first, second = http.asked(path)
    assert json.loads(first.body)["decision"] == "error"
    assert json.loads(second.body)["decision"] != "error"
    assert first.headers["webhook-id"] != second.headers["webhook-id"]


@pytest.mark.parametrize(
    "url", ["http://10.1.2.3/hook", "ftp://127.0.0.1/", "http://[::1", "no url", "http://user:pw@127.0.0.1/"]
)
def test_an_address_that_is_refused_is_a_dead_letter_at_once(
    client: Client, small_images: list[Path], http: HttpServer, path: str, url: str
) -> None:
    """Past the client, which refuses most of them at once."""
    body = {"id": uuid4().hex, "image": {"path": str(small_images[0])}, "reply": {"webhook": url}}
    ((event, _),) = client.ledger.accept(body)

    letter = until(lambda: dead_delivery(client, event.key))

    assert (letter.error, letter.attempts) == ("FetchRefused", 1)
    # Others are not held up by it.
    http.answers[path] = [Answer(200)]
    client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: http.asked(path))


def test_a_redirect_is_final(client: Client, http: HttpServer, small_images: list[Path], path: str) -> None:
    http.answers[path] = [Answer(302, headers={"location": http.url(path + "/new")})]
    event = client.submit(path=small_images[0], webhook=http.url(path))
    letter = until(lambda: dead_delivery(client, event.key))
    assert (letter.error, letter.attempts) == ("WebhookRedirected", 1)
    assert "302" in letter.message
    assert len(http.asked(path)) == 1
    assert http.asked(path + "/new") == []


def test_a_webhook_that_is_gone_gets_no_more_until_it_is_enabled(
    client: Client,
    worker: WorkerProcess,
    http: HttpServer,
    small_images: list[Path],
    path: str,
    tmp_path: Path,
) -> None:
    http.answers[path] = [Answer(410), Answer(200)]
    first = client.submit(path=small_images[0], webhook=http.url(path))
    letter = until(lambda: dead_delivery(client, first.key))
    assert (letter.error, letter.attempts) == ("WebhookDisabled", 1)

    second = client.submit(path=small_images[1], webhook=http.url(path))
    assert until(lambda: dead_delivery(client, second.key)).error == "WebhookDisabled"
    assert len(http.asked(path)) == 1
    assert worker.metrics()["moderation_webhooks_disabled"] == 1
    (disabled,) = records(client, tmp_path, "list", "--disabled")
    assert disabled["id"] == target_id(http.url(path))

    enabled = run_cli("webhooks", "enable", disabled["id"], cwd=tmp_path, redis_url=client_url(client)).stdout
    assert "enabled" in enabled
    client.dead_letters.replay(letter)
    until(lambda: len(http.asked(path)) == 2)
    assert records(client, tmp_path, "list", "--disabled") == []


def client_url(client: Client) -> str:
    options = client.redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options['db']}"


def records(client: Client, folder: Path, *words: str) -> list[dict[str, Any]]:
    """What `moderator webhooks ... --json` prints."""
    done = run_cli("webhooks", *words, "--json", cwd=folder, redis_url=client_url(client))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_deliveries_are_on_record_by_event_and_by_target(
    client: Client, http: HttpServer, small_images: list[Path], path: str, tmp_path: Path
) -> None:
    url = http.url(path) + "?token=s3cret"
    http.answers[path + "?token=s3cret"] = [Answer(500), Answer(204)]
    event = client.submit(path=small_images[0], webhook=url)
    log = DeliveryLog(client.redis, 100)
    until(lambda: len(log.of_event(event.key)) == 2)

    shown = records(client, tmp_path, "show", event.id)
    assert [(one["attempt"], one["status"], one.get("error", "")[:13]) for one in shown] == [
        (2, 204, ""),
        (1, 500, "WebhookFailed"),
    ]
    assert {one["message"] for one in shown} == {http.asked(path + "?token=s3cret")[0].headers["webhook-id"]}
    assert records(client, tmp_path, "show", "--target", url) == shown
    (listed,) = (one for one in records(client, tmp_path, "list") if one["id"] == target_id(url))
    assert (listed["status"], listed["failures"], listed["disabled_at"]) == (204, 0, None)
    assert "s3cret" not in json.dumps([shown, listed])


def test_the_log_is_bounded(client: Client) -> None:
    log, key = DeliveryLog(client.redis, 3), f"moderator:{uuid4().hex}"
    attempt = DeliveryAttempt(
        at=datetime.now(UTC),
        event=key,
        message="msg_1",
        type="verdict.created",
        target="https://example.org/",
        target_id=key[-12:],
        attempt=1,
        milliseconds=1.0,
        status=200,
    )
    for n in range(EVENT_ATTEMPTS_MAX + 5):
        log.add(attempt.model_copy(update={"attempt": n}))
    assert [one.attempt for one in log.of_target(key[-12:])] == [24, 23, 22]
    assert len(log.of_event(key)) == EVENT_ATTEMPTS_MAX
    DeliveryLog(client.redis, 0).add(attempt)
    assert len(log.of_target(key[-12:])) == 3
    for name in client.redis.scan_iter(f"{keys.DELIVERY_LOG_PREFIX}*{key[-12:]}"):
        assert 0 < client.redis.ttl(name) <= LOG_SECONDS


def test_a_verdict_is_delivered_again_with_the_same_id(
    client: Client, http: HttpServer, small_images: list[Path], path: str, tmp_path: Path
) -> None:
    http.answers[path] = [Answer(200)]
    since = datetime.now(UTC).isoformat()
    first, second = (client.submit(path=file, webhook=http.url(path)) for file in small_images[:2])
    client.submit(path=small_images[0])
    until(lambda: len(http.asked(path)) == 2)
    assert records(client, tmp_path, "redeliver", first.id) == [{"event": first.key}]
    until(lambda: len(http.asked(path)) == 3)

    again = records(client, tmp_path, "redeliver", "--target", http.url(path), "--since", since)

    assert {one["event"] for one in again} == {first.key, second.key}
    until(lambda: len(http.asked(path)) == 5)
    assert len({request.headers["webhook-id"] for request in http.asked(path)}) == 2
    assert len({request.body for request in http.asked(path)}) == 2
    unknown = run_cli("webhooks", "redeliver", "unknown", cwd=tmp_path, redis_url=client_url(client))
    assert (unknown.returncode, "no verdict" in unknown.stderr) == (1, True)


def test_what_died_is_delivered_again_and_its_dead_letter_forgotten(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    http.answers[path] = [Answer(302), Answer(200)]
    event = client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: dead_delivery(client, event.key))
    assert Redelivery(RedisExecutor(client.redis), client.dead_letters).event(event.key)
    until(lambda: len(http.asked(path)) == 2)
    assert len({request.headers["webhook-id"] for request in http.asked(path)}) == 1
    assert dead_delivery(client, event.key) is None


def test_a_later_decision_is_delivered(
    client: Client, http: HttpServer, small_images: list[Path], path: str, tmp_path: Path
) -> None:
    http.answers[path] = [Answer(200)]
    event = client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: len(http.asked(path)) == 1)

    options = ("--decision", "block", "--reason", "appeal", "--by", "ann", "--json")
    done = run_cli("verdicts", "revise", event.id, *options, cwd=tmp_path, redis_url=client_url(client))

    until(lambda: len(http.asked(path)) == 2)
    first, second = http.asked(path)
    assert [one.headers["moderation-type"] for one in (first, second)] == [
        "verdict.created",
        "verdict.revised",
    ]
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    Webhook(SECRET).verify(second.body.decode(), dict(second.headers))
    verdict = Verdict.model_validate_json(second.body)
    assert verdict == client.verdict(event.id) == Verdict.model_validate_json(done.stdout)
    assert verdict.revises is not None
    assert verdict.revises.digest == sha256(first.body).hexdigest()[:12]
    assert (verdict.revises.by, verdict.revises.reason) == ("ann", "appeal")


@pytest.mark.parametrize("status", [204, 500])
def test_an_example_is_signed_and_the_answer_reported(
    client: Client, http: HttpServer, path: str, tmp_path: Path, status: int
) -> None:
    http.answers[path] = [Answer(status)]
    settings = {"webhook_secret": SECRET, "fetch_networks": "127.0.0.0/8", "verdict_format": "cloudevents"}
    done = run_cli("webhooks", "test", http.url(path), "--json", cwd=tmp_path, **settings)
    (request,) = http.asked(path)
    event = Webhook(SECRET).verify(request.body.decode(), dict(request.headers))
    assert (event["type"], event["data"]["metadata"]) == ("verdict.created", {"test": True})
    said = json.loads(done.stdout)
    assert (done.returncode, said["status"], said["accepted"]) == (status != 204, status, status == 204)
    if status == 204:
        refused = run_cli("webhooks", "test", http.url(path), cwd=tmp_path, webhook_secret=SECRET)
        assert (refused.returncode, "MODERATOR_FETCH_NETWORKS" in refused.stderr) == (1, True)
        assert len(http.asked(path)) == 1


def test_a_receiver_that_is_busy_is_asked_again_when_it_said(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    http.answers[path] = [Answer(429, headers={"retry-after": "2"}), Answer(200)]
    client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: http.asked(path))
    start = time.monotonic()
    until(lambda: len(http.asked(path)) == 2)
    assert time.monotonic() - start > 1.9, "the usual delay is 0.2 s"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda redis, key: redis.set(key, "text"),
        lambda redis, key: redis.hset(key, mapping={"url": "http://x/", "attempts": "many", "body": "{}"}),
        lambda redis, key: redis.hset(key, mapping={"url": b"\xff", "attempts": 0, "since": 0, "body": "{}"}),
        lambda redis, key: redis.hset(key, mapping={"target": "http://x/"}),
        lambda redis, key: redis.delete(key),
    ],
    ids=["type", "number", "text", "fields", "gone"],
)
def test_a_delivery_that_cannot_be_read_is_buried_and_the_rest_goes_on(
    client: Client,
    http: HttpServer,
    small_images: list[Path],
    path: str,
    spoil: Callable[[Redis, str], object],
) -> None:
    key = f"other:{uuid4().hex}#1"
    spoil(client.redis, keys.WEBHOOK_PREFIX + key)
    client.redis.zadd(keys.WEBHOOKS, {key: 0})

    letter = until(lambda: client.dead_letters.get(f"webhook:{key}"))

    assert letter.error == "DeliveryUnreadable"
    # A worker that ends between the two steps does both again.
    until(lambda: client.redis.zscore(keys.WEBHOOKS, key) is None)
    assert not client.redis.exists(keys.WEBHOOK_PREFIX + key)
    http.answers[path] = [Answer(200)]
    client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: http.asked(path))


def test_a_delivery_of_the_version_before_is_made(client: Client, http: HttpServer, path: str) -> None:
    """Its record need not say since when it waits."""
    http.answers[path] = [Answer(200)]
    key = f"old:{uuid4().hex}#1"
    client.redis.hset(keys.WEBHOOK_PREFIX + key, mapping={"url": http.url(path), "body": "{}", "attempts": 0})
    client.redis.zadd(keys.WEBHOOKS, {key: 0})
    until(lambda: http.asked(path))
    until(lambda: client.redis.zscore(keys.WEBHOOKS, key) is None)


def test_the_old_and_the_new_secret_verify(
    client: Client, http: HttpServer, small_images: list[Path], path: str
) -> None:
    """The shared worker has both, as while receivers change from one to the other."""
    http.answers[path] = [Answer(200)]
    client.submit(path=small_images[0], webhook=http.url(path))
    until(lambda: http.asked(path))
    (request,) = http.asked(path)
    for secret in (SECRET, OLD_SECRET):
        Webhook(secret).verify(request.body.decode(), dict(request.headers))
    with pytest.raises(Exception, match="No matching signature"):
        Webhook("whsec_bm90IG91cnM=").verify(request.body.decode(), dict(request.headers))
