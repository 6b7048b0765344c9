import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.gateway.hooks.s3_events import read_s3
from moderator.gateway.hooks.sns import Confirmation, read_sns, unwrap
from moderator.gateway.hooks.stored_object import Notice
from tests.support.hook_bodies import S3_TEST_EVENT, TOPIC, s3_body, sns_body

TOPICS = (TOPIC,)


def test_a_message_carries_a_notification() -> None:
    assert read_sns(sns_body(), TOPICS) == read_s3(s3_body())
    assert read_sns(sns_body(message=S3_TEST_EVENT), TOPICS) == Notice(ignored=1)
    assert read_sns(sns_body("UnsubscribeConfirmation"), TOPICS) == Notice(ignored=1)
    assert read_sns(s3_body(), TOPICS, raw_topic=TOPIC) == read_s3(s3_body())


def test_a_queue_gets_it_wrapped_or_not() -> None:
    assert read_s3(unwrap(sns_body().decode())) == read_s3(s3_body())
    assert read_s3(unwrap(s3_body().decode())) == read_s3(s3_body())


@pytest.mark.parametrize("topics", [(), (f"{TOPIC}-other",)])
def test_only_listed_topics_are_read(topics: tuple[str, ...]) -> None:
    for body in (sns_body(), sns_body("SubscriptionConfirmation")):
        with pytest.raises(EventInvalid, match="MODERATOR_SNS_TOPICS"):
            read_sns(body, topics)
    with pytest.raises(EventInvalid, match="MODERATOR_SNS_TOPICS"):
        read_sns(s3_body(), topics, raw_topic=TOPIC)


def test_a_subscription_is_confirmed_at_amazon() -> None:
    confirmation = read_sns(sns_body("SubscriptionConfirmation"), TOPICS)
    assert isinstance(confirmation, Confirmation)
    parts = urlsplit(confirmation.url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "sns.us-east-1.amazonaws.com", "/")
    assert parse_qs(parts.query) == {
        "Action": ["ConfirmSubscription"],
        "TopicArn": [TOPIC],
        "Token": ["2336412f37"],
    }
    china = sns_body("SubscriptionConfirmation", SubscribeURL="https://sns.cn-north-1.amazonaws.com.cn/?a")
    assert isinstance(read_sns(china, TOPICS), Confirmation)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com.example.org/",
        "https://sns.us-east-1.amazonaws.com:8443/",
        "https://sns.us-east-1.amazonaws.com@example.org/",
        "https://example.org/?sns.us-east-1.amazonaws.com",
        "https://example.org#sns.us-east-1.amazonaws.com",
        "https://s3.us-east-1.amazonaws.com/",
        "https://bucket.sns.us-east-1.amazonaws.com/",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "https://[::1/",
        "",
    ],
)
def test_a_subscription_is_confirmed_nowhere_else(url: str) -> None:
    with pytest.raises(EventInvalid, match="SubscribeURL"):
        read_sns(sns_body("SubscriptionConfirmation", SubscribeURL=url), TOPICS)


def test_a_host_that_the_operator_lists() -> None:
    body = sns_body("SubscriptionConfirmation", SubscribeURL="http://moto:5000/x?y=z")
    confirmation = read_sns(body, TOPICS, ["moto"])
    assert isinstance(confirmation, Confirmation)
    assert confirmation.url.startswith("http://moto:5000/?Action=ConfirmSubscription&")
    with pytest.raises(EventInvalid, match="MODERATOR_SNS_HOSTS"):
        read_sns(body, TOPICS, ["localhost"])


@given(st.text())
def test_of_a_confirmation_only_the_host_is_taken(token: str) -> None:
    body = sns_body(
        "SubscriptionConfirmation", Token=token, SubscribeURL="https://sns.eu-west-1.amazonaws.com/evil?x=y#z"
    )
    try:
        confirmation = read_sns(body, TOPICS)
    except EventInvalid:
        return
    assert isinstance(confirmation, Confirmation)
    parts = urlsplit(confirmation.url)
    assert (parts.netloc, parts.path, parts.fragment) == ("sns.eu-west-1.amazonaws.com", "/", "")
    assert parse_qs(parts.query)["Token"] == [token]


@pytest.mark.parametrize(
    "changes",
    [
        {"Type": "Other"},
        {"Type": None},
        {"TopicArn": 3},
        {"Message": "no JSON"},
        {"Message": {"Records": []}},
        {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.a.amazonaws.com/"},
    ],
)
def test_what_is_no_message(changes: dict[str, object]) -> None:
    with pytest.raises(EventInvalid):
        read_sns(json.dumps({**json.loads(sns_body()), **changes}).encode(), TOPICS)
