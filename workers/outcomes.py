"""Writes to the ledger what became of events: a verdict, a dead letter, or another try."""

import logging
import time
from collections.abc import Sequence

from moderator.engine.engine import Engine
from moderator.errors import ModeratorError, RedisMisused
from moderator.events import Event
from moderator.queue.ledger import Answer, Claim, DeadLetterReason, Ledger
from workers.attempt import Attempt
from workers.retries import Retry, RetryRules
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)


class Outcomes:
    """The ways out of a worker. Thread-safe.

    Args:
        engine: writes the verdicts of what failed.
        ledger: where verdicts are published.
        metrics: what is measured.
        rules: say what is tried again.
    """

    def __init__(self, engine: Engine, ledger: Ledger, metrics: Metrics, rules: RetryRules) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._ledger = ledger
        self._metrics = metrics
        self._rules = rules

    def publish(self, answers: Sequence[Answer]) -> None:
        """Publish verdicts, together; what Redis refuses is tried again later."""
        start = time.perf_counter()
        outcomes = self._ledger.publish(
            answers, ttl=self._settings.verdict_ttl, stream_length=self._settings.most_in_stream
        )
        seconds = time.perf_counter() - start
        for answer, outcome in zip(answers, outcomes, strict=True):
            self._metrics.stage_duration.labels("publish").observe(seconds)
            if isinstance(outcome, RedisMisused):
                self._keep(answer, outcome)
            elif outcome is None:
                self._metrics.redeliveries.inc()
            else:
                self._metrics.count_verdict(answer.verdict, outcome)

    def fail(self, attempt: Attempt, error: ModeratorError) -> Answer | None:
        """Have an event tried again later (None), or return its `error` verdict with a dead letter, to be published."""
        event, claim = attempt.event, attempt.claim
        self._metrics.count_failure(error)
        if (retry := self._rules.after(event, claim, error)) is not None:
            self.retry(event, claim, retry)
            return None
        name = type(error).__name__
        log.warning("event %s: dead letter: %s: %s", event.key, name, error)
        verdict = self._engine.failed(event, error, attempt.watch)
        return Answer(event, verdict, DeadLetterReason(name, str(error)), claim)

    def retry(self, event: Event, claim: Claim, retry: Retry) -> None:
        """Put an event on the queue again, after a while."""
        held = self._ledger.retry(
            event, claim, retry.delay, harmed=retry.harmed, counts=retry.counts, held_off=retry.held_off
        )
        self._count_loss(held)

    def give_back(self, event: Event, claim: Claim) -> None:
        """Put an event on the queue again, at once and at no cost to its tries."""
        self._count_loss(self._ledger.give_back(event, claim))

    def _keep(self, answer: Answer, error: RedisMisused) -> None:
        """Try again later what could not be published, at longer and longer intervals."""
        self._metrics.count_failure(error)
        log.error("event %s: its verdict is not published: %s", answer.event.key, error)
        if (claim := answer.claim) is not None:
            self.retry(answer.event, claim, self._rules.after_unpublished(claim))

    def _count_loss(self, held: bool) -> None:
        """Count a try that came to its end after another worker was given the event."""
        self._metrics.redeliveries.inc(not held)
