"""Judges the images of a backfill through the bulk queue, with a bounded number of them outstanding.

A bulk event is recorded before it is sent, and its id never changes, so sending it again is safe: the service takes
each image once. That is what resuming does, and what happens to verdicts that expired before they were read.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from threading import Event as Flag

from redis.exceptions import RedisError

from moderator.backfill.backfill_items import BACKFILL_SOURCE, Item, ReferenceMaker
from moderator.backfill.outstanding_bulk import OutstandingBulk, plan_bulk
from moderator.backfill.pacing import Pace
from moderator.backfill.reporting import Reporter
from moderator.backfill.result_rows import Row, failed_row, result_row
from moderator.backfill.run_state import RunState
from moderator.backoff import jittered
from moderator.errors import (
    EventInvalid,
    ModeratorError,
    QueueFull,
    QueueUnavailable,
    RedisMisused,
    VerdictExpired,
)
from moderator.events import Priority
from moderator.queue import stats
from moderator.queue.announcements import Announcements
from moderator.queue.commands import require_all
from moderator.queue.executors import Executor
from moderator.queue.ledger import Ledger
from moderator.queue.lookups import is_pending, kept_verdicts
from moderator.settings import Settings
from moderator.verdicts import Verdict

#: Seconds between two looks for verdicts, and before the next attempt to reach Redis or a worker.
POLL_SECONDS, RETRY_SECONDS = 0.2, 2.0
#: Seconds without a verdict after which the ledger is asked whether it still holds an event.
OVERDUE_SECONDS = 15.0
#: Seconds without any verdict after which the user gets a hint.
SILENCE_SECONDS = 30.0
#: Most times that an image is sent again because its verdict expired.
RESUBMISSIONS_MAX = 3
#: Share of the queue's bounds up to which a backfill may fill it; other bulk producers need the rest.
QUEUE_SHARE_MAX = 0.5
#: Most bytes of inline images outstanding.
OUTSTANDING_INLINE_BYTES_MAX = 64_000_000
#: Verdicts looked up at once.
LOOKUP_EVENTS_MAX = 256


class QueueEngine:
    """Sends bulk events, and records their verdicts.

    Args:
        state: the images and their rows.
        executor: for the lookups.
        ledger: takes the events.
        settings: the bounds of the queue.
        references: makes the image references.
        policy: `NAME` or `NAME@VERSION`; None: the workers' default.
        window: most images outstanding.
        bulk_size: most images in one event.
        pace: limits the images per second.
        reporter: takes what happens.
    """

    def __init__(
        self,
        state: RunState,
        executor: Executor,
        ledger: Ledger,
        settings: Settings,
        references: ReferenceMaker,
        *,
        policy: str | None,
        window: int,
        bulk_size: int,
        pace: Pace,
        reporter: Reporter,
    ) -> None:
        self._state = state
        self._executor = executor
        self._ledger = ledger
        self._settings = settings
        self._references = references
        self._policy = policy
        self._window = window
        limit = settings.queue_limit
        self._bulk_size = min(bulk_size, window, max(1, int(limit * QUEUE_SHARE_MAX)) if limit else window)
        self._pace = pace
        self._reporter = reporter
        self._bulks: dict[str, OutstandingBulk] = {}
        self._full_until = 0.0
        self._heard_at = time.monotonic()
        self.resubmitted = 0
        """Images sent again because their verdicts had expired."""

    def run(self, stop: Flag) -> None:
        """Judge all images that wait or were sent; return when all have rows, or soon after `stop` is set.

        Raises:
            BackfillUnreadable: the state cannot be written.
        """
        self._bulks = {items[0].bulk: self._sent_before(items) for items in self._state.sent()}
        self._await_worker(stop)
        while not stop.is_set():
            try:
                busy = self._send()
                busy = self._collect() or busy
                self._check_overdue()
            except QueueFull as full:
                self._full_until = time.monotonic() + full.retry_after
                busy = False
            except (RedisError, QueueUnavailable, RedisMisused) as error:
                self._reporter.notice(f"Redis does not answer ({error}); waiting for it")
                stop.wait(jittered(RETRY_SECONDS))
                continue
            if not self._bulks and not self._state.waiting(1):
                return
            self._hint()
            if not busy:
                stop.wait(POLL_SECONDS)

    def _await_worker(self, stop: Flag) -> None:
        """Wait for a worker that knows the policy: otherwise each image would end in an error."""
        announcements = Announcements(self._executor)
        waits = False
        while self._policy is not None and not stop.is_set():
            try:
                if announcements.knows(self._policy):
                    return
                if not waits:
                    self._reporter.notice(
                        f"no running worker knows the policy {self._policy}; waiting for one"
                    )
                waits = True
            except (RedisError, RedisMisused) as error:
                self._reporter.notice(f"Redis does not answer ({error}); waiting for it")
            stop.wait(jittered(RETRY_SECONDS))

    def _sent_before(self, items: list[Item]) -> OutstandingBulk:
        """Return a bulk event of an interrupted run, which must be sent again: maybe it never was."""
        size = 0
        for item in items:
            with suppress(ModeratorError):  # the file has vanished: the worker answers so
                size += self._references.check(item.name)
        return OutstandingBulk(items[0].bulk, {item.key: item for item in items}, size, was_sent=True)

    def _send(self) -> bool:
        """Send as many events as there is room for; return whether any was sent."""
        sent = False
        while time.monotonic() >= self._full_until:
            bulk = next((bulk for bulk in self._bulks.values() if not bulk.is_sent), None)
            if bulk is None and self._may_send_more():
                bulk = self._next_bulk()
            if bulk is None or not self._has_room(len(bulk.open), bulk.inline_bytes):
                break
            self._submit(bulk)
            sent = True
        return sent

    def _may_send_more(self) -> bool:
        """Return whether the window and the pace allow another event."""
        outstanding = sum(len(bulk.open) for bulk in self._bulks.values())
        held = sum(bulk.inline_bytes for bulk in self._bulks.values())
        has_room = outstanding + self._bulk_size <= self._window and held < OUTSTANDING_INLINE_BYTES_MAX
        return has_room and self._pace.delay() == 0

    def _next_bulk(self) -> OutstandingBulk | None:
        """Make the next images a bulk event; those that no worker could judge get their rows at once."""
        while waiting := self._state.waiting(self._bulk_size):
            chosen, refused, size = plan_bulk(waiting, self._references)
            self._record(refused)
            if chosen:
                items = self._state.begin_bulk(chosen)
                self._pace.note(len(items))
                bulk = OutstandingBulk(items[0].bulk, {item.key: item for item in items}, size)
                self._bulks[bulk.id] = bulk
                return bulk
        return None

    def _has_room(self, count: int, size: int) -> bool:
        """Return whether the queue would still be far from full with so many more events and bytes."""
        events, held = require_all(self._executor.run_each([stats.pending(), stats.pending_bytes()]))
        limits = ((events, count, self._settings.queue_limit), (held, size, self._settings.queue_bytes))
        return events == 0 or all(
            limit == 0 or present + more <= QUEUE_SHARE_MAX * limit for present, more, limit in limits
        )

    def _submit(self, bulk: OutstandingBulk) -> None:
        common = {"source": BACKFILL_SOURCE, "priority": Priority.BULK.value}
        if self._policy is not None:
            common["policy"] = self._policy
        items = list(bulk.open.values())
        images = (self._references.make(item.name) for item in items)
        try:
            if bulk.was_sent:
                for item, image in zip(items, images, strict=True):
                    ids = {"id": item.event_id, "bulk": item.bulk}
                    self._ledger.accept({**common, **ids, "image": image})
            else:
                self._ledger.accept({**common, "id": bulk.id, "images": list(images)})
        except EventInvalid as error:  # `check` accepted it: whatever this is, it must not stop the others
            self._finish({key: failed_row(item.name, error) for key, item in bulk.open.items()}, bulk.open)
        bulk.is_sent = bulk.was_sent = True
        bulk.checked_at = time.monotonic()

    def _collect(self) -> bool:
        """Record the verdicts that have come; return whether there were any."""
        sent = {key: item for bulk in self._bulks.values() if bulk.is_sent for key, item in bulk.open.items()}
        remaining = iter(sent.items())
        found = False
        while some := dict(islice(remaining, LOOKUP_EVENTS_MAX)):
            found = self._look_up(some) or found
        return found

    def _look_up(self, items: Mapping[str, Item]) -> bool:
        rows: dict[str, Row] = {}
        for (key, item), verdict in zip(
            items.items(), self._executor.run(kept_verdicts(list(items))), strict=True
        ):
            if isinstance(verdict, Verdict):
                rows[key] = result_row(item.name, verdict)
            elif verdict is not None:
                rows[key] = failed_row(item.name, verdict, item.event_id)
        self._finish(rows, items)
        return bool(rows)

    def _finish(self, rows: Mapping[str, Row], items: Mapping[str, Item]) -> None:
        """Record the rows of some images, by event key, which are then no longer waited for."""
        if not rows:
            return
        self._record([(items[key].number, row) for key, row in rows.items()])
        self._heard_at = time.monotonic()
        for bulk in list(self._bulks.values()):
            bulk.open = {key: item for key, item in bulk.open.items() if key not in rows}
            if not bulk.open:
                del self._bulks[bulk.id]

    def _check_overdue(self) -> None:
        """Send images again that the ledger no longer holds and that have no verdict: it expired before we read it."""
        now = time.monotonic()
        for bulk in list(self._bulks.values()):
            if not bulk.is_sent or now - bulk.checked_at < OVERDUE_SECONDS:
                continue
            bulk.checked_at = now
            waiting = dict(bulk.open)
            pending = require_all(self._executor.run_each([is_pending(key) for key in waiting]))
            # In this order: an event that was answered in between has its verdict now.
            self._look_up(waiting)
            gone = [key for key, held in zip(waiting, pending, strict=True) if not held and key in bulk.open]
            if gone:
                self._send_again(bulk, gone)

    def _send_again(self, bulk: OutstandingBulk, gone: Sequence[str]) -> None:
        bulk.expired += 1
        if bulk.expired <= RESUBMISSIONS_MAX:
            bulk.is_sent = False
            self.resubmitted += len(gone)
            return
        error = VerdictExpired(
            f"its verdict expired {bulk.expired} times before it was read; is MODERATOR_VERDICT_TTL too short?"
        )
        items = {key: bulk.open[key] for key in gone}
        self._finish({key: failed_row(item.name, error, item.event_id) for key, item in items.items()}, items)

    def _record(self, rows: Sequence[tuple[int, Row]]) -> None:
        if recorded := self._state.record(rows):
            self._reporter.done(recorded)

    def _hint(self) -> None:
        now = time.monotonic()
        if any(bulk.is_sent for bulk in self._bulks.values()) and now - self._heard_at > SILENCE_SECONDS:
            self._heard_at = now
            self._reporter.notice(f"no verdict for {SILENCE_SECONDS:g} s; is a worker running on this Redis?")
