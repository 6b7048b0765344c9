"""The client against a real server on loopback, which only `networks` makes reachable."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote, unquote

import httpcore2
import pytest
from pydantic import SecretStr

from moderator.errors import FetchFailed, FetchRefused, ImageNotFound, ImageTooLarge, ModeratorError
from moderator.fetching.http import GuardedClient, PostAnswer
from moderator.fetching.shared_access import SharedAccess
from tests.support.tools import needs

LOOPBACK = [ip_network("127.0.0.0/8")]
SECRET = "hunter2"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        path, _, query = self.path.partition("?")
        if path == "/ok":
            self.reply(200, b"image")
        elif path == "/big":
            self.reply(200, b"x" * 1000)
        elif path == "/claims":
            self.reply(200, Content_Length=str(10**12))
            self.close_connection = True
        elif path == "/chunked":
            self.reply(200, b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", Transfer_Encoding="chunked")
        elif path == "/status":
            self.reply(int(query))
        elif path == "/encoded":
            self.reply(200, b"x", Content_Encoding=query)
        elif path == "/to":
            self.reply(302, Location=query)
        elif path.startswith("/away/"):
            self.reply(302, Location="/away/again")
        elif path == "/loop":
            self.reply(307, Location="/loop")
        elif path == "/hops":
            self.reply(302, Location=f"/hops?{int(query) - 1}" if int(query) > 1 else "/ok")
        elif path == "/close":
            self.reply(302, Location="/ok", Connection="close")
            self.close_connection = True
        elif path == "/short":
            self.reply(200, b"x", Content_Length="10")
            self.close_connection = True
        elif path == "/garbage":
            self.wfile.write(b"\0\1\2 no http\r\n\r\n")
            self.close_connection = True
        elif path in ("/drip-body", "/drip-head", "/silent"):
            self.drip(path)

    def drip(self, path: str) -> None:
        self.close_connection = True
        if path == "/drip-body":
            self.reply(200, Content_Length="1000000")
        if path == "/drip-head":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        try:
            for _ in range(100):
                time.sleep(0.05)
                if path != "/silent":
                    self.wfile.write(b"x")
                    self.wfile.flush()
        except OSError:
            pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        if self.path.startswith("/to"):
            self.reply(302, Location="/ok")
        elif self.path == "/endless":
            self.reply(200, b"x" * 10_000_000)
        elif self.path == "/fail":
            self.reply(503)
        elif self.path == "/later":
            self.reply(429, **{"Retry-After": unquote(self.headers["x-answer"]).encode().decode("latin-1")})
        else:
            self.reply(204)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.seen = []  # type: ignore[attr-defined]
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server: ThreadingHTTPServer) -> Callable[[str], str]:
    server.seen.clear()  # type: ignore[attr-defined]
    return lambda path: f"http://127.0.0.1:{server.server_port}{path}"


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    with GuardedClient(LOOPBACK, timeout=5) as client:
        yield client


# --- addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
        "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001::1]", "[fe80::1%25eth0]", "[fd00:ec2::254]",
        "169.254.169.254", "0xa9fea9fe", "2852039166", "10.0.0.1", "192.168.0.1", "100.64.0.1",
        "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1.",
    ],
)  # fmt: skip
def test_no_spelling_reaches_a_private_address(
    host: str, server: ThreadingHTTPServer, url: Callable[[str], str]
) -> None:
    with GuardedClient(timeout=5) as client, pytest.raises((FetchRefused, FetchFailed)) as caught:
        client.get(f"http://{host}:{server.server_port}/ok", 100)
    assert not server.seen  # type: ignore[attr-defined]
    if host not in ("127.0.0.1.", "127。0。0。1"):  # not every resolver knows these
        assert isinstance(caught.value, FetchRefused)
        assert "MODERATOR_FETCH_NETWORKS" in str(caught.value)


def test_every_address_of_an_answer_must_pass(server: ThreadingHTTPServer) -> None:
    def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    with GuardedClient(LOOPBACK, 5, resolver) as client, pytest.raises(FetchRefused):
        client.get(f"http://images.test:{server.server_port}/ok", 100)
    assert not server.seen  # type: ignore[attr-defined]


def test_the_connection_goes_to_the_checked_answer(server: ThreadingHTTPServer) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with GuardedClient(LOOPBACK, 5, lambda host, port: next(answers)) as client:
        assert client.get(f"http://images.test:{server.server_port}/ok", 100) == b"image"
        assert next(answers) == ["169.254.169.254"]  # one connection asked once
        assert server.seen[-1][1]["Host"] == f"images.test:{server.server_port}"  # type: ignore[attr-defined]


def test_a_redirect_to_a_name_that_now_resolves_elsewhere_is_refused(server: ThreadingHTTPServer) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with (
        GuardedClient(LOOPBACK, 5, lambda host, port: next(answers)) as client,
        pytest.raises(FetchRefused, match="link-local"),
    ):
        client.get(f"http://images.test:{server.server_port}/close", 100)


def test_the_next_address_is_tried(server: ThreadingHTTPServer) -> None:
    with GuardedClient(LOOPBACK, 5, lambda host, port: ["127.0.0.2", "127.0.0.1"]) as client:
        assert client.get(f"http://images.test:{server.server_port}/ok", 100) == b"image"


@pytest.mark.parametrize("failure", [socket.gaierror(-2, "unknown"), UnicodeError("label too long")])
def test_a_name_that_does_not_resolve_may_resolve_later(failure: Exception) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise failure

    with (
        GuardedClient(LOOPBACK, 5, resolver) as client,
        pytest.raises(FetchFailed, match="cannot be resolved"),
    ):
        client.get("http://images.test/", 100)


def test_a_resolver_that_hangs_is_left_behind() -> None:
    hang = threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        hang.wait(10)
        return []

    start = time.monotonic()
    with GuardedClient(LOOPBACK, 0.2, resolver) as client, pytest.raises(FetchFailed):
        client.get("http://images.test/", 100)
    assert time.monotonic() - start < 2
    hang.set()


# --- GET


def test_get_returns_the_body_and_asks_for_no_encoding(
    client: GuardedClient, url: Callable[[str], str], server: ThreadingHTTPServer
) -> None:
    assert client.get(url("/ok"), 5) == b"image"
    assert server.seen[0][1]["Accept-Encoding"] == "identity"  # type: ignore[attr-defined]


def test_threads_share_a_client(client: GuardedClient, url: Callable[[str], str]) -> None:
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.extend(client.get(url("/chunked"), 1000) for _ in range(5)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"x" * 1000] * 40


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/big", ImageTooLarge),
        ("/claims", ImageTooLarge),
        ("/chunked", ImageTooLarge),
        ("/status?404", ImageNotFound),
        ("/status?410", ImageNotFound),
        ("/status?403", ImageNotFound),
        ("/status?304", ImageNotFound),
        ("/status?302", ImageNotFound),
        ("/status?408", FetchFailed),
        ("/status?429", FetchFailed),
        ("/status?500", FetchFailed),
        ("/status?503", FetchFailed),
        ("/encoded?gzip", FetchRefused),
        ("/encoded?br", FetchRefused),
        ("/encoded?identity,gzip", FetchRefused),
        ("/loop", FetchRefused),
        ("/hops?4", FetchRefused),
        ("/to?ftp://127.0.0.1/", FetchRefused),
        ("/to?file:///etc/passwd", FetchRefused),
        ("/to?http://10.0.0.1/", FetchRefused),
        ("/to?http://[::1]/", FetchRefused),
        (f"/to?http://user:{SECRET}@127.0.0.1/", FetchRefused),
        ("/to?http://[broken/", FetchRefused),
        ("/short", FetchFailed),
        ("/garbage", FetchFailed),
    ],
)
def test_get_types_each_failure(
    client: GuardedClient, url: Callable[[str], str], path: str, error: type[ModeratorError]
) -> None:
    target = url(path) if "?" in path else url(f"{path}?{SECRET}")
    with pytest.raises(error) as caught:
        client.get(target, 999)
    assert type(caught.value) is error
    assert SECRET not in str(caught.value)


def test_redirects_are_followed_up_to_three(client: GuardedClient, url: Callable[[str], str]) -> None:
    assert client.get(url("/hops?3"), 100) == b"image"
    assert client.get(url("/encoded?identity"), 100) == b"x"


@pytest.mark.parametrize("path", ["/drip-body", "/drip-head", "/silent"])
def test_the_deadline_covers_the_whole_exchange(url: Callable[[str], str], path: str) -> None:
    start = time.monotonic()
    with GuardedClient(LOOPBACK, 0.3) as client, pytest.raises(FetchFailed, match=r"0\.3 s"):
        client.get(url(path), 10_000_000)
    assert time.monotonic() - start < 2


def test_a_refused_connection_may_work_later() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with GuardedClient(LOOPBACK, 5) as client, pytest.raises(FetchFailed, match="refused"):
        client.get(f"http://127.0.0.1:{port}/?{SECRET}", 100)


# --- POST


def test_post_sends_body_and_headers_and_returns_the_status(
    client: GuardedClient, url: Callable[[str], str], server: ThreadingHTTPServer
) -> None:
    assert client.post(url("/hook"), b"{}", {"webhook-id": "1"}) == PostAnswer(204)
    path, headers, body = server.seen[0]  # type: ignore[attr-defined]
    assert (path, headers["webhook-id"], body) == ("/hook", "1", b"{}")
    assert client.post(url("/fail"), b"{}", {}) == PostAnswer(503)
    assert client.post(url("/endless"), b"{}", {}) == PostAnswer(200)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        (" 120 ", 120, 120),
        (90.0, 80, 91),
        (-90.0, 0, 0),
        *(
            (junk, 0, 0)
            for junk in ("", "-5", "soon", "1e99", "9" * 400, "٣", "Mon, 99 Jan 2026 00:00:00 GMT")
        ),
    ],
)
def test_post_reads_when_to_come_again(
    client: GuardedClient, url: Callable[[str], str], value: str | float, least: float, most: float
) -> None:
    if isinstance(value, float):  # seconds from now: when the tests are collected is too early
        value = formatdate(time.time() + value, usegmt=True)
    answer = client.post(url("/later"), b"{}", {"x-answer": quote(value)})
    assert answer.status == 429
    assert least <= answer.retry_after <= most


def test_post_follows_no_redirect(
    client: GuardedClient, url: Callable[[str], str], server: ThreadingHTTPServer
) -> None:
    assert client.post(url("/to"), b"{}", {}) == PostAnswer(302)
    assert len(server.seen) == 1  # type: ignore[attr-defined]


def test_post_checks_addresses_and_headers(client: GuardedClient, url: Callable[[str], str]) -> None:
    with GuardedClient(timeout=5) as guarded, pytest.raises(FetchRefused):
        guarded.post(url("/hook"), b"{}", {})
    with pytest.raises(FetchRefused):
        client.post(url("/hook"), b"{}", {"x": "a\r\nb: c"})


def test_a_peer_that_reads_nothing_meets_the_deadline() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        start = time.monotonic()
        with GuardedClient(LOOPBACK, 0.3) as client, pytest.raises(FetchFailed):
            client.post(f"http://127.0.0.1:{port}/", bytes(50_000_000), {})
        assert time.monotonic() - start < 2


# --- TLS


def test_tls_verifies_the_host_name_though_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    needs("openssl", package="openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=images.test", "-addext", "subjectAltName=DNS:images.test", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    names: list[str | None] = []
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate, key)
    server_context.sni_callback = lambda _socket, name, _context: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = server_context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            resolver = lambda host, port: ["127.0.0.1"]  # noqa: E731
            with GuardedClient(LOOPBACK, 5, resolver, trusting) as client:
                assert client.get(f"https://images.test:{server.server_port}/ok", 100) == b"image"
                with pytest.raises(FetchFailed, match="certificate is not valid"):
                    client.get(f"https://other.test:{server.server_port}/ok", 100)
            with (
                GuardedClient(LOOPBACK, 5, resolver, httpcore2.default_ssl_context()) as client,
                pytest.raises(FetchFailed, match="certificate is not valid"),
            ):
                client.get(f"https://images.test:{server.server_port}/ok", 100)
        finally:
            server.shutdown()
            thread.join()
    assert names[0] == "images.test"


def test_a_signature_goes_to_the_url_alone_and_not_to_redirects(
    url: Callable[[str], str], server: ThreadingHTTPServer
) -> None:
    signature = "vfwCL5vxBfAxqGyHFjCMgNdXr4%2B3mLnOxSo%2BgV47CSQ%3D"
    access = SharedAccess.from_setting(SecretStr(url(f"/away?sv=1&sig={signature}")))
    with GuardedClient(LOOPBACK, timeout=5, access=access) as client:
        with pytest.raises(FetchRefused, match="redirects"):
            client.get(url("/away/a"), 100)
        client.post(url("/away/a"), b"", {})
    paths = [path for path, *_ in server.seen]  # type: ignore[attr-defined]
    assert paths == [f"/away/a?sv=1&sig={signature}", *["/away/again"] * 3, "/away/a"]
