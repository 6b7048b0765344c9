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


def test_what_the_model_ends_meanwhile_is_published_together(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor
) -> None:
    futures: list[Future[Any]] = [Future() for _ in range(4)]
    ends = [
        callers.submit(finisher.finish, [attempt(name, future)])
        for name, future in zip("abcd", futures, strict=True)
    ]
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


def test_a_group_waits_for_all_its_images(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor
) -> None:
    work.gate.set()
    first: Future[Any] = Future()
    last: Future[Any] = Future()
    broken = attempt("broken", None)
    end = callers.submit(finisher.finish, [attempt("first", first), broken, attempt("last", last)])
    last.set_exception(Unexpected("the model failed"))
    assert not work.entered.wait(0.05)
    first.set_result(None)
    end.result(10)
    assert work.published == [["first", "broken", "last"]]


def test_an_error_ends_its_own_group_alone(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor
) -> None:
    futures: list[Future[Any]] = [Future() for _ in range(3)]
    ends = [
        callers.submit(finisher.finish, [attempt(name, future)])
        for name, future in zip(("a", BAD, "c"), futures, strict=True)
    ]
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
    futures: list[Future[Any]] = [Future() for _ in range(3)]
    ends = [callers.submit(finisher.finish, [attempt("x", future)]) for future in futures]
    for future in futures:
        future.set_result(None)
    for end in ends:
        with pytest.raises(RedisMisused):
            end.result(10)
    work.failing = False
    callers.submit(finisher.finish, [attempt("later", futures[0])]).result(10)
    assert work.published == [["later"]], "the thread survives"


@pytest.mark.parametrize("signals", [(), ("slow",)])
def test_what_needs_no_model_or_has_signals_keeps_its_own_thread(
    finisher: Finisher, work: Work, callers: ThreadPoolExecutor, signals: tuple[str, ...]
) -> None:
    work.gate.set()
    ready: Future[Any] = Future()
    ready.set_result(None)
    one = attempt("one", ready if signals else None, signals)
    callers.submit(finisher.finish, [one]).result(10)
    assert work.published == [["one"]]
    assert work.threads[0].startswith("caller")
