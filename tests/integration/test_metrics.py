"""What an operator sees on `/metrics`, and the health checks."""

import json
import re
import signal
import time
from datetime import datetime
from pathlib import Path

from moderator.queue import keys
from moderator.queue.connection import connect
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Ledger
from tests.integration.conftest import StartWorker
from tests.support.service import make_client, run_cli, until
from workers.backlog import Backlog
from workers.worker_metrics import describe

#: Names that dashboards and alert rules hold on to.
CONTRACT = [
    "moderation_events_total{policy,decision}",
    "moderation_duration_seconds",
    "moderation_stage_duration_seconds{stage}",
    "moderation_batch_size",
    "moderation_queue_depth{queue}",
    "moderation_oldest_event_age_seconds{queue}",
    "moderation_failures_total{stage,error}",
    "moderation_redeliveries_total",
    "moderation_dead_letters",
    "moderation_category_score{policy,category}",
    "moderation_shadow_disagreements_total{policy,version}",
    "moderation_policy_info",
    "moderation_model_info",
]
STAGES = ("queue", "fetch", "decode", "batch_wait", "embed", "score", "publish")


def test_one_scrape_shows_every_metric_with_the_right_counts(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path], images: Path
) -> None:
    worker = start_worker(server.url)
    fresh = worker.metrics()
    assert fresh["moderation_redeliveries_total"] == 0
    assert fresh["moderation_failures_total{error=ImageBroken,stage=decode}"] == 0
    client = make_client(server.url)
    events = [
        client.submit(path=small_images[n % 10], priority=("interactive", "bulk")[n % 2]) for n in range(20)
    ]
    events += [client.submit(path=images / "none.jpg"), client.submit(path="/etc/passwd")]
    verdicts = [client.wait(event.id) for event in events]
    # The counters are written just after the verdict is out, those of the categories last.
    page = until(lambda: has_counted(page := worker.metrics(), verdicts=22, scored=20) and page)

    for name in CONTRACT:
        family, _, labels = name.partition("{")
        wanted = set(labels.strip("}").split(",")) - {""}
        shown = [s for s in page if s.startswith(family)]
        assert any(
            wanted <= {part.split("=")[0] for part in s.partition("{")[2].strip("}").split(",")}
            for s in shown
        ), name
    counted = {k: v for k, v in page.items() if k.startswith("moderation_events_total")}
    assert sum(counted.values()) == 22
    for decision in {v.decision for v in verdicts}:
        count = sum(v.decision == decision for v in verdicts)
        assert counted[f"moderation_events_total{{decision={decision},policy=marketplace}}"] == count
    assert page["moderation_failures_total{error=ImageNotFound,stage=fetch}"] == 1
    assert page["moderation_failures_total{error=FetchRefused,stage=fetch}"] == 1
    assert page["moderation_dead_letters"] == 2
    assert page["moderation_batch_size_sum"] == 20
    for stage in STAGES:
        expected = {"publish": 22, "queue": 22, "fetch": 20, "decode": 20}.get(stage, 20)
        assert page[f"moderation_stage_duration_seconds_count{{stage={stage}}}"] == expected, stage
    for queue in ("moderation", "moderation.bulk"):
        assert page[f"moderation_queue_depth{{queue={queue}}}"] == 0
        assert page[f"moderation_oldest_event_age_seconds{{queue={queue}}}"] == 0
    assert page["moderation_ready"] == 1
    assert sum(k.startswith("moderation_model_info{") for k in page) == 1
    assert not [k for k in page for event in events if event.id in k], "a label carries an event id"
    assert {row.name for row in describe()} >= {name.partition("{")[0] for name in CONTRACT}


def has_counted(page: dict[str, float], verdicts: int, scored: int) -> bool:
    name = "moderation_category_score_count{"
    scores = [page[k] for k in page if k.startswith(name) and "policy=marketplace" in k]
    return page["moderation_duration_seconds_count"] == verdicts and set(scores) == {scored}


def test_a_worker_keeps_the_stream_for_a_group_that_is_behind_and_shows_it(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path], tmp_path: Path
) -> None:
    settings = {"stream_length": "100", "stream_limit": "1000"}
    worker = start_worker(server.url, **settings)
    client = make_client(server.url)
    redis = client.redis
    verdict = client.wait(client.submit(path=small_images[0]).id).model_dump_json()
    assert next(client.consume("archive", "one")).decision != "error"
    with redis.pipeline(transaction=False) as pipe:
        for _ in range(600):
            pipe.xadd(keys.VERDICTS, {"verdict": verdict})
        pipe.execute()
    client.wait(client.submit(path=small_images[1]).id)  # publishing trims to the limit alone
    page = until(
        lambda: (page := worker.metrics()).get("moderation_stream_lag{group=archive}") == 601 and page
    )
    assert page["moderation_stream_length"] == 602
    assert page["moderation_stream_limit"] == 1000
    assert page["moderation_stream_pending{group=archive}"] == 1
    assert page["moderation_stream_missed{group=archive}"] == 0

    done = run_cli(
        "doctor",
        "--json",
        cwd=tmp_path,
        redis_url=server.url,
        policies=worker.settings["policies"],
        **settings,
    )
    (row,) = [row for row in map(json.loads, done.stdout.splitlines()) if row["check"] == "stream.readers"]
    assert (row["level"], "601 verdicts behind" in row["message"]) == ("warning", True)

    redis.xgroup_destroy(keys.VERDICTS, "archive")
    until(lambda: redis.xlen(keys.VERDICTS) < 250, what="trimming to the length")
    assert redis.xlen(keys.VERDICTS) >= 100


def test_the_backlog_grows_while_the_worker_is_stuck(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    worker = start_worker(server.url)
    redis = connect(server.url)
    executor = RedisExecutor(redis)
    ledger = Ledger(executor, 4)
    backlog = Backlog(redis, ledger, DeadLetters(executor, ledger))
    client = make_client(server.url)
    worker.send(signal.SIGSTOP)
    events = [client.submit(path=small_images[n % 10]) for n in range(30)]

    # Redis hands a message or two to the stuck worker, which waits for one on each of its connections.
    first = backlog.read()
    assert 27 <= first.depth["moderation"] <= 30
    assert first.depth["moderation.bulk"] == 0
    assert first.oldest_age["moderation.bulk"] == 0
    until(lambda: backlog.read().oldest_age["moderation"] > first.oldest_age["moderation"] + 0.5)

    worker.send(signal.SIGCONT)
    for event in events:
        client.wait(event.id)
    after = until(lambda: (state := backlog.read()).depth["moderation"] == 0 and state)
    assert after.oldest_age["moderation"] == 0


def test_the_health_checks_follow_the_server(server: EmbeddedServer, start_worker: StartWorker) -> None:
    worker = start_worker(server.url)
    assert worker.get_status("/live") == 200
    assert worker.get_status("/nothing") == 404
    server.stop()

    until(lambda: worker.get_status("/ready") == 503)
    assert worker.get_status("/live") == 200, "a restart of the worker would not help"
    page = worker.metrics()
    assert page["moderation_ready"] == 0
    assert "moderation_queue_depth{queue=moderation}" not in page, "a stale backlog looks healthy"
    assert page["moderation_queue_read_failures_total"] >= 1

    server.start()
    until(worker.ready, timeout=30)
    assert worker.stop() == 0


def test_a_worker_is_ready_only_when_it_consumes_again(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    """After an outage, Celery pauses for up to two seconds between its tries to connect; a ping is answered before."""
    worker = start_worker(server.url)
    client = make_client(server.url)
    client.wait(client.submit(path=small_images[0]).id)
    server.kill()
    pause = until(lambda: re.search(r"^(\S+ \S+) .*\nTrying again in 2\.00 seconds", worker.log, re.M))
    server.start()
    until(worker.ready, timeout=30)
    began = datetime.strptime(pause[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    assert time.time() - began >= 2, "it was ready while Celery paused"
    client.wait(client.submit(path=small_images[1]).id)
