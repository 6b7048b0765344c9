"""The bulk events of a backfill: which images go together, and which of them have no row yet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from moderator.backfill.backfill_items import Item, ReferenceMaker
from moderator.backfill.result_rows import Row, failed_row
from moderator.errors import ModeratorError

#: Most bytes of inline images in one event.
EVENT_INLINE_BYTES_MAX = 8_000_000


@dataclass
class OutstandingBulk:
    """A bulk event whose images do not all have a row yet."""

    id: str
    open: dict[str, Item]
    """By event key: those without a row."""
    inline_bytes: int
    is_sent: bool = False
    was_sent: bool = False
    """Whether it may have been sent before: then its images are sent again one by one, without those that have rows."""
    checked_at: float = field(default_factory=time.monotonic)
    expired: int = 0


def plan_bulk(
    images: Sequence[tuple[int, str]], references: ReferenceMaker
) -> tuple[list[tuple[int, str]], list[tuple[int, Row]], int]:
    """Choose the images of the next bulk event, of the next ones by number and name.

    Returns the images; by number, the rows of those that no worker could judge; and the bytes that the event holds.
    """
    chosen: list[tuple[int, str]] = []
    refused: list[tuple[int, Row]] = []
    size = 0
    for number, name in images:
        try:
            more = references.check(name)
        except ModeratorError as error:
            refused.append((number, failed_row(name, error)))
            continue
        if chosen and size + more > EVENT_INLINE_BYTES_MAX:
            break
        chosen.append((number, name))
        size += more
    return chosen, refused, size
