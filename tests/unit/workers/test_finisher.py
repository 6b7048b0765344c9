import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event as Flag
from threading import current_thread
from types import SimpleNamespace
from typing import Any

import pytest

from moderator.engine.stopwatch import Stopwatch
from moderator.errors import RedisMisused, Unexpected
from moderator.events import Event, ImageReference
from workers.attempt import Attempt
from workers.finisher import Finisher

BAD = "bad"


class Work:
    """Judges an attempt as the id of its event, and notes what was published, and in which thread."""

    def __init__(self) -> None:
        self.gate = Flag()
        self.entered = Flag()
        self.published: list[list[str]] = []
        self.threads: list[str] = []
        self.failing = False

    def judge(self, attempts: Sequence[Attempt]) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(10)
        ids = [attempt.event.id for attempt in attempts]
        if BAD in ids:
            raise Unexpected("cannot be judged")
        return ids

    def publish(self, answers: Sequence[Any]) -> None:
        self.threads.append(current_thread().name)
        if self.failing:
            raise RedisMisused("cannot be published")
        self.published.append(list(answers))


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def finisher(work: Work) -> Iterator[Finisher]:
    finisher = Finisher(work.judge, work.publish)
    yield finisher
    work.gate.set()
    finisher.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, thread_name_prefix="caller") as callers:
        yield callers


def attempt(name: str, embedded: "Future[Any] | None", signals: tuple[str, ...] = ()) -> Attempt:
    event = Event(id=name, source="test", image=ImageReference(path="/image.jpg"))
    policies = SimpleNamespace(decides=SimpleNamespace(signals=signals), shadows=())
    prepared: Any = SimpleNamespace(selection=policies)
    claim: Any = None
    return Attempt(event, claim, Stopwatch(), prepared, embedded=embedded)


def start(
    callers: ThreadPoolExecutor, finisher: Finisher, names: Sequence[str]
) -> tuple[list["Future[Any]"], list["Future[None]"]]:
    """Have attempts finished, each by a caller; return what the model is to end, and what the callers wait for."""
    futures: list[Future[Any]] = [Future() for _ in names]
    attempts = [attempt(name, future) for name, future in zip(names, futures, strict=True)]
    return futures, [callers.submit(finisher.finish, [one]) for one in attempts]


def test_what_the_model_ends_meanwhile_is_published_together(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor
) -> None:
    futures, ends = start(callers, finisher, "abcd")
    futures[0].set_result(None)
    assert work.entered.wait(10)
    for future in futures[1:]:
        future.set_result(None)
    while finisher._ready.qsize() < 3:
        time.sleep(0.001)
    work.gate.set()
    for end in ends:
        end.result(10)
    assert [sorted(ids) for ids in work.published] == [["a"], ["b", "c", "d"]]
    assert set(work.threads) == {"finisher"}


def test_an_error_ends_its_own_attempt_alone(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor
) -> None:
    futures, ends = start(callers, finisher, ("a", BAD, "c"))
    for future in futures:
        future.set_result(None)
    work.gate.set()
    with pytest.raises(Unexpected):
        ends[1].result(10)
    for end in (ends[0], ends[2]):
        end.result(10)
    assert sorted(name for ids in work.published for name in ids) == ["a", "c"]


def test_every_caller_is_told_that_nothing_was_published(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor
) -> None:
    work.failing = True
    work.gate.set()
    futures, ends = start(callers, finisher, "xyz")
    for future in futures:
        future.set_result(None)
    for end in ends:
        with pytest.raises(RedisMisused):
            end.result(10)
    work.failing = False
    callers.submit(finisher.finish, [attempt("later", futures[0])]).result(10)
    assert work.published == [["later"]], "the thread survives"


def ready(name: str, signals: tuple[str, ...] = ()) -> Attempt:
    future: Future[Any] = Future()
    future.set_result(None)
    return attempt(name, future, signals)


@pytest.mark.parametrize(
    "attempts",
    [[attempt("no model", None)], [ready("signals", ("slow",))], [ready("one"), ready("other")]],
    ids=lambda attempts: attempts[0].event.id,
)
def test_what_shares_no_batch_with_single_images_keeps_its_own_thread(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor, attempts: list[Attempt]
) -> None:
    work.gate.set()
    callers.submit(finisher.finish, attempts).result(10)
    assert work.published == [[one.event.id for one in attempts]]
    assert work.threads[0].startswith("caller")
