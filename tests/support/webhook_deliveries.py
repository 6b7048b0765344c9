"""Deliveries of verdicts to a webhook: good ones, and those that a receiver must refuse."""

import base64
from datetime import UTC, datetime, timedelta

from standardwebhooks.webhooks import Webhook

from moderator.verdicts import Decision, Verdict
from tests.support.service import SECRET

OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret of somebody else").decode()


def delivery(id: str, event: str, *, secret: str = SECRET, age: float = 0.0) -> tuple[dict[str, str], bytes]:
    """Headers and body of a delivery, signed as the service signs it."""
    body = Verdict(event_id=event, source="shop", decision=Decision.BLOCK, is_safe=False).model_dump_json()
    now = datetime.now(UTC) - timedelta(seconds=age)
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
        "content-type": "application/json",
    }
    return headers, body.encode()


def deliveries() -> list[tuple[dict[str, str], bytes, int]]:
    """What a receiver gets, and how it answers."""
    headers, body = delivery("msg-1", "a")
    old_headers, old_body = delivery("msg-2", "b", age=600)
    stranger_headers, stranger_body = delivery("msg-3", "c", secret=OTHER_SECRET)
    return [
        (headers, body, 200),
        (headers, body, 200),  # comes again
        (headers, body.replace(b"block", b"allow"), 400),
        ({**headers, "webhook-id": "msg-9"}, body, 400),
        (old_headers, old_body, 400),
        (stranger_headers, stranger_body, 400),
        ({name: value for name, value in headers.items() if name != "webhook-signature"}, body, 400),
        (headers, b"\xff", 400),
        ({**headers, "webhook-signature": "v1," + "A" * 43 + "= " + headers["webhook-signature"]}, body, 200),
    ]
