"""One server that crashes, restarts, stays away, or has no more memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from moderator.queue.server import EmbeddedServer
from tests.chaos.fault import Fault
from tests.chaos.stage import LOOK, Setting, Stage
from workers.periodic import Periodic

#: Seconds that `everysec` may hold back: it syncs once a second, and waits for a slow disk up to twice that.
EVERYSEC = 2.0
#: Seconds of the append-only file that go with a loss of power.
CUT = 1.0


class OneServer(Fault):
    """Faults of the one server."""

    appendfsync: ClassVar[str] = "always"

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._server = EmbeddedServer(folder / "server", appendfsync=self.appendfsync)

    def server(self) -> EmbeddedServer:
        return self._server


class RedisCrash(OneServer):
    name = "redis-crash-always"
    what = "Redis is killed (SIGKILL), append-only with `appendfsync always`, and started again"

    def strike(self, stage: Stage, trial: int) -> None:
        self._server.kill()
        self._server.start()


class RedisCrashEverysec(OneServer):
    name = "redis-crash-everysec"
    what = "the same with `everysec`: what was accepted in the 2 s before may be lost, and is shown by itself"
    appendfsync = "everysec"

    def strike(self, stage: Stage, trial: int) -> None:
        killed = time.monotonic()
        self._server.kill()
        stage.allow_losses(since=killed - EVERYSEC)
        self._server.start()


class RedisPowerLoss(OneServer):
    """A process that dies takes nothing with it that it has written; a machine takes what was not synced.

    So the server is killed, and its append-only file is cut to what it was a second before.
    """

    name = "redis-power-loss"
    what = "`everysec`, and the last second of the append-only file is gone, as after a loss of power"
    appendfsync = "everysec"
    between = (1.5, 3.0)

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        # Sizes of the append-only files, and when they were of that size.
        self._sizes: list[tuple[float, dict[Path, int]]] = []

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        def look() -> None:
            files = (self.folder / "server").rglob("*.aof")
            self._sizes.append((time.monotonic(), {file: file.stat().st_size for file in files}))

        watch = Periodic("sizes", LOOK, look)
        try:
            yield
        finally:
            watch.stop()

    def strike(self, stage: Stage, trial: int) -> None:
        stage.until(lambda: self._sizes and time.monotonic() - self._sizes[0][0] > CUT)
        killed = time.monotonic()
        self._server.kill()
        stage.allow_losses(since=killed - EVERYSEC)
        for file, size in next(sizes for at, sizes in reversed(self._sizes) if at <= killed - CUT).items():
            with file.open("r+b") as opened:
                opened.truncate(size)
        self._server.start()


class RedisRestart(OneServer):
    name = "redis-restart"
    what = "Redis is stopped in an orderly way and started again"

    def strike(self, stage: Stage, trial: int) -> None:
        self._server.stop()
        self._server.start()


class RedisOutage(OneServer):
    name = "redis-outage"
    what = "Redis is away for 30 s; callers are told that nothing is accepted"
    trials = (1, 1)

    def strike(self, stage: Stage, trial: int) -> None:
        self._server.stop()
        time.sleep(2.0 if self.quick else 30.0)
        self._server.start()

    def check(self, stage: Stage) -> Iterator[str]:
        if not stage.load.refused:
            yield "nobody was told that Redis is away"


class RedisOutageSpool(RedisOutage):
    name = "redis-outage-spool"
    what = "the same with MODERATOR_SPOOL: what comes meanwhile is kept on the caller's disk"

    def setting(self) -> Setting:
        return Setting(caller={"spool": str(self.folder / "spool")})

    def check(self, stage: Stage) -> Iterator[str]:
        if stage.load.refused or not stage.load.spooled:
            yield f"{stage.load.refused.total()} events were refused, {stage.load.spooled} spooled"


class RedisFullMemory(OneServer):
    name = "redis-full-memory"
    what = "Redis has no more memory (`maxmemory`, `noeviction`) for five seconds; callers are told"
    trials = (2, 1)

    def strike(self, stage: Stage, trial: int) -> None:
        refused = stage.load.refused.total()
        redis = stage.client.redis
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] - 1)
        stage.until(lambda: stage.load.refused.total() > refused)
        time.sleep(1.0 if self.quick else 5.0)
        redis.config_set("maxmemory", 0)

    def check(self, stage: Stage) -> Iterator[str]:
        if not stage.load.refused:
            yield "nobody was told that Redis has no memory"
