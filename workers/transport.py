"""Celery's connection to Redis: robust against two failures, faster, and limited by images instead of messages.

List elements of any kind: kombu and Celery raise inside their event loop on many that they cannot read, which kills
the whole consumer. They get a canonical message instead, which is always readable.

An unavailable server: Celery waits longer after each attempt, up to half a minute. A worker that idles for half a
minute after Redis is back causes a backlog, so this one retries often.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any
from uuid import uuid4

from celery.app.amqp import AMQP
from kombu import Connection
from kombu.asynchronous import get_event_loop
from kombu.transport.virtual import QoS as VirtualQoS
from pydantic_core import to_json

from moderator.queue.message import IMAGES, make_canonical

log = logging.getLogger(__name__)

#: Most seconds for which an acknowledgement waits for something else that goes to the server.
ACK_DELAY_SECONDS = 0.05

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
            qos = type("ImagesQoS", (_CountsImages, _GathersAcks, transport.Channel.QoS), {})
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


class _GathersAcks:
    """Mixin for kombu's record of messages in flight: sends acknowledgements with the next message that is recorded.

    Under load that saves one of two round trips per message in the event loop, and as many waits for the interpreter.
    An acknowledgement that gets lost changes nothing: the message is redelivered later, and its event has its verdict.
    Messages are recorded with a faster JSON writer than kombu's, since they may contain images.
    """

    channel: Any
    unacked_key: str
    unacked_index_key: str
    _dirty: set[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent: list[str] = []

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record a message as in flight, like kombu's method."""
        place = message.delivery_info
        recorded = to_json([message._raw, place["exchange"], place["routing_key"]])
        with self.pipe_or_acquire() as commands:
            commands.zadd(self.unacked_index_key, {delivery_tag: time.time()})
            commands.hset(self.unacked_key, delivery_tag, recorded).execute()
        VirtualQoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, at the server soon after."""
        # Between a lost connection and the next one there is no loop: `restore_unacked_once` sends what is left.
        if not self._unsent and (loop := get_event_loop()) is not None:
            loop.call_later(ACK_DELAY_SECONDS, self.send_acks)
        self._unsent.append(delivery_tag)
        self._dirty.add(delivery_tag)

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """Yield a pipeline like kombu's method; the pending acknowledgements are in a new one."""
        with super().pipe_or_acquire(pipe, client) as commands:  # type: ignore[misc]
            tags = [] if pipe else self._unsent.copy()
            if tags:
                commands.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags)
            yield commands
        del self._unsent[: len(tags)]

    def send_acks(self) -> None:
        """Send the pending acknowledgements, if any are left."""
        if self._unsent:
            with self.pipe_or_acquire() as commands:
                commands.execute()

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Send the pending acknowledgements, then give back the messages without one, like kombu's method."""
        try:
            self.send_acks()
        except self.channel.connection_errors as error:
            log.debug("%d acknowledgements are not sent: %s", len(self._unsent), error)
            self._unsent.clear()
        super().restore_unacked_once(stderr)  # type: ignore[misc]


class _CountsImages:
    """Limits images in flight instead of kombu's messages: a bulk message has any number of images.

    A message is taken while there is room for one image, so large messages are never left waiting.
    """

    prefetch_count: int
    _delivered: dict[str, Any]

    def can_consume(self) -> bool:
        """Return whether another message may be taken."""
        self._flush()  # type: ignore[attr-defined]
        return (
            not self.prefetch_count
            or sum(message.headers[IMAGES] for message in self._delivered.values()) < self.prefetch_count
        )
