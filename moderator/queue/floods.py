"""The flood breaker in Redis: what each category decided lately and before, and whether its blocks are diverted.

All workers count into the same records and read the same state; each may change it, one at a time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from moderator.errors import FloodNotOpen
from moderator.queue import keys
from moderator.queue.commands import Command, ask, require_all
from moderator.queue.executors import Executor
from moderator.scoring.flood import BlockCounts, FloodRecord, FloodRule, FloodTurn
from moderator.settings import FloodSettings

#: Parts of the window. A part takes images for its share of the time, and at least so many images: where few images
#: come, the window is longer.
WINDOW_PARTS = 12
PART_IMAGES_MIN = 25
#: The history loses half of its weight with each of these.
HISTORY_HALF_LIFE_SECONDS = 7 * 86_400.0
#: Seconds without an image after which a category is forgotten.
FLOOD_TTL_SECONDS = 30 * 86_400
#: Categories counted in one step: limits how long Redis is busy.
CATEGORIES_COUNTED_MAX = 100
#: Entries of the log that are kept.
FLOOD_LOG_ENTRIES_MAX = 1_000
#: Attempts to change a state that workers change meanwhile.
CLOSE_TRIES_MAX = 10

_FIELDS = 10


class FloodKey(NamedTuple):
    """The category of a policy."""

    policy: str
    category: str

    def __str__(self) -> str:
        """Return it as the list of categories has it."""
        return f"{self.policy}:{self.category}"


@dataclass(frozen=True)
class StoredFlood:
    """A category's record, and how often its state had changed when it was read."""

    record: FloodRecord
    turns: int = 0


@dataclass(frozen=True)
class FloodReading:
    """The records of some categories at a moment (seconds since the epoch, by the clock of Redis)."""

    now: float
    floods: Mapping[FloodKey, StoredFlood]


class Floods:
    """The flood breaker's records in one Redis. Thread-safe.

    Args:
        executor: runs its commands.
        window_seconds: length of the window where many images come.
    """

    def __init__(self, executor: Executor, window_seconds: float) -> None:
        self._executor = executor
        self._part_seconds = window_seconds / WINDOW_PARTS

    def count(self, counts: Mapping[FloodKey, tuple[int, int]]) -> FloodReading:
        """Add images and blocks to categories, and return their records; with (0, 0), a record is read alone."""
        items = list(counts.items())
        parts = [
            items[at : at + CATEGORIES_COUNTED_MAX] for at in range(0, len(items), CATEGORIES_COUNTED_MAX)
        ]
        answers = require_all(self._executor.run_each([self._count(part) for part in parts]))
        floods = {key: flood for answer in answers for key, flood in answer.floods.items()}
        return FloodReading(max((answer.now for answer in answers), default=0.0), floods)

    def turn(
        self, key: FloodKey, flood: StoredFlood, turn: FloodTurn, reason: str = "", by: str = ""
    ) -> bool:
        """Change the state of a category as it was read; return False if somebody else has changed it since.

        Args:
            key: the category.
            flood: as it was read.
            turn: the change.
            reason: why, for verdicts (`OPEN`) and for the log.
            by: who, for the log; empty: the breaker itself.
        """
        entry = ""
        if turn not in (FloodTurn.CALM, FloodTurn.HIGH):
            facts = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **key._asdict()}
            entry = json.dumps({**facts, "change": turn.value, "by": by, "reason": reason})
        args = [flood.turns, turn.value, reason, entry, FLOOD_LOG_ENTRIES_MAX]
        return self._executor.run(
            Command("turn_flood", [keys.FLOOD_PREFIX + str(key), keys.FLOOD_LOG], args, bool)
        )

    def known(self) -> list[FloodKey]:
        """Return all categories that are watched, sorted."""
        members = self._executor.run(ask("ZRANGE", keys.FLOODS, 0, -1, read=list))
        return sorted(FloodKey(*member.decode().split(":", 1)) for member in members if b":" in member)

    def read(self, wanted: Sequence[FloodKey]) -> FloodReading:
        """Return the records of categories."""
        return self.count(dict.fromkeys(wanted, (0, 0)))

    def close(
        self, key: FloodKey, rule: FloodRule, reason: str, by: str, *, accept: bool = False
    ) -> FloodRecord:
        """Close the breaker of a category by hand, and return its record as it was.

        Args:
            key: the category.
            rule: as workers have it.
            reason: why, for the log.
            by: who, for the log.
            accept: take what was decided since it opened as what is usual from now on. Otherwise it opens again if the
                category goes on like this.

        Raises:
            FloodNotOpen: it is not open.
        """
        for _ in range(CLOSE_TRIES_MAX):
            reading = self.read([key])
            flood = reading.floods[key]
            if flood.record.opened_at is None:
                raise FloodNotOpen(
                    f"the flood breaker of {key.category} in {key.policy} is {flood.record.state(rule, reading.now)}; "
                    "'moderator policy floods' lists the open ones"
                )
            if self.turn(key, flood, FloodTurn.ACCEPT if accept else FloodTurn.CLOSE, reason, by):
                return flood.record
        raise FloodNotOpen(f"the state of {key.category} in {key.policy} keeps changing; try again")

    def log(self, count: int) -> list[dict[str, Any]]:
        """Return the latest changes, newest first."""
        return self._executor.run(ask("LRANGE", keys.FLOOD_LOG, 0, count - 1, read=_read_log))

    def _count(self, counts: Sequence[tuple[FloodKey, tuple[int, int]]]) -> Command[FloodReading]:
        wanted = [key for key, _ in counts]
        args: list[Any] = [self._part_seconds, PART_IMAGES_MIN, WINDOW_PARTS]
        args += [HISTORY_HALF_LIFE_SECONDS, FLOOD_TTL_SECONDS]
        args += [word for key, (images, blocks) in counts for word in (str(key), images, blocks)]
        script_keys = [keys.FLOODS, *(keys.FLOOD_PREFIX + str(key) for key in wanted)]

        def read(answer: Sequence[bytes]) -> FloodReading:
            rows = (answer[at : at + _FIELDS] for at in range(1, len(answer), _FIELDS))
            return FloodReading(float(answer[0]), dict(zip(wanted, map(_read_flood, rows), strict=True)))

        return Command("count_flood", script_keys, args, read)


def flood_rule(settings: FloodSettings) -> FloodRule:
    """Return the rule of the settings."""
    return FloodRule(
        settings.flood_ratio,
        settings.flood_blocks,
        settings.flood_history,
        settings.flood_learning,
        settings.flood_cooldown,
    )


def _read_flood(fields: Sequence[bytes]) -> StoredFlood:
    images, blocks, lately, lately_blocked, began, peak, opened_at, calm_since, reason, turns = fields
    record = FloodRecord(
        BlockCounts(float(images), float(blocks)),
        BlockCounts(float(lately), float(lately_blocked)),
        float(began),
        float(peak),
        float(opened_at) if opened_at else None,
        float(calm_since) if calm_since else None,
        reason.decode(errors="replace"),
    )
    return StoredFlood(record, int(turns))


def _read_log(found: Sequence[bytes]) -> list[dict[str, Any]]:
    entries = []
    for line in found:
        try:
            entry = json.loads(line)
        except ValueError:  # somebody else wrote it
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries
