"""Record who changed which policy, when and why: `audit.jsonl` in the policy folder, one JSON object per line.

A record is written before the change that it describes, and a mark after it. So every change in force has a record,
and a command that is killed in between leaves a record without a mark. `history` resolves these: such a change took
effect if what follows it, the next record or the folder, starts where it ended.
"""

import os
import pwd
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from moderator.errors import PolicyUnreadable
from moderator.policies.loader import Pointers, Problem
from moderator.policies.pointer_schema import Pointer
from moderator.policies.policy_files import append_line
from moderator.policies.releases import Releases

AUDIT_FILE = "audit.jsonl"
MAX_REASON_LENGTH = 500

T = TypeVar("T", bound=BaseModel)


class Action(StrEnum):
    """Kind of change."""

    RELEASE = "release"
    ACTIVATE = "activate"
    ROLLBACK = "rollback"
    SHADOW = "shadow"
    """A shadow begins or ends."""
    CANARY = "canary"
    """A canary begins, gets another share, or ends."""
    PROMOTE = "promote"
    """A shadow or the canary becomes the active version."""
    UNRECORDED = "unrecorded"
    """Something other than the store changed `active.yaml`, such as an editor or git."""


class State(StrEnum):
    """Outcome of a change."""

    IN_FORCE = "in force"
    REPLACED = "replaced"
    """A later change replaced it."""
    NOT_APPLIED = "not applied"
    """The command stopped before it changed anything."""


class Record(BaseModel):
    """One change. Keys that a later version adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, defer_build=True)

    id: str = Field(default_factory=lambda: uuid4().hex[:16])
    when: AwareDatetime | None = Field(default_factory=lambda: datetime.now(UTC))
    """None if the change was not recorded."""
    who: str | None
    action: Action
    policy: str
    version: int | None
    """The version that was released or got another role; None if a policy was removed from `active.yaml`."""
    before: Pointer | None = Field(None, alias="from")
    after: Pointer | None = Field(None, alias="to")
    """The policy's pointers; None for a release."""
    digest: str | None = None
    """Digest of the version."""
    why: str = ""


class Mark(BaseModel):
    """Mark that the change of a record was made."""

    model_config = ConfigDict(defer_build=True)

    applied: str
    """`id` of the record."""


@dataclass(frozen=True)
class Change:
    """A record and its outcome."""

    record: Record
    state: State


def current_user() -> str:
    """Return the name of the user that runs this process, or `uid 1000` if it has none, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def append(folder: Path, record: Record | Mark) -> None:
    """Append a record or a mark; it is on disk when this returns. The caller holds the folder's lock.

    Raises:
        PolicyNotWritten: the file cannot be written.
    """
    append_line(folder / AUDIT_FILE, record.model_dump_json(by_alias=True))


def read_records(folder: Path) -> tuple[list[Record], set[str]]:
    """Return all records, oldest first, and the ids of those with a mark; none if there is no file.

    Other lines are skipped: fragments of a killed writer, or leftovers of a merge.

    Raises:
        PolicyUnreadable: the file exists and cannot be read.
    """
    path = folder / AUDIT_FILE
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], set()
    except OSError as error:
        message = f"cannot be read ({error.strerror}); check its permissions and its disk"
        raise PolicyUnreadable(Problem(str(path), 1, "", message)) from error
    return list(_parsed(lines, Record)), {mark.applied for mark in _parsed(lines, Mark)}


def _parsed(lines: Sequence[bytes], kind: type[T]) -> Iterator[T]:
    for line in lines:
        try:
            yield kind.model_validate_json(line)
        except ValidationError:
            continue


def history(
    records: Sequence[Record], marked: Set[str], pointers: Pointers, releases: Releases
) -> list[Change]:
    """Return the outcome of each record, oldest first, and the changes that no record describes.

    Args:
        records: oldest first.
        marked: ids of the records whose change was certainly made.
        pointers: the current content of `active.yaml`.
        releases: the current content of `releases.lock`.
    """
    changes: list[Change] = []
    # Each policy's pointer after the current record; the loop goes back in time.
    later = dict[str, Pointer | None](pointers)
    # The parts of each policy's pointer that the records after the current one change.
    replaced = dict[str, set[object]]()
    again: set[tuple[str, int]] = set()
    for name in {record.policy for record in records if record.action is not Action.RELEASE}:
        later.setdefault(name, None)
    for record in reversed(records):
        name = record.policy
        if record.action is Action.RELEASE:
            # A version is released once: if a later record releases it again, this one was not applied.
            version = name, record.version or 0
            released = version not in again and releases.get(version) == record.digest
            again.add(version)
            gone = State.REPLACED if record.id in marked else State.NOT_APPLIED
            changes.append(Change(record, State.IN_FORCE if released else gone))
            continue
        parts = replaced.setdefault(name, set())
        if record.after != later[name]:
            if record.before == later[name] and record.id not in marked:
                changes.append(Change(record, State.NOT_APPLIED))
                continue
            changes.append(_change(_unrecorded(name, record.after, later[name]), parts))
        changes.append(_change(record, parts))
        later[name] = record.before
    return changes[::-1]


def _change(record: Record, replaced: set[object]) -> Change:
    """Return the outcome of a change of a pointer that was made, and add the parts that it changes to `replaced`."""
    parts = _parts(record.before, record.after)
    match record.action:
        case Action.SHADOW:
            subject = parts & {record.version}
        case Action.CANARY:
            subject = parts & {"canary"}
        case Action.UNRECORDED:
            subject = parts
        case _:
            subject = parts & {"active"}
    state = State.IN_FORCE if subject - replaced else State.REPLACED
    replaced |= parts
    return Change(record, state)


def _parts(before: Pointer | None, after: Pointer | None) -> set[object]:
    """Return what differs between two pointers: `active`, `canary`, and the versions that begin or end as shadows."""
    one, other = (
        (pointer.active, pointer.canary, {*pointer.shadow}) if pointer else (None, None, set[int]())
        for pointer in (before, after)
    )
    return {
        *(["active"] if one[0] != other[0] else []),
        *(["canary"] if one[1] != other[1] else []),
        *(one[2] ^ other[2]),
    }


def _unrecorded(name: str, before: Pointer | None, after: Pointer | None) -> Record:
    version = after.active if after else None
    return Record(
        when=None,
        who=None,
        action=Action.UNRECORDED,
        policy=name,
        version=version,
        before=before,
        after=after,
    )


def version_before(changes: Sequence[Change], name: str) -> int | None:
    """Return the version that a rollback of a policy leads to, or None if the history has no earlier one.

    A rollback cancels the change that it undid: rolling back again goes one version further back, and never
    forward to the version that was rolled back.
    """
    versions: list[int] = []
    for change in changes:
        record = change.record
        if (
            record.policy != name
            or record.action is Action.RELEASE
            or change.state is State.NOT_APPLIED
            or record.after is None
        ):
            continue
        if not versions and record.before is not None:
            versions.append(record.before.active)
        version = record.after.active
        if record.action is Action.ROLLBACK and version in versions[:-1]:
            del versions[len(versions) - versions[::-1].index(version, 1) :]
        elif versions[-1:] != [version]:
            versions.append(version)
    return versions[-2] if len(versions) > 1 else None
