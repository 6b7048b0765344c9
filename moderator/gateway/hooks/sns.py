"""Messages of Amazon SNS: a bucket's notification in an envelope, and the handshake of a subscription. Pure.

Format: Amazon SNS developer guide, "Parsing message formats". Whether a message may be acted on is decided by its
topic, which the operator lists; who may post at all, by the gateway's key in the URL of the subscription.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from moderator.errors import EventInvalid
from moderator.gateway.hooks.hook_body import as_object, at, read_json, text_at
from moderator.gateway.hooks.s3_events import read_s3
from moderator.gateway.hooks.stored_object import IGNORED, Notice

#: Most characters of the token that confirms a subscription.
TOKEN_CHARACTERS_MAX = 1024

_AMAZON = re.compile(r"sns\.[a-z0-9-]{1,32}\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True)
class Confirmation:
    """A subscription to confirm by a GET of `url`."""

    topic: str
    url: str


def read_sns(
    body: bytes, topics: Collection[str], hosts: Collection[str] = (), raw_topic: str = ""
) -> Notice | Confirmation:
    """Return the new objects that a message reports, or the subscription that it asks to confirm.

    Args:
        body: the request's.
        topics: ARNs of the topics that are listened to.
        hosts: where subscriptions may be confirmed, besides Amazon's own hosts for SNS.
        raw_topic: the topic named by the request's headers, where the subscription delivers messages raw.

    Raises:
        EventInvalid: it is no such message, or of another topic, or confirms at another host.
    """
    if raw_topic:
        _check_topic(raw_topic, topics)
        return read_s3(body)
    message = as_object(read_json(body), "the message")
    topic = text_at(message, "TopicArn")
    _check_topic(topic, topics)
    match at(message, "Type"):
        case "Notification":
            return read_s3(text_at(message, "Message"))
        case "SubscriptionConfirmation":
            return Confirmation(topic, _confirming_url(message, topic, hosts))
        case "UnsubscribeConfirmation":
            return IGNORED
        case other:
            raise EventInvalid(f"Type {ascii(other)[:60]} is no type of a message of SNS")


def unwrap(body: str) -> str:
    """Return the notification inside a message that a queue got from a topic, or the message itself."""
    value = read_json(body)
    if at(value, "Type") == "Notification" and "Records" not in value:
        return text_at(value, "Message")
    return body


def _check_topic(topic: str, topics: Collection[str]) -> None:
    if topic not in topics:
        raise EventInvalid(
            "TopicArn is none of MODERATOR_SNS_TOPICS; add it there if its messages are meant to be read"
        )


def _confirming_url(message: object, topic: str, hosts: Collection[str]) -> str:
    """Return the URL that confirms, of which only host and port are taken from the message."""
    token = text_at(message, "Token")
    if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        raise EventInvalid("Token is no token of a subscription")
    try:
        parts = urlsplit(text_at(message, "SubscribeURL"))
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise EventInvalid("SubscribeURL is no URL") from error
    listed = host in hosts
    if not listed and not (parts.scheme == "https" and port in (None, 443) and _AMAZON.fullmatch(host)):
        raise EventInvalid("SubscribeURL is not at Amazon SNS; list other hosts in MODERATOR_SNS_HOSTS")
    scheme = parts.scheme if listed and parts.scheme == "http" else "https"
    at_port = f":{port}" if listed and port else ""
    query = f"Action=ConfirmSubscription&TopicArn={quote(topic, safe='')}&Token={quote(token, safe='')}"
    return f"{scheme}://{host}{at_port}/?{query}"
