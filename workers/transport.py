"""Celery's connection to Redis: robust against two failures, faster, and limited by images instead of messages.

List elements of any kind: kombu and Celery raise inside their event loop on many that they cannot read, which kills
the whole consumer. They get a canonical message instead, which is always readable.

An unavailable server: Celery waits longer after each attempt, up to half a minute. A worker that idles for half a
minute after Redis is back causes a backlog, so this one retries often.
"""

from collections.abc import Callable
from queue import Empty
from typing import Any
from uuid import uuid4

from celery.app.amqp import AMQP
from kombu import Connection

from moderator.queue.message import IMAGES, make_canonical

#: Seconds between two attempts to connect: the first pause, the increment, and the longest pause.
RECONNECT_START, RECONNECT_STEP, RECONNECT_MAX = 0.2, 0.3, 2.0


def our_amqp(takes: Callable[[], bool] = lambda: True) -> type:
    """Return the class with which a Celery app makes its connections, for its argument `amqp`.

    Args:
        takes: whether to take messages now; called before each request for one.
    """

    class OurConnection(Connection):  # type: ignore[misc]
        def get_transport_cls(self) -> type:
            transport = super().get_transport_cls()
            qos = type("ImagesQoS", (_CountsImages, transport.Channel.QoS), {})
            parts = {"QoS": qos, "takes": staticmethod(takes)}
            channel = type("OurChannel", (_Canonical, _KeepsClient, transport.Channel), parts)
            return type("OurTransport", (transport,), {"Channel": channel})

        def ensure_connection(
            self, errback: Any = None, max_retries: int | None = None, **options: Any
        ) -> Connection:
            pauses = {
                "interval_start": RECONNECT_START,
                "interval_step": RECONNECT_STEP,
                "interval_max": RECONNECT_MAX,
            }
            return super().ensure_connection(errback, max_retries, **{**pauses, **options})

    return type("OurAMQP", (AMQP,), {"Connection": OurConnection})


class _Canonical:
    """Mixin for kombu's Redis channels: takes any element of a list as a canonical message."""

    def _brpop_read(self, **options: Any) -> bool:
        """Read an element like kombu's method, which uses its own JSON reader."""
        client: Any = self.client  # type: ignore[attr-defined]
        try:
            try:
                taken = client.parse_response(client.connection, "BRPOP", **options)
            except self.connection_errors:  # type: ignore[attr-defined]
                client.connection.disconnect()  # so that the next turn connects again
                raise
            if not taken:
                raise Empty
            key, element = taken
            queue = key.decode().rsplit(self.sep, 1)[0]  # type: ignore[attr-defined]
            self._queue_cycle.rotate(queue)  # type: ignore[attr-defined]
            self.connection._deliver(  # type: ignore[attr-defined]
                make_canonical(element, queue, str(uuid4())), queue
            )
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()  # type: ignore[attr-defined]


class _KeepsClient:
    """Mixin for kombu's Redis channels: reuses the client, and takes nothing while `takes` returns False.

    kombu makes a new client for every message taken and acknowledged, which costs more than everything else in its
    event loop. A client is no connection: those are in the pool, and threads share both.
    """

    _kept: Any = None
    takes: Callable[[], bool]

    def _brpop_start(self, *args: Any, **kwargs: Any) -> None:
        # Not `can_consume`: that would delay a reply already on its way, with a message in it that no other worker
        # can see.
        if self.takes():
            super()._brpop_start(*args, **kwargs)  # type: ignore[misc]

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:  # type: ignore[attr-defined]
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class _CountsImages:
    """Limits images in flight instead of kombu's messages: a bulk message has any number of images.

    A message is taken while there is room for one image, so large messages are never left waiting.
    """

    prefetch_count: int
    _delivered: dict[str, Any]
    _dirty: set[str]

    def can_consume(self) -> bool:
        """Return whether another message may be taken."""
        in_hand = (message for tag, message in self._delivered.items() if tag not in self._dirty)
        return (
            not self.prefetch_count
            or sum(message.headers[IMAGES] for message in in_hand) < self.prefetch_count
        )
