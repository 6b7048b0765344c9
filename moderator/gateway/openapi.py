"""What OpenAPI says of the routes: bodies, answers and errors, each with an example."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from moderator.events import MAX_ID, MAX_IMAGES, Event, ImageReference
from moderator.gateway import problems
from moderator.gateway.cloudevents import BATCHED, STRUCTURED
from moderator.gateway.problems import RETRY_AFTER_HEADER, ProblemDetails
from moderator.gateway.responses import AcceptedEvent, AcceptedEvents
from moderator.verdicts import Verdict

Json = dict[str, Any]

DESCRIPTION = """Events and images in, verdicts out.

An event is accepted once for each `source` and `id`: after a failure, send it again. Errors are
`application/problem+json` (RFC 9457). Each answer has an `X-Request-ID`: the request's own, if it has a well-formed one.
"""
EVENT_EXAMPLE: Json = {
    "id": "upload-4711",
    "source": "shop",
    "policy": "marketplace",
    "image": {"url": "https://images.example.org/4711.jpg"},
    "metadata": {"subject": "user-42"},
}
CLOUDEVENT_EXAMPLE: Json = {
    "specversion": "1.0",
    "type": "org.example.upload",
    "id": "upload-4711",
    "source": "shop",
    "data": {"policy": "marketplace", "image": {"url": "https://images.example.org/4711.jpg"}},
}
ACCEPTED_EXAMPLE: Json = {
    "id": "upload-4711",
    "source": "shop",
    "acceptance": "accepted",
    "links": {"verdict": "/v1/verdicts/shop/upload-4711"},
}
VERDICT_EXAMPLE: Json = {
    "event_id": "upload-4711",
    "source": "shop",
    "decision": "block",
    "is_safe": False,
    "safe_score": 0.1,
    "unsafe_score": 0.9,
    "categories": {"live-animals": {"score": 0.9, "decision": "block", "top_prompts": []}},
    "policy": {"name": "marketplace", "version": 3, "digest": "6d3e"},
    "created_at": "2026-11-26T12:00:00Z",
    "metadata": {"subject": "user-42"},
}
#: Status: name of the problem, and its detail, as examples.
_PROBLEMS = {
    400: ("json-invalid", "the body is no JSON: expected value at line 1 column 1"),
    401: ("key-missing", "give an API key: Authorization: Bearer KEY, or X-API-Key: KEY"),
    403: ("scope-missing", "the key shop lacks the scope submit; ask for one that has it"),
    404: ("no-verdict", "there is no verdict for this event: not yet, no longer, or the event is unknown"),
    408: ("body-late", "the body did not arrive within 60 s (MODERATOR_GATEWAY_BODY_TIMEOUT)"),
    413: ("body-too-large", "the body has 40000000 bytes or more, the gateway takes 34333336"),
    415: ("media-type", "send an event as application/json, or a CloudEvent whose data is JSON"),
    422: ("event-invalid", "image.url: only http and https are fetched"),
    429: ("queue-full", "the queue has no room for 1 interactive event(s); nothing of it was accepted"),
    501: ("archive-missing", "the archive needs an extra here: pip install 'moderator[archive]'"),
    503: ("queue-unavailable", "Redis did not accept the event; submit again: the same id is accepted once"),
}
_TITLES = {
    400: "The body cannot be read.",
    401: "No API key, or none that works.",
    403: "The key lacks the scope.",
    404: "There is none.",
    408: "The body did not arrive in time.",
    413: "The body or the image is too large.",
    415: "The body is of a kind that this path does not take.",
    422: "The request can be read, and is not valid.",
    429: "The queue is full, or the key has used up its rate: try again after `Retry-After` seconds.",
    501: "The archive is not installed here.",
    503: "Redis does not answer, or the gateway is busy: try again after `Retry-After` seconds.",
}


def reference(model: type[BaseModel]) -> Json:
    """Return a schema that refers to a model."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def json_answer(description: str, schema: Json, example: Json) -> Json:
    """Return the description of an answer in JSON."""
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def problem_answers(*statuses: int) -> dict[int | str, Json]:
    """Return the descriptions of errors."""
    return {status: _problem_answer(status) for status in statuses}


def _problem_answer(status: int) -> Json:
    name, detail = _PROBLEMS[status]
    example = {
        "type": f"urn:moderator:problem:{name}",
        "title": _TITLES[status].rstrip("."),
        "status": status,
        "detail": detail,
        "request_id": "0f6a7c1e2b3d4c5e8f90a1b2c3d4e5f6",
    }
    content = {problems.MEDIA_TYPE: {"schema": reference(ProblemDetails), "example": example}}
    answer: Json = {"description": _TITLES[status], "content": content}
    if status in (429, 503):
        seconds = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        answer["headers"] = {RETRY_AFTER_HEADER: seconds}
    return answer


_VERDICT = json_answer("The verdict.", reference(Verdict), VERDICT_EXAMPLE)
_ACCEPTED = json_answer(
    "Accepted: the service has it, or had it. Many events are answered with a list.",
    {"anyOf": [reference(AcceptedEvent), reference(AcceptedEvents)]},
    ACCEPTED_EXAMPLE,
)
SUBMITTED: dict[int | str, Json] = {
    200: {**_VERDICT, "description": "The verdict: it came within the seconds to `wait`."},
    202: _ACCEPTED,
    **problem_answers(400, 401, 403, 408, 413, 415, 422, 429, 503),
}
LOOKED_UP: dict[int | str, Json] = {200: _VERDICT, **problem_answers(401, 403, 404, 422, 429, 503)}
_LIST_SCHEMA: Json = {
    "type": "object",
    "required": ["items", "next"],
    "properties": {
        "items": {"type": "array", "items": reference(Verdict)},
        "next": {"type": ["string", "null"], "description": "The `cursor` of the next page."},
    },
}
LISTED: dict[int | str, Json] = {
    200: json_answer("Verdicts, newest first.", _LIST_SCHEMA, {"items": [VERDICT_EXAMPLE], "next": None}),
    **problem_answers(401, 403, 422, 429, 501, 503),
}
_STREAM_EXAMPLE = (
    'id: 1764201600000-0\nevent: verdict\ndata: {"event_id": "upload-4711", "decision": "block"}\n\n'
)
STREAMED: dict[int | str, Json] = {
    200: {
        "description": "Events `verdict`, `gap` and `unavailable`; their data is JSON.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE}},
    },
    **problem_answers(401, 403, 422, 429, 503),
}
READY: dict[int | str, Json] = {
    503: {"description": "Redis does not answer.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}

_BULK_SCHEMA: Json = {
    "type": "object",
    "title": "BulkEvent",
    "description": "Many images in one event: each becomes an event with the id `<id>/<n>`.",
    "required": ["id", "images"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID - 4},
        "images": {
            "type": "array",
            "items": reference(ImageReference),
            "minItems": 1,
            "maxItems": MAX_IMAGES,
        },
    },
}
_CLOUDEVENT_SCHEMA: Json = {
    "type": "object",
    "title": "CloudEvent",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        **{
            name: {"type": "string", "minLength": 1, "maxLength": MAX_ID} for name in ("id", "source", "type")
        },
        "data": {**reference(Event), "description": "`id` and `source` may be left out: they are above."},
    },
}
EVENT_BODY: Json = {
    "requestBody": {
        "required": True,
        "description": "An event, a bulk event, or CloudEvents 1.0. In binary mode their attributes are `ce-` headers.",
        "content": {
            "application/json": {
                "schema": {"anyOf": [reference(Event), _BULK_SCHEMA]},
                "example": EVENT_EXAMPLE,
            },
            STRUCTURED: {"schema": _CLOUDEVENT_SCHEMA, "example": CLOUDEVENT_EXAMPLE},
            BATCHED: {
                "schema": {"type": "array", "items": _CLOUDEVENT_SCHEMA, "maxItems": MAX_IMAGES},
                "example": [CLOUDEVENT_EXAMPLE],
            },
        },
    }
}
_IMAGE_FIELDS: dict[str, Json] = {
    "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID, "description": "Default: a random one."},
    "source": {"type": "string", "minLength": 1, "maxLength": MAX_ID, "default": "moderator"},
    "policy": {"type": "string", "maxLength": 128, "example": "marketplace"},
    "priority": {"enum": ["interactive", "bulk"], "default": "interactive"},
    "metadata": {"type": "string", "description": "A JSON object.", "example": '{"subject": "user-42"}'},
    "webhook": {"type": "string", "format": "uri", "description": "URL that gets the verdict, too."},
}
_FORM_SCHEMA: Json = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": {"type": "string", "format": "binary"}, **_IMAGE_FIELDS},
}
_RAW: Json = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODY: Json = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": "The form may have it instead.",
            "schema": {key: value for key, value in schema.items() if key != "example"},
        }
        for name, schema in _IMAGE_FIELDS.items()
    ],
    "requestBody": {
        "required": True,
        "description": "A form with one file, or the file itself.",
        "content": {
            "multipart/form-data": {"schema": _FORM_SCHEMA},
            "image/*": _RAW,
            "application/octet-stream": _RAW,
        },
    },
}
VERDICT_PATH: Json = {
    "parameters": [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "As submitted, percent-encoded.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID},
            "example": EVENT_EXAMPLE[name],
        }
        for name in ("source", "id")
    ]
}
_MODELS = (AcceptedEvent, AcceptedEvents, Event, ImageReference, ProblemDetails, Verdict)


def describe_api(app: FastAPI) -> Json:
    """Return the app's OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        _, models = models_json_schema(
            [(model, "serialization" if model is Verdict else "validation") for model in _MODELS],
            ref_template="#/components/schemas/{model}",
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(models["$defs"])
        bearer = {
            "type": "http",
            "scheme": "bearer",
            "description": "A key that `moderator keys make` shows.",
        }
        header = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        components["securitySchemes"] = {"bearer": bearer, "key": header}
        for path, operations in document["paths"].items():
            if path.startswith("/v1/"):
                for operation in operations.values():
                    operation["security"] = [{"bearer": []}, {"key": []}]
        app.openapi_schema = document
    return app.openapi_schema
