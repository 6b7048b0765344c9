"""Plain data that enters and leaves the ledger, and its form as arguments of the scripts."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from moderator.events import Event, event_key
from moderator.queue import keys
from moderator.queue.evidence import Evidence
from moderator.queue.scripts import Call
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.verdicts import Verdict, verdict_digest

#: Longest time to keep a verdict, in seconds: Redis limits expiry times.
TTL_MAX_SECONDS = 1e10


class Acceptance(StrEnum):
    """What became of a submitted event."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    ANSWERED = "answered"
    SPOOLED = "spooled"
    """Redis is unavailable: the event is on this machine's disk and will be delivered."""


@dataclass(frozen=True)
class Claim:
    """The right to process an event for as long as it is held."""

    attempt: int
    waited: float
    """Seconds since it was accepted."""
    harmed: bool = False
    """Whether an earlier attempt harmed a worker."""
    held_off: float = 0.0
    """Seconds since its attempts began to end in `retry(held_off=True)`; 0 unless the last one did."""
    token: str = ""
    """Names the holder: needed to answer, retry or give back the event."""
    before_bulk: bool = False
    """A version before `Event.bulk` wrote its record; see `Event.before_bulk`."""
    losses: int = 0
    """How many holders in a row let their lease run out: they died, or hung."""


@dataclass(frozen=True)
class DeadLetterReason:
    """Why an event died: a class name of `moderator.errors`, and the message."""

    type: str
    message: str


@dataclass(frozen=True)
class Answer:
    """The outcome of an event: its verdict and, if it died, why. A claim must still hold the event.

    `evidence` goes to the outbox consumers that want it.
    """

    event: Event
    verdict: Verdict
    dead: DeadLetterReason | None = None
    claim: Claim | None = None
    evidence: Evidence | None = None


def delivery_key(event: str, body: bytes) -> str:
    """Return the key of the deliveries of a verdict, given the event's key and the verdict's JSON."""
    return f"{event}#{verdict_digest(body)}"


def seconds_to_keep(ttl: float) -> int:
    """Return a verdict's time to live in whole seconds, as Redis takes it."""
    return max(1, round(min(ttl, TTL_MAX_SECONDS)))


def to_record(event: Event) -> str:
    """Return the JSON of an event's record: readable by versions before `Event.bulk` unless it needs that field."""
    return event.model_dump_json(exclude={"bulk"} if event.bulk is None else None)


def to_claim(event: Event, token: str, lease: float) -> Call:
    """Return the keys and arguments of `claim.lua`."""
    key = event.key
    return (
        [keys.PENDING, keys.RECORD_PREFIX + key, keys.VERDICT_PREFIX + key, keys.PENDING_BYTES],
        [
            key,
            to_record(event),
            keys.QUEUES[event.priority],
            lease,
            token,
            keys.RECORD_PREFIX,
            keys.VERDICT_PREFIX,
        ],
    )


@dataclass(frozen=True)
class Publication:
    """A verdict to be written to Redis.

    Args:
        key: of the event in the ledger.
        verdict: the verdict.
        dead: why the event died, if it did.
        event: its text in a dead letter.
        webhook: URL that also gets the verdict; `""`: none.
        token: claim token that must hold the event; `""`: not checked.
        due: due time that the sweeper saw and that must not have changed; `""`: not checked.
        known: False if it is unknown whether the event is an image of a bulk event; the verdict then leaves it out.
        evidence: basis of the verdict, for the outbox consumers that want it.
    """

    key: str
    verdict: Verdict
    dead: DeadLetterReason | None
    event: str
    webhook: str
    token: str = ""
    due: str = ""
    known: bool = True
    evidence: Evidence | None = None

    @classmethod
    def of(cls, answer: Answer) -> "Publication":
        """Return the publication of a worker's answer."""
        event, claim = answer.event, answer.claim
        return cls(
            event.key,
            answer.verdict,
            answer.dead,
            to_record(event),
            event.reply.webhook or "",
            claim.token if claim else "",
            known=claim is None or not claim.before_bulk,
            evidence=answer.evidence,
        )

    def call(self, ttl: float, stream_length: int, subscriptions: Subscriptions = NO_SUBSCRIPTIONS) -> Call:
        """Return the keys and arguments of `publish.lua`."""
        key, verdict, dead = self.key, self.verdict, self.dead
        body = verdict.model_dump_json(exclude=None if self.known else {"bulk"})
        # Unique to each verdict: a delivery from before a replay does not get mixed up with this one.
        delivery = delivery_key(key, body.encode())
        script_keys = [
            keys.PENDING,
            keys.RECORD_PREFIX + key,
            keys.VERDICT_PREFIX + key,
            keys.VERDICTS,
            keys.DEAD_LETTERS,
            keys.DEAD_LETTER_PREFIX + key,
            keys.WEBHOOKS,
            keys.WEBHOOK_PREFIX + delivery,
            keys.PENDING_BYTES,
            keys.REPLY_PREFIX + key,
        ]
        # A client that waits for an image of a bulk event by its id alone listens under the name of a single event.
        by_id = event_key(verdict.source, verdict.event_id)
        args = [
            key,
            body,
            seconds_to_keep(ttl),
            stream_length,
            dead.type if dead else "",
            dead.message if dead else "",
            self.webhook,
            self.event,
            delivery,
            self.token,
            self.due,
            "" if verdict.bulk is None else keys.VERDICT_PREFIX + by_id,
        ]
        further_keys, further_args = subscriptions.about(verdict).call(delivery, self.evidence)
        return script_keys + further_keys, args + further_args


def read_claim(answer: list[Any], token: str) -> Claim | Literal["answered", "busy"]:
    """Read the answer of `claim.lua`."""
    if answer[0] != b"claimed":
        return "answered" if answer[0] == b"answered" else "busy"
    return Claim(
        attempt=int(answer[1]),
        waited=float(answer[2]),
        harmed=answer[3] == b"1",
        held_off=float(answer[4]),
        token=token,
        before_bulk=answer[5] == b"1",
        losses=int(answer[6]),
    )
