"""Whatever lies on a queue ends in a verdict or a dead letter, under load, without a restart of the consumer."""

import json
import os
from collections import Counter
from pathlib import Path
from random import Random

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.keys import QUEUES
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.hostile_messages import make_elements
from tests.support.service import make_client, until

#: How many elements, and the seed of what is random about them.
ELEMENTS = int(os.environ.get("HOSTILE_ELEMENTS", "400"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))


def count_answers(client: Client, ordinary: set[str]) -> tuple[int, int]:
    """Messages that got a verdict (one or, for a bulk message, several), and those that are dead letters."""
    verdicts = [v for _, v in client.verdicts.tail("0", follow=False) if v.event_id not in ordinary]
    assert set(Counter((v.source, v.event_id) for v in verdicts).values()) <= {1}, "doubled"
    messages = {(v.source, v.event_id.partition("/")[0]) for v in verdicts}
    return len(messages), sum(letter.event is None for letter in client.dead_letters)


def test_every_element_ends_in_a_verdict_or_a_dead_letter(
    server: EmbeddedServer,
    start_worker: StartWorker,
    small_images: list[Path],
    small_model: dict[str, str],
) -> None:
    worker = start_worker(server.url, **small_model)
    client = make_client(server.url)
    random = Random(SEED)
    elements = list(make_elements(random, ELEMENTS, str(small_images[0])))
    random.shuffle(elements)
    ordinary = set()
    for n, element in enumerate(elements):
        client.redis.lpush(random.choice(list(QUEUES.values())), element)
        if n % 5 == 0:
            ordinary.add(client.submit(path=small_images[n % 10]).id)
    for event in ordinary:
        assert client.wait(event, timeout=60).decision is not Decision.ERROR

    until(
        lambda: sum(count_answers(client, ordinary)) >= len(elements),
        timeout=60,
        what="an answer to each element",
    )

    verdicts, dead_letters = count_answers(client, ordinary)
    silent = len(elements) - verdicts - dead_letters
    print(
        json.dumps(
            {"elements": len(elements), "verdicts": verdicts, "dead_letters": dead_letters, "silent": silent}
        )
    )
    assert silent == 0
    assert not any(client.redis.llen(queue) for queue in QUEUES.values())
    assert "the Celery consumer died" not in worker.log
    assert "Traceback" not in worker.log
    assert worker.ready()
    until(lambda: not client.redis.exists("moderation:unacked"), what="all messages to be acknowledged")
    assert worker.stop() == 0
