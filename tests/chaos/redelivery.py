"""Workers that are killed and a server that restarts, under load: is every event answered, and only once?

    python -m tests.chaos.redelivery --events 1000 --kills 3 --restarts 1

One worker serves the queue. It is killed hard (SIGKILL) at moments spread over the run, and started again at once,
as an init system would. In between, the server is restarted under the live worker: stopped in an orderly way, or
killed with --crash. At the end the verdicts in the stream are counted. Prints a table and one line of JSON; ends
with 1 if an event was lost or answered twice.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.exceptions import RedisError

from moderator.client import Client, Submitted
from moderator.errors import QueueUnavailable
from moderator.queue.names import VERDICTS
from moderator.queue.server import EmbeddedServer
from moderator.settings import Settings
from tests.integration.service import WorkerProcess, small_jpeg

#: Seconds after which events that a dead worker had in hand are given out again; short, to keep the run short.
REDELIVER_AFTER = 5.0
#: Of the events, how many are bulk messages' with this many images each.
BULK_SHARE, BULK_SIZE = 0.2, 10
IMAGES = 16


@dataclass(frozen=True)
class Result:
    """What one run gave. `seconds` is from the first event to the last verdict; `recovery_seconds`, the longest
    time from a fault to the next verdict."""

    events: int
    verdicts: int
    lost: int
    doubled: int
    errors: int
    kills: int
    restarts: int
    seconds: float
    recovery_seconds: float
    events_per_second: float

    @property
    def good(self) -> bool:
        return self.lost == self.doubled == self.errors == 0


def run(
    events: int, kills: int, restarts: int, policies: Path, *, crash: bool = False, timeout: float = 300.0
) -> Result:
    """Run it once.

    Args:
        events: how many.
        kills: of the worker.
        restarts: of the server.
        policies: folder of policies.
        crash: the server is killed, too, instead of being stopped.
        timeout: seconds after which what has no verdict counts as lost.
    """
    with TemporaryDirectory(prefix="moderator-chaos-") as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        files = [small_jpeg(images / f"{n}.jpg", shade=16 * n) for n in range(IMAGES)]
        server = EmbeddedServer(folder / "server").start()
        worker = WorkerProcess(
            folder / "worker",
            redis_url=server.url,
            policies=str(policies),
            fetch_roots=str(images),
            cache=str(folder / "cache"),
            redeliver_after=str(REDELIVER_AFTER),
        )
        client = Client(settings=Settings(redis_url=server.url, redeliver_after=REDELIVER_AFTER))
        try:
            worker.start()
            return _Run(server, worker, client, crash).play(events, files, kills, restarts, timeout)
        except BaseException:
            print(worker.log[-8000:], file=sys.stderr)
            raise
        finally:
            worker.kill()
            server.stop()


class _Run:
    def __init__(self, server: EmbeddedServer, worker: WorkerProcess, client: Client, crash: bool) -> None:
        self._server, self._worker, self._client, self._crash = server, worker, client, crash
        self._recoveries: list[float] = []
        self._events = 0

    def play(self, events: int, files: list[Path], kills: int, restarts: int, timeout: float) -> Result:
        self._events = events
        start = time.monotonic()
        # A fault whenever the next share of the verdicts is there: kills first and last, restarts between.
        faults = (
            [self._kill] * (kills - kills // 2) + [self._restart] * restarts + [self._kill] * (kills // 2)
        )
        sent = list(self._submit(events, files))
        for number, fault in enumerate(faults, start=1):
            self._wait_for(number * events // (len(faults) + 1), start + timeout)
            fault()
        self._wait_for(events, start + timeout)
        seconds = time.monotonic() - start
        self._settle()
        return self._count(sent, kills, restarts, seconds)

    def _submit(self, events: int, files: list[Path]) -> Iterator[Submitted]:
        bulk = int(events * BULK_SHARE) // BULK_SIZE
        for n in range(bulk):
            images = [{"path": str(files[(n + m) % len(files)])} for m in range(BULK_SIZE)]
            yield from self._client.submit_many(images, id=f"bulk-{n}")
        for n in range(events - bulk * BULK_SIZE):
            yield self._client.submit(path=files[n % len(files)], id=f"event-{n}")

    def _kill(self) -> None:
        self._worker.kill()
        self._worker.start(wait=False)
        self._recover()

    def _restart(self) -> None:
        if self._crash:
            self._server.kill()
        else:
            self._server.stop()
        self._server.start()
        self._recover()

    def _recover(self) -> None:
        """Wait for the next verdict and note how long it took."""
        fault = time.monotonic()
        self._wait_for(min(self._verdicts() + 1, self._events), fault + 120.0)
        self._recoveries.append(time.monotonic() - fault)

    def _verdicts(self) -> int:
        try:
            return int(self._client.redis.xlen(VERDICTS))
        except RedisError:
            return 0

    def _wait_for(self, verdicts: int, deadline: float) -> None:
        while self._verdicts() < verdicts and time.monotonic() < deadline:
            time.sleep(0.02)

    def _settle(self) -> None:
        """Let what is still on its way twice arrive, so that it would be counted."""
        deadline = time.monotonic() + 2 * REDELIVER_AFTER
        redis = self._client.redis
        while time.monotonic() < deadline:
            if (
                not redis.llen("moderation")
                and not redis.llen("moderation.bulk")
                and not self._client.ledger.pending()
            ):
                time.sleep(1.0)
                return
            time.sleep(0.1)

    def _count(self, sent: list[Submitted], kills: int, restarts: int, seconds: float) -> Result:
        verdicts = [verdict for _, verdict in self._client.verdicts.tail("0", follow=False)]
        answers = Counter((verdict.source, verdict.event_id) for verdict in verdicts)
        missing = [event for event in sent if not answers[event.source, event.id]]
        for event in missing[:10]:
            print(f"lost: {event.key}", file=sys.stderr)
        return Result(
            events=len(sent),
            verdicts=len(verdicts),
            lost=len(missing),
            doubled=sum(count - 1 for count in answers.values()),
            errors=sum(verdict.error is not None for verdict in verdicts),
            kills=kills,
            restarts=restarts,
            seconds=round(seconds, 1),
            recovery_seconds=round(max(self._recoveries, default=0.0), 1),
            events_per_second=round(len(verdicts) / seconds, 1),
        )


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.redelivery", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--events", type=int, default=1000, help="default: 1000")
    parser.add_argument("--kills", type=int, default=3, help="of the worker; default: 3")
    parser.add_argument("--restarts", type=int, default=1, help="of the server; default: 1")
    parser.add_argument("--crash", action="store_true", help="kill the server, too, instead of stopping it")
    parser.add_argument("--policies", type=Path, default=Path("policies"), help="folder; default: policies")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds until what is missing is lost")
    arguments = parser.parse_args()
    try:
        result = run(
            arguments.events,
            arguments.kills,
            arguments.restarts,
            arguments.policies.resolve(),
            crash=arguments.crash,
            timeout=arguments.timeout,
        )
    except QueueUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, value in asdict(result).items():
        print(f"{name:18} {value:>8}")
    print(json.dumps(asdict(result)))
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
