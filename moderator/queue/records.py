"""What goes into the ledger and comes out of it: plain data, and how it looks to the scripts."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal

from moderator.events import Event, event_key
from moderator.queue import keys
from moderator.queue.evidence import Evidence
from moderator.queue.scripts import Call
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.verdicts import Verdict

#: Longest time that a verdict is kept, in seconds: what Redis takes has a bound.
TTL_MAX_SECONDS = 1e10


class Acceptance(StrEnum):
    """What became of a submitted event."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    ANSWERED = "answered"
    SPOOLED = "spooled"
    """Redis is away: it is kept on this machine's disk, and will be delivered."""


@dataclass(frozen=True)
class Claim:
    """An event that is ours to process, as long as we hold it."""

    attempt: int
    waited: float
    """Seconds since it was accepted."""
    harmed: bool = False
    """Whether an earlier try harmed a worker."""
    held_off: float = 0.0
    """Seconds since its tries began to end in `retry(held_off=True)`; 0 where the last one did not."""
    token: str = ""
    """Names the holder: only with it the event is answered, tried again or given back."""
    before_bulk: bool = False
    """Its record is of a version before `Event.bulk`; see `Event.before_bulk`."""


@dataclass(frozen=True)
class DeadLetterReason:
    """Why an event died: a class name of `moderator.errors`, and the message."""

    type: str
    message: str


@dataclass(frozen=True)
class Answer:
    """What an event gets: its verdict and, if it died, why. With a claim, only if it still holds the event.

    `evidence` goes to the consumers of the outbox that want it.
    """

    event: Event
    verdict: Verdict
    dead: DeadLetterReason | None = None
    claim: Claim | None = None
    evidence: Evidence | None = None


def to_record(event: Event) -> str:
    """The event as its record keeps it: readable by versions before `Event.bulk`, where it needs no such field."""
    return event.model_dump_json(exclude={"bulk"} if event.bulk is None else None)


def to_claim(event: Event, token: str, lease: float) -> Call:
    """Keys and arguments of `claim.lua`."""
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
    """A verdict on its way into Redis.

    Args:
        key: of the event, as the ledger knows it.
        verdict: the verdict.
        dead: why the event died, if it did.
        event: what its dead letter keeps of it.
        webhook: where the verdict goes as well; `""`: nowhere.
        token: by which the event must be held; `""`: nobody asks.
        due: when the event must be overdue, as the sweeper saw it; `""`: nobody asks.
        known: False where it is not known whether the event is an image of a bulk event: then the verdict does not say.
        evidence: what the verdict was made from, for the consumers of the outbox that want it.
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
        """What a worker publishes."""
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
        """Keys and arguments of `publish.lua`."""
        key, verdict, dead = self.key, self.verdict, self.dead
        body = verdict.model_dump_json(exclude=None if self.known else {"bulk"})
        # Its own for each verdict: the delivery of an earlier one, of before a replay, does not get mixed up with it.
        delivery = f"{key}#{sha256(body.encode()).hexdigest()[:12]}"
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
        ]
        # Whoever waits for an image of a bulk event by its id alone listens under the name of a single event.
        by_id = event_key(verdict.source, verdict.event_id)
        args = [
            key,
            body,
            max(1, round(min(ttl, TTL_MAX_SECONDS))),
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
        further_keys, further_args = subscriptions.call(delivery, self.evidence)
        return script_keys + further_keys, args + further_args


def read_claim(answer: list[Any], token: str) -> Claim | Literal["answered", "busy"]:
    """What `claim.lua` answered."""
    if answer[0] != b"claimed":
        return "answered" if answer[0] == b"answered" else "busy"
    return Claim(
        attempt=int(answer[1]),
        waited=float(answer[2]),
        harmed=answer[3] == b"1",
        held_off=float(answer[4]),
        token=token,
        before_bulk=answer[5] == b"1",
    )
