"""Findings of an examination, with secrets masked."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

#: Characters. Shorter secrets are words that occur in messages anyway; masking them would garble the messages.
_MASKED_LENGTH_MIN = 6
MASK = "***"


class Level(StrEnum):
    """`problem`: events or verdicts can be lost or forged, strangers get in, or the worker does not start. `warning`:
    it works, but one more mistake or fault makes it a problem."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    """Stable name, such as `redis.password`."""
    level: Level
    message: str
    """What was found, and why it matters."""
    remedy: str = ""
    """What to do; empty if nothing is wrong."""

    def masked(self, secrets: Iterable[str]) -> "Finding":
        """Return the finding with secrets masked, in case a library's message contains one."""
        message, remedy = self.message, self.remedy
        for secret in secrets:
            if len(secret) >= _MASKED_LENGTH_MIN:
                message, remedy = message.replace(secret, MASK), remedy.replace(secret, MASK)
        return replace(self, message=message, remedy=remedy)


def ok(check: str, message: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str) -> Finding:
    """Return a finding of something that works, with a risk."""
    return Finding(check, Level.WARNING, message, remedy)


def problem(check: str, message: str, remedy: str) -> Finding:
    """Return a finding that has to be fixed."""
    return Finding(check, Level.PROBLEM, message, remedy)


def failed(findings: Iterable[Finding], strict: bool) -> bool:
    """Return whether an installation fails: on a problem, or with `strict` also on a warning."""
    bad = {Level.PROBLEM, Level.WARNING} if strict else {Level.PROBLEM}
    return any(finding.level in bad for finding in findings)
