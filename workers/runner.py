"""Assemble a worker, run it, and shut it down when a signal arrives."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from celery import Celery
from prometheus_client import CollectorRegistry

from moderator.delivery.consumers import consumer_names, make_consumer
from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.encoders.parallel import cores_shared
from moderator.engine.engine import Engine
from moderator.fetching.breaker import Breakers
from moderator.fetching.fetcher import Fetcher
from moderator.queue.announcements import Announcements
from moderator.queue.connection import WORKER_CALL, SentinelLogin, connect
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.deadline import within
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.embedding_cache import EmbeddingCache
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Ledger
from moderator.queue.queue_metrics import QueueCollector
from moderator.queue.subscriptions import Subscriptions
from moderator.settings import Settings
from workers.app import make_app
from workers.backlog import READING_SECONDS, Backlog, read_outgoing
from workers.batcher import MicroBatcher
from workers.consumer_loop import ConsumerLoop
from workers.deliverer import delivering, installed_consumers, make_loops
from workers.flood_watch import FLOODS_EVERY_SECONDS, make_flood_watch
from workers.handler import Handler
from workers.health import HealthServer
from workers.leases import Leases
from workers.model_watch import ModelWatch
from workers.periodic import Periodic
from workers.pipeline import Pipeline
from workers.policy_watch import PolicyWatch, worker_name
from workers.priority import PriorityGate
from workers.recovery import Recovery
from workers.shared_reading import SharedReading
from workers.shutdown import Shutdown
from workers.startup import wait_for_redis
from workers.trimmer import StreamTrimmer
from workers.watchdog import Watchdog
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)

#: Seconds between checks of the ledger for overdue events, of the policy folder, of the consumer, for messages left by
#: workers of an earlier version, and of a broken model.
SWEEP_EVERY_SECONDS = 1.0
REFRESH_EVERY_SECONDS = 2.0
WATCH_EVERY_SECONDS = 1.0
#: Lease extensions within one lease: a single beat may fail.
HEARTBEATS_PER_LEASE = 3
ADOPT_EVERY_SECONDS = 15.0
#: Seconds between two announcements of the policies that this worker knows.
ANNOUNCE_EVERY_SECONDS = 5.0
MODEL_WATCH_EVERY_SECONDS = 1.0
#: Seconds between trims of the stream.
TRIM_EVERY_SECONDS = 5.0
#: Seconds that a request for health or metrics waits for Redis, which it queries twice.
HEALTH_WAIT_SECONDS = 0.8


class Worker:
    """One model, the threads around it, and the Celery consumer.

    Args:
        settings: all of them.

    Raises:
        QueueUnavailable: Redis does not answer within a minute.
        ModeratorError: the encoder, the policies or a setting cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if settings.model_threads:
            torch.set_num_threads(settings.model_threads)
        sentinels = SentinelLogin.of(settings)
        self._redis = connect(settings.redis_url, call=WORKER_CALL, sentinels=sentinels)
        wait_for_redis(self._redis)
        image_hosts, webhook_hosts = (
            Breakers(settings.breaker_failures, settings.breaker_cooldown) for _ in range(2)
        )
        self._metrics = Metrics(CollectorRegistry())
        self._metrics.watch_breakers("image", image_hosts.count_open)
        self._metrics.watch_breakers("webhook", webhook_hosts.count_open)
        decoders = settings.threads or os.cpu_count() or 1
        self._engine = Engine(
            settings,
            processes=decoders if settings.decode == "processes" else 0,
            on_decoder_lost=self._metrics.count_decoder_loss,
        )
        self._fetcher = Fetcher.from_settings(settings, image_hosts)
        executor = RedisExecutor(self._redis)
        self._ledger = Ledger(executor, settings.redeliver_after, subscriptions=Subscriptions.of(settings))
        dead_letters = DeadLetters(executor, self._ledger)
        deliver = installed_consumers(settings) if settings.deliver == "worker" else []
        self._deliveries = make_loops(
            [make_consumer(name, settings, self._redis, webhook_hosts) for name in deliver],
            self._redis,
            dead_letters,
            DeliveryMetrics(self._metrics.registry, deliver, self._metrics.count_failure),
            settings.retry_delay,
            self._metrics.registry,
        )
        disabled = DisabledWebhooks(self._redis)
        outgoing = partial(read_outgoing, self._redis, disabled, consumer_names(settings))
        backlog = SharedReading(
            "backlog", Backlog(self._redis, self._ledger, dead_letters, outgoing).read, HEALTH_WAIT_SECONDS
        )
        self._metrics.registry.register(QueueCollector(backlog.get))
        self._metrics.stream_limit.set(settings.most_in_stream)
        self._trimmer = StreamTrimmer(self._redis, settings.stream_length)
        self._reachable = SharedReading("reachable", self._ping, HEALTH_WAIT_SECONDS)

        max_batch = self._engine.max_batch
        # Enough images in flight to fill the next batch while one is in the model and others are being prepared.
        self._slots = 4 * max_batch
        gate = PriorityGate()
        encoder = self._engine.encoder

        def embed(pixels: Pixels) -> Embeddings:
            with cores_shared(gate.bulk()):
                return encoder.embed_images(pixels)

        self._model = ModelWatch(embed, encoder.image_size)
        self._metrics.model_broken.set_function(lambda: float(self._model.broken is not None))
        self._batcher = MicroBatcher(
            embed, max_batch, self._count_batch, interactive=gate.interactive, watch=self._model
        )
        cache = (
            EmbeddingCache(
                executor, self._engine.embedding_space, encoder.dimension, settings.embedding_cache
            )
            if settings.embedding_cache
            else None
        )
        announcements = Announcements(executor, worker_name())
        self._policies = PolicyWatch(self._engine, self._metrics, announcements)
        self._recovery = Recovery(self._redis, self._ledger, self._metrics, settings)
        self._leases = Leases(self._ledger.extend, settings.redeliver_after)
        self._floods = make_flood_watch(settings, executor, self._engine, self._metrics)
        self._pipeline = Pipeline(
            self._engine,
            self._fetcher,
            self._batcher,
            self._ledger,
            self._metrics,
            decoders,
            gate,
            cache,
            self._leases,
            announcements.knows,
            self._floods,
        )
        self._watchdog = Watchdog(self._redis.ping, image=settings.fetch_timeout + settings.decode_timeout)
        self._handler = Handler(
            self._pipeline.process,
            dead_letters,
            self._metrics,
            width=self._slots,
            hold=self._leases.hold,
            finished=self._watchdog.finish,
        )
        self._consumer = ConsumerLoop(self._make_app, 2 * self._slots)

    def run(self, shutdown: Shutdown) -> None:
        """Serve until a signal arrives. Events in flight are finished, the rest stays on the queue."""
        with self._health() as port:
            started = time.perf_counter()
            self._engine.warm_up()
            self._model.learn()
            self._policies.show()
            model = self._engine.encoder
            identity = model.identity
            self._metrics.model_info.labels(
                identity.id, identity.revision, identity.preprocessing, model.device, model.dtype
            ).set(1)
            log.info(
                "ready: %s on %s in %s, batches of up to %d, warmed up in %.1f s; "
                "metrics on http://%s:%d/metrics",
                identity.id,
                model.device,
                model.dtype,
                self._engine.max_batch,
                time.perf_counter() - started,
                self._settings.metrics_host,
                port,
            )
            if identity.id == "embedded":
                log.warning(
                    "the embedded encoder knows the world of ImageNet's 1,000 classes only; "
                    "in production set MODERATOR_ENCODER to a CLIP model"
                )
            with self._housekeeping():
                shutdown.serve(self._stop)
                self._consumer.run()

    def _make_app(self, note_consuming: Callable[[bool], None]) -> Celery:
        return make_app(
            self._settings,
            self._handler.handle,
            self._handler.refuse,
            self._slots,
            note_consuming,
            self._watchdog.turn,
            takes=lambda: self._model.broken is None,
        )

    def _stop(self) -> None:
        """Stop consuming. Called from another thread, at any time once `run` is about to consume."""
        self._handler.stop()
        self._consumer.stop()

    def _ready(self) -> bool:
        if fault := self._model.broken:
            raise fault
        return (
            self._consumer.consuming
            and self._batcher.alive
            and not self._watchdog.jammed()
            and self._reachable.get()
        )

    def _ping(self) -> bool:
        with within(READING_SECONDS):
            return bool(self._redis.ping())

    @contextmanager
    def _health(self) -> Iterator[int]:
        """Serve `/metrics`, `/ready` and `/live`; ready only while Celery consumes."""
        self._metrics.watch_readiness(self._ready)
        server = HealthServer(
            self._settings.metrics_host,
            self._settings.metrics_port,
            self._metrics.registry,
            ready=self._ready,
            live=lambda: self._batcher.alive,
        )
        try:
            yield server.port
        finally:
            server.close()

    @contextmanager
    def _housekeeping(self) -> Iterator[None]:
        """Run the background tasks; stopped after the last event."""
        periodic = [
            Periodic("sweeper", SWEEP_EVERY_SECONDS, self._recovery.sweep),
            Periodic("policies", REFRESH_EVERY_SECONDS, self._policies.refresh),
            Periodic("stream", TRIM_EVERY_SECONDS, self._trimmer.trim),
            Periodic("watchdog", WATCH_EVERY_SECONDS, self._watch),
            Periodic("adoption", ADOPT_EVERY_SECONDS, self._recovery.adopt),
            # At once, before other workers receive events whose policy only this one knows.
            Periodic("announcements", ANNOUNCE_EVERY_SECONDS, self._policies.announce, at_once=True),
            Periodic("model", MODEL_WATCH_EVERY_SECONDS, self._watch_model),
            # At once, so that a worker that starts while a breaker is open knows of it.
            Periodic("floods", FLOODS_EVERY_SECONDS, self._floods.refresh, at_once=True),
        ]
        leases = Periodic("leases", self._settings.redeliver_after / HEARTBEATS_PER_LEASE, self._leases.beat)
        try:
            with delivering(self._deliveries):
                yield
        finally:
            for thread in periodic:
                thread.stop()
            self._policies.leave()
            self._handler.close()
            leases.stop()
            self._batcher.stop()
            self._pipeline.close()
            self._engine.close()
            self._fetcher.close()
            log.info("stopped")

    def _count_batch(self, size: int, seconds: float) -> None:
        self._metrics.batch_size.observe(size)

    def _watch(self) -> None:
        if (problem := self._watchdog.stuck()) and not self._consumer.stopping:
            # No orderly shutdown: it would wait for the stuck part. The ledger has all events in flight.
            log.critical("%s; the worker ends, to be started again", problem)
            os._exit(1)

    def _watch_model(self) -> None:
        self._model.test_again()
        if self._model.hopeless and not self._consumer.stopping:
            # Its events went back to the ledger when the model broke.
            log.critical("the model stays broken; the worker ends, to be started again")
            os._exit(1)
