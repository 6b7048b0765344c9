"""An archiver that is killed, and a database that is away."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.archive_kills import start_archiver
from moderator.archive.archive_store import open_archive
from moderator.archive.verdict_filter import VerdictFilter
from moderator.queue.outbox import Outbox
from moderator.settings import Settings
from tests.chaos.fault import Fault, Skipped
from tests.chaos.stage import Server, Setting, Stage
from tests.support.postgres import PostgresServer, find_programs


class _Archived(Fault):
    """What both have in common: the archive holds what was published."""

    archive_url = ""

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self.segments = folder / "segments"

    def settings(self, **more: str) -> dict[str, str]:
        return {"archive_url": self.archive_url, "archive_segments": str(self.segments), **more}

    def check(self, stage: Stage) -> Iterator[str]:
        box = Outbox(stage.client.redis, "archive")
        stage.until(lambda: len(box) == 0)
        published = Counter(
            (verdict.source, verdict.event_id) for _, verdict in stage.client.verdicts.tail("0", follow=False)
        )
        settings = Settings(**self.settings())  # type: ignore[arg-type]
        with closing(open_archive(settings)) as archive:
            found = Counter(
                (one.verdict["source"], one.verdict["event_id"]) for one in archive.scan(VerdictFilter())
            )
        if missing := published - found:
            yield f"{missing.total()} verdicts are not in the archive"
        if surplus := found - published:
            yield f"{surplus.total()} verdicts too many are in the archive"


class ArchiverKill(_Archived):
    name = "archiver-kill"
    what = "the archiver, a process of its own, is killed (SIGKILL) and started again; each verdict is archived, once"
    trials = (8, 2)

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self.archive_url = f"sqlite:///{folder}/archive.sqlite3"

    def setting(self) -> Setting:
        return Setting(worker=self.settings(deliver="apart"))

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        self._start(stage)
        yield

    def strike(self, stage: Stage, trial: int) -> None:
        self._archiver.kill()
        self._archiver.wait()
        self._start(stage)

    def check(self, stage: Stage) -> Iterator[str]:
        yield from super().check(stage)
        self._archiver.terminate()
        self._archiver.wait(30)

    def _start(self, stage: Stage) -> None:
        settings = Settings(redis_url=stage.server.url, **self.settings())  # type: ignore[arg-type]
        self._archiver = start_archiver(settings, self.folder / "repeats")

    def close(self) -> None:
        if hasattr(self, "_archiver") and self._archiver.poll() is None:
            self._archiver.kill()
            self._archiver.wait()


class ArchiveAway(_Archived):
    name = "archive-away"
    what = "PostgreSQL, which holds the archive, is stopped for half a minute; each verdict is archived, once"
    trials = (2, 1)

    def server(self) -> Server:
        if find_programs() is None:
            raise Skipped("postgresql is not installed")
        self._postgres = PostgresServer()
        self._postgres.__enter__()
        self.archive_url = self._postgres.url
        return super().server()

    def setting(self) -> Setting:
        return Setting(worker=self.settings())

    def strike(self, stage: Stage, trial: int) -> None:
        self._postgres.stop()
        time.sleep(2.0 if self.quick else 30.0)
        self._postgres.start()

    def close(self) -> None:
        if hasattr(self, "_postgres"):
            self._postgres.__exit__(None, None, None)
