"""Circuit breakers, one per host: a host that failed several times in a row is not called for a while.

Then one call probes it: on success, all calls may go through again; on failure, the breaker stays open for another
while. (Michael Nygard, "Release It!". `pybreaker` holds a lock during the call, so only one thread at a time could
call a host.)
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from moderator.errors import FetchFailed, HostUnavailable

#: Maximum number of failing hosts remembered, most recent failures first. Strangers choose the hosts.
MAX_HOSTS = 1000
#: Seconds to wait for the outcome of another call's probe.
PROBE_WAIT_SECONDS = 1.0


@dataclass
class _Host:
    """A host whose last call failed; it may be probed at `until`, or called normally while that is None."""

    failures: int = 0
    until: float | None = None
    probing: bool = False


@dataclass
class Outcome:
    """Outcome of a call; the caller sets `failed` if the call failed without raising `FetchFailed`."""

    failed: bool = False


class Breakers:
    """The breakers of all hosts. Thread-safe; calls to one host run in parallel.

    Args:
        failures: number of failures in a row that opens a host's breaker; 0: never.
        cooldown: seconds for which the breaker stays open.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, failures: int = 0, cooldown: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._cooldown = cooldown
        self._clock = clock
        self._lock = Lock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    @contextmanager
    def watch(self, host: str) -> Iterator[Outcome]:
        """Wrap one call to a host: `FetchFailed` or a set `failed` is a failure; any other outcome is a success.

        Raises:
            HostUnavailable: the breaker is open; the call is not made.
        """
        probe = self._enter(host)
        outcome = Outcome()
        try:
            yield outcome
        except FetchFailed:
            outcome.failed = True
            raise
        finally:
            self._leave(host, probe, outcome.failed)

    def count_open(self) -> int:
        """Return the number of hosts whose breaker is open."""
        now = self._clock()
        with self._lock:
            return sum(
                host.probing or (host.until is not None and host.until > now) for host in self._hosts.values()
            )

    def _enter(self, name: str) -> bool:
        """Return whether this call is the probe."""
        with self._lock:
            host = self._hosts.get(name)
            if host is None or host.until is None:
                return False
            left = host.until - self._clock()
            if left > 0 or host.probing:
                raise HostUnavailable(
                    f"{name} failed {host.failures} times in a row and is left alone for now "
                    "(MODERATOR_BREAKER_COOLDOWN); is it up, and does it answer quickly enough?",
                    max(left, PROBE_WAIT_SECONDS),
                )
            host.probing = True
            return True

    def _leave(self, name: str, probe: bool, failed: bool) -> None:
        with self._lock:
            if not failed:
                self._hosts.pop(name, None)
                return
            host = self._hosts.setdefault(name, _Host())
            self._hosts.move_to_end(name)
            if len(self._hosts) > MAX_HOSTS:
                self._hosts.popitem(last=False)
            if host.until is not None and not probe:
                return  # the call started before the breaker opened
            host.failures += 1
            host.probing = False
            if self._most and host.failures >= self._most:
                host.until = self._clock() + self._cooldown
