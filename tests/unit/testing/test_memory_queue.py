"""What the contract of the queue does not say of memory: its clock, and how it is away."""

import asyncio

import pytest

from moderator.errors import QueueUnavailable
from moderator.events import Event, ImageReference
from moderator.queue.async_queue import AsyncQueue
from moderator.queue.commands import ask
from moderator.queue.ledger import Answer, Claim, Ledger
from moderator.queue.verdict_store import VerdictStore
from moderator.testing.memory_queue import MemoryServer
from moderator.verdicts import Decision, Verdict

BODY = {"id": "a", "image": {"path": "/a.jpg"}}
EVENT = Event(id="a", image=ImageReference(path="/a.jpg"))


def test_leases_and_what_expires_go_by_its_clock() -> None:
    now = 1000.0
    server = MemoryServer(clock=lambda: now)
    ledger, verdicts = Ledger(server.executor, lease=60.0), VerdictStore(server.executor)
    ledger.accept(BODY)
    (claim,) = ledger.claim([EVENT])
    assert isinstance(claim, Claim)
    assert (ledger.sweep(), ledger.oldest_accepted("moderation")) == (0, 1000.0)
    now += 61
    assert ledger.sweep() == 1
    (again,) = ledger.claim([EVENT])
    assert isinstance(again, Claim)
    assert (again.attempt, again.losses, again.waited) == (1, 1, 61.0)
    verdict = Verdict(event_id="a", source="moderator", decision=Decision.ALLOW, is_safe=True)
    assert ledger.publish([Answer(EVENT, verdict, claim=again)], ttl=10.0, stream_length=5) == [61.0]
    assert verdicts.get(EVENT.key) == verdict
    now += 11
    assert verdicts.get(EVENT.key) is None


def test_while_it_is_away_nothing_is_accepted() -> None:
    server = MemoryServer()
    ledger, queue = Ledger(server.executor, 60.0), AsyncQueue(server.async_executor, 60.0)
    server.away = True
    with pytest.raises(QueueUnavailable, match="nothing is on the queue"):
        ledger.accept(BODY)
    for question in (queue.stats, lambda: queue.wait(EVENT.key, 1.0), lambda: queue.verdict(EVENT.key)):
        with pytest.raises(QueueUnavailable, match="does not answer"):
            asyncio.run(question())
    server.away = False
    assert ledger.pending() == 0


def test_what_it_does_not_know_is_an_error_that_says_so() -> None:
    with pytest.raises(NotImplementedError, match="XREADGROUP"):
        MemoryServer().executor.run(ask("XREADGROUP", "g"))
