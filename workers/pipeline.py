"""One event through a worker: claim, fetch, decode, embed, score, publish. Every way out ends in the ledger."""

import logging
import math
import time
from hashlib import sha256

from moderator.encoders.base import Embeddings
from moderator.errors import AttemptsExhausted, HostUnavailable, ModeratorError, Unexpected, WorkerStopping
from moderator.events import Event
from moderator.metrics import Metrics
from moderator.queue.embedding_cache import EmbeddingCache
from moderator.queue.ledger import Claim, DeadLetterReason, Ledger
from moderator.steps import Prepared, Steps
from moderator.stopwatch import Stopwatch
from moderator.verdicts import Verdict
from workers.batcher import MicroBatcher, small_batch
from workers.traffic import Places, Traffic

log = logging.getLogger(__name__)

#: Longest time between two tries of an event, in seconds.
MAX_RETRY_DELAY = 300.0


def delay_for_host(error: HostUnavailable, waited: float) -> float:
    """Seconds until what waits for a host asks again: as long again as it has waited, so that many do not ask all
    the time, but not before the host may be asked."""
    return max(error.retry_after, min(waited, MAX_RETRY_DELAY))


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
        self._in_hand = Places(math.inf, lambda: few if traffic.interactive() else math.inf)
        self._decoders = Places(decoders, lambda: max(1, decoders - traffic.interactive()))

    def process(self, event: Event) -> None:
        """Take an event to its verdict, its dead letter, or its next try.

        Raises only what Redis raises: then the message is not acknowledged and the ledger still has the event.
        """
        self._traffic.note(event.priority)
        with self._in_hand.take(event.priority):
            self._process(event)

    def _process(self, event: Event) -> None:
        claim = self._ledger.claim(event)
        if not isinstance(claim, Claim):
            # A second delivery: the verdict is there, or another worker is at it and the ledger watches over it.
            self._metrics.redeliveries.inc()
            return
        if claim.attempt > 1:
            self._metrics.redeliveries.inc()
        watch = Stopwatch()
        watch.note("queue", claim.waited)
        try:
            if claim.attempt > self._settings.max_attempts:
                raise AttemptsExhausted(
                    f"tried {self._settings.max_attempts} times without an answer: each time the worker died "
                    "over it or ran out of time"
                )
            verdict = self._judge(event, watch)
        except WorkerStopping:
            self._ledger.retry(event, 0.0)
        except ModeratorError as error:
            self._fail(event, claim, error, watch)
        except Exception as error:
            log.exception("event %s: unexpected error", event.key)
            self._fail(event, claim, Unexpected(f"{type(error).__name__}: {error}"), watch)
        else:
            self._publish(event, verdict)

    def _judge(self, event: Event, watch: Stopwatch) -> Verdict:
        data = self._moderator.fetcher.fetch(event.image)
        seen = self._recall(event, data)
        watch.lap("fetch")
        if seen is not None:
            return self._moderator.judge(event, *seen, watch)
        with self._decoders.take(event.priority):
            prepared = self._moderator.prepare(data, event)
        del data
        watch.note("decode", watch.lap("decode") - prepared.signal_seconds)
        embedded = self._batcher.submit(prepared.pixels, event.priority).result()
        watch.lap("embed")
        watch.note("batch_wait", embedded.waited)
        watch.note("embed", embedded.embed)
        if self._cache is not None:
            self._cache.put(prepared.facts, embedded.embeddings)
        return self._moderator.judge(event, prepared, embedded.embeddings, watch)

    def _recall(self, event: Event, data: bytes) -> tuple[Prepared, Embeddings] | None:
        """What is known of an image from an earlier event."""
        if self._cache is None or self._moderator.needs_pixels(event):
            return None
        seen = self._cache.get(sha256(data).hexdigest())
        self._metrics.count_recall(seen is not None)
        return None if seen is None else (self._moderator.recall(event, seen.facts), seen.embeddings)

    def _fail(self, event: Event, claim: Claim, error: ModeratorError, watch: Stopwatch) -> None:
        """What may pass is tried again later; what will not gets an `error` verdict and a dead letter.

        An image that took a decoder down may have been unlucky, once; the second time it is the cause.
        """
        name = type(error).__name__
        self._metrics.count_failure(error)
        if isinstance(error, HostUnavailable) and claim.waited < self._settings.host_patience:
            self._ledger.retry(event, delay_for_host(error, claim.waited), counts=False)
            return
        if (
            error.transient
            and claim.attempt < self._settings.max_attempts
            and not (error.harmful and claim.harmed)
        ):
            delay = min(self._settings.retry_delay * 2.0 ** (claim.attempt - 1), MAX_RETRY_DELAY)
            log.info("event %s: %s; try %d follows in %g s", event.key, name, claim.attempt + 1, delay)
            self._ledger.retry(event, delay, harmed=error.harmful)
            return
        log.warning("event %s: dead letter: %s: %s", event.key, name, error)
        self._publish(event, self._moderator.failed(event, error, watch), DeadLetterReason(name, str(error)))

    def _publish(self, event: Event, verdict: Verdict, dead: DeadLetterReason | None = None) -> None:
        start = time.perf_counter()
        duration = self._ledger.publish(
            event,
            verdict,
            ttl=self._settings.verdict_ttl,
            stream_length=self._settings.stream_length,
            dead=dead,
        )
        self._metrics.stage_duration.labels("publish").observe(time.perf_counter() - start)
        if duration is None:
            self._metrics.redeliveries.inc()
        else:
            self._metrics.count_verdict(verdict, duration)
