"""The first schema."""

import sqlalchemy as sa
from alembic import op

from moderator.archive.tables import UtcDateTime

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "verdicts",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("decided_at", UtcDateTime, nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("policy", sa.Text),
        sa.Column("policy_version", sa.Integer),
        sa.Column("subject", sa.Text),
        sa.Column("image_sha256", sa.String(64)),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("source", "event_id", "digest", name="verdicts_identity"),
        sqlite_autoincrement=True,
    )
    op.create_index("verdicts_time", "verdicts", ["decided_at", "id"])
    op.create_index("verdicts_policy", "verdicts", ["policy", "decided_at", "id"])
    op.create_index("verdicts_decision", "verdicts", ["decision", "decided_at", "id"])
    op.create_index("verdicts_subject", "verdicts", ["subject"])
    op.create_index("verdicts_image", "verdicts", ["image_sha256"])
    op.create_table(
        "flags",
        sa.Column("category", sa.Text, primary_key=True),
        sa.Column("verdict_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("decision", sa.String(16), nullable=False),
    )
    op.create_index("flags_verdict", "flags", ["verdict_id"])
    op.create_table(
        "spaces",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("preprocessing", sa.Text, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.UniqueConstraint("model", "revision", "preprocessing", "dimension", name="spaces_identity"),
    )
    op.create_table(
        "evidence",
        sa.Column("verdict_id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("space_id", NUMBER, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("archived_at", UtcDateTime, nullable=False),
        sa.Column("embedding", sa.LargeBinary, nullable=False),
        sa.Column("tensor", sa.Text, nullable=False),
        sa.Column("readings", sa.Text, nullable=False),
    )
    op.create_index(
        "evidence_partition",
        "evidence",
        ["space_id", "day", "verdict_id", "frames", "archived_at"],
    )
    op.create_table(
        "segments",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("space_id", NUMBER, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("first_verdict_id", NUMBER, nullable=False),
        sa.Column("last_verdict_id", NUMBER, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("segments_day", "segments", ["day"])
    op.create_table(
        "holds",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("subject", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("event_id", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("placed_at", UtcDateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("holds_subject", "holds", ["subject"])
    op.create_index("holds_event", "holds", ["source", "event_id"])
    op.create_table(
        "tombstones",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
