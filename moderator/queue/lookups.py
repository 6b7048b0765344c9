"""Lookups of many events at once, for whoever waits for thousands of verdicts. Pure."""

from collections.abc import Sequence

from pydantic import ValidationError

from moderator.errors import VerdictUnreadable
from moderator.queue import keys
from moderator.queue.commands import Command, ask, verdict_unreadable
from moderator.verdicts import Verdict


def kept_verdicts(event_keys: Sequence[str]) -> Command[list[Verdict | VerdictUnreadable | None]]:
    """Look up the verdicts of events (`Event.key`); None: it has none yet, or no longer.

    Unlike `commands.verdict`, this does not find verdicts that were written before `Event.bulk`.
    """

    def read(found: list[bytes | None]) -> list[Verdict | VerdictUnreadable | None]:
        return [_read(key, data) for key, data in zip(event_keys, found, strict=True)]

    return ask("MGET", *(keys.VERDICT_PREFIX + key for key in event_keys), read=read)


def is_pending(event_key: str) -> Command[bool]:
    """Look up whether the ledger holds an event, which has no verdict then."""
    return ask("HEXISTS", keys.RECORD_PREFIX + event_key, "event", read=bool)


def _read(event_key: str, data: bytes | None) -> Verdict | VerdictUnreadable | None:
    try:
        return None if data is None else Verdict.model_validate_json(data)
    except ValidationError as error:
        return verdict_unreadable(event_key, error)
