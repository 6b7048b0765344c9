"""Events on this machine's disk while Redis is unavailable: in order, bounded, and safe across any crash.

One SQLite file in a folder. When `append` returns, the event is in it and the file is synced. Many processes may
share a folder. Every failure is an error, never a silent loss.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moderator.errors import EventInvalid, SpoolFull, SpoolUnavailable

FILE, LOCK, RESERVE = "spool.sqlite3", "spool.lock", "spool.reserve"
#: Bytes reserved for a full disk: SQLite must write a journal before it can remove delivered messages.
RESERVE_BYTES = 1 << 20
#: Seconds between two checks of the delivery lock.
LOCK_POLL_SECONDS = 0.01
#: Seconds to wait for another writing process.
WRITER_WAIT_SECONDS = 10.0

# AUTOINCREMENT never reuses a number, so numbers give the order. The triggers maintain the sums, so checking the
# bounds costs the same at any size.
_SCHEMA = """
PRAGMA auto_vacuum = FULL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    events INTEGER NOT NULL,
    size INTEGER NOT NULL,
    spooled_at REAL NOT NULL,
    problem TEXT,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting ON entries (number) WHERE problem IS NULL;
CREATE TABLE IF NOT EXISTS totals (only INTEGER PRIMARY KEY CHECK (only = 1), events INTEGER, size INTEGER);
INSERT OR IGNORE INTO totals VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON entries BEGIN
    UPDATE totals SET events = events + new.events, size = size + new.size;
END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON entries BEGIN
    UPDATE totals SET events = events - old.events, size = size - old.size;
END;
COMMIT;
"""


@dataclass(frozen=True)
class Entry:
    """A spooled message as stored on disk."""

    number: int
    text: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Return the message as `Ledger.accept` takes it.

        Raises:
            EventInvalid: it is damaged.
        """
        try:
            body = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise EventInvalid(f"it is no JSON ({error})") from error
        if not isinstance(body, dict):
            raise EventInvalid("it is no JSON object")
        return body


@dataclass(frozen=True)
class Rejected:
    """A message that no queue will take, with the reason; kept for an operator.

    `body` is empty if it cannot be read.
    """

    number: int
    problem: str
    body: dict[str, Any]


@dataclass(frozen=True)
class SpoolState:
    """The contents of a spool. `size` is in bytes; `oldest` is when the first message arrived."""

    events: int
    size: int
    oldest: datetime | None
    rejected: int


class Spool:
    """The spool in one folder. Safe for threads and processes: each call opens its own connection.

    Args:
        folder: on a local disk; created when needed, accessible to this user only.
        max_events: most events (images) in it.
        max_bytes: most bytes of messages in it.
    """

    def __init__(self, folder: Path, max_events: int, max_bytes: int) -> None:
        self._folder = folder
        self._file = folder / FILE
        self._max_events = max_events
        self._max_bytes = max_bytes

    def append(self, body: dict[str, Any], events: int) -> int:
        """Write a message with this number of events to disk. Returns its number once it is synced.

        Raises:
            SpoolFull: there is no room for it; it is not kept.
            SpoolUnavailable: the disk refused it; it is not kept.
        """
        text = json.dumps(body)
        size = len(text)
        with self._open(create=True) as connection:
            self._set_reserve_aside()
            connection.execute("BEGIN IMMEDIATE")
            held, used = connection.execute("SELECT events, size FROM totals").fetchone()
            if held + events > self._max_events or used + size > self._max_bytes:
                raise SpoolFull(
                    f"the spool is full ({held} events, {used} bytes in {self._folder}); "
                    "the event is not kept. Submit it again later; MODERATOR_SPOOL_EVENTS and MODERATOR_SPOOL_BYTES "
                    "make room for more"
                )
            number = connection.execute(
                "INSERT INTO entries (events, size, spooled_at, body) VALUES (?, ?, ?, ?)",
                (events, size, datetime.now(UTC).timestamp(), text),
            ).lastrowid
            connection.execute("COMMIT")
        assert number is not None
        return number

    def empty(self) -> bool:
        """Return whether no message waits for delivery."""
        return self.next_after(0) is None

    def next_after(self, number: int) -> Entry | None:
        """Return the first message after that number that waits for delivery."""
        if not self._file.exists():  # checked before each event: keeps the usual case free
            return None
        with self._open() as connection:
            row = connection.execute(
                "SELECT number, CAST(body AS BLOB) FROM entries WHERE problem IS NULL AND number > ? "
                "ORDER BY number LIMIT 1",
                (number,),
            ).fetchone()
        return None if row is None else Entry(*row)

    def remove_until(self, number: int) -> None:
        """Forget the delivered messages up to that number, but not the rejected ones."""
        try:
            self._remove(number)
        except SpoolUnavailable:
            # If the disk is full, the reserve has room to remove messages one by one.
            (self._folder / RESERVE).unlink(missing_ok=True)
            while (entry := self.next_after(0)) is not None and entry.number <= number:
                self._remove(entry.number)

    def _remove(self, number: int) -> None:
        with self._open() as connection:
            connection.execute("DELETE FROM entries WHERE problem IS NULL AND number <= ?", (number,))

    def reject(self, number: int, problem: str) -> None:
        """Set aside a message that no queue will take, so that it does not block the others."""
        with self._open() as connection:
            connection.execute("UPDATE entries SET problem = ? WHERE number = ?", (problem, number))

    def rejected(self) -> list[Rejected]:
        """Return the messages set aside, oldest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT number, problem, CAST(body AS BLOB) FROM entries "
                "WHERE problem IS NOT NULL ORDER BY number"
            ).fetchall()
        return [Rejected(number, problem, _readable(Entry(number, text))) for number, problem, text in rows]

    def state(self) -> SpoolState:
        """Return what the spool holds now."""
        with self._open() as connection:
            events, size = connection.execute("SELECT events, size FROM totals").fetchone()
            (oldest,) = connection.execute(
                "SELECT MIN(spooled_at) FROM entries WHERE problem IS NULL"
            ).fetchone()
            (rejected,) = connection.execute(
                "SELECT COUNT(*) FROM entries WHERE problem IS NOT NULL"
            ).fetchone()
        return SpoolState(
            events, size, None if oldest is None else datetime.fromtimestamp(oldest, UTC), rejected
        )

    @contextmanager
    def delivery(self, patience: float = 0.0) -> Iterator[bool]:
        """Take the delivery lock, held by one thread of one process at a time; yields False if another holds it.

        Args:
            patience: seconds to wait for another to finish.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unavailable(error) from error
        try:
            yield _locked(lock, patience)
        finally:
            os.close(lock)

    def _set_reserve_aside(self) -> None:
        reserve = self._folder / RESERVE
        if not reserve.exists():
            try:
                reserve.write_bytes(os.urandom(RESERVE_BYTES))  # a file of zeros might take no space
            except OSError:
                reserve.unlink(missing_ok=True)
                raise

    @contextmanager
    def _open(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """Open a connection; uncommitted changes are rolled back at the end. Without a file: an empty spool."""
        try:
            fresh = not self._file.exists()
            if create and fresh:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            # In memory, an empty spool needs no file and no folder.
            name = ":memory:" if fresh and not create else str(self._file)
            with closing(
                sqlite3.connect(name, timeout=WRITER_WAIT_SECONDS, isolation_level=None)
            ) as connection:
                # With a rollback journal, EXTRA also syncs the folder: a commit survives a power loss.
                connection.execute("PRAGMA synchronous = EXTRA")
                if (
                    connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'removed'").fetchone()
                    is None
                ):
                    connection.executescript(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> SpoolUnavailable:
        return SpoolUnavailable(
            f"the spool in {self._folder} cannot be used ({error}); nothing is kept there. MODERATOR_SPOOL must be a "
            "folder on a local disk that this user may write to, with room on it"
        )


def _readable(entry: Entry) -> dict[str, Any]:
    try:
        return entry.body
    except EventInvalid:
        return {}


def _locked(lock: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return True
