"""How full the queue may get, and how long a caller that finds it full should wait. Pure."""

from dataclasses import dataclass

from moderator.events import Priority

#: Share of the bounds that bulk events may fill; the rest is reserved for interactive events.
BULK_SHARE = 0.8
#: Number of latest verdicts from which the drain rate is measured.
DRAIN_SAMPLE_VERDICTS = 50
#: Share of the bound that should drain before a retry is worthwhile: many producers wait for the same room.
HEADROOM_SHARE = 0.01
#: Seconds to wait: the least, the most, and when the drain rate is unknown.
RETRY_AFTER_MIN_SECONDS, RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_UNKNOWN_SECONDS = 0.1, 60.0, 10.0


@dataclass(frozen=True)
class QueueBounds:
    """Most events without a verdict, and most bytes of them; 0 means no bound."""

    events: int = 0
    size: int = 0

    def of(self, priority: Priority) -> "QueueBounds":
        """Return the bounds for events of this priority."""
        if priority is Priority.INTERACTIVE:
            return self
        return QueueBounds(
            *(max(1, int(BULK_SHARE * bound)) if bound else 0 for bound in (self.events, self.size))
        )


NO_BOUNDS = QueueBounds()


def retry_after(excess: int, rate: float, bounds: QueueBounds) -> float:
    """Return the seconds until there is probably room: until the excess and a little more has drained.

    Args:
        excess: events above the bound.
        rate: verdicts a second, 0 if unknown.
        bounds: those that were reached.
    """
    if rate <= 0:
        return RETRY_AFTER_UNKNOWN_SECONDS
    return min(
        max((excess + HEADROOM_SHARE * bounds.events) / rate, RETRY_AFTER_MIN_SECONDS),
        RETRY_AFTER_MAX_SECONDS,
    )
