"""One server that crashes, restarts, hangs, stays away, or has no more memory."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from moderator.errors import QueueUnavailable
from moderator.queue.embedded_server import EmbeddedServer
from tests.chaos.fault import Fault
from tests.chaos.stage import LOOK, Setting, Stage
from tests.support.service import stopped
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


class RedisHangs(OneServer):
    name = "redis-hangs"
    what = "Redis hangs (SIGSTOP) for 2 to 25 s; callers with and without a spool, and health checks, get an answer"
    #: Seconds of the hang, by trial; shorter and longer than the time-outs of all who wait for it.
    hangs: ClassVar[tuple[float, ...]] = (2.0, 7.0, 12.0, 18.0, 25.0)

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        #: The longest that somebody waited, in seconds, by what for; and what was not as it should be.
        self._longest: Counter[str] = Counter()
        self._wrong: list[str] = []

    def setting(self) -> Setting:
        return Setting(caller={"spool": str(self.folder / "spool")})

    def strike(self, stage: Stage, trial: int) -> None:
        seconds = 7.0 if self.quick else self.hangs[trial]
        with stopped(self._server), ThreadPoolExecutor(5) as pool:
            until = time.monotonic() + seconds
            asked = [
                pool.submit(self._scrape, stage, path, until) for path in ("/ready", "/live", "/metrics")
            ]
            asked += [pool.submit(self._submit, stage, spool, trial) for spool in (True, False)]
            for one in asked:
                one.result()
            time.sleep(max(0.0, until - time.monotonic()))

    def _scrape(self, stage: Stage, path: str, until: float) -> None:
        answers = []
        while time.monotonic() < until:
            start = time.monotonic()
            answers.append(stage.worker.get_status(path))
            self._longest[path] = max(self._longest[path], time.monotonic() - start)
            time.sleep(0.1)
        if answers[-1] != (503 if path == "/ready" else 200):
            self._wrong.append(f"{path} answers {answers[-1]} while Redis hangs")

    def _submit(self, stage: Stage, spool: bool, trial: int) -> None:
        name = f"{'spool' if spool else 'refused'}-{trial}"
        start = time.monotonic()
        try:
            if spool:
                stage.load.submit(name, path=stage.load.files[0])
            else:
                stage.client.submit(path=stage.load.files[0], id=name)
        except QueueUnavailable:
            if spool:
                self._wrong.append("an event was refused although there is a spool")
        else:
            if not spool:
                self._wrong.append("an event was accepted while Redis hangs")
        self._longest["submit"] = max(self._longest["submit"], time.monotonic() - start)

    def check(self, stage: Stage) -> Iterator[str]:
        yield from self._wrong
        for what, seconds in self._longest.items():
            if seconds > (3.0 if what == "submit" else 2.0):
                yield f"{what} took {seconds:.1f} s"
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
