"""API keys: made, listed and revoked in Redis, which keeps no key but its digest.

A key is `mod_<id>_<secret>`. Its secret is random and long, so that a plain SHA-256 of the key cannot be reversed.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from moderator.queue import keys
from moderator.queue.commands import Command, ask

#: Seconds of its rate that a key may use at once after a pause.
BURST_SECONDS = 2.0
#: Most characters of a key's name.
MAX_KEY_NAME = 64
_KEY = re.compile(r"mod_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class Scope(StrEnum):
    """What a key may do. `admin` includes all others."""

    SUBMIT = "submit"
    READ = "read"
    TUNE = "tune"
    ADMIN = "admin"


@dataclass(frozen=True)
class ApiKey:
    """What Redis keeps of a key. `rate`: requests a second; None: the gateway's setting."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    rate: float | None
    created_at: datetime
    used_at: datetime | None = None
    """Within a minute."""
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class Credentials:
    """A key as it was given: the id in it, and its digest."""

    id: str
    digest: str

    @classmethod
    def of(cls, key: str) -> "Credentials | None":
        """Read a key; None: it is none."""
        match = _KEY.fullmatch(key)
        return cls(match[1], _digest(key)) if match else None


@dataclass(frozen=True)
class Admission:
    """Whether a request may go on.

    The answer is `ok`, `unknown` (no such key), `revoked`, `forbidden` (the key lacks the scope) or `late`.
    """

    answer: str
    name: str = ""
    retry_after: float = 0.0
    """Seconds, if `late`: the key has used up its rate."""


def make_key() -> tuple[str, Credentials]:
    """Return a new key, to be shown once, and what is kept of it."""
    key = f"mod_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"
    found = Credentials.of(key)
    assert found is not None
    return key, found


def save(
    credentials: Credentials, name: str, scopes: Sequence[Scope], rate: float | None
) -> list[Command[int]]:
    """Keep a new key."""
    fields = {"digest": credentials.digest, "name": name, "scopes": ",".join(scopes)}
    fields |= {"rate": "" if rate is None else repr(rate), "created_at": datetime.now(UTC).isoformat()}
    flat = [part for pair in fields.items() for part in pair]
    return [
        ask("SADD", keys.API_KEYS, credentials.id),
        ask("HSET", keys.API_KEY_PREFIX + credentials.id, *flat),
    ]


def revoke(id: str) -> Command[bool]:
    """Revoke a key; answers whether there was such a key. It works no longer from this moment on."""
    now = datetime.now(UTC).isoformat()
    return Command("revoke_key", [keys.API_KEY_PREFIX + id], [now], bool)


def ids() -> Command[list[str]]:
    """Look up the ids of all keys."""
    return ask("SMEMBERS", keys.API_KEYS, read=lambda found: sorted(id.decode() for id in found))


def read(id: str) -> Command[ApiKey | None]:
    """Look up a key by its id."""
    return ask("HGETALL", keys.API_KEY_PREFIX + id, read=lambda found: _read(id, found))


def admit(
    credentials: Credentials | None, scope: Scope, rate: float, burst: float = BURST_SECONDS
) -> Command[Admission]:
    """Check a key and count a request against its rate, in one step; None: a request without a key."""

    def read(answer: list[bytes]) -> Admission:
        word, name, later = (part.decode("utf-8", "replace") for part in answer)
        return Admission(word, name, float(later))

    id = credentials.id if credentials else ""
    script_keys = [keys.API_KEY_PREFIX + id, keys.API_RATE_PREFIX + id]
    digest = credentials.digest if credentials else ""
    return Command("admit", script_keys, [digest, scope.value, Scope.ADMIN.value, rate, burst], read)


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _read(id: str, found: Any) -> ApiKey | None:
    fields = {name.decode(): value.decode("utf-8", "replace") for name, value in _pairs(found)}
    if not fields:
        return None
    at = {
        name: datetime.fromisoformat(fields[name]) for name in ("created_at", "revoked_at") if name in fields
    }
    used = fields.get("used_at")
    return ApiKey(
        id,
        fields.get("name", ""),
        tuple(Scope(scope) for scope in fields.get("scopes", "").split(",") if scope),
        float(fields["rate"]) if fields.get("rate") else None,
        at["created_at"],
        datetime.fromtimestamp(float(used), tz=UTC) if used else None,
        at.get("revoked_at"),
    )


def _pairs(found: Any) -> list[tuple[bytes, bytes]]:
    """Return the fields of a hash in either protocol's form."""
    if isinstance(found, dict):
        return list(found.items())
    return list(zip(found[::2], found[1::2], strict=True))
