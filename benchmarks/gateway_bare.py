"""The least that an upload pipeline would write itself: an endpoint that pushes what it gets to Redis, unchecked."""

import json
import sys
from typing import Any

import redis.asyncio
import uvicorn
from fastapi import FastAPI


def make_app(url: str) -> FastAPI:
    """Return the app."""
    app, client = FastAPI(), redis.asyncio.Redis.from_url(url, max_connections=1000)

    @app.post("/v1/events", status_code=202)
    async def push(event: dict[str, Any]) -> dict[str, str]:
        await client.lpush("bare", json.dumps(event))
        return {"id": event["id"]}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), log_config=None, access_log=False)
