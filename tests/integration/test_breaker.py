"""A host of images that is down: events wait for it without using up their tries, and are answered afterwards."""

from pathlib import Path

import pytest

from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from tests.integration.conftest import StartWorker
from tests.support.http_server import Answer, HttpServer
from tests.support.service import make_client, until


@pytest.mark.slow
def test_a_dead_image_host_is_left_alone_and_its_events_are_answered_later(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path], http: HttpServer
) -> None:
    worker = start_worker(
        server.url,
        fetch_networks="127.0.0.0/8",
        breaker_failures="3",
        breaker_cooldown="1.5",
        max_attempts="3",
        retry_delay="0.1",
    )
    client = make_client(server.url)
    http.answers["/a.jpg"] = [Answer(503)]
    events = [client.submit(url=http.url("/a.jpg"), id=str(n)) for n in range(12)]
    until(lambda: worker.metrics()["moderation_breaker_open{kind=image}"] == 1)
    asked = len(http.asked("/a.jpg"))
    assert asked < 3 * 12, "without a breaker each event would have tried three times"
    # Others are served meanwhile.
    assert client.wait(client.submit(path=small_images[0]).id).error is None

    http.answers["/a.jpg"] = [Answer(200, small_images[0].read_bytes())]

    verdicts = [client.wait(event.id, timeout=60) for event in events]
    dead = [verdict.error for verdict in verdicts if verdict.error is not None]
    assert not dead, worker.log
    assert worker.metrics()["moderation_breaker_open{kind=image}"] == 0
    assert worker.metrics()["moderation_breaker_open{kind=webhook}"] == 0
    assert client.redis.zcard(keys.PENDING) == 0
