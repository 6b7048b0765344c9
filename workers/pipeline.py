"""One event through a worker: claim, fetch, decode, embed, score, publish. Every way out ends in the ledger."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from threading import Semaphore

from moderator.encoders.base import Embeddings
from moderator.errors import AttemptsExhausted, HostUnavailable, ModeratorError, Unexpected, WorkerStopping
from moderator.events import Event
from moderator.metrics import Metrics
from moderator.queue.embedding_cache import EmbeddingCache
from moderator.queue.ledger import Answer, Claim, DeadLetterReason, Ledger
from moderator.steps import Prepared, Steps
from moderator.stopwatch import Stopwatch
from moderator.verdicts import Verdict
from workers.batcher import Embedded, MicroBatcher, small_batch
from workers.traffic import Places, Traffic

log = logging.getLogger(__name__)

#: Longest time between two tries of an event, in seconds.
MAX_RETRY_DELAY = 300.0


def delay_for_host(error: HostUnavailable, waited: float) -> float:
    """Seconds until what waits for a host asks again: as long again as it has waited, so that many do not ask all
    the time, but not before the host may be asked."""
    return max(error.retry_after, min(waited, MAX_RETRY_DELAY))


@dataclass(eq=False)
class _Try:
    """An event on its way: what is known of it so far, or what went wrong."""

    event: Event
    claim: Claim
    watch: Stopwatch
    seen: tuple[Prepared, Embeddings] | None = None
    prepared: Prepared | None = None
    embedded: "Future[Embedded] | None" = None
    error: Exception | None = None


class Pipeline:
    """Processes events; called from many threads at once.

    Args:
        moderator: the steps.
        batcher: the model.
        ledger: where events are claimed and verdicts published.
        metrics: what is measured.
        decoders: how many images are decoded at once: more than there are cores only cost memory and cache.
        traffic: told of each event; while interactive ones come, bulk gets less.
        cache: embeddings of images that were seen before.
    """

    def __init__(
        self,
        moderator: Steps,
        batcher: MicroBatcher,
        ledger: Ledger,
        metrics: Metrics,
        decoders: int,
        traffic: Traffic,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._moderator = moderator
        self._settings = moderator.settings
        self._batcher = batcher
        self._ledger = ledger
        self._metrics = metrics
        self._traffic = traffic
        self._cache = cache
        # Two small batches of bulk are enough to keep the model busy with one; each further thread would only want
        # the interpreter when an interactive event does.
        few = 2 * small_batch(moderator.max_batch)
        self._turns = Semaphore(decoders)
        self._in_hand = Places(math.inf, lambda: few if traffic.interactive() else math.inf)
        self._decoders = Places(decoders, lambda: max(1, decoders - traffic.interactive()))

    def process(self, events: Sequence[Event]) -> None:
        """Take events to their verdict, their dead letter, or their next try: one, or some of a bulk message.

        Those of a group share the way to Redis and a thread. They are of one priority.

        Raises only what Redis raises: then the message is not acknowledged and the ledger still has the events.
        """
        priority = events[0].priority
        self._traffic.note(priority)
        with self._in_hand.take(priority, len(events)):
            # A group is decoded as a whole before the next one: else all of them would be ready at the same time,
            # and the decoders idle until the model is done with them.
            with self._turns if len(events) > 1 else nullcontext(), self._batcher.coming(priority):
                tries = [self._begin(event, claim) for event, claim in self._claim(events)]
            self._publish([answer for one in tries if (answer := self._end(one)) is not None])

    def _claim(self, events: Sequence[Event]) -> Iterator[tuple[Event, Claim]]:
        """Those that are ours, for as long as they are: slow images may hold up those behind them."""
        until = time.monotonic() + self._settings.redeliver_after / 2
        for event, claim in zip(events, self._ledger.claim(events), strict=True):
            if not isinstance(claim, Claim):
                # A second delivery: the verdict is there, or another worker is at it and the ledger watches over it.
                self._metrics.redeliveries.inc()
            elif time.monotonic() > until:
                self._ledger.retry(event, 0.0, counts=False)
            else:
                self._metrics.redeliveries.inc(claim.attempt > 1)
                yield event, claim

    def _begin(self, event: Event, claim: Claim) -> _Try:
        """Fetch, decode, and hand it to the model; what goes wrong is kept for `_end`."""
        watch = Stopwatch()
        watch.note("queue", claim.waited)
        one = _Try(event, claim, watch)
        try:
            if claim.attempt > self._settings.max_attempts:
                raise AttemptsExhausted(
                    f"tried {self._settings.max_attempts} times without an answer: each time the worker died "
                    "over it or ran out of time"
                )
            data = self._moderator.fetcher.fetch(event.image)
            one.seen = self._recall(event, data)
            watch.lap("fetch")
            if one.seen is None:
                with self._decoders.take(event.priority):
                    one.prepared = self._moderator.prepare(data, event)
                watch.note("decode", watch.lap("decode") - one.prepared.signal_seconds)
                one.embedded = self._batcher.submit(one.prepared.pixels, event.priority)
        except Exception as error:
            one.error = error
        return one

    def _end(self, one: _Try) -> Answer | None:
        """Wait for the model and judge; None where the event gets another try."""
        event = one.event
        try:
            return Answer(event, self._judge(one))
        except WorkerStopping:
            self._ledger.retry(event, 0.0)
            return None
        except ModeratorError as error:
            return self._fail(one, error)
        except Exception as error:
            log.exception("event %s: unexpected error", event.key)
            return self._fail(one, Unexpected(f"{type(error).__name__}: {error}"))

    def _judge(self, one: _Try) -> Verdict:
        if one.error is not None:
            raise one.error
        if one.seen is not None:
            return self._moderator.judge(one.event, *one.seen, one.watch)
        assert one.prepared is not None
        assert one.embedded is not None
        embedded = one.embedded.result()
        one.watch.lap("embed")
        one.watch.note("batch_wait", embedded.waited)
        one.watch.note("embed", embedded.embed)
        if self._cache is not None:
            self._cache.put(one.prepared.facts, embedded.embeddings)
        return self._moderator.judge(one.event, one.prepared, embedded.embeddings, one.watch)

    def _recall(self, event: Event, data: bytes) -> tuple[Prepared, Embeddings] | None:
        """What is known of an image from an earlier event."""
        if self._cache is None or self._moderator.needs_pixels(event):
            return None
        seen = self._cache.get(sha256(data).hexdigest())
        self._metrics.count_recall(seen is not None)
        return None if seen is None else (self._moderator.recall(event, seen.facts), seen.embeddings)

    def _fail(self, one: _Try, error: ModeratorError) -> Answer | None:
        """What may pass is tried again later; what will not gets an `error` verdict and a dead letter.

        An image that took a decoder down may have been unlucky, once; the second time it is the cause.
        """
        event, claim = one.event, one.claim
        name = type(error).__name__
        self._metrics.count_failure(error)
        if isinstance(error, HostUnavailable) and claim.waited < self._settings.host_patience:
            self._ledger.retry(event, delay_for_host(error, claim.waited), counts=False)
            return None
        if (
            error.transient
            and claim.attempt < self._settings.max_attempts
            and not (error.harmful and claim.harmed)
        ):
            delay = min(self._settings.retry_delay * 2.0 ** (claim.attempt - 1), MAX_RETRY_DELAY)
            log.info("event %s: %s; try %d follows in %g s", event.key, name, claim.attempt + 1, delay)
            self._ledger.retry(event, delay, harmed=error.harmful)
            return None
        log.warning("event %s: dead letter: %s: %s", event.key, name, error)
        verdict = self._moderator.failed(event, error, one.watch)
        return Answer(event, verdict, DeadLetterReason(name, str(error)))

    def _publish(self, answers: Sequence[Answer]) -> None:
        start = time.perf_counter()
        durations = self._ledger.publish(
            answers, ttl=self._settings.verdict_ttl, stream_length=self._settings.most_in_stream
        )
        seconds = time.perf_counter() - start
        for answer, duration in zip(answers, durations, strict=True):
            self._metrics.stage_duration.labels("publish").observe(seconds)
            if duration is None:
                self._metrics.redeliveries.inc()
            else:
                self._metrics.count_verdict(answer.verdict, duration)
