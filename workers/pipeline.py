"""One event through a worker: claim, fetch, decode, embed, score, publish. Every way out ends in the ledger."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from threading import Semaphore

from moderator.backoff import delay_for_host, exponential, jittered
from moderator.encoders.base import Embeddings
from moderator.errors import (
    AttemptsExhausted,
    HostUnavailable,
    ModelBroken,
    ModeratorError,
    PolicyError,
    RedisMisused,
    SignalBusy,
    SignalTimeout,
    Unexpected,
    WorkerStopping,
)
from moderator.events import Event, Priority
from moderator.queue.embedding_cache import EmbeddingCache
from moderator.queue.evidence import Evidence
from moderator.queue.ledger import Answer, Claim, DeadLetterReason, Ledger
from moderator.queue.outbox import Subscriptions
from moderator.signals.reading import Moment, Outcome, Readings, Specification, plain
from moderator.steps import Prepared, Steps
from moderator.stopwatch import Stopwatch
from moderator.verdicts import Verdict
from workers.batcher import Embedded, MicroBatcher, small_batch
from workers.leases import Leases
from workers.slow import SlowLane
from workers.traffic import Places, Traffic
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)

#: Longest time between two tries of an event, in seconds.
MAX_RETRY_DELAY = 300.0
#: Seconds until an event for which there is no slow place comes again: as long as it has waited, within these.
SLOW_DELAY = 1.0, 10.0
#: Longest time, in seconds, that a verdict waits for the slow signals of its shadows.
SHADOW_PATIENCE = 2.0
#: What is wrong with an event's policy here and may be right with another worker, which has newer or older files.
UNKNOWN_HERE = PolicyError
#: Seconds that an event waits for such a worker to take it: as long as a deployment may last.
DEPLOYMENT = 600.0
#: Seconds until it comes again: as long as it has waited for that, within these.
SOONEST_ELSEWHERE, LATEST_ELSEWHERE = 0.5, 2.0


@dataclass(eq=False)
class _Try:
    """An event on its way: what is known of it so far, or what went wrong."""

    event: Event
    claim: Claim
    watch: Stopwatch
    seen: tuple[Prepared, Embeddings] | None = None
    evidence: Evidence | None = None
    prepared: Prepared | None = None
    embedded: "Future[Embedded] | None" = None
    beside: Readings = field(default_factory=dict)
    shadows: "_Shadows | None" = None
    error: Exception | None = None


@dataclass(eq=False)
class _Shadows:
    """Slow signals of shadows that are being read beside an event; without a future, there was no place for that."""

    specs: list[Specification]
    future: "Future[Readings] | None"
    until: float
    """Monotonic time at which the verdict goes without them."""

    def readings(self) -> Mapping[str, Outcome]:
        """What they say by now, or soon."""
        error: ModeratorError = SignalBusy(
            "the slow signals of shadows have no place free; more cores give more"
        )
        if self.future is not None:
            try:
                return self.future.result(max(0.0, self.until - time.monotonic()))
            except TimeoutError:
                self.future.cancel()
                error = SignalTimeout(f"a verdict waits for its shadows {SHADOW_PATIENCE:g} s at most")
            except CancelledError:
                error = WorkerStopping("the worker is stopping")
        return dict.fromkeys((spec.key for spec in self.specs), error)


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
        leases: told of what is claimed here and of its end.
        known: whether some worker judges by a policy, by its reference.
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
        leases: Leases | None = None,
        known: Callable[[str], bool] = lambda reference: False,
    ) -> None:
        self._moderator = moderator
        self._settings = moderator.settings
        self._batcher = batcher
        self._ledger = ledger
        self._metrics = metrics
        self._traffic = traffic
        self._cache = cache
        self._leases = leases or Leases()
        self._is_known = known
        self._keeps_evidence = Subscriptions.of(self._settings).evidence
        # Two small batches of bulk are enough to keep the model busy with one; each further thread would only want
        # the interpreter when an interactive event does.
        few = 2 * small_batch(moderator.max_batch)
        self._turns = Semaphore(decoders)
        self._in_hand = Places(math.inf, lambda: few if traffic.interactive() else math.inf)
        self._decoders = Places(decoders, lambda: max(1, decoders - traffic.interactive()))
        # With those that wait, a quarter of what the worker has in hand of a queue, at most.
        places = max(1, min(decoders, moderator.max_batch // 2))
        self._slow = SlowLane(places, "slow")
        # Apart, so that shadows take no place from what decides.
        self._shadows = SlowLane(places, "shadows")

    def close(self) -> None:
        """End the threads."""
        self._slow.close()
        self._shadows.close()

    def process(self, events: Sequence[Event]) -> None:
        """Take events to their verdict, their dead letter, or their next try: one, or some of a bulk message.

        Those of a group share the way to Redis and a thread. They are of one priority.

        Raises only what Redis raises, and `ModelBroken` before any of them is claimed: then the message is not
        acknowledged.
        """
        if fault := self._batcher.broken:
            raise fault
        priority = events[0].priority
        self._traffic.note(priority)
        try:
            quick: list[Event] = []
            slow: list[Event] = []
            for event in events:
                (slow if self._moderator.reads_slowly(event) else quick).append(event)
            if slow:
                self._process_slowly(slow, alone=len(events) == 1)
            if quick:
                self._process_quickly(priority, quick)
        finally:
            self._leases.done(events)

    def _process_quickly(self, priority: Priority, events: Sequence[Event]) -> None:
        with self._in_hand.take(priority, len(events)):
            # A group is decoded as a whole before the next one: else all of them would be ready at the same time,
            # and the decoders idle until the model is done with them.
            with self._turns if len(events) > 1 else nullcontext(), self._batcher.coming(priority):
                tries = [self._begin(event, claim) for event, claim in self._claim(events)]
            self._publish([answer for one in tries if (answer := self._end(one)) is not None])

    def _process_slowly(self, events: Sequence[Event], *, alone: bool) -> None:
        """Events whose policy has slow signals: each waits for its place before it is claimed, fetched and decoded.

        Where there is no place, an event is given back: waiting here, it would keep a thread from events that need no
        such place. Of a bulk message all are, to come one by one.
        """
        priority = events[0].priority
        if not alone or not self._slow.enter(priority):
            for event, claim in self._claim(events):
                least, most = SLOW_DELAY
                delay = jittered(min(max(least, claim.waited), most)) if alone else 0.0
                self._note_loss(self._ledger.retry(event, claim, delay, counts=False))
            return
        try:
            with self._slow.turn(priority):
                self._publish(
                    [
                        answer
                        for event, claim in self._claim(events)
                        if (answer := self._end(self._begin(event, claim))) is not None
                    ]
                )
        finally:
            self._slow.leave()

    def _claim(self, events: Sequence[Event]) -> list[tuple[Event, Claim]]:
        """Those that are ours."""
        ours = []
        for event, claim in zip(events, self._ledger.claim(events), strict=True):
            if isinstance(claim, Claim):
                self._metrics.redeliveries.inc(claim.attempt > 1)
                named = event.before_bulk() if claim.before_bulk else event
                self._leases.claimed(event, named.key, claim.token)
                ours.append((named, claim))
            else:
                # A second delivery: the verdict is there, or another worker is at it and the ledger watches over it.
                self._metrics.redeliveries.inc()
                self._leases.done([event])
        return ours

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
                if self._moderator.needs_slow_reading(one.prepared):
                    one.prepared = self._slow.run(partial(self._moderator.read_slowly, data, one.prepared))
                watch.note("decode", watch.lap("decode") - one.prepared.signal_seconds)
                one.embedded = self._batcher.submit(one.prepared.pixels, event.priority)
            prepared = one.prepared if one.seen is None else one.seen[0]
            assert prepared is not None
            self._look_on(one, data, prepared)
        except Exception as error:
            one.error = error
        return one

    def _look_on(self, one: _Try, data: bytes, prepared: Prepared) -> None:
        """Have the shadows' signals read while the model is at the image. Never raises: a shadow changes nothing."""
        try:
            if quick := self._moderator.shadow_signals(prepared, Moment.PIXELS):
                with self._decoders.take(one.event.priority):
                    one.beside = self._moderator.look_on(data, quick)
            if slow := self._moderator.shadow_signals(prepared, Moment.SLOWLY):
                future = self._shadows.offer(partial(self._moderator.look_on, data, slow))
                one.shadows = _Shadows(slow, future, time.monotonic() + SHADOW_PATIENCE)
        except Exception:
            log.exception("event %s: its shadows cannot look on", one.event.key)

    def _end(self, one: _Try) -> Answer | None:
        """Wait for the model and judge; None where the event gets another try."""
        event = one.event
        try:
            verdict = self._judge(one)
            return Answer(event, verdict, claim=one.claim, evidence=one.evidence)
        except (WorkerStopping, ModelBroken):
            # Another worker may do better; where the model is broken, this one takes nothing until it works.
            self._note_loss(self._ledger.give_back(event, one.claim))
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
            prepared, embeddings = one.seen
        else:
            assert one.prepared is not None
            assert one.embedded is not None
            embedded = one.embedded.result()
            one.watch.lap("embed")
            one.watch.note("batch_wait", embedded.waited)
            one.watch.note("embed", embedded.embed)
            prepared, embeddings = one.prepared, embedded.embeddings
            if self._cache is not None:
                self._cache.put(prepared.facts, embeddings)
        beside = self._beside(one)
        verdict = self._moderator.judge(one.event, prepared, embeddings, one.watch, beside)
        if self._keeps_evidence and verdict.model is not None:
            readings = plain({**beside, **prepared.readings})
            one.evidence = Evidence(embeddings, readings, verdict.model)
        return verdict

    def _beside(self, one: _Try) -> Readings:
        return one.beside if one.shadows is None else {**one.beside, **one.shadows.readings()}

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
        if isinstance(error, HostUnavailable) and claim.held_off < self._settings.host_patience:
            delay = delay_for_host(error, claim.held_off)
            self._note_loss(self._ledger.retry(event, claim, delay, counts=False, held_off=True))
            return None
        if isinstance(error, UNKNOWN_HERE) and claim.held_off < DEPLOYMENT and self._known(event):
            log.info("event %s: %s; another worker knows its policy", event.key, name)
            delay = jittered(min(max(SOONEST_ELSEWHERE, claim.held_off), LATEST_ELSEWHERE))
            self._note_loss(self._ledger.retry(event, claim, delay, counts=False, held_off=True))
            return None
        if (
            error.transient
            and claim.attempt < self._settings.max_attempts
            and not (error.harmful and claim.harmed)
        ):
            delay = exponential(claim.attempt, self._settings.retry_delay, MAX_RETRY_DELAY)
            log.info("event %s: %s; try %d follows in %g s", event.key, name, claim.attempt + 1, delay)
            away = isinstance(error, HostUnavailable)  # its patience is over, and does not begin again
            self._note_loss(self._ledger.retry(event, claim, delay, harmed=error.harmful, held_off=away))
            return None
        log.warning("event %s: dead letter: %s: %s", event.key, name, error)
        verdict = self._moderator.failed(event, error, one.watch)
        return Answer(event, verdict, DeadLetterReason(name, str(error)), claim)

    def _known(self, event: Event) -> bool:
        return event.policy is not None and self._is_known(event.policy)

    def _publish(self, answers: Sequence[Answer]) -> None:
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

    def _keep(self, answer: Answer, error: RedisMisused) -> None:
        """Try again later what could not be published, at longer and longer intervals: nobody knows for how long."""
        self._metrics.count_failure(error)
        log.error("event %s: its verdict is not published: %s", answer.event.key, error)
        if (claim := answer.claim) is not None:
            delay = exponential(claim.attempt, self._settings.retry_delay, MAX_RETRY_DELAY)
            self._note_loss(self._ledger.retry(answer.event, claim, delay))

    def _note_loss(self, held: bool) -> None:
        """Count a try that came to its end after another worker was given the event."""
        self._metrics.redeliveries.inc(not held)
