"""The consumer of the outbox that acts on objects in buckets: tags, copies to quarantine, deletes."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from moderator.delivery.consumers import Settle
from moderator.delivery.object_metrics import OBJECT_ACTIONS, RESULTS_OF_ACTIONS
from moderator.delivery.object_store import JudgedObject, ObjectStore
from moderator.errors import (
    ConsumerUnavailable,
    FetchRefused,
    ModeratorError,
    ObjectActionRefused,
    SettingsError,
)
from moderator.fetching.object_keys import ObjectName, parse_object_name
from moderator.queue.connection import Redis
from moderator.queue.executors import RedisExecutor
from moderator.queue.outbox import Delivery
from moderator.queue.revisions import current_verdict
from moderator.queue.subscriptions import OBJECT_STORE
from moderator.settings import Settings
from moderator.settings.object_settings import ACTIONS, DRY_RUN
from moderator.verdicts import Verdict, verdict_digest

log = logging.getLogger(__name__)

#: Deliveries taken at once, and threads that make them: two rounds of slow answers end before the lease does.
OBJECTS_AT_ONCE, OBJECT_THREADS = 16, 8
#: Seconds until an object is looked at again whose verdict was revised while it was acted on.
REVISED_DELAY_SECONDS = 1.0


@dataclass(frozen=True)
class ObjectAction:
    """What is done after a decision; in a dry run, it is only logged and counted."""

    action: str
    dry_run: bool


class ObjectActions:
    """Acts on the objects that verdicts are about, by the newest verdict of each event.

    Args:
        settings: provide actions, buckets and the store.
        client: connection, to look up the newest verdict.

    Raises:
        SettingsError: actions, buckets and quarantine do not fit together.
        ExtraMissing: boto3 is not installed.
    """

    name = OBJECT_STORE
    wants_evidence = False
    attempts = 10

    def __init__(self, settings: Settings, client: Redis) -> None:
        self._actions = read_actions(settings)
        self._buckets = frozenset(settings.buckets)
        self._quarantine = settings.quarantine or ""
        self._executor = RedisExecutor(client)
        self._store = ObjectStore(settings)
        self._pool = ThreadPoolExecutor(OBJECT_THREADS, thread_name_prefix="object")
        self._counter = OBJECT_ACTIONS.counter(None)
        self.collectors = (self._counter,)
        for action in ACTIONS:
            for result in RESULTS_OF_ACTIONS:
                self._counter.labels(action, result)

    def room(self) -> int:
        """Return how many deliveries are taken at once."""
        return OBJECTS_AT_ONCE

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        """Act, and wait until all is done.

        Raises:
            ConsumerUnavailable: the store accepts no credentials.
        """
        begun = [self._pool.submit(self._deliver, delivery, settle) for delivery in deliveries]
        unavailable = [error for one in begun if (error := one.result()) is not None]
        if unavailable:
            raise unavailable[0]

    def close(self) -> None:
        """End the threads and close the connections."""
        self._pool.shutdown(wait=True)
        self._store.close()

    def _deliver(self, delivery: Delivery, settle: Settle) -> ConsumerUnavailable | None:
        try:
            body = self._newest(delivery)
            self._act(_read(body))
            # A revision meanwhile has a delivery of its own, which may have been made before this one ended.
            if verdict_digest(self._newest(delivery)) != verdict_digest(body):
                settle.postpone(delivery, REVISED_DELAY_SECONDS)
            else:
                settle.done([delivery])
        except ConsumerUnavailable as error:
            return error
        except ModeratorError as error:
            settle.fail(delivery, error)
        return None

    def _newest(self, delivery: Delivery) -> bytes:
        """Return the event's newest verdict; after its time, the one that was delivered."""
        current = self._executor.run(current_verdict(delivery.key.rpartition("#")[0]))
        return delivery.body if current is None else current.body

    def _act(self, verdict: Verdict) -> None:
        actions = self._actions.get(verdict.decision, ())
        if verdict.image_key is None or not actions:
            return
        try:
            name = parse_object_name(verdict.image_key, self._buckets)
        except FetchRefused as error:
            raise ObjectActionRefused(str(error)) from error
        digest = None if verdict.image is None else verdict.image.sha256
        judged = self._store.find(name, verdict.image_version, digest)
        for one in actions:
            if judged is None:
                result = "gone"
            elif one.dry_run:
                result = DRY_RUN
            else:
                result = "done"
                self._apply(one.action, judged, verdict)
            self._counter.labels(one.action, result).inc()
            log.info(
                "%s of %s:%s: %s: %s", one.action, verdict.source, verdict.event_id, verdict.decision, result
            )

    def _apply(self, action: str, judged: JudgedObject, verdict: Verdict) -> None:
        if action == "tag":
            self._store.tag(judged, verdict.decision)
        elif action == "quarantine":
            self._store.copy(judged, quarantine_name(self._quarantine, judged))
        else:
            self._store.delete(judged)


def read_actions(settings: Settings) -> dict[str, list[ObjectAction]]:
    """Return the actions by decision: in their order, the deletion comes last.

    Raises:
        SettingsError: no bucket is allowed, or there is no place for copies.
    """
    found: dict[str, list[ObjectAction]] = {}
    for entry in settings.object_actions:
        decision, action, *dry_run = entry.split(":")
        found.setdefault(decision, []).append(ObjectAction(action, bool(dry_run)))
    for actions in found.values():
        actions.sort(key=lambda one: ACTIONS.index(one.action))
    if not settings.buckets:
        raise SettingsError(
            "MODERATOR_OBJECT_ACTIONS acts on objects in MODERATOR_BUCKETS, which names none; name them"
        )
    copies = any(one.action == "quarantine" for actions in found.values() for one in actions)
    if copies and not (settings.quarantine or "").partition("/")[0]:
        raise SettingsError("MODERATOR_QUARANTINE is not set: give BUCKET or BUCKET/PREFIX for the copies")
    return found


def quarantine_name(place: str, judged: JudgedObject) -> ObjectName:
    """Return the name of an object's copy: the same for the same state of the object."""
    bucket, _, prefix = place.partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    return ObjectName(bucket, f"{prefix}{judged.name.bucket}/{judged.name.key}@{judged.state}")


def _read(body: bytes) -> Verdict:
    try:
        return Verdict.model_validate_json(body)
    except ValidationError as error:
        raise ObjectActionRefused("the verdict was written by another version; update this one") from error
