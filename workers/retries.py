"""Rules for failed events: whether and when to retry. Only decides; the caller acts."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from moderator.backoff import delay_for_host, exponential, jittered
from moderator.errors import AttemptsExhausted, HostUnavailable, ModeratorError, PolicyError
from moderator.events import Event
from moderator.queue.ledger import Claim
from moderator.settings import Settings

log = logging.getLogger(__name__)

#: Most seconds between two attempts at an event.
RETRY_DELAY_MAX_SECONDS = 300.0
#: Most times in a row that an event is lost with its worker. Kept apart from its tries: most of the events that a
#: worker has when it dies are not what killed it.
MAX_LOSSES = 10
#: Delay of an event that found no slow place: as long as it has waited, within these bounds.
SLOW_DELAY_SECONDS = 1.0, 10.0
#: Most seconds that an event waits for a worker that knows its policy: as long as a deployment may last.
DEPLOYMENT_MAX_SECONDS = 600.0
#: Delay between its attempts: as long as it has waited for that, within these bounds.
DEPLOYMENT_DELAY_SECONDS = 0.5, 2.0


@dataclass(frozen=True)
class Retry:
    """A retry of an event; the fields are those of `Ledger.retry`."""

    delay: float
    """Seconds."""
    harmed: bool = False
    counts: bool = True
    held_off: bool = False


def refuse_killers(claim: Claim) -> None:
    """Refuse an event that was lost with its worker too often: it may be what kills them.

    Raises:
        AttemptsExhausted: `MAX_LOSSES` holders in a row lost it.
    """
    if claim.losses >= MAX_LOSSES:
        raise AttemptsExhausted(
            f"lost {claim.losses} times in a row: each time, the worker that had it died or hung; the workers' logs "
            "say why. Replay it when that has ended"
        )


def delay_for_slow_place(waited: float) -> float:
    """Return the delay in seconds of an event that found no place for its slow signals."""
    return _as_long_again(waited, SLOW_DELAY_SECONDS)


class RetryRules:
    """Decides whether an event is retried.

    Args:
        settings: provide the number of attempts, the first delay and the patience with hosts.
        known: whether some worker knows a policy, by its reference.
    """

    def __init__(self, settings: Settings, known: Callable[[str], bool]) -> None:
        self._settings = settings
        self._known = known

    def after(self, event: Event, claim: Claim, error: ModeratorError) -> Retry | None:
        """Return the next attempt, or None if this was the last.

        An image whose decoder crashed may have been unlucky once; the second time it is the cause.
        """
        name = type(error).__name__
        if isinstance(error, HostUnavailable) and claim.held_off < self._settings.host_patience:
            return Retry(delay_for_host(error, claim.held_off), counts=False, held_off=True)
        # A policy that fails here may work on another worker, which has newer or older files.
        if (
            isinstance(error, PolicyError)
            and claim.held_off < DEPLOYMENT_MAX_SECONDS
            and event.policy is not None
            and self._known(event.policy)
        ):
            log.info("event %s: %s; another worker knows its policy", event.key, name)
            delay = _as_long_again(claim.held_off, DEPLOYMENT_DELAY_SECONDS)
            return Retry(delay, counts=False, held_off=True)
        if (
            error.transient
            and claim.attempt < self._settings.max_attempts
            and not (error.harmful and claim.harmed)
        ):
            delay = self._backoff(claim)
            log.info("event %s: %s; try %d follows in %g s", event.key, name, claim.attempt + 1, delay)
            away = isinstance(error, HostUnavailable)  # its patience is over and does not start again
            return Retry(delay, harmed=error.harmful, held_off=away)
        return None

    def after_unpublished(self, claim: Claim) -> Retry:
        """Return the next attempt at an event whose verdict could not be published, for an unknown time."""
        return Retry(self._backoff(claim))

    def _backoff(self, claim: Claim) -> float:
        return exponential(claim.attempt, self._settings.retry_delay, RETRY_DELAY_MAX_SECONDS)


def _as_long_again(waited: float, bounds: tuple[float, float]) -> float:
    least, most = bounds
    return jittered(min(max(least, waited), most))
