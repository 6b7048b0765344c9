"""The tables of the archive. Changes go into a further migration, and into `SCHEMA_REVISION`."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

#: The revision that this version reads and writes: the newest one in `migrations/versions`.
SCHEMA_REVISION = "0001"

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, kept in UTC in a database without time zones as well."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment as the database keeps it."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment with its time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite numbers rows by itself only in columns of its own INTEGER type.
Number = BigInteger().with_variant(Integer, "sqlite")

#: Verdicts as they were published. `source`, `event_id` and `digest` identify one, as in the outbox.
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Number, primary_key=True),
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("decision", String(16), nullable=False),
    Column("policy", Text),
    Column("policy_version", Integer),
    Column("subject", Text),
    Column("image_sha256", String(64)),
    Column("body", Text, nullable=False),
    UniqueConstraint("source", "event_id", "digest", name="verdicts_identity"),
    Index("verdicts_time", "decided_at", "id"),
    Index("verdicts_policy", "policy", "decided_at", "id"),
    Index("verdicts_decision", "decision", "decided_at", "id"),
    Index("verdicts_subject", "subject"),
    Index("verdicts_image", "image_sha256"),
    sqlite_autoincrement=True,  # numbers of deleted verdicts are never used again
)

#: The categories of a verdict that reached `review` or `block`.
flags = Table(
    "flags",
    metadata,
    Column("category", Text, primary_key=True),
    Column("verdict_id", Number, primary_key=True, autoincrement=False),
    Column("decision", String(16), nullable=False),
    Index("flags_verdict", "verdict_id"),
)

#: What embeddings depend on besides the image: only embeddings of one space can be compared.
spaces = Table(
    "spaces",
    metadata,
    Column("id", Number, primary_key=True),
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("preprocessing", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    UniqueConstraint("model", "revision", "preprocessing", "dimension", name="spaces_identity"),
)

#: Evidence that is in no segment yet.
evidence = Table(
    "evidence",
    metadata,
    Column("verdict_id", Number, primary_key=True, autoincrement=False),
    Column("space_id", Number, nullable=False),
    Column("day", Date, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("archived_at", UtcDateTime, nullable=False),
    Column("embedding", LargeBinary, nullable=False),
    Column("tensor", Text, nullable=False),
    Column("readings", Text, nullable=False),
    Index("evidence_partition", "space_id", "day", "verdict_id", "frames", "archived_at"),
)

#: Parquet files, with the range of verdicts in them. `state`: `writing` until the file is complete and the evidence has
#: left the table above.
segments = Table(
    "segments",
    metadata,
    Column("id", Number, primary_key=True),
    Column("space_id", Number, nullable=False),
    Column("day", Date, nullable=False),
    Column("state", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("first_verdict_id", Number, nullable=False),
    Column("last_verdict_id", Number, nullable=False),
    Index("segments_day", "day"),
    sqlite_autoincrement=True,
)

#: Legal holds: on all of a subject, or on one event.
holds = Table(
    "holds",
    metadata,
    Column("id", Number, primary_key=True),
    Column("subject", Text),
    Column("source", Text),
    Column("event_id", Text),
    Column("reason", Text, nullable=False),
    Column("placed_at", UtcDateTime, nullable=False),
    Index("holds_subject", "subject"),
    Index("holds_event", "source", "event_id"),
    sqlite_autoincrement=True,
)

#: Keyed hashes of erased subjects, about whom nothing is archived that was decided up to that moment, and of their
#: events, of which nothing is archived any more.
tombstones = Table(
    "tombstones",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
)

#: The key of that hash.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
