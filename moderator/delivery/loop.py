"""Feed one consumer of the outbox with its due deliveries."""

import logging
import time
from collections.abc import Sequence
from threading import Lock

from moderator.backoff import exponential
from moderator.delivery.consumers import DeliveryConsumer
from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.errors import ConsumerUnavailable, DeliveryUnreadable, ModeratorError, ours
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.outbox import Delivery, Outbox

log = logging.getLogger(__name__)

#: Most seconds between two attempts of a delivery.
DELIVERY_DELAY_MAX_SECONDS = 6 * 3600.0
#: Seconds for which an unavailable consumer rests: at first, and at most.
REST_SECONDS, REST_MAX_SECONDS = 1.0, 30.0


class Settlement:
    """The outcomes of deliveries that were passed on together; see `consumers.Settle`.

    Args:
        deliveries: those passed on.
        attempts: attempts before a delivery becomes a dead letter.
        retry_delay: seconds before the second attempt; doubled each time.
    """

    def __init__(
        self,
        consumer: str,
        deliveries: Sequence[Delivery],
        outbox: Outbox,
        dead_letters: DeadLetters,
        metrics: DeliveryMetrics,
        attempts: int,
        retry_delay: float,
    ) -> None:
        self._consumer = consumer
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._attempts = attempts
        self._retry_delay = retry_delay
        self._unsettled = {delivery.key: delivery for delivery in deliveries}
        self._lock = Lock()

    def unsettled(self) -> list[Delivery]:
        """Return the deliveries that have no outcome yet."""
        with self._lock:
            return list(self._unsettled.values())

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Forget deliveries that arrived."""
        self._outbox.forget([delivery.key for delivery in deliveries])
        self._settle(deliveries, "delivered")

    def postpone(self, delivery: Delivery, delay: float, error: ModeratorError | None = None) -> None:
        """Repeat later a delivery that was not attempted."""
        if error is not None:
            self._metrics.count_failure(error)
        self.postpone_all([delivery], delay)

    def postpone_all(self, deliveries: Sequence[Delivery], delay: float) -> None:
        """Repeat later deliveries that were not attempted."""
        self._outbox.postpone(deliveries, delay, counts=False)
        self._settle(deliveries, None)

    def fail(self, delivery: Delivery, error: ModeratorError, after: float = 0.0) -> None:
        """Retry a failed delivery, or bury it."""
        what = f"{self._consumer}: {delivery.key}: {type(error).__name__}"
        self._metrics.count_failure(error)
        if error.transient and delivery.attempt < self._attempts:
            delay = after + exponential(delivery.attempt, self._retry_delay, DELIVERY_DELAY_MAX_SECONDS)
            log.info("%s; try %d in %.1f s", what, delivery.attempt + 1, delay)
            self._outbox.postpone([delivery], delay)
            self._settle([delivery], "failed")
        else:
            log.warning("%s; dead letter after %d tries: %s", what, delivery.attempt, error)
            self._dead_letters.bury_delivery(self._consumer, delivery, error)
            self._settle([delivery], "dead")

    def _settle(self, deliveries: Sequence[Delivery], result: str | None) -> None:
        with self._lock:
            for delivery in deliveries:
                self._unsettled.pop(delivery.key, None)
        if result is not None:
            self._metrics.count(self._consumer, result, len(deliveries))


class DeliveryLoop:
    """Takes deliveries from a consumer's outbox and passes them on. Other processes may do so at the same time.

    Args:
        consumer: receives the deliveries.
        outbox: of that consumer.
        dead_letters: destination of deliveries that fail for good.
        metrics: count deliveries.
        retry_delay: seconds before the second attempt of a delivery; doubled each time.
    """

    def __init__(
        self,
        consumer: DeliveryConsumer,
        outbox: Outbox,
        dead_letters: DeadLetters,
        metrics: DeliveryMetrics,
        retry_delay: float,
    ) -> None:
        self._consumer = consumer
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._retry_delay = retry_delay
        self._refusals = 0
        self._rest_until = 0.0
        self._stopping = False

    @property
    def name(self) -> str:
        """Return the consumer's name."""
        return self._consumer.name

    def drain(self) -> None:
        """Pass on due deliveries, until none is due, there is no room, the consumer must rest, or `stop` is called."""
        while not (self._stopping or self._resting()) and (room := self._consumer.room()) > 0:
            taken = self._outbox.take(room)
            if not taken:
                return
            deliveries = []
            for one in taken:
                if isinstance(one, DeliveryUnreadable):
                    self._bury_unreadable(one)
                else:
                    deliveries.append(one)
            new = [delivery for delivery in deliveries if delivery.attempt <= 1]
            again = ([delivery] for delivery in deliveries if delivery.attempt > 1)
            for batch in filter(None, (new, *again)):
                self._hand_over(batch)

    def stop(self) -> None:
        """Make `drain` end soon. Deliveries taken and not passed on go back."""
        self._stopping = True

    def close(self) -> None:
        """Finish the deliveries that the consumer has taken. Call it only when `drain` has ended."""
        self._consumer.close()

    def _resting(self) -> bool:
        return time.monotonic() < self._rest_until

    def _hand_over(self, batch: Sequence[Delivery]) -> None:
        settlement = Settlement(
            self.name,
            batch,
            self._outbox,
            self._dead_letters,
            self._metrics,
            self._consumer.attempts,
            self._retry_delay,
        )
        if self._stopping or self._resting():
            settlement.postpone_all(batch, max(0.0, self._rest_until - time.monotonic()))
            return
        try:
            self._consumer.deliver(batch, settlement)
        except ConsumerUnavailable as error:
            self._metrics.count_failure(error)
            self._refusals += 1
            rest = exponential(self._refusals, REST_SECONDS, REST_MAX_SECONDS)
            log.warning("%s: %s; tried again in %.1f s", self.name, error, rest)
            self._rest_until = time.monotonic() + rest
            settlement.postpone_all(settlement.unsettled(), rest)
        except Exception as error:  # third-party consumers raise anything
            for delivery in settlement.unsettled():
                settlement.fail(delivery, ours(error))
        else:
            self._refusals = 0

    def _bury_unreadable(self, error: DeliveryUnreadable) -> None:
        log.warning("%s", error)
        self._metrics.count_failure(error)
        key, url = (part.decode("utf-8", "replace") for part in (error.key, error.url))
        self._dead_letters.bury_delivery(self.name, Delivery(key, url, error.body, 0, 0.0), error, error.key)
        self._metrics.count(self.name, "dead", 1)
