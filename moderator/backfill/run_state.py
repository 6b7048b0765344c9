"""The state of a backfill: what is listed, sent and done, in an SQLite database beside the results.

Each change is one transaction, so a process may be killed at any time. A result is kept in the database until the part
that holds it is on disk; a part that the database does not know was being written during a kill, and is removed. So
each image has exactly one row in the result, whatever happens.

| file in the folder | what it holds |
| --- | --- |
| `part-000000.parquet`, ... | rows of images that were judged; never changed |
| `errors.parquet` | rows of images that ended in an error; written again at the end of each run |
| `_state.sqlite` | this state; one process at a time may have it open |
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import groupby
from pathlib import Path

from moderator.atomic import remove_leftovers
from moderator.backfill.backfill_items import Item
from moderator.backfill.result_parts import ERRORS_FILE, PART_ROWS, part_name, write_rows
from moderator.backfill.result_rows import Row
from moderator.backfill.state_database import RunPlan, StateDatabase
from moderator.errors import BackfillUnreadable

#: Names stored in one transaction.
NAMES_PER_WRITE = 10_000


class Progress(IntEnum):
    """How far an image is."""

    WAITING = 0
    SENT = 1
    DONE = 2
    FAILED = 3


class RunState:
    """The state in a folder, which is created if necessary.

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
        self._database = StateDatabase(folder, plan)
        with self._database.typed_errors():
            self._remove_unknown_parts()
            states = self._database.query("SELECT state, count(*) FROM items GROUP BY state")
            self._counts = Counter({Progress(state): count for state, count in states})
            self._kept = self._database.number("SELECT count(*) FROM results")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @property
    def listed(self) -> bool:
        """Whether the source has been listed to its end."""
        return bool(self._database.number("SELECT listed FROM plan"))

    def count(self, *states: Progress) -> int:
        """Return the number of images, of those in some states if given."""
        return sum(self._counts[state] for state in states or Progress)

    def decisions(self) -> dict[str, int]:
        """Return the number of images by decision, without those in error."""
        return dict(self._database.query("SELECT decision, count FROM decisions ORDER BY count DESC"))

    def failures(self) -> dict[str, int]:
        """Return the number of images in error, by the type of the error."""
        query = "SELECT type, count(*) FROM failures GROUP BY type ORDER BY count(*) DESC"
        return dict(self._database.query(query))

    def add_names(self, names: Sequence[str]) -> int:
        """Add images that are not known yet; return how many are new."""
        with self._database.transaction() as database:
            added = database.executemany(
                "INSERT OR IGNORE INTO items (name, state) VALUES (?, 0)",
                ((os.fsencode(name),) for name in names),
            ).rowcount
        self._counts[Progress.WAITING] += added
        return added

    def end_listing(self) -> None:
        """Note that the source has been listed to its end."""
        with self._database.transaction() as database:
            database.execute("UPDATE plan SET listed = 1")

    def waiting(self, most: int) -> list[tuple[int, str]]:
        """Return the numbers and names of the next images to send."""
        query = "SELECT number, name FROM items WHERE state = 0 ORDER BY number LIMIT ?"
        return [(number, os.fsdecode(name)) for number, name in self._database.query(query, (most,))]

    def begin_bulk(self, images: Sequence[tuple[int, str]]) -> list[Item]:
        """Make images the next bulk event, before it is sent: whoever resumes sends the same event."""
        bulk = self._database.number("SELECT bulks FROM plan")
        items = [Item(number, name, self._bulk_id(bulk), n) for n, (number, name) in enumerate(images)]
        with self._database.transaction() as database:
            database.executemany(
                "UPDATE items SET state = 1, bulk = ?, place = ? WHERE number = ?",
                ((bulk, item.place, item.number) for item in items),
            )
            database.execute("UPDATE plan SET bulks = ?", (bulk + 1,))
        self._move(Progress.WAITING, Progress.SENT, len(items))
        return items

    def sent(self) -> list[list[Item]]:
        """Return the images that may have been sent and have no row yet, by bulk event."""
        found = self._database.query(
            "SELECT number, name, bulk, place FROM items WHERE state = 1 ORDER BY bulk, place"
        )
        return [
            [Item(number, os.fsdecode(name), self._bulk_id(bulk), place) for number, name, _, place in images]
            for bulk, images in groupby(found, lambda image: image[2])
        ]

    def record(self, rows: Iterable[tuple[int, Row]]) -> int:
        """Record the rows of images, by number, and write a part if one is due; return how many were recorded.

        A second row for an image changes nothing.
        """
        recorded = 0
        with self._database.transaction() as database:
            for number, row in rows:
                recorded += self._record(database, number, row)
        if self._kept >= PART_ROWS:
            self._write_part()
        return recorded

    def retry(self, kinds: Sequence[str]) -> int:
        """Let images in error wait to be judged again; return how many.

        Args:
            kinds: types of errors; none: all.
        """
        chosen = [(kind,) for kind in kinds or self.failures()]
        with self._database.transaction() as database:
            database.executemany(
                "UPDATE items SET state = 0, bulk = NULL, place = NULL "
                "WHERE number IN (SELECT number FROM failures WHERE type = ?)",
                chosen,
            )
            count = database.executemany("DELETE FROM failures WHERE type = ?", chosen).rowcount
        self._move(Progress.FAILED, Progress.WAITING, count)
        self._write_errors()
        return count

    def write(self) -> None:
        """Write all results that are not in a file yet."""
        while self._kept:
            self._write_part()
        self._write_errors()

    def _remove_unknown_parts(self) -> None:
        known = {part_name(number) for (number,) in self._database.query("SELECT number FROM parts")}
        present = {path.name for path in self._folder.glob("part-*.parquet")}
        for name in present - known:
            (self._folder / name).unlink()
        if lost := sorted(known - present):
            raise BackfillUnreadable(
                f"{self._folder / lost[0]} is missing; put it back, or begin again in another folder"
            )
        remove_leftovers(self._folder)

    def _record(self, database: sqlite3.Connection, number: int, row: Row) -> bool:
        failed = row["error_type"] is not None
        state = Progress.FAILED if failed else Progress.DONE
        before = database.execute("SELECT state FROM items WHERE number = ?", (number,)).fetchone()[0]
        if before not in (Progress.WAITING, Progress.SENT):
            return False
        database.execute("UPDATE items SET state = ? WHERE number = ?", (state, number))
        text = json.dumps(row)
        if failed:
            database.execute("INSERT INTO failures VALUES (?, ?, ?)", (number, row["error_type"], text))
        else:
            database.execute("INSERT INTO results VALUES (?, ?)", (number, text))
            database.execute(
                "INSERT INTO decisions VALUES (?, 1) ON CONFLICT (decision) DO UPDATE SET count = count + 1",
                (row["decision"],),
            )
            self._kept += 1
        self._move(Progress(before), state, 1)
        return True

    def _write_part(self) -> None:
        query = "SELECT number, row FROM results ORDER BY number LIMIT ?"
        rows = self._database.query(query, (PART_ROWS,)).fetchall()
        number = self._database.number("SELECT count(*) FROM parts")
        with self._database.typed_errors():
            write_rows(self._folder / part_name(number), (json.loads(row) for _, row in rows))
        with self._database.transaction() as database:
            database.execute("INSERT INTO parts VALUES (?, ?)", (number, len(rows)))
            database.execute("DELETE FROM results WHERE number <= ?", (rows[-1][0],))
        self._kept -= len(rows)

    def _write_errors(self) -> None:
        path = self._folder / ERRORS_FILE
        rows = self._database.query("SELECT row FROM failures ORDER BY number")
        with self._database.typed_errors():
            if self._counts[Progress.FAILED]:
                write_rows(path, (json.loads(row) for (row,) in rows))
            else:
                path.unlink(missing_ok=True)

    def _bulk_id(self, bulk: int) -> str:
        return f"{self._database.run}-{bulk}"

    def _move(self, before: Progress, after: Progress, count: int) -> None:
        self._counts[before] -= count
        self._counts[after] += count
