"""Other Celery apps on the same machine and the same database."""

import json
import time
from pathlib import Path
from uuid import uuid4

import pytest

from moderator.errors import QueueUnavailable, VerdictTimeout
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.queue.message import encode_message
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.neighbour import IMPATIENT, Neighbour
from tests.support.service import make_client, run_first, until

#: A configuration of another app's, in the folder where the worker is started.
CELERYCONFIG = """
broker_url = "redis://127.0.0.1:{port}/0"
result_backend = "redis://127.0.0.1:{port}/1"
task_default_queue = "elsewhere"
task_always_eager = True
"""

OUR_KEYS = (
    keys.PENDING,
    keys.PENDING_BYTES,
    keys.VERDICTS,
    keys.REFUSALS,
    keys.DEAD_LETTERS,
    keys.WEBHOOKS,
    keys.DISABLED_WEBHOOKS,
    keys.DELIVERY_TARGETS,
    keys.OUTBOX_MISSED,
    keys.UNACKED,
    keys.UNACKED_INDEX,
    keys.UNACKED_MUTEX,
    keys.EMBEDDINGS,
    keys.KNOWN_POLICIES,
    keys.LIVE_WORKERS,
    keys.HELD_POLICIES,
    keys.FLOODS,
    keys.FLOOD_LOG,
)


def test_the_environment_of_another_app_changes_nothing(
    server: EmbeddedServer,
    start_worker: StartWorker,
    small_images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.setenv(f"CELERY_{name}", f"redis://127.0.0.1:{port}/0")
    monkeypatch.setenv("CELERY_LOADER", "no.such:Loader")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "celeryconfig")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such.settings")
    (tmp_path / "worker-0").mkdir()
    (tmp_path / "worker-0" / "celeryconfig.py").write_text(CELERYCONFIG.format(port=port))
    worker = start_worker(server.url)
    client = make_client(server.url)

    for priority in ("interactive", "bulk"):
        event = client.submit(path=small_images[0], priority=priority)
        assert client.wait(event.id).decision is not Decision.ERROR
    assert "Traceback" not in worker.log
    assert worker.stop() == 0


def hold(client: object, tag: str, element: str, exchange: str, key: str) -> None:
    """As kombu notes that a message is held: for longer than we may, and not as long as another app may."""
    redis = client.redis  # type: ignore[attr-defined]
    redis.hset("unacked", tag, json.dumps([json.loads(element), exchange, key]))
    redis.zadd("unacked_index", {tag: time.time() - 1000})


def test_what_another_app_holds_is_its_own_and_what_our_earlier_version_held_is_ours(
    server: EmbeddedServer,
    start_worker: StartWorker,
    small_images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = make_client(server.url)
    image = {"path": str(small_images[0])}
    ids = [uuid4().hex for _ in range(3)]
    ours = [encode_message({"id": id, "image": image}, "moderation") for id in ids]
    hold(client, "a", ours[0], "", "moderation")
    hold(client, "b", ours[1], "celery", "celery")
    hold(client, "c", ours[2], "moderation.bulk", "moderation.bulk")
    other = json.dumps({"body": "W10=", "headers": {"task": "shop.count", "id": "1"}, "properties": {}})
    hold(client, "theirs", other, "", "celery")
    client.redis.hset("unacked", "garbage", b"\xff{")
    client.redis.zadd("unacked_index", {"garbage": time.time() - 1000})

    with Neighbour(server.url, tmp_path, seconds=12) as neighbour:
        neighbour.send("first")
        run_first(IMPATIENT, tmp_path, monkeypatch)
        start_worker(server.url)
        for id in ids:
            assert client.wait(id, timeout=40).decision is not Decision.ERROR
        neighbour.send("second")
        time.sleep(9.0)  # our limit, and twice what is between two looks

        assert neighbour.started() == ["first", "second"]
    assert client.redis.hexists("unacked", "theirs")
    assert client.redis.hexists("unacked", "garbage")
    assert not any(client.redis.hexists("unacked", tag) for tag in "abc")


@pytest.mark.slow
def test_what_is_given_back_goes_to_the_queue_that_it_came_from(
    server: EmbeddedServer, start_worker: StartWorker, images: Path
) -> None:
    client = make_client(server.url)
    name = uuid4().hex
    listed = [{"path": str(images / "red-panda.jpg")}] * 200
    message = json.loads(encode_message({"id": name, "images": listed}, "moderation.bulk"))
    message["properties"]["delivery_info"] = {"exchange": "celery", "routing_key": "celery"}
    worker = start_worker(server.url)
    client.redis.lpush("moderation.bulk", json.dumps(message))
    until(lambda: client.redis.xlen("moderation:verdicts") >= 10)

    assert worker.stop() == 0

    assert client.redis.xlen("moderation:verdicts") < 200, "nothing was left; the test shows nothing"
    assert client.redis.llen("moderation.bulk") == 1
    assert not client.redis.exists("celery")
    start_worker(server.url)
    for n in range(200):
        assert client.wait(f"{name}/{n}", timeout=60).decision is not Decision.ERROR


@pytest.mark.slow
def test_foreign_data_at_one_of_our_keys_makes_no_event_an_error(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    worker = start_worker(server.url, embedding_cache="10", outbox_consumers="search")
    client = make_client(server.url)
    redis = client.redis
    client.wait(client.submit(path=small_images[0]).id, timeout=30)
    outbox = f"{keys.OUTBOX_PREFIX}search"
    until(lambda: redis.exists(keys.FLOODS), what="the counts of the flood breaker")
    flood = redis.keys(f"{keys.FLOOD_PREFIX}*")[0]

    refused, late = [], []
    for number, key in enumerate((*OUR_KEYS, outbox, flood)):
        had = redis.exists(key)
        if had:
            redis.rename(key, "aside")
        redis.set(key, "foreign")
        event = None
        try:
            event = client.submit(path=small_images[number % len(small_images)])
            client.wait(event.id, timeout=1)
        except QueueUnavailable:
            refused.append(key)
        except VerdictTimeout:
            late.append(key)
        redis.delete(key)
        if had:
            redis.rename("aside", key)
        if event is not None:
            assert client.wait(event.id, timeout=30).error is None, key
    # Without these, an event and its answer cannot be kept: the caller is told, or the event waits.
    assert refused == [keys.PENDING, keys.VERDICTS, keys.REFUSALS]
    published_to = {keys.DEAD_LETTERS, keys.WEBHOOKS, keys.OUTBOX_MISSED, outbox}
    assert set(late) <= published_to | {keys.UNACKED, keys.UNACKED_INDEX}
    assert redis.zcard(keys.DEAD_LETTERS) == 0
    assert worker.stop() == 0
