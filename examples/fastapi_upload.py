"""FastAPI: a dependency that passes on pictures which may be kept. uvicorn examples.fastapi_upload:app"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile

from moderator import AsyncClient
from moderator.errors import EventInvalid, ModeratorError

MAX_BYTES = 25_000_000  # as MODERATOR_MAX_BYTES


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for all requests."""
    async with AsyncClient() as app.state.moderator:
        yield


async def checked_image(request: Request, file: UploadFile) -> UploadFile:
    """Return an upload that is not blocked."""
    if (file.size or 0) > MAX_BYTES:
        raise HTTPException(413, "the picture is too large")
    try:
        verdict = await request.app.state.moderator.check(
            inline=await file.read(), source="fastapi", timeout=15
        )
    except EventInvalid as error:
        raise HTTPException(422, str(error)) from error
    except ModeratorError as error:
        raise HTTPException(503, "the picture cannot be checked now", {"Retry-After": "10"}) from error
    if verdict.decision in ("block", "error"):
        raise HTTPException(422, f"the picture is not allowed: {verdict.top_category or verdict.decision}")
    await file.seek(0)
    return file


app = FastAPI(lifespan=lifespan)


@app.post("/photos", status_code=201)
async def upload(image: Annotated[UploadFile, Depends(checked_image)]) -> dict[str, str | None]:
    """Keep a picture."""
    return {"kept": image.filename}
