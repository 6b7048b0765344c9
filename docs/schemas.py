"""JSON Schemas (2020-12) of the contract, from the models that read and write it: events, verdicts, policies."""

from typing import Any

from moderator.events import MAX_DEPTH, MAX_IMAGES, MAX_METADATA_CHARACTERS, Event
from moderator.policies.schema import Policy
from moderator.verdicts import Verdict

DIALECT = "https://json-schema.org/draft/2020-12/schema"
METADATA = (
    f"Your own JSON; comes back in the verdict. At most {MAX_METADATA_CHARACTERS} characters of JSON text, and at most "
    f"{MAX_DEPTH} levels deep."
)


def event_schema() -> dict[str, Any]:
    """Of an event, as a producer sends it."""
    schema = Event.model_json_schema()
    del schema["properties"]["bulk"]  # only an image of a bulk event has it, and no producer sends such
    schema["properties"]["metadata"]["description"] = METADATA
    schema["$defs"]["ImageReference"]["oneOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in schema["$defs"]["ImageReference"]["properties"]
    ]
    return _titled(
        "Event", "One upload. `source` and `id` together are unique and identify the verdict.", schema
    )


def bulk_event_schema() -> dict[str, Any]:
    """Of a bulk event: an event with many images."""
    schema = event_schema()
    properties = schema["properties"]
    del properties["image"]
    del properties["id"]["maxLength"]  # with the number of an image, its events' ids are bounded
    properties["images"] = {
        "description": "Each gets a verdict of its own, for the event `<id>/<n>`, n from 0.",
        "items": {"$ref": "#/$defs/ImageReference"},
        "maxItems": MAX_IMAGES,
        "minItems": 1,
        "title": "Images",
        "type": "array",
    }
    properties["priority"]["default"] = "bulk"
    schema["required"] = ["id", "images"]
    return _titled("BulkEvent", "Many uploads in one message, each with a verdict of its own.", schema)


def verdict_schema() -> dict[str, Any]:
    """Of a verdict. Later versions may add fields; what an earlier one did not write has its default."""
    return _titled("Verdict", "The answer for one event.", Verdict.model_json_schema())


def policy_schema() -> dict[str, Any]:
    """Of a policy file. `moderator policy lint` also checks what refers to other keys."""
    return _titled("Policy", "One version of a policy.", Policy.model_json_schema())


SCHEMAS = {
    "event": event_schema,
    "bulk-event": bulk_event_schema,
    "verdict": verdict_schema,
    "policy": policy_schema,
}
"""Each schema by the name of its file."""


def _titled(title: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DIALECT, **schema, "title": title, "description": description}
