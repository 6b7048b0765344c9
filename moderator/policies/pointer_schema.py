"""The format of `active.yaml` as pure immutable data, and how a canary picks its events. No I/O, no YAML."""

import hashlib
from typing import Annotated, Self

from pydantic import Field, model_validator

from moderator.policies.fields import MAX_SHADOWS, Frozen, Located, Percent, Version, refuse


class Canary(Frozen):
    """A version that decides for `percent` of the events, 0 to 100."""

    version: Version
    """A released version, other than the active one."""
    percent: Percent
    """Share of the events that it decides; a hash of the event's id picks them."""


class Pointer(Frozen):
    """The entry of one policy in `active.yaml`."""

    active: Version
    """The version that decides."""
    shadow: Annotated[tuple[Version, ...], Field(max_length=MAX_SHADOWS)] = ()
    """Versions that are scored beside it and never decide."""
    canary: Canary | None = None
    """A version that decides instead of the active one for a stable part of the events."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        problems: list[Located] = []
        for n, version in enumerate(self.shadow):
            if version == self.active and not self.canary:
                message = f"{version} is the active version and cannot look on beside itself; remove it here"
                problems.append((("shadow", n), message, version))
            elif version in self.shadow[:n]:
                problems.append((("shadow", n), f"{version} is listed twice; remove it", version))
        if self.canary and self.canary.version == self.active:
            message = (
                f"{self.active} is the active version already; remove the canary or name another version"
            )
            problems.append((("canary", "version"), message, self.active))
        refuse(problems)
        return self


def canary_picks(event_key: str, name: str, percent: float) -> bool:
    """Return whether the canary of policy `name` decides for the event with this key.

    The choice depends only on the arguments, so a redelivered event gets the same version, and an event that is
    picked at one percentage stays picked at every higher one. The first 64 bits of SHA-256 over name and key are
    read as a number and compared with the percentage of 2^64.
    """
    seed = f"{name}\0{event_key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(seed).digest()[:8]) < percent / 100 * 2.0**64
