"""HTTP hooks of tusd 2: what it posts about an upload, and what it understands as an answer. Pure.

Format: tusd, "Customization via hooks". An answer that blocks must be read within 15 s, has at most 5 KiB, and has
status 200 whatever it says: any other status fails the upload with 500.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from moderator.errors import EventInvalid
from moderator.events import MAX_ID
from moderator.gateway.hooks.hook_body import as_object, at, number_at, read_json, text_at
from moderator.gateway.hooks.outcome import Failure, Shown, UploadOutcome

#: Most bytes of an answer that tusd reads.
ANSWER_BYTES_MAX = 5 * 1024
#: Most characters of a client's metadata that go into an event.
METADATA_CHARACTERS_MAX = 8192

#: Names under which clients state the type of a file (Uppy uses the first two).
_TYPE_NAMES = ("filetype", "type", "contentType")
#: Answers of HTTP to a client whose upload is refused: too large, of another type, blocked, no image, not judged now.
_TOO_LARGE, _OTHER_TYPE, _BLOCKED, _NO_IMAGE, _NOT_NOW = 413, 415, 403, 422, 503


@dataclass(frozen=True)
class TusdHook:
    """One call. `kind`: `pre-create`, `pre-finish`, `post-finish` or another."""

    kind: str
    upload: dict[str, Any]

    @property
    def is_part(self) -> bool:
        """Whether the upload is a part of another, which is what is judged."""
        return bool(at(self.upload, "IsPartial"))


def read_tusd(body: bytes) -> TusdHook:
    """Return what tusd reports.

    Raises:
        EventInvalid: it is no hook of tusd 2.
    """
    value = as_object(read_json(body), "the hook")
    kind = text_at(value, "Type")
    return TusdHook(kind, as_object(at(value, "Event", "Upload"), "Event.Upload"))


def refuse_upload(hook: TusdHook, bytes_max: int, types: Collection[str]) -> dict[str, Any]:
    """Return the answer to `pre-create`: a refusal, or an empty one.

    An upload that states neither size nor type is created: both are checked again on the file itself.

    Args:
        hook: the call.
        bytes_max: size of the largest image.
        types: media types of images.
    """
    size = number_at(hook.upload, "Size")
    if size is not None and size > bytes_max:
        return _refusal(_TOO_LARGE, f"the file has {size} bytes; at most {bytes_max} are accepted")
    stated = next((v for name in _TYPE_NAMES if (v := at(hook.upload, "MetaData", name))), None)
    if stated is None or hook.is_part:
        return {}
    if str(stated).partition(";")[0].strip().lower() not in types:
        return _refusal(_OTHER_TYPE, f"accepted are {', '.join(sorted(types))}")
    return {}


def upload_event(hook: TusdHook, options: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a complete upload, whose id is the upload's.

    Args:
        hook: the call.
        options: further fields of the event, as the operator chose them.

    Raises:
        EventInvalid: the upload has no id, or is in a store that workers cannot read.
    """
    id = text_at(hook.upload, "ID")
    if len(id) > MAX_ID:
        id = f"sha256:{sha256(id.encode(errors='surrogatepass')).hexdigest()}"
    stated = at(hook.upload, "MetaData")
    stated = stated if isinstance(stated, dict) else {}
    if len(json.dumps(stated)) > METADATA_CHARACTERS_MAX:
        stated = {}
    size = number_at(hook.upload, "Size")
    return {
        "id": id,
        "source": "tusd",
        "image": _image(hook.upload),
        "metadata": {"upload": {"size": size, "client": stated}},
        **options,
    }


def answer_upload(outcome: UploadOutcome) -> dict[str, Any]:
    """Return the answer to `pre-finish`.

    An upload that is allowed, reviewed or held keeps tusd's own answer to the client, with headers added; one that is
    blocked or rejected gets another status and a body.
    """
    headers = {"Moderation-Decision": outcome.decision.value}
    if outcome.failure:
        headers["Moderation-Failure"] = outcome.failure.value
    if outcome.decision not in (Shown.BLOCK, Shown.REJECT):
        return {"HTTPResponse": {"Header": headers}}
    status = {None: _BLOCKED, Failure.ERROR: _NO_IMAGE}.get(outcome.failure, _NOT_NOW)
    answer = _response(status, outcome.to_json(), headers)
    if len(json.dumps(answer)) >= ANSWER_BYTES_MAX:  # with a long id in another script
        answer = _response(status, replace(outcome, message=None).to_json(), headers)
    return answer


def _image(upload: dict[str, Any]) -> dict[str, str]:
    match at(upload, "Storage", "Type"):
        case "filestore":
            return {"path": text_at(upload, "Storage", "Path")}
        case "s3store" | "gcsstore":
            return {"key": f"{text_at(upload, 'Storage', 'Bucket')}/{text_at(upload, 'Storage', 'Key')}"}
        case other:
            raise EventInvalid(
                f"Storage.Type {ascii(other)[:60]} is not read: use filestore, s3store or gcsstore"
            )


def _refusal(status: int, reason: str) -> dict[str, Any]:
    body = {"decision": Shown.REJECT.value, "reason": reason}
    return {"RejectUpload": True, **_response(status, body, {"Moderation-Decision": Shown.REJECT.value})}


def _response(status: int, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    text = json.dumps(body)
    return {
        "HTTPResponse": {
            "StatusCode": status,
            "Body": text,
            "Header": {**headers, "Content-Type": "application/json"},
        }
    }
