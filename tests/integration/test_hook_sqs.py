"""Notifications of buckets from a queue of SQS, directly and through SNS, as moto sends them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moderator.client import Client
from moderator.errors import QueueUnavailable
from moderator.gateway.hooks.sqs_reader import Read, SqsReader
from moderator.queue.embedded_server import EmbeddedServer
from moderator.settings import Settings
from tests.support.aws import Aws, aws_server
from tests.support.hook_bodies import s3_body, s3_record
from tests.support.service import environment, until

KEY = "cats/a+b c%2Fd.jpg"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_server() as aws:
        yield aws


@pytest.fixture(scope="module")
def client(module_server: EmbeddedServer) -> Client:
    return Client(settings=Settings(redis_url=module_server.url, buckets="direct, fanned, moved"))


def make_queue(aws: Aws, name: str) -> tuple[str, str]:
    """URL and ARN of a new queue."""
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def notify(aws: Aws, bucket: str, **where: str) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=bucket)
    ((kind, arn),) = where.items()
    entry = {f"{kind}Arn": arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={f"{kind}Configurations": [entry]}
    )


def reader(aws: Aws, url: str, client: Client) -> SqsReader:
    return SqsReader(aws.client("sqs"), url, client, {"source": "s3"})


def read_all(source: SqsReader) -> Read:
    total = Read()
    while (read := source.read_once(wait_seconds=0)) != Read():
        total = Read(total.done + read.done, total.left + read.left)
    return total


def accepted(client: Client) -> dict[str, Any]:
    """The events in the ledger, by key."""
    keys = client.redis.keys("moderation:event:s3:*")
    events = [json.loads(client.redis.hget(key, "event")) for key in keys]
    return {event["metadata"]["object"]["key"]: event for event in events}


@pytest.mark.parametrize("fanned", [False, True], ids=["direct", "by SNS"])
def test_new_objects_become_events(aws: Aws, client: Client, fanned: bool) -> None:
    bucket = "fanned" if fanned else "direct"
    url, arn = make_queue(aws, bucket)
    if fanned:
        topic = aws.client("sns").create_topic(Name="uploads")["TopicArn"]
        aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        notify(aws, bucket, Topic=topic)
    else:
        notify(aws, bucket, Queue=arn)
    for key in (f"{bucket}-1.jpg", f"{bucket}/{KEY}"):
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x")

    read = read_all(reader(aws, url, client))

    assert (read.left, read.done) == (0, 3), "with the test event"
    event = accepted(client)[f"{bucket}/{KEY}"]
    assert event["image"]["key"] == f"{bucket}/{bucket}/{KEY}"
    assert f"{bucket}-1.jpg" in accepted(client)
    assert read_all(reader(aws, url, client)) == Read(), "all are deleted"


def test_what_cannot_be_read_stays_for_the_redrive_policy(aws: Aws, client: Client) -> None:
    url, _ = make_queue(aws, "odd")
    elsewhere = s3_body(s3_record("elsewhere"), s3_record("moved", "beside.jpg"))
    for body in ("no JSON", "{}", elsewhere.decode()):
        aws.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    assert reader(aws, url, client).read_once(wait_seconds=0) == Read(done=0, left=3)
    assert "beside.jpg" in accepted(client), "what is beside it is submitted"


def test_a_late_report_of_an_older_write_is_not_submitted(aws: Aws, client: Client) -> None:
    url, _ = make_queue(aws, "late")
    source = reader(aws, url, client)
    for sequencer in (
        "0055AED6DCD90281E6",
        "0055AED6DCD90281E5",
        "0055AED6DCD90281E6",
        "0055AED6DCD90281E61",
    ):
        body = s3_body(s3_record("moved", "a.jpg", sequencer=sequencer)).decode()
        aws.client("sqs").send_message(QueueUrl=url, MessageBody=body)
        source.read_once(wait_seconds=0)
    found = client.redis.keys("moderation:event:s3:moved/a.jpg@*")
    assert sorted(key.rpartition(b"@")[2] for key in found) == [b"0055AED6DCD90281E6", b"0055AED6DCD90281E61"]


def test_sqs_keeps_what_our_queue_does_not_take(aws: Aws, server: EmbeddedServer) -> None:
    url, _ = make_queue(aws, "waiting")
    aws.client("sqs").send_message(QueueUrl=url, MessageBody=s3_body(s3_record("moved")).decode())
    client = Client(settings=Settings(redis_url=server.url, buckets=("moved",)))
    server.stop()
    with pytest.raises(QueueUnavailable):
        reader(aws, url, client).read_once(wait_seconds=0)
    facts = aws.client("sqs").get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    assert facts["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_the_command(aws: Aws, module_server: EmbeddedServer, client: Client, tmp_path: Path) -> None:
    url, _ = make_queue(aws, "command")
    body = s3_body(s3_record("moved", "by-command.jpg")).decode()
    aws.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    settings = environment(redis_url=module_server.url, buckets="moved")
    process = subprocess.Popen(
        [sys.executable, "-m", "moderator", "hooks", "sqs", url, "--policy", "marketplace"],
        env={**settings, "AWS_ENDPOINT_URL": aws.endpoint},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: "by-command.jpg" in accepted(client), what="the event")
        assert accepted(client)["by-command.jpg"]["policy"] == "marketplace"
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log


def test_a_queue_that_may_not_be_read_is_named(
    aws: Aws, module_server: EmbeddedServer, tmp_path: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "moderator", "hooks", "sqs", f"{aws.endpoint}/123456789012/missing"],
        env={**environment(redis_url=module_server.url, buckets="moved"), "AWS_ENDPOINT_URL": aws.endpoint},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode == 1
    assert "sqs:ReceiveMessage" in run.stderr
