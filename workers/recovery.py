"""Recover the events of workers that died or were of an earlier version."""

import logging

from redis import Redis

from moderator.errors import ModeratorError
from moderator.queue.ledger import Ledger
from moderator.queue.unacked import adopt_unacked
from moderator.settings import Settings
from moderator.verdicts import Verdict
from workers.app import VISIBILITY_TIMEOUT_SECONDS
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)


class Recovery:
    """Looks for events that no worker holds any more.

    Args:
        redis: where they are.
        ledger: knows which are overdue.
        metrics: count recovered events.
        settings: provide those of the verdict stream.
    """

    def __init__(self, redis: Redis, ledger: Ledger, metrics: Metrics, settings: Settings) -> None:
        self._redis = redis
        self._ledger = ledger
        self._metrics = metrics
        self._settings = settings

    def sweep(self) -> None:
        """Requeue overdue events; those delivered too often get an `error` verdict."""
        count = self._ledger.sweep(
            self._note_death,
            ttl=self._settings.verdict_ttl,
            stream_length=self._settings.most_in_stream,
        )
        if count:
            log.info("gave out %d overdue events again", count)

    def adopt(self) -> None:
        """Take over the messages that a worker of an earlier version held when it ended."""
        count = adopt_unacked(self._redis, VISIBILITY_TIMEOUT_SECONDS)
        if count:
            log.info("took over %d messages of a worker of an earlier version", count)

    def _note_death(self, verdict: Verdict, seconds: float, error: ModeratorError) -> None:
        self._metrics.count_failure(error)
        self._metrics.count_verdict(verdict, seconds)
