"""Submissions need a key by every way to their routes: straight from the middleware, and through FastAPI."""

import pytest
from fastapi.testclient import TestClient

from moderator.gateway.api_keys import Scope
from moderator.gateway.gateway_app import create_app
from moderator.queue.embedded_server import EmbeddedServer
from moderator.settings import Settings
from tests.support.gateway_process import make_key


@pytest.mark.parametrize("cors", ["", "https://pages.example.org"], ids=["direct", "cors"])
@pytest.mark.parametrize("prefix", ["", "/moderation"], ids=["at the root", "below a prefix"])
def test_submissions_need_a_key(shared_server: EmbeddedServer, cors: str, prefix: str) -> None:
    url = f"{shared_server.url.removesuffix('/0')}/13"  # where no worker takes them
    read, submit = make_key(url, Scope.READ), make_key(url, Scope.SUBMIT)
    event = {
        "id": f"{cors}{prefix}".replace("/", "-") or "plain",
        "image": {"url": "https://example.org/1.jpg"},
    }
    settings = Settings(redis_url=url, gateway_cors=cors)  # type: ignore[arg-type]
    with TestClient(create_app(settings), root_path=prefix) as client:

        def post(path: str, key: str | None) -> int:
            headers = {"X-API-Key": key} if key else {}
            return client.post(prefix + path, json=event, headers=headers).status_code

        assert [post("/v1/events", key) for key in (None, "nonsense", read)] == [401, 401, 403]
        assert [post("/v1/images", key) for key in (None, "nonsense", read)] == [401, 401, 403]
        assert post("/v1/events", submit) == 202
        assert post("/v1/events?wait=-1", submit) == 422
        assert client.get(f"{prefix}/v1/events", headers={"X-API-Key": submit}).status_code == 405
