"""Settings section for the archive: the database of all verdicts, their embeddings, and how long both are kept."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from moderator.settings.section import CommaSeparated, Section
from moderator.verdicts import Decision

#: Decisions in the retention setting; `*` stands for those that it does not name.
ANY_DECISION = "*"
#: Longest retention in days: a date so long ago can still be computed.
RETENTION_DAYS_MAX = 36_500


class ArchiveSettings(Section):
    """The database of all verdicts, their embeddings, and how long both are kept."""

    archive_url: str | None = Field(
        None,
        repr=False,  # it may hold a password
        description="Database of verdicts: `sqlite:////var/lib/moderator/archive.sqlite3` or "
        "`postgresql://user:password@host/database`. Set it for the workers as well: they then keep each verdict with "
        "its embedding for the archive. None: no archive.",
    )
    archive_segments: Path | None = Field(
        None,
        description="Folder of Parquet files to which embeddings move from the database. None: beside an SQLite file; "
        "with PostgreSQL, embeddings stay in the database. All processes with the archive need the same folder.",
    )
    archive_keep: CommaSeparated[str] = Field(
        (),
        description="How many days verdicts are kept, by decision, such as `allow=30,review=180,block=365`; `*=90` for "
        "the decisions not named. None: for good.",
    )

    @field_validator("archive_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None or re.match(r"(sqlite:///.|postgres(ql)?://)", value):
            return value
        raise ValueError("give sqlite:///FILE (four slashes for an absolute path) or postgresql://...")

    @field_validator("archive_keep")
    @classmethod
    def _check_keep(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [entry.partition("=")[0] for entry in value]
        for entry, name in zip(value, names, strict=True):
            days = entry.partition("=")[2]
            if name not in (*Decision, ANY_DECISION) or not days.isascii() or not days.isdecimal():
                raise ValueError(f"{entry!r} is not DECISION=DAYS (allow, review, block, error or *)")
            if not 0 < int(days) <= RETENTION_DAYS_MAX:
                raise ValueError(f"{entry!r}: give 1 to {RETENTION_DAYS_MAX} days")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is named twice; name each decision once")
        return value

    @property
    def archive_days(self) -> dict[Decision, int]:
        """Return the days for which verdicts are kept, for each decision that is not kept for good."""
        given = {name: int(days) for name, _, days in (entry.partition("=") for entry in self.archive_keep)}
        days = {decision: given.get(decision, given.get(ANY_DECISION)) for decision in Decision}
        return {decision: count for decision, count in days.items() if count is not None}
