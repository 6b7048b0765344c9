"""The process of `moderator deliver`: runs outbox consumers apart from the workers. It loads no model library."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event

from prometheus_client import CollectorRegistry

from moderator.delivery.consumers import DeliveryConsumer, consumer_names, is_installed, make_consumer
from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.delivery.loop import DeliveryLoop
from moderator.fetching.breaker import Breakers
from moderator.fetching.breaker_metrics import BreakerMetrics
from moderator.metrics import FailureCounter
from moderator.queue.connection import WORKER_CALL, Redis, SentinelLogin, connect
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.deadline import within
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Ledger
from moderator.queue.outbox import ConsumerLag, Outbox, read_lags
from moderator.queue.outbox_metrics import OutboxCollector
from moderator.settings import Settings
from workers.health import HealthServer
from workers.periodic import Periodic
from workers.shared_reading import SharedReading
from workers.shutdown import Shutdown

log = logging.getLogger(__name__)

#: Seconds between checks of an outbox in which nothing was due.
DELIVER_EVERY_SECONDS = 0.5
#: Seconds that a scrape or a health check waits for Redis, and that Redis has for the answer.
READING_PATIENCE, READING_SECONDS = 0.8, 0.6


def installed_consumers(settings: Settings, chosen: Sequence[str] = ()) -> list[str]:
    """Return the consumers that this process delivers to: those chosen, or all configured and installed ones."""
    if chosen:
        return list(dict.fromkeys(chosen))
    names = consumer_names(settings)
    for name in names:
        if not is_installed(name, settings):
            log.info("the consumer %s is not installed here; verdicts wait for it in the outbox", name)
    return [name for name in names if is_installed(name, settings)]


def make_loops(
    consumers: Sequence[DeliveryConsumer],
    client: Redis,
    dead_letters: DeadLetters,
    metrics: DeliveryMetrics,
    retry_delay: float,
    registry: CollectorRegistry,
) -> list[DeliveryLoop]:
    """Return the loop of each consumer, whose own metrics go into the registry."""
    for consumer in consumers:
        for collector in getattr(consumer, "collectors", ()):
            registry.register(collector)
    return [
        DeliveryLoop(consumer, Outbox(client, consumer.name), dead_letters, metrics, retry_delay)
        for consumer in consumers
    ]


@contextmanager
def delivering(loops: Sequence[DeliveryLoop]) -> Iterator[None]:
    """Deliver in the background during the block; finish started deliveries at its end."""
    threads = [Periodic(f"deliver-{loop.name}", DELIVER_EVERY_SECONDS, loop.drain) for loop in loops]
    try:
        yield
    finally:
        for loop in loops:
            loop.stop()
        for thread in threads:
            thread.stop()
        for loop in loops:
            loop.close()


class Deliverer:
    """Delivers to consumers until a signal arrives.

    Args:
        settings: all of them.
        chosen: names of consumers; empty: all that the outbox is filled for and that are installed.
        port: of `/metrics`, `/ready` and `/live`.
        consumers: used instead of those named.

    Raises:
        SettingsError: a consumer cannot be made, or the port is taken.
    """

    def __init__(
        self,
        settings: Settings,
        chosen: Sequence[str] = (),
        port: int | None = None,
        consumers: Sequence[DeliveryConsumer] = (),
    ) -> None:
        self._settings = settings
        self._port = settings.metrics_port if port is None else port
        self._redis = connect(settings.redis_url, call=WORKER_CALL, sentinels=SentinelLogin.of(settings))
        hosts = Breakers(settings.breaker_failures, settings.breaker_cooldown)
        consumers = consumers or [
            make_consumer(name, settings, self._redis, hosts)
            for name in installed_consumers(settings, chosen)
        ]
        self._names = [consumer.name for consumer in consumers]
        self._registry = CollectorRegistry()
        BreakerMetrics(self._registry).watch("webhook", hosts.count_open)
        failures = FailureCounter(self._registry)
        metrics = DeliveryMetrics(self._registry, self._names, failures.count)
        lags = SharedReading("outbox", self._read_lags, READING_PATIENCE)
        self._registry.register(OutboxCollector(lags.get))
        self._reachable = SharedReading("reachable", self._ping, READING_PATIENCE)
        executor = RedisExecutor(self._redis)
        dead_letters = DeadLetters(executor, Ledger(executor, settings.redeliver_after))
        self._loops = make_loops(
            consumers, self._redis, dead_letters, metrics, settings.retry_delay, self._registry
        )

    def run(self, shutdown: Shutdown) -> None:
        """Deliver until a signal arrives; started deliveries are finished, the rest stays in the outbox."""
        stopped = Event()
        server = HealthServer(
            self._settings.metrics_host,
            self._port,
            self._registry,
            ready=self._reachable.get,
            live=lambda: True,
        )
        try:
            log.info(
                "delivering to %s; metrics on http://%s:%d/metrics",
                ", ".join(self._names),
                self._settings.metrics_host,
                server.port,
            )
            if self._settings.deliver == "worker":
                log.info("workers deliver as well; MODERATOR_DELIVER=apart leaves it to this process")
            with delivering(self._loops):
                shutdown.serve(stopped.set)
                stopped.wait()
        finally:
            server.close()
            log.info("stopped")

    def _read_lags(self) -> tuple[ConsumerLag, ...]:
        with within(READING_SECONDS):
            return read_lags(self._redis, self._names)

    def _ping(self) -> bool:
        with within(READING_SECONDS):
            return bool(self._redis.ping())
