"""Puts a worker together, runs it, and takes it apart again when it is told to stop."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from celery import Celery, signals
from kombu.asynchronous import set_event_loop
from prometheus_client import CollectorRegistry

from moderator.backoff import jittered
from moderator.encoders.base import Embeddings, Pixels
from moderator.encoders.parallel import cores_shared
from moderator.errors import QueueUnavailable, SettingsError
from moderator.images.breaker import Breakers
from moderator.metrics import LoadedPolicy, Metrics, QueueCollector
from moderator.queue.connection import WORKER_CALL, SentinelLogin, connect
from moderator.queue.dead_letters import DeadLetters
from moderator.queue.deadline import within
from moderator.queue.embedding_cache import EmbeddingCache
from moderator.queue.ledger import Ledger
from moderator.queue.webhooks import WebhookOutbox
from moderator.settings import Settings
from moderator.steps import Steps
from workers.app import make_app
from workers.backlog import READING_SECONDS, Backlog
from workers.batcher import MicroBatcher
from workers.handler import Handler
from workers.health import HealthServer
from workers.periodic import Periodic
from workers.pipeline import Pipeline
from workers.reading import SharedReading
from workers.traffic import Traffic
from workers.watchdog import PATIENCE, Watchdog
from workers.webhooks import WebhookSender

log = logging.getLogger(__name__)

#: Seconds between looks at the ledger for overdue events, at the policy folder, at the webhook outbox, and at the
#: consumer.
SWEEP_EVERY = 1.0
REFRESH_EVERY = 2.0
WEBHOOKS_EVERY = 0.5
WATCH_EVERY = 1.0
#: Seconds that a request for health or metrics waits for what Redis knows, of which it asks two things.
HEALTH_PATIENCE = 0.8
#: Seconds to wait for Redis at the start, and before Celery is started again when it died.
REDIS_PATIENCE = 60.0
RESTART_DELAY = 1.0


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
        self._wait_for_redis()
        image_hosts, webhook_hosts = (
            Breakers(settings.breaker_failures, settings.breaker_cooldown) for _ in range(2)
        )
        self._metrics = Metrics(CollectorRegistry())
        self._metrics.watch_breakers("image", image_hosts.count_open)
        self._metrics.watch_breakers("webhook", webhook_hosts.count_open)
        decoders = settings.threads or os.cpu_count() or 1
        self._moderator = Steps(
            settings,
            processes=decoders if settings.decode == "processes" else 0,
            on_decoder_lost=self._metrics.count_decoder_loss,
            breakers=image_hosts,
        )
        self._ledger = Ledger(self._redis, settings.redeliver_after)
        outbox = WebhookOutbox(self._redis)
        dead_letters = DeadLetters(self._redis, self._ledger, outbox)
        self._webhooks = WebhookSender(settings, outbox, dead_letters, self._metrics, webhook_hosts)
        backlog = SharedReading(
            "backlog", Backlog(self._redis, self._ledger, dead_letters).read, HEALTH_PATIENCE
        )
        self._metrics.registry.register(QueueCollector(backlog.get))
        self._reachable = SharedReading("reachable", self._ping, HEALTH_PATIENCE)

        max_batch = self._moderator.max_batch
        # Enough images in hand to fill the next batch while one is in the model and others are on their way.
        self._slots = 4 * max_batch
        traffic = Traffic()
        encoder = self._moderator.encoder

        def embed(pixels: Pixels) -> Embeddings:
            with cores_shared(traffic.bulk()):
                return encoder.embed_images(pixels)

        self._batcher = MicroBatcher(embed, max_batch, self._count_batch, interactive=traffic.interactive)
        cache = (
            EmbeddingCache(
                self._redis, self._moderator.embedding_space, encoder.dimension, settings.embedding_cache
            )
            if settings.embedding_cache
            else None
        )
        pipeline = Pipeline(
            self._moderator, self._batcher, self._ledger, self._metrics, decoders, traffic, cache
        )
        self._handler = Handler(pipeline.process, dead_letters, self._metrics, width=self._slots)
        self._watchdog = Watchdog(self._redis.ping)
        self._consuming = False
        self._stopping = False
        signals.worker_shutting_down.connect(self._on_stop)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. What is in hand is finished, the rest stays on the queue."""
        with self._health() as port:
            started = time.perf_counter()
            for problem in self._moderator.catalogue.problems:
                log.error("%s", problem)
            self._moderator.warm_up()
            self._show_policies()
            model = self._moderator.encoder
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
                self._moderator.max_batch,
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
                self._consume()

    def _consume(self) -> None:
        """Run Celery's worker, and run it again if it dies: a restart of Redis can kill it."""
        while True:
            handler = self._handler
            self._run_celery(
                make_app(
                    self._settings,
                    handler.handle,
                    handler.refuse,
                    self._slots,
                    self._note_consuming,
                    self._watchdog.turn,
                )
            )
            # Celery logs what kills it and returns as if it had been told to stop.
            if self._stopping:
                return
            log.warning("the Celery consumer died; starting it again")
            time.sleep(RESTART_DELAY)

    def _run_celery(self, app: Celery) -> None:
        set_event_loop(None)  # not the one of a consumer that died, with its timers
        worker = app.Worker(
            pool="threads",
            concurrency=2 * self._slots,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=None,
            quiet=True,
        )
        try:
            worker.start()
        finally:
            self._consuming = False

    def _note_consuming(self, consuming: bool) -> None:
        self._consuming = consuming and not self._stopping

    def _on_stop(self, **_: object) -> None:
        self._consuming = False
        self._stopping = True
        self._handler.stop()

    def _ready(self) -> bool:
        return self._consuming and self._batcher.alive and self._reachable.get()

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
        """What runs beside the events; stopped after the last of them."""
        periodic = [
            Periodic("sweeper", SWEEP_EVERY, self._sweep),
            Periodic("policies", REFRESH_EVERY, self._refresh_policies),
            Periodic("webhooks", WEBHOOKS_EVERY, self._webhooks.send_due),
            Periodic("watchdog", WATCH_EVERY, self._watch),
        ]
        try:
            yield
        finally:
            for thread in periodic:
                thread.stop()
            self._webhooks.close()
            self._handler.close()
            self._batcher.stop()
            self._moderator.close()
            log.info("stopped")

    def _wait_for_redis(self) -> None:
        deadline = time.monotonic() + REDIS_PATIENCE
        while True:
            try:
                self._redis.ping()
                return
            except SettingsError:  # waiting does not change what it is
                raise
            except Exception as error:
                if time.monotonic() > deadline:
                    raise QueueUnavailable(
                        f"Redis does not answer ({error}); start it, or set MODERATOR_REDIS_URL"
                    ) from error
                log.warning("waiting for Redis: %s", error)
                time.sleep(jittered(1.0))

    def _count_batch(self, size: int, seconds: float) -> None:
        self._metrics.batch_size.observe(size)

    def _sweep(self) -> None:
        count = self._ledger.sweep()
        if count:
            log.info("gave out %d overdue events again", count)

    def _watch(self) -> None:
        if self._watchdog.stuck() and not self._stopping:
            # Not an orderly end: that would wait for what stands still. The ledger has what is in hand.
            log.critical("the consumer stands still for %g s; the worker ends, to be started again", PATIENCE)
            os._exit(1)

    def _refresh_policies(self) -> None:
        if self._moderator.catalogue.refresh():
            for problem in self._moderator.catalogue.problems:
                log.error("%s", problem)
                self._metrics.count_failure(problem)
            self._moderator.compile_policies()
            self._show_policies()
            log.info("policies reloaded")

    def _show_policies(self) -> None:
        loaded = []
        for name, standing in self._moderator.catalogue.snapshot.standings.items():
            loaded.append(LoadedPolicy(name, standing.active.version, standing.active.digest, "active"))
            if standing.canary is not None:
                loaded.append(LoadedPolicy(name, standing.canary.version, standing.canary.digest, "canary"))
            loaded += [LoadedPolicy(name, p.version, p.digest, "shadow") for p in standing.shadows]
        self._metrics.show_policies(loaded)
