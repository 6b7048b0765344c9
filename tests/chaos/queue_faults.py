"""What others put on our queues, and what they keep on our server."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moderator.queue.keys import QUEUES, UNACKED
from tests.chaos.fault import Fault
from tests.chaos.stage import Setting, Stage, key_of
from tests.support.hostile_messages import make_elements
from tests.support.neighbour import IMPATIENT, Neighbour
from tests.support.service import run_first

#: Seconds that the neighbour's task takes: longer than our worker lets others hold a message, and looks for that.
TASK_SECONDS = 10.0


class HostileList(Fault):
    name = "hostile-list"
    what = (
        "calls of the task in every shape, broken and mutated ones, and garbage on both queues: each is a verdict or a "
        "dead letter, and the consumer lives"
    )
    trials = (5, 1)

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._pushed = 0

    def setting(self) -> Setting:
        return Setting(strangers=True)

    def strike(self, stage: Stage, trial: int) -> None:
        elements = list(make_elements(stage.random, 100 if self.quick else 400, str(stage.images / "0.jpg")))
        stage.random.shuffle(elements)
        for element in elements:
            stage.client.redis.lpush(stage.random.choice(list(QUEUES.values())), element)
        self._pushed += len(elements)

    def check(self, stage: Stage) -> Iterator[str]:
        stage.until(lambda: not stage.client.redis.exists(UNACKED))
        told = stage.load.told
        verdicts = [v for _, v in stage.client.verdicts.tail("0", follow=False) if key_of(v) not in told]
        # A bulk message has a verdict for each of its images.
        messages = len({(v.source, v.bulk or v.event_id) for v in verdicts})
        letters = sum(letter.event is None for letter in stage.client.dead_letters)
        silent = self._pushed - messages - letters
        counts = {"elements": self._pushed, "verdicts": messages, "dead_letters": letters, "silent": silent}
        print(f"  {json.dumps(counts)}", flush=True)
        if silent:
            yield f"{silent} of {self._pushed} elements have neither a verdict nor a dead letter"
        if deaths := stage.worker.log.count("the Celery consumer died"):
            yield f"the consumer died {deaths} times"


class SharedRedis(Fault):
    name = "shared-redis"
    what = "another Celery app on the same database, whose tasks take long; our worker is killed: each keeps its own"
    trials = (5, 1)

    def setting(self) -> Setting:
        self._environment = pytest.MonkeyPatch()
        run_first(IMPATIENT, self.folder, self._environment)
        self._sent: list[str] = []
        return Setting()

    def close(self) -> None:
        self._environment.undo()

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        with Neighbour(stage.server.url, self.folder, TASK_SECONDS) as self._neighbour:
            yield
            time.sleep(TASK_SECONDS)

    def strike(self, stage: Stage, trial: int) -> None:
        self._sent.append(f"bill-{trial}")
        self._neighbour.send(self._sent[-1])
        stage.worker.kill()
        stage.worker.start()

    def check(self, stage: Stage) -> Iterator[str]:
        started = Counter(self._neighbour.started())
        if started != Counter(self._sent):
            yield f"the neighbour's tasks were started {dict(started)}"
