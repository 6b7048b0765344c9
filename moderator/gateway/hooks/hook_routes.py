"""The routes of hooks: from requests to what the senders' modules read, and back to answers."""

import asyncio
import logging
import time
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from moderator.errors import EventInvalid, ImageError, QueueUnavailable
from moderator.events import event_key
from moderator.fetching.http import GuardedClient
from moderator.gateway.auth import Scope, require
from moderator.gateway.hooks.event_grid import Validation, allow_origin, read_event_grid
from moderator.gateway.hooks.gcs import read_gcs
from moderator.gateway.hooks.hook_call import HookCall, HookReply
from moderator.gateway.hooks.hook_metrics import HookMetrics
from moderator.gateway.hooks.hook_openapi import ASKED, REPORT, REPORTED, SHAKEN
from moderator.gateway.hooks.hook_options import read_options
from moderator.gateway.hooks.imgproxy import read_source, source_event
from moderator.gateway.hooks.outcome import Failure, Shown, UploadOutcome
from moderator.gateway.hooks.s3_events import read_s3
from moderator.gateway.hooks.sns import Confirmation, read_sns
from moderator.gateway.hooks.stored_object import Notice
from moderator.gateway.hooks.tusd import answer_upload, read_tusd, refuse_upload, upload_event
from moderator.gateway.problems import RequestRefused
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict

log = logging.getLogger(__name__)

PREFIX = "/v1/hooks"
#: Most bytes of what a sender posts; the largest, a batch of Event Grid, has at most 1 MB.
HOOK_BYTES_MAX = 1 << 20
#: Most bytes of an answer to the confirmation of a subscription.
CONFIRMED_BYTES_MAX = 65_536
#: Seconds after which an image that could not be judged is tried again when imgproxy is asked for it.
ERROR_KEPT_SECONDS = 600

_admit = require(Scope.SUBMIT, in_query=True)


async def unreachable(request: Request) -> QueueUnavailable | None:
    """Check the key of a request; return the error if Redis, which has the keys, is away.

    Then the failure policy answers, as it would if the event could not be submitted; nothing else may be done.
    """
    try:
        await _admit(request)
    except QueueUnavailable as error:
        return error
    return None


Away = Annotated[QueueUnavailable | None, Depends(unreachable)]
router = APIRouter(prefix=PREFIX, tags=["hooks"])


def add_hooks(app: FastAPI) -> None:
    """Add the routes of hooks to an app whose state has `settings`, `service` and `registry`."""
    app.state.hook_metrics = HookMetrics(app.state.registry)
    app.include_router(router)


def call_of(request: Request, hook: str) -> HookCall:
    """Return the call of a hook that a request makes."""
    state = request.app.state
    return HookCall(hook, state.service, state.settings, state.hook_metrics)


async def body_of(request: Request) -> bytes:
    """Return the body of a request, of at most `HOOK_BYTES_MAX`."""
    too_large = RequestRefused(413, "body-too-large", f"the body has more than {HOOK_BYTES_MAX} bytes")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > HOOK_BYTES_MAX:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > HOOK_BYTES_MAX:
            raise too_large
    return bytes(body)


def answer(reply: HookReply) -> JSONResponse:
    """Return the response for a reply."""
    return JSONResponse(reply.body, reply.status, reply.headers)


@router.post("/tusd", responses=REPORTED, openapi_extra=REPORT)
async def tusd(request: Request, away: Away) -> JSONResponse:
    """HTTP hooks of tusd 2.

    `pre-create` refuses by size and type, `pre-finish` waits for the verdict and refuses what is blocked,
    `post-finish` submits the upload. All others are answered with nothing to do.
    """
    call, options = call_of(request, "tusd"), read_options(request.query_params)
    hook = read_tusd(await body_of(request))
    if hook.kind == "pre-create":
        return JSONResponse(refuse_upload(hook, call.settings.max_bytes, call.settings.hook_types))
    if hook.is_part or hook.kind not in ("pre-finish", "post-finish"):
        return JSONResponse({})
    if hook.kind == "post-finish":
        reply = call.unreachable(away) if away else await call.take_upload(upload_event(hook, options))
        return answer(reply)
    try:
        event = upload_event(hook, options)
    except EventInvalid as error:
        return JSONResponse(answer_upload(call.without("tusd", "", Failure.ERROR, str(error))))
    outcome = call.without_queue(event, away) if away else await call.judge(event)
    return JSONResponse(answer_upload(outcome))


@router.post("/s3", responses=REPORTED, openapi_extra=REPORT)
async def s3(request: Request, away: Away) -> JSONResponse:
    """Bucket notifications of S3, MinIO and other stores that speak like it."""
    call, options = call_of(request, "s3"), read_options(request.query_params)
    notice = read_s3(await body_of(request))
    return answer(call.unreachable(away) if away else await call.take(notice, options))


@router.post("/sns", responses=REPORTED, openapi_extra=REPORT)
async def sns(request: Request, away: Away) -> JSONResponse:
    """Bucket notifications through Amazon SNS, from the topics in `MODERATOR_SNS_TOPICS`.

    Subscriptions to these topics are confirmed at Amazon's own hosts, or those in `MODERATOR_SNS_HOSTS`.
    """
    call, options = call_of(request, "sns"), read_options(request.query_params)
    settings = call.settings
    raw = request.headers.get("x-amz-sns-rawdelivery", "").lower() == "true"
    raw_topic = request.headers.get("x-amz-sns-topic-arn", "") if raw else ""
    message = read_sns(await body_of(request), settings.sns_topics, settings.sns_hosts, raw_topic)
    if away:
        return answer(call.unreachable(away))
    if isinstance(message, Notice):
        return answer(await call.take(message, options))
    return answer(await asyncio.to_thread(confirm, message, settings))


def confirm(confirmation: Confirmation, settings: Settings) -> HookReply:
    """Confirm a subscription; where that fails, SNS asks again."""
    try:
        with GuardedClient(settings.fetch_networks, settings.fetch_timeout) as client:
            client.get(confirmation.url, CONFIRMED_BYTES_MAX)
    except ImageError as error:
        log.warning("the subscription to %s cannot be confirmed: %s", confirmation.topic, error)
        return HookReply(503, {"decision": "hold", "failure": "away", "reason": "SNS did not confirm"}, {})
    log.info("the subscription to %s is confirmed", confirmation.topic)
    return HookReply(200, {"confirmed": confirmation.topic}, {})


@router.post("/gcs", responses=REPORTED, openapi_extra=REPORT)
async def gcs(request: Request, away: Away) -> JSONResponse:
    """New objects in Google Cloud Storage: pushed by Pub/Sub, or as CloudEvents by Eventarc."""
    call, options = call_of(request, "gcs"), read_options(request.query_params)
    notice = read_gcs(request.headers, await body_of(request))
    return answer(call.unreachable(away) if away else await call.take(notice, options))


@router.post("/azure", responses=REPORTED, openapi_extra=REPORT)
async def azure(request: Request, away: Away) -> JSONResponse:
    """New blobs in Azure Storage: posted by Event Grid, in its own schema or in CloudEvents."""
    call, options = call_of(request, "azure"), read_options(request.query_params)
    notice = read_event_grid(request.headers, await body_of(request))
    if away:
        return answer(call.unreachable(away))
    if isinstance(notice, Validation):
        return JSONResponse(notice.answer)
    return answer(await call.take(notice, options))


@router.options("/azure", responses=SHAKEN)
async def azure_handshake(request: Request, away: Away) -> Response:
    """The handshake by which Event Grid asks whether it may send CloudEvents."""
    if away:
        raise away
    return Response(headers=allow_origin(request.headers))


@router.get("/imgproxy/{path:path}", responses=ASKED)
async def imgproxy(request: Request, path: str, away: Away) -> JSONResponse:
    """Whether the image that a path of imgproxy asks for may be shown: 200, or 403 if not or not yet.

    For `auth_request` of nginx and the like. The query is that of the client, and ignored.
    """
    outcome = await judge_source(call_of(request, "imgproxy"), asked_path(request), away)
    headers = {"Moderation-Decision": outcome.decision.value}
    if outcome.failure:
        headers["Moderation-Failure"] = outcome.failure.value
    return JSONResponse(outcome.to_json(), 200 if outcome.decision is Shown.ALLOW else 403, headers)


def asked_path(request: Request) -> str:
    """Return the path after the hook's own, as the client encoded it."""
    raw: bytes = request.scope.get("raw_path") or b""
    return raw.partition(b"?")[0].decode("latin-1").partition(f"{PREFIX}/imgproxy")[2]


async def judge_source(call: HookCall, path: str, away: QueueUnavailable | None) -> UploadOutcome:
    """Return the outcome for the image that a path asks for: of an earlier verdict, or of a new one."""
    settings = call.settings
    key, salt = (
        bytes.fromhex(secret.get_secret_value()) if secret else b""
        for secret in (settings.imgproxy_key, settings.imgproxy_salt)
    )
    try:
        event = source_event(read_source(path, key, salt), settings.imgproxy_policy)
    except EventInvalid as error:
        return call.without("imgproxy", "", Failure.ERROR, str(error))
    if away:
        return call.without_queue(event, away)
    verdict = await call.known(event_key(event["source"], event["id"]))
    if verdict is not None and is_stale(verdict):
        # Once per that time at most, whoever asks.
        event["id"] = f"{event['id']}@{int(time.time() // ERROR_KEPT_SECONDS)}"
        verdict = await call.known(event_key(event["source"], event["id"]))
    return call.judged(verdict) if verdict is not None else await call.judge(event)


def is_stale(verdict: Verdict) -> bool:
    """Return whether an image that could not be judged should be tried again."""
    age = time.time() - verdict.created_at.timestamp()
    return verdict.decision is Decision.ERROR and age > ERROR_KEPT_SECONDS
