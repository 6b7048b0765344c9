"""The hooks of the gateway's app, over a real queue without workers: what is answered, and what is in the queue."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from moderator.client import Client
from moderator.gateway.gateway_app import create_app
from moderator.queue.embedded_server import EmbeddedServer
from moderator.settings import Settings
from tests.support.hook_bodies import (
    BLOB_URL,
    S3_TEST_EVENT,
    TOPIC,
    event_grid_body,
    event_grid_cloud_event,
    event_grid_validation,
    gcs_cloud_event,
    gcs_push,
    minio_body,
    s3_body,
    s3_record,
    sns_body,
    tusd_body,
)
from tests.support.http_server import Answer, HttpServer

#: An answer as a test compares it: status and JSON body.
Got = tuple[int, Any]


@pytest.fixture(scope="module")
def settings(module_server: EmbeddedServer) -> Settings:
    return Settings(
        redis_url=module_server.url,
        gateway_anonymous=True,
        gateway_rate=0,
        buckets="uploads",
        sns_topics=TOPIC,
        sns_hosts="127.0.0.1",
        fetch_networks="127.0.0.0/8",
        hook_wait=0.2,
    )


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def queue(module_server: EmbeddedServer) -> Client:
    return Client(settings=Settings(redis_url=module_server.url))


def post(app: TestClient, hook: str, body: bytes, **headers: str) -> Got:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = app.post(f"/v1/hooks/{hook}", content=body, headers=named)
    return answer.status_code, answer.json()


def image(queue: Client, source: str, id: str) -> Any:
    """The image of an event in the queue."""
    from moderator.events import event_key

    found = queue.redis.hget(f"moderation:event:{event_key(source, id)}", "event")
    assert found is not None, queue.redis.keys("moderation:event:*")
    return {name: value for name, value in json.loads(found)["image"].items() if value is not None}


def counts(**changed: int) -> dict[str, int]:
    return {"accepted": 0, "known": 0, "superseded": 0, "ignored": 0, "refused": 0, **changed}


def test_s3_and_minio(app: TestClient, queue: Client) -> None:
    assert post(app, "s3", S3_TEST_EVENT) == (200, counts(ignored=1))
    assert post(app, "s3", s3_body(s3_record(key="s3 a+b.jpg"))) == (200, counts(accepted=1))
    assert post(app, "s3", s3_body(s3_record(key="s3 a+b.jpg"))) == (200, counts(known=1))
    assert image(queue, "s3", "uploads/s3 a+b.jpg@0055AED6DCD90281E5") == {"key": "uploads/s3 a+b.jpg"}
    late = s3_record(key="s3 a+b.jpg", sequencer="0055AED6DCD90281E4")
    assert post(app, "s3", s3_body(late)) == (200, counts(superseded=1))
    assert post(app, "s3?source=minio&policy=p", minio_body(key="m.jpg", version="v1")) == (
        200,
        counts(accepted=1),
    )
    assert image(queue, "minio", "uploads/m.jpg@v1") == {"key": "uploads/m.jpg", "version": "v1"}
    status, body = post(app, "s3", s3_body(s3_record("elsewhere")))
    assert (status, body["refused"]) == (422, 1)
    assert "MODERATOR_BUCKETS" in body["problems"][0]


def test_sns(app: TestClient, queue: Client) -> None:
    body = s3_body(s3_record(key="sns.jpg"))
    kind = {"content_type": "text/plain; charset=UTF-8", "x_amz_sns_message_type": "Notification"}
    assert post(app, "sns", sns_body(message=body), **kind) == (200, counts(accepted=1))
    assert post(app, "sns", body, x_amz_sns_rawdelivery="true", x_amz_sns_topic_arn=TOPIC) == (
        200,
        counts(known=1),
    )
    assert post(app, "sns", sns_body(TopicArn=f"{TOPIC}x"))[0] == 422
    assert post(app, "sns", body, x_amz_sns_rawdelivery="true", x_amz_sns_topic_arn="other")[0] == 422


def test_a_subscription_is_confirmed(app: TestClient) -> None:
    with HttpServer() as http:
        asked = f"/?Action=ConfirmSubscription&TopicArn={TOPIC.replace(':', '%3A')}&Token=2336412f37"
        http.answers[asked] = [Answer(503), Answer(200, b"<ConfirmSubscriptionResponse/>")]
        body = sns_body("SubscriptionConfirmation", SubscribeURL=http.url("/elsewhere?with=this"))
        assert post(app, "sns", body)[0] == 503, "SNS asks again"
        assert post(app, "sns", body) == (200, {"confirmed": TOPIC})
        assert [request.path for request in http.requests] == [asked, asked]


def test_google_cloud_storage(app: TestClient, queue: Client) -> None:
    headers, resource = gcs_cloud_event()
    assert post(app, "gcs", gcs_push()) == (200, counts(accepted=1))
    assert post(app, "gcs", resource, **headers) == (200, counts(known=1))
    assert post(app, "gcs", gcs_push(generation=1)) == (200, counts(superseded=1))
    assert image(queue, "gcs", "uploads/cats/a cat.jpg@1764187200000001") == {"key": "uploads/cats/a cat.jpg"}


def test_azure(app: TestClient, queue: Client) -> None:
    headers, event = event_grid_cloud_event()
    assert post(app, "azure", event_grid_validation("code-1")) == (200, {"validationResponse": "code-1"})
    asked = app.options("/v1/hooks/azure", headers={"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert (asked.status_code, asked.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.azure.net")
    assert (
        app.options("/v1/hooks/azure", headers={"WebHook-Request-Origin": "example.org"}).status_code == 422
    )
    assert post(app, "azure", event_grid_body()) == (200, counts(accepted=1))
    assert post(app, "azure", event, **headers) == (200, counts(known=1))
    id = "shop.blob.core.windows.net/uploads/cats/a cat.jpg@00000000000004420000000000028963"
    assert image(queue, "azure", id) == {"url": BLOB_URL}


def test_tusd(app: TestClient, queue: Client) -> None:
    for kind in ("post-create", "post-receive", "pre-terminate", "post-terminate", "pre-create"):
        assert post(app, "tusd", tusd_body(kind)) == (200, {})
    status, refused = post(app, "tusd", tusd_body("pre-create", MetaData={"filetype": "text/html"}))
    assert (status, refused["RejectUpload"], refused["HTTPResponse"]["StatusCode"]) == (200, True, 415)
    assert post(app, "tusd", tusd_body("post-finish", IsPartial=True)) == (200, {})
    assert post(app, "tusd?policy=p", tusd_body("post-finish")) == (200, counts(accepted=1))
    assert image(queue, "tusd", "14b1c4c77771671a8479bc0444bbc5ce") == {"path": "/srv/uploads/14b1"}
    status, late = post(app, "tusd", tusd_body("pre-finish"))
    held = {"Moderation-Decision": "hold", "Moderation-Failure": "late"}
    assert (status, late) == (200, {"HTTPResponse": {"Header": held}})
    odd = tusd_body("pre-finish", {"Type": "azurestore"})
    assert post(app, "tusd", odd)[1]["HTTPResponse"]["Header"]["Moderation-Failure"] == "error"


def test_imgproxy(app: TestClient, queue: Client) -> None:
    path = "/v1/hooks/imgproxy/unsafe/rs:fit:300:300/plain/https%3A%2F%2Fexample.com%2Fa%40b.jpg@webp?policy=mine"
    asked = app.get(path)
    assert (asked.status_code, asked.json()["failure"]) == (403, "late")
    id = asked.json()["id"]
    assert image(queue, "imgproxy", id) == {"url": "https://example.com/a@b.jpg"}
    assert app.get("/v1/hooks/imgproxy/unsafe/plain/local:///etc/passwd").json()["failure"] == "error"


@pytest.mark.parametrize("hook", ["tusd", "s3", "sns", "gcs", "azure"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b"[" * 10_000], ids=["none", "list", "object", "odd", "deep"]
)
def test_what_no_sender_posts(app: TestClient, hook: str, body: bytes) -> None:
    if (hook, body) == ("azure", b"[]"):
        return
    status, problem = post(app, hook, body)
    assert (status, problem["type"]) == (422, "urn:moderator:problem:event-invalid")


def test_bodies_are_bounded_before_and_while_they_are_read(app: TestClient) -> None:
    large = b" " * ((1 << 20) + 1)
    assert app.post("/v1/hooks/s3", content=large).status_code == 413
    assert app.post("/v1/hooks/s3", content=iter([large])).status_code == 413


def test_a_misspelt_parameter_is_named(app: TestClient) -> None:
    status, problem = post(app, "s3?polcy=x", s3_body())
    assert status == 422
    assert "did you mean 'policy'" in problem["detail"]


def test_metrics(app: TestClient) -> None:
    def value(name: str, **labels: str) -> float:
        return app.app.state.registry.get_sample_value(name, labels) or 0.0  # type: ignore[attr-defined]

    def counted() -> tuple[float, float]:
        return (
            value("moderation_hook_failures_total", hook="tusd", failure="late", answer="hold"),
            value("moderation_hook_reports_total", hook="s3", outcome="superseded"),
        )

    late, superseded = counted()
    assert post(app, "tusd", tusd_body("pre-finish"))[0] == 200
    for sequencer in ("0055AED6DCD90281E5", "0055AED6DCD90281E4"):
        record = s3_record(key="counted.jpg", sequencer=sequencer)
        assert post(app, "s3", s3_body(record))[0] == 200
    assert counted() == (late + 1, superseded + 1)
