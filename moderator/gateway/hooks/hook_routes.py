"""The routes of hooks: from requests to what the senders' modules read, and back to answers."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from moderator.errors import EventInvalid, ImageError, QueueUnavailable
from moderator.events import event_key
from moderator.fetching.http import GuardedClient
from moderator.fetching.urls import AllowedHosts
from moderator.gateway.hooks.event_grid import Validation, allow_origin, read_event_grid
from moderator.gateway.hooks.gcs import read_gcs
from moderator.gateway.hooks.hook_call import HookCall, Reply
from moderator.gateway.hooks.hook_options import read_options
from moderator.gateway.hooks.imgproxy import read_source, source_event
from moderator.gateway.hooks.outcome import Failure, Outcome, Shown
from moderator.gateway.hooks.s3_events import read_s3
from moderator.gateway.hooks.sns import Confirmation, read_sns
from moderator.gateway.hooks.stored_object import Notice
from moderator.gateway.hooks.tusd import answer_upload, read_tusd, refuse_upload, upload_event
from moderator.verdicts import Decision

PREFIX = "/v1/hooks"
