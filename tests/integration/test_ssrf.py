"""URLs of strangers, through the real client, a real name server and a real web server, all on loopback.

To the guard nothing is special: loopback is refused, and the addresses of `PUBLIC` are public. They lead to the web
server only below it. `NoEscape` stands below that: a case that would reach anything else fails.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.delivery.loop import DeliveryLoop
from moderator.delivery.webhook_delivery import WebhookSender
from moderator.errors import (
    FetchRefused,
    ModeratorError,
)
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.fetching.http import GuardedClient
from moderator.fetching.urls import AllowedHosts
from moderator.images.decode import DecodedImage, decode
from moderator.queue import keys
from moderator.queue.delivery_log import DeliveryLog
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.outbox import Outbox
from moderator.settings import Settings
from tests.support.hostile_servers import NameServer, NoEscape, StubResolver, WebServer, lead_to
from tests.support.service import SECRET as WEBHOOK_SECRET
from tests.support.service import make_client
from tests.support.ssrf_cases import (
    BASE_NAMES,
    CASES,
    CHUNKED,
    IMAGES,
    LIMITS,
    MAX_BYTES,
    NAMES,
    OTHER,
    PNG,
    PUBLIC,
    SECRET,
    SIX,
    SPELLINGS,
    TRICKS,
    Case,
    ok,
    to,
)

NET = NoEscape()
TLS = ssl.create_default_context()  # made once: reading the authorities takes a while


@dataclass
class World:
    names: NameServer
    web: WebServer
    connections: list[str]

    def client(self, timeout: float = 20.0, hosts: AllowedHosts | None = None) -> GuardedClient:
        return GuardedClient(
            timeout=timeout, resolver=StubResolver(self.names.port), ssl_context=TLS, hosts=hosts
        )

    def fetch(self, case: Case, hosts: AllowedHosts | None = None) -> DecodedImage:
        """Set up the case, then fetch and decode as the worker does."""
        self.prepare(case)
        with self.client(case.timeout, hosts) as client:
            return decode(client.get(self.fill(case.url), MAX_BYTES), LIMITS)

    def prepare(self, case: Case) -> None:
        self.names.names.update(case.names)
        for path, page in case.pages.items():
            self.web.pages[path] = (
                page.replace(b"{port}", b"%d" % self.web.port) if isinstance(page, bytes) else page
            )

    def fill(self, url: str) -> str:
        return url.replace("{port}", str(self.web.port))


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[NameServer, WebServer]]:
    with NameServer() as names, WebServer() as web:
        yield names, web


@pytest.fixture
def world(servers: tuple[NameServer, WebServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    names, web = servers
    names.names = dict(BASE_NAMES)
    names.asked.clear()
    web.pages = {"/ok": ok()}
    web.heads.clear()
    connections: list[str] = []
    monkeypatch.setattr("socket.create_connection", lead_to(web.port, PUBLIC, connections))
    with NET.watching():
        yield World(names, web, connections)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.timeout(60)
def test_is_refused_with_its_error(world: World, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(ModeratorError, match=case.says or None) as caught:
        world.fetch(case)
    assert type(caught.value) is case.error
    assert tuple(world.connections) == case.connects
    assert len(world.web.heads) == len(case.connects)
    assert SECRET not in str(caught.value) + caplog.text


@pytest.mark.parametrize("case", [*SPELLINGS, *TRICKS, *NAMES], ids=lambda case: case.name)
def test_webhooks_are_refused_by_the_same_rules(world: World, case: Case) -> None:
    world.prepare(case)
    with (
        world.client(case.timeout) as client,
        pytest.raises(ModeratorError, match=case.says or None) as caught,
    ):
        client.post(world.fill(case.url), b"{}", {})
    assert type(caught.value) is case.error
    assert not world.connections


@pytest.mark.parametrize("host", ["2130706433", "0177.1", "0x7f.1", "127.1", "[::ffff:7f00:1]", "①②⑦.1", "0"])
def test_the_resolver_of_the_system_gains_nothing_by_spelling(world: World, host: str) -> None:
    with GuardedClient() as client, pytest.raises(FetchRefused, match="MODERATOR_FETCH_NETWORKS"):
        client.get(f"http://{host}:{world.web.port}/ok", MAX_BYTES)


def test_the_net_below_catches_what_the_guard_would_let_through(world: World) -> None:
    """The cases above could not fail if nothing noticed."""
    with (
        GuardedClient(timeout=5, resolver=lambda host, port: ["8.8.8.8"]) as client,
        pytest.raises(RuntimeError),
    ):
        client.get("http://leak.test/", MAX_BYTES)
    assert NET.escapes == ["socket.connect ('8.8.8.8', 80)"]
    NET.escapes.clear()


# --- what passes


def test_an_image_comes_through_redirects_among_public_hosts(world: World) -> None:
    pages = {"/a": to("//other.test/b"), "/b": to("http://six.test:8080/ok")}
    case = Case("", "http://images.test/a?b=%0d%0aX:%20y", pages=pages)
    assert world.fetch(case).format == "png"
    assert world.connections == [IMAGES, OTHER, SIX]
    lines = world.web.heads[0].split("\r\n")
    assert lines[0] == "GET /a?b=%0d%0aX:%20y HTTP/1.1"  # what is encoded stays encoded
    assert [line.partition(":")[0] for line in lines[1:-2]] == [
        "Host",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
    ]


def test_a_name_is_asked_once_for_a_connection(world: World) -> None:
    case = Case("", "http://evil.test/ok", names={"evil.test": [[IMAGES], ["127.0.0.1"]]})
    assert world.fetch(case).width == 8
    assert world.connections == [IMAGES]
    assert [name for name, _ in world.names.asked] == ["evil.test"] * 2  # A and AAAA


def test_interim_answers_cookies_and_surplus_bytes_leave_no_trace(world: World) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <http://127.0.0.1/>\r\n\r\n"
    kept = ok(PNG, "Set-Cookie: a=b; Domain=test; Path=/").replace(b"Connection: close\r\n", b"")
    case = Case(
        "",
        "http://images.test/a",
        pages={
            "/a": to("/b").replace(b"close", b"close\r\nSet-Cookie: c=d"),
            "/b": head + kept + ok(b"surplus"),
        },
    )
    assert world.fetch(case).format == "png"
    assert world.fetch(case).format == "png"
    assert len(world.web.heads) == 4
    assert not any("cookie" in head.lower() for head in world.web.heads)


def test_a_body_of_just_the_limit_passes(world: World) -> None:
    for page in (
        ok(PNG + bytes(MAX_BYTES - len(PNG))),
        CHUNKED + b"".join(b"1\r\n%c\r\n" % b for b in PNG) + b"0\r\n\r\n",
    ):
        assert world.fetch(Case("", "http://images.test/page", pages={"/page": page})).width == 8


# --- allow-lists of hosts


HOSTS = AllowedHosts(["images.test", "*.other.test"], "MODERATOR_FETCH_HOSTS")


@pytest.mark.parametrize(
    "case",
    [
        Case("another public host", "http://other.test/ok"),
        Case("a name that ends alike", "http://evilimages.test/ok", names={"evilimages.test": [[IMAGES]]}),
        Case("a name that begins alike", "http://images.test.evil/ok", names={"images.test.evil": [[IMAGES]]}),
        Case("its address", f"http://{IMAGES}/ok"),
        Case("redirected", "http://images.test/a", pages={"/a": to("//other.test/ok")}, connects=(IMAGES,)),
    ],
    ids=lambda case: case.name,
)  # fmt: skip
def test_hosts_that_are_not_listed_are_refused(world: World, case: Case) -> None:
    with pytest.raises(FetchRefused, match="MODERATOR_FETCH_HOSTS"):
        world.fetch(case, HOSTS)
    assert tuple(world.connections) == case.connects


def test_listed_hosts_pass_and_are_still_checked(world: World) -> None:
    names = {"a.other.test": [[OTHER], ["10.0.0.1"]]}
    case = Case("", "http://images.test/a", pages={"/a": to("//A.other.test./ok")}, names=names)
    assert world.fetch(case, HOSTS).format == "png"
    with pytest.raises(FetchRefused, match="MODERATOR_FETCH_NETWORKS"):
        world.fetch(case, HOSTS)


def test_settings_name_the_hosts_of_images_and_of_webhooks(
    world: World, server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        fetch_hosts="images.test",  # type: ignore[arg-type]
        webhook_hosts="*.hooks.test",  # type: ignore[arg-type]
        webhook_secret=WEBHOOK_SECRET,  # type: ignore[arg-type]
    )
    fetcher = Fetcher.from_settings(settings)
    for url in ("http://other.test/ok", "http://a.hooks.test/ok", "http://127.0.0.1/ok"):
        with pytest.raises(FetchRefused, match="MODERATOR_FETCH_HOSTS"):
            fetcher.fetch(ImageReference(url=url))
    client = make_client(server.url)
    sender = WebhookSender(settings, DisabledWebhooks(client.redis), DeliveryLog(client.redis, 10))
    metrics = DeliveryMetrics(CollectorRegistry(), (), lambda error: None)
    loop = DeliveryLoop(sender, Outbox(client.redis, sender.name), client.dead_letters, metrics, 2.0)
    for n, url in enumerate(("http://images.test/", "http://hooks.test/", f"http://{SECRET}@a.hooks.test/")):
        client.redis.hset(f"{keys.WEBHOOK_PREFIX}test:{n}", mapping={"url": url, "body": "{}"})
        client.redis.zadd(keys.WEBHOOKS, {f"test:{n}": 0})
    loop.drain()
    loop.close()  # waits for the deliveries that threads have taken
    assert caplog.text.count("MODERATOR_WEBHOOK_HOSTS") == 2
    assert caplog.text.count("credentials") == 1
    assert SECRET not in caplog.text
    assert not world.connections
