"""The worker on what an earlier version left in Redis, with events in every state: none lost, none doubled.

To make a new fixture, with the code of the version to upgrade from, and commit it:

    python -m tests.upgrade.write tests/upgrade/data/NAME

All folders in `data` are tried; one goes when upgrades from its version are not promised any more.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from moderator.client import Client
from moderator.queue import keys
from moderator.queue.dead_letter_store import DeadLetter
from moderator.queue.embedded_server import EmbeddedServer
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.http_server import Answer, HttpServer
from tests.support.service import WorkerProcess, make_client, run_cli, until
from tests.upgrade.write import GROUP, READER, SETTINGS, picture, receiver

DATA = Path(__file__).parents[1] / "upgrade" / "data"
#: Seconds in which a second verdict or a second webhook would come, if one did.
QUIET_SECONDS = 3.0


@dataclass
class Upgraded:
    """A worker on a copy of the data, which it has just begun to work on."""

    manifest: dict[str, Any]
    client: Client
    worker: WorkerProcess
    receiver: HttpServer
    letters: dict[str, DeadLetter]
    """Those of before."""


@pytest.fixture(params=sorted(DATA.iterdir()), ids=lambda folder: folder.name)
def upgraded(request: pytest.FixtureRequest, tmp_path: Path, start_worker: StartWorker) -> Iterator[Upgraded]:
    source: Path = request.param
    shutil.copytree(source / "appendonlydir", tmp_path / "redis" / "appendonlydir")
    shutil.copytree(source / "spool", tmp_path / "spool")
    image = [Answer(200, picture(50))]
    with EmbeddedServer(tmp_path / "redis") as server:
        client = make_client(server.url, spool=str(tmp_path / "spool"))
        make_current(client)
        letters = {letter.key: letter for letter in client.dead_letters}
        with receiver(
            slow=image,
            broken=image,
            missing=image,
            **{hook: [Answer(204)] for hook in ("fails", "hangs", "due", "gone", "redirects")},
        ) as hooks:
            worker = start_worker(server.url, **SETTINGS)
            delivered = run_cli(
                "spool", "deliver", cwd=tmp_path, redis_url=server.url, spool=str(tmp_path / "spool")
            )
            assert delivered.returncode == 0, delivered.stderr
            manifest = json.loads((source / "manifest.json").read_text())
            yield Upgraded(manifest, client, worker, hooks, letters)
        client.close()


def make_current(client: Client) -> None:
    """Let what waits for a time be due in a moment, and what is forgotten after a time be of now."""
    redis, now = client.redis, time.time()
    for key in (keys.PENDING, keys.WEBHOOKS):
        for member in redis.zrangebyscore(key, now, "+inf"):
            redis.zadd(key, {member: now + 2})
    for url in redis.zrange(keys.DISABLED_WEBHOOKS, 0, -1):
        redis.zadd(keys.DISABLED_WEBHOOKS, {url: now})
    for key in (keys.UNACKED_INDEX, keys.SHARED_UNACKED_INDEX):
        for tag in redis.zrange(key, 0, -1):
            redis.zadd(key, {tag: 0})


def at_rest(client: Client) -> bool:
    """Whether nothing is on its way any more."""
    lists = sum(client.redis.llen(queue) for queue in keys.QUEUES.values())
    held = sum(client.redis.hlen(key) for key in (keys.UNACKED, keys.SHARED_UNACKED))
    return not (lists or held or client.ledger.pending() or client.redis.zcard(keys.WEBHOOKS))


def published(client: Client) -> Counter[str]:
    return Counter(verdict.event_id for _, verdict in client.verdicts.tail("0", follow=False))


@pytest.mark.slow
def test_what_an_earlier_version_left_is_finished_once(upgraded: Upgraded) -> None:
    client = upgraded.client
    check_events(upgraded)
    check_webhooks(upgraded)
    check_dead_letters(upgraded)
    assert client.redis.zcard(keys.EMBEDDINGS) > 0
    check_readers(upgraded)
    check_replay(upgraded)


def check_events(upgraded: Upgraded) -> None:
    """Each gets one verdict, and keeps the one that it has."""
    client, manifest = upgraded.client, upgraded.manifest
    later = [*manifest["judged_later"], *manifest["spooled"]]

    until(lambda: all(client.verdicts.get(key) for key in later), 60.0, "a verdict for each event")
    until(lambda: at_rest(client), 60.0, "rest")
    time.sleep(QUIET_SECONDS)

    for key in later:
        verdict = client.verdicts.get(key)
        assert verdict is not None
        assert verdict.decision is not Decision.ERROR, verdict.error
    assert sum(published(client).values()) == len(manifest["answered"] + manifest["dead"] + later)
    assert set(published(client).values()) == {1}


def check_webhooks(upgraded: Upgraded) -> None:
    """Those that waited arrive once, under the id that a first try had."""
    client, hooks, webhooks = upgraded.client, upgraded.receiver, upgraded.manifest["webhooks"]
    for hook, key in webhooks["arrives"].items():
        (request,) = hooks.asked(f"/{hook}")
        body = client.redis.get(keys.VERDICT_PREFIX + key)
        assert request.body == body
        name = f"{key}#{sha256(body).hexdigest()[:12]}"
        expected = webhooks["ids"].get(hook, "msg_" + sha256(name.encode()).hexdigest()[:32])
        assert request.headers["webhook-id"] == expected
    assert hooks.asked("/gone") == hooks.asked("/redirects") == [], "they said that they want no more"


def check_dead_letters(upgraded: Upgraded) -> None:
    """Those of before stay as they were; the one for the webhook that is gone joins them."""
    letters = {letter.key: letter for letter in upgraded.client.dead_letters}
    assert {key: letters[key] for key in upgraded.letters} == upgraded.letters
    assert set(upgraded.manifest["dead"]) < set(upgraded.letters)
    (died,) = set(letters) - set(upgraded.letters)
    assert letters[died].error == "WebhookDisabled"
    assert died.startswith(f"webhook:{upgraded.manifest['webhooks']['dies']['gone']}#")


def check_readers(upgraded: Upgraded) -> None:
    """A group goes on where it was: with what it had not finished, then with what is new; each once."""
    expected = published(upgraded.client) - Counter(upgraded.manifest["read"])
    reading = upgraded.client.consume(GROUP, READER)
    assert Counter(next(reading).event_id for _ in range(sum(expected.values()))) == expected


def check_replay(upgraded: Upgraded) -> None:
    """A dead event is judged, and a dead webhook delivered, once."""
    client, hooks = upgraded.client, upgraded.receiver
    (dead,) = upgraded.manifest["dead"]
    for letter in upgraded.letters.values():
        if letter.key == dead or (letter.webhook is not None and "redirects" in letter.webhook):
            client.dead_letters.replay(letter)

    verdict = until(lambda: client.verdicts.get(dead), 60.0)
    assert verdict.decision is not Decision.ERROR
    until(lambda: hooks.asked("/redirects"))
    until(lambda: at_rest(client), 60.0)
    assert len(hooks.asked("/redirects")) == 1
    assert published(client)[verdict.event_id] == 2, "the error of before, and this"
