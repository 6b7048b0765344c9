"""Later decisions about events that have a verdict: by review, by appeal, or by another policy. Pure."""

from dataclasses import dataclass
from hashlib import sha1

from pydantic import ValidationError

from moderator.errors import RevisionInvalid, VerdictChanged, VerdictNotFound, VerdictUnreadable
from moderator.events import bulk_image_key, event_key
from moderator.queue import keys
from moderator.queue.commands import Command, ask
from moderator.queue.records import delivery_key, seconds_to_keep
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.verdicts import Decision, Verdict, revised, verdict_digest

#: Most characters of who decided, and why.
BY_CHARACTERS_MAX, REASON_CHARACTERS_MAX = 256, 2000


@dataclass(frozen=True)
class CurrentVerdict:
    """The verdict of an event as it is kept."""

    key: str
    """Of the event; for an image of a bulk event that was looked up by its id, the image's own."""
    body: bytes

    @property
    def digest(self) -> str:
        """Its digest; see `verdict_digest`."""
        return verdict_digest(self.body)


def current_verdict(event: str) -> Command[CurrentVerdict | None]:
    """Look up the verdict of an event as it is kept, by the event's key; None: it has none yet, or no longer."""
    names = [name for name in (event, bulk_image_key(event)) if name is not None]

    def read(found: list[bytes | None]) -> CurrentVerdict | None:
        kept = (
            CurrentVerdict(name, body) for name, body in zip(names, found, strict=True) if body is not None
        )
        return next(kept, None)

    return ask("MGET", *(keys.VERDICT_PREFIX + name for name in names), read=read)


def plan_revision(
    event: str,
    current: CurrentVerdict | None,
    decision: Decision,
    *,
    by: str | None = None,
    reason: str | None = None,
    expected: str | None = None,
) -> tuple[CurrentVerdict, Verdict]:
    """Return the verdict to revise and the one that takes its place.

    Args:
        event: its key.
        current: its verdict as `current_verdict` found it.
        decision: the later decision.
        by: who decided.
        reason: why.
        expected: digest of the verdict that they saw; None: whichever is current.

    Raises:
        VerdictNotFound: the event has no verdict.
        VerdictChanged: its verdict is not the expected one.
        VerdictUnreadable: this version cannot read it.
        RevisionInvalid: the decision is `error`, or who or why is too long or no text.
    """
    _check(decision, by, reason)
    if current is None:
        raise VerdictNotFound(f"{event} has no verdict (yet, or any more), so there is none to revise")
    if expected is not None and expected != current.digest:
        raise verdict_changed(event)
    try:
        verdict = Verdict.model_validate_json(current.body)
    except ValidationError as error:
        raise VerdictUnreadable(
            f"the verdict of {event} was written by another version of the service; update this one"
        ) from error
    return current, revised(verdict, current.digest, decision, by=by, reason=reason)


def _check(decision: Decision, by: str | None, reason: str | None) -> None:
    if decision is Decision.ERROR:
        raise RevisionInvalid("error is no decision; decide allow, review or block")
    for name, text, most in (("by", by, BY_CHARACTERS_MAX), ("reason", reason, REASON_CHARACTERS_MAX)):
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise RevisionInvalid(f"{name} cannot be written in UTF-8") from error
        if text is not None and len(text) > most:
            raise RevisionInvalid(f"{name} has {len(text)} characters; give at most {most}")


def revise(
    current: CurrentVerdict,
    verdict: Verdict,
    ttl: float,
    stream_length: int,
    subscriptions: Subscriptions = NO_SUBSCRIPTIONS,
) -> Command[None]:
    """Keep and publish a verdict in place of another, and put it into the outbox, in one step.

    Its answer raises:
        VerdictChanged: that is not the event's verdict any more; nothing has changed.
    """

    def read(answer: int) -> None:
        if not answer:
            raise verdict_changed(current.key)

    body = verdict.model_dump_json().encode()
    delivery = delivery_key(current.key, body)
    by_id = keys.VERDICT_PREFIX + event_key(verdict.source, verdict.event_id)
    script_keys = [keys.VERDICT_PREFIX + current.key, keys.VERDICTS, keys.REPLY_PREFIX + current.key]
    script_keys += [keys.WEBHOOKS, keys.WEBHOOK_PREFIX + delivery]
    # By the one digest that servers compute.
    seen = sha1(current.body, usedforsecurity=False).hexdigest()
    args = [seen, body, seconds_to_keep(ttl), stream_length, delivery, by_id]
    further_keys, further_args = subscriptions.about(verdict).call(delivery, None)
    return Command("revise", script_keys + further_keys, args + further_args, read)


def verdict_changed(event: str) -> VerdictChanged:
    """Return the error for a verdict that was revised meanwhile."""
    return VerdictChanged(
        f"the verdict of {event} is not the one that was seen: somebody revised it, or it was replayed; look at it "
        "again, then decide"
    )
