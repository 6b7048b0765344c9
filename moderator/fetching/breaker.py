"""Circuit breakers, one for each host: a host that failed several times in a row is left alone for a while.

Then one call probes it: if that succeeds, all may call again; if not, the host is left alone once more. (Michael
Nygard, "Release It!". `pybreaker` holds a lock during the call, so a host would be called by one thread at a time.)
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from moderator.errors import FetchFailed, HostUnavailable

#: Failing hosts remembered, those that failed last. Strangers choose the hosts, so their number is bounded.
MAX_HOSTS = 1000
#: Seconds to wait for the outcome of another's probe.
PROBE_WAIT_SECONDS = 1.0


@dataclass
class _Host:
    """A host whose last call failed; `until` is when it may be probed, None while it may be called."""

    failures: int = 0
    until: float | None = None
    probing: bool = False


@dataclass
class Outcome:
    """What whoever makes a call may say of it, beyond raising `FetchFailed`."""

    failed: bool = False


class Breakers:
    """The breakers of all hosts. Thread-safe; calls to one host run side by side.

    Args:
        failures: so many in a row open a host's breaker; 0: never.
        cooldown: seconds for which it stays open.
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
        """Around one call to a host: `FetchFailed`, or `failed` set, is a failure; all else shows that it lives.

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
        """How many hosts are left alone at the moment."""
        now = self._clock()
        with self._lock:
            return sum(
                host.probing or (host.until is not None and host.until > now) for host in self._hosts.values()
            )

    def _enter(self, name: str) -> bool:
        """Whether this call is the probe."""
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
                return  # a call from before it opened
            host.failures += 1
            host.probing = False
            if self._most and host.failures >= self._most:
                host.until = self._clock() + self._cooldown
