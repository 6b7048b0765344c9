"""What a worker knows of an event while it is at it."""

import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from moderator.encoders.encoder import Embeddings
from moderator.engine.preparer import Prepared
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import ModeratorError, SignalBusy, SignalTimeout, WorkerStopping
from moderator.events import Event
from moderator.queue.ledger import Claim
from moderator.signals.evaluator import Outcome, Readings, Specification
from workers.batcher import BatchedEmbeddings

#: Longest time that a verdict waits for the slow signals of its shadows.
SHADOW_WAIT_MAX_SECONDS = 2.0


@dataclass(eq=False)
class SlowShadows:
    """Slow signals of shadows that are being read beside an event; without a future, there was no place for that."""

    specs: list[Specification]
    future: "Future[Readings] | None"
    _until: float = field(default_factory=lambda: time.monotonic() + SHADOW_WAIT_MAX_SECONDS)
    """Monotonic time at which the verdict goes without them."""

    def readings(self) -> Mapping[str, Outcome]:
        """Return what they say by now, or soon."""
        error: ModeratorError = SignalBusy(
            "the slow signals of shadows have no place free; more cores give more"
        )
        if self.future is not None:
            try:
                return self.future.result(max(0.0, self._until - time.monotonic()))
            except TimeoutError:
                self.future.cancel()
                error = SignalTimeout(
                    f"a verdict waits for its shadows {SHADOW_WAIT_MAX_SECONDS:g} s at most"
                )
            except CancelledError:
                error = WorkerStopping("the worker is stopping")
        return dict.fromkeys((spec.key for spec in self.specs), error)


@dataclass(eq=False)
class Attempt:
    """One try of an event: what is known of it so far, or what went wrong."""

    event: Event
    claim: Claim
    watch: Stopwatch
    prepared: Prepared | None = None
    recalled: Embeddings | None = None
    """What the model made of the same file before."""
    embedded: "Future[BatchedEmbeddings] | None" = None
    quick_readings: Readings = field(default_factory=dict)
    """Of the shadows' signals that do not take long."""
    slow_shadows: SlowShadows | None = None
    error: Exception | None = None

    def shadow_readings(self) -> Readings:
        """Return what the shadows' signals say; waits a little for the slow ones."""
        if self.slow_shadows is None:
            return self.quick_readings
        return {**self.quick_readings, **self.slow_shadows.readings()}
