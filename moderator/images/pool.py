"""A pool of decoding processes. One that dies, hangs or sends nonsense is replaced, and its image fails."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event, Thread

from moderator.errors import DecoderUnavailable, ModeratorError
from moderator.images.prepare import WHOLE_ALONE, PreparedImage, PreprocessSpec
from moderator.images.process import DecoderLost, DecoderProcess, Reason
from moderator.view import ViewPlan

log = logging.getLogger(__name__)

#: Seconds to wait for a free process, and between two attempts to start one.
FREE_PROCESS_WAIT_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 1.0


class DecoderPool:
    """Starts `size` decoding processes, and waits until they can decode. Threads share one pool.

    Args:
        spec: how they prepare files.
        size: number of processes, and of images decoded at once.
        memory: bytes of address space for each.
        on_loss: called with the reason whenever a process is replaced, from the thread whose image it had.

    Raises:
        DecoderUnavailable: they do not start.
    """

    def __init__(
        self,
        spec: PreprocessSpec,
        size: int,
        memory: int,
        on_loss: Callable[[Reason], None] = lambda reason: None,
    ) -> None:
        self._spec = spec
        self._memory = memory
        self._on_loss = on_loss
        self._idle: SimpleQueue[DecoderProcess] = SimpleQueue()
        self._lost: SimpleQueue[DecoderProcess | None] = SimpleQueue()
        self._all: set[DecoderProcess] = set()
        self._closing = Event()
        started: Future[bool] = Future()
        # The kernel kills a process when the thread that started it ends, so one thread starts all of them.
        self._supervisor = Thread(target=self._supervise, args=(size, started), name="decoders", daemon=True)
        self._supervisor.start()
        sealed = started.result()
        log.info(
            "%d decoding processes, %s",
            size,
            "system calls filtered"
            if sealed
            else "system calls not filtered: this system has no such filter",
        )

    @property
    def pids(self) -> set[int]:
        """Process ids."""
        return {process.pid for process in list(self._all)}

    def prepare(self, data: bytes, plan: ViewPlan = WHOLE_ALONE, picture_side: int = 0) -> PreparedImage:
        """Decode an image file in one of the processes; see `moderator.images.prepare.prepare`.

        Raises:
            ImageError: it is not an image, broken, or beyond a limit.
            DecoderCrashed: the process died while decoding it.
            DecoderUnavailable: no process is free.
        """
        try:
            process = self._idle.get(timeout=FREE_PROCESS_WAIT_SECONDS)
        except Empty:
            raise DecoderUnavailable(
                "no decoding process is free; the log says whether they start, MODERATOR_THREADS sets their number"
            ) from None
        try:
            image = process.prepare(data, plan, picture_side)
        except DecoderLost as lost:
            log.warning("decoding process %d is replaced: %s: %s", process.pid, lost.reason, lost.error)
            self._lost.put(process)
            self._on_loss(lost.reason)
            raise lost.error from lost
        except ModeratorError:
            self._idle.put(process)
            raise
        except BaseException:
            # Interrupted: the process may still answer, and the next image must not get that answer.
            self._lost.put(process)
            raise
        self._idle.put(process)
        return image

    def close(self) -> None:
        """End all processes."""
        self._closing.set()
        self._lost.put(None)
        self._supervisor.join()
        for process in self._all:
            process.end()
        self._all.clear()

    def _supervise(self, size: int, started: "Future[bool]") -> None:
        try:
            first = [self._start() for _ in range(size)]
            sealed = [process.wait_until_ready() for process in first]
        except Exception as error:
            for process in self._all:
                process.end()
            started.set_exception(error)
            return
        for process in first:
            self._idle.put(process)
        started.set_result(all(sealed))
        while (lost := self._lost.get()) is not None:
            lost.end()
            self._all.discard(lost)
            self._replace()

    def _start(self) -> DecoderProcess:
        process = DecoderProcess(self._spec, self._memory)
        self._all.add(process)
        return process

    def _replace(self) -> None:
        """Start one more process, retrying until it succeeds."""
        while not self._closing.is_set():
            process = None
            try:
                process = self._start()
                process.wait_until_ready()
            except Exception as error:  # this thread must survive any error: all processes end with it
                log.error("%s: %s; trying again in %g s", type(error).__name__, error, RESTART_PAUSE_SECONDS)
                if process is not None:
                    process.end()
                    self._all.discard(process)
                self._closing.wait(RESTART_PAUSE_SECONDS)
            else:
                self._idle.put(process)
                return
