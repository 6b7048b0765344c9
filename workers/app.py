"""The Celery app, its task, and the two consumers that feed it.

Interactive events come through Celery's own consumer, bulk events through a second one with its own channel and
prefetch limit: bulk messages never take the places of interactive ones, however many wait.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from celery.exceptions import Reject
from kombu import Consumer, Queue

from moderator.errors import WorkerStopping
from moderator.events import Priority
from moderator.queue.connection import SentinelLogin, celery_broker
from moderator.queue.keys import QUEUES, TASK, UNACKED, UNACKED_INDEX, UNACKED_MUTEX
from moderator.settings import Settings
from workers.transport import our_amqp

log = logging.getLogger(__name__)

#: Seconds after which Celery redelivers an unacknowledged message. The ledger is quicker for events that it knows;
#: this is for raw messages that no worker has claimed yet.
VISIBILITY_TIMEOUT_SECONDS = 120

#: Seconds without an answer, or without one to a health check, after which the consumer drops its connection and opens
#: another: a server that hangs, or a network that drops packets, does not close it. Longer than the second for which
#: the consumer blocks.
SOCKET_TIMEOUT_SECONDS = 5

#: Seconds before a message is requeued after Redis failed; it may be the next one taken.
GIVE_BACK_DELAY_SECONDS = 1.0


class _App(Celery):  # type: ignore[misc]
    """A Celery app configured by its arguments alone.

    In Celery the environment takes precedence over the app: `CELERY_BROKER_URL`, set for another Celery app beside
    ours, would connect the worker to that app's server.
    """

    backend_cls = "disabled"

    def __init__(self, name: str, *, broker: str, **options: Any) -> None:
        self._broker = broker
        super().__init__(
            name,
            broker=broker,
            set_as_current=False,
            loader="celery.loaders.app:AppLoader",
            fixups=[],
            **options,
        )

    def connection_for_read(self, url: Any = None, **options: Any) -> Any:
        return super().connection_for_read(self._broker, **options)

    def connection_for_write(self, url: Any = None, **options: Any) -> Any:
        return super().connection_for_write(self._broker, **options)


class BulkConsumer(bootsteps.ConsumerStep):  # type: ignore[misc]
    """Consumes the bulk queue into the same tasks, beside Celery's consumer of the interactive queue.

    Each has half of the threads and of the images in flight.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def get_consumers(self, channel: Any) -> list[Consumer]:
        """Return one consumer on its own channel."""
        channel.basic_qos(0, self._slots, False)
        consumer = Consumer(
            channel, queues=[Queue(QUEUES[Priority.BULK])], accept=["json"], auto_declare=True
        )
        consumer.on_message = self._on_message
        return [consumer]

    def start(self, c: Any) -> None:
        """Start the consumer at each (re)connection, when Celery has its task strategies ready."""
        self._slots = c.pool.limit // 2
        c.qos.decrement_eventually(c.qos.value - self._slots)
        c.qos.update()
        self._on_message = c.create_task_handler()
        super().start(c)


def _is_full(channel: Any) -> bool:
    return bool(channel.active_queues) and not channel.qos.can_consume()


def _watched(report: Callable[[bool], None], turn: Callable[[bool], None]) -> type:
    class Watched(bootsteps.StartStopStep):  # type: ignore[misc]
        """Reports when consuming starts and stops, and the turns of the event loop."""

        requires = (BulkConsumer,)

        def start(self, c: Any) -> None:
            report(True)
            channels = c.connection.transport.channels
            self._timer = c.timer.call_repeatedly(1.0, lambda: turn(any(map(_is_full, channels))))

        def stop(self, c: Any) -> None:
            """Report the end of consuming, after a lost connection and at shutdown."""
            report(False)
            self._timer.cancel()

    return Watched


def make_app(
    settings: Settings,
    handle: Callable[[Any], None],
    refuse: Callable[[str, str], None],
    slots: int,
    report: Callable[[bool], None] = lambda consuming: None,
    turn: Callable[[bool], None] = lambda full: None,
    takes: Callable[[], bool] = lambda: True,
) -> Celery:
    """Make the Celery app of a worker.

    Args:
        settings: where Redis is.
        handle: called with the argument of each message, from at most twice as many threads as there are slots.
        refuse: called in the same threads with an unreadable element of the queue, and the reason.
        slots: interactive messages in flight at once, and as many images of bulk messages, or one message with more.
        report: called with True when it starts consuming, and with False when it lost its connection or ends.
        turn: called every second from the event loop that takes messages, with whether all places of a queue are
            taken; without these calls the loop is stuck.
        takes: whether to take messages now.
    """
    # Celery logs each requeued message with a traceback; `check` logs what matters in one line.
    logging.getLogger("celery.app.trace").setLevel(logging.ERROR)
    broker = celery_broker(settings.redis_url, SentinelLogin.of(settings))
    app = _App("moderator", broker=broker.url, amqp=our_amqp(takes))
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_default_queue=QUEUES[Priority.INTERACTIVE],
        task_queues=[Queue(QUEUES[Priority.INTERACTIVE])],
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_use_ssl=broker.use_ssl,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            "unacked_key": UNACKED,
            "unacked_index_key": UNACKED_INDEX,
            "unacked_mutex_key": UNACKED_MUTEX,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": SOCKET_TIMEOUT_SECONDS,
            "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
            "health_check_interval": SOCKET_TIMEOUT_SECONDS,
            "socket_keepalive": not broker.url.startswith("redis+socket"),
            **broker.transport_options,
        },
    )
    app.steps["consumer"].update((BulkConsumer, _watched(report, turn)))

    # Not shared: the app of a restarted consumer would get the task of the one that died.
    @app.task(name=TASK, shared=False)  # type: ignore[untyped-decorator]
    def check(event: Any = None, *, text: str | None = None, refused: Any = None) -> None:
        """Take the arguments of a canonical message; see `moderator.queue.message.make_canonical`."""
        try:
            if refused is not None:
                refuse(*refused)
            else:
                handle(event if text is None else json.loads(text))
        except WorkerStopping as error:
            raise Reject(str(error), requeue=True) from error
        except Exception as error:
            # Redis failed, so the message was not processed. Celery would drop it: a task that raises is done.
            log.warning("a message goes back to the queue: %s: %s", type(error).__name__, error)
            time.sleep(GIVE_BACK_DELAY_SECONDS)
            raise Reject(str(error), requeue=True) from error

    return app
