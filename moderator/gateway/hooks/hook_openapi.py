"""What OpenAPI says of the hooks: what senders post stands in their own documentation, what they get is here."""

from typing import Any

from moderator.gateway.hooks.hook_options import FIELDS
from moderator.gateway.openapi import Json, json_answer, problem_answers
from moderator.gateway.problems import MEDIA_TYPE

_ANSWER: Json = {"type": "object"}
_HELD: Json = {"decision": "hold", "failure": "away", "reason": "the queue is away"}


def _refusal(status: int, description: str, example: Json) -> Json:
    """Return the description of an answer that is the hook's own, or a problem."""
    answer = json_answer(description, _ANSWER, example)
    answer["content"][MEDIA_TYPE] = problem_answers(status)[status]["content"][MEDIA_TYPE]
    return answer


_NOT_JUDGED = _refusal(
    422,
    "The report cannot be read, or some of its images cannot be judged.",
    {"accepted": 1, "problems": [""]},
)
_AWAY = _refusal(
    503, "The queue is away or full: the sender reports again (`MODERATOR_HOOK_FAILURE`).", _HELD
)
_AWAY["headers"] = problem_answers(503)[503]["headers"]
REPORTED: dict[int | str, Json] = {
    200: json_answer("What became of the report.", _ANSWER, {"accepted": 1}),
    **problem_answers(400, 401, 403, 408, 413, 415, 429),
    422: _NOT_JUDGED,
    503: _AWAY,
}
SHAKEN: dict[int | str, Json] = {
    200: {"description": "Event Grid may send CloudEvents."},
    **problem_answers(401, 403, 422, 429, 503),
}
ASKED: dict[int | str, Json] = {
    200: json_answer("The image may be shown.", _ANSWER, {"decision": "allow"}),
    403: _refusal(403, "The image may not be shown, or not yet.", {"decision": "block"}),
    **problem_answers(401, 404, 422, 429, 503),  # 404: a line break in the path
}
REPORT: dict[str, Any] = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": "Of the events that are submitted.",
            "schema": {"type": "string"},
        }
        for name in FIELDS
    ],
    "requestBody": {
        "required": True,
        "description": "As the sender documents it.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}
