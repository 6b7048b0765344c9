from typing import Any

import pytest

from moderator import Settings
from moderator.backoff import delay_for_host
from moderator.errors import (
    DecoderCrashed,
    FetchFailed,
    HostUnavailable,
    ModeratorError,
    NotAnImage,
    PolicyNotFound,
)
from moderator.events import Event
from moderator.queue.ledger import Claim
from workers.retries import (
    DEPLOYMENT_MAX_SECONDS,
    RETRY_DELAY_MAX_SECONDS,
    SLOW_DELAY_SECONDS,
    Retry,
    RetryRules,
    delay_for_slow_place,
)

EVENT = Event.model_validate({"id": "e", "source": "s", "policy": "new@1", "image": {"inline": "eA=="}})
RULES = RetryRules(Settings(max_attempts=3, retry_delay=2.0, host_patience=100.0), {"new@1"}.__contains__)


def claim(attempt: int = 1, held_off: float = 0.0, harmed: bool = False) -> Claim:
    return Claim(attempt=attempt, waited=0.0, held_off=held_off, harmed=harmed)


def waits(longest: float) -> Any:
    """Equal to a wait with jitter: between three quarters of `longest` and all of it."""
    return pytest.approx(longest * 0.875, rel=1 / 7)


@pytest.mark.parametrize(
    ("error", "at", "expected"),
    [
        (FetchFailed("503"), claim(), Retry(waits(2.0))),
        (FetchFailed("503"), claim(2), Retry(waits(4.0))),
        (FetchFailed("503"), claim(3), None),
        (NotAnImage("text"), claim(), None),
        (DecoderCrashed("SIGSEGV"), claim(), Retry(waits(2.0), harmed=True)),
        (DecoderCrashed("SIGSEGV"), claim(harmed=True), None),
        (FetchFailed("503"), claim(harmed=True), Retry(waits(2.0))),
        (HostUnavailable("down", 20.0), claim(3), Retry(waits(20 / 0.75), counts=False, held_off=True)),
        (HostUnavailable("down", 20.0), claim(1, held_off=100.0), Retry(waits(2.0), held_off=True)),
        (HostUnavailable("down", 20.0), claim(3, held_off=100.0), None),
        (PolicyNotFound("new"), claim(3), Retry(waits(0.5), counts=False, held_off=True)),
        (PolicyNotFound("new"), claim(3, held_off=DEPLOYMENT_MAX_SECONDS), None),
    ],
)
def test_what_becomes_of_an_event(error: ModeratorError, at: Claim, expected: Retry | None) -> None:
    assert RULES.after(EVENT, at, error) == expected


@pytest.mark.parametrize("policy", [None, "other"])
def test_a_policy_that_nobody_knows_is_the_end(policy: str | None) -> None:
    event = EVENT.model_copy(update={"policy": policy})
    assert RULES.after(event, claim(), PolicyNotFound("none")) is None


def test_delays_grow_within_bounds() -> None:
    least, most = SLOW_DELAY_SECONDS
    assert [delay_for_slow_place(waited) for waited in (0.0, 5.0, 1e6)] == [
        waits(least),
        waits(5.0),
        waits(most),
    ]
    assert RULES.after_unpublished(claim(900)) == Retry(waits(RETRY_DELAY_MAX_SECONDS))
    assert delay_for_host(HostUnavailable("down", 3.0), 1e6) == waits(RETRY_DELAY_MAX_SECONDS)
