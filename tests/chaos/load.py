"""The load: events submitted one after the other, with a note of what the caller was told of each."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import NamedTuple

from moderator.client import Client, Submitted
from moderator.errors import QueueFull, QueueUnavailable
from moderator.queue.ledger import Acceptance

#: Of the messages, the share that are bulk messages, and how many images such a message has: a fifth of the events.
BULK_SHARE, BULK_SIZE = 0.025, 10
#: Seconds until an event that was refused is submitted again.
PAUSE = 0.2
#: Seconds by which the load may fall behind its rate before it lets the time go.
SLACK = 1.0


class Told(NamedTuple):
    """Moments, in monotonic seconds."""

    asked: float
    kept: float


class Load:
    """Submits events from a thread until stopped. What is refused is submitted again, with the same id.

    Args:
        client: submits them.
        files: the images, in turn.
        rate: events a second; less while the service refuses them.
        webhook: where verdicts go. Bulk messages have none, so with one there are no bulk messages.
    """

    def __init__(self, client: Client, files: Sequence[Path], rate: float, webhook: str | None) -> None:
        self._client, self._files, self._rate, self._webhook = client, files, rate, webhook
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="load")
        self._turn = 0
        #: When the caller asked, and when it was told that the event is kept, by the event's key.
        self.told: dict[str, Told] = {}
        #: How often the caller was told that an event is not accepted, by the error's name.
        self.refused: Counter[str] = Counter()
        self.spooled = 0
        #: What a caller should never meet.
        self.surprises: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Submit no more; what is spooled goes on being delivered."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def submit(
        self, id: str, *, path: Path | None = None, inline: bytes | None = None, url: str | None = None
    ) -> Submitted:
        """Submit one more event, from the thread that asks."""
        asked = time.monotonic()
        event = self._client.submit(path=path, inline=inline, url=url, id=id)
        self._note([event], asked)
        return event

    def submit_many(self, id: str, images: Sequence[dict[str, str]]) -> None:
        """Submit one more bulk message, from the thread that asks."""
        asked = time.monotonic()
        self._note(self._client.submit_many(images, id=id), asked)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            asked = time.monotonic()
            try:
                events = self._message()
            except (QueueUnavailable, QueueFull) as error:
                self.refused[type(error).__name__] += 1
                due = time.monotonic() + PAUSE
            except Exception as error:  # the row shows it
                self.surprises.append(f"the caller met {type(error).__name__}: {error}")
                due = time.monotonic() + PAUSE
            else:
                self._note(events, asked)
                self._turn += 1
                due = max(due + len(events) / self._rate, time.monotonic() - SLACK)

    def _message(self) -> list[Submitted]:
        """Submit the message of this turn: the same as before if that was refused."""
        files = [str(self._files[(self._turn + n) % len(self._files)]) for n in range(BULK_SIZE)]
        if self._webhook is None and Random(self._turn).random() < BULK_SHARE:
            return self._client.submit_many([{"path": file} for file in files], id=f"bulk-{self._turn}")
        return [self._client.submit(path=files[0], id=f"event-{self._turn}", webhook=self._webhook)]

    def _note(self, events: Sequence[Submitted], asked: float) -> None:
        told = Told(asked, time.monotonic())
        for event in events:
            self.told.setdefault(event.key, told)
            self.spooled += event.acceptance is Acceptance.SPOOLED
