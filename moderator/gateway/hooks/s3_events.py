"""Bucket notifications of S3 and of stores that speak like it: MinIO, Ceph, moto. Pure.

Format: Amazon S3 user guide, "Event message structure". MinIO puts `EventName` and `Key` around it and writes event
names with the prefix `s3:`. Keys are encoded like a form: `+` is a blank, `%2F` a slash, `%2B` a plus.
"""

import re
from typing import Any
from urllib.parse import unquote_plus

from moderator.errors import EventInvalid
from moderator.gateway.hooks.hook_body import as_object, as_reports, at, number_at, read_json, text_at
from moderator.gateway.hooks.stored_object import IGNORED, Notice, StoredObject

#: Sequencers are compared with the shorter one padded on the right with zeros; today's have 16 to 34 digits.
SEQUENCER_DIGITS = 64

_SEQUENCER = re.compile(rf"[0-9A-Fa-f]{{1,{SEQUENCER_DIGITS}}}")


def read_s3(body: bytes | str) -> Notice:
    """Return the new objects of a notification; `s3:TestEvent` and other events are ignored.

    Raises:
        EventInvalid: it is no notification.
    """
    value = as_object(read_json(body), "the notification")
    if at(value, "Event") == "s3:TestEvent":
        return IGNORED
    if "Records" not in value:
        raise EventInvalid("the body has no Records: it is no notification of a bucket")
    records = as_reports(value["Records"], "Records")
    return sum((_read_record(record, n) for n, record in enumerate(records)), Notice())


def _read_record(record: Any, number: int) -> Notice:
    try:
        event = text_at(record, "eventName").removeprefix("s3:")
        if not event.startswith("ObjectCreated:"):
            return IGNORED
        bucket = text_at(record, "s3", "bucket", "name")
        key = unquote_plus(text_at(record, "s3", "object", "key"), errors="strict")
    except (EventInvalid, UnicodeDecodeError) as error:
        return Notice(refused=(f"Records.{number}: {error}",))
    facts = at(record, "s3", "object")
    size = number_at(facts, "size")
    if key.endswith("/") and not size:
        return IGNORED  # a folder, as consoles make them
    version = at(facts, "versionId")
    if version == "null" or not isinstance(
        version, str
    ):  # written before versions were switched on, or after
        version = None
    sequencer, time = _text(at(facts, "sequencer")), _text(at(record, "eventTime"))
    stored = StoredObject(
        source="s3",
        bucket=bucket,
        key=key,
        write=version or sequencer or time or "",
        image={"key": f"{bucket}/{key}", **({"version": version} if version else {})},
        version=version or None,
        order=_order(sequencer),
        facts={
            "sequencer": sequencer,
            "size": size,
            "etag": _text(at(facts, "eTag")),
            "event": event,
            "time": time,
        },
    )
    return Notice((stored,))


def _order(sequencer: str | None) -> str | None:
    if sequencer is None or not _SEQUENCER.fullmatch(sequencer):
        return None
    return sequencer.upper().ljust(SEQUENCER_DIGITS, "0")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
