"""A slow reading shared by concurrent callers."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReading(Generic[T]):
    """Reads in its own thread, one reading at a time, which all callers meanwhile share.

    So callers do not queue behind one another, and none waits longer than `patience`, whatever `read` waits for.

    Args:
        name: of the thread.
        read: reads the value.
        patience: seconds.
    """

    def __init__(self, name: str, read: Callable[[], T], patience: float) -> None:
        self._name = name
        self._read = read
        self._patience = patience
        self._lock = Lock()
        self._reading: Future[T] | None = None

    def get(self) -> T:
        """Return the value.

        Raises:
            TimeoutError: it takes too long.
            Exception: any error of `read`.
        """
        with self._lock:
            if self._reading is None or self._reading.done():
                self._reading = Future()
                Thread(target=self._run, args=(self._reading,), name=self._name, daemon=True).start()
            reading = self._reading
        return reading.result(self._patience)

    def _run(self, reading: "Future[T]") -> None:
        try:
            reading.set_result(self._read())
        except Exception as error:
            reading.set_exception(error)
