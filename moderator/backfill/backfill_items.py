"""The images of a backfill, and how an event refers to each."""

import os
from dataclasses import dataclass
from typing import Any

import pybase64

from moderator.errors import EventInvalid, ImageError, ImageNotFound, ImageTooLarge, NotAnImage
from moderator.events import Event, ImageReference, event_key, parse_message
from moderator.fetching.sources.trusted_file import TrustedFileSource
from moderator.fetching.urls import is_url
from moderator.settings import Settings
from moderator.submission import check_submission

#: Source of the events of a backfill.
BACKFILL_SOURCE = "backfill"
#: Start of the name of an object in a bucket.
OBJECT_PREFIX = "s3://"


@dataclass(frozen=True)
class Item:
    """An image of a backfill: image `place` of the bulk event `bulk`."""

    number: int
    name: str
    """An absolute path, an http(s) URL, or `s3://BUCKET/KEY`."""
    bulk: str
    place: int

    @property
    def event_id(self) -> str:
        """The id of its event, always the same for one attempt, so that the service judges it once."""
        return f"{self.bulk}/{self.place}"

    @property
    def key(self) -> str:
        """The event's name in Redis, as `Event.key`."""
        return f"{event_key(BACKFILL_SOURCE, self.bulk)}%2F{self.place}"

    def event(self, policy: str | None) -> Event:
        """Return the event by which engines without a queue judge the image."""
        kind, text = reference_of(self.name)
        # Constructed unchecked: listing has checked the name, and the event never reaches Redis.
        values: dict[str, Any] = {"path": None, "url": None, "key": None, kind: text}
        image = ImageReference.model_construct(None, **values)
        return Event.model_construct(
            id=self.event_id,
            source=BACKFILL_SOURCE,
            policy=policy,
            image=image,
            metadata={},
            bulk=self.bulk,
        )


def reference_of(name: str) -> tuple[str, str]:
    """Return the field of an image reference that takes an image's name, and its value."""
    if name.startswith(OBJECT_PREFIX):
        return "key", name.removeprefix(OBJECT_PREFIX)
    return ("url" if is_url(name) else "path"), name


class ReferenceMaker:
    """Makes image references: by path for files that workers may read (`MODERATOR_FETCH_ROOTS`), else with the file.

    Args:
        settings: limits, roots and buckets.
        files: whether names may be paths. The lines of a table may not: whoever wrote it must not choose local files.
    """

    def __init__(self, settings: Settings, files: bool) -> None:
        self._settings = settings
        self._files = files
        self._roots = tuple(os.path.realpath(root) for root in settings.fetch_roots)
        self._source = TrustedFileSource()

    def check(self, name: str) -> int:
        """Check whether an engine could judge an image, without reading it, and return the bytes that its event holds.

        Raises:
            EventInvalid: no worker could judge it.
            ImageNotFound, ImageTooLarge, NotAnImage: the local file cannot be sent.
        """
        kind, text = reference_of(name)
        if kind != "path":
            events = parse_message({"id": "-", "image": {kind: text}})
            check_submission(events, self._settings.max_bytes, self._settings.buckets)
            return 0
        if not self._files:
            raise EventInvalid("image: is neither an http(s) URL nor s3://BUCKET/KEY")
        return self._check_file(name)

    def make(self, name: str) -> dict[str, Any]:
        """Return the reference for an image that `check` accepted.

        A file that has vanished since is referred to by its path: the worker answers with the error.
        """
        kind, text = reference_of(name)
        if kind == "path" and not self._by_path(name):
            try:
                data = self._source.fetch(name, self._settings.max_bytes)
            except ImageError:
                return {"path": name}
            return {"inline": pybase64.b64encode_as_string(data)}
        return {kind: os.path.realpath(text) if kind == "path" else text}

    def _by_path(self, name: str) -> bool:
        full = os.path.realpath(name)
        return any(os.path.commonpath((root, full)) == root for root in self._roots)

    def _check_file(self, name: str) -> int:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ImageNotFound("the name is not UTF-8; rename the file") from error
        try:
            size = os.stat(name).st_size
        except OSError as error:
            raise ImageNotFound(f"the file cannot be read ({error.strerror})") from error
        if not size:
            raise NotAnImage("the file is empty")
        if self._by_path(name):
            return 0
        if size > self._settings.max_bytes:
            raise ImageTooLarge(f"{size} bytes, more than MODERATOR_MAX_BYTES={self._settings.max_bytes}")
        return size
