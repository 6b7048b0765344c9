"""The archive's database: connections, its lock, and its schema."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, NoSuchModuleError, SQLAlchemyError

from moderator.archive.tables import SCHEMA_REVISION
from moderator.errors import (
    ArchiveNewer,
    ArchiveOff,
    ArchiveUnavailable,
    ExtraMissing,
    RecordRefused,
    SettingsError,
    brief,
)
from moderator.settings import ArchiveSettings

#: Seconds that a statement waits for another writer of an SQLite file.
WRITER_WAIT_SECONDS = 10.0
#: Seconds to reach a PostgreSQL server.
CONNECT_SECONDS = 5
#: Names the advisory locks of the archive among those of other programs in the same PostgreSQL database.
LOCK_NUMBER = 0x6D6F6465
MIGRATIONS = Path(__file__).with_name("migrations")
#: Suffix of the lock file and of the default folder of segments beside an SQLite file.
LOCK_SUFFIX, SEGMENTS_SUFFIX = ".lock", ".segments"


class Database:
    """A database with the archive's tables, which are made or upgraded at the first use.

    Args:
        url: as in the settings.

    Raises:
        SettingsError: the URL is none.
        ExtraMissing: the driver of the database is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() in ("postgresql", "postgres"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            self.file = Path(parsed.database or "") if self.is_sqlite else None
            self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)
        except (ArgumentError, NoSuchModuleError) as error:
            raise SettingsError(f"MODERATOR_ARCHIVE_URL is no URL of a database ({brief(error)})") from error
        except ModuleNotFoundError as error:
            raise ExtraMissing(f"{error}: pip install 'moderator[postgres]'") from error
        #: For transactions that write.
        self.writer = self.engine.execution_options(writes=True)
        self._ready = False

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection in one transaction that sees one state of the database."""
        with failing(self.engine):
            self._prepare()
            level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            with self.engine.connect().execution_options(**level) as connection, connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection in one transaction, committed at the end of the block."""
        with failing(self.engine):
            self._prepare()
            with self.writer.begin() as connection:
                yield connection

    @contextmanager
    def exclusive(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of whoever moves or deletes evidence or changes the schema, one process at a time.

        Yields whether it is held: always with `wait`. It goes with the process that dies.
        """
        with failing(self.engine):
            self._prepare()
            with self._lock(wait) as held:
                yield held

    def shred(self) -> None:
        """Remove what the database still keeps of deleted rows: the write-ahead log, or dead rows."""
        command = "PRAGMA wal_checkpoint(TRUNCATE)" if self.is_sqlite else "VACUUM verdicts, evidence, flags"
        with failing(self.engine), self.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(command)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def revision(self) -> str | None:
        """Return the revision of the schema as it is; None: there are no tables yet."""
        with failing(self.engine), self.engine.connect() as connection:
            return _revision(connection)

    def _prepare(self) -> None:
        """Make or upgrade the tables, once.

        Raises:
            ArchiveNewer: a newer version did.
        """
        if self._ready:
            return
        if self.file is not None:  # verdicts are for this user alone
            self.file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if self.revision() != SCHEMA_REVISION:
            with self._lock(wait=True), self.writer.connect() as connection:
                _upgrade(connection)
        self._ready = True

    def _lock(self, wait: bool) -> AbstractContextManager[bool]:
        return self._file_lock(wait) if self.is_sqlite else self._advisory_lock(wait)

    @contextmanager
    def _file_lock(self, wait: bool) -> Iterator[bool]:
        assert self.file is not None
        path = self.file.with_name(self.file.name + LOCK_SUFFIX)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    @contextmanager
    def _advisory_lock(self, wait: bool) -> Iterator[bool]:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if wait:
                connection.execute(sa.text("SELECT pg_advisory_lock(:number)"), {"number": LOCK_NUMBER})
                held = True
            else:
                command = sa.text("SELECT pg_try_advisory_lock(:number)")
                held = bool(connection.execute(command, {"number": LOCK_NUMBER}).scalar())
            try:
                yield held
            finally:
                if held:
                    connection.execute(sa.text("SELECT pg_advisory_unlock(:number)"), {"number": LOCK_NUMBER})


def database_of(settings: ArchiveSettings) -> Database:
    """Return the database of the settings.

    Raises:
        ArchiveOff: there is none.
    """
    if settings.archive_url is None:
        raise ArchiveOff("there is no archive: set MODERATOR_ARCHIVE_URL, for the workers as well")
    return Database(settings.archive_url)


@contextmanager
def failing(engine: sa.Engine) -> Iterator[None]:
    """Turn errors of the database in the block into the project's.

    Raises:
        RecordRefused: the database cannot hold a value.
        ArchiveUnavailable: it cannot be reached, or refuses for another reason.
    """
    try:
        yield
    except DataError as error:
        raise RecordRefused(f"the archive cannot hold this verdict ({brief(error.orig or error)})") from error
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        place = engine.url.render_as_string(hide_password=True)
        raise ArchiveUnavailable(
            f"the archive {place} cannot be used ({brief(cause)}); see that the database runs, that this user may read "
            "and write it, and that there is room on its disk"
        ) from error


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": WRITER_WAIT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver sees fit
        # FULL: what is committed survives a loss of power: the outbox then forgets it. secure_delete overwrites.
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return
        # A transaction that reads first and writes later fails if another has written in between.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_SECONDS})


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # takes a third of a second, and is hardly ever needed
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    found = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ArchiveNewer(
            f"a newer version of the program has upgraded the archive (schema {found}, known here: {SCHEMA_REVISION}); "
            "update this one. Until then verdicts wait in the outbox, and nothing is lost"
        )
    connection.rollback()
    with connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
