"""How deliveries are spread over hosts and threads. What is sent is tested with a real server."""

import base64
from collections.abc import Iterator
from threading import Event, Lock
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from moderator.errors import FetchFailed, HostUnavailable
from moderator.metrics import Metrics
from moderator.queue.webhooks import Delivery
from moderator.settings import Settings
from workers.webhooks import DELIVERIES, DELIVERIES_TO_A_HOST, WebhookSender

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


class Outbox:
    """The deliveries that are due, and what became of them."""

    def __init__(self) -> None:
        self.due: list[Delivery] = []
        self.made: list[str] = []
        self.postponed: list[tuple[str, float, bool]] = []
        self.lock = Lock()

    def take(self) -> Delivery | None:
        return self.due.pop(0) if self.due else None

    def done(self, delivery: Delivery) -> None:
        with self.lock:
            self.made.append(delivery.key)

    def later(self, delivery: Delivery, delay: float, *, counts: bool = True) -> None:
        with self.lock:
            self.postponed.append((delivery.key, delay, counts))


class Hosts:
    """Answers at once, but for hosts that are slow (until they are let go) or fail."""

    def __init__(self) -> None:
        self.go = Event()
        self.errors: dict[str, Exception] = {}
        self.lock = Lock()
        self.inside = 0

    def post(self, url: str, body: bytes, headers: Any) -> int:
        with self.lock:
            self.inside += 1
        if "slow" in url:
            assert self.go.wait(10)
        if url in self.errors:
            raise self.errors[url]
        return 200

    def close(self) -> None:
        pass


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def sender(outbox: Outbox, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookSender]:
    settings = Settings(webhook_secret=SECRET, host_patience=100.0, webhook_attempts=3)
    sender = WebhookSender(settings, outbox, [], Metrics(CollectorRegistry()))
    monkeypatch.setattr(sender, "_client", hosts)
    yield sender
    hosts.go.set()
    sender.close()


def delivery(key: str, host: str, age: float = 0.0) -> Delivery:
    return Delivery(key, f"http://{host}/hook", b"{}", 1, age)


def wait_for(count: int, done: list[Any]) -> None:
    for _ in range(1000):
        if len(done) == count:
            return
        Event().wait(0.01)
    raise AssertionError(f"{len(done)} of {count}")


def test_a_slow_host_does_not_hold_up_the_others(sender: WebhookSender, outbox: Outbox, hosts: Hosts) -> None:
    outbox.due = [delivery(f"s{n}", "slow") for n in range(20)] + [delivery("q", "quick")]
    sender.send_due()
    wait_for(1, outbox.made)
    assert outbox.made == ["q"]
    assert len(outbox.postponed) == 20 - DELIVERIES_TO_A_HOST
    assert {counts for _, _, counts in outbox.postponed} == {False}, "no try was made"
    hosts.go.set()
    wait_for(1 + DELIVERIES_TO_A_HOST, outbox.made)
    outbox.due = [delivery("s", "slow")]
    sender.send_due()
    wait_for(2 + DELIVERIES_TO_A_HOST, outbox.made)


def test_what_waits_long_is_looked_at_seldom(sender: WebhookSender, outbox: Outbox) -> None:
    ages = [0.0] * DELIVERIES_TO_A_HOST + [0.0, 20.0, 5000.0]
    outbox.due = [delivery(str(n), "slow", age) for n, age in enumerate(ages)]
    sender.send_due()
    assert [delay for _, delay, _ in outbox.postponed] == [0.5, 10.0, 30.0]


def test_deliveries_at_once_are_bounded(sender: WebhookSender, outbox: Outbox, hosts: Hosts) -> None:
    outbox.due = [delivery(str(n), f"slow{n}") for n in range(DELIVERIES + 5)]
    sender.send_due()
    assert len(outbox.due) == 5, "what cannot be made now is not taken"
    assert outbox.postponed == []


@pytest.mark.parametrize(("age", "delay", "counts"), [(50.0, 50.0, False), (100.0, 2.0, True)])
def test_a_host_that_is_left_alone_costs_no_try_for_a_while(
    sender: WebhookSender, outbox: Outbox, hosts: Hosts, age: float, delay: float, counts: bool
) -> None:
    hosts.errors["http://down/hook"] = HostUnavailable("down", 30.0)
    outbox.due = [delivery("d", "down", age)]
    sender.send_due()
    wait_for(1, outbox.postponed)
    # With jitter, which takes a quarter at most.
    assert outbox.postponed == [("d", pytest.approx(delay * 0.875, rel=1 / 7), counts)]


def test_an_error_nobody_foresaw_gives_the_place_back(
    sender: WebhookSender, outbox: Outbox, hosts: Hosts
) -> None:
    hosts.errors["http://odd/hook"] = RuntimeError("?")
    for _ in range(3):
        outbox.due = [delivery("o", "odd") for _ in range(DELIVERIES_TO_A_HOST)]
        before = hosts.inside
        sender.send_due()
        for _ in range(1000):
            if hosts.inside == before + DELIVERIES_TO_A_HOST and sender._busy.total() == 0:
                break
            Event().wait(0.01)
    assert hosts.inside == 3 * DELIVERIES_TO_A_HOST
    hosts.errors["http://odd/hook"] = FetchFailed("503")
    outbox.due = [delivery("o", "odd")]
    sender.send_due()
    wait_for(1, outbox.postponed)
