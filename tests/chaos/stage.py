"""The stage: a server, a worker, a caller who submits all the time, and the count of what became of the events."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Protocol

from redis.exceptions import RedisError

from moderator.client import Client
from moderator.events import bulk_image_key, event_key
from moderator.queue import keys
from moderator.settings import Settings
from moderator.verdicts import Verdict
from tests.chaos.load import Load
from tests.support.service import WorkerProcess, copy_policies, small_jpeg

#: Seconds after which events that a dead worker had in hand are given out again; short, to keep the runs short.
REDELIVER_AFTER = 2.0
#: Seconds without a further verdict after which what is missing counts as lost.
PATIENCE = 60.0
#: Seconds between two looks.
LOOK = 0.02


class Server(Protocol):
    """What the stage needs of a server; `moderator.queue.embedded_server.EmbeddedServer`, say."""

    @property
    def url(self) -> str: ...

    def start(self) -> object: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Setting:
    """How the stage is set: settings of the worker and of the client that submits, the load, the images' shades."""

    worker: Mapping[str, str] = field(default_factory=dict)
    caller: Mapping[str, str] = field(default_factory=dict)
    rate: float = 25.0
    """Events a second."""
    shades: range = range(16, 240, 16)
    webhook: str | None = None
    strangers: bool = False
    """Others push events, too; those are counted by the fault itself."""


@dataclass(frozen=True)
class Count:
    """What became of the events that callers were told are accepted; see `tests.chaos.fault.Row`."""

    events: int
    verdicts: int
    lost: int
    lost_in_window: int
    doubled: int
    problems: list[str]


class Stage:
    """Runs within a `with` block.

    Args:
        folder: for everything.
        server: is started and stopped here.
        setting: the rest.
        cache: compiled policies; shared by stages, so that workers start quickly.
        process: how workers start.
        random: chooses moments.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        setting: Setting,
        cache: Path,
        random: Random,
        process: type[WorkerProcess] = WorkerProcess,
    ) -> None:
        self.folder, self.server, self.random = folder, server, random
        self.images = folder / "images"
        self.images.mkdir()
        files = [small_jpeg(self.images / f"{n}.jpg", shade=shade) for n, shade in enumerate(setting.shades)]
        server.start()
        self.worker = process(
            folder / "worker",
            **{
                "redis_url": server.url,
                "policies": str(copy_policies(folder / "policies")),
                "fetch_roots": str(self.images),
                "cache": str(cache),
                "redeliver_after": str(REDELIVER_AFTER),
                "retry_delay": "0.5",
                **setting.worker,
            },
        )
        common = {"redis_url": server.url, "redeliver_after": REDELIVER_AFTER}
        self.caller = Client(settings=Settings(**{**common, **setting.caller}))  # type: ignore[arg-type]
        self.client = Client(settings=Settings(**common))  # type: ignore[arg-type]
        self.load = Load(self.caller, files, setting.rate, setting.webhook)
        #: The errors that the verdicts of some events must have, by the event's key.
        self.expected_errors: dict[str, str] = {}
        self._strangers = setting.strangers
        self.recoveries: list[float] = []
        #: How often the worker died by itself.
        self.deaths = 0
        # From when to when what was accepted may be lost.
        self._windows: list[tuple[float, float]] = []

    def __enter__(self) -> "Stage":
        try:
            self.worker.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        self.load.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.load.stop()
        if kind is not None:
            print(self.worker.log[-8000:], file=sys.stderr)
        self.worker.kill()
        self.caller.close()
        self.client.close()
        self.server.stop()

    def wait(self, least: float, most: float) -> None:
        """Until a moment that nobody can foresee."""
        time.sleep(self.random.uniform(least, most))

    def allow_losses(self, since: float) -> None:
        """What was accepted since then, and up to this moment at which the server is dead, may be lost."""
        self._windows.append((since, time.monotonic()))

    def ensure_worker(self) -> None:
        """Start the worker again if it died, as an init system would."""
        if self.worker.poll() is not None:
            self.deaths += 1
            self.worker.start(wait=False)

    def until(self, condition: Callable[[], object], timeout: float = PATIENCE) -> bool:
        """Wait for something; tells whether it came true. While the server is away, nothing is true."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if condition():
                    return True
            except (RedisError, OSError):
                pass
            time.sleep(LOOK)
        return False

    def recover(self) -> None:
        """Wait for the next verdict after this moment, at which a fault has ended, and note how long it took."""
        start = time.monotonic()
        before: list[str] = []

        def is_new() -> bool:
            self.ensure_worker()
            before.append(self.client.verdicts.position())
            return before[-1] != before[0]

        self.until(is_new)
        self.recoveries.append(time.monotonic() - start)

    def finish(self) -> Count:
        """End the load, wait until all is answered, and count."""
        self.load.stop()
        answered, since = -1, time.monotonic()
        while not self.until(self._settled, timeout=1.0) and time.monotonic() - since < PATIENCE:
            self.ensure_worker()
            if (now := self._length()) != answered:
                answered, since = now, time.monotonic()
        time.sleep(0.5)  # what comes twice would come now
        return self._count([verdict for _, verdict in self.client.verdicts.tail("0", follow=False)])

    def _settled(self) -> bool:
        spool = self.caller.spool
        return (
            (spool is None or spool.empty())
            and not self.client.ledger.pending()
            and not any(self.client.redis.llen(queue) for queue in keys.QUEUES.values())
        )

    def _length(self) -> int:
        try:
            return int(self.client.redis.xlen(keys.VERDICTS))
        except RedisError:
            return -1

    def _count(self, verdicts: list[Verdict]) -> Count:
        told = self.load.told
        answers = Counter(key_of(verdict) for verdict in verdicts)
        missing = {key for key in told if not answers[key]}
        in_window = {
            key
            for key in missing
            if any(start <= told[key].kept and told[key].asked <= end for start, end in self._windows)
        }
        return Count(
            events=len(told),
            verdicts=len(verdicts),
            lost=len(missing - in_window),
            lost_in_window=len(in_window),
            doubled=sum(count - 1 for count in answers.values()),
            problems=[
                *self.load.surprises[:3],
                *(f"lost: {key}" for key in sorted(missing - in_window)[:3]),
                *(f"{count} verdicts: {key}" for key, count in answers.most_common(3) if count > 1),
                *self._wrong_errors(verdicts)[:3],
            ],
        )

    def _wrong_errors(self, verdicts: list[Verdict]) -> list[str]:
        """Errors where none should be, none where one should be, and errors without a dead letter."""
        errors = {
            key_of(verdict): verdict.error.type
            for verdict in verdicts
            if verdict.error and self._is_ours(key_of(verdict))
        }
        expected = self.expected_errors
        found = [
            f"{key}: {errors.get(key, 'no error')} instead of {expected.get(key, 'no error')}"
            for key in sorted(errors.keys() | expected.keys())
            if errors.get(key) != expected.get(key)
        ]
        letters = {
            letter.key
            for letter in self.client.dead_letters
            if letter.event is not None and self._is_ours(letter.key)
        }
        if letters != errors.keys():
            found.append(f"{len(letters)} dead letters for {len(errors)} error verdicts")
        return found

    def _is_ours(self, key: str) -> bool:
        return not self._strangers or key in self.load.told


def key_of(verdict: Verdict) -> str:
    """The key of the event that a verdict answers."""
    key = event_key(verdict.source, verdict.event_id)
    return key if verdict.bulk is None else bulk_image_key(key) or key
