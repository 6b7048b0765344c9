import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from moderator.errors import EventInvalid, QueueFull, QueueUnavailable, SpoolFull, SpoolUnavailable
from moderator.events import Event
from moderator.queue import intake as module
from moderator.queue.intake import Intake
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.spool_file import Spool
from moderator.testing.memory_queue import MemoryServer


class WatchedLedger(Ledger):
    """A ledger in memory: it can be made to fail, and counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__(MemoryServer().executor, lease=30.0)
        self.error: Exception | None = None
        self.taken: list[str] = []
        self.tries = 0
        self.bad: set[str] = set()
        self.arrived = Flag()

    def enter(self, body: dict[str, Any], events: list[Event]) -> list[tuple[Event, Acceptance]]:
        self.tries += 1
        if self.error is not None:
            raise self.error
        if body["id"] in self.bad:
            raise EventInvalid("of another version")
        answers = super().enter(body, events)
        self.taken += [event.id for event, acceptance in answers if acceptance is Acceptance.ACCEPTED]
        self.arrived.set()
        return answers


AWAY = QueueUnavailable("away")


@pytest.fixture
def ledger() -> WatchedLedger:
    return WatchedLedger()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 10, 10_000)


@pytest.fixture
def intake(ledger: WatchedLedger, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    monkeypatch.setattr(module, "DELIVERY_PAUSE_SECONDS", 3600.0)  # nothing in the background
    intake = Intake(ledger, spool)
    yield intake
    intake.close()


def submit(intake: Intake, *names: str) -> list[str]:
    return [intake.accept({"id": name, "image": {"path": "/x"}})[0][1].value for name in names]


def test_without_a_spool_an_outage_is_an_error(ledger: WatchedLedger) -> None:
    intake = Intake(ledger, None)
    assert submit(intake, "a") == ["accepted"]
    ledger.error = AWAY
    with pytest.raises(QueueUnavailable):
        submit(intake, "b")
    assert intake.deliver() == 0


def test_an_outage_is_spooled_and_asked_for_once(ledger: WatchedLedger, spool: Spool, intake: Intake) -> None:
    ledger.error = AWAY
    assert submit(intake, "a", "b", "c") == ["spooled"] * 3
    assert ledger.tries == 1, "each further caller would wait for the connection to fail"
    assert spool.state().events == 3


def test_an_id_that_was_made_up_stays_the_same(ledger: WatchedLedger, intake: Intake) -> None:
    """The ledger may have taken the event although its answer got lost."""
    ledger.error = AWAY
    ((event, _),) = intake.accept({"image": {"path": "/x"}})
    ledger.error = None
    intake.deliver()
    assert ledger.taken == [event.id]


def test_what_comes_goes_behind_what_is_spooled(ledger: WatchedLedger, spool: Spool, intake: Intake) -> None:
    for name in "ab":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    assert submit(intake, "c") == ["accepted"]
    assert ledger.taken == ["a", "b", "c"]
    assert spool.empty()


def test_while_another_delivers_what_comes_waits_behind(
    ledger: WatchedLedger, spool: Spool, intake: Intake
) -> None:
    spool.append({"id": "a", "image": {"path": "/x"}}, 1)
    with spool.delivery():
        assert submit(intake, "b") == ["spooled"]
    assert ledger.taken == []
    assert intake.deliver() == 2
    assert ledger.taken == ["a", "b"]


def test_a_long_spool_does_not_hold_up_a_caller(
    ledger: WatchedLedger, spool: Spool, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MESSAGES_PER_CALL_MAX", 2)
    for name in "abc":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    assert submit(intake, "d") == ["spooled"]
    assert ledger.taken == ["a", "b"]
    assert submit(intake, "e") == ["accepted"]
    assert ledger.taken == ["a", "b", "c", "d", "e"]


def test_a_full_queue_is_the_callers_to_know(ledger: WatchedLedger, spool: Spool, intake: Intake) -> None:
    ledger.error = QueueFull("full", 3.0)
    with pytest.raises(QueueFull):
        submit(intake, "a")
    assert spool.empty()


def test_a_full_queue_keeps_the_order_of_what_is_spooled(
    ledger: WatchedLedger, spool: Spool, intake: Intake
) -> None:
    spool.append({"id": "a", "image": {"path": "/x"}}, 1)
    ledger.error = QueueFull("full", 3.0)
    with pytest.raises(QueueFull):
        submit(intake, "b")
    with pytest.raises(QueueFull):
        intake.deliver()
    ledger.error = None
    assert submit(intake, "c") == ["accepted"]
    assert ledger.taken == ["a", "c"]


FULL = QueueFull("full", 3.0)


@pytest.mark.parametrize(
    ("redis", "held", "outcome"),
    [
        # Redis, messages in a spool of ten (None: its disk is full), what the caller gets
        ("fine", 0, "accepted"),
        ("fine", 3, "accepted"),
        ("fine", 10, "accepted"),
        ("fine", None, "accepted"),
        ("full", 0, QueueFull),
        ("full", 3, QueueFull),
        ("full", 10, QueueFull),
        ("full", None, QueueFull),
        ("away", 0, "spooled"),
        ("away", 3, "spooled"),
        ("away", 10, "Redis takes no events, and the spool is full"),
        ("away", None, "the disk is full"),
        ("fine, another delivers", 3, "spooled"),
        ("fine, another delivers", 10, "still being delivered, and the spool is full"),
    ],
)
def test_redis_and_the_spool_in_every_state(
    ledger: WatchedLedger,
    spool: Spool,
    intake: Intake,
    monkeypatch: pytest.MonkeyPatch,
    redis: str,
    held: int | None,
    outcome: object,
) -> None:
    for n in range(held or 0):
        spool.append({"id": str(n), "image": {"path": "/x"}}, 1)
    ledger.error = {"full": FULL, "away": AWAY}.get(redis)
    if held is None:
        monkeypatch.setattr(
            spool, "append", lambda *_: (_ for _ in ()).throw(SpoolUnavailable("the disk is full"))
        )
    with spool.delivery() if "another" in redis else nullcontext():
        for name in ("new", "next"):  # the second finds Redis known to be away
            if outcome is QueueFull:
                with pytest.raises(QueueFull) as full:
                    submit(intake, name)
                assert full.value.retry_after == 3.0
                assert "Redis" not in str(full.value)
            elif outcome in ("accepted", "spooled"):
                assert submit(intake, name) == [outcome]
            else:
                with pytest.raises(QueueUnavailable, match=str(outcome)):
                    submit(intake, name)


def test_a_spool_that_cannot_be_read_does_not_mean_that_redis_is_away(
    ledger: WatchedLedger, spool: Spool, intake: Intake, tmp_path: Path
) -> None:
    spool.append({"id": "a", "image": {"path": "/x"}}, 1)
    file = tmp_path / "spool" / "spool.sqlite3"
    content = file.read_bytes()
    file.write_bytes(b"damaged" * 1000)
    with pytest.raises(SpoolUnavailable):
        submit(intake, "b")
    file.write_bytes(content)
    assert submit(intake, "c") == ["accepted"], "not spooled, as while Redis is away"


def test_a_damaged_message_does_not_hold_up_the_rest(
    ledger: WatchedLedger, spool: Spool, intake: Intake, tmp_path: Path
) -> None:
    damaged = [b"no json", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"id": "\\ud800", "image": {"path": "/x"}}']
    for n in range(len(damaged) + 1):
        spool.append({"id": str(n), "image": {"path": "/x"}}, 1)
    with sqlite3.connect(tmp_path / "spool" / "spool.sqlite3") as connection:
        for number, text in enumerate(damaged, start=1):
            connection.execute("UPDATE entries SET body = CAST(? AS TEXT) WHERE number = ?", (text, number))

    assert submit(intake, "new") == ["accepted"]

    assert ledger.taken == [str(len(damaged)), "new"]
    assert len(spool.rejected()) == len(damaged)
    assert all(item.problem for item in spool.rejected())


def test_what_only_the_code_trips_over_does_not_hold_up_the_rest(
    ledger: WatchedLedger, spool: Spool, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = ledger.accept

    def trip(body: dict[str, Any]) -> object:
        if body["id"] == "a":
            raise TypeError("of a version to come")
        return accept(body)

    monkeypatch.setattr(ledger, "accept", trip)
    for name in "ab":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    intake.deliver()
    assert ledger.taken == ["b"]
    assert [item.problem for item in spool.rejected()] == ["TypeError: of a version to come"]


def test_what_no_worker_could_judge_is_neither_queued_nor_spooled(
    ledger: WatchedLedger, spool: Spool
) -> None:
    def refuse(events: object) -> None:
        raise EventInvalid("no")

    intake = Intake(ledger, spool, refuse)
    for ledger.error in (None, AWAY):
        with pytest.raises(EventInvalid):
            submit(intake, "a")
    assert ledger.tries == 0
    assert spool.empty()


def test_a_delivery_that_breaks_off_goes_on_where_it_was(
    ledger: WatchedLedger, spool: Spool, intake: Intake
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
    ledger: WatchedLedger, spool: Spool, intake: Intake
) -> None:
    for name in "abc":
        spool.append({"id": name, "image": {"path": "/x"}}, 1)
    ledger.bad = {"b"}
    intake.deliver()
    assert ledger.taken == ["a", "c"]
    assert [item.body["id"] for item in spool.rejected()] == ["b"]


def test_a_full_spool_refuses(ledger: WatchedLedger, intake: Intake) -> None:
    ledger.error = AWAY
    submit(intake, *"abcdefghij")
    with pytest.raises(SpoolFull):
        submit(intake, "k")
    ledger.error = None
    intake.deliver()
    assert ledger.taken == list("abcdefghij")


@pytest.mark.parametrize("restarted", [False, True])
def test_delivery_happens_in_the_background(
    ledger: WatchedLedger, spool: Spool, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    monkeypatch.setattr(module, "DELIVERY_PAUSE_SECONDS", 0.01)
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
