"""The path of an event through a worker: claim, fetch, decode, embed, score, publish. Each ends in the ledger."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from threading import Semaphore

from moderator.engine.engine import Engine
from moderator.engine.judge import Judged
from moderator.engine.preparer import Prepared, asks_opinions, reads_slowly
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import (
    ModelBroken,
    ModeratorError,
    PolicyError,
    Unexpected,
    WorkerStopping,
)
from moderator.events import Event, Priority
from moderator.fetching.fetcher import Fetcher
from moderator.queue.embedding_cache import EmbeddingCache
from moderator.queue.evidence import Evidence, as_kept
from moderator.queue.ledger import Answer, Claim, Ledger
from moderator.queue.subscriptions import Subscriptions
from moderator.signals.evaluator import Moment, plain
from workers.attempt import Attempt, SlowShadows
from workers.batcher import MicroBatcher, small_batch
from workers.finisher import Finisher
from workers.flood_watch import FloodWatch
from workers.leases import Leases
from workers.opinion_lane import OpinionLane
from workers.outcomes import Outcomes
from workers.priority import PriorityGate, PrioritySemaphore
from workers.recall import Recall
from workers.retries import Retry, RetryRules, delay_for_slow_place, refuse_killers
from workers.slow import SlowLane
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)


class Pipeline:
    """Processes events; called from many threads at once.

    Args:
        engine: prepares and judges.
        fetcher: fetches the images.
        batcher: runs the model.
        ledger: where events are claimed and verdicts published.
        metrics: the worker's metrics.
        decoders: images decoded at once: more than there are cores only cost memory and cache.
        gate: notes each event; while interactive ones arrive, bulk gets less.
        cache: embeddings of images seen before.
        leases: note each event claimed here, and when it is finished.
        known: whether some worker knows a policy, by its reference.
        floods: diverts blocks to review; None: blocks stay.
    """

    def __init__(
        self,
        engine: Engine,
        fetcher: Fetcher,
        batcher: MicroBatcher,
        ledger: Ledger,
        metrics: Metrics,
        decoders: int,
        gate: PriorityGate,
        cache: EmbeddingCache | None = None,
        leases: Leases | None = None,
        known: Callable[[str], bool] = lambda reference: False,
        floods: FloodWatch | None = None,
    ) -> None:
        self._engine = engine
        self._preparer = engine.preparer
        self._fetcher = fetcher
        self._batcher = batcher
        self._ledger = ledger
        self._metrics = metrics
        self._gate = gate
        self._recall = Recall(cache, engine, metrics) if cache is not None else None
        self._leases = leases or Leases()
        self._floods = floods
        self._outcomes = Outcomes(engine, ledger, metrics, RetryRules(engine.settings, known), floods)
        self._finisher = Finisher(self._answers, self._outcomes.publish)
        self._keeps_evidence = Subscriptions.of(engine.settings).evidence
        # Two small batches of bulk are enough to keep the model busy with one; each further thread would only compete
        # with interactive events for the interpreter.
        few = 2 * small_batch(engine.max_batch)
        self._groups = Semaphore(decoders)
        self._in_flight = PrioritySemaphore(math.inf, lambda: gate.bulk_limit(few, math.inf))
        self._decoders = PrioritySemaphore(decoders, lambda: gate.bulk_limit(max(1, decoders - 1), decoders))
        # Including those that wait, at most a quarter of a queue's events in flight.
        places = max(1, min(decoders, engine.max_batch // 2))
        self._slow = SlowLane(places, "slow")
        # Separate, so that shadows take no place from deciding policies.
        self._shadows = SlowLane(places, "shadows")
        # Likewise a quarter of a queue's events.
        self._opinions = OpinionLane(
            engine.second_stage,
            lambda attempt, judged: self._outcomes.publish([self._answer(attempt, judged)]),
            engine.max_batch,
        )

    def close(self) -> None:
        """End the threads, after the batcher: what waited for the model is still finished here."""
        self._finisher.close()
        self._slow.close()
        self._shadows.close()
        self._opinions.close()

    def process(self, events: Sequence[Event]) -> None:
        """Process events to a verdict, a dead letter or a retry: one, or some of a bulk message.

        The events of a group share a thread and round trips to Redis. They have the same priority.

        Raises only errors of Redis, and `ModelBroken` before any event is claimed: then the message is not
        acknowledged.
        """
        if fault := self._batcher.broken:
            raise fault
        priority = events[0].priority
        self._gate.note(priority)
        try:
            quick: list[Event] = []
            slow: list[Event] = []
            for event in events:
                (slow if self._reads_slowly(event) else quick).append(event)
            if slow:
                self._process_slowly(slow, alone=len(events) == 1)
            if quick:
                self._process_quickly(priority, quick)
        finally:
            self._leases.done(events)

    def _process_quickly(self, priority: Priority, events: Sequence[Event]) -> None:
        with self._in_flight.acquire(priority, len(events)):
            # A whole group is decoded before the next one: otherwise all groups would be ready at the same time, and
            # the decoders would idle until the model is done with them.
            with self._groups if len(events) > 1 else nullcontext(), self._batcher.coming(priority):
                attempts = [self._begin(event, claim) for event, claim in self._claim(events)]
            self._finish(attempts)
        self._opinions.ask(attempts)

    def _process_slowly(self, events: Sequence[Event], *, alone: bool) -> None:
        """Process events whose policy has slow signals: each waits for a place before it is claimed and fetched.

        An event without a place is given back: waiting here, it would keep a thread from events that need no such
        place. Events of a bulk message are all given back, to come one by one.
        """
        priority = events[0].priority
        if not alone or not self._slow.enter(priority):
            for event, claim in self._claim(events):
                delay = delay_for_slow_place(claim.waited) if alone else 0.0
                self._outcomes.retry(event, claim, Retry(delay, counts=False))
            return
        try:
            with self._slow.turn(priority):
                attempts = [self._begin(event, claim) for event, claim in self._claim(events)]
                self._finish(attempts)
        finally:
            self._slow.leave()
        self._opinions.ask(attempts)

    def _finish(self, attempts: Sequence[Attempt]) -> None:
        """Judge images and publish their verdicts, except of those that a second opinion is due for."""
        self._finisher.finish(attempts)
        if self._recall is not None:
            self._recall.remember(attempts)

    def _answers(self, attempts: Sequence[Attempt]) -> list[Answer]:
        """Judge images; return their answers, but those that are retried, or that a second opinion is due for."""
        return [answer for one in attempts if (answer := self._end(one)) is not None]

    def _claim(self, events: Sequence[Event]) -> list[tuple[Event, Claim]]:
        """Claim events, and return those that are now ours."""
        ours = []
        for event, claim in zip(events, self._ledger.claim(events), strict=True):
            if isinstance(claim, Claim):
                self._metrics.redeliveries.inc(claim.attempt > 1 or claim.losses > 0)
                named = event.before_bulk() if claim.before_bulk else event
                self._leases.claimed(event, named.key, claim.token)
                ours.append((named, claim))
            else:
                # A redelivery: the event has its verdict, or another worker holds it under the ledger's watch.
                self._metrics.redeliveries.inc()
                self._leases.done([event])
        return ours

    def _reads_slowly(self, event: Event) -> bool:
        """Return whether the deciding policy has slow signals; False if there is no such policy."""
        try:
            return reads_slowly(self._engine.resolver.select_for(event))
        except PolicyError:
            return False

    def _begin(self, event: Event, claim: Claim) -> Attempt:
        """Fetch and decode an image and submit it to the model; errors are kept for `_end`."""
        watch = Stopwatch()
        watch.note("queue", claim.waited)
        attempt = Attempt(event, claim, watch)
        try:
            refuse_killers(claim)
            data = self._fetcher.fetch(event.image)
            prepared = self._recall.recall(attempt, data) if self._recall is not None else None
            watch.lap("fetch")
            if prepared is None:
                prepared = self._prepare(event, data)
                watch.note("decode", watch.lap("decode") - prepared.signal_seconds)
                attempt.embedded = self._batcher.submit(prepared.pixels, event.priority)
            attempt.prepared = prepared
            if prepared.selection is not None and asks_opinions(prepared.selection):
                attempt.data = data
            self._read_for_shadows(attempt, data, prepared)
        except Exception as error:
            attempt.error = error
        return attempt

    def _prepare(self, event: Event, data: bytes) -> Prepared:
        with self._decoders.acquire(event.priority):
            prepared = self._preparer.prepare(data, self._engine.resolver.select_for(event))
        if prepared.needs_slow_reading:
            prepared = self._slow.run(partial(self._preparer.read_slowly, data, prepared))
        return prepared

    def _read_for_shadows(self, attempt: Attempt, data: bytes, prepared: Prepared) -> None:
        """Start the shadows' signals while the model runs on the image. Never raises: a shadow changes nothing."""
        try:
            if quick := prepared.shadow_signals(Moment.PIXELS):
                with self._decoders.acquire(attempt.event.priority):
                    attempt.shadow_readings = self._preparer.read_for_shadows(data, quick)
            if slow := prepared.shadow_signals(Moment.SLOWLY):
                future = self._shadows.offer(partial(self._preparer.read_for_shadows, data, slow))
                attempt.slow_shadows = SlowShadows(slow, future)
        except Exception:
            log.exception("event %s: the signals of its shadows cannot be read", attempt.event.key)

    def _end(self, attempt: Attempt) -> Answer | None:
        """Wait for the model and judge; return None if the event is retried, or a second opinion is due."""
        event = attempt.event
        try:
            judged = self._judge(attempt)
            if judged.questions:
                attempt.judged = judged
                return None
            return self._answer(attempt, judged)
        except (WorkerStopping, ModelBroken):
            # Another worker may do better; with a broken model, this one takes nothing until it works.
            self._outcomes.give_back(event, attempt.claim)
            return None
        except ModeratorError as error:
            return self._outcomes.fail(attempt, error)
        except Exception as error:
            log.exception("event %s: unexpected error", event.key)
            return self._outcomes.fail(attempt, Unexpected(f"{type(error).__name__}: {error}"))

    def _judge(self, attempt: Attempt) -> Judged:
        if attempt.error is not None:
            raise attempt.error
        event, prepared, watch = attempt.event, attempt.prepared, attempt.watch
        assert prepared is not None
        attempt.embeddings = attempt.recalled
        if attempt.embeddings is None:
            assert attempt.embedded is not None
            embedded = attempt.embedded.result()
            watch.lap("embed")
            watch.note("batch_wait", embedded.waited)
            watch.note("embed", embedded.embed)
            attempt.embeddings = embedded.embeddings
        if self._keeps_evidence:
            attempt.embeddings = as_kept(attempt.embeddings)
        attempt.read_shadows()
        return self._engine.judge(event, prepared, attempt.embeddings, watch, attempt.shadow_readings)

    def _answer(self, attempt: Attempt, judged: Judged) -> Answer:
        assert attempt.prepared is not None
        if judged.opinion is not None:
            self._metrics.count_opinion(judged.policy.name, judged.opinion)
        verdict = self._engine.verdict(attempt.event, attempt.prepared, judged, attempt.watch)
        verdict = self._floods.divert(verdict, judged.policy) if self._floods is not None else verdict
        evidence = None
        if self._keeps_evidence and verdict.model is not None and attempt.embeddings is not None:
            readings = {**attempt.shadow_readings, **attempt.prepared.readings, **judged.opinions}
            evidence = Evidence(attempt.embeddings, plain(readings), verdict.model, attempt.prepared.views)
        return Answer(attempt.event, verdict, claim=attempt.claim, evidence=evidence)
