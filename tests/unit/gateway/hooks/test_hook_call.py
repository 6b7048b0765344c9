"""What a hook answers, by what the queue does: here a queue that does what a test says."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from moderator.errors import EventInvalid, ModeratorError, QueueFull, QueueUnavailable
from moderator.events import Event, parse_message
from moderator.gateway.hooks.hook_call import HookCall
from moderator.gateway.hooks.hook_metrics import HookMetrics
from moderator.gateway.hooks.outcome import Failure, Shown
from moderator.gateway.hooks.s3_events import read_s3
from moderator.queue.commands import Command
from moderator.queue.records import Acceptance
from moderator.settings import HOOKS, FailurePolicy, Settings
from moderator.submission import check_submission
from moderator.verdicts import Decision, Verdict
from tests.support.hook_bodies import s3_body, s3_record

EVENT = {"id": "a", "source": "tusd", "image": {"path": "/srv/a.jpg"}}
AWAY = QueueUnavailable("Redis is away")
FULL = QueueFull("no room", 6.6)


class Queue:
    """Takes events into a dict; fails with `failure`, answers with `decision`."""

    def __init__(self, failure: ModeratorError | None = None, decision: Decision | None = None) -> None:
        self.failure = failure
        self.decision = decision
        self.events: dict[str, Event] = {}
        self.writes: dict[str, str] = {}

    async def submit(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        [event] = parse_message(body)
        check_submission([event], 10, ["uploads"])
        if self.failure:
            raise self.failure
        known = event.key in self.events
        self.events[event.key] = event
        return [(event, Acceptance.PENDING if known else Acceptance.ACCEPTED)]

    async def wait(self, event_key: str, seconds: float) -> Verdict | None:
        return await self.verdict(event_key)

    async def verdict(self, event_key: str) -> Verdict | None:
        event = self.events[event_key]
        if self.decision is None:
            return None
        return Verdict(event_id=event.id, source=event.source, decision=self.decision, is_safe=False)

    async def ask(self, command: Command[bool]) -> bool:
        if self.failure:
            raise self.failure
        [name], [order, _] = command.keys, command.args
        latest = self.writes.get(name, "") <= order
        self.writes[name] = max(order, self.writes.get(name, ""))
        return latest


class Called:
    """A call of a hook, and the metrics that it counted."""

    def __init__(self, queue: Queue, hook: str = "s3", policy: str = "hold") -> None:
        self.registry = CollectorRegistry()
        settings = Settings(hook_failure=(f"{hook}={policy}",))
        self.call = HookCall(hook, queue, settings, HookMetrics(self.registry))
        self.hook, self.policy = hook, policy

    def reports(self, outcome: str) -> float | None:
        labels = {"hook": self.hook, "outcome": outcome}
        return self.registry.get_sample_value("moderation_hook_reports_total", labels)

    def failures(self, failure: Failure) -> float | None:
        labels = {"hook": self.hook, "failure": failure.value, "answer": self.policy}
        return self.registry.get_sample_value("moderation_hook_failures_total", labels)


def test_new_objects_are_submitted_once() -> None:
    queue = Queue()
    called = Called(queue)
    notice = read_s3(s3_body(s3_record(), s3_record(key="b.jpg"), s3_record(event="ObjectRemoved:Delete")))
    first = asyncio.run(called.call.take(notice, {"policy": "marketplace"}))
    again = asyncio.run(called.call.take(notice, {}))
    none = {"superseded": 0, "refused": 0}
    assert (first.status, first.body) == (200, {"accepted": 2, "known": 0, "ignored": 1, **none})
    assert (again.status, again.body) == (200, {"accepted": 0, "known": 2, "ignored": 1, **none})
    assert (called.reports("accepted"), called.reports("known"), called.reports("ignored")) == (2, 2, 2)


@pytest.mark.parametrize("version", [None, "v1"])
def test_an_older_write_that_comes_late(version: str | None) -> None:
    queue = Queue()
    called = Called(queue)
    later = s3_record(sequencer="F0", version=version and "v2")
    older = s3_record(sequencer="0F", version=version)
    asyncio.run(called.call.take(read_s3(s3_body(later)), {}))
    reply = asyncio.run(called.call.take(read_s3(s3_body(older)), {}))
    if version is None:
        assert reply.body["superseded"] == 1, "its bytes are gone"
        assert len(queue.events) == 1
    else:
        assert reply.body["accepted"] == 1, "a version is still there"
        marks = [event.metadata["object"].get("superseded") for event in queue.events.values()]
        assert marks == [None, True]


def test_what_no_worker_could_judge_is_named_and_the_rest_submitted() -> None:
    queue = Queue()
    called = Called(queue)
    notice = read_s3(s3_body({}, s3_record("secret"), s3_record()))
    reply = asyncio.run(called.call.take(notice, {}))
    assert (reply.status, reply.body["accepted"], reply.body["refused"]) == (422, 1, 2)
    assert "MODERATOR_BUCKETS" in reply.body["problems"][1]
    assert called.reports("refused") == 2


@pytest.mark.parametrize(
    ("policy", "status"), [("hold", 503), ("allow", 200), ("reject", 422)], ids=["hold", "allow", "reject"]
)
@pytest.mark.parametrize(
    ("failure", "error"), [(Failure.AWAY, AWAY), (Failure.FULL, FULL)], ids=["away", "full"]
)
def test_a_sender_that_does_not_wait(
    policy: str, status: int, failure: Failure, error: ModeratorError
) -> None:
    called = Called(Queue(error), "sns", policy)
    for reply in (
        asyncio.run(called.call.take(read_s3(s3_body()), {})),
        asyncio.run(called.call.take_upload(EVENT)),
    ):
        assert reply.status == status
        assert (reply.body["decision"], reply.body["failure"]) == (policy, failure.value)
        wait = {"503away": "5", "503full": "8"}.get(f"{status}{failure.value}")
        assert reply.headers.get("Retry-After") == wait
    assert called.failures(failure) == 2


@pytest.mark.parametrize("policy", list(FailurePolicy))
@pytest.mark.parametrize(
    ("failure", "queue"),
    [
        (Failure.AWAY, Queue(AWAY)),
        (Failure.FULL, Queue(FULL)),
        (Failure.LATE, Queue()),
        (Failure.ERROR, Queue(decision=Decision.ERROR)),
        (Failure.ERROR, Queue(EventInvalid("odd"))),
    ],
    ids=["away", "full", "late", "error", "invalid"],
)
def test_a_sender_that_waits(policy: FailurePolicy, failure: Failure, queue: Queue) -> None:
    called = Called(queue, "tusd", policy)
    outcome = asyncio.run(called.call.judge(EVENT))
    assert (outcome.decision.value, outcome.failure) == (policy.value, failure)
    assert called.failures(failure) == 1


@pytest.mark.parametrize("decision", [Decision.ALLOW, Decision.REVIEW, Decision.BLOCK])
def test_a_verdict_in_time(decision: Decision) -> None:
    called = Called(Queue(decision=decision), "tusd", "allow")
    outcome = asyncio.run(called.call.judge(EVENT))
    assert (outcome.decision, outcome.failure) == (Shown(decision.value), None)
    assert sum(called.failures(failure) or 0 for failure in Failure) == 0


def test_every_series_starts_at_zero() -> None:
    called = Called(Queue())
    for hook in HOOKS:
        for policy in FailurePolicy:
            called.hook, called.policy = hook, policy
            assert called.failures(Failure.AWAY) == called.reports("accepted") == 0
