"""The gateway killed, or without Redis, while a caller submits through it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moderator.errors import EventInvalid, QueueFull, QueueUnavailable
from moderator.events import Event, parse_message
from moderator.gateway.api_keys import Scope
from moderator.queue.records import Acceptance
from tests.chaos.fault import Fault
from tests.chaos.stage import Stage
from tests.support.gateway_process import GatewayCaller, GatewayProcess, make_key

#: Seconds within which the gateway answers, whatever Redis does.
ANSWER_SECONDS = 3.0


class OverHttp:
    """Accepts events through a gateway, in the place of a client's intake."""

    def __init__(self, port: int, key: str) -> None:
        self._caller = GatewayCaller(port, key)
        self.slowest = 0.0

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        start = time.monotonic()
        try:
            status, answer, _ = self._caller.post("/v1/events", body)
        except (OSError, ValueError) as error:  # killed before it answered, or while it did
            raise QueueUnavailable(f"no gateway: {error}") from error
        self.slowest = max(self.slowest, time.monotonic() - start)
        if status == 429:
            raise QueueFull(answer["detail"], answer["retry_after"])
        if status == 503:
            raise QueueUnavailable(answer["detail"])
        if status != 202:
            raise EventInvalid(f"{status}: {answer}")
        each = answer["events"] if "images" in body else [answer]
        return [
            (event, Acceptance(one["acceptance"]))
            for event, one in zip(parse_message(body), each, strict=True)
        ]

    def close(self) -> None:
        """There is nothing to close."""


class _ThroughGateway(Fault):
    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._gateway: GatewayProcess | None = None
        self._door: OverHttp | None = None

    def gateway(self, stage: Stage) -> GatewayProcess:
        """The gateway, which the caller uses from the first time on."""
        if self._gateway is None:
            self._gateway = GatewayProcess(self.folder / "gateway", redis_url=stage.server.url).start()
            key = make_key(stage.server.url, Scope.SUBMIT, rate=0)
            self._door = OverHttp(self._gateway.port, key)
            stage.caller.intake = self._door  # type: ignore[assignment]
            before = len(stage.load.told)
            stage.until(lambda: len(stage.load.told) > before + 5)
        return self._gateway

    def check(self, stage: Stage) -> Iterator[str]:
        if self._door is not None and self._door.slowest > ANSWER_SECONDS:
            yield f"an answer took {self._door.slowest:.1f} s"

    def close(self) -> None:
        if self._gateway is not None and self._gateway.poll() is None:
            self._gateway.kill()


class GatewayKill(_ThroughGateway):
    name = "gateway-kill"
    what = "the gateway is killed (SIGKILL) while events come through it, and started again"
    trials = (10, 1)

    def strike(self, stage: Stage, trial: int) -> None:
        gateway = self.gateway(stage)
        gateway.kill()
        gateway.start()


class GatewayWithoutRedis(_ThroughGateway):
    name = "gateway-redis-away"
    what = "Redis is gone for some seconds; the gateway refuses within 3 s, then goes on by itself"
    trials = (4, 1)

    def strike(self, stage: Stage, trial: int) -> None:
        self.gateway(stage)
        stage.server.stop()
        time.sleep(2.0 if self.quick else 5.0)
        stage.server.start()
