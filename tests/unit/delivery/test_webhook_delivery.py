"""How deliveries are spread over hosts and threads. What is sent is tested with a real server."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from threading import Event, Lock
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook

from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.delivery.loop import DeliveryLoop
from moderator.delivery.webhook_delivery import DELIVERIES, DELIVERIES_TO_A_HOST, WebhookSender
from moderator.errors import DeliveryUnreadable, FetchFailed, HostUnavailable, ModeratorError, SettingsError
from moderator.fetching.http import PostAnswer
from moderator.queue.delivery_log import DeliveryAttempt
from moderator.queue.outbox import Delivery
from moderator.settings import Settings
from tests.support.consumer_contract import ConsumerContract

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"the one before 0123456789").decode()


class Outbox:
    """The deliveries that are due, and what became of them."""

    def __init__(self) -> None:
        self.due: list[Delivery | DeliveryUnreadable] = []
        self.made: list[str] = []
        self.postponed: list[tuple[str, float, bool]] = []
        self.disabled: list[str] = []
        self.logged: list[DeliveryAttempt] = []
        self.lock = Lock()

    def take(self, most: int) -> list[Delivery | DeliveryUnreadable]:
        taken, self.due = self.due[:most], self.due[most:]
        return taken

    def forget(self, keys: Sequence[str | bytes]) -> None:
        with self.lock:
            self.made += [key for key in keys if isinstance(key, str)]

    def postpone(self, deliveries: Sequence[Delivery], delay: float, *, counts: bool = True) -> None:
        with self.lock:
            self.postponed += [(delivery.key, delay, counts) for delivery in deliveries]

    # As `DisabledWebhooks` and `DeliveryLog`.

    def among(self, urls: Sequence[str]) -> set[str]:
        return set(urls) & set(self.disabled)

    def add(self, what: str | DeliveryAttempt) -> None:
        if isinstance(what, str):
            self.disabled.append(what)
        else:
            self.logged.append(what)


class Hosts:
    """Answers at once, but for hosts that are slow (until they are let go) or fail."""

    def __init__(self) -> None:
        self.go = Event()
        self.errors: dict[str, Exception] = {}
        self.answers: dict[str, PostAnswer] = {}
        self.headers: list[Any] = []
        self.lock = Lock()
        self.inside = 0

    def post(self, url: str, body: bytes, headers: Any) -> PostAnswer:
        with self.lock:
            self.inside += 1
            self.headers.append(headers)
        if "slow" in url:
            assert self.go.wait(10)
        if url in self.errors:
            raise self.errors[url]
        return self.answers.get(url, PostAnswer(200))

    def close(self) -> None:
        pass


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


class Letters:
    """What was buried, and why."""

    def __init__(self) -> None:
        self.buried: list[tuple[str, ModeratorError]] = []
        self.unreadable: list[bytes] = []

    def bury_delivery(
        self, consumer: str, delivery: Delivery, error: ModeratorError, member: bytes | None = None
    ) -> None:
        self.buried.append((delivery.key, error))
        self.unreadable += [] if member is None else [member]


@pytest.fixture
def letters() -> Letters:
    return Letters()


def make_loop(sender: WebhookSender, outbox: Outbox, letters: Letters) -> DeliveryLoop:
    metrics = DeliveryMetrics(CollectorRegistry(), (), lambda error: None)
    return DeliveryLoop(sender, outbox, letters, metrics, retry_delay=2.0)  # type: ignore[arg-type]


@pytest.fixture
def sender(outbox: Outbox, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookSender]:
    settings = Settings(webhook_secret=f"{SECRET} {OLD_SECRET}", host_patience=100.0, webhook_attempts=3)
    sender = WebhookSender(settings, outbox, outbox)  # type: ignore[arg-type]
    monkeypatch.setattr("moderator.backoff.random.uniform", lambda low, high: low)
    monkeypatch.setattr(sender._poster, "_client", hosts)
    yield sender
    hosts.go.set()
    sender.close()


@pytest.fixture
def loop(sender: WebhookSender, outbox: Outbox, letters: Letters) -> DeliveryLoop:
    return make_loop(sender, outbox, letters)


def delivery(key: str, host: str, age: float = 0.0, attempt: int = 1) -> Delivery:
    return Delivery(key, f"http://{host}/hook", b"{}", attempt, age)


def wait_for(count: int, done: list[Any]) -> None:
    for _ in range(1000):
        if len(done) == count:
            return
        Event().wait(0.01)
    raise AssertionError(f"{len(done)} of {count}")


def test_a_slow_host_does_not_hold_up_the_others(loop: DeliveryLoop, outbox: Outbox, hosts: Hosts) -> None:
    outbox.due = [delivery(f"s{n}", "slow") for n in range(20)] + [delivery("q", "quick")]
    loop.drain()
    wait_for(1, outbox.made)
    assert outbox.made == ["q"]
    assert len(outbox.postponed) == 20 - DELIVERIES_TO_A_HOST
    assert {counts for _, _, counts in outbox.postponed} == {False}, "no try was made"
    hosts.go.set()
    wait_for(1 + DELIVERIES_TO_A_HOST, outbox.made)
    outbox.due = [delivery("s", "slow")]
    loop.drain()
    wait_for(2 + DELIVERIES_TO_A_HOST, outbox.made)


def test_what_waits_long_is_looked_at_seldom(loop: DeliveryLoop, outbox: Outbox) -> None:
    ages = [0.0] * DELIVERIES_TO_A_HOST + [0.0, 20.0, 5000.0]
    outbox.due = [delivery(str(n), "slow", age) for n, age in enumerate(ages)]
    loop.drain()
    assert [delay for _, delay, _ in outbox.postponed] == [0.5, 10.0, 30.0]


def test_deliveries_at_once_are_bounded(loop: DeliveryLoop, outbox: Outbox, hosts: Hosts) -> None:
    outbox.due = [delivery(str(n), f"slow{n}") for n in range(DELIVERIES + 5)]
    loop.drain()
    assert len(outbox.due) == 5, "what cannot be made now is not taken"
    assert outbox.postponed == []


@pytest.mark.parametrize(("age", "delay", "counts"), [(50.0, 50.0, False), (100.0, 2.0, True)])
def test_a_host_that_is_left_alone_costs_no_try_for_a_while(
    loop: DeliveryLoop, outbox: Outbox, hosts: Hosts, age: float, delay: float, counts: bool
) -> None:
    hosts.errors["http://down/hook"] = HostUnavailable("down", 30.0)
    outbox.due = [delivery("d", "down", age)]
    loop.drain()
    wait_for(1, outbox.postponed)
    # With jitter, which takes a quarter at most.
    assert outbox.postponed == [("d", pytest.approx(delay * 0.875, rel=1 / 7), counts)]


def test_an_error_nobody_foresaw_gives_the_place_back(
    loop: DeliveryLoop, sender: WebhookSender, outbox: Outbox, hosts: Hosts
) -> None:
    hosts.errors["http://odd/hook"] = RuntimeError("?")
    for _ in range(3):
        outbox.due = [delivery("o", "odd") for _ in range(DELIVERIES_TO_A_HOST)]
        before = hosts.inside
        loop.drain()
        for _ in range(1000):
            if hosts.inside == before + DELIVERIES_TO_A_HOST and sender._busy.total() == 0:
                break
            Event().wait(0.01)
    assert hosts.inside == 3 * DELIVERIES_TO_A_HOST
    hosts.errors["http://odd/hook"] = FetchFailed("503")
    outbox.due = [delivery("o", "odd")]
    loop.drain()
    wait_for(1, outbox.postponed)


def test_each_secret_signs(loop: DeliveryLoop, outbox: Outbox, hosts: Hosts) -> None:
    outbox.due = [delivery("a", "quick")]
    loop.drain()
    wait_for(1, outbox.made)
    (headers,) = hosts.headers
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify("{}", headers) == {}
    with pytest.raises(Exception, match="No matching signature"):
        Webhook("whsec_" + base64.b64encode(b"another").decode()).verify("{}", headers)


@pytest.mark.parametrize(
    "secret", ["", " ", "whsec_", f"{SECRET} whsec_", f"{SECRET} whsec_no!", f"{SECRET},{OLD_SECRET}"]
)
def test_a_secret_that_is_none_is_refused(outbox: Outbox, secret: str) -> None:
    with pytest.raises(SettingsError, match="MODERATOR_WEBHOOK_SECRET") as refused:
        WebhookSender(Settings(webhook_secret=secret), outbox, outbox)  # type: ignore[arg-type]
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_final(
    loop: DeliveryLoop, outbox: Outbox, hosts: Hosts, letters: Letters, status: int
) -> None:
    hosts.answers["http://moved/hook"] = PostAnswer(status)
    outbox.due = [delivery("m", "moved")]
    loop.drain()
    wait_for(1, letters.buried)
    ((key, error),) = letters.buried
    assert (key, type(error).__name__, str(status) in str(error)) == ("m", "WebhookRedirected", True)
    assert outbox.postponed == []


def test_what_is_gone_is_final_and_disables_its_address(
    loop: DeliveryLoop, outbox: Outbox, hosts: Hosts, letters: Letters
) -> None:
    hosts.answers["http://gone/hook"] = PostAnswer(410, 60.0)
    outbox.due = [delivery("g", "gone")]
    loop.drain()
    wait_for(1, letters.buried)
    assert outbox.disabled == ["http://gone/hook"]
    outbox.due = [delivery("h", "gone")]
    loop.drain()
    wait_for(2, letters.buried)
    assert hosts.inside == 1, "a disabled one is not asked"
    assert [(key, type(error).__name__) for key, error in letters.buried] == [
        ("g", "WebhookDisabled"),
        ("h", "WebhookDisabled"),
    ]
    assert all("moderator webhooks enable" in str(error) for _, error in letters.buried)
    assert outbox.postponed == []


@pytest.mark.parametrize(
    ("status", "retry_after", "attempt", "delay"),
    [
        (500, 0.0, 1, 1.5),
        (500, 0.0, 2, 3.0),
        (500, 60.0, 1, 1.5),
        (429, 60.0, 1, 61.5),
        (503, 60.0, 2, 63.0),
        (429, 1e6, 1, 21601.5),
    ],
)
def test_tries_are_spread_and_wait_as_long_as_is_asked_for(
    loop: DeliveryLoop,
    outbox: Outbox,
    hosts: Hosts,
    status: int,
    retry_after: float,
    attempt: int,
    delay: float,
) -> None:
    hosts.answers["http://busy/hook"] = PostAnswer(status, retry_after)
    outbox.due = [delivery("b", "busy", attempt=attempt)]
    loop.drain()
    wait_for(1, outbox.postponed)
    assert outbox.postponed == [("b", delay, True)]


def test_tries_that_failed_together_do_not_come_back_together(
    outbox: Outbox, hosts: Hosts, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(webhook_secret=SECRET)
    sender = WebhookSender(settings, outbox, outbox)  # type: ignore[arg-type]
    loop = make_loop(sender, outbox, letters)
    monkeypatch.setattr(sender._poster, "_client", hosts)
    hosts.answers = {f"http://down{n}/hook": PostAnswer(500) for n in range(10)}
    outbox.due = [delivery(str(n), f"down{n}", attempt=4) for n in range(10)]
    loop.drain()
    wait_for(10, outbox.postponed)
    delays = {delay for _, delay, _ in outbox.postponed}
    assert len(delays) > 5
    assert all(12 <= delay <= 16 for delay in delays)
    sender.close()


def test_a_record_that_cannot_be_read_is_buried_and_the_rest_goes_on(
    loop: DeliveryLoop, outbox: Outbox, letters: Letters
) -> None:
    outbox.due = [DeliveryUnreadable(b"bad\xff", b"http://x/", b"\xff"), delivery("a", "quick")]
    loop.drain()
    wait_for(1, outbox.made)
    assert outbox.made == ["a"]
    assert [(key, type(error).__name__) for key, error in letters.buried] == [
        ("bad\ufffd", "DeliveryUnreadable")
    ]
    assert letters.unreadable == [b"bad\xff"]


def test_each_attempt_is_logged_without_secrets(
    loop: DeliveryLoop, outbox: Outbox, hosts: Hosts, sender: WebhookSender
) -> None:
    hosts.answers["http://bad/hook"] = PostAnswer(500)
    hosts.errors["http://away/hook?key=s3cret"] = FetchFailed("http://away cannot be reached")
    hosts.errors["http://alone/hook"] = HostUnavailable("alone", 30.0)
    outbox.due = [
        delivery("moderator:a#1", "quick"),
        delivery("moderator:b#1", "bad", attempt=2),
        Delivery("moderator:c#1", "http://away/hook?key=s3cret", b'{"revises":{}}', 1, 0.0),
        delivery("moderator:d#1", "alone"),
    ]
    loop.drain()
    wait_for(3, outbox.logged)
    sender.close()
    logged = {one.event: one for one in outbox.logged}
    assert {event: (one.attempt, one.status, one.error) for event, one in logged.items()} == {
        "moderator:a": (1, 200, None),
        "moderator:b": (2, 500, "WebhookFailed: the webhook answered 500"),
        "moderator:c": (1, None, "FetchFailed: http://away cannot be reached"),
    }, "a host that is left alone was not asked"
    assert logged["moderator:c"].target == "http://away/hook"
    assert "s3cret" not in "".join(one.model_dump_json() for one in outbox.logged)
    assert logged["moderator:a"].message in {headers["webhook-id"] for headers in hosts.headers}


class TestWebhooks(ConsumerContract):
    @pytest.fixture
    def consumer(self, sender: WebhookSender) -> WebhookSender:
        return sender

    @pytest.fixture
    def arrived(self, hosts: Hosts) -> Callable[[], Counter[str]]:
        """A receiver knows a repeat by its id."""

        def read() -> Counter[str]:
            ids = {headers["webhook-id"] for headers in hosts.headers}
            keys = [f"moderator:{n}#abc" for n in range(2)]
            return Counter(
                key for key in keys if "msg_" + sha256(key.encode()).hexdigest()[:32] in ids and len(ids) == 2
            )

        return read
