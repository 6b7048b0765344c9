"""What a worker knows about an event in flight."""

import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from moderator.encoders.encoder import Embeddings
from moderator.engine.judge import Judged
from moderator.engine.preparer import Prepared
from moderator.engine.stopwatch import Stopwatch
from moderator.errors import ModeratorError, SignalBusy, SignalTimeout, WorkerStopping
from moderator.events import Event
from moderator.queue.ledger import Claim
from moderator.signals.evaluator import Outcome, Readings
from moderator.signals.signal_calls import Specification
from workers.batcher import BatchedEmbeddings

#: Most seconds that a verdict waits for the slow signals of its shadows.
SHADOW_WAIT_MAX_SECONDS = 2.0


@dataclass(eq=False)
class SlowShadows:
    """Slow signals of shadows that are read beside an event; without a future if there was no place."""

    specs: list[Specification]
    future: "Future[Readings] | None"
    _until: float = field(default_factory=lambda: time.monotonic() + SHADOW_WAIT_MAX_SECONDS)
    """Monotonic time at which the verdict stops waiting for them."""

    def readings(self) -> Mapping[str, Outcome]:
        """Return their outcomes, waiting until the deadline at most."""
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
    """One attempt at an event: what is known so far, or what went wrong."""

    event: Event
    claim: Claim
    watch: Stopwatch
    prepared: Prepared | None = None
    data: bytes | None = None
    """The file, if the deciding policy may ask for a second opinion."""
    recalled: Embeddings | None = None
    """Embeddings of the same file from an earlier event."""
    embedded: "Future[BatchedEmbeddings] | None" = None
    shadow_readings: Readings = field(default_factory=dict)
    """Readings of the shadows' signals: of the quick ones, and of the slow ones after `read_shadows`."""
    slow_shadows: SlowShadows | None = None
    embeddings: Embeddings | None = None
    """What the model returned."""
    judged: Judged | None = None
    """The judgement, once there is one."""
    error: Exception | None = None

    @property
    def reads_signals(self) -> bool:
        """Whether a policy that judges the image has signals; False if it could not be prepared."""
        if self.prepared is None or self.prepared.selection is None:
            return False
        selection = self.prepared.selection
        return any(policy.signals for policy in (selection.decides, *selection.shadows))

    def read_shadows(self) -> None:
        """Wait briefly for the readings of the shadows' slow signals."""
        if self.slow_shadows is not None:
            self.shadow_readings = {**self.shadow_readings, **self.slow_shadows.readings()}
