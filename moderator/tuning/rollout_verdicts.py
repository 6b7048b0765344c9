"""The verdicts that a promotion report counts: from the archive or, where there is none, from the stream."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import from_json

from moderator.archive.archive_store import open_archive
from moderator.archive.verdict_filter import VerdictFilter
from moderator.queue.commands import entries_before
from moderator.queue.executors import Executor
from moderator.settings import ArchiveSettings
from moderator.tuning.rollout import moment_of

#: Entries of the stream read at a time.
STREAM_PAGE_ENTRIES = 500


class VerdictOrigin(NamedTuple):
    """Where verdicts come from, in words, and the verdicts as JSON values, newest first."""

    name: str
    verdicts: Iterator[Mapping[str, Any]]


def archived_verdicts(settings: ArchiveSettings, policy: str, since: datetime) -> VerdictOrigin:
    """Return the verdicts of a policy in the archive.

    Raises, when they are read:
        ArchiveUnavailable: the database cannot be reached.
    """

    def read() -> Iterator[Mapping[str, Any]]:
        with closing(open_archive(settings)) as archive:
            for one in archive.scan(VerdictFilter(policy=policy, since=since)):
                yield one.verdict

    return VerdictOrigin("from the archive", read())


def streamed_verdicts(executor: Executor, since: datetime) -> VerdictOrigin:
    """Return the verdicts of the stream, which keeps the latest ones alone. What is no verdict is left out.

    Raises, when they are read:
        RedisError: any error of Redis.
    """

    def read() -> Iterator[Mapping[str, Any]]:
        before = "+"
        while page := executor.run(entries_before(before, STREAM_PAGE_ENTRIES)):
            for _, fields in page:
                verdict = _parsed(fields.get(b"verdict", b""))
                if verdict is None:
                    continue
                if moment_of(verdict) < since:
                    return
                yield verdict
            before = page[-1][0]

    return VerdictOrigin("from the stream, which keeps the latest verdicts alone", read())


def _parsed(body: bytes) -> Mapping[str, Any] | None:
    try:
        verdict = from_json(body)
        moment_of(verdict)
    except (ValueError, TypeError, KeyError):
        return None
    return verdict if isinstance(verdict, dict) and "decision" in verdict else None
