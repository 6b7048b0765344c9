"""Cursors of pages."""

from datetime import UTC, datetime

import pytest

from moderator.archive.verdict_filter import read_cursor, write_cursor
from moderator.errors import ArchiveFilterInvalid


@pytest.mark.parametrize(
    "moment", [datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)]
)
def test_a_cursor_names_a_position(moment: datetime) -> None:
    cursor = write_cursor((moment, 2**62))
    assert read_cursor(cursor) == (moment, 2**62)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "cursor", ["", "x", "ä", "MTox" * 99, "Oi06LTE", write_cursor((datetime(2026, 1, 1, tzinfo=UTC), 0))]
)
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(ArchiveFilterInvalid):
        read_cursor(cursor)
