"""Deliver verdicts to webhooks again, with the same `webhook-id`: receivers that have them already know the repeat."""

from collections.abc import Callable, Iterator
from datetime import datetime

from moderator.errors import DeadLetterNotFound, VerdictsMissed
from moderator.events import stored_key
from moderator.queue import keys
from moderator.queue.commands import Command, ask, newest_entries, read_on
from moderator.queue.dead_letter_store import DeadLetters, delivery_prefix
from moderator.queue.delivery_log import target_id
from moderator.queue.executors import Executor
from moderator.queue.records import delivery_key
from moderator.queue.revisions import current_verdict
from moderator.queue.stream import READ_ENTRIES_MAX, read_verdict, report, split_id
from moderator.queue.subscriptions import WEBHOOKS


class Redelivery:
    """Puts verdicts into the outbox of webhooks again. A dead letter of the delivery is forgotten.

    Args:
        executor: runs commands.
        dead_letters: of the same Redis.
    """

    def __init__(self, executor: Executor, dead_letters: DeadLetters) -> None:
        self._executor = executor
        self._dead_letters = dead_letters

    def event(self, event: str) -> bool:
        """Deliver an event's verdict again, by the event's key; return whether it has a verdict and a webhook."""
        current = self._executor.run(current_verdict(event))
        return current is not None and self._deliver(current.key, current.body)

    def target(
        self, target: str, since: datetime, on_gap: Callable[[VerdictsMissed], object] | None = None
    ) -> Iterator[str]:
        """Deliver to a webhook what was published since a moment and is still in the stream; yield the events' keys.

        Args:
            target: digest of its address; see `delivery_log.target_id`.
            since: the moment.
            on_gap: called if the stream does not reach back that far.
        """
        last = f"{max(1, round(1000 * since.timestamp())) - 1}-0"
        newest = self._executor.run(newest_entries(1))
        # What is published meanwhile is delivered anyway.
        while newest and split_id(last) < split_id(newest[0][0]):
            page = self._executor.run(read_on(last, READ_ENTRIES_MAX))
            if on_gap is not None:
                report(page.gap, on_gap)
            if not page.entries:
                return
            last = page.entries[-1][0]
            found = [
                (stored_key(verdict.source, verdict.event_id, verdict.bulk), fields[b"verdict"])
                for entry, fields in page.entries
                if (verdict := read_verdict(entry, fields)) is not None
            ]
            for (event, body), url in zip(found, self._urls([event for event, _ in found]), strict=True):
                if url is not None and target_id(url) == target and self._deliver(event, body):
                    yield event

    def _urls(self, events: list[str]) -> list[str | None]:
        if not events:
            return []

        def read(found: list[bytes | None]) -> list[str | None]:
            return [None if url is None else url.decode("utf-8", "replace") for url in found]

        return self._executor.run(ask("MGET", *(keys.REPLY_PREFIX + event for event in events), read=read))

    def _deliver(self, event: str, body: bytes) -> bool:
        delivery = delivery_key(event, body)
        letter = self._dead_letters.get(delivery_prefix(WEBHOOKS) + delivery)
        if letter is not None:
            try:
                self._dead_letters.replay(letter)
            except DeadLetterNotFound:  # somebody else was quicker
                pass
            else:
                return True
        return self._executor.run(deliver_again(event, body))


def deliver_again(event: str, body: bytes) -> Command[bool]:
    """Put a verdict into the outbox of its event's webhook again; answers whether a webhook is known for it."""
    delivery = delivery_key(event, body)
    script_keys = [keys.REPLY_PREFIX + event, keys.WEBHOOKS, keys.WEBHOOK_PREFIX + delivery]
    return Command("deliver_again", script_keys, [body, delivery], bool)
