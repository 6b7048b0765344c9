"""What the loop does with what a consumer says of deliveries, or does not say. The outbox is tested with Redis."""

from collections.abc import Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from moderator.delivery import loop as loop_module
from moderator.delivery.consumers import Settle
from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.delivery.loop import DeliveryLoop
from moderator.errors import ConsumerUnavailable, DeliveryUnreadable, FetchFailed, ModeratorError, NotAnImage
from moderator.queue.outbox import Delivery
from tests.support.consumer_contract import delivery

Deliver = Callable[[Sequence[Delivery], Settle], None]


class Consumer:
    name = "archive"
    wants_evidence = True
    attempts = 3

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.answer: Deliver = lambda deliveries, settle: settle.done(deliveries)
        self.free = 100

    def room(self) -> int:
        return self.free

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        self.batches.append([one.key for one in deliveries])
        self.answer(deliveries, settle)

    def close(self) -> None:
        pass


class Outbox:
    def __init__(self) -> None:
        self.due: list[Delivery | DeliveryUnreadable] = []
        self.forgotten: list[list[str | bytes]] = []
        self.postponed: list[tuple[list[str], float, bool]] = []

    def take(self, most: int) -> list[Delivery | DeliveryUnreadable]:
        taken, self.due = self.due[:most], self.due[most:]
        return taken

    def forget(self, keys: Sequence[str | bytes]) -> None:
        self.forgotten.append(list(keys))

    def postpone(self, deliveries: Sequence[Delivery], delay: float, *, counts: bool = True) -> None:
        if deliveries:
            self.postponed.append(([one.key for one in deliveries], delay, counts))


class Letters:
    def __init__(self) -> None:
        self.buried: list[tuple[str, str, str]] = []
        self.members: list[bytes | None] = []

    def bury_delivery(
        self, consumer: str, delivery: Delivery, error: ModeratorError, member: bytes | None = None
    ) -> None:
        self.buried.append((consumer, delivery.key, type(error).__name__))
        self.members.append(member)


class World:
    """A loop, and all around it."""

    def __init__(self) -> None:
        self.consumer, self.outbox, self.letters = Consumer(), Outbox(), Letters()
        self.registry = CollectorRegistry()
        self.failures: list[str] = []
        metrics = DeliveryMetrics(
            self.registry, ["archive"], lambda error: self.failures.append(type(error).__name__)
        )
        self.loop = DeliveryLoop(self.consumer, self.outbox, self.letters, metrics, 2.0)  # type: ignore[arg-type]

    def counted(self, result: str) -> float | None:
        labels = {"consumer": "archive", "result": result}
        return self.registry.get_sample_value("moderation_deliveries_total", labels)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("moderator.backoff.random.uniform", lambda low, high: high)
    return World()


def raises(error: Exception) -> Deliver:
    def deliver(deliveries: Sequence[Delivery], settle: Settle) -> None:
        raise error

    return deliver


def key(number: int) -> str:
    return delivery(number).key


def test_many_are_taken_handed_over_and_confirmed_together(world: World) -> None:
    world.consumer.free = 4
    world.outbox.due = [delivery(n) for n in range(10)]
    world.loop.drain()
    assert [len(batch) for batch in world.consumer.batches] == [4, 4, 2]
    assert [len(keys) for keys in world.outbox.forgotten] == [4, 4, 2]
    assert world.counted("delivered") == 10


def test_without_room_nothing_is_taken(world: World) -> None:
    world.consumer.free = 0
    world.outbox.due = [delivery(0)]
    world.loop.drain()
    assert len(world.outbox.due) == 1


def test_what_was_tried_before_comes_alone(world: World) -> None:
    """So that one that fails its consumer each time fails no others with it."""
    world.outbox.due = [delivery(0), delivery(1, attempt=2), delivery(2), delivery(3, attempt=3)]
    world.loop.drain()
    assert world.consumer.batches == [[key(0), key(2)], [key(1)], [key(3)]]


def test_a_consumer_that_can_take_nothing_costs_no_try_and_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now)
    world.consumer.answer = raises(ConsumerUnavailable("the database is away"))
    world.outbox.due = [delivery(0), delivery(1), delivery(2, attempt=2)]
    world.loop.drain()
    assert world.consumer.batches == [[key(0), key(1)]], "nor is the next one tried"
    assert world.outbox.postponed == [([key(0), key(1)], 1.0, False), ([key(2)], 1.0, False)]
    assert world.failures == ["ConsumerUnavailable"]
    world.outbox.due = [delivery(0)]
    world.loop.drain()
    assert len(world.outbox.due) == 1, "it rests"
    for rest in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        now += 31
        world.outbox.due = [delivery(0)]
        world.loop.drain()
        assert world.outbox.postponed[-1] == ([key(0)], rest, False)
    now += 31
    world.consumer.answer = lambda deliveries, settle: settle.done(deliveries)
    world.outbox.due = [delivery(0)]
    world.loop.drain()
    assert world.counted("delivered") == 1
    assert world.letters.buried == []


@pytest.mark.parametrize(
    ("error", "attempt", "delay"),
    [
        (FetchFailed("503"), 1, 2.0),
        (FetchFailed("503"), 2, 4.0),
        (RuntimeError("a bug"), 1, 2.0),
        (FetchFailed("503"), 3, None),
        (NotAnImage("never"), 1, None),
        (RuntimeError("a bug"), 3, None),
    ],
)
def test_an_error_is_every_unsettled_deliverys(
    world: World, error: Exception, attempt: int, delay: float | None
) -> None:
    def deliver(deliveries: Sequence[Delivery], settle: Settle) -> None:
        settle.done(deliveries[:1] if attempt == 1 else [])
        raise error

    world.consumer.answer = deliver
    world.outbox.due = [delivery(0, attempt), delivery(1, attempt)]
    world.loop.drain()
    failed = [key(1)] if attempt == 1 else [key(0), key(1)]
    if delay is None:
        assert [buried for _, buried, _ in world.letters.buried] == failed
        assert world.outbox.postponed == []
        assert world.counted("dead") == len(failed)
    else:
        assert world.outbox.postponed == [([one], delay, True) for one in failed]
        assert world.letters.buried == []
        assert world.counted("failed") == len(failed)
    assert len(world.failures) == len(failed)


def test_one_of_many_fails_alone(world: World) -> None:
    def deliver(deliveries: Sequence[Delivery], settle: Settle) -> None:
        settle.done([deliveries[0], deliveries[2]])
        settle.fail(deliveries[1], FetchFailed("503"), after=10.0)

    world.consumer.answer = deliver
    world.outbox.due = [delivery(n) for n in range(3)]
    world.loop.drain()
    assert world.outbox.forgotten == [[key(0), key(2)]]
    assert world.outbox.postponed == [([key(1)], 12.0, True)]


def test_what_cannot_be_read_is_buried_and_the_rest_goes_on(world: World) -> None:
    world.outbox.due = [DeliveryUnreadable(b"bad"), delivery(0)]
    world.loop.drain()
    assert world.letters.buried == [("archive", "bad", "DeliveryUnreadable")]
    assert (world.letters.members, world.outbox.forgotten) == ([b"bad"], [[key(0)]])


def test_a_stop_gives_back_what_was_not_handed_over(world: World) -> None:
    def deliver(deliveries: Sequence[Delivery], settle: Settle) -> None:
        world.loop.stop()
        settle.done(deliveries)

    world.consumer.answer = deliver
    world.outbox.due = [delivery(0), delivery(1, attempt=2), delivery(2)] + [
        delivery(n) for n in range(3, 300)
    ]
    world.loop.drain()
    assert len(world.consumer.batches) == 1
    assert world.outbox.postponed == [([key(1)], 0.0, False)]
    assert len(world.outbox.due) == 200
