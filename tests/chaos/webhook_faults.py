"""A webhook that is down."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from moderator.queue.embedded_server import free_port
from tests.chaos.fault import Fault
from tests.chaos.stage import Setting, Stage
from tests.support.http_server import Answer, HttpServer
from tests.support.service import SECRET

PATH = "/hook"


class WebhookDown(Fault):
    name = "webhook-down"
    what = "the webhook refuses connections for a minute; afterwards each verdict was delivered, with one id"
    trials = (1, 1)

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._port = free_port()
        self._before, self._after = (HttpServer({PATH: [Answer(204)]}, port=self._port) for _ in range(2))
        self._open = ExitStack()

    def setting(self) -> Setting:
        return Setting(
            worker={
                "webhook_secret": SECRET,
                "fetch_networks": "127.0.0.0/8",
                "breaker_cooldown": "2",
            },
            webhook=f"http://127.0.0.1:{self._port}{PATH}",
        )

    def strike(self, stage: Stage, trial: int) -> None:
        with self._before:
            stage.until(lambda: len(self._before.asked(PATH)) > 10)
        time.sleep(3.0 if self.quick else 60.0)
        self._open.enter_context(self._after)

    def close(self) -> None:
        self._open.close()

    def check(self, stage: Stage) -> Iterator[str]:
        ids: dict[str, set[str]] = defaultdict(set)

        def delivered() -> bool:
            for request in [*self._before.asked(PATH), *self._after.asked(PATH)]:
                verdict = json.loads(request.body)
                ids[f"{verdict['source']}:{verdict['event_id']}"].add(request.headers["webhook-id"])
            return stage.load.told.keys() <= ids.keys()

        stage.until(delivered)
        if missing := stage.load.told.keys() - ids.keys():
            yield f"{len(missing)} webhooks were not delivered"
        if many := [key for key, seen in ids.items() if len(seen) > 1]:
            yield f"{len(many)} webhooks came with several ids"
