from pathlib import Path

import numpy as np
import pytest

from moderator.queue import keys
from moderator.queue.connection import Redis, connect
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.embedding_cache import EmbeddingCache, SeenImage
from moderator.queue.executors import RedisExecutor
from moderator.verdicts import ImageFacts, Verdict
from moderator.view import View, ViewPlan
from tests.integration.conftest import StartWorker
from tests.support.service import make_client, until

PLAN = ViewPlan(10)
ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def facts(number: int, frames: int = 2) -> ImageFacts:
    return ImageFacts(sha256=f"{number:064x}", width=5, height=6, format="gif", frames=frames)


def seen(number: int) -> SeenImage:
    views = View("whole", 0, (0, 0, 5, 6)), View("panel", 0, (0, 0, 2, 6), 90), View("whole", 1, (0, 0, 5, 6))
    return SeenImage(facts(number, frames=2), views, ROWS)


@pytest.fixture
def redis(server: EmbeddedServer) -> Redis:
    return connect(server.url)


@pytest.fixture
def seen_before(redis: Redis) -> EmbeddingCache:
    return EmbeddingCache(RedisExecutor(redis), "space", dimension=4, size=3)


def test_what_was_kept_is_found_bit_by_bit(seen_before: EmbeddingCache) -> None:
    assert seen_before.get(facts(1).sha256, PLAN) is None
    seen_before.put(seen(1), PLAN)
    found = seen_before.get(facts(1).sha256, PLAN)
    assert found is not None
    assert (found.facts, found.views) == (facts(1), seen(1).views)
    assert np.array_equal(found.embeddings, ROWS)


def test_another_model_or_other_limits_find_nothing(redis: Redis, seen_before: EmbeddingCache) -> None:
    seen_before.put(seen(1), PLAN)
    other = EmbeddingCache(RedisExecutor(redis), "other", dimension=4, size=3)
    assert other.get(facts(1).sha256, PLAN) is None
    assert seen_before.get(facts(1).sha256, ViewPlan(10, turned=True)) is None


def test_those_used_longest_ago_make_room(redis: Redis, seen_before: EmbeddingCache) -> None:
    for number in (1, 2, 3):
        seen_before.put(seen(number), PLAN)
    assert seen_before.get(facts(1).sha256, PLAN) is not None
    seen_before.put(seen(4), PLAN)
    assert seen_before.get(facts(2).sha256, PLAN) is None
    assert all(seen_before.get(facts(number).sha256, PLAN) is not None for number in (1, 3, 4))
    assert redis.zcard(keys.EMBEDDINGS) == len(redis.keys(f"{keys.EMBEDDING_PREFIX}*")) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vectors", b"short"),
        ("vectors", np.full((3, 4), np.nan, dtype=np.float32).tobytes()),
        ("facts", b"{}"),
        ("facts", facts(2).model_dump_json().encode()),
    ],
)
def test_what_makes_no_sense_is_not_used(
    redis: Redis, seen_before: EmbeddingCache, field: str, value: bytes
) -> None:
    seen_before.put(seen(1), PLAN)
    redis.hset(f"{keys.EMBEDDING_PREFIX}space:{PLAN}:{facts(1).sha256}", field, value)
    assert seen_before.get(facts(1).sha256, PLAN) is None


def test_a_worker_does_not_embed_the_same_file_twice(
    server: EmbeddedServer, start_worker: StartWorker, redis: Redis, images: Path
) -> None:
    worker = start_worker(server.url, embedding_cache="10")
    client = make_client(server.url)
    photograph = images / "cat.jpg"
    twin = images / "twin-of-the-cat.jpg"
    twin.write_bytes(photograph.read_bytes())

    def check(path: Path) -> Verdict:
        return client.verdicts.wait(client.submit(path=str(path), policy="marketplace").key, 60)

    first = check(photograph)
    # A verdict is published before its embeddings are kept.
    until(lambda: redis.exists(keys.EMBEDDINGS), what="the embeddings")
    second, other = check(twin), check(images / "coffee.jpg")
    assert "embed" not in second.timings_ms
    assert "embed" in first.timings_ms
    assert "embed" in other.timings_ms
    assert (second.image, second.categories, second.decision) == (
        first.image,
        first.categories,
        first.decision,
    )
    found = {
        result: worker.metrics()[f"moderation_embedding_cache_total{{result={result}}}"]
        for result in ("hit", "miss")
    }
    assert found == {"hit": 1, "miss": 2}


def test_a_cache_that_cannot_be_used_fails_no_event(
    server: EmbeddedServer, start_worker: StartWorker, redis: Redis, images: Path
) -> None:
    worker = start_worker(server.url, embedding_cache="10")
    client = make_client(server.url)

    def check(name: str) -> Verdict:
        return client.verdicts.wait(client.submit(path=str(images / name), policy="marketplace").key, 60)

    first = check("cat.jpg")
    redis.set(keys.EMBEDDINGS, "foreign")
    again = check("cat.jpg")
    assert again.error is None
    assert (again.categories, again.decision) == (first.categories, first.decision)
    assert "embed" in again.timings_ms
    check("coffee.jpg")
    counted = worker.metrics()
    assert counted["moderation_embedding_cache_total{result=error}"] == 2
    assert counted["moderation_redeliveries_total"] == 0
    warnings = ("the embedding cache is not used", "the cache does not keep the embeddings")
    assert sum(map(worker.log.count, warnings)) == 1, "a line for each event would fill a disk"
