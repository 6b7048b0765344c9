"""The ledger's part is played by the test."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from moderator.errors import EventInvalid, QueueFull, QueueUnavailable, SpoolFull
from moderator.events import Event
from moderator.queue import intake as module
from moderator.queue.intake import Intake
from moderator.queue.ledger import Acceptance, read_body
from moderator.queue.spool import Spool


class MemoryLedger:
    """Takes events, while it is there and has room."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.taken: list[str] = []
        self.tries = 0
        self.bad: set[str] = set()
        self.arrived = Flag()

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        return self.enter(*read_body(body))

    def enter(self, body: dict[str, Any], events: list[Event]) -> list[tuple[Event, Acceptance]]:
        self.tries += 1
        if self.error is not None:
            raise self.error
        if body["id"] in self.bad:
            raise EventInvalid("of another version")
        self.taken.append(body["id"])
        self.arrived.set()
        return [(event, Acceptance.ACCEPTED) for event in events]


AWAY = QueueUnavailable("away")


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 10, 10_000)


@pytest.fixture
def intake(ledger: MemoryLedger, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    monkeypatch.setattr(module, "PAUSE", 3600.0)  # nothing in the background
    intake = Intake(ledger, spool)
    yield intake
    intake.close()


def submit(intake: Intake, *names: str) -> list[str]:
    return [intake.accept({"id": name, "image": {"path": "/x"}})[0][1].value for name in names]


def test_without_a_spool_an_outage_is_an_error(ledger: MemoryLedger) -> None:
    intake = Intake(ledger, None)
    assert submit(intake, "a") == ["accepted"]
    ledger.error = AWAY
    with pytest.raises(QueueUnavailable):
        submit(intake, "b")
    assert intake.deliver() == 0


def test_an_outage_is_spooled_and_asked_for_once(ledger: MemoryLedger, spool: Spool, intake: Intake) -> None:
    ledger.error = AWAY
    assert submit(intake, "a", "b", "c") == ["spooled"] * 3
    assert ledger.tries == 1, "each further caller would wait for the connection to fail"
    assert spool.state().events == 3


def test_an_id_that_was_made_up_stays_the_same(ledger: MemoryLedger, intake: Intake) -> None:
    """The ledger may have taken the event although its answer got lost."""
    ledger.error = AWAY
    ((event, _),) = intake.accept({"image": {"path": "/x"}})
    ledger.error = None
    intake.deliver()
    assert ledger.taken == [event.id]


def test_what_comes_goes_behind_what_is_spooled(ledger: MemoryLedger, spool: Spool, intake: Intake) -> None:
    for name in "ab":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    assert submit(intake, "c") == ["accepted"]
    assert ledger.taken == ["a", "b", "c"]
    assert spool.empty()


def test_while_another_delivers_what_comes_waits_behind(
    ledger: MemoryLedger, spool: Spool, intake: Intake
) -> None:
    spool.append({"id": "a", "image": {"path": "/x"}}, 1)
    with spool.delivery():
        assert submit(intake, "b") == ["spooled"]
    assert ledger.taken == []
    assert intake.deliver() == 2
    assert ledger.taken == ["a", "b"]


def test_a_long_spool_does_not_hold_up_a_caller(
    ledger: MemoryLedger, spool: Spool, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    for name in "abc":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    assert submit(intake, "d") == ["spooled"]
    assert ledger.taken == ["a", "b"]
    assert submit(intake, "e") == ["accepted"]
    assert ledger.taken == ["a", "b", "c", "d", "e"]


def test_a_full_queue_is_the_callers_to_know(ledger: MemoryLedger, spool: Spool, intake: Intake) -> None:
    ledger.error = QueueFull("full", 3.0)
    with pytest.raises(QueueFull):
        submit(intake, "a")
    assert spool.empty()


def test_a_full_queue_keeps_the_order_of_what_is_spooled(
    ledger: MemoryLedger, spool: Spool, intake: Intake
) -> None:
    spool.append({"id": "a", "image": {"path": "/x"}}, 1)
    ledger.error = QueueFull("full", 3.0)
    assert submit(intake, "b") == ["spooled"]
    with pytest.raises(QueueFull):
        intake.deliver()
    ledger.error = None
    intake.deliver()
    assert ledger.taken == ["a", "b"]


def test_a_delivery_that_breaks_off_goes_on_where_it_was(
    ledger: MemoryLedger, spool: Spool, intake: Intake
) -> None:
    for name in "abc":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)

    def away() -> None:
        if len(ledger.taken) == 2:
            ledger.error = AWAY

    with pytest.raises(QueueUnavailable):
        intake.deliver(away)
    assert spool.state().events == 1
    ledger.error = None
    assert intake.deliver() == 1
    assert ledger.taken == ["a", "b", "c"]


def test_what_no_queue_takes_does_not_hold_up_the_rest(
    ledger: MemoryLedger, spool: Spool, intake: Intake
) -> None:
    for name in "abc":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    ledger.bad = {"b"}
    intake.deliver()
    assert ledger.taken == ["a", "c"]
    assert [item.body["id"] for item in spool.rejected()] == ["b"]


def test_a_full_spool_refuses(ledger: MemoryLedger, intake: Intake) -> None:
    ledger.error = AWAY
    submit(intake, *"abcdefghij")
    with pytest.raises(SpoolFull):
        submit(intake, "k")
    ledger.error = None
    intake.deliver()
    assert ledger.taken == list("abcdefghij")


@pytest.mark.parametrize("restarted", [False, True])
def test_delivery_happens_in_the_background(
    ledger: MemoryLedger, spool: Spool, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    ledger.error = AWAY
    intake = Intake(ledger, spool)
    assert submit(intake, "a", "b") == ["spooled"] * 2
    if restarted:  # what a producer that died has left
        intake.close()
        ledger.error = None
        intake = Intake(ledger, spool)
    else:
        ledger.error = None
    assert ledger.arrived.wait(10)
    intake.close()
    assert ledger.taken == ["a", "b"]
    assert spool.empty()
