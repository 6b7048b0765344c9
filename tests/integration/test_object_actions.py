"""Actions on objects in buckets, with a store that speaks S3 and a queue in Redis."""

import logging
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from moderator.client import Client
from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.delivery.loop import DeliveryLoop
from moderator.delivery.object_actions import ObjectActions
from moderator.events import Event, ImageReference
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Answer, Ledger
from moderator.queue.outbox import Outbox
from moderator.queue.subscriptions import OBJECT_STORE, Subscriptions
from moderator.settings import Settings
from moderator.verdicts import Decision, ImageFacts, Verdict
from tests.support.aws import Aws, aws_server
from tests.support.service import make_client


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_server() as aws:
        s3 = aws.client("s3")
        for bucket in ("uploads", "versions", "quarantine"):
            s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        yield aws


class World:
    """A queue, a store, and the consumer with some actions."""

    def __init__(self, client: Client, aws: Aws, actions: str, **more: Any) -> None:
        self.settings = Settings(
            buckets="uploads,versions",  # type: ignore[arg-type]
            object_actions=actions,  # type: ignore[arg-type]
            quarantine="quarantine/held",
            **{**aws.settings, **more},  # type: ignore[arg-type]
        )
        self.client, self.s3 = client, aws.client("s3")
        subscriptions = Subscriptions.of(self.settings)
        self.ledger = Ledger(RedisExecutor(client.redis), 30.0, subscriptions=subscriptions)
        self.registry = CollectorRegistry()
        self.consumer = ObjectActions(self.settings, client.redis)
        for collector in self.consumer.collectors:
            self.registry.register(collector)
        metrics = DeliveryMetrics(CollectorRegistry(), (), lambda error: None)
        outbox = Outbox(client.redis, OBJECT_STORE)
        self.loop = DeliveryLoop(self.consumer, outbox, client.dead_letters, metrics, 0.01)

    def put(self, bucket: str, body: bytes, key: str = "") -> tuple[str, str | None]:
        key = key or f"ä b/{uuid4().hex}+.jpg"
        return key, self.s3.put_object(Bucket=bucket, Key=key, Body=body).get("VersionId")

    def judge(self, reference: ImageReference, body: bytes | None, decision: Decision) -> Event:
        """Publish a verdict as a worker does, and deliver it."""
        event = Event(id=uuid4().hex, image=reference)
        digest = None if body is None else sha256(body).hexdigest()
        facts = None if digest is None else ImageFacts(sha256=digest, width=1, height=1, format="jpeg")
        verdict = Verdict(
            event_id=event.id,
            source=event.source,
            decision=decision,
            is_safe=False,
            image=facts,
            image_key=reference.key,
            image_version=reference.version,
        )
        assert self.ledger.publish([Answer(event, verdict)], ttl=60.0, stream_length=100) != [None]
        self.loop.drain()
        return event

    def tags(self, bucket: str, key: str, **which: str) -> dict[str, str]:
        found = self.s3.get_object_tagging(Bucket=bucket, Key=key, **which)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def keys(self, bucket: str) -> set[str]:
        listed = self.s3.list_object_versions(Bucket=bucket)
        return {f"{one['Key']}@{one['VersionId']}" for one in listed.get("Versions", ())}

    def copies(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket="quarantine").get("Contents", ())
        return {
            one["Key"]: self.s3.get_object(Bucket="quarantine", Key=one["Key"])["Body"].read()
            for one in listed
        }

    def died(self) -> list[str]:
        return [letter.error for letter in self.client.dead_letters]

    def counted(self, action: str, result: str) -> float | None:
        labels = {"action": action, "result": result}
        return self.registry.get_sample_value("moderation_object_actions_total", labels)


@pytest.fixture
def client(shared_server: EmbeddedServer) -> Iterator[Client]:
    client = make_client(shared_server.url.removesuffix("/0") + "/11")
    client.redis.flushdb()
    yield client
    client.close()


ALL = "block:tag,block:quarantine,block:delete"


@pytest.mark.parametrize("versioned", [False, True])
def test_a_blocked_object_is_copied_and_deleted(client: Client, aws: Aws, versioned: bool) -> None:
    world, bucket = World(client, aws, ALL), "versions" if versioned else "uploads"
    key, version = world.put(bucket, b"bad")
    kept, _ = world.put(bucket, b"good")
    world.judge(ImageReference(key=f"{bucket}/{kept}"), b"good", Decision.ALLOW)
    world.judge(ImageReference(key=f"{bucket}/{key}", version=version), b"bad", Decision.BLOCK)
    assert not any(one.startswith(key) for one in world.keys(bucket))
    assert any(one.startswith(kept) for one in world.keys(bucket))
    state = version or sha256(b"bad").hexdigest()
    assert world.copies()[f"held/{bucket}/{key}@{state}"] == b"bad"
    assert [world.counted(action, "done") for action in ("tag", "quarantine", "delete")] == [1, 1, 1]
    assert world.died() == []


def test_another_version_is_never_touched(client: Client, aws: Aws) -> None:
    world = World(client, aws, ALL)
    key, first = world.put("versions", b"bad")
    _, second = world.put("versions", b"good", key)
    assert first is not None
    world.judge(ImageReference(key=f"versions/{key}", version=first), b"bad", Decision.BLOCK)
    assert {one for one in world.keys("versions") if one.startswith(key)} == {f"{key}@{second}"}
    assert world.tags("versions", key) == {}


@pytest.mark.parametrize("bucket", ["uploads", "versions"])
def test_what_was_overwritten_is_left_alone(client: Client, aws: Aws, bucket: str) -> None:
    """The event named no version, so the object is compared with what was judged."""
    world = World(client, aws, ALL)
    key, _ = world.put(bucket, b"new")
    world.judge(ImageReference(key=f"{bucket}/{key}"), b"bad", Decision.BLOCK)
    world.judge(ImageReference(key=f"{bucket}/{key}"), None, Decision.BLOCK)
    assert sorted(world.died()) == ["ObjectChanged", "ObjectUnverified"]
    assert any(one.startswith(key) for one in world.keys(bucket))
    assert world.tags(bucket, key) == {}
    assert not any(key in one for one in world.copies())


def test_a_dry_run_only_logs_and_counts(client: Client, aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    actions = ",".join(f"{entry}:dry-run" for entry in ALL.split(","))
    world = World(client, aws, actions)
    key, _ = world.put("uploads", b"bad")
    with caplog.at_level(logging.INFO):
        world.judge(ImageReference(key=f"uploads/{key}"), b"bad", Decision.BLOCK)
    assert any(one.startswith(key) for one in world.keys("uploads"))
    assert world.tags("uploads", key) == {}
    assert not any(key in one for one in world.copies())
    for action in ("tag", "quarantine", "delete"):
        assert (world.counted(action, "dry-run"), world.counted(action, "done")) == (1, 0)
        assert f"{action} of moderator:" in caplog.text


def test_repeats_change_nothing_and_a_later_decision_wins(client: Client, aws: Aws) -> None:
    world = World(client, aws, "block:tag,allow:tag,block:quarantine")
    key, _ = world.put("uploads", b"bad")
    world.s3.put_object_tagging(
        Bucket="uploads", Key=key, Tagging={"TagSet": [{"Key": "owner", "Value": "ann"}]}
    )
    event = world.judge(ImageReference(key=f"uploads/{key}"), b"bad", Decision.BLOCK)
    assert world.tags("uploads", key) == {"owner": "ann", "moderation": "block"}
    world.ledger.revise(event.key, Decision.ALLOW, ttl=60.0, stream_length=100)
    first = Verdict.model_validate_json(client.redis.xrange("moderation:verdicts")[-2][1][b"verdict"])
    world.loop.drain()
    assert world.tags("uploads", key) == {"owner": "ann", "moderation": "allow"}
    # The first delivery comes again, late: it acts by the newest verdict.
    body = first.model_dump_json().encode()
    client.redis.hset(
        "moderation:outbox:object-store:" + f"{event.key}#x", mapping={"body": body, "attempts": 0}
    )
    client.redis.zadd("moderation:outbox:object-store", {f"{event.key}#x": 0})
    world.loop.drain()
    assert world.tags("uploads", key) == {"owner": "ann", "moderation": "allow"}
    assert sum(key in one for one in world.copies()) == 1
    assert world.died() == []


def test_what_is_gone_is_done_and_what_is_refused_is_a_dead_letter(client: Client, aws: Aws) -> None:
    world = World(client, aws, ALL)
    world.judge(ImageReference(key="uploads/missing"), b"bad", Decision.BLOCK)
    assert world.counted("delete", "gone") == 1
    world.judge(ImageReference(key="elsewhere/a"), b"bad", Decision.BLOCK)
    assert world.died() == ["ObjectActionRefused"]
    world.judge(ImageReference(path="/a.jpg"), b"bad", Decision.BLOCK)
    assert len(Outbox(client.redis, OBJECT_STORE)) == 0


def test_a_store_that_is_away_is_asked_again(client: Client, aws: Aws) -> None:
    world = World(client, aws, ALL, s3_endpoint="http://127.0.0.1:9")
    world.judge(ImageReference(key="uploads/a"), b"bad", Decision.BLOCK)
    assert (world.died(), len(Outbox(client.redis, OBJECT_STORE))) == ([], 1)
