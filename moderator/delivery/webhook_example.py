"""A message like those to webhooks, about an event that never was."""

from uuid import uuid4

from moderator.delivery.message_format import Message, VerdictFormat, compose
from moderator.events import event_key
from moderator.queue.records import delivery_key
from moderator.verdicts import Decision, PolicyFacts, Verdict

EXAMPLE_SOURCE = "webhook-test"


def example_message(chosen: VerdictFormat) -> Message:
    """Return an example: a review, so that nothing is published or removed by a receiver that takes it seriously."""
    verdict = Verdict(
        event_id=uuid4().hex,
        source=EXAMPLE_SOURCE,
        decision=Decision.REVIEW,
        is_safe=False,
        policy=PolicyFacts(name=EXAMPLE_SOURCE),
        metadata={"test": True},
    )
    body = verdict.model_dump_json().encode()
    return compose(delivery_key(event_key(verdict.source, verdict.event_id), body), body, chosen)
