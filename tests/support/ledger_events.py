"""Events in a ledger, with the workers' part played by a test."""

from typing import Any

from moderator.client import Client
from moderator.events import Event, ImageReference
from moderator.queue import keys
from moderator.queue.ledger import Answer, Claim, DeadLetterReason, Ledger
from moderator.verdicts import Decision, Verdict

QUEUE, BULK = "moderation", "moderation.bulk"


def body(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "image": {"path": "/x.jpg"}, **more}


def event(name: str, **more: Any) -> Event:
    return Event(id=name, image=ImageReference(path="/x.jpg"), **more)


def claim_one(ledger: Ledger, of: Event) -> Any:
    return ledger.claim([of])[0]


def answer(of: Event, dead: DeadLetterReason | None = None, claim: Claim | None = None) -> Answer:
    decision = Decision.ERROR if dead else Decision.ALLOW
    verdict = Verdict(
        event_id=of.id,
        source=of.source,
        decision=decision,
        is_safe=dead is None,
        bulk=of.bulk,
        image_key=of.image.key,
        image_version=of.image.version,
    )
    return Answer(of, verdict, dead, claim)


def publish(
    ledger: Ledger, of: Event, *, dead: DeadLetterReason | None = None, claim: Claim | None = None
) -> Any:
    return ledger.publish([answer(of, dead, claim)], ttl=60.0, stream_length=100)[0]


def server_time(client: Client) -> float:
    seconds, micros = client.redis.time()
    return float(seconds + micros / 1e6)


def overdue(client: Client) -> bool:
    """Whether the ledger would look at something now."""
    return bool(client.redis.zcount(keys.PENDING, "-inf", server_time(client)))


def due(client: Client, key: str) -> float | None:
    """In how many seconds the ledger looks at an event."""
    at = client.redis.zscore(keys.PENDING, key)
    return None if at is None else at - server_time(client)


def everything(client: Client) -> dict[bytes, Any]:
    """All that stands in the database."""
    return {key: (client.redis.dump(key), client.redis.exists(key)) for key in client.redis.keys("*")}
