"""Ask for second opinions apart from everything else, which does not wait for them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from moderator.engine.judge import Judged
from moderator.engine.second_stage import SecondStage
from moderator.errors import SignalBusy
from workers.attempt import Attempt
from workers.places import Places


class OpinionLane:
    """Asks about at most `places` images at once, which form batches for the model. Thread-safe.

    Args:
        stage: asks.
        publish: publishes the verdict of an attempt.
        places: events that may wait for an opinion; others stay in review at once. The events' own places are taken
            meanwhile, so leave most of those to others.
    """

    def __init__(self, stage: SecondStage, publish: Callable[[Attempt, Judged], None], places: int) -> None:
        self._stage = stage
        self._publish = publish
        self._places = Places(places)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix="opinion")

    def ask(self, attempts: Sequence[Attempt]) -> None:
        """Ask for the opinions that are due, all at once, and publish each verdict when it is there.

        Raises only what `publish` raises.
        """
        asked = []
        for attempt in attempts:
            if attempt.judged is None:
                continue
            if self._places.enter(attempt.event.priority):
                asked.append(self._threads.submit(self._ask, attempt, attempt.judged))
            else:
                busy = SignalBusy("too many images wait for second opinions")
                self._publish(attempt, self._stage.leave(attempt.judged, busy))
        for future in asked:
            future.result()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, attempt: Attempt, judged: Judged) -> None:
        try:
            assert attempt.data is not None
            judged = self._stage.ask(attempt.data, judged)
            attempt.watch.lap("opinion")
            self._publish(attempt, judged)
        finally:
            self._places.leave()
