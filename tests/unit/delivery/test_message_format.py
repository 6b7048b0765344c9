"""What receivers of verdicts get, and which of it verifies: by the reference library of Standard Webhooks."""

import base64
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from moderator.delivery.message_format import VerdictFormat, compose, message_id
from moderator.delivery.webhook_example import example_message
from moderator.delivery.webhook_post import WebhookPoster
from moderator.fetching.http import PostAnswer
from moderator.queue.records import delivery_key
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict, revised, verdict_digest

NEW, OLD, OTHER = (
    "whsec_" + base64.b64encode(name.encode().ljust(24, b".")).decode() for name in ("new", "old", "other")
)
VERDICT = Verdict(event_id="ü/1", source="a shop: é", decision=Decision.ALLOW, is_safe=True)
BODY = VERDICT.model_dump_json().encode()
KEY = delivery_key("a shop: é:ü/1", BODY)


class Wire:
    """What is sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, dict[str, str]]] = []

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> PostAnswer:
        self.requests.append((body, headers))
        return PostAnswer(204)


class Receiver:
    """As the specification asks for: verifies, and takes each id once."""

    def __init__(self, secret: str) -> None:
        self._webhook, self._seen = Webhook(secret), set[str]()

    def take(self, body: bytes, headers: dict[str, str]) -> Any:
        """The message, or None for a repeat."""
        message = self._webhook.verify(body.decode(), headers)
        repeated = headers["webhook-id"] in self._seen
        self._seen.add(headers["webhook-id"])
        return None if repeated else message


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire()


def send(wire: Wire, monkeypatch: pytest.MonkeyPatch, chosen: VerdictFormat, secrets: str) -> None:
    poster = WebhookPoster(Settings(webhook_secret=secrets))
    monkeypatch.setattr(poster, "_client", wire)
    poster.post("https://example.com/", compose(KEY, BODY, chosen))


@pytest.mark.parametrize("chosen", ["plain", "cloudevents"])
def test_the_old_and_the_new_secret_verify(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, chosen: VerdictFormat
) -> None:
    send(wire, monkeypatch, chosen, f"{NEW} {OLD}")
    ((body, headers),) = wire.requests
    for secret in (NEW, OLD):
        assert Receiver(secret).take(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Receiver(OTHER).take(body, headers)


@pytest.mark.parametrize("chosen", ["plain", "cloudevents"])
def test_repeats_are_known_and_what_is_altered_or_late_is_refused(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, chosen: VerdictFormat
) -> None:
    for _ in range(2):
        send(wire, monkeypatch, chosen, NEW)
    receiver = Receiver(NEW)
    (first, again) = wire.requests
    assert receiver.take(*first) is not None
    assert receiver.take(*again) is None, "another attempt has the same id"
    assert receiver.take(*first) is None, "replayed by someone on the way"
    body, headers = first
    late = str(int((datetime.now(UTC) - timedelta(minutes=6)).timestamp()))
    for altered in (
        (body.replace(b"allow", b"block"), headers),
        (body, {**headers, "webhook-id": "msg_other"}),
        (body, {**headers, "webhook-timestamp": late}),
        (body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
        (body, {**headers, "webhook-signature": headers["webhook-signature"][:-4] + "AAA="}),
    ):
        with pytest.raises(WebhookVerificationError):
            Receiver(NEW).take(*altered)


def test_a_plain_message_is_the_verdict() -> None:
    message = compose(KEY, BODY, "plain")
    assert (message.body, message.content_type, message.type) == (BODY, "application/json", "verdict.created")


def test_a_cloud_event_holds_the_verdict_as_it_is() -> None:
    message = compose(KEY, BODY, "cloudevents")
    event = json.loads(message.body)
    assert message.content_type.startswith("application/cloudevents+json")
    assert Verdict.model_validate(event.pop("data")) == VERDICT
    assert event == {
        "specversion": "1.0",
        "id": message_id(KEY),
        "source": "a%20shop%3A%20%C3%A9",
        "type": "verdict.created",
        "subject": "ü/1",
        "time": json.loads(BODY)["created_at"],
        "datacontenttype": "application/json",
    }
    assert BODY in message.body, "so that its digest is that of the plain verdict"


@pytest.mark.parametrize("chosen", ["plain", "cloudevents"])
def test_a_later_decision_has_a_type_and_an_id_of_its_own(chosen: VerdictFormat) -> None:
    body = revised(VERDICT, verdict_digest(BODY), Decision.BLOCK).model_dump_json().encode()
    later, first = compose(delivery_key("a shop: é:ü/1", body), body, chosen), compose(KEY, BODY, chosen)
    assert (later.type, first.type) == ("verdict.revised", "verdict.created")
    assert later.id != first.id
    assert later.id != compose(KEY, body, chosen).id
    value = json.loads(later.body)
    assert (value["data"] if chosen == "cloudevents" else value)["revises"]["digest"] == sha256(
        BODY
    ).hexdigest()[:12]


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no JSON"])
def test_what_is_no_verdict_is_passed_on(body: bytes) -> None:
    """Another version wrote it."""
    assert compose(KEY, body, "plain").body == body


def test_examples_are_verdicts_that_publish_nothing() -> None:
    verdict = Verdict.model_validate_json(example_message("plain").body)
    assert (verdict.decision, verdict.metadata) == (Decision.REVIEW, {"test": True})
    assert example_message("plain").id != example_message("plain").id
