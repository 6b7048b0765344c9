"""One call of a hook: submits what it reports, waits where the sender waits, and answers by the failure policy."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from moderator.errors import EventInvalid, ModeratorError, QueueFull, QueueUnavailable
from moderator.events import Event
from moderator.gateway.hooks.hook_metrics import HookMetrics
from moderator.gateway.hooks.outcome import Failure, UploadOutcome
from moderator.gateway.hooks.stored_object import Notice
from moderator.gateway.hooks.tally import Tally
from moderator.queue.commands import Command
from moderator.queue.object_writes import note_write
from moderator.queue.records import Acceptance
from moderator.settings import FailurePolicy, Settings
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

#: Seconds after which a sender should report again what was held.
REPORT_AGAIN_SECONDS = 5


class HookService(Protocol):
    """What hooks use of the gateway's service."""

    async def submit(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """Submit an event."""
        ...

    async def wait(self, event_key: str, seconds: float) -> Verdict | None:
        """Wait for an event's verdict."""
        ...

    async def verdict(self, event_key: str) -> Verdict | None:
        """Look up an event's verdict."""
        ...

    async def ask(self, command: Command[Any]) -> Any:
        """Run a command that changes no event."""
        ...


@dataclass(frozen=True)
class HookReply:
    """Status, body and headers of an answer."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


class HookCall:
    """One call of a hook.

    Args:
        hook: its name.
        service: of the gateway.
        settings: provide the failure policy and how long to wait.
        metrics: count what is reported, and answers without a judgement.
    """

    def __init__(self, hook: str, service: HookService, settings: Settings, metrics: HookMetrics) -> None:
        self.hook = hook
        self.settings = settings
        self._service = service
        self._metrics = metrics
        self._policy = settings.failure_policy(hook)

    async def take(self, notice: Notice, options: dict[str, Any]) -> HookReply:
        """Submit the objects of a notice.

        The answer has status 200 once all are in the queue, and 422 if some cannot be judged: then the sender keeps its
        report, or moves it to where an operator sees it.
        """
        tally = Tally(notice)
        try:
            for stored in notice.objects:
                latest = stored.order is None or await self._service.ask(
                    note_write(stored.name, stored.order)
                )
                event = tally.choose(stored, options, latest=latest)
                if event is not None:
                    await self._submit(event, tally)
        except (QueueFull, QueueUnavailable) as error:
            return self.unreachable(error)
        finally:
            self._metrics.count_reports(self.hook, tally)
        return self._tallied(tally)

    async def take_upload(self, event: dict[str, Any]) -> HookReply:
        """Submit one event whose sender does not wait."""
        tally = Tally(Notice())
        try:
            await self._submit(event, tally)
        except (QueueFull, QueueUnavailable) as error:
            return self.unreachable(error)
        finally:
            self._metrics.count_reports(self.hook, tally)
        return self._tallied(tally)

    async def judge(self, event: dict[str, Any]) -> UploadOutcome:
        """Submit an event and wait for its verdict, as long as the settings allow. Never raises."""
        tally = Tally(Notice())
        source, id = str(event["source"]), str(event["id"])
        try:
            [(accepted, acceptance)] = await self._service.submit(event)
            tally.accept(acceptance)
            verdict = await self._service.wait(accepted.key, self.settings.hook_wait)
        except EventInvalid as error:
            tally.refuse(error)
            return self.without(source, id, Failure.ERROR, str(error))
        except QueueFull as error:
            return self.without(source, id, Failure.FULL, str(error))
        except ModeratorError as error:
            return self.without_queue(event, error)
        finally:
            self._metrics.count_reports(self.hook, tally)
        if verdict is None:
            why = f"there was no verdict within {self.settings.hook_wait:g} s"
            return self.without(source, id, Failure.LATE, why)
        return self.judged(verdict)

    async def known(self, event_key: str) -> Verdict | None:
        """Return the verdict of an earlier call; None if there is none, or none can be read."""
        try:
            return await self._service.verdict(event_key)
        except ModeratorError:
            return None  # submitting the event meets the same error, and answers by it

    def judged(self, verdict: Verdict) -> UploadOutcome:
        """Return what a verdict answers."""
        outcome = UploadOutcome.judged(verdict, self._policy)
        if outcome.failure:
            self._metrics.count_failure(self.hook, outcome.failure, self._policy)
        return outcome

    def without(self, source: str, id: str, failure: Failure, why: str) -> UploadOutcome:
        """Return what the failure policy answers, and count it."""
        self._metrics.count_failure(self.hook, failure, self._policy)
        return UploadOutcome.without(source, id, self._policy, failure, why)

    def without_queue(self, event: dict[str, Any], error: ModeratorError) -> UploadOutcome:
        """Return what the failure policy answers while the queue cannot be reached."""
        log.warning("%s: %s", self.hook, error)
        return self.without(
            str(event["source"]), str(event["id"]), Failure.AWAY, "moderation cannot be reached"
        )

    def unreachable(self, error: QueueFull | QueueUnavailable) -> HookReply:
        """Return the answer to a sender that does not wait, while the queue takes no events.

        `hold` has the sender report again; `allow` and `reject` end it: nothing judges the upload.
        """
        full = isinstance(error, QueueFull)
        failure, why = (Failure.FULL, "the queue is full") if full else (Failure.AWAY, "the queue is away")
        log.warning("%s: %s", self.hook, error)
        self._metrics.count_failure(self.hook, failure, self._policy)
        body = {"decision": self._policy.value, "failure": failure.value, "reason": why}
        match self._policy:
            case FailurePolicy.ALLOW:
                return HookReply(200, body, {})
            case FailurePolicy.REJECT:
                return HookReply(422, body, {})
        seconds = round(error.retry_after) + 1 if isinstance(error, QueueFull) else REPORT_AGAIN_SECONDS
        return HookReply(503, body, {"Retry-After": str(seconds)})

    async def _submit(self, event: dict[str, Any], tally: Tally) -> None:
        try:
            for _, acceptance in await self._service.submit(event):
                tally.accept(acceptance)
        except EventInvalid as error:
            tally.refuse(error)

    def _tallied(self, tally: Tally) -> HookReply:
        for why in tally.refusals:
            log.warning("%s: %s", self.hook, why)
        if not tally.refusals:
            return HookReply(200, dict(tally.to_json()), {})
        return HookReply(422, {**tally.to_json(), "problems": tally.refusals}, {})
