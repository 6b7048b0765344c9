"""An event: one upload to be moderated, as it is on the queue. Pure data, no I/O."""

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from moderator.errors import EventInvalid
from moderator.printable import printable

#: Bounds on what a message may carry, in characters.
MAX_ID = 256
MAX_METADATA_CHARACTERS = 16_384
#: Levels of nesting in metadata. Readers of JSON give up at some depth.
MAX_DEPTH = 32
#: Images in a bulk event. Each becomes an event with a copy of the metadata.
MAX_IMAGES = 1000
#: Bounds on what is reported about an invalid message: the number of problems, and the characters of each.
MAX_PROBLEMS = 5
MAX_PROBLEM = 200


def event_key(source: str, id: str) -> str:
    """Return `source:id` as one unambiguous string: colons in the id are escaped; the last colon is the separator."""
    return f"{source}:{id.replace('%', '%25').replace(':', '%3A')}"


def stored_key(source: str, id: str, bulk: str | None) -> str:
    """Return the key of an event, or of its verdict: of an image of a bulk event if `bulk` is that event's id."""
    return event_key(source, id) if bulk is None else f"{event_key(source, bulk)}%2F{id[len(bulk) + 1 :]}"


def bulk_image_key(key: str) -> str | None:
    """Turn the key of an event whose own id is `up/0` into the key of image 0 of the bulk event `up`.

    The slash between the two is escaped. Return None if no image of a bulk event has such an id.
    """
    source, _, id = key.rpartition(":")
    match = _IMAGE_OF_BULK.fullmatch(id)
    return f"{source}:{match[1]}%2F{match[2]}" if match else None


def split_key(key: str) -> tuple[str, str, str | None]:
    """Return source, id and bulk id of an event from its key; the bulk id is None outside a bulk event."""
    source, _, escaped = key.rpartition(":")
    id = escaped.replace("%2F", "/").replace("%3A", ":").replace("%25", "%")
    return source, id, id.rpartition("/")[0] if "%2F" in escaped else None


#: Id of a bulk event (not empty) and number of an image, in the image's id and in the id of a key.
_IMAGE_OF_BULK = re.compile(r"(.+)/(0|[1-9][0-9]*)", re.DOTALL)


def nested_deeper(levels: int, value: JsonValue) -> bool:
    """Return whether lists and objects are nested more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(nested_deeper(levels - 1, item) for item in inner)


class Priority(StrEnum):
    """`interactive`: someone is waiting for the verdict. `bulk`: no one is."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class ImageReference(BaseModel):
    """Where the bytes are. Exactly one of the fields is given.

    `path`: a file under an allowed root. `url`: http or https. `key`: an object in an allowed bucket, `BUCKET/KEY`,
    where `version` may name one of the object's versions. `inline`: the file itself, base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    path: str | None = Field(None, max_length=4096)
    url: str | None = Field(None, max_length=8192)
    key: str | None = Field(None, max_length=4096)
    inline: str | None = Field(None, repr=False)
    # A field of its own, for a key may hold any character. Left out while None: older versions do not know it.
    version: Annotated[
        str | None, Field(min_length=1, max_length=1024, exclude_if=lambda version: version is None)
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(v is not None for v in (self.path, self.url, self.key, self.inline)) != 1:
            raise ValueError("give exactly one of path, url, key, inline")
        if self.version is not None and self.key is None:
            raise ValueError("version: only an object named by key has versions; leave it out")
        return self


class Reply(BaseModel):
    """Where the verdict should go besides the stream."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    webhook: str | None = Field(None, max_length=8192)


class Event(BaseModel):
    """One upload. `source` and `id` together are unique and identify the verdict.

    `bulk`: for an image of a bulk event, the id of that event; the image's own id is then `<bulk>/<n>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str = Field(default_factory=lambda: uuid4().hex, min_length=1, max_length=MAX_ID)
    source: str = Field("moderator", min_length=1, max_length=MAX_ID)
    policy: str | None = Field(None, max_length=128)
    image: ImageReference
    priority: Priority = Priority.INTERACTIVE
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    reply: Reply = Field(default_factory=Reply)
    # Last: without it, an event is written as by versions that did not know the field.
    bulk: str | None = Field(None, min_length=1, max_length=MAX_ID)

    @model_validator(mode="after")
    def _image_of_bulk(self) -> Self:
        if self.bulk is None:
            return self
        match = _IMAGE_OF_BULK.fullmatch(self.id)
        if match is None or match[1] != self.bulk:
            raise ValueError(
                f"id: {self.id!r} names no image of the bulk event {self.bulk!r}; leave out bulk"
            )
        return self

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if nested_deeper(MAX_DEPTH, self.metadata):
            raise ValueError(f"metadata is nested more than {MAX_DEPTH} levels deep")
        text = json.dumps(self.metadata, ensure_ascii=False)
        if len(text) > MAX_METADATA_CHARACTERS:
            raise ValueError(f"metadata is larger than {MAX_METADATA_CHARACTERS} characters")
        text.encode()  # a lone surrogate is a ValueError here; later it could not be encoded
        return self

    @property
    def key(self) -> str:
        """The event's name in Redis; see `event_key` and `bulk_image_key`."""
        return stored_key(self.source, self.id, self.bulk)

    def before_bulk(self) -> "Event":
        """Return the event as versions without `bulk` named it: as an event whose own id is `<bulk>/<n>`."""
        return self if self.bulk is None else self.model_copy(update={"bulk": None})


def parse_message(body: Any) -> list[Event]:
    """Read a queue message: an event, or a bulk event whose `images` lists many references.

    Each image of a bulk event becomes an event with the id `<id>/<n>` (n from 0), so it gets its own verdict.

    Raises:
        EventInvalid: the message is neither; the message names each key and what is wrong with it.
    """
    if not isinstance(body, dict):
        raise EventInvalid(f"an event is a JSON object, not {type(body).__name__}")
    images = body.get("images")
    try:
        if images is None:
            return [Event.model_validate(body)]
        if not isinstance(images, list) or not images:
            raise EventInvalid("images: give a list of at least one image reference")
        if len(images) > MAX_IMAGES:
            raise EventInvalid(f"images: {len(images)} are more than {MAX_IMAGES}; send several messages")
        if "image" in body:
            raise EventInvalid("image: this is a bulk event; give image or images, not both")
        if not isinstance(body.get("id"), str) or not body["id"]:
            raise EventInvalid("id: a bulk event needs one; the verdicts are named after it")
        if "bulk" in body:
            raise EventInvalid("bulk: only an image of a bulk event has this; leave it out")
        common = {key: value for key, value in body.items() if key != "images"}
        common.setdefault("priority", Priority.BULK)
        return [
            Event.model_validate({**common, "id": f"{body['id']}/{n}", "image": image, "bulk": body["id"]})
            for n, image in enumerate(images)
        ]
    except ValidationError as error:
        raise EventInvalid(f"not an event: {_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    """Format the first problems of a message. Keys come from the message, so they are bounded and made printable."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in found[:MAX_PROBLEMS]]
    shown = [printable(text[:MAX_PROBLEM]) for text in shown]
    more = len(found) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
