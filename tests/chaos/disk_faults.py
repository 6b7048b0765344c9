"""Disks that are full: the server's, and that of a caller who spools. Each is a small one of its own."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from moderator.queue.embedded_server import EmbeddedServer
from tests.chaos.fault import Fault, Skipped
from tests.chaos.stage import Setting, Stage
from tests.support.small_disk import NoSmallDisk, SmallDisk


class FullDisk(Fault):
    """Faults with a small disk."""

    size: ClassVar[int]
    trials = (2, 1)
    _disk: SmallDisk | None = None

    @property
    def disk(self) -> SmallDisk:
        if self._disk is None:
            try:
                self._disk = SmallDisk(self.folder / "disk", self.size)
            except NoSmallDisk as error:
                raise Skipped(str(error)) from error
        return self._disk

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()

    def check(self, stage: Stage) -> Iterator[str]:
        if not stage.load.refused:
            yield "nobody was told that the disk is full"


class RedisFullDisk(FullDisk):
    """With `everysec`, Redis refuses to write and goes on when there is room. With `always` it would end."""

    name = "redis-full-disk"
    what = "the disk of Redis's append-only file is full for five seconds; callers are told"
    size = 64_000_000

    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.disk.folder / "server", appendfsync="everysec")

    def strike(self, stage: Stage, trial: int) -> None:
        refused = stage.load.refused.total()
        self.disk.fill()
        stage.until(lambda: stage.load.refused.total() > refused)
        time.sleep(1.0 if self.quick else 5.0)
        self.disk.free()


class SpoolFullDisk(FullDisk):
    """The disk stays full while the spool is delivered: that must need no room."""

    name = "spool-full-disk"
    what = "Redis is away, and the disk of the spool gets full; callers are told of what is not kept"
    size = 4_000_000

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._server = EmbeddedServer(folder / "server", appendfsync="always")
        self._delivered: list[bool] = []

    def server(self) -> EmbeddedServer:
        return self._server

    def setting(self) -> Setting:
        return Setting(caller={"spool": str(self.disk.folder / "spool")})

    def strike(self, stage: Stage, trial: int) -> None:
        refused, spooled = stage.load.refused.total(), stage.load.spooled
        self._server.stop()
        stage.until(lambda: stage.load.spooled > spooled + 10)
        self.disk.fill(leave=16_384)
        stage.until(lambda: stage.load.refused.total() > refused)
        self._server.start()
        spool = stage.caller.spool
        self._delivered.append(stage.until(lambda: spool is not None and spool.empty(), timeout=20.0))
        self.disk.free()

    def check(self, stage: Stage) -> Iterator[str]:
        yield from super().check(stage)
        if not all(self._delivered):
            yield "what is spooled was not delivered while the disk was full"
