"""What an erasure leaves behind: hashes by which a late delivery of the same is recognised and not archived.

The hashes are keyed, with a key that stays in the database: without it, nobody can find out from a hash by trying
whom it is about.
"""

import hashlib
import hmac
import secrets as random_secrets
from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from moderator.archive.tables import secrets, tombstones

#: Name and length of the key in the table of secrets.
KEY_NAME, KEY_BYTES = "tombstones", 32
#: Hashes looked up in one statement.
LOOKUP_HASHES_MAX = 500


class Tombstones:
    """The tombstones of one database, in one transaction that may write."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        chosen = sa.select(secrets.c.value).where(secrets.c.name == KEY_NAME)
        key = connection.execute(chosen).scalar()
        if key is None:
            key = random_secrets.token_bytes(KEY_BYTES)
            connection.execute(sa.insert(secrets).values(name=KEY_NAME, value=key))
        self._key: bytes = key

    def subject(self, subject: str) -> str:
        """Return the hash of a subject."""
        return self._hash("subject", subject)

    def event(self, source: str, event_id: str) -> str:
        """Return the hash of an event."""
        return self._hash("event", source, event_id)

    def find(self, hashes: Collection[str]) -> dict[str, datetime]:
        """Return those that are erased, with the moment of the erasure."""
        wanted = sorted(hashes)
        found: dict[str, datetime] = {}
        for at in range(0, len(wanted), LOOKUP_HASHES_MAX):
            part = wanted[at : at + LOOKUP_HASHES_MAX]
            rows = self._connection.execute(sa.select(tombstones).where(tombstones.c.hash.in_(part)))
            found |= {row.hash: row.erased_at for row in rows}
        return found

    def add(self, hashes: Collection[str], erased_at: datetime) -> None:
        """Note an erasure."""
        known = self.find(hashes)
        if known:
            same = tombstones.c.hash.in_(known)
            self._connection.execute(sa.update(tombstones).where(same).values(erased_at=erased_at))
        new = [{"hash": value, "erased_at": erased_at} for value in hashes if value not in known]
        if new:
            self._connection.execute(sa.insert(tombstones), new)

    def _hash(self, *parts: str) -> str:
        # No part holds NUL: PostgreSQL knows none, so columns never do.
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()
