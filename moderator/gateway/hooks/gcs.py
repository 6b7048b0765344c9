"""New objects in Google Cloud Storage, as Pub/Sub pushes them and as Eventarc does in CloudEvents. Pure.

Formats: Cloud Storage, "Pub/Sub notifications" and "Objects" (resource); Pub/Sub, "Push subscriptions"; Eventarc,
`google.cloud.storage.object.v1.finalized`. Names of objects are written as they are, without encoding.

A generation is the number of a write: greater is later. A worker gets what is there when it asks, for the S3 interface
of Cloud Storage takes no generation.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from moderator.errors import EventInvalid
from moderator.gateway.hooks.hook_body import as_object, at, number_at, read_json, text_at
from moderator.gateway.hooks.hook_cloudevents import CloudEvent, is_cloud_event, read_cloud_events
from moderator.gateway.hooks.stored_object import IGNORED, Notice, StoredObject

#: Digits to which generations are padded, so that they compare as text.
GENERATION_DIGITS = 20

_FINALIZED = "google.cloud.storage.object.v1.finalized"
_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"


def read_gcs(headers: Mapping[str, str], body: bytes) -> Notice:
    """Return the new objects of a request; the names of headers are in lower case.

    Raises:
        EventInvalid: it is neither a push of Pub/Sub nor an event of Eventarc.
    """
    if is_cloud_event(headers):
        return sum((_read_event(event) for event in read_cloud_events(headers, body)), Notice())
    return _read_push(as_object(read_json(body), "the push"))


def _read_event(event: CloudEvent) -> Notice:
    if event.type == _PUBLISHED:
        return _read_push(as_object(event.data, "data"))
    if event.type != _FINALIZED:
        return IGNORED
    return _stored(text_at(event.data, "bucket"), text_at(event.data, "name"), event.data)


def _read_push(push: dict[str, Any]) -> Notice:
    message = as_object(push.get("message"), "message")
    attributes = as_object(message.get("attributes"), "message.attributes")
    if attributes.get("eventType") != "OBJECT_FINALIZE":
        return IGNORED
    bucket, key = text_at(attributes, "bucketId"), text_at(attributes, "objectId")
    resource: dict[str, Any] = {}
    if attributes.get("payloadFormat") == "JSON_API_V1":
        try:
            resource = as_object(read_json(base64.b64decode(text_at(message, "data"), validate=True)), "data")
        except binascii.Error as error:
            raise EventInvalid("message.data is no base64") from error
    generation = attributes.get("objectGeneration")
    return _stored(bucket, key, {"generation": generation, **resource, "time": attributes.get("eventTime")})


def _stored(bucket: str, key: str, resource: Any) -> Notice:
    generation, size = number_at(resource, "generation"), number_at(resource, "size")
    if generation is None:
        raise EventInvalid("the object's generation is missing")
    if key.endswith("/") and not size:
        return IGNORED  # a folder, as consoles make them
    stored = StoredObject(
        source="gcs",
        bucket=bucket,
        key=key,
        write=str(generation),
        image={"key": f"{bucket}/{key}"},
        order=str(generation).zfill(GENERATION_DIGITS),
        facts={
            "generation": str(generation),
            "size": size,
            "type": _text(at(resource, "contentType")),
            "etag": _text(at(resource, "etag")),
            "time": _text(at(resource, "time") or at(resource, "timeCreated")),
        },
    )
    return Notice((stored,))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
