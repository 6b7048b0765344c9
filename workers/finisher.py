"""Judge and publish the single images of a batch together, in one thread and one round trip to Redis.

A batch ends for many threads at once. If each of them judged and published its own image, they would take turns at the
interpreter, each with the caches of a core cold, and each with a round trip of its own. The groups of bulk events share
both already.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread

from moderator.queue.ledger import Answer
from workers.attempt import Attempt


@dataclass(eq=False)
class _Embedded:
    """An attempt that the model is done with."""

    attempt: Attempt
    ended: "Future[None]" = field(default_factory=Future)


class Finisher:
    """Ends attempts as the model is done with them; called from many threads at once.

    Several attempts, those that do not wait for the model, and those whose policies have signals are ended in the
    thread of the caller: a slow signal never holds up what does not use it.

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
        self._ready: SimpleQueue[_Embedded | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="finisher", daemon=True)
        self._thread.start()

    def finish(self, attempts: Sequence[Attempt]) -> None:
        """Judge and publish; returns when it is done, and raises what `judge` and `publish` raise."""
        if len(attempts) != 1 or attempts[0].embedded is None or attempts[0].reads_signals:
            self._publish(self._judge(attempts))
            return
        one = _Embedded(attempts[0])
        attempts[0].embedded.add_done_callback(lambda _: self._ready.put(one))
        one.ended.result()

    def close(self) -> None:
        """End the thread."""
        self._ready.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (one := self._ready.get()) is not None:
            batch = [one]
            while not self._ready.empty() and (one := self._ready.get()) is not None:
                batch.append(one)
            self._finish(batch)
            if one is None:
                return

    def _finish(self, batch: Sequence[_Embedded]) -> None:
        judged: list[_Embedded] = []
        answers: list[Answer] = []
        for one in batch:
            try:
                answers += self._judge([one.attempt])
                judged.append(one)
            except BaseException as error:
                one.ended.set_exception(error)
        try:
            self._publish(answers)
        except BaseException as error:
            for one in judged:
                one.ended.set_exception(error)
            return
        for one in judged:
            one.ended.set_result(None)
