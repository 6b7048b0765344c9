"""Run Celery's consumer, and restart it if it dies: a restart of Redis can kill it."""

import logging
import time
from collections.abc import Callable

from celery import Celery
from celery.worker import state
from kombu.asynchronous import set_event_loop

log = logging.getLogger(__name__)

RESTART_DELAY_SECONDS = 1.0


class ConsumerLoop:
    """The consumer of a worker.

    Args:
        make_app: makes the Celery app, given a callback for when it starts and stops consuming.
        threads: most tasks at once.
    """

    def __init__(self, make_app: Callable[[Callable[[bool], None]], Celery], threads: int) -> None:
        self._make_app = make_app
        self._threads = threads
        self.consuming = False
        self.stopping = False

    def run(self) -> None:
        """Consume until `stop` is called."""
        while True:
            self._run_celery(self._make_app(self._note_consuming))
            # Celery logs the fatal error and returns as after an orderly stop.
            if self.stopping:
                return
            log.warning("the Celery consumer died; starting it again")
            time.sleep(RESTART_DELAY_SECONDS)

    def stop(self) -> None:
        """Stop soon. Called from another thread, at any time once `run` is about to start."""
        self.consuming = False
        self.stopping = True
        state.should_stop = 0  # Celery's loop checks it at each turn, at least every second

    def _run_celery(self, app: Celery) -> None:
        set_event_loop(None)  # not that of a dead consumer, with its timers
        # Without Celery's signal handlers; see `workers.shutdown`.
        kind = type("Worker", (app.Worker,), {"install_platform_tweaks": lambda self, worker: None})
        worker = kind(
            pool="threads",
            concurrency=self._threads,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel=None,
            quiet=True,
        )
        try:
            worker.start()
        finally:
            self.consuming = False

    def _note_consuming(self, consuming: bool) -> None:
        self.consuming = consuming and not self.stopping
