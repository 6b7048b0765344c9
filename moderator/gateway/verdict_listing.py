"""Lists of verdicts, newest first: from the archive where there is one, else from the stream that Redis keeps."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from moderator.errors import ArchiveFilterInvalid, ExtraMissing
from moderator.gateway.problems import RequestRefused
from moderator.gateway.service import Service
from moderator.queue.commands import entries_before
from moderator.queue.stream import read_verdicts, split_id
from moderator.verdicts import Decision, Verdict

#: Entries of the stream read at once, and at most for one page: filters may leave out most of them.
READ_ENTRIES, LOOK_ENTRIES_MAX = 500, 5_000


@dataclass(frozen=True)
class ListFilter:
    """Which verdicts; None: any. `since` is included, `until` is not. `category`: one that reached review or block."""

    decision: Decision | None = None
    policy: str | None = None
    source: str | None = None
    category: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, verdict: Verdict) -> bool:
        """Return whether a verdict is one of them."""
        policy = verdict.policy.name if verdict.policy else None
        wanted = (self.decision, self.policy, self.source, self.subject)
        found = (verdict.decision, policy, verdict.source, verdict.metadata.get("subject"))
        return (
            all(want is None or want == has for want, has in zip(wanted, found, strict=True))
            and (self.since is None or verdict.created_at >= self.since)
            and (self.until is None or verdict.created_at < self.until)
            and (self.category is None or _flagged(verdict, self.category))
        )


@dataclass(frozen=True)
class ListPage:
    """Verdicts as JSON values; `next` continues after them, None: there are no more."""

    items: Sequence[dict[str, Any]]
    next: str | None


async def list_verdicts(service: Service, filters: ListFilter, cursor: str | None, limit: int) -> ListPage:
    """Return a page of verdicts.

    Raises:
        RequestRefused: the cursor is of another list; or the archive cannot be used.
        QueueUnavailable: Redis does not answer.
    """
    if service.settings.archive_url is not None:
        return await asyncio.to_thread(_from_archive, service, filters, cursor, limit)
    return await _from_stream(service, filters, cursor, limit)


async def _from_stream(service: Service, filters: ListFilter, cursor: str | None, limit: int) -> ListPage:
    before, looked = _position(cursor), 0
    found: list[dict[str, Any]] = []
    while looked < LOOK_ENTRIES_MAX:
        entries = await service.ask(entries_before(before, READ_ENTRIES))
        for entry, verdict in read_verdicts(entries):
            if filters.since is not None and verdict.created_at < filters.since:
                return ListPage(found, None)
            if not filters.takes(verdict):
                continue
            if len(found) == limit:
                return ListPage(found, before)
            found.append(verdict.model_dump(mode="json"))
            before = entry
        if len(entries) < READ_ENTRIES:
            return ListPage(found, None)
        before, looked = entries[-1][0], looked + len(entries)
    return ListPage(found, before)


def _position(cursor: str | None) -> str:
    if cursor is None:
        return "+"
    try:
        if max(split_id(cursor)) < 1 << 64 and "-" in cursor:
            return cursor
    except ValueError:
        pass
    raise RequestRefused(
        422, "cursor-invalid", "cursor: is not of this list; use `next` as it came, or start without"
    )


def _from_archive(service: Service, filters: ListFilter, cursor: str | None, limit: int) -> ListPage:
    try:
        from moderator.archive.verdict_filter import VerdictFilter

        archive = service.archive
    except (ImportError, ExtraMissing) as error:
        detail = f"the archive needs an extra here: pip install 'moderator[archive]' ({error})"
        raise RequestRefused(501, "archive-missing", detail) from error
    try:
        page = archive.list_verdicts(VerdictFilter(**asdict(filters)), cursor, limit)
    except ArchiveFilterInvalid as error:
        raise RequestRefused(422, "cursor-invalid", str(error)) from error
    return ListPage(page.items, page.next)


def _flagged(verdict: Verdict, category: str) -> bool:
    found = verdict.categories.get(category)
    return found is not None and found.decision in (Decision.REVIEW, Decision.BLOCK)
