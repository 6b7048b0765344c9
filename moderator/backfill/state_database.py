"""The SQLite database of a backfill's state: its tables, its lock, its errors."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from moderator.errors import BackfillBusy, BackfillMismatch, BackfillUnreadable

STATE_FILE = "_state.sqlite"
_FORMAT_VERSION = 1

_TABLES = """
CREATE TABLE plan (run TEXT, plan TEXT, listed INTEGER, bulks INTEGER);
CREATE TABLE items (number INTEGER PRIMARY KEY, name BLOB UNIQUE, state INTEGER, bulk INTEGER, place INTEGER);
CREATE INDEX items_waiting ON items (number) WHERE state = 0;
CREATE INDEX items_sent ON items (bulk, place) WHERE state = 1;
CREATE TABLE results (number INTEGER PRIMARY KEY, row TEXT);
CREATE TABLE failures (number INTEGER PRIMARY KEY, type TEXT, row TEXT);
CREATE TABLE decisions (decision TEXT PRIMARY KEY, count INTEGER);
CREATE TABLE parts (number INTEGER PRIMARY KEY, rows INTEGER);
"""


@dataclass(frozen=True)
class RunPlan:
    """What a backfill judges: must be the same whenever it is resumed."""

    source: str
    column: str | None
    policy: str | None


class StateDatabase:
    """The database in a folder, which is created if necessary, locked until `close`.

    Args:
        folder: for the results.
        plan: of this backfill.

    Raises:
        BackfillBusy: another process has it open.
        BackfillMismatch: it belongs to another plan.
        BackfillUnreadable: it is damaged, or the folder cannot be written.
    """

    def __init__(self, folder: Path, plan: RunPlan) -> None:
        self._folder = folder
        with self.typed_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(folder / STATE_FILE, isolation_level=None, timeout=0)
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self.run = self._open(plan)
            """Name of the run, which the ids of its events start with."""

    def close(self) -> None:
        """Close the database, and release the lock."""
        self._connection.close()

    def query(self, text: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Return the rows of a query."""
        return self._connection.execute(text, values)

    def number(self, query: str) -> int:
        """Return the number that a query selects."""
        return int(self.query(query).fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: all of it, or nothing."""
        with self.typed_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Replace the errors of SQLite and of the file system."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BackfillBusy(
                    f"another process writes to {self._folder}; wait for it, or choose another folder"
                ) from error
            raise BackfillUnreadable(f"{self._folder / STATE_FILE} cannot be used ({error})") from error
        except sqlite3.DatabaseError as error:
            raise BackfillUnreadable(
                f"{self._folder / STATE_FILE} is damaged ({error}); begin again in another folder"
            ) from error
        except OSError as error:
            raise BackfillUnreadable(f"{self._folder} cannot be written ({error.strerror})") from error

    def _open(self, plan: RunPlan) -> str:
        """Create the tables, or check those that are there; return the name of the run."""
        version = self.number("PRAGMA user_version")
        self._connection.execute("BEGIN IMMEDIATE")  # locks it until the end
        if not version:
            run = uuid4().hex[:16]
            for statement in _TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute("INSERT INTO plan VALUES (?, ?, 0, 0)", (run, json.dumps(asdict(plan))))
            self._connection.execute(f"PRAGMA user_version = {_FORMAT_VERSION}")
            self._connection.execute("COMMIT")
            return run
        self._connection.execute("COMMIT")
        if version != _FORMAT_VERSION:
            raise BackfillUnreadable(f"{self._folder} was made by another version; choose another folder")
        run, text = self._connection.execute("SELECT run, plan FROM plan").fetchone()
        known = json.loads(text)
        for name, value in asdict(plan).items():
            if known.get(name) != value:
                raise BackfillMismatch(
                    f"{self._folder} holds results for the {name} {known.get(name)}, not {value}; choose another folder"
                )
        return str(run)
