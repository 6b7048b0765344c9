"""A new object in a bucket, as a store reports it, and the event that is made of it. Pure.

The event's id is made of bucket, key and what names this write of the key: its version, generation or sequencer. So the
same report delivered twice is one event, and two writes of one key are two.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from moderator.events import MAX_ID

#: Most characters of a fact that goes into an event's metadata; keys have at most 1024 bytes.
FACT_CHARACTERS_MAX = 1024


@dataclass(frozen=True)
class StoredObject:
    """An object that was written."""

    source: str
    """Source of the event: the kind of store."""
    bucket: str
    """Bucket or container, with the account where names of containers are not unique."""
    key: str
    write: str
    """Names this write among all of the key."""
    image: dict[str, str]
    """How a worker gets it: an event's `image`."""
    version: str | None = None
    """The version that `image` names. None: `image` means whatever is there now."""
    order: str | None = None
    """Compares with that of other writes of the same key: greater is later. None: unknown."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For the event's metadata, besides bucket, key and version."""

    @property
    def name(self) -> str:
        """A short name of the key, the same for each of its writes and different for any other key."""
        return _digest(self.source, self.bucket, self.key)

    @property
    def event_id(self) -> str:
        """`BUCKET/KEY@WRITE`, with a digest in place of what is too long for an id."""
        write = quote(self.write, safe="", errors="surrogatepass")
        text = f"{self.bucket}/{self.key}@{write}"
        if len(text) <= MAX_ID:
            return text
        return f"sha256:{_digest(self.bucket, self.key, write)}"

    def to_event(self, options: dict[str, Any], *, superseded: bool = False) -> dict[str, Any]:
        """Return the event to submit.

        Args:
            options: further fields of the event, as the operator chose them.
            superseded: whether a later write of this key has been seen.
        """
        facts = {"bucket": self.bucket, "key": self.key, "version": self.version, **self.facts}
        if superseded:
            facts["superseded"] = True
        known = {name: _bounded(value) for name, value in facts.items() if value is not None}
        return {
            "id": self.event_id,
            "source": self.source,
            "image": self.image,
            "metadata": {"object": known},
            **options,
        }


@dataclass(frozen=True)
class Notice:
    """What a store reported in one request."""

    objects: tuple[StoredObject, ...] = ()
    ignored: int = 0
    """Reports of anything but a new object: a deletion, a folder, a test."""
    refused: tuple[str, ...] = ()
    """What is wrong with those that could not be read."""

    def __add__(self, other: "Notice") -> "Notice":
        return Notice(
            self.objects + other.objects, self.ignored + other.ignored, self.refused + other.refused
        )


IGNORED = Notice(ignored=1)


def _digest(*parts: str) -> str:
    text = "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
    return sha256(text.encode()).hexdigest()


def _bounded(value: Any) -> Any:
    return value[:FACT_CHARACTERS_MAX] if isinstance(value, str) else value
