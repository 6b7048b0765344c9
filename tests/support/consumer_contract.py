"""What every consumer of the outbox keeps to. The tests of one derive from `ConsumerContract`."""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

import pytest

from moderator.delivery.consumers import DeliveryConsumer
from moderator.errors import ModeratorError
from moderator.queue.outbox import Delivery


def delivery(number: int, attempt: int = 1) -> Delivery:
    body = b'{"n": %d, "decision": "allow", "created_at": "2026-01-01T00:00:00Z"}' % number
    return Delivery(f"moderator:{number}#abc", f"http://host{number}/", body, attempt, 0.0)


class Settled:
    """Notes what became of deliveries."""

    def __init__(self) -> None:
        self.results: list[tuple[str, str]] = []
        self._lock = Lock()

    def _note(self, deliveries: Sequence[Delivery], result: str) -> None:
        with self._lock:
            self.results += [(delivery.key, result) for delivery in deliveries]

    def done(self, deliveries: Sequence[Delivery]) -> None:
        self._note(deliveries, "done")

    def postpone(self, delivery: Delivery, delay: float, error: ModeratorError | None = None) -> None:
        self._note([delivery], "postponed")

    def fail(self, delivery: Delivery, error: ModeratorError, after: float = 0.0) -> None:
        self._note([delivery], "failed")


class ConsumerContract:
    """Give a fixture `consumer`, and `arrived`: what its receiver has by now, as often as it counts there."""

    @pytest.fixture
    def settled(self) -> Settled:
        return Settled()

    def test_its_name_can_stand_in_the_settings(self, consumer: DeliveryConsumer) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,31}", consumer.name)
        assert consumer.attempts >= 1

    def test_each_delivery_is_settled_once(self, consumer: DeliveryConsumer, settled: Settled) -> None:
        count = min(8, consumer.room())
        consumer.deliver([delivery(n) for n in range(count)], settled)
        consumer.close()
        assert Counter(key for key, _ in settled.results) == Counter(
            f"moderator:{n}#abc" for n in range(count)
        )
        assert {result for _, result in settled.results} == {"done"}

    def test_it_has_room_again_when_it_is_through(self, consumer: DeliveryConsumer, settled: Settled) -> None:
        room = consumer.room()
        assert room > 0
        for _ in range(3):
            consumer.deliver([delivery(n) for n in range(3)], settled)
        deadline = time.monotonic() + 10
        while consumer.room() < room and time.monotonic() < deadline:
            time.sleep(0.01)
        assert consumer.room() == room
        consumer.close()

    def test_a_repeat_changes_nothing(
        self, consumer: DeliveryConsumer, settled: Settled, arrived: Callable[[], Counter[str]]
    ) -> None:
        """As after a crash between the delivery and its settlement."""
        consumer.deliver([delivery(0), delivery(1)], settled)
        consumer.deliver([delivery(1, attempt=2)], settled)
        consumer.close()
        assert arrived() == {"moderator:0#abc": 1, "moderator:1#abc": 1}
