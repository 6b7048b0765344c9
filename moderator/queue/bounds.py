"""How full the queue may get, and how long whoever finds it full should wait. Pure."""

from dataclasses import dataclass

from moderator.events import Priority

#: What bulk may fill of the bounds; the rest is there for interactive events alone.
BULK_SHARE = 0.8
#: The latest verdicts, which say how quickly the queue drains.
DRAIN_SAMPLE_VERDICTS = 50
#: Of the bound, how much should drain before it is worth trying again: many producers wait for the same room.
HEADROOM_SHARE = 0.01
#: Seconds to wait: the least, the most, and where nothing is known about how quickly the queue drains.
RETRY_AFTER_MIN_SECONDS, RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_UNKNOWN_SECONDS = 0.1, 60.0, 10.0


@dataclass(frozen=True)
class QueueBounds:
    """Most events without a verdict, and most bytes of them; 0 is no bound."""

    events: int = 0
    size: int = 0

    def of(self, priority: Priority) -> "QueueBounds":
        """What an event of this priority finds full."""
        if priority is Priority.INTERACTIVE:
            return self
        return QueueBounds(
            *(max(1, int(BULK_SHARE * bound)) if bound else 0 for bound in (self.events, self.size))
        )


NO_BOUNDS = QueueBounds()


def retry_after(excess: int, rate: float, bounds: QueueBounds) -> float:
    """Seconds until there is probably room: until the excess has drained, and a little more.

    Args:
        excess: events above the bound.
        rate: verdicts a second, 0 where none are known.
        bounds: those that were met.
    """
    if rate <= 0:
        return RETRY_AFTER_UNKNOWN_SECONDS
    return min(
        max((excess + HEADROOM_SHARE * bounds.events) / rate, RETRY_AFTER_MIN_SECONDS),
        RETRY_AFTER_MAX_SECONDS,
    )
