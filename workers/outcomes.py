"""Write the outcomes of events to the ledger: a verdict, a dead letter, or a retry."""

import logging
import time
from collections.abc import Sequence

from moderator.engine.engine import Engine
from moderator.errors import ModeratorError, RedisMisused
from moderator.events import Event
from moderator.queue.ledger import Answer, Claim, DeadLetterReason, Ledger
from workers.attempt import Attempt
from workers.flood_watch import FloodWatch
from workers.retries import Retry, RetryRules
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)


class Outcomes:
    """Ends the attempts of a worker. Thread-safe.

    Args:
        engine: writes the verdicts of failed events.
        ledger: where verdicts are published.
        metrics: counts outcomes.
        rules: decide what is retried.
        floods: counts verdicts for the flood breaker; None: there is none.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        metrics: Metrics,
        rules: RetryRules,
        floods: FloodWatch | None = None,
    ) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._ledger = ledger
        self._metrics = metrics
        self._rules = rules
        self._floods = floods

    def publish(self, answers: Sequence[Answer]) -> None:
        """Publish verdicts together; those that Redis refuses are retried later."""
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
                if self._floods is not None:
                    self._floods.count(answer.verdict)

    def fail(self, attempt: Attempt, error: ModeratorError) -> Answer | None:
        """Retry an event later and return None, or return its `error` verdict and dead letter for publication."""
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
        """Requeue an event after a delay."""
        held = self._ledger.retry(
            event, claim, retry.delay, harmed=retry.harmed, counts=retry.counts, held_off=retry.held_off
        )
        self._count_loss(held)

    def give_back(self, event: Event, claim: Claim) -> None:
        """Requeue an event at once, without using up an attempt."""
        self._count_loss(self._ledger.give_back(event, claim))

    def _keep(self, answer: Answer, error: RedisMisused) -> None:
        """Retry later an answer that could not be published, at growing intervals."""
        self._metrics.count_failure(error)
        log.error("event %s: its verdict is not published: %s", answer.event.key, error)
        if (claim := answer.claim) is not None:
            self.retry(answer.event, claim, self._rules.after_unpublished(claim))

    def _count_loss(self, held: bool) -> None:
        """Count an attempt that ended after another worker had received the event."""
        self._metrics.redeliveries.inc(not held)
