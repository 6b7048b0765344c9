"""CloudEvents 1.0 over HTTP, in structured, binary and batched mode; an event of ours is their `data`. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from moderator.events import MAX_IMAGES
from moderator.gateway.json_bodies import is_json, media_type, parse_json
from moderator.gateway.problems import RequestRefused

STRUCTURED, BATCHED = "application/cloudevents+json", "application/cloudevents-batch+json"
_ATTRIBUTES = ("specversion", "id", "source", "type")


def read_events(headers: Mapping[str, str], body: bytes) -> tuple[list[Any], bool]:
    """Return the events of a request, and whether it is a batch: CloudEvents of any mode, or an event of ours alone.

    `id` and `source` of an event are those of its CloudEvent where its `data` has none.

    Raises:
        RequestRefused: the body cannot be read (400), is of another kind (415), or a CloudEvent is incomplete (422).
    """
    kind = media_type(headers)
    if kind == BATCHED:
        batch = parse_json(body)
        if not isinstance(batch, list):
            raise RequestRefused(422, "batch-invalid", "a batch of CloudEvents is a JSON array")
        if len(batch) > MAX_IMAGES:
            detail = f"the batch has {len(batch)} events, more than {MAX_IMAGES}; send several batches"
            raise RequestRefused(422, "batch-invalid", detail)
        return [_structured(value, f"[{n}]") for n, value in enumerate(batch)], True
    if kind == STRUCTURED:
        return [_structured(parse_json(body), "")], False
    if not is_json(kind):
        raise RequestRefused(
            415,
            "media-type",
            "send an event as application/json, or a CloudEvent whose data is JSON; POST /v1/images takes images",
        )
    value = parse_json(body)
    if "ce-specversion" in headers or "ce-id" in headers:
        attributes = {name: unquote(headers[f"ce-{name}"]) for name in _ATTRIBUTES if f"ce-{name}" in headers}
        return [_event(attributes, value, "")], False
    return [value], False


def _structured(value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RequestRefused(
            422, "cloudevent-invalid", f"a CloudEvent is a JSON object, not {where or 'this body'}"
        )
    if not is_json(str(value.get("datacontenttype") or "application/json").partition(";")[0].strip().lower()):
        detail = f"{where}datacontenttype: the data of an event is JSON; POST /v1/images takes images"
        raise RequestRefused(415, "media-type", detail)
    data = value.get("data")
    if (encoded := value.get("data_base64")) is not None:
        try:
            data = parse_json(base64.b64decode(encoded, validate=True))
        except (TypeError, ValueError, binascii.Error) as error:
            detail = f"{where}data_base64: is not base64"
            raise RequestRefused(422, "cloudevent-invalid", detail) from error
    return _event(value, data, where)


def _event(attributes: Mapping[str, Any], data: Any, where: str) -> Any:
    """Return the event in a CloudEvent."""
    for name in _ATTRIBUTES:
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            detail = f"{where}{name}: a CloudEvent has this attribute, a text that is not empty"
            raise RequestRefused(422, "cloudevent-invalid", detail)
    if attributes["specversion"] != "1.0":
        detail = f"{where}specversion: this gateway reads version 1.0 of CloudEvents"
        raise RequestRefused(422, "cloudevent-invalid", detail)
    if not isinstance(data, dict):
        raise RequestRefused(422, "cloudevent-invalid", f"{where}data: is an event, a JSON object")
    return {"id": attributes["id"], "source": attributes["source"], **data}
