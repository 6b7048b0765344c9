"""Dead letters: each is replayed once, whoever asks, and one that cannot be read is in nobody's way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from moderator.client import Client
from moderator.errors import DeadLetterNotFound, WebhookFailed
from moderator.queue import keys
from moderator.queue.dead_letter_store import DeadLetter
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Acceptance, DeadLetterReason
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import WEBHOOKS
from tests.support.ledger_events import QUEUE, body, claim_one, event, everything, publish
from tests.support.service import make_client, run_cli

DEAD = DeadLetterReason("ImageBroken", "broken")


@pytest.fixture
def url(shared_server: EmbeddedServer) -> str:
    return shared_server.url.removesuffix("/0") + "/11"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A database of its own on the shared server: no worker serves it."""
    client = make_client(url)
    client.redis.flushdb()
    yield client
    client.redis.flushdb()


def bury(client: Client, name: str, **more: Any) -> DeadLetter:
    publish(client.ledger, event(name, **more), dead=DEAD)
    letter = client.dead_letters.get(f"moderator:{name}")
    assert letter is not None
    return letter


def test_many_that_replay_all_at_once_replay_each_once(client: Client, url: str) -> None:
    for n in range(50):
        bury(client, str(n))
    clients = [make_client(url) for _ in range(4)]
    letters = [list(client.dead_letters) for client in clients]

    def replay_all(turn: int) -> int:
        done = 0
        for letter in letters[turn]:
            try:
                clients[turn].dead_letters.replay(letter)
                done += 1
            except DeadLetterNotFound:
                pass
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(replay_all, range(4))) == 50
    assert (client.redis.llen(QUEUE), client.ledger.pending(), len(client.dead_letters)) == (50, 50, 0)


@pytest.mark.parametrize("step", ["replay", "drop"])
@pytest.mark.parametrize("since", ["replayed", "answered", "died again"])
def test_a_letter_that_is_gone_changes_nothing(client: Client, step: str, since: str) -> None:
    """Another has replayed it, and the event has a good verdict since, or has died once more."""
    letter = bury(client, "a")
    client.dead_letters.replay(letter)
    if since != "replayed":
        claim = claim_one(client.ledger, event("a"))
        assert publish(client.ledger, event("a"), claim=claim, dead=DEAD if since == "died again" else None)
    before = everything(client)
    with pytest.raises(DeadLetterNotFound, match="already replayed or dropped"):
        getattr(client.dead_letters, step)(letter)
    assert everything(client) == before


def test_a_verdict_that_is_not_the_letters_own_is_never_withdrawn(client: Client) -> None:
    """The `error` verdict expired, and the same id was submitted again."""
    letter = bury(client, "a")
    client.redis.delete(keys.VERDICT_PREFIX + "moderator:a")
    client.ledger.accept(body("a"))
    publish(client.ledger, event("a"))
    client.redis.delete(QUEUE)

    assert client.dead_letters.replay(letter) is Acceptance.ANSWERED

    verdict = client.verdict("a")
    assert verdict is not None
    assert verdict.error is None
    assert verdict.is_safe
    assert (client.redis.llen(QUEUE), client.ledger.pending(), len(client.dead_letters)) == (0, 0, 0)


def test_an_event_that_waits_already_is_not_put_on_the_queue_twice(client: Client) -> None:
    letter = bury(client, "a")
    client.redis.delete(keys.VERDICT_PREFIX + "moderator:a")
    client.ledger.accept(body("a"))
    assert client.dead_letters.replay(letter) is Acceptance.PENDING
    assert (client.redis.llen(QUEUE), len(client.dead_letters)) == (1, 0)


def test_a_letter_of_the_previous_version_is_replayed(client: Client) -> None:
    letter = bury(client, "a")
    client.redis.hdel(keys.DEAD_LETTER_PREFIX + "moderator:a", "verdict")
    assert client.dead_letters.replay(letter) is Acceptance.ACCEPTED
    assert (client.redis.llen(QUEUE), client.verdict("a")) == (1, None)


def bury_webhook(client: Client) -> DeadLetter:
    delivery = Delivery("moderator:a#1", "http://x/", b"{}", 3, 7.0)
    client.dead_letters.bury_delivery(WEBHOOKS, delivery, WebhookFailed("500"))
    (letter,) = client.dead_letters
    return letter


def test_a_webhook_is_delivered_again_once(client: Client) -> None:
    letter = bury_webhook(client)
    before = client.redis.time()[0]
    client.dead_letters.replay(letter)
    outbox = client.redis.hgetall(keys.WEBHOOK_PREFIX + "moderator:a#1")
    # By the server's clock, whatever the caller's says.
    assert before <= float(outbox[b"since"]) < client.redis.time()[0] + 1
    client.redis.delete(keys.WEBHOOKS, keys.WEBHOOK_PREFIX + "moderator:a#1")
    with pytest.raises(DeadLetterNotFound):
        client.dead_letters.replay(letter)
    assert client.redis.zcard(keys.WEBHOOKS) == 0


BROKEN: dict[str, Any] = {
    "another event": {"event": b'{"id": "a", "unknown": 1}'},
    "bytes": {"event": b"\xff", "message": b"\xff"},
    "no number": {"attempts": b"many"},
    "no time": {"died_at": b"soon"},
    "an endless time": {"died_at": b"inf"},
    "nothing of it": None,
    "no hash": "text",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_letter_that_cannot_be_read_is_in_nobodys_way(
    client: Client, url: str, tmp_path: Path, name: str
) -> None:
    for id in "abc":
        bury(client, id)
    key, change = keys.DEAD_LETTER_PREFIX + "moderator:b", BROKEN[name]
    if isinstance(change, dict):
        client.redis.hset(key, mapping=change)
    else:
        client.redis.delete(key)
        client.redis.set(key, change) if change else client.redis.hset(key, "x", "y")

    assert [letter.key for letter in client.dead_letters] == ["moderator:a", "moderator:b", "moderator:c"]
    assert len(client.dead_letters.newest(5)) == 3
    broken = client.dead_letters.get("moderator:b")
    assert broken is not None
    assert broken.raw

    if name == "another event":  # the commands take a second each
        listed = run_cli("dead-letters", "list", cwd=tmp_path, redis_url=url)
        assert "moderator:b" in listed.stdout
        replayed = run_cli("dead-letters", "replay", "--all", cwd=tmp_path, redis_url=url)
        assert "moderator:b: moderator:b is no event" in replayed.stdout
        assert "replayed 2" in replayed.stdout
        assert replayed.returncode == 0
    client.dead_letters.drop(broken)
    assert "moderator:b" not in [letter.key for letter in client.dead_letters]
