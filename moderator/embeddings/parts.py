"""The folder of finished rows beside a file of embeddings in the making; see `bulk` for its content."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from moderator.atomic import replacing
from moderator.embeddings.embeddings_file import Facts, open_writer, to_batch
from moderator.encoders.encoder import Embeddings
from moderator.errors import EmbeddingBusy

#: A part is written after this many rows or seconds, whichever comes first: the most work that a kill can cost.
PART_ROWS = 4096
PART_SECONDS = 30.0


@contextmanager
def locked(parts: Path) -> Iterator[None]:
    """Lock the folder of parts; the lock ends with its process, however that ends."""
    parts.mkdir(exist_ok=True)
    path = parts / "lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have finished and removed the folder since we opened the file.
            ours = path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino
        except BlockingIOError:
            ours = False
        if not ours:
            raise EmbeddingBusy(f"another process works in {parts}; wait for it, or choose another file")
        try:
            yield
        finally:
            if not (parts / "run.json").exists():  # finished, or never begun
                shutil.rmtree(parts)


def clear(parts: Path) -> None:
    """Remove the folder's content except the lock. `run.json` goes last: without it, parts mean nothing."""
    for path in sorted(parts.glob("*.parquet")):
        path.unlink()
    (parts / "run.json").unlink()


class Parts:
    """Collects rows and writes them as parts."""

    def __init__(self, folder: Path, facts: Facts, part_rows: int, number: int) -> None:
        self._folder = folder
        self._facts = facts
        self._part_rows = part_rows
        self._number = number
        self._began = time.monotonic()
        self._paths: list[str] = []
        self._digests: list[str] = []
        self._rows = np.empty((part_rows, facts.dimension), dtype=np.float32)
        self.rows = 0
        """Rows added so far."""

    def add(self, path: str, digest: str, row: Embeddings) -> None:
        """Add a row; write a part when one is due."""
        self._rows[len(self._paths)] = row
        self._paths.append(path)
        self._digests.append(digest)
        self.rows += 1
        if len(self._paths) == self._part_rows or time.monotonic() - self._began > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows collected so far."""
        self._began = time.monotonic()
        if not self._paths:
            return
        rows = to_batch(self._facts, self._paths, self._digests, self._rows[: len(self._paths)])
        with (
            replacing(self._folder / f"{self._number:06}.parquet") as new,
            open_writer(new, self._facts) as writer,
        ):
            writer.write_batch(rows)
        self._number += 1
        self._paths, self._digests = [], []
