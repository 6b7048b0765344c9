"""Every metric of the service, declared in one place.

Names, units and labels are a contract with dashboards and alert rules. Label values come from code and from
policy files, never from an event, so the number of series is bounded.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moderator.delivery.delivery_metrics import ROWS as DELIVERY_ROWS
from moderator.delivery.delivery_metrics import lag_metrics
from moderator.errors import ModeratorError
from moderator.images.process import REASONS, Reason
from moderator.queue.outbox import ConsumerLag
from moderator.queue.stream import StreamState
from moderator.verdicts import Decision, Verdict

logger = logging.getLogger(__name__)

Kind = Literal["counter", "gauge", "histogram"]
Role = Literal["active", "shadow", "canary"]
Stage = Literal["queue", "fetch", "decode", "signals", "batch_wait", "embed", "score", "publish"]

STAGES: tuple[Stage, ...] = ("queue", "fetch", "decode", "signals", "batch_wait", "embed", "score", "publish")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

#: The `policy` label of an event that no policy judged, and the `error` label of what we did not foresee.
UNKNOWN = "unknown"
UNEXPECTED = "Unexpected"


@dataclass(frozen=True)
class MetricRow:
    """One metric as `/metrics` shows it; a histogram also has `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy version that the worker scores with."""

    name: str
    version: int
    digest: str
    role: Role


@dataclass(frozen=True)
class QueueState:
    """The backlog at one moment. `oldest_age` is in seconds, 0 for an empty queue.

    `pending` events have no verdict yet, waiting or in hand. `refusals` are those of all time, by queue.
    """

    depth: Mapping[str, int]
    oldest_age: Mapping[str, float]
    dead_letters: int
    pending: int = 0
    pending_bytes: int = 0
    refusals: Mapping[str, int] = field(default_factory=dict)
    outgoing: "OutgoingState | None" = None


@dataclass(frozen=True)
class OutgoingState:
    """How verdicts get to those who wait for them, at one moment.

    `stream` has the groups of readers that are shown: their names are labels, so whoever measures bounds their number.
    """

    stream: StreamState
    disabled_webhooks: int
    outbox: tuple[ConsumerLag, ...] = ()


class Metrics:
    """The worker's counters, gauges and histograms. One per process; all its threads share it.

    Series whose labels are known beforehand start at 0, so that the first failure shows as an increase.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.rows: list[MetricRow] = []
        self._loaded: frozenset[LoadedPolicy] = frozenset()
        self.events = self._counter(
            "moderation_events_total", "Verdicts published, by policy and decision.", ["policy", "decision"]
        )
        self.duration = self._histogram(
            "moderation_duration_seconds", "Seconds from event accepted to verdict published.", SECONDS
        )
        self.stage_duration = self._histogram(
            "moderation_stage_duration_seconds", "Seconds that an event spent in a stage.", SECONDS, ["stage"]
        )
        self.batch_size = self._histogram(
            "moderation_batch_size", "Images in one forward pass of the image tower.", BATCH_SIZES
        )
        self.failures = self._counter(
            "moderation_failures_total",
            "Failures by stage and type of error, retried ones included.",
            ["stage", "error"],
        )
        self.redeliveries = self._counter(
            "moderation_redeliveries_total", "Events given out again because no verdict came in time."
        )
        self.decoder_restarts = self._counter(
            "moderation_decoder_restarts_total",
            "Decoding processes replaced: dead over an image (crash), killed from outside, as when memory runs out "
            "(killed), over the time limit (timeout), or with a senseless answer (reply).",
            ["reason"],
        )
        self.recalls = self._counter(
            "moderation_embedding_cache_total",
            "Images looked up among the embeddings that are kept (MODERATOR_EMBEDDING_CACHE), by result: hit or miss.",
            ["result"],
        )
        self.category_score = self._histogram(
            "moderation_category_score",
            "Scores of the deciding policy version.",
            SCORES,
            ["policy", "category"],
        )
        self.shadow_disagreements = self._counter(
            "moderation_shadow_disagreements_total",
            "Verdicts on which a shadow version would have decided otherwise.",
            ["policy", "version"],
        )
        self.shadow_failures = self._counter(
            "moderation_shadow_failures_total",
            "Verdicts beside which a shadow version could not judge, by type of error; the verdicts stand.",
            ["policy", "version", "error"],
        )
        self.policy_info = self._gauge(
            "moderation_policy_info",
            "1 for each policy version that is loaded; role is active, shadow or canary.",
            ["policy", "version", "digest", "role"],
        )
        self.model_info = self._gauge(
            "moderation_model_info",
            "1 for the encoder in use.",
            ["model", "revision", "preprocessing", "device", "dtype"],
        )
        self.ready = self._gauge(
            "moderation_ready",
            "1 while the worker takes events: Redis answers, model and policies are loaded.",
        )
        self.model_broken = self._gauge(
            "moderation_model_broken",
            "1 while the model fails on what it could answer before; the worker then takes no events.",
        )
        self.breaker_open = self._gauge(
            "moderation_breaker_open",
            "Hosts that are left alone for now because they failed several times in a row; kind is image or webhook.",
            ["kind"],
        )
        self.stream_limit = self._gauge(
            "moderation_stream_limit",
            "Verdicts that the stream keeps at most, whoever is behind (MODERATOR_STREAM_LIMIT).",
        )
        for stage in STAGES:
            self.stage_duration.labels(stage)
        for reason in REASONS:
            self.decoder_restarts.labels(reason)
        for result in ("hit", "miss"):
            self.recalls.labels(result)
        for error in _subclasses(ModeratorError):
            self.failures.labels(error.stage, error.__name__)

    def count_verdict(self, verdict: Verdict, duration: float) -> None:
        """Count one published verdict; `duration` is in seconds, event accepted to verdict published."""
        policy = verdict.policy.name if verdict.policy else UNKNOWN
        self.events.labels(policy, verdict.decision.value).inc()
        self.duration.observe(duration)
        for stage in STAGES:
            if stage in verdict.timings_ms:
                self.stage_duration.labels(stage).observe(verdict.timings_ms[stage] / 1000)
        for name, category in verdict.categories.items():
            self.category_score.labels(policy, name).observe(category.score)
        for shadow in verdict.shadow:
            if shadow.error is not None:
                self.shadow_failures.labels(policy, str(shadow.version), shadow.error.type).inc()
            elif shadow.decision != verdict.decision:
                self.shadow_disagreements.labels(policy, str(shadow.version)).inc()

    def count_decoder_loss(self, reason: Reason) -> None:
        """Count a decoding process that had to be replaced."""
        self.decoder_restarts.labels(reason).inc()

    def count_recall(self, found: bool) -> None:
        """Count a look at the embeddings that are kept."""
        self.recalls.labels("hit" if found else "miss").inc()

    def count_failure(self, error: BaseException) -> None:
        """Count a failure under its stage and type; errors that are not ours share one label."""
        if isinstance(error, ModeratorError):
            self.failures.labels(error.stage, type(error).__name__).inc()
        else:
            self.failures.labels(ModeratorError.stage, UNEXPECTED).inc()

    def show_policies(self, policies: Iterable[LoadedPolicy]) -> None:
        """Replace what `moderation_policy_info` says. Called from one thread, whenever the pointer changes.

        New series come before old ones go, so that a scrape in between sees no gap.
        """
        loaded = frozenset(policies)
        for policy in loaded:
            self.policy_info.labels(*_policy_labels(policy)).set(1)
            for decision in Decision:
                self.events.labels(policy.name, decision.value)
            if policy.role == "shadow":
                self.shadow_disagreements.labels(policy.name, str(policy.version))
        for policy in self._loaded - loaded:
            self.policy_info.remove(*_policy_labels(policy))
        self._loaded = loaded

    def watch_readiness(self, check: Callable[[], bool]) -> None:
        """Ask `check` at every scrape; a check that raises means not ready."""

        def value() -> float:
            try:
                return float(check())
            except ModeratorError:  # it says why not, where it is asked
                return 0.0
            except Exception:
                logger.exception("the readiness check failed")
                return 0.0

        self.ready.set_function(value)

    def watch_breakers(self, kind: Literal["image", "webhook"], count: Callable[[], int]) -> None:
        """Ask at every scrape how many breakers are open."""
        self.breaker_open.labels(kind).set_function(count)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        self.rows.append(MetricRow(name, "counter", tuple(labels), text))
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        self.rows.append(MetricRow(name, "gauge", tuple(labels), text))
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        self.rows.append(MetricRow(name, "histogram", tuple(labels), text))
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)


class QueueCollector(Collector):
    """Backlog gauges, read anew at every scrape.

    If `read` raises, the scrape still succeeds: the gauges are left out (a stale backlog would look healthy)
    and the counter of failed reads goes up.
    """

    rows = (
        MetricRow(
            "moderation_queue_depth",
            "gauge",
            ("queue",),
            "Events that wait for a worker, by queue.",
        ),
        MetricRow(
            "moderation_oldest_event_age_seconds",
            "gauge",
            ("queue",),
            "Age of the oldest event that waits for a worker, 0 if there is none.",
        ),
        MetricRow(
            "moderation_dead_letters", "gauge", (), "Dead letters that nobody has replayed or dropped."
        ),
        MetricRow(
            "moderation_pending_events",
            "gauge",
            (),
            "Accepted events without a verdict; at MODERATOR_QUEUE_LIMIT the queue takes no more.",
        ),
        MetricRow(
            "moderation_pending_bytes",
            "gauge",
            (),
            "Bytes that these events take; at MODERATOR_QUEUE_BYTES the queue takes no more.",
        ),
        MetricRow(
            "moderation_refusals_total",
            "counter",
            ("queue",),
            "Messages that found the queue full and were told to come again.",
        ),
        MetricRow(
            "moderation_queue_read_failures_total",
            "counter",
            (),
            "Scrapes at which the backlog could not be read from Redis.",
        ),
    )
    outgoing_rows = (
        MetricRow("moderation_stream_length", "gauge", (), "Verdicts in the stream."),
        MetricRow(
            "moderation_stream_lag",
            "gauge",
            ("group",),
            "Verdicts in the stream that a group of readers was not given yet; of the 50 groups most behind.",
        ),
        MetricRow(
            "moderation_stream_pending",
            "gauge",
            ("group",),
            "Verdicts that a reader of the group was given and has not finished.",
        ),
        MetricRow(
            "moderation_stream_missed",
            "gauge",
            ("group",),
            "Verdicts that left the stream before the group was given them; 0 once it reads on.",
        ),
        MetricRow(
            "moderation_stream_oldest_age_seconds",
            "gauge",
            ("group",),
            "Age of the oldest verdict that the group has not finished, given or not; 0 if there is none.",
        ),
        MetricRow(
            "moderation_webhooks_disabled",
            "gauge",
            (),
            "Webhooks that answered 410 Gone and get no more deliveries until somebody enables them.",
        ),
    )

    def __init__(self, read: Callable[[], QueueState]) -> None:
        self._read = read
        self._failures = 0

    def describe(self) -> Iterator[Metric]:
        """Names alone, so that registering does not need Redis."""
        yield from _families((*self.rows, *self.outgoing_rows))
        yield from lag_metrics(())

    def collect(self) -> Iterator[Metric]:
        """Read the backlog once."""
        (*gauges, refusals, failures), outgoing = map(_families, (self.rows, self.outgoing_rows))
        try:
            state = self._read()
        except Exception:
            self._failures += 1
            logger.exception("the backlog cannot be read; its gauges are missing until Redis answers again")
        else:
            depth, age, *others = gauges
            for queue, events in state.depth.items():
                depth.add_metric([queue], events)
            for queue, seconds in state.oldest_age.items():
                age.add_metric([queue], seconds)
            for gauge, value in zip(
                others, (state.dead_letters, state.pending, state.pending_bytes), strict=True
            ):
                gauge.add_metric([], value)
            for queue, count in state.refusals.items():
                refusals.add_metric([queue], count)
            if state.outgoing is not None:
                _add_outgoing(outgoing, state.outgoing)
            yield from (*gauges, refusals, *outgoing)
            yield from lag_metrics(state.outgoing.outbox if state.outgoing is not None else ())
        failures.add_metric([], self._failures)
        yield failures


def _families(rows: Iterable[MetricRow]) -> list[GaugeMetricFamily | CounterMetricFamily]:
    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
    return [kinds[row.kind](row.name, row.help, labels=row.labels) for row in rows]


def _add_outgoing(families: Sequence[GaugeMetricFamily | CounterMetricFamily], state: OutgoingState) -> None:
    length, lag, pending, missed, age, disabled = families
    length.add_metric([], state.stream.length)
    for group in state.stream.groups:
        if group.lag is not None:
            lag.add_metric([group.name], group.lag)
        pending.add_metric([group.name], group.pending)
        missed.add_metric([group.name], group.missed)
        age.add_metric([group.name], group.oldest_age)
    disabled.add_metric([], state.disabled_webhooks)


def describe() -> list[MetricRow]:
    """All metrics, in the order in which they are declared."""
    rows = [*Metrics(CollectorRegistry()).rows, *QueueCollector.rows, *QueueCollector.outgoing_rows]
    return rows + [MetricRow(*row) for row in DELIVERY_ROWS]


def _policy_labels(policy: LoadedPolicy) -> tuple[str, str, str, str]:
    return policy.name, str(policy.version), policy.digest[:12], policy.role


def _subclasses(error: type[ModeratorError]) -> Iterator[type[ModeratorError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
