"""A consumer of the outbox as an archive would be: a process of its own, one row per verdict, written in batches.

python -m tests.support.table_consumer FILE
"""

import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from moderator.delivery.consumers import Settle
from moderator.queue import outbox
from moderator.queue.outbox import Delivery
from moderator.settings import load_settings
from workers.deliverer import Deliverer
from workers.shutdown import Shutdown

NAME = "archive"
#: Short, so that what a killed one had comes back soon.
LEASE_SECONDS = 1.5


class TableConsumer:
    """Writes a batch, and is slow to say so: a kill hits between the two."""

    name = NAME
    wants_evidence = True
    attempts = 5

    def __init__(self, file: Path) -> None:
        # Made in one thread, used in another.
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS verdicts (source, id, digest, embedding, UNIQUE (source, id, digest))"
        )
        self._database.execute("CREATE TABLE IF NOT EXISTS received (id, at DEFAULT CURRENT_TIMESTAMP)")

    def room(self) -> int:
        return 25

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        rows = [
            (*one.identity, one.evidence.embeddings.tobytes() if one.evidence else None) for one in deliveries
        ]
        self._database.executemany("INSERT INTO received (id) VALUES (?)", [(row[1],) for row in rows])
        self._database.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?)", rows)
        time.sleep(0.1)
        settle.done(deliveries)

    def close(self) -> None:
        self._database.close()


if __name__ == "__main__":
    outbox.DELIVERY_LEASE_SECONDS = LEASE_SECONDS
    with Shutdown() as shutdown:
        Deliverer(load_settings(), port=0, consumers=[TableConsumer(Path(sys.argv[1]))]).run(shutdown)
