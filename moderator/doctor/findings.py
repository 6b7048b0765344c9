"""What an examination finds, and how it is kept from telling secrets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

#: Shorter ones are words that stand in messages anyway, and masking them would garble these.
_SHORTEST_MASKED = 6
MASK = "***"


class Level(StrEnum):
    """`problem`: events or verdicts can be lost or forged, strangers get in, or the worker does not start. `warning`:
    it works, and one more mistake or fault makes a problem of it."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """Stable name, such as `redis.password`."""
    level: Level
    message: str
    """What was found, and why it matters."""
    remedy: str = ""
    """What to do; empty where all is well."""

    def masked(self, secrets: Iterable[str]) -> "Finding":
        """The same without the secrets, should one have come in with the message of a library."""
        message, remedy = self.message, self.remedy
        for secret in secrets:
            if len(secret) >= _SHORTEST_MASKED:
                message, remedy = message.replace(secret, MASK), remedy.replace(secret, MASK)
        return replace(self, message=message, remedy=remedy)


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """It works, with a risk."""
    return Finding(check, Level.WARNING, message, remedy)


def problem(check: str, message: str, remedy: str) -> Finding:
    """It has to be mended."""
    return Finding(check, Level.PROBLEM, message, remedy)


def failed(findings: Iterable[Finding], strict: bool) -> bool:
    """Whether an installation does not pass: on a problem, and with `strict` on a warning, too."""
    bad = {Level.PROBLEM, Level.WARNING} if strict else {Level.PROBLEM}
    return any(finding.level in bad for finding in findings)
