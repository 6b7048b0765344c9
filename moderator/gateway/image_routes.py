"""`POST /v1/images`: an image itself, as a form or raw. It travels in its event and is kept until the verdict."""

from collections.abc import Mapping
from typing import Any

import pybase64
from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from moderator.gateway.json_bodies import media_type, parse_json
from moderator.gateway.openapi import IMAGE_BODY, SUBMITTED
from moderator.gateway.problems import RequestRefused
from moderator.gateway.responses import accepted_or_verdict
from moderator.gateway.service import Service
from moderator.gateway.submit_route import SubmitRoute, Wait

router = APIRouter(tags=["images"], route_class=SubmitRoute)

#: Most fields of a form, and bytes of one of them.
FORM_FIELDS_MAX, FORM_FIELD_BYTES_MAX = 16, 65_536
#: What may stand beside the image, in the form or in the query.
FIELDS = ("id", "source", "policy", "priority", "metadata", "webhook")


class _InMemory(MultiPartParser):
    """Writes nothing to disk: the body is bounded, and images are kept only until the verdict."""

    spool_max_size = 1 << 62


@router.post(
    "/v1/images",
    status_code=202,
    responses=SUBMITTED,
    openapi_extra=IMAGE_BODY,
)
async def submit_image(request: Request, wait: Wait = None) -> Response:
    """Submit an image: multipart form with one file, or the bytes of the file.

    The image is kept inside its event, until the verdict. Idempotent by `source` and `id`, as events are.
    """
    kind = media_type(request.headers)
    options = dict(request.query_params)
    options.pop("wait", None)
    if kind == "multipart/form-data":
        data, fields = await _read_form(request)
        options |= fields
    elif kind in ("", "application/octet-stream") or kind.startswith("image/"):
        data = await request.body()
    else:
        raise RequestRefused(
            415, "media-type", "send multipart/form-data with one file, or the file as image/..."
        )
    service: Service = request.app.state.service
    limit = service.settings.max_bytes
    if len(data) > limit:
        detail = f"the image has {len(data)} bytes, more than {limit} (MODERATOR_MAX_BYTES)"
        raise RequestRefused(413, "image-too-large", detail)
    if not data:
        raise RequestRefused(422, "image-missing", "the image is empty; send the bytes of the image file")
    event = _event(options)
    event["image"] = {"inline": pybase64.b64encode_as_string(data)}
    return await accepted_or_verdict(request, await service.submit(event), wait)


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    """Return the file of a form, and its fields."""
    parser = _InMemory(
        request.headers,
        request.stream(),
        max_files=1,
        max_fields=FORM_FIELDS_MAX,
        max_part_size=FORM_FIELD_BYTES_MAX,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestRefused(400, "form-invalid", f"the form cannot be read: {error.message}") from error
    fields: dict[str, str] = {}
    data = b""
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            data = await value.read()
            await value.close()
        elif name not in fields:
            fields[name] = value
        else:
            raise RequestRefused(422, "form-invalid", f"{name}: is there twice; give each field once")
    if not data:
        raise RequestRefused(
            422, "image-missing", "image: the form has no file, or an empty one; send one file part"
        )
    return data, fields


def _event(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the event without its image."""
    if unknown := sorted(set(options) - set(FIELDS)):
        raise RequestRefused(
            422, "field-unknown", f"{', '.join(unknown)[:200]}: unknown; an image has {', '.join(FIELDS)}"
        )
    event: dict[str, Any] = {
        name: value for name, value in options.items() if name not in ("metadata", "webhook")
    }
    if "metadata" in options:
        event["metadata"] = parse_json(options["metadata"])
    if "webhook" in options:
        event["reply"] = {"webhook": options["webhook"]}
    return event
