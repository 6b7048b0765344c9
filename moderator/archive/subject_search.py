"""Find and remove whatever Redis and this machine's spool hold about a subject."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json
from redis.exceptions import RedisError

from moderator.archive.archive_records import column_text, subject_text
from moderator.errors import EventInvalid
from moderator.events import split_key
from moderator.queue import keys
from moderator.queue.connection import Redis
from moderator.queue.message import decode_message
from moderator.queue.spool_file import Spool

#: Keys, entries or messages read in one round trip; messages may hold images.
KEYS_PER_PAGE, MESSAGES_PER_PAGE = 500, 20


@dataclass(frozen=True)
class Sought:
    """What is sought: a subject as the archive keeps it, its events (source and id), and its images (SHA-256)."""

    subject: str
    events: Collection[tuple[str, str]] = frozenset()
    images: Collection[str] = frozenset()

    def is_in(self, value: Any) -> bool:
        """Return whether a JSON value is an event or a verdict of the subject."""
        if not isinstance(value, dict):
            return False
        metadata = value.get("metadata")
        if isinstance(metadata, dict) and subject_text(metadata.get("subject")) == self.subject:
            return True
        source, id = value.get("source", "moderator"), value.get("event_id", value.get("id"))
        if not (isinstance(source, str) and isinstance(id, str)):
            return False
        return (column_text(source), column_text(id)) in self.events

    def is_event(self, key: bytes) -> bool:
        """Return whether the key of an event names one of the subject."""
        source, id, _ = split_key(key.decode(errors="replace"))
        return (column_text(source), column_text(id)) in self.events

    def is_in_text(self, text: bytes | None) -> bool:
        """Return the same for JSON as text. Text that is none, cut or damaged, counts if it has the subject."""
        if text is None:
            return False
        try:
            return self.is_in(from_json(text))
        except ValueError:
            return self.is_quoted_in(text)

    def is_quoted_in(self, text: bytes) -> bool:
        """Return whether text has the subject as a string of JSON, in either way of writing it."""
        return to_json(self.subject) in text or json.dumps(self.subject).encode() in text


class Match(NamedTuple):
    """A place in Redis that holds something of the subject, and the sorted set that lists it, if one does."""

    key: bytes
    member: bytes | None = None
    sorted_set: str = ""


@dataclass(frozen=True)
class Findings:
    """What was found, by store."""

    matches: dict[str, list[Match]] = field(default_factory=dict)
    in_progress: Counter[str] = field(default_factory=Counter)
    """Events that have no verdict yet: they are not removed, as each accepted event gets its verdict."""

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of matches in each store."""
        return {store: len(found) for store, found in self.matches.items()}


def search(client: Redis, sought: Sought, spool: Spool | None) -> Findings:
    """Search all that Redis and the spool hold: each key once, whatever its size.

    Raises:
        RedisError: Redis cannot be read.
    """
    found = Findings(
        {
            "verdict stream": list(_in_stream(client, sought)),
            "verdicts by event": list(_in_texts(client, keys.VERDICT_PREFIX, sought)),
            "webhook deliveries": list(_in_deliveries(client, keys.WEBHOOK_PREFIX, sought)),
            "other deliveries": list(_in_deliveries(client, keys.OUTBOX_PREFIX, sought)),
            "dead letters": list(_in_dead_letters(client, sought)),
            "embedding cache": list(_in_embeddings(client, sought)),
            "webhooks of events": list(_in_names(client, keys.REPLY_PREFIX, sought)),
            "delivery log": [
                *_in_names(client, keys.DELIVERY_LOG_PREFIX + "event:", sought),
                *_in_target_logs(client, keys.DELIVERY_LOG_PREFIX + "target:", sought),
            ],
        }
    )
    found.in_progress["ledger"] = sum(
        sought.is_in_text(text) for _, (text,) in _hashes(client, keys.RECORD_PREFIX, ["event"])
    )
    found.in_progress["queues"] = sum(
        _holds_event(message, sought)
        for queue in keys.QUEUES.values()
        for message in _messages(client, queue)
    )
    found.in_progress["spool of this machine"] = 0 if spool is None else _in_spool(spool, sought)
    return found


def remove(client: Redis, found: Findings) -> None:
    """Remove the matches, each with its place in a list."""
    for store, matches in found.matches.items():
        for at in range(0, len(matches), KEYS_PER_PAGE):
            with client.pipeline(transaction=True) as pipe:
                for match in matches[at : at + KEYS_PER_PAGE]:
                    if store == "verdict stream":
                        pipe.xdel(keys.VERDICTS, match.key)
                        continue
                    if match.member is not None:
                        pipe.zrem(match.sorted_set, match.member)
                    pipe.unlink(match.key)
                pipe.execute()


def forget_history(client: Redis) -> None:
    """Have Redis write its append-only file again, without what was removed. It does so in the background."""
    try:
        if client.info("persistence").get("aof_enabled"):
            client.bgrewriteaof()
    except RedisError:  # not allowed to, or at it already: it is rewritten as it grows
        pass


def _in_stream(client: Redis, sought: Sought) -> Iterator[Match]:
    start = "-"
    while entries := client.xrange(keys.VERDICTS, start, "+", count=KEYS_PER_PAGE):
        yield from (Match(id) for id, fields in entries if sought.is_in_text(fields.get(b"verdict")))
        start = "(" + entries[-1][0].decode()


def _in_texts(client: Redis, prefix: str, sought: Sought) -> Iterator[Match]:
    for page in _key_pages(client, prefix):
        values = client.mget(page)
        yield from (Match(key) for key, value in zip(page, values, strict=True) if sought.is_in_text(value))


def _in_deliveries(client: Redis, prefix: str, sought: Sought) -> Iterator[Match]:
    for key, (body,) in _hashes(client, prefix, ["body"]):
        if sought.is_in_text(body):
            member = key[len(prefix) :]
            sorted_set = keys.WEBHOOKS
            if prefix == keys.OUTBOX_PREFIX:  # the consumer's name comes first
                consumer, _, member = member.partition(b":")
                sorted_set = prefix + consumer.decode(errors="replace")
            yield Match(key, member, sorted_set)


def _in_dead_letters(client: Redis, sought: Sought) -> Iterator[Match]:
    prefix = keys.DEAD_LETTER_PREFIX
    for key, texts in _hashes(client, prefix, ["event", "raw"]):
        if any(sought.is_in_text(text) for text in texts):
            yield Match(key, key[len(prefix) :], keys.DEAD_LETTERS)


def _in_embeddings(client: Redis, sought: Sought) -> Iterator[Match]:
    for name, _ in client.zscan_iter(keys.EMBEDDINGS, count=KEYS_PER_PAGE):
        if name.rpartition(b":")[2].decode(errors="replace") in sought.images:
            yield Match(keys.EMBEDDING_PREFIX.encode() + name, name, keys.EMBEDDINGS)


def _in_names(client: Redis, prefix: str, sought: Sought) -> Iterator[Match]:
    for page in _key_pages(client, prefix):
        yield from (Match(key) for key in page if sought.is_event(key[len(prefix) :]))


def _in_target_logs(client: Redis, prefix: str, sought: Sought) -> Iterator[Match]:
    """Find the logs of webhooks that name an event of the subject: each is short, and removed as a whole."""
    for page in _key_pages(client, prefix):
        for key in page:
            events = (from_json(text).get("event", "") for text in client.lrange(key, 0, -1))
            if any(sought.is_event(event.encode()) for event in events):
                yield Match(key, key[len(prefix) :], keys.DELIVERY_TARGETS)


def _hashes(
    client: Redis, prefix: str, fields: Sequence[str]
) -> Iterator[tuple[bytes, Sequence[bytes | None]]]:
    for page in _key_pages(client, prefix):
        with client.pipeline(transaction=False) as pipe:
            for key in page:
                pipe.hmget(key, fields)
            answers = pipe.execute(raise_on_error=False)
        # A key of another kind, such as the list of a consumer's deliveries, holds no fields.
        yield from ((k, a) for k, a in zip(page, answers, strict=True) if not isinstance(a, Exception))


def _key_pages(client: Redis, prefix: str) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    for key in client.scan_iter(match=prefix + "*", count=KEYS_PER_PAGE):
        page.append(key)
        if len(page) == KEYS_PER_PAGE:
            yield page
            page = []
    if page:
        yield page


def _messages(client: Redis, queue: str) -> Iterator[bytes]:
    at = 0
    while page := client.lrange(queue, at, at + MESSAGES_PER_PAGE - 1):
        yield from page
        at += MESSAGES_PER_PAGE


def _holds_event(message: bytes, sought: Sought) -> bool:
    try:
        return sought.is_in(decode_message(message))
    except EventInvalid:
        return sought.is_quoted_in(message)


def _in_spool(spool: Spool, sought: Sought) -> int:
    return sum(sought.is_in_text(text) for text in _spooled(spool))


def _spooled(spool: Spool) -> Iterable[bytes]:
    number = 0
    while (entry := spool.next_after(number)) is not None:
        yield entry.text
        number = entry.number
    for rejected in spool.rejected():
        yield to_json(rejected.body)
