"""Signal handling of a worker: the first signal shuts it down in an orderly way, the second one ends it at once.

Celery's own handlers are not used: they cancel tasks that run in threads, restart the program at SIGHUP, and do not
cover the time before the consumer runs. As the first process of a container a worker has no other handlers.
"""

import logging
import os
import signal
from collections.abc import Callable
from threading import Lock, Thread
from types import TracebackType

log = logging.getLogger(__name__)

#: A closed terminal sends SIGHUP. It need not reload anything: policies are read again when their files change.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Shutdown:
    """Listens for signals during a `with` block, on its own thread.

    So signals take effect even while the main thread is busy, for example loading a model or stuck in a consumer.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._stop: Callable[[], None] | None = None
        self._stopping = False

    def __enter__(self) -> "Shutdown":
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            # `nohup` makes the programs that it starts ignore SIGHUP.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        Thread(target=self._listen, args=(reader,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Only the interpreter's exit remains, during which no thread listens.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def serve(self, stop: Callable[[], None]) -> None:
        """Call `stop` at the first signal, from the listening thread: from now on there are events in flight.

        Before this call, the first signal ends the process with exit code 0.
        """
        with self._lock:
            self._stop = stop

    def _listen(self, reader: int) -> None:
        while received := os.read(reader, 1):
            number = received[0]
            if number in SIGNALS:
                with self._lock:
                    self._receive(signal.Signals(number))

    def _receive(self, number: signal.Signals) -> None:
        if self._stopping:
            _say(f"{number.name}: ending at once; what is in flight is given out again when its lease ends")
            # Regardless of the other threads: the ledger has all events, and decoders die with the worker.
            os._exit(128 + number)
        if self._stop is None:
            _say(f"{number.name}: ending before anything is in flight")
            os._exit(0)
        _say(f"{number.name}: stopping; a second signal ends at once")
        self._stopping = True
        self._stop()


def _say(words: str) -> None:
    """Log, waiting a second at most: the reader of the log may have stopped."""
    teller = Thread(target=log.warning, args=(words,), daemon=True)
    teller.start()
    teller.join(1.0)
