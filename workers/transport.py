"""Celery's connection to Redis, made to live through two things that would stop it for long or for good, quick, and
to count images where Celery counts messages.

A list element that is no Celery message: somebody pushes a bare JSON object onto the queue, or anything else. kombu
raises in the middle of its event loop, and the whole consumer dies of it. Here such an element is handed to
`refuse`, and the next one is taken.

A server that is away: Celery waits longer after each try, up to half a minute. A worker that is idle for half a
minute after Redis is back is a backlog, so it tries often.
"""

import json
from collections.abc import Callable
from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection

from moderator.queue.message import IMAGES

#: Seconds between two tries to connect: what the first pause is, what each adds, and the longest.
RECONNECT_START, RECONNECT_STEP, RECONNECT_MAX = 0.2, 0.3, 2.0

Refuse = Callable[[Any], None]


def tolerant_amqp(refuse: Refuse, takes: Callable[[], bool] = lambda: True) -> type:
    """What a Celery app makes its connections with; for its argument `amqp`.

    Args:
        refuse: takes an element that is no Celery message; called in the consumer's thread.
        takes: whether messages are to be taken now; asked each time that Redis is about to be asked for one.
    """

    class TolerantConnection(Connection):  # type: ignore[misc]
        def get_transport_cls(self) -> type:
            transport = super().get_transport_cls()
            qos = type("ImagesQoS", (_CountsImages, transport.Channel.QoS), {})
            channel = type(
                "ThriftyChannel", (_Thrifty, transport.Channel), {"QoS": qos, "takes": staticmethod(takes)}
            )
            return type(
                "TolerantTransport",
                (_Tolerant, transport),
                {"refuse": staticmethod(refuse), "Channel": channel},
            )

        def ensure_connection(
            self, errback: Any = None, max_retries: int | None = None, **options: Any
        ) -> Connection:
            pauses = {
                "interval_start": RECONNECT_START,
                "interval_step": RECONNECT_STEP,
                "interval_max": RECONNECT_MAX,
            }
            return super().ensure_connection(errback, max_retries, **{**pauses, **options})

    return type("TolerantAMQP", (AMQP,), {"Connection": TolerantConnection})


class _Tolerant:
    """Over one of kombu's Redis transports."""

    refuse: Refuse

    def on_readable(self, fileno: int) -> None:
        try:
            super().on_readable(fileno)  # type: ignore[misc]
        except json.JSONDecodeError as error:
            self.refuse(error.doc)
        except UnicodeDecodeError as error:
            self.refuse(repr(error.object))

    def _deliver(self, message: Any, queue: str) -> None:
        if _is_message(message):
            super()._deliver(message, queue)  # type: ignore[misc]
        else:
            self.refuse(message)


class _Thrifty:
    """Over one of kombu's Redis channels: keeps its client, and takes nothing while it is not to.

    kombu makes a new one for every message taken and acknowledged, which costs more than all else that its
    event loop does. A client is no connection: those are in the pool, and threads share both.
    """

    _kept: Any = None
    takes: Callable[[], bool]

    def _brpop_start(self, *args: Any, **kwargs: Any) -> None:
        # Not `can_consume`, with which a reply that is on its way would wait, with a message in it that nobody else
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
    """Over kombu's note of the messages in hand: its limit is one of images, as a bulk message has any number of them.

    A message is taken while there is room for one image, so one with more is never left alone.
    """

    prefetch_count: int
    _delivered: dict[str, Any]
    _dirty: set[str]

    def can_consume(self) -> bool:
        """Whether another message may be taken."""
        in_hand = (message for tag, message in self._delivered.items() if tag not in self._dirty)
        return not self.prefetch_count or sum(map(_images, in_hand)) < self.prefetch_count


def _images(message: Any) -> int:
    """How many images a message says that it has; 1 where others than our clients wrote it."""
    count = message.headers.get(IMAGES)
    return max(1, count) if isinstance(count, int) else 1


def _is_message(message: Any) -> bool:
    """Whether kombu can take it apart; what is inside is looked at later."""
    if not isinstance(message, dict) or not isinstance(message.get("body"), str):
        return False
    properties = message.get("properties")
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), dict)
        and isinstance(message.get("headers", {}), dict)
    )
