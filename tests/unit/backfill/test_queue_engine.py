from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderator.backfill import queue_engine as module
from moderator.backfill.backfill_items import ReferenceMaker
from moderator.backfill.pacing import Pace
from moderator.backfill.queue_engine import QueueEngine
from moderator.backfill.reporting import Reporter
from moderator.backfill.run_state import Progress, RunState
from moderator.backfill.state_database import RunPlan
from moderator.settings import Settings
from tests.support.backfill_service import MemoryService

PLAN = RunPlan("s", None, None)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERDUE_SECONDS", 0.0)


@pytest.fixture
def service() -> MemoryService:
    return MemoryService()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RunState]:
    state = RunState(tmp_path / "results", PLAN)
    state.add_names([f"https://example.com/{n}.jpg" for n in range(10)])
    yield state
    state.close()


def engine(
    state: RunState, service: MemoryService, *, window: int = 4, reporter: Reporter | None = None
) -> QueueEngine:
    settings = Settings(queue_limit=service.ledger._bounds.events)
    return QueueEngine(
        state,
        service.server.executor,
        service.ledger,
        settings,
        ReferenceMaker(settings, files=True),
        policy=None,
        window=window,
        bulk_size=2,
        pace=Pace(None),
        reporter=reporter or Reporter(),
    )


def test_every_image_is_judged_once_within_the_window(state: RunState, service: MemoryService) -> None:
    done: list[int] = []
    engine(state, service, reporter=Reporter(done=done.append)).run(service)
    assert state.count(Progress.DONE) == state.count() == sum(done) == 10
    assert state.decisions() == {"allow": 10}
    assert len({*service.accepted}) == len(service.accepted) == 10
    assert service.most_held == 4


def test_a_resumed_run_sends_the_same_events(state: RunState, service: MemoryService, tmp_path: Path) -> None:
    service.judges = False
    stopping = engine(state, service)
    service.set()
    stopping.run(service)
    assert service.accepted == [], "stopped before it began"
    service.clear()
    monitor = MemoryServiceStopping(service, after=2)
    engine(state, service).run(monitor)
    assert len(service.accepted) == 4
    sent = [*service.accepted]
    state.close()  # as a killed process leaves it: sent, and nothing is known of them
    resumed = RunState(tmp_path / "results", PLAN)
    service.judges = True
    engine(resumed, service).run(service)
    assert resumed.count(Progress.DONE) == 10
    assert service.accepted[:4] == sent
    assert Counter(service.accepted).most_common(1)[0][1] == 1, "no event was taken twice"
    resumed.close()


class MemoryServiceStopping:
    """Stops a run after some waits."""

    def __init__(self, service: MemoryService, after: int) -> None:
        self._service, self._left = service, after

    def is_set(self) -> bool:
        return self._left == 0

    def wait(self, seconds: float) -> bool:
        self._left -= 1
        return self._service.wait(seconds)


def test_verdicts_that_expire_unread_are_asked_for_again(state: RunState, service: MemoryService) -> None:
    service.forgets = 1
    run = engine(state, service)
    run.run(service)
    assert state.decisions() == {"allow": 10}
    assert run.resubmitted == 4
    assert Counter(Counter(service.accepted).values()) == {1: 6, 2: 4}


def test_those_that_always_expire_are_reported(state: RunState, service: MemoryService) -> None:
    service.forgets = 1000
    engine(state, service).run(service)
    assert state.failures() == {"VerdictExpired": 10}


def test_it_leaves_half_of_the_queue_to_others(state: RunState) -> None:
    service = MemoryService(limit=6)
    engine(state, service, window=100).run(service)
    assert state.count(Progress.DONE) == 10
    assert service.most_held <= 3


def test_a_queue_that_others_filled_is_waited_for(state: RunState) -> None:
    service = MemoryService(limit=8)
    for n in range(5):
        service.ledger.accept({"id": str(n), "image": {"path": "/a"}, "priority": "bulk"})
    service.most_held = 0
    engine(state, service, window=100).run(service)
    assert state.count(Progress.DONE) == 10
    assert service.most_held <= 4


def test_it_waits_for_redis(state: RunState, service: MemoryService) -> None:
    notices: list[str] = []
    service.server.away = True

    def notice(text: str) -> None:
        notices.append(text)
        service.server.away = len(notices) < 2

    engine(state, service, reporter=Reporter(notice=notice)).run(service)
    assert state.count(Progress.DONE) == 10
    assert len(notices) == 2
    assert "Redis does not answer" in notices[0]


def test_what_no_worker_could_judge_is_not_sent(state: RunState, service: MemoryService) -> None:
    state.add_names(["https://example.com:25/mail.jpg", "/nowhere/a.jpg", "s3://bucket/a.jpg"])
    engine(state, service).run(service)
    assert state.count(Progress.DONE) == 10
    assert state.failures() == {"EventInvalid": 2, "ImageNotFound": 1}
    assert len(service.accepted) == 10


def test_files_that_workers_cannot_read_are_sent_inline(
    state: RunState, service: MemoryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{n}.jpg" for n in range(3)]
    for file in files:
        file.write_bytes(b"x" * 100)
    state.add_names([str(file) for file in files])
    monkeypatch.setattr(module, "OUTSTANDING_INLINE_BYTES_MAX", 150)
    seen: list[str | None] = []
    judge = service.judge

    def watch() -> None:
        seen.extend(event.image.inline for event in service.held if event.image.inline)
        judge()

    monkeypatch.setattr(service, "judge", watch)
    engine(state, service).run(service)
    assert state.count(Progress.DONE) == 13
    assert len(seen) == 3


def test_a_hint_is_given_if_nothing_comes(
    state: RunState, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", -1.0)
    notices: list[str] = []
    engine(state, service, reporter=Reporter(notice=notices.append)).run(service)
    assert "is a worker running" in notices[0]
