"""The queue for an event loop, for producers and readers of verdicts. Workers use threads (`ledger`).

Each method runs a few commands, which `commands` and `dead_letter_store` define.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from moderator.errors import VerdictsMissed
from moderator.events import Event
from moderator.queue import commands, keys, revisions, stats
from moderator.queue.bounds import NO_BOUNDS, QueueBounds
from moderator.queue.commands import read_body
from moderator.queue.dead_letter_store import (
    LETTERS_PER_PAGE,
    DeadLetter,
    ask_for_letters,
    dead_letter_keys,
    drop,
    event_of,
    read_letters,
    redeliver,
)
from moderator.queue.executors import AsyncExecutor
from moderator.queue.failures import (
    failing_as,
    not_accepted,
    not_answered,
    not_dropped,
    not_replayed,
    not_revised,
)
from moderator.queue.records import Acceptance
from moderator.queue.stats import QueueStats
from moderator.queue.stream import READ_ENTRIES_MAX, READ_SECONDS, read_verdicts, report
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.queue.verdict_store import verdict_late
from moderator.verdicts import Decision, Verdict


class AsyncQueue:
    """The queue in one Redis or its stand-in.

    All methods raise `QueueUnavailable` if Redis does not answer; for those that change something, the message says
    whether it was done.

    Args:
        executor: runs its commands.
        lease: seconds after which an accepted event that was lost on its way is delivered again.
        bounds: how full `accept` may make the queue.
        subscriptions: the consumers besides webhooks for which `revise` puts verdicts into the outbox.
    """

    def __init__(
        self,
        executor: AsyncExecutor,
        lease: float,
        bounds: QueueBounds = NO_BOUNDS,
        subscriptions: Subscriptions = NO_SUBSCRIPTIONS,
    ) -> None:
        self._executor = executor
        self._lease = lease
        self._bounds = bounds
        self._subscriptions = subscriptions

    async def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """Accept an event, or a bulk event with many images; see `Ledger.accept`.

        Raises:
            EventInvalid: it is no event.
            QueueFull: there is no room for it; nothing was accepted.
        """
        return await self.enter(*read_body(body))

    async def enter(self, body: dict[str, Any], events: Sequence[Event]) -> list[tuple[Event, Acceptance]]:
        """Accept the result of `read_body`; see `accept`."""
        with failing_as(lambda error: not_accepted(events[0], error)):
            return await self._executor.run(commands.accept(body, events, self._lease, self._bounds))

    async def verdict(self, event_key: str) -> Verdict | None:
        """Return the verdict of an event (`Event.key`), or None; see `VerdictStore.get`.

        Raises:
            VerdictUnreadable: this version cannot read the verdict.
        """
        with failing_as(not_answered):
            return await self._executor.run(commands.verdict(event_key))

    async def wait(self, event_key: str, timeout: float) -> Verdict:
        """Wait for an event's verdict.

        Raises:
            VerdictTimeout: none arrived within `timeout` seconds.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + timeout
        with failing_as(not_answered):
            async with self._executor.listen(keys.VERDICT_PREFIX + event_key) as wait:
                while True:  # `VerdictStore.wait` explains this order
                    left = deadline - now()
                    await wait(max(0.0, min(left, READ_SECONDS)))
                    if (verdict := await self._executor.run(commands.verdict(event_key))) is not None:
                        return verdict
                    if left <= 0:
                        raise verdict_late(event_key, timeout)

    async def position(self) -> str:
        """Return the id of the newest entry of the stream, to `tail` from."""
        with failing_as(not_answered):
            newest = await self._executor.run(commands.newest_entries(1))
        return newest[0][0] if newest else "0"

    async def tail(
        self, after: str, *, follow: bool = True, on_gap: Callable[[VerdictsMissed], object] | None = None
    ) -> AsyncIterator[tuple[str, Verdict]]:
        """Yield verdicts from the stream after an entry, with the ids of their entries; see `VerdictStore.tail`.

        Raises:
            VerdictsMissed: the entries after that id were trimmed, and there is no `on_gap` to call with the error.
        """
        last = after
        while True:
            with failing_as(not_answered):
                page = await self._executor.run(commands.read_on(last, READ_ENTRIES_MAX))
            report(page.gap, on_gap)
            entries = page.entries
            if not entries:
                if not follow:
                    return
                with failing_as(not_answered):
                    entries = await self._executor.run(
                        commands.await_entries(last, READ_ENTRIES_MAX, READ_SECONDS)
                    )
            for entry, verdict in read_verdicts(entries):
                yield entry, verdict
            if entries:
                last = entries[-1][0]

    async def revise(
        self,
        event_key: str,
        decision: Decision,
        *,
        by: str | None = None,
        reason: str | None = None,
        expected: str | None = None,
        ttl: float,
        stream_length: int,
    ) -> Verdict:
        """Publish a later decision about an event that has a verdict; see `Ledger.revise`.

        Raises:
            VerdictNotFound: the event has no verdict.
            VerdictChanged: the event's verdict is not the expected one, or changed meanwhile; nothing was published.
            VerdictUnreadable: this version cannot read the verdict.
            RevisionInvalid: the decision is `error`, or who or why is too long or no text.
        """
        with failing_as(lambda error: not_revised(event_key, error)):
            current = await self._executor.run(revisions.current_verdict(event_key))
            current, verdict = revisions.plan_revision(
                event_key, current, decision, by=by, reason=reason, expected=expected
            )
            await self._executor.run(
                revisions.revise(current, verdict, ttl, stream_length, self._subscriptions)
            )
        return verdict

    async def dead_letters(self, newest: int | None = None) -> AsyncIterator[DeadLetter]:
        """Yield all dead letters, oldest first, or the `newest` ones, newest first."""
        with failing_as(not_answered):
            keys = await self._executor.run(dead_letter_keys(newest))
        for at in range(0, len(keys), LETTERS_PER_PAGE):
            for letter in await self._read(keys[at : at + LETTERS_PER_PAGE]):
                yield letter

    async def dead_letter(self, key: str) -> DeadLetter | None:
        """Return the dead letter of an event key (`source:id`), or None."""
        return next(iter(await self._read([key])), None)

    async def _read(self, keys: Sequence[str]) -> list[DeadLetter]:
        with failing_as(not_answered):
            answers = await self._executor.run_each(ask_for_letters(keys))
        return list(read_letters(keys, answers))

    async def replay(self, letter: DeadLetter) -> Acceptance:
        """Submit the event again, or deliver to the webhook again; see `DeadLetters.replay`.

        Raises:
            EventInvalid: the dead letter is no event and cannot become one.
            DeadLetterNotFound: this dead letter is gone. Nothing happened.
        """
        command = redeliver(letter) or commands.replay(
            letter.key, letter.stamp, event_of(letter), self._lease
        )
        with failing_as(lambda error: not_replayed(letter.key, error)):
            return await self._executor.run(command)

    async def drop(self, letter: DeadLetter) -> None:
        """Forget a dead letter.

        Raises:
            DeadLetterNotFound: it is gone. Nothing happened.
        """
        with failing_as(lambda error: not_dropped(letter.key, error)):
            await self._executor.run(drop(letter))

    async def stats(self) -> QueueStats:
        """Return how full the queue is, in one round trip."""
        with failing_as(not_answered):
            return stats.read_stats(await self._executor.run_each(stats.ask_for_stats()))
