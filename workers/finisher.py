"""Judge and publish the images of a batch together, in one thread and one round trip to Redis.

A batch ends for many threads at once. If each of them judged and published its own image, they would take turns at the
interpreter, each with the caches of a core cold, and each with a round trip of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock, Thread

from moderator.queue.ledger import Answer
from workers.attempt import Attempt


@dataclass(eq=False)
class _Group:
    attempts: Sequence[Attempt]
    embedding: int
    """How many of them are waiting for the model."""
    ended: "Future[None]" = field(default_factory=Future)
    answers: list[Answer] = field(default_factory=list)


class Finisher:
    """Ends attempts in groups, as the model is done with them; called from many threads at once.

    Attempts that do not wait for the model, and those whose policies have signals, are ended in the thread of the
    caller: a slow signal never holds up what does not use it.

    Args:
        judge: waits for the model if need be, and returns the answers that are due.
        publish: publishes answers.
    """

    def __init__(
        self,
        judge: Callable[[Sequence[Attempt]], list[Answer]],
        publish: Callable[[Sequence[Answer]], None],
    ) -> None:
        self._judge = judge
        self._publish = publish
        self._lock = Lock()
        self._ready: SimpleQueue[_Group | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="finisher", daemon=True)
        self._thread.start()

    def finish(self, attempts: Sequence[Attempt]) -> None:
        """Judge and publish; returns when it is done, and raises what `judge` and `publish` raise."""
        embedding = [attempt.embedded for attempt in attempts if attempt.embedded is not None]
        if not embedding or any(attempt.reads_signals for attempt in attempts):
            self._publish(self._judge(attempts))
            return
        group = _Group(attempts, len(embedding) + 1)
        for future in embedding:
            future.add_done_callback(lambda _: self._count(group))
        self._count(group)
        group.ended.result()

    def close(self) -> None:
        """End the thread."""
        self._ready.put(None)
        self._thread.join()

    def _count(self, group: _Group) -> None:
        with self._lock:
            group.embedding -= 1
            is_ready = not group.embedding
        if is_ready:
            self._ready.put(group)

    def _run(self) -> None:
        while (group := self._ready.get()) is not None:
            groups = [group]
            while not self._ready.empty() and (group := self._ready.get()) is not None:
                groups.append(group)
            self._finish(groups)
            if group is None:
                return

    def _finish(self, groups: Sequence[_Group]) -> None:
        judged = []
        for group in groups:
            try:
                group.answers = self._judge(group.attempts)
                judged.append(group)
            except BaseException as error:
                group.ended.set_exception(error)
        try:
            self._publish([answer for group in judged for answer in group.answers])
        except BaseException as error:
            for group in judged:
                group.ended.set_exception(error)
            return
        for group in judged:
            group.ended.set_result(None)
