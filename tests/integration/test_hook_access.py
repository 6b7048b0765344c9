"""Who may call hooks, and what they answer while Redis, which knows the keys, is away."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from moderator.gateway import api_keys
from moderator.gateway.api_keys import Scope
from moderator.gateway.gateway_app import create_app
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.executors import RedisExecutor
from moderator.settings import Settings
from tests.support.hook_bodies import S3_TEST_EVENT, event_grid_validation, s3_body, tusd_body

HOOKS = ("tusd", "s3", "sns", "gcs", "azure")


def make_key(url: str, *scopes: Scope) -> str:
    key, credentials = api_keys.make_key()
    RedisExecutor(connect(url)).run_each(api_keys.save(credentials, "hook", scopes, None))
    return key


@pytest.fixture(scope="module")
def app(shared_server: EmbeddedServer) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(redis_url=shared_server.url, buckets="uploads"))) as client:
        yield client


def test_a_key_is_given_as_the_sender_can(app: TestClient, shared_server: EmbeddedServer) -> None:
    key = make_key(shared_server.url, Scope.SUBMIT)
    for extra in (
        {"headers": {"Authorization": f"Bearer {key}"}},
        {"headers": {"X-API-Key": key}},
        {"auth": ("hook", key)},
        {"params": {"key": key}},
    ):
        assert app.post("/v1/hooks/s3", content=S3_TEST_EVENT, **extra).status_code == 200


def test_without_a_key_nothing_is_read(app: TestClient, shared_server: EmbeddedServer) -> None:
    reader = make_key(shared_server.url, Scope.READ)
    for hook in HOOKS:
        assert app.post(f"/v1/hooks/{hook}", content=b"x").status_code == 401
        assert app.post(f"/v1/hooks/{hook}?key=wrong", content=b"x").status_code == 401
        assert app.post(f"/v1/hooks/{hook}", content=b"x", headers={"X-API-Key": reader}).status_code == 403
    asked = {"WebHook-Request-Origin": "eventgrid.azure.net"}
    assert app.options("/v1/hooks/azure", headers=asked).status_code == 401
    assert app.get("/v1/hooks/imgproxy/_/plain/http://example.org/a.jpg").status_code == 401


def test_while_redis_is_away_the_failure_policy_answers(server: EmbeddedServer) -> None:
    key = {"X-API-Key": make_key(server.url, Scope.SUBMIT)}
    failure = "tusd=reject,imgproxy=allow"
    settings = Settings(redis_url=server.url, buckets="uploads", hook_failure=failure, gateway_rate=0)
    with TestClient(create_app(settings)) as app:
        server.stop()
        held = app.post("/v1/hooks/s3", content=s3_body(), headers=key)
        assert (held.status_code, held.json()["decision"], held.json()["failure"]) == (503, "hold", "away")
        assert held.headers["Retry-After"] == "5"
        rejected = app.post("/v1/hooks/tusd", content=tusd_body("pre-finish"), headers=key).json()[
            "HTTPResponse"
        ]
        assert (rejected["StatusCode"], rejected["Header"]["Moderation-Decision"]) == (503, "reject")
        handshake = app.post("/v1/hooks/azure", content=event_grid_validation("code"), headers=key)
        assert "validationResponse" not in handshake.json(), "nobody knows who asks"
        shown = app.get("/v1/hooks/imgproxy/_/plain/http://example.org/a.jpg", headers=key)
        assert (shown.status_code, shown.headers["Moderation-Failure"]) == (200, "away")
        labels = {"hook": "s3", "failure": "away", "answer": "hold"}
        registry = app.app.state.registry  # type: ignore[attr-defined]
        assert registry.get_sample_value("moderation_hook_failures_total", labels) == 1
