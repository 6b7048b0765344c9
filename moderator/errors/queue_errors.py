"""Errors between an event and its verdict: of the queue, the spool, the stream and the worker."""

from moderator.errors.moderator_error import ModeratorError


class EventInvalid(ModeratorError):
    """A message on the queue is not an event."""

    stage = "intake"


class QueueUnavailable(ModeratorError):
    """Redis cannot be reached, so nothing was accepted."""

    transient = True
    stage = "intake"


class SpoolFull(QueueUnavailable):
    """The spool has no room while Redis cannot be reached or earlier events wait in it: nothing was kept."""


class SpoolUnavailable(QueueUnavailable):
    """The spool cannot be read or written, so the event was not kept."""


class QueueFull(ModeratorError):
    """The queue has no room for a message, so nothing of it was accepted; `retry_after` is the wait before a retry."""

    transient = True
    stage = "intake"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class VerdictTimeout(ModeratorError):
    """No verdict arrived within the caller's timeout."""

    transient = True
    stage = "intake"


class VerdictNotFound(ModeratorError):
    """An event has no verdict."""

    stage = "intake"


class VerdictChanged(ModeratorError):
    """The verdict of an event is not the one that was seen."""

    stage = "intake"


class RevisionInvalid(ModeratorError):
    """A later decision about an event cannot be recorded as given."""

    stage = "intake"


class VerdictUnreadable(ModeratorError):
    """A verdict is kept in a form that this version cannot read."""

    stage = "intake"


class VerdictsMissed(ModeratorError):
    """Verdicts left the stream before a reader read them.

    Their entry ids run from `start` to `end`; there are `count` of them (None: unknown).
    """

    stage = "intake"

    def __init__(self, message: str, *, start: str, end: str, count: int | None) -> None:
        super().__init__(message)
        self.start = start
        self.end = end
        self.count = count


class AttemptsExhausted(ModeratorError):
    """An event used up its attempts without a verdict: its worker died or its attempts failed."""

    stage = "worker"


class WorkerFailed(ModeratorError):
    """A worker started by a command did not become ready; the message has its log."""

    stage = "worker"


class WorkerStopping(ModeratorError):
    """The worker is shutting down; the event goes back to the queue."""

    transient = True
    stage = "worker"


class RecordUnreadable(ModeratorError):
    """The record of an event in Redis is unreadable: another version or another program wrote it."""

    stage = "worker"


class RedisMisused(ModeratorError):
    """One of our keys in Redis holds foreign data, so a step was not done."""

    transient = True
    stage = "worker"


class DeadLetterNotFound(ModeratorError):
    """There is no dead letter with that key."""
