"""Kill the archiver while verdicts come: is each of them in the archive, and once?

The archiver is a process of its own, as `moderator deliver`; only the lease of what a killed one had is shorter.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Thread

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import sqlalchemy as sa

from moderator.archive.archive_records import NewRecord
from moderator.archive.archive_store import Added, Archive, open_archive
from moderator.archive.evidence_reader import read_blocks
from moderator.archive.segments import seal
from moderator.archive.tables import verdicts
from moderator.archive.verdict_filter import VerdictFilter
from moderator.client import Client
from moderator.events import Event, ImageReference
from moderator.queue import outbox
from moderator.queue.evidence import Evidence
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Answer, Ledger
from moderator.queue.outbox import Outbox
from moderator.queue.subscriptions import Subscriptions
from moderator.settings import Settings, load_settings
from moderator.verdicts import CategoryVerdict, Decision, ImageFacts, ModelFacts, PolicyFacts, Verdict

#: Seconds after which another archiver gets what a killed one had.
LEASE_SECONDS = 1.5
#: Seconds between writing and confirming, so that kills hit in between.
CONFIRM_DELAY_SECONDS = 0.3
#: Seconds without progress after which what is missing counts as lost.
PATIENCE_SECONDS = 60.0
#: Verdicts published together.
GROUP_VERDICTS = 50
MODEL = ModelFacts(id="benchmark", revision="1", preprocessing="p", device="cpu", dtype="float32")


@dataclass(frozen=True)
class KillRow:
    """What is in the archive at the end."""

    database: str
    kills: int
    published: int
    archived: int
    missing: int
    doubled: int
    """Verdicts, or frames of evidence, that are there more than once."""
    repeated: int
    """Verdicts that came again, because a killed archiver had written and not confirmed them."""
    seconds: float


def run_kills(
    redis_url: str, archive_url: str, segments: Path, events: int, kills: int, rate: float
) -> KillRow:
    """Publish verdicts with embeddings at a rate, and kill the archiver at random moments meanwhile.

    Args:
        redis_url: an empty server.
        archive_url: an empty database.
        segments: an empty folder.
        events: how many verdicts.
        kills: of the archiver, which is started again at once.
        rate: verdicts a second.
    """
    settings = Settings(redis_url=redis_url, archive_url=archive_url, archive_segments=segments)
    start, repeats = time.monotonic(), segments.with_name(f"{segments.name}.repeats")
    with closing(Client(redis_url, settings)) as client, closing(open_archive(settings)) as archive:
        publisher = Thread(target=_publish, args=(client, settings, events, rate))
        publisher.start()
        random = Random(0)
        box = Outbox(client.redis, "archive")
        for kill in range(kills):
            archiver = start_archiver(settings, repeats)
            try:
                # Once this one has written something: before it confirms that, or some time later.
                before = _count(archive)
                _wait(lambda: _count(archive) > before or not (publisher.is_alive() or len(box)))  # noqa: B023
                time.sleep(random.uniform(0.0, 0.5) * (kill % 2))
            finally:
                archiver.kill()
                archiver.wait()
            if kill % 3 == 0:
                seal(archive, everything=True)
        publisher.join()
        archiver = start_archiver(settings, repeats)
        try:
            _wait(lambda: len(box) == 0)
        finally:
            archiver.terminate()
            archiver.wait(30)
        published = {
            (verdict.source, verdict.event_id) for _, verdict in client.verdicts.tail("0", follow=False)
        }
        found = Counter(
            (one.verdict["source"], one.verdict["event_id"]) for one in archive.scan(VerdictFilter())
        )
        frames = Counter(
            frame
            for block in read_blocks(archive, readings=False)
            for frame in zip(block.verdict_ids.tolist(), block.frames.tolist(), strict=True)
        )
    surplus = sum(count - 1 for counts in (found, frames) for count in counts.values())
    return KillRow(
        archive_url.partition(":")[0],
        kills,
        len(published),
        len(found),
        len(published - found.keys()) + len(found.keys() - published) + abs(len(frames) - len(published)),
        surplus,
        sum(int(line) for line in repeats.read_text().split()),
        round(time.monotonic() - start, 1),
    )


def _publish(client: Client, settings: Settings, events: int, rate: float) -> None:
    ledger = Ledger(RedisExecutor(client.redis), 30.0, subscriptions=Subscriptions.of(settings))
    start = time.monotonic()
    answers = _answers(events)
    for at in range(0, events, GROUP_VERDICTS):
        time.sleep(max(0.0, start + at / rate - time.monotonic()))
        group = [next(answers) for _ in range(min(GROUP_VERDICTS, events - at))]
        ledger.publish(group, ttl=3600.0, stream_length=10 * events)


def _answers(count: int) -> Iterator[Answer]:
    random = np.random.default_rng(0)
    for number in range(count):
        decision = Decision.BLOCK if number % 10 == 0 else Decision.ALLOW
        verdict = Verdict(
            event_id=f"event-{number}",
            source="benchmark",
            decision=decision,
            is_safe=decision is Decision.ALLOW,
            unsafe_score=0.5,
            categories={"weapons": CategoryVerdict(0.5, decision)},
            policy=PolicyFacts(name="classic", version=1, digest="0" * 64),
            model=MODEL,
            image=ImageFacts(sha256=f"{number:064x}", width=1, height=1, format="JPEG"),
            metadata={"subject": f"user-{number % 100}"},
        )
        event = Event(id=verdict.event_id, source=verdict.source, image=ImageReference(path="/x.jpg"))
        embedding = random.standard_normal((1, 384)).astype(np.float32)
        yield Answer(event, verdict, evidence=Evidence(embedding, {}, MODEL))


def _count(archive: Archive) -> int:
    with archive.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(verdicts)).scalar_one()


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            return  # the count shows what is missing
        time.sleep(0.05)


def _note_repeats(file: Path) -> None:
    """Have this process note how many verdicts it was given again, and be slow to confirm what it has written."""
    add = Archive.add

    def noting(self: Archive, records: Sequence[NewRecord]) -> Added:
        added = add(self, records)
        with file.open("a") as notes:
            notes.write(f"{added.repeated}\n")
        if len(records) > 1:  # what is delivered again comes alone
            time.sleep(CONFIRM_DELAY_SECONDS)
        return added

    Archive.add = noting  # type: ignore[method-assign]


def start_archiver(settings: Settings, repeats: Path) -> "subprocess.Popen[bytes]":
    """Start an archiver that notes in a file how many verdicts it was given again."""
    ours = {
        "MODERATOR_REDIS_URL": settings.redis_url,
        "MODERATOR_ARCHIVE_URL": settings.archive_url or "",
        "MODERATOR_ARCHIVE_SEGMENTS": str(settings.archive_segments),
        "MODERATOR_DELIVER": "apart",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, str(repeats)]
    return subprocess.Popen(command, env={**os.environ, **ours}, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    from workers.deliverer import Deliverer
    from workers.shutdown import Shutdown

    _note_repeats(Path(sys.argv[1]))
    outbox.DELIVERY_LEASE_SECONDS = LEASE_SECONDS
    with Shutdown() as shutdown:
        Deliverer(load_settings(), ["archive"], port=0).run(shutdown)
