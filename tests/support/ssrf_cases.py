"""What must be refused: spellings, tricks, names, redirects and answers, each with the error that comes of it."""

import gzip
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

from moderator.errors import (
    FetchFailed,
    FetchRefused,
    ImageNotFound,
    ImageTooLarge,
    ModeratorError,
    NotAnImage,
)
from moderator.images.decode import DecodeLimits
from tests.support.hostile_servers import Names, Page

PUBLIC = ("93.184.216.34", "1.1.1.1", "2606:4700::1111")
IMAGES, OTHER, SIX = PUBLIC
#: Whatever carries this must not be told to anybody.
SECRET = "hunter2"
MAX_BYTES = 10_000
LIMITS = DecodeLimits(max_bytes=MAX_BYTES, max_pixels=1_000_000, max_frames=1, timeout=10)
BASE_NAMES: Names = {
    "images.test": [[IMAGES]],
    "other.test": [[OTHER]],
    "six.test": [[SIX]],
    "localhost": [["127.0.0.1"]],
}


def _png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


PNG = _png()


def ok(body: bytes = PNG, *headers: str, status: str = "200 OK", length: int | str | None = None) -> bytes:
    """A whole answer."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def to(location: str, status: str = "302 Found") -> bytes:
    return ok(b"", f"Location: {location}", status=status)


def forever(start: bytes, piece: bytes, pause: float = 0.0) -> Callable[[], Iterator[bytes]]:
    """An answer that never ends, as fast as it is read or with a pause before each piece."""

    def pieces() -> Iterator[bytes]:
        yield start
        for _ in itertools.count():
            if pause:
                time.sleep(pause)
            yield piece

    return pieces


@dataclass(frozen=True)
class Case:
    """What is tried, the error that must come of it, and the only addresses that may be connected to before."""

    name: str
    url: str
    error: type[ModeratorError] = FetchRefused
    pages: Mapping[str, Page] = field(default_factory=dict)
    names: Names = field(default_factory=dict)
    connects: tuple[str, ...] = ()
    says: str = ""
    timeout: float = 20.0


def spelled(host: str, says: str = "MODERATOR_FETCH_NETWORKS") -> Case:
    """A host that is the web server's own address, or another private one, in some spelling."""
    return Case(f"host {host}", f"http://{host}:{{port}}/ok?{SECRET}", says=says)


NO_HOST = "no host name"
SPELLINGS = [
    *map(
        spelled,
        [
            "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "017700000001", "0x7f000001",
            "0X7F000001",
            "0x7f.0x0.0x0.0x1", "0177.0.0.1", "0177.0.0x1", "0x7f.1", "00000177.1", "0", "0.0.0.0", "00", "0x0",
            "localhost", "LOCALHOST", "localhost.", "10.0.0.1", "10.1", "167772161", "172.16.0.1", "172.31.255.255",
            "192.168.1.1", "192.168.257", "169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376",
            "169.254.43518", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
            "255.255.255.255",
            "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::]", "[::127.0.0.1]", "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]", "[::FFFF:169.254.169.254]", "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]",
            "[64:ff9b::169.254.169.254]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
            "[2001:0:5ef5:79fd::1]", "[2001:db8::1]", "[fe80::1]", "[fe80::1%25lo]", "[::1%25lo]", "[fc00::1]",
            "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[100::1]", "[5f00::1]",
            "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
            "loc\u00adalhost", "２１３０７０６４３３",
        ],
    ),
    spelled("127.0.0.1%00.images.test", NO_HOST),
    spelled("127.0.0.1%2f.images.test", NO_HOST),
    spelled("%31%32%37.0.0.1", NO_HOST),
    spelled("[127.0.0.1]", "(?i)host|malformed"),
    spelled("[images.test]", "(?i)host|malformed"),
    spelled("[::1", "malformed"),
    spelled("[v1.127.0.0.1]", "(?i)host|malformed"),
    spelled("127..0.0.1", NO_HOST),
    spelled(".127.0.0.1", NO_HOST),
    Case("127.0.0.1. with a dot", "http://127.0.0.1.:{port}/ok", FetchFailed),  # a name, and nobody has it
    Case("more than 32 bits", "http://4294967297:{port}/ok", FetchFailed),
    Case("more than 8 bits", "http://127.0.0.257:{port}/ok", FetchFailed),
]  # fmt: skip

TRICKS = [
    Case(f"url {url!r}", url, says=says)
    for url, says in {
        "http://images.test@127.0.0.1:{port}/ok?hunter2": "credentials",
        "http://hunter2:hunter2@images.test/ok": "credentials",
        "http://hunter2@images.test/ok": "credentials",
        "http://:hunter2@images.test/ok": "credentials",
        "http://@images.test/ok": "credentials",
        "http://images.test:80@127.0.0.1:{port}/ok": "credentials",
        "http://images.test%2f@127.0.0.1:{port}/ok": "credentials",
        "http://a@b@images.test/ok": "credentials",
        "http://images.test;@127.0.0.1:{port}/": "credentials",
        "http://127.0.0.1:{port}#@images.test/": "loopback",
        "http://127.0.0.1:{port}?@images.test/": "loopback",
        "http://127.0.0.1:{port}/@images.test/": "loopback",
        "http://images.test\\@127.0.0.1:{port}/ok": "backslashes",
        "http://127.0.0.1:{port}\\@images.test/ok": "backslashes",
        "http:\\\\127.0.0.1:{port}\\ok": "backslashes",
        "http://images.test\t@127.0.0.1/": "control characters",
        "ht\ntp://127.0.0.1:{port}/ok": "control characters",
        "\x00http://images.test/ok": "control characters",
        " http://images.test/ok": "spaces",
        "http://images.test/ok\r\nX-Injected: hunter2": "control characters",
        "http://images.test/ HTTP/1.1\r\nHost: x\r\n\r\nGET /": "control characters",
        "http://images.test\r\nX-Injected:hunter2/": "control characters",
        "http://images.test:80:80/": "malformed",
        "http://images.test:8o/": "malformed",
        "http://images.test:-80/": "malformed",
        "http://images.test:65536/": "malformed",
        "http://images.test:0/": "port",
        "http://images.test:22/": "port",
        "http://images.test:25/": "port",
        "http://images.test:6379/": "port",
        "http://images.test:11211/": "port",
        "file:///etc/passwd": "neither http",
        "file://127.0.0.1/etc/passwd": "neither http",
        "FILE:/etc/passwd": "neither http",
        "ftp://images.test/ok": "neither http",
        "gopher://127.0.0.1:6379/_FLUSHALL": "neither http",
        "dict://127.0.0.1:6379/info": "neither http",
        "ldap://127.0.0.1/": "neither http",
        "jar:http://images.test!/x": "neither http",
        "data:image/png;base64,iVBORw0KGgo=": "neither http",
        "javascript:fetch('http://127.0.0.1')": "neither http",
        "unix:/var/run/docker.sock": "neither http",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/info": "neither http",
        "ws://images.test/": "neither http",
        "url:http://images.test/": "neither http",
        "//127.0.0.1:{port}/ok": "neither http",
        "127.0.0.1:{port}/ok": "neither http",
        "http:127.0.0.1:{port}/ok": NO_HOST,
        "http:/127.0.0.1:{port}/ok": NO_HOST,
        "http:///127.0.0.1:{port}/ok": NO_HOST,
        "http://": NO_HOST,
        "": "neither http",
    }.items()
]  # fmt: skip


def resolved(
    name: str, *answers: list[str], error: type[ModeratorError] = FetchRefused, says: str = ""
) -> Case:
    names = {"evil.test": list(answers)}
    return Case(f"dns {name}", f"http://evil.test:{{port}}/ok?{SECRET}", error, names=names, says=says)


NAMES = [
    *(
        resolved(f"to {address}", [address], says="MODERATOR_FETCH_NETWORKS")
        for address in [
            "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.0.1", "169.254.169.254",
            "100.64.1.1",
            "224.0.0.1", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
            "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1", "fd00::1", "ff02::1",
        ]
    ),
    resolved("public then private", [IMAGES, "10.0.0.1"]),
    resolved("private then public", ["10.0.0.1", IMAGES]),
    resolved("public A, private AAAA", [IMAGES, "::1"]),
    resolved("private A, public AAAA", ["127.0.0.1", SIX]),
    resolved("many public, one private", [IMAGES, OTHER, SIX, "192.168.3.4"]),
    resolved("alias of localhost", ["CNAME localhost"], says="loopback"),
    Case(
        "dns chain of aliases",
        "http://evil.test:{port}/ok",
        names={"evil.test": [["CNAME b.test"]], "b.test": [["CNAME c.test"]], "c.test": [["127.0.0.1"]]},
        says="loopback",
    ),
    Case(
        "dns name that holds a number",
        "http://127.0.0.1.n.test:{port}/ok",
        names={"127.0.0.1.n.test": [["127.0.0.1"]]},
    ),
    Case(
        "dns name in IDN",
        "http://bücher.test:{port}/ok",
        names={"xn--bcher-kva.test": [["127.0.0.1"]]},
        says="loopback",
    ),
    resolved("loop of aliases", ["CNAME evil.test"], error=FetchFailed, says="resolved"),
    resolved("no address", [], error=FetchFailed, says="resolved"),
    resolved("garbage", ["GARBAGE"], error=FetchFailed, says="resolved"),
    Case("dns unknown name", "http://unknown.test:{port}/ok", FetchFailed, says="resolved"),
    Case("dns silence", "http://evil.test/ok", FetchFailed, names={"evil.test": [["SILENT"]]}, timeout=0.5),
]  # fmt: skip


def redirected(location: str, says: str = "", status: str = "302 Found") -> Case:
    return Case(
        f"redirect {status[:3]} to {location!r}",
        f"http://images.test/go?{SECRET}",
        pages={"/go": to(location, status)},
        connects=(IMAGES,),
        says=says,
    )


REDIRECTS = [
    *(
        redirected("http://127.0.0.1:{port}/ok", "loopback", status)
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent")
    ),
    *(
        redirected(location, "MODERATOR_FETCH_NETWORKS")
        for location in [
            "//127.0.0.1:{port}/ok", "http://localhost:{port}/ok", "http://2130706433:{port}/ok",
            "http://[::1]:{port}/ok",
            "http://0x7f.1:{port}/ok", "http://169.254.169.254/latest/meta-data/", "https://10.0.0.1/",
            "http://[::ffff:10.0.0.1]/", "//[fd00:ec2::254]/latest", "ht\ttp://127.0.0.1:{port}/ok",
            "HTTP://127.0.0.1:{port}/",
            "http://①②⑦.1/".encode().decode("latin-1"),
        ]
    ),
    redirected("file:///etc/passwd", "neither http"),
    redirected("ftp://images.test/ok", "neither http"),
    redirected("gopher://127.0.0.1:6379/_FLUSHALL", "neither http"),
    redirected("data:image/png;base64,iVBORw0KGgo=", "neither http"),
    redirected("javascript:alert(1)", "neither http"),
    redirected(f"http://{SECRET}:{SECRET}@images.test/ok", "credentials"),
    redirected(f"//{SECRET}@images.test/ok", "credentials"),
    redirected("http://images.test:25/", "port"),
    redirected("http:\\\\127.0.0.1\\ok", "backslashes"),
    redirected("/\\127.0.0.1/ok", "backslashes"),
    redirected("http://[broken/", "malformed"),
    redirected("http://\xff\xfe/", "malformed"),
    Case(
        "redirect chain that ends inside",
        "http://images.test/a",
        pages={"/a": to("/b"), "/b": to("http://other.test/c"), "/c": to("//10.0.0.1/d")},
        connects=(IMAGES, IMAGES, OTHER),
        says="private",
    ),
    Case(
        "redirect in a circle",
        "http://images.test/a",
        pages={"/a": to("/b"), "/b": to("/a")},
        connects=(IMAGES,) * 4,
        says="more than 3",
    ),
    Case(
        "redirect to nowhere",
        "http://images.test/a",
        pages={"/a": to("")},
        connects=(IMAGES,) * 4,
        says="more than 3",
    ),
    Case(
        "redirect to the same name, which now resolves elsewhere",
        "http://evil.test:{port}/a",
        pages={"/a": to("/ok")},
        names={"evil.test": [[IMAGES], ["127.0.0.1"]]},
        connects=(IMAGES,),
        says="loopback",
    ),
    Case(
        "redirect by an alias that now leads to localhost",
        "http://evil.test:{port}/a",
        pages={"/a": to("/ok")},
        names={"evil.test": [[IMAGES], ["CNAME localhost"]]},
        connects=(IMAGES,),
        says="loopback",
    ),
    *(
        Case(f"{status} without a redirect", "http://images.test/a", ImageNotFound, {"/a": page}, connects=(IMAGES,))
        for status, page in {
            "300": to("/ok", "300 Choices"),
            "304": to("/ok", "304 Not Modified"),
            "305": to("/ok", "305 Use Proxy"),
            "306": to("/ok", "306 Unused"),
            "302": ok(status="302 Found"),
        }.items()
    ),
]  # fmt: skip


def answered(
    name: str,
    page: Page,
    error: type[ModeratorError],
    says: str = "",
    timeout: float = 20.0,
    connects: tuple[str, ...] = (IMAGES,),
) -> Case:
    url = f"http://images.test/page?{SECRET}"
    return Case(f"answer {name}", url, error, {"/page": page}, connects=connects, says=says, timeout=timeout)


def slow_redirect() -> Iterator[bytes]:
    time.sleep(0.3)
    yield to("/page")


OK_HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HTML = b"<!DOCTYPE html><html><meta http-equiv=refresh content='0;url=http://127.0.0.1/'><img src=http://10.0.0.1/></html>"
BOMB = gzip.compress(bytes(5_000_000), 9)

ANSWERS = [
    answered("announces too much", ok(b"", length=10**12), ImageTooLarge),
    answered("is too large", ok(bytes(MAX_BYTES + 1)), ImageTooLarge),
    answered("never ends", forever(OK_HEAD + b"\r\n", bytes(5000)), ImageTooLarge),
    answered("never ends, in chunks", forever(CHUNKED, b"1000\r\n" + bytes(4096) + b"\r\n"), ImageTooLarge),
    answered(
        "never ends, in framing",
        forever(CHUNKED, b"1;" + b"x" * 9000 + b"\r\nx\r\n"),
        FetchRefused,
        "framing",
    ),
    answered("never ends, in headers", forever(OK_HEAD, b"X-Many: headers\r\n"), FetchFailed, "HTTP"),
    answered("never ends, in one header", forever(OK_HEAD + b"X-Long: ", b"x" * 1000), FetchFailed, "HTTP"),
    answered(
        "never begins, 1xx flood", forever(b"", b"HTTP/1.1 102 Wait\r\n\r\n" * 100), FetchRefused, "headers"
    ),
    answered(
        "never begins, 103 flood",
        forever(b"", b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n" * 99),
        FetchRefused,
    ),
    answered(
        "slow 1xx flood", forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1), FetchFailed, "0.5 s", 0.5
    ),
    answered(
        "slow body", forever(OK_HEAD + b"Content-Length: 9000\r\n\r\n", b"x", 0.1), FetchFailed, "0.5 s", 0.5
    ),
    answered("slow chunks", forever(CHUNKED, b"1\r\nx\r\n", 0.1), FetchFailed, "0.5 s", 0.5),
    answered("slow headers", forever(OK_HEAD + b"X-Slow: ", b"x", 0.1), FetchFailed, "0.5 s", 0.5),
    answered("silence", forever(b"", b"", 0.1), FetchFailed, "0.5 s", 0.5),
    answered("slow redirects", slow_redirect, FetchFailed, "0.5 s", 0.5, (IMAGES, IMAGES)),
    answered("closes at once", b"", FetchFailed),
    answered(
        "switches protocols",
        b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        FetchFailed,
    ),
    answered("gzip", ok(BOMB, "Content-Encoding: gzip"), FetchRefused, "compressed"),
    answered(
        "gzip over gzip", ok(gzip.compress(BOMB), "Content-Encoding: gzip, gzip"), FetchRefused, "compressed"
    ),
    answered("x-gzip", ok(BOMB, "content-encoding: X-GZIP"), FetchRefused, "compressed"),
    answered("br", ok(BOMB, "Content-Encoding: br"), FetchRefused, "compressed"),
    answered("deflate", ok(BOMB, "Content-Encoding: deflate"), FetchRefused, "compressed"),
    answered("identity, gzip", ok(BOMB, "Content-Encoding: identity, gzip"), FetchRefused, "compressed"),
    answered(
        "gzip as transfer", OK_HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + BOMB, FetchFailed, "HTTP"
    ),
    answered("gzip unannounced", ok(BOMB), NotAnImage, "gzip"),
    answered("shorter than announced", ok(PNG, length=len(PNG) + 5), FetchFailed),
    answered("broken chunk", CHUNKED + b"zz\r\nx\r\n", FetchFailed),
    answered("endless chunk length", forever(CHUNKED, b"0" * 1000), FetchFailed),
    answered("chunk that is cut", CHUNKED + b"ff\r\nx", FetchFailed),
    answered("negative length", ok(PNG, length=-1), FetchFailed),
    answered("two lengths in one", ok(PNG, length="5, 6"), FetchFailed),
    answered("two lengths", ok(PNG, "Content-Length: 3"), FetchFailed),
    answered("length of 5,000 digits", ok(PNG, length="9" * 5000), FetchFailed),
    answered("length in words", ok(PNG, length="ten"), FetchFailed),
    answered("length in Arabic digits", ok(PNG, length="\xb2"), FetchFailed),
    answered("HTTP/0.9", PNG, FetchFailed, "HTTP"),
    answered("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n", FetchFailed, "HTTP"),
    answered("NUL in a header", OK_HEAD + b"Location: \0\r\n\r\n", FetchFailed, "HTTP"),
    answered("bare CR in a header", OK_HEAD + b"X: a\rSet-Cookie: b\r\n\r\n", FetchFailed),
    answered("page that refreshes", ok(HTML, "Refresh: 0; url=http://127.0.0.1/"), NotAnImage, "web page"),
    answered(
        "page under 200 with a location", ok(HTML, "Location: http://127.0.0.1/"), NotAnImage, "web page"
    ),
    answered("SVG that includes", ok(b"<svg><image href='http://10.0.0.1/'/></svg>"), NotAnImage, "SVG"),
    answered(
        "login page under 401", ok(HTML, "WWW-Authenticate: Basic", status="401 No"), ImageNotFound, "401"
    ),
    answered("proxy under 407", ok(b"", "Proxy-Authenticate: Basic", status="407 No"), ImageNotFound, "407"),
    answered("status 999", ok(status="999 What"), FetchFailed),
    answered("error under 500", ok(HTML, status="500 Oops"), FetchFailed, "500"),
]

CASES = [*SPELLINGS, *TRICKS, *NAMES, *REDIRECTS, *ANSWERS]
