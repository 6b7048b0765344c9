"""What goes wrong between an event and its verdict: the queue, the spool, the stream, the worker."""

from moderator.errors.moderator_error import ModeratorError


class EventInvalid(ModeratorError):
    """A message on the queue is not an event."""

    stage = "intake"


class QueueUnavailable(ModeratorError):
    """Redis cannot be reached, so nothing was accepted."""

    transient = True
    stage = "intake"


class SpoolFull(QueueUnavailable):
    """Redis cannot be reached, or earlier events wait in the spool, and the spool has no room: nothing was kept."""


class SpoolUnavailable(QueueUnavailable):
    """The spool cannot be read or written, so the event is kept nowhere."""


class QueueFull(ModeratorError):
    """The queue has no room for a message, so nothing of it was accepted; `retry_after` says when to try again."""

    transient = True
    stage = "intake"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class VerdictTimeout(ModeratorError):
    """No verdict arrived within the time that the caller was ready to wait."""

    transient = True
    stage = "intake"


class VerdictUnreadable(ModeratorError):
    """A verdict is kept in a form that this version cannot read."""

    stage = "intake"


class VerdictsMissed(ModeratorError):
    """Verdicts left the stream before a reader read them.

    They are those from the entry id `start` to `end`, `count` of them (None: unknown).
    """

    stage = "intake"

    def __init__(self, message: str, *, start: str, end: str, count: int | None) -> None:
        super().__init__(message)
        self.start = start
        self.end = end
        self.count = count


class AttemptsExhausted(ModeratorError):
    """An event was tried as often as allowed and never got a verdict: its worker died or its tries failed."""

    stage = "worker"


class WorkerFailed(ModeratorError):
    """A worker that a command started did not come up; the message has its log."""

    stage = "worker"


class WorkerStopping(ModeratorError):
    """The worker is shutting down; the event goes back to the queue."""

    transient = True
    stage = "worker"


class RecordUnreadable(ModeratorError):
    """What stands in Redis of an event cannot be read: another version wrote it, or something else."""

    stage = "worker"


class RedisMisused(ModeratorError):
    """A key of ours in Redis holds something else than it should, so a step was not done."""

    transient = True
    stage = "worker"


class DeadLetterNotFound(ModeratorError):
    """No dead letter of that key."""
