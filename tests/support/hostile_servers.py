"""What strangers run, on loopback: a name server, a web server that sends anything; and a net below the guard.

The guard under test knows nothing of this. It asks the name server over UDP and connects to "public" addresses;
below it, `lead_to` makes those addresses lead to the web server, and `NoEscape` sees each address that the process
asks the operating system for.
"""

import itertools
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from socketserver import BaseRequestHandler, ThreadingTCPServer, ThreadingUDPServer
from threading import Lock, Thread
from typing import Any, Self

A, CNAME, AAAA = 1, 5, 28
#: Successive answers to a name: each is a list of addresses and `CNAME name`; the last answer stays.
Names = Mapping[str, list[list[str]]]
#: What is sent back for a path: bytes, or a function that makes pieces until the peer goes away.
Page = bytes | Callable[[], Iterable[bytes]]


class _Served:
    """A server of `socketserver` that runs in a thread."""

    _server: Any

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


class NameServer(_Served):
    """Answers A and AAAA questions from `names`; a name that is not there gets NXDOMAIN, `SILENT` nothing."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.asked: list[tuple[str, int]] = []
        self._lock = Lock()
        outer = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                question, connection = self.request
                answer = outer.answer(question)
                if answer is not None:
                    connection.sendto(answer, self.client_address)

        self._server = ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def answer(self, question: bytes) -> bytes | None:
        name, end = _read_name(question, 12)
        (kind,) = struct.unpack_from("!H", question, end)
        with self._lock:
            count = self.asked.count((name, kind))
            self.asked.append((name, kind))
            answers = self.names.get(name)
        records = answers[min(count, len(answers) - 1)] if answers else []
        if "SILENT" in records:
            return None
        if "GARBAGE" in records:
            return question[:2] + b"\xff" * 40
        records = [text for text in records if _kind(text) in (kind, CNAME)]
        body = b"".join(map(_record, records))
        flags = 0x8180 if answers else 0x8183
        return (
            question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question[12 : end + 4] + body
        )


class StubResolver:
    """Resolves as the system does, asking the `NameServer` over UDP: numbers in any spelling first, then names."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._ids = itertools.count(1)

    def __call__(self, host: str, port: int) -> list[str]:
        if number := read_number(host):
            return [number]
        name = host.removesuffix(".")
        for _ in range(8):
            addresses, alias = self._ask(name)
            if addresses:
                return addresses
            if alias is None:
                break
            name = alias
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def _ask(self, name: str) -> tuple[list[str], str | None]:
        addresses: list[str] = []
        alias = None
        for kind in (A, AAAA):
            labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
            header = struct.pack("!HHHHHH", next(self._ids), 0x0100, 1, 0, 0, 0)
            question = labels + b"\0" + struct.pack("!HH", kind, 1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(3)
                asking.sendto(header + question, self._server)
                answer = asking.recv(4096)
            try:
                (count,) = struct.unpack_from("!H", answer, 6)
                position = 12 + len(question)
                for _ in range(count):
                    _, position = _read_name(answer, position)
                    got, _, _, length = struct.unpack_from("!HHIH", answer, position)
                    data = answer[position + 10 : position + 10 + length]
                    if got == CNAME:
                        alias = _read_name(answer, position + 10)[0]
                    else:
                        addresses.append(str(ip_address(data)))
                    position += 10 + length
            except (struct.error, IndexError, UnicodeError) as error:
                raise socket.gaierror(
                    socket.EAI_FAIL, "Non-recoverable failure in name resolution"
                ) from error
        return addresses, alias


def read_number(host: str) -> str | None:
    """The address that a number means to the system's resolver; None for a name."""
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    with suppress(ValueError):
        return str(ip_address(host))
    return None


def _kind(text: str) -> int:
    return CNAME if text.startswith("CNAME ") else AAAA if ":" in text else A


def _record(text: str) -> bytes:
    kind = _kind(text)
    if kind == CNAME:
        labels = text.removeprefix("CNAME ").split(".")
        data = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    else:
        data = ip_address(text).packed
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def _read_name(message: bytes, position: int) -> tuple[str, int]:
    """The name at a position, and the position behind it. Only the first label may be a pointer."""
    if message[position] >= 0xC0:
        target = struct.unpack_from("!H", message, position)[0] & 0x3FFF
        return _read_name(message, target)[0], position + 2
    labels = []
    while length := message[position]:
        labels.append(message[position + 1 : position + 1 + length].decode("ascii").lower())
        position += length + 1
    return ".".join(labels), position + 1


class WebServer(_Served):
    """Sends what `pages` has for a path, byte for byte, and closes. Remembers the heads of requests."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.heads: list[str] = []
        outer = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    outer.serve(self.request)

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            if not part:
                return
            head += part
        text = head.decode("latin-1")
        self.heads.append(text)
        path = text.split(" ")[1].partition("?")[0]
        page = self.pages.get(path, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        for piece in [page] if isinstance(page, bytes) else page():
            connection.sendall(piece)


class Escaped(RuntimeError):
    """The process was about to leave loopback."""


class NoEscape:
    """Watches what the process asks of the operating system; whatever is not loopback is stopped and noted.

    An audit hook cannot be taken away again, so there is one, and it watches while `watching` is on.
    """

    def __init__(self) -> None:
        self.escapes: list[str] = []
        self._on = False
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.escapes.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False
        assert not self.escapes, f"left loopback: {self.escapes}"

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on or not event.startswith("socket."):
            return
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = args[1]
            if not isinstance(address, tuple) or ip_address(address[0].partition("%")[0]).is_loopback:
                return
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.getnameinfo"):
            # Numbers are read without a packet, in every spelling; a name would be asked of a real server.
            host = args[0][0] if isinstance(args[0], tuple) else args[0]
            if host is None or read_number(host.decode() if isinstance(host, bytes) else host):
                return
        else:
            return
        self.escapes.append(f"{event} {args[0] if 'getaddrinfo' in event else args[1]}")
        raise Escaped(self.escapes[-1])


def lead_to(port: int, public: Iterable[str], connections: list[str]) -> Callable[..., socket.socket]:
    """A `socket.create_connection` under which `public` addresses lead to a port on loopback. Notes all asked for."""
    connect = socket.create_connection
    led = frozenset(public)

    def create_connection(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        connections.append(address[0])
        if address[0] in led:
            address = ("127.0.0.1", port)
        return connect(address, *args, **kwargs)

    return create_connection
