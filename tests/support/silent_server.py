"""Servers that take connections and never answer."""

import socket
from contextlib import suppress
from threading import Thread


class SilentServer:
    """Accepts each connection, reads what comes and says nothing; or (`full`) takes no more connections at all."""

    def __init__(self, *, full: bool = False, receive_buffer: int = 0) -> None:
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0 if full else 64)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        if full:
            for _ in range(4):  # further ones get no answer to their SYN
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", self.port))
                self._open.append(one)
        else:
            Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                Thread(target=self._swallow, args=(connection,), daemon=True).start()

    def _swallow(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(1 << 16):
                pass
